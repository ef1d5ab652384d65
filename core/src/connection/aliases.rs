//! Topic aliases: short numbers for topics, one set for each direction of a connection.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::map::HashKey;
use crate::message::Alias;

/// Topics shorter than this gain nothing by an alias, which takes three bytes itself.
const SHORTEST: usize = 3;

/// Topics longer than this get none: it bounds what the aliases of one connection hold.
const LONGEST: usize = 1024;

/// The aliases that a client has set.
#[derive(Debug, Default)]
pub(crate) struct AliasesFromClient {
    topics: Vec<Option<Box<str>>>,
}

impl AliasesFromClient {
    /// Lets `alias`, which is not zero, stand for `topic` ([MQTT-3.3.2-12]).
    pub(crate) fn set(&mut self, alias: u16, topic: &str) {
        let place = usize::from(alias) - 1;
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        match &mut self.topics[place] {
            Some(known) if **known == *topic => {}
            entry => *entry = Some(topic.into()),
        }
    }

    /// The topic that `alias`, which is not zero, stands for.
    pub(crate) fn get(&self, alias: u16) -> Option<&str> {
        self.topics.get(usize::from(alias) - 1)?.as_deref()
    }
}

/// The aliases that were given to a client.
///
/// A topic has one place where its alias can be, by its hash. Its first message sets the alias if
/// the place is free. A topic that finds the place taken gets it only if the one that has it was not
/// used since another one asked: so topics that come up again and again have aliases however many
/// others come up once.
#[derive(Debug)]
pub(crate) struct AliasesToClient {
    key: HashKey,
    places: Box<[Place]>,
}

#[derive(Debug, Default)]
struct Place {
    topic: Option<Box<str>>,
    used: bool,
}

impl AliasesToClient {
    /// So many aliases, at least one.
    pub(crate) fn new(key: HashKey, maximum: u16) -> Self {
        let places = (0..maximum.max(1)).map(|_| Place::default()).collect();
        Self { key, places }
    }

    fn place(&self, topic: &str) -> u16 {
        let hash = self.key.hash_bytes(topic.as_bytes());
        // There are at most 65,535 places.
        u16::try_from(hash % self.places.len() as u64).unwrap_or(0)
    }

    /// What can be done for a message of this topic. If it is [`Alias::Set`] and the packet is sent,
    /// [`AliasesToClient::was_set`] must be told.
    pub(crate) fn of(&mut self, topic: &str) -> Alias {
        if !(SHORTEST..=LONGEST).contains(&topic.len()) {
            return Alias::None;
        }
        let number = self.place(topic);
        let place = &mut self.places[usize::from(number)];
        match &place.topic {
            Some(known) if **known == *topic => {
                place.used = true;
                Alias::Use(number + 1)
            }
            Some(_) if place.used => {
                place.used = false;
                Alias::None
            }
            _ => Alias::Set(number + 1),
        }
    }

    /// A packet is on its way that sets an alias.
    pub(crate) fn was_set(&mut self, alias: u16, topic: &str) {
        if let Some(place) = self.places.get_mut(usize::from(alias).wrapping_sub(1)) {
            *place = Place {
                topic: Some(topic.into()),
                used: false,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(aliases: &mut AliasesToClient, topic: &str) -> Alias {
        let alias = aliases.of(topic);
        if let Alias::Set(number) = alias {
            aliases.was_set(number, topic);
        }
        alias
    }

    #[test]
    fn a_topic_gets_an_alias_on_first_use() {
        let mut aliases = AliasesToClient::new(HashKey::from_seed(1), 1);
        assert_eq!(send(&mut aliases, "a/b"), Alias::Set(1));
        assert_eq!(send(&mut aliases, "a/b"), Alias::Use(1));
        assert_eq!(send(&mut aliases, "a"), Alias::None, "it would be longer");
    }

    #[test]
    fn a_hot_topic_keeps_its_alias_among_cold_ones() {
        let mut aliases = AliasesToClient::new(HashKey::from_seed(1), 1);
        send(&mut aliases, "hot");
        for n in 0..100 {
            assert_eq!(send(&mut aliases, "hot"), Alias::Use(1));
            assert_eq!(send(&mut aliases, &alloc::format!("cold/{n}")), Alias::None);
        }
        send(&mut aliases, "new");
        assert_eq!(send(&mut aliases, "new"), Alias::Use(1));
    }

    #[test]
    fn what_was_not_sent_is_not_known() {
        let mut aliases = AliasesToClient::new(HashKey::from_seed(1), 4);
        assert!(matches!(aliases.of("a/b"), Alias::Set(_)));
        assert!(matches!(aliases.of("a/b"), Alias::Set(_)));
    }

    #[test]
    fn a_client_may_set_an_alias_anew() {
        // [MQTT-3.3.2-12]
        let mut aliases = AliasesFromClient::default();
        assert_eq!(aliases.get(7), None);
        aliases.set(7, "a");
        aliases.set(2, "b");
        assert_eq!((aliases.get(7), aliases.get(2)), (Some("a"), Some("b")));
        aliases.set(7, "c");
        assert_eq!(aliases.get(7), Some("c"));
        assert_eq!(aliases.get(1), None);
    }
}
