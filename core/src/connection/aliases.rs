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

/// How many places a topic has to choose from.
const WAYS: usize = 8;

/// The aliases that were given to a client.
///
/// The hash of a topic names a few places where its alias can be. Its first message sets the alias
/// if one of them is free. If none is, every topic that asks moves a hand on by one place: one that
/// was not used since the hand passed it last gives way. So topics that come up again and again
/// have aliases however many others come up once.
#[derive(Debug)]
pub(crate) struct AliasesToClient {
    key: HashKey,
    places: Box<[Place]>,
    /// For each set of places, the one that gives way next.
    hands: Box<[u8]>,
}

#[derive(Debug, Default)]
struct Place {
    hash: u64,
    topic: Option<Box<str>>,
    used: bool,
}

impl AliasesToClient {
    /// So many aliases, at least one.
    pub(crate) fn new(key: HashKey, maximum: u16) -> Self {
        let maximum = usize::from(maximum.max(1));
        let places = (0..maximum).map(|_| Place::default()).collect();
        let hands = alloc::vec![0; maximum.div_ceil(WAYS)].into_boxed_slice();
        Self { key, places, hands }
    }

    /// What can be done for a message of this topic. If it is [`Alias::Set`] and the packet is
    /// sent, [`AliasesToClient::was_set`] must be told.
    pub(crate) fn of(&mut self, topic: &str) -> Alias {
        if !(SHORTEST..=LONGEST).contains(&topic.len()) {
            return Alias::None;
        }
        let hash = self.key.hash_bytes(topic.as_bytes());
        let sets = self.hands.len();
        let set = usize::try_from(hash % sets as u64).unwrap_or(0);
        // All sets have nearly the same size.
        let start = set * self.places.len() / sets;
        let end = (set + 1) * self.places.len() / sets;
        let ways = &mut self.places[start..end];
        let is_it = |place: &Place| {
            place.hash == hash && place.topic.as_deref().is_some_and(|known| known == topic)
        };
        if let Some(way) = ways.iter().position(is_it) {
            ways[way].used = true;
            return Alias::Use(number(start + way));
        }
        if let Some(way) = ways.iter().position(|place| place.topic.is_none()) {
            return Alias::Set(number(start + way));
        }
        let hand = &mut self.hands[set];
        let way = usize::from(*hand) % ways.len();
        if core::mem::take(&mut ways[way].used) {
            *hand = hand.wrapping_add(1);
            return Alias::None;
        }
        Alias::Set(number(start + way))
    }

    /// A packet is on its way that sets an alias.
    pub(crate) fn was_set(&mut self, alias: u16, topic: &str) {
        let hash = self.key.hash_bytes(topic.as_bytes());
        if let Some(place) = self.places.get_mut(usize::from(alias).wrapping_sub(1)) {
            *place = Place {
                hash,
                topic: Some(topic.into()),
                used: false,
            };
        }
    }
}

/// The alias at a place; there are at most 65,535.
fn number(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::string::{String, ToString};

    use proptest::prelude::*;

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
    fn as_many_topics_as_there_are_aliases_have_one() {
        for count in 1..=8 {
            let mut aliases = AliasesToClient::new(HashKey::from_seed(1), count);
            for round in 0..3 {
                for n in 0..count {
                    let alias = send(&mut aliases, &alloc::format!("topic/{n}"));
                    assert_eq!(matches!(alias, Alias::Use(_)), round > 0, "{count} {n}");
                }
            }
        }
    }

    #[test]
    fn every_alias_is_within_the_maximum() {
        for maximum in [1, 7, 9, 16, 17, 100] {
            let mut aliases = AliasesToClient::new(HashKey::from_seed(1), maximum);
            let mut seen = std::collections::BTreeSet::new();
            for n in 0..2000 {
                if let Alias::Set(alias) = send(&mut aliases, &alloc::format!("topic/{n}")) {
                    seen.insert(alias);
                }
            }
            assert!(seen.into_iter().eq(1..=maximum), "{maximum}");
        }
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

    proptest! {
        #[test]
        fn a_client_that_follows_always_knows_the_topic(
            maximum in 1u16..20,
            seed in any::<u64>(),
            topics in prop::collection::vec((0usize..30, any::<bool>()), 0..300),
        ) {
            let mut aliases = AliasesToClient::new(HashKey::from_seed(seed), maximum);
            let mut known: BTreeMap<u16, String> = BTreeMap::new();
            for (topic, is_sent) in topics {
                // Some too short for an alias, one too long.
                let topic = "topic/".repeat(200)[..topic * 37].to_string();
                match aliases.of(&topic) {
                    Alias::None => {}
                    Alias::Use(number) => {
                        prop_assert_eq!(known.get(&number), Some(&topic));
                    }
                    Alias::Set(number) => {
                        prop_assert!((1..=maximum).contains(&number));
                        if is_sent {
                            aliases.was_set(number, &topic);
                            known.insert(number, topic);
                        }
                    }
                }
            }
        }

        #[test]
        fn what_a_client_has_set_is_a_map(
            steps in prop::collection::vec((1u16..20, 0usize..5, any::<bool>()), 0..100),
        ) {
            let mut aliases = AliasesFromClient::default();
            let mut model: BTreeMap<u16, &str> = BTreeMap::new();
            for (alias, topic, sets) in steps {
                if sets {
                    let topic = ["a", "b", "a/b", "c/d", "e"][topic];
                    aliases.set(alias, topic);
                    model.insert(alias, topic);
                }
                prop_assert_eq!(aliases.get(alias), model.get(&alias).copied());
            }
        }
    }
}
