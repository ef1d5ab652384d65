//! What the oracle knows of connections and sessions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::op::{Op, Turn};
use super::subscribe::Sub;
use crate::sim::packets::{Content, Hello, Number, Sent};
use crate::sim::schedule::Millis;
use crate::sim::universe::Right;
use crate::wire::Version;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    /// CONNECT came then.
    Asked(Millis),
    /// Its client is in, with this session.
    In(usize),
    Over,
}

/// A packet that the broker has read and perhaps not yet looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unfinished {
    /// The instance of a message, with the identifier that it is to hold.
    Publish(Number, usize, Option<u16>),
    /// The message held under this identifier came again.
    Again(u16),
    /// The end of an exchange.
    Done(u16),
    /// PUBREC.
    Received(u16),
    Released(u16),
    /// All subscriptions with this operation.
    Subscribe(u64),
    Unsubscribe(u64),
    Goodbye(Farewell),
}

/// DISCONNECT: reason and session expiry interval.
pub(super) type Farewell = (u8, Option<u32>);

/// A PUBLISH that is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) id: u16,
    pub(super) number: Number,
    /// `None` if it came before, and was passed on then.
    pub(super) instance: Option<usize>,
    /// Nobody knows whether it came before.
    pub(super) unsure: bool,
}

/// A SUBSCRIBE or UNSUBSCRIBE that is to be answered.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: u16,
    pub(super) order: u64,
    pub(super) filters: Vec<&'static str>,
    /// What is to be answered, each.
    pub(super) asked: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) client: usize,
    pub(super) version: Version,
    pub(super) is_hostile: bool,
    pub(super) hello: Option<Hello>,
    pub(super) stage: Stage,
    /// The broker was told not to let it in.
    pub(super) refused: bool,
    /// The broker did not look at what it has sent, after the last turn.
    pub(super) paused: bool,
    /// CONNACK was written.
    pub(super) welcomed: bool,
    /// What CONNACK has to say of the session.
    pub(super) present: bool,
    /// When its client was let in.
    pub(super) admitted: Option<Op>,
    /// The keep-alive in force, in seconds.
    pub(super) keep_alive: u16,
    /// When a packet was last complete.
    pub(super) heard_at: Millis,
    /// When the socket last took bytes, or nothing waited.
    pub(super) progress: Millis,
    /// The last turn after which nothing waited for the client, and its time.
    pub(super) empty: (Turn, Millis),
    /// What may be given as the reason of its end.
    pub(super) reasons: Vec<u8>,
    /// What came before the client was let in.
    pub(super) early: Vec<Sent>,
    pub(super) unfinished: VecDeque<Unfinished>,
    pub(super) pubacks: VecDeque<Awaited>,
    pub(super) pubrecs: VecDeque<Awaited>,
    pub(super) pubcomps: VecDeque<u16>,
    pub(super) subacks: VecDeque<Request>,
    pub(super) unsubacks: VecDeque<Request>,
    pub(super) pings: usize,
    /// The identifiers of messages that the client has not answered.
    pub(super) window: BTreeSet<u16>,
    /// PUBREC came for them: PUBREL is due.
    pub(super) releases: BTreeSet<u16>,
    /// PUBREC came for what is perhaps not in flight.
    pub(super) strays: BTreeSet<u16>,
    /// Messages of earlier connections that were answered here before they came here again: they
    /// may be on their way all the same.
    pub(super) crossing: BTreeMap<u16, Option<Number>>,
    /// The place in its order of what was sent again last.
    pub(super) resent: u64,
    /// What came again after a crash, by publisher, topic and QoS: the place of the last in the
    /// order in which it was published.
    pub(super) restored: BTreeMap<(usize, &'static str, u8), u64>,
}

impl Conn {
    pub(super) fn new(client: usize, version: Version, is_hostile: bool) -> Self {
        Self {
            client,
            version,
            is_hostile,
            hello: None,
            stage: Stage::New,
            refused: false,
            paused: false,
            welcomed: false,
            present: false,
            admitted: None,
            keep_alive: 0,
            heard_at: 0,
            progress: 0,
            empty: (0, 0),
            reasons: Vec::new(),
            early: Vec::new(),
            unfinished: VecDeque::new(),
            pubacks: VecDeque::new(),
            pubrecs: VecDeque::new(),
            pubcomps: VecDeque::new(),
            subacks: VecDeque::new(),
            unsubacks: VecDeque::new(),
            pings: 0,
            window: BTreeSet::new(),
            releases: BTreeSet::new(),
            strays: BTreeSet::new(),
            crossing: BTreeMap::new(),
            resent: 0,
            restored: BTreeMap::new(),
        }
    }
}

/// By what a copy of a message comes to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// By its subscriptions: this instance.
    Direct(usize),
    /// By a shared subscription: this instance.
    Group(&'static str, usize),
    /// Because it was retained: to this subscription, by its place.
    Replay(usize),
}

/// A copy that must arrive.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) number: Number,
    pub(super) source: Source,
    /// How it looks; `None` if that depends on what nobody knows for sure.
    pub(super) look: Option<Look>,
    /// The only connection on which it must, at QoS 0.
    pub(super) conn: Option<usize>,
    /// When it need not arrive any more.
    pub(super) expires: Option<Millis>,
}

/// A copy that has arrived.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) source: Source,
    pub(super) look: Look,
    pub(super) turn: Turn,
    /// Whether it had to come by that, as far as was known then.
    pub(super) was_owed: bool,
}

/// How a copy looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Subscription identifiers, sorted.
    pub(super) identifiers: Vec<u32>,
}

impl Look {
    /// How a copy looks that comes by these subscriptions.
    pub(super) fn by(subs: &[&Sub], content: &Content, is_v5: bool) -> Option<Self> {
        let granted = subs.iter().map(|sub| sub.qos).max()?;
        let as_published = subs.iter().any(|sub| sub.retain_as_published);
        let identifiers = subs.iter().map(|sub| sub.identifier);
        let mut identifiers: Vec<u32> = identifiers.filter(|it| is_v5 && *it > 0).collect();
        identifiers.sort_unstable();
        Some(Self {
            qos: content.qos.min(granted),          // [MQTT-3.8.4-8]
            retain: content.retain && as_published, // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
            identifiers,
        })
    }

    /// How one looks that comes because it was retained.
    pub(super) fn of_replay(sub: &Sub, content: &Content, is_v5: bool) -> Self {
        let mut look = Self {
            qos: content.qos.min(sub.qos),
            retain: true, // [MQTT-3.3.1-8]
            identifiers: vec![sub.identifier],
        };
        look.identifiers.retain(|it| is_v5 && *it > 0);
        look
    }
}

/// A message in flight to a client.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// `None` if it is of a hostile client.
    pub(super) number: Option<Number>,
    pub(super) source: Source,
    pub(super) look: Look,
    /// The order in which messages were first sent.
    pub(super) order: u64,
    /// The connection on which it was last sent.
    pub(super) conn: usize,
    /// PUBREC was looked at: PUBREL it is from now on.
    pub(super) released: bool,
    /// PUBREC has come.
    pub(super) received: bool,
    /// PUBREL was written.
    pub(super) told: bool,
    /// The last answer has come; it is perhaps not looked at yet.
    pub(super) answered: bool,
    /// Nobody knows whether the broker still has it.
    pub(super) unsure: bool,
    /// It must be sent again on this connection.
    pub(super) due: Option<usize>,
    /// When the broker knew that the client is done with it, in the order in which it knew; 0 is
    /// never.
    pub(super) done: u64,
    /// It comes back if something does that the client was done with before it.
    pub(super) is_bound: bool,
}

/// A QoS 2 message of a client that it has not released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) number: Number,
    pub(super) instance: usize,
    /// Whether the broker surely holds it.
    pub(super) sure: bool,
    /// PUBREC was written.
    pub(super) told: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: usize,
    pub(super) is_v5: bool,
    pub(super) name: String,
    pub(super) right: Right,
    pub(super) max_packet: Option<u32>,
    pub(super) conn: Option<usize>,
    /// The turn in which it ended.
    pub(super) ended: Option<Turn>,
    /// The turn in which its last connection ended.
    pub(super) left: Option<Turn>,
    /// As granted, in seconds.
    pub(super) expiry: u32,
    pub(super) ends_at: Option<Millis>,
    /// After a crash it perhaps lives longer.
    pub(super) ends_latest: Option<Millis>,
    /// There may be something of it in the store, if there is one.
    pub(super) stored: bool,
    /// A crash has ended its last connection.
    pub(super) left_by_crash: bool,
    /// The turn in which its client got other rights or takes packets of another size.
    pub(super) changed: Turn,
    /// Message and delay in seconds.
    pub(super) will: Option<(Number, u32)>,
    pub(super) will_due: Option<Millis>,
    /// Wills that are not to be published any more, since when.
    pub(super) wills_gone: Vec<(Number, Turn)>,
    pub(super) subs: Vec<Sub>,
    pub(super) flights: BTreeMap<u16, Flight>,
    /// What its client was done with, under which identifier, since when.
    pub(super) done: Vec<(Turn, u16, Flight)>,
    /// What was in flight at QoS 1 when the broker died, and what it may have forgotten to be done.
    pub(super) again: Vec<Flight>,
    /// The identifiers of what the broker may have forgotten to be done, at QoS 2.
    pub(super) releases_again: BTreeSet<u16>,
    pub(super) held: BTreeMap<u16, Held>,
    pub(super) owed: Vec<Owed>,
    /// What has arrived.
    pub(super) got: BTreeMap<Number, Vec<Got>>,
    /// The last instance by publisher, topic and QoS.
    pub(super) last: BTreeMap<(usize, &'static str, u8), u64>,
}

impl Session {
    pub(super) fn has_got(&self, number: Number, source: Source) -> bool {
        self.got
            .get(&number)
            .is_some_and(|all| all.iter().any(|got| got.source == source))
    }

    /// What a filter's replay has not brought yet need not come.
    pub(super) fn forget_replays(&mut self, name: &str) {
        let subs = &self.subs;
        let is_its = |source| matches!(source, Source::Replay(sub) if subs[sub].name == name);
        let got = &self.got;
        self.owed.retain(|owed| {
            // What has come by this filter's replay, and looks the same, perhaps came by the
            // other's.
            let all = got.get(&owed.number).into_iter().flatten();
            let is_like = all
                .filter(|got| is_its(got.source) && owed.look.as_ref() == Some(&got.look))
                .count()
                > 0;
            !(is_its(owed.source) || is_like && matches!(owed.source, Source::Replay(_)))
        });
    }

    /// Whether a packet of that size surely can be sent to its client.
    pub(super) fn takes(&self, size: usize) -> bool {
        self.max_packet.is_none_or(|max| size <= max as usize)
    }
}
