//! What must and what may arrive, by nothing but what clients have sent and seen: lists and loops.

use std::collections::{BTreeMap, BTreeSet};

use wherry_tests::naive::matches;

/// The number of a message; it stands in its payload.
pub(super) type Number = usize;

/// One message that was published.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) qos: u8,
    /// Whether it is too large for clients that set a Maximum Packet Size.
    pub(super) big: bool,
    pub(super) expires: bool,
    copies: Vec<Copy>,
}

/// A message on its way to one member of a shared subscription.
#[derive(Debug)]
struct Copy {
    group: String,
    /// The session that has got it and has not acknowledged it.
    holder: Option<usize>,
    over: bool,
    may_be_lost: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) identifier: u32,
}

/// A message that a session is to get.
#[derive(Debug)]
struct Owed {
    number: Number,
    qos: u8,
    identifiers: Vec<u32>,
    /// The filter, if it is sent because it was retained.
    replay_of: Option<String>,
    must: bool,
    got: bool,
}

impl Owed {
    fn is_like(&self, other: &Self) -> bool {
        (self.number, self.qos, &self.identifiers) == (other.number, other.qos, &other.identifiers)
            && self.replay_of.is_some() == other.replay_of.is_some()
    }
}

#[derive(Debug)]
struct Session {
    number: usize,
    subscriptions: BTreeMap<String, Subscription>,
    /// The shared subscriptions that it ever was a member of.
    joined: BTreeSet<String>,
    owed: Vec<Owed>,
    /// The last message by topic and QoS.
    last: BTreeMap<(String, u8), Number>,
    takes_big: bool,
    connected: bool,
    connections: usize,
    expiry: Option<u64>,
    ends: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    sessions: BTreeMap<String, Session>,
    pub(super) messages: Vec<Message>,
    retained: BTreeMap<String, Number>,
    /// Whether queues are so short that messages of QoS 1 and 2 may be lost.
    pub(super) lossy: bool,
    /// Whether outboxes are so short that live messages of QoS 0 may be lost.
    pub(super) narrow: bool,
    begun: usize,
    /// How many messages arrived, by QoS.
    pub(super) arrived: [usize; 3],
}

/// The group and the filter of a shared subscription.
fn filter_of(name: &str) -> (bool, &str) {
    match name.strip_prefix("$share/") {
        Some(rest) => (true, rest.split_once('/').expect("a filter").1),
        None => (false, name),
    }
}

impl Oracle {
    /// Returns whether CONNACK is to say that there is a session.
    pub(super) fn connect(
        &mut self,
        name: &str,
        clean: bool,
        expiry: Option<u64>,
        big: bool,
        now: u64,
    ) -> bool {
        self.detach(name, now); // A takeover, if it is connected.
        if clean {
            self.end(name);
        }
        let present = self.sessions.contains_key(name);
        self.begun += 1;
        let number = self.begun;
        let session = self.sessions.entry(name.into()).or_insert_with(|| Session {
            number,
            subscriptions: BTreeMap::new(),
            joined: BTreeSet::new(),
            owed: Vec::new(),
            last: BTreeMap::new(),
            takes_big: big,
            connected: true,
            connections: 0,
            expiry,
            ends: None,
        });
        session.connected = true;
        session.connections += 1;
        session.expiry = expiry;
        session.ends = None;
        present
    }

    /// The connection is over, if there was one.
    pub(super) fn detach(&mut self, name: &str, now: u64) {
        let Some(session) = self.sessions.get_mut(name).filter(|it| it.connected) else {
            return;
        };
        session.connected = false;
        for owed in session.owed.iter_mut().filter(|owed| owed.qos == 0) {
            owed.must = false; // Nobody sends it again.
        }
        if session.expiry == Some(0) {
            return self.end(name);
        }
        session.ends = session.expiry.map(|expiry| now + expiry);
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: u64) {
        let due = |session: &Session| session.ends.filter(|ends| *ends <= now);
        let mut ended: Vec<_> = self
            .sessions
            .iter()
            .filter_map(|(name, session)| Some((due(session)?, name.clone())))
            .collect();
        ended.sort();
        ended.iter().for_each(|(_, name)| self.end(name));
    }

    fn end(&mut self, name: &str) {
        let Some(session) = self.sessions.remove(name) else {
            return;
        };
        for message in &mut self.messages {
            for copy in message.copies.iter_mut().filter(|copy| !copy.over) {
                let was_its = copy.holder == Some(session.number);
                let may_be_its = copy.holder.is_none() && session.joined.contains(&copy.group);
                if was_its && message.qos == 2 {
                    copy.over = true; // [MQTT-4.8.2-5]
                } else if was_its || may_be_its {
                    copy.holder = None;
                    copy.may_be_lost |= message.qos == 2;
                }
            }
        }
        self.forget_groups();
    }

    /// A group that nobody is left in ends; if one begins anew under its name, it is another.
    fn forget_groups(&mut self) {
        for copy in self.messages.iter_mut().flat_map(|it| &mut it.copies) {
            let mut sessions = self.sessions.values();
            let goes_on = sessions.any(|it| it.subscriptions.contains_key(&copy.group));
            copy.may_be_lost |= !goes_on;
        }
    }

    pub(super) fn subscribe(&mut self, name: &str, filter: &str, new: Subscription, handling: u8) {
        let session = self.sessions.get_mut(name).expect("it is connected");
        let known = session.subscriptions.insert(filter.into(), new);
        let (shared, pattern) = filter_of(filter);
        if shared {
            session.joined.insert(filter.into());
            return;
        }
        let send = handling == 0 || handling == 1 && known.is_none();
        // What is in flight stays; the rest begins anew, or goes on under the new terms.
        for owed in &mut session.owed {
            owed.must &= owed.replay_of.as_deref() != Some(filter);
        }
        // Without a replay of its own, what is left of an earlier one comes under the new terms.
        for (topic, number) in &self.retained {
            let message = &self.messages[*number];
            if matches(pattern, topic) && (send || known.is_some()) {
                let qos = message.qos.min(new.qos);
                session.owed.push(Owed {
                    number: *number,
                    qos,
                    identifiers: Some(new.identifier)
                        .filter(|it| *it > 0)
                        .into_iter()
                        .collect(),
                    replay_of: Some(filter.into()),
                    must: send
                        && !message.expires
                        && (session.takes_big || !message.big)
                        && (qos == 0 || !self.lossy),
                    got: false,
                });
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, name: &str, filter: &str) -> bool {
        let session = self.sessions.get_mut(name).expect("it is connected");
        for owed in &mut session.owed {
            owed.must &= owed.replay_of.as_deref() != Some(filter);
        }
        let known = session.subscriptions.remove(filter).is_some();
        self.forget_groups();
        known
    }

    /// The retained message of a topic is gone, or another.
    pub(super) fn retain(&mut self, topic: &str, number: Option<Number>) {
        let Some(old) = self.retained.remove(topic) else {
            self.retained.extend(number.map(|it| (topic.into(), it)));
            return;
        };
        self.retained.extend(number.map(|it| (topic.into(), it)));
        for owed in self.sessions.values_mut().flat_map(|it| &mut it.owed) {
            owed.must &= owed.number != old || owed.replay_of.is_none();
        }
    }

    /// The broker has got the next message from a client.
    pub(super) fn publish(&mut self, from: &str, mut message: Message, retain: bool) {
        let number = self.messages.len();
        for (name, session) in &mut self.sessions {
            let own = name == from;
            let matched = || {
                let all = session.subscriptions.iter();
                all.filter(|(filter, it)| {
                    let (shared, filter) = filter_of(filter);
                    !shared && matches(filter, &message.topic) && !(it.no_local && own)
                })
            };
            let Some(granted) = matched().map(|(_, it)| it.qos).max() else {
                continue;
            };
            let qos = granted.min(message.qos);
            let may_be_lost = match qos {
                0 => self.narrow || self.lossy || !session.connected,
                _ => self.lossy,
            } || message.expires;
            let mut identifiers: Vec<_> = matched()
                .map(|(_, it)| it.identifier)
                .filter(|it| *it > 0)
                .collect();
            identifiers.sort_unstable();
            // What did not come live may come with any replay that is under way: No Local is not
            // for those.
            let replays: Vec<_> = session
                .subscriptions
                .iter()
                .filter(|(filter, _)| {
                    let (shared, filter) = filter_of(filter);
                    retain && may_be_lost && !shared && matches(filter, &message.topic)
                })
                .map(|(filter, it)| Owed {
                    number,
                    qos: it.qos.min(message.qos),
                    identifiers: [it.identifier].into_iter().filter(|it| *it > 0).collect(),
                    replay_of: Some(filter.clone()),
                    must: false,
                    got: false,
                })
                .collect();
            session.owed.extend(replays);
            session.owed.push(Owed {
                number,
                qos,
                identifiers,
                replay_of: None,
                must: !may_be_lost && (session.takes_big || !message.big),
                got: false,
            });
        }
        let joined: BTreeSet<&String> = self
            .sessions
            .values()
            .flat_map(|session| session.subscriptions.keys())
            .filter(|name| filter_of(name).0 && matches(filter_of(name).1, &message.topic))
            .collect();
        message.copies = joined
            .into_iter()
            .map(|group| Copy {
                group: group.clone(),
                holder: None,
                over: false,
                may_be_lost: message.qos == 0 || message.expires || self.lossy,
            })
            .collect();
        let topic = message.topic.clone();
        self.messages.push(message);
        if retain {
            self.retain(&topic, Some(number));
        }
    }

    /// A client has got a message that it had not got before.
    pub(super) fn receive(&mut self, name: &str, got: &wherry_tests::wire::Publish, is_v5: bool) {
        let number: Number = number_of(&got.payload);
        let message = &mut self.messages[number];
        let session = self.sessions.get_mut(name).expect("it is connected");
        assert_eq!(got.topic, message.topic, "{name}: topic of {number}");
        assert!(
            !got.dup || session.connections > 1,
            "{name}: DUP on the first delivery of {number}"
        );
        self.arrived[usize::from(got.qos)] += 1;
        if message.topic.starts_with("s/") {
            let joined = &session.joined;
            let is_free = |copy: &Copy| !copy.over && copy.holder.is_none();
            let is_its = |copy: &Copy| is_free(copy) && joined.contains(&copy.group);
            let Some(place) = message.copies.iter().position(is_its) else {
                panic!("{name}, member of {joined:?}, is not to get {message:?}");
            };
            let copy = &mut message.copies[place];
            copy.holder = Some(session.number);
            copy.over = got.qos == 0;
            assert_eq!(got.qos, message.qos, "{name}: QoS of {number}");
            return;
        }
        let identifiers = got.subscription_identifiers();
        let is_it = |owed: &&mut Owed| {
            !owed.got
                && (owed.number, owed.qos) == (number, got.qos)
                && owed.replay_of.is_some() == got.retain
                && (!is_v5 || owed.identifiers == identifiers)
        };
        // Of two that it could be, one that may be lost was lost.
        let owed = session.owed.iter_mut().filter(is_it);
        let owed = owed.max_by_key(|owed| owed.must);
        let owed = owed.unwrap_or_else(|| panic!("{name} is not owed {number}, {got:?}"));
        owed.got = true;
        if !got.retain {
            let last = session.last.insert((got.topic.clone(), got.qos), number);
            let (topic, qos) = (&got.topic, got.qos);
            assert!(
                last < Some(number),
                "{name}, {topic}, {qos}: {number} after {last:?}"
            );
        }
    }

    /// A client is done with a message.
    pub(super) fn done(&mut self, name: &str, number: Number) {
        let Some(session) = self.sessions.get(name) else {
            return;
        };
        let copies = &mut self.messages[number].copies;
        for copy in copies.iter_mut() {
            if copy.holder == Some(session.number) && !copy.over {
                copy.over = true;
                return;
            }
        }
    }

    /// Nothing more is to come: all that must arrive has arrived.
    pub(super) fn conclude(&self) {
        for (name, session) in &self.sessions {
            let missing = session.owed.iter().filter(|owed| owed.must && !owed.got);
            for owed in missing {
                // A retained message came by one of several filters, and nothing says by which.
                let instead = session.owed.iter().any(|other| {
                    other.got && !other.must && other.replay_of.is_some() && other.is_like(owed)
                });
                assert!(instead, "{name} has not got {owed:?}");
            }
        }
        for (number, message) in self.messages.iter().enumerate() {
            for copy in message.copies.iter().filter(|copy| !copy.may_be_lost) {
                assert!(copy.over, "message {number} came to no member: {copy:?}");
            }
        }
    }
}

impl Message {
    pub(super) fn new(topic: &str, qos: u8, big: bool, expires: bool) -> Self {
        Self {
            topic: topic.into(),
            qos,
            big,
            expires,
            copies: Vec::new(),
        }
    }

    /// A payload that says the number.
    pub(super) fn payload(number: Number, big: bool) -> String {
        format!(
            "{number}:{}",
            "x".repeat(if big { 400 } else { number % 7 })
        )
    }
}

pub(super) fn number_of(payload: &[u8]) -> Number {
    let text = std::str::from_utf8(payload).expect("text");
    text.split_once(':')
        .expect("a number")
        .0
        .parse()
        .expect("a number")
}
