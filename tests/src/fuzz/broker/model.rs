//! What was published, who asked for what, and so what may arrive where. It forgets nothing, so
//! that it need not know when the broker does.

use std::collections::{BTreeMap, BTreeSet};

use super::super::topic::naive;
use super::choices::Granted;

/// How many bytes the number at the start of a payload has.
pub(super) const NUMBER: usize = 5;

/// A message that was published, or would be by a will.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) expiry: Option<u32>,
    /// The client identifier of who published it, or, if it is assigned, something else that is
    /// nobody else's.
    pub(super) publisher: String,
    /// How often it may count as published.
    pub(super) times: usize,
    /// By which connection or local client: it must have had leave.
    pub(super) source: Source,
    /// Whether it is a will, which is published later than others that come after it here.
    pub(super) is_will: bool,
    /// Whether it is a will that was taken back.
    pub(super) is_withdrawn: bool,
}

/// A connection or a local client.
pub(super) type Source = usize;

/// Messages that come in the order in which they were published: to whom, from whom, about what,
/// and the QoS of both.
type Stream = (Source, Source, String, [u8; 2]);

/// One entry of a SUBSCRIBE.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Without the group.
    pub(super) filter: String,
    pub(super) group: Option<String>,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) identifier: u32,
}

impl Asked {
    /// The filter as it is written, and its options as MQTT 5 has them.
    pub(super) fn new(filter: &str, options: u8, identifier: u32) -> Self {
        let shared = filter
            .strip_prefix("$share/")
            .and_then(|rest| rest.split_once('/'));
        Self {
            filter: shared.map_or(filter, |(_, filter)| filter).to_owned(),
            group: shared.map(|_| filter.to_owned()),
            qos: options & 3,
            no_local: options & 4 != 0,
            identifier,
        }
    }
}

/// All that clients of one identifier have done.
#[derive(Debug, Default)]
struct Client {
    asked: Vec<Asked>,
    /// How often it came.
    connects: usize,
    /// How often each message arrived for the first time.
    copies: BTreeMap<usize, usize>,
}

/// A message as it arrives.
#[derive(Clone, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) expiry: Option<u32>,
    pub(super) identifiers: Vec<u32>,
    /// Whether it came in a form that has room for properties.
    pub(super) is_v5: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    messages: Vec<Message>,
    /// Topics to which an empty message was published.
    emptied: BTreeSet<String>,
    clients: BTreeMap<String, Client>,
    /// The number of the last message of each stream.
    last: BTreeMap<Stream, usize>,
    /// The grants that each source has had.
    grants: Vec<Vec<Granted>>,
    /// Whether anything was sent of which it is not known what it says.
    pub(super) is_wild: bool,
    pub(super) arrived: usize,
}

impl Model {
    /// A payload for the next message: its number, and so many bytes more.
    pub(super) fn payload(&self, more: usize) -> Vec<u8> {
        let mut payload = format!("{:0NUMBER$}", self.messages.len()).into_bytes();
        payload.resize(NUMBER + more, b'.');
        payload
    }

    /// A message may be on its way from now on. Returns its number.
    pub(super) fn published(&mut self, message: Message) -> usize {
        if message.payload.is_empty() {
            self.emptied.insert(message.topic.clone());
        }
        self.messages.push(message);
        self.messages.len() - 1
    }

    /// It was sent once more, and may count once more.
    pub(super) fn published_again(&mut self, number: usize) {
        self.messages[number].times += 1;
    }

    /// A will is not to be published any more.
    pub(super) fn withdrawn(&mut self, number: usize) {
        self.messages[number].is_withdrawn = true;
    }

    /// A new source, which may do nothing yet.
    pub(super) fn source(&mut self) -> Source {
        self.grants.push(Vec::new());
        self.grants.len() - 1
    }

    pub(super) fn granted(&mut self, source: Source, granted: Granted) {
        self.grants[source].push(granted);
    }

    pub(super) fn connected(&mut self, name: &str) {
        self.client(name).connects += 1;
    }

    pub(super) fn subscribed(&mut self, name: &str, asked: Asked) {
        self.client(name).asked.push(asked);
    }

    fn client(&mut self, name: &str) -> &mut Client {
        self.clients.entry(name.to_owned()).or_default()
    }

    /// Judges a message that arrives at a client with this identifier.
    pub(super) fn judge(&mut self, name: &str, receiver: Source, arrival: &Arrival<'_>) {
        self.arrived += 1;
        if self.is_wild {
            return;
        }
        let grants = &self.grants;
        let mut had = grants[receiver].iter();
        let may_receive = had.any(|grant| grant.may_receive(arrival.topic));
        assert!(may_receive, "{name:?} may not receive it: {arrival:?}");
        let client = self.clients.entry(name.to_owned()).or_default();
        let matching = |asked: &&Asked| naive(&asked.filter, arrival.topic);
        let asked: Vec<&Asked> = client.asked.iter().filter(matching).collect();
        assert!(!asked.is_empty(), "{name:?} never asked for {arrival:?}");
        let qos = asked.iter().map(|asked| asked.qos).max();
        assert!(
            Some(arrival.qos) <= qos,
            "{name:?} asked for less: {arrival:?}"
        );
        for identifier in &arrival.identifiers {
            let is_known = asked.iter().any(|it| it.identifier == *identifier);
            assert!(is_known, "{name:?} has no such identifier: {arrival:?}");
        }
        if arrival.topic.starts_with("$SYS/") {
            return;
        }
        if arrival.payload.is_empty() {
            let is_known = self.emptied.contains(arrival.topic);
            assert!(is_known, "nobody published that: {arrival:?}");
            return;
        }
        let number = arrival
            .payload
            .get(..NUMBER)
            .and_then(|it| str::from_utf8(it).ok());
        let number: usize = number.and_then(|it| it.parse().ok()).expect("a number");
        let message = &self.messages[number];
        message.assert_is(arrival);
        let mut had = grants[message.source].iter();
        let had_leave = had.any(|grant| grant.may_publish(&message.topic));
        assert!(had_leave, "its publisher had no leave: {message:?}");
        // [MQTT-3.14.4-3]
        assert!(!message.is_withdrawn, "a will taken back: {message:?}");
        // [MQTT-3.8.3-3] Who published what is retained is not kept.
        let is_own = message.publisher == name && !arrival.retain;
        let is_wanted = asked.iter().any(|it| !is_own || !it.no_local);
        assert!(is_wanted, "{name:?} has published it: {message:?}");
        if !arrival.dup {
            // Each message comes once by all subscriptions together, and once by each group, or
            // more often if the sessions of members end before they have it. Subscribing brings it
            // again if it is retained.
            let groups: BTreeSet<_> = asked.iter().filter_map(|it| it.group.as_ref()).collect();
            let live = 1 + groups.len() * (1 + client.connects);
            let replays = if message.retain { asked.len() } else { 0 };
            let copies = client.copies.entry(number).or_default();
            *copies += 1;
            let most = message.times * live + replays;
            assert!(*copies <= most, "{name:?}, {copies} times: {message:?}");
            let is_ordered = groups.is_empty() && !arrival.retain;
            if is_ordered && message.times == 1 && !message.is_will {
                // [MQTT-4.6.0-5]
                let qos = [message.qos, arrival.qos];
                let stream = (receiver, message.source, arrival.topic.to_owned(), qos);
                let before = self.last.insert(stream, number);
                assert!(
                    before < Some(number),
                    "{name:?}, after {before:?}: {message:?}"
                );
            }
        }
    }
}

impl Message {
    /// Asserts that this is the message that arrives.
    fn assert_is(&self, arrival: &Arrival<'_>) {
        assert_eq!(self.topic, arrival.topic, "{self:?}");
        assert_eq!(self.payload, arrival.payload, "{self:?}");
        assert!(arrival.qos <= self.qos, "{self:?} {arrival:?}");
        assert!(!arrival.retain || self.retain, "{self:?} {arrival:?}");
        // [MQTT-3.3.2-6]: what is left of it.
        let is_right = match (self.expiry, arrival.expiry) {
            (Some(asked), Some(left)) => left <= asked,
            (Some(_), None) => !arrival.is_v5,
            (None, left) => left.is_none(),
        };
        assert!(is_right, "{self:?} {arrival:?}");
    }
}
