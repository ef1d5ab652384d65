//! The topics under `$SYS/broker`, in Mosquitto's names, and what each of them says.

use alloc::string::String;
use core::fmt::Write as _;

use super::super::{Broker, Counters};
use super::loads::{LOADS, Loads, WINDOWS};

const VERSION: &str = concat!("wherry version ", env!("CARGO_PKG_VERSION"));

/// How many topics there are.
pub(super) const COUNT: usize = PLAIN.len() + LOADS.len() * WINDOWS.len();

/// How a value is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// The name and version of the broker. There is no value.
    Version,
    /// `5 seconds`
    Seconds,
    /// `5`
    Count,
}

use Form::{Count, Seconds, Version};

pub(super) type Value = fn(&Figures) -> u64;

/// What there is to tell of one shard, or of several together.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    uptime: u64,
    pub(super) counters: Counters,
    absent_sessions: usize,
    /// Retained messages and their bytes. Every shard has all of them.
    retained: [usize; 2],
    /// Messages that wait or are in flight, and their bytes.
    queued: [usize; 2],
    in_flight: usize,
    /// Subscriptions, and those of them that are shared.
    subscriptions: [usize; 2],
}

impl Figures {
    /// Those of one shard.
    pub(super) fn of(broker: &Broker) -> Self {
        Self {
            uptime: broker.now.since(broker.sys.started).as_secs(),
            counters: broker.counters().clone(),
            absent_sessions: broker.absent_sessions(),
            retained: [broker.retained_messages(), broker.retained_bytes()],
            queued: [broker.queued_messages(), broker.queued_bytes()],
            in_flight: broker.out.in_flight,
            subscriptions: [broker.subscriptions(), broker.shared_subscriptions()],
        }
    }

    /// Adds those of another shard.
    pub(super) fn add(&mut self, other: &Self) {
        let add = |one: &mut [usize; 2], other: [usize; 2]| {
            for (one, other) in one.iter_mut().zip(other) {
                *one += other;
            }
        };
        self.counters.add(&other.counters);
        self.absent_sessions += other.absent_sessions;
        add(&mut self.queued, other.queued);
        self.in_flight += other.in_flight;
        add(&mut self.subscriptions, other.subscriptions);
    }
}

/// All but the averages. Some things have two names, a newer one and one that dashboards still ask
/// for.
const PLAIN: [(&str, Form, Value); 26] = [
    ("version", Version, |_| 0),
    ("uptime", Seconds, |all| all.uptime),
    ("clients/total", Count, clients),
    ("clients/connected", Count, connected),
    ("clients/active", Count, connected),
    ("clients/disconnected", Count, disconnected),
    ("clients/inactive", Count, disconnected),
    ("clients/maximum", Count, |all| all.counters.clients_most),
    ("clients/expired", Count, |all| {
        all.counters.sessions_expired
    }),
    ("connections/socket/count", Count, |all| {
        all.counters.connections_opened
    }),
    ("messages/received", Count, |all| {
        all.counters.packets_received
    }),
    ("messages/sent", Count, |all| all.counters.packets_sent),
    ("messages/stored", Count, stored),
    ("store/messages/count", Count, stored),
    ("store/messages/bytes", Count, |all| {
        (all.retained[1] + all.queued[1]) as u64
    }),
    ("messages/inflight", Count, |all| all.in_flight as u64),
    ("bytes/received", Count, |all| all.counters.bytes_received),
    ("bytes/sent", Count, |all| all.counters.bytes_sent),
    ("publish/messages/received", Count, |all| {
        all.counters.publish_received
    }),
    ("publish/messages/sent", Count, |all| {
        all.counters.publish_sent
    }),
    ("publish/messages/dropped", Count, |all| {
        all.counters.dropped_for_want_of_room()
    }),
    ("publish/bytes/received", Count, |all| {
        all.counters.publish_bytes_received
    }),
    ("publish/bytes/sent", Count, |all| {
        all.counters.publish_bytes_sent
    }),
    ("retained messages/count", Count, |all| {
        all.retained[0] as u64
    }),
    ("subscriptions/count", Count, |all| {
        all.subscriptions[0] as u64
    }),
    ("shared_subscriptions/count", Count, |all| {
        all.subscriptions[1] as u64
    }),
];

/// Those that connect: a local client is part of the broker's program.
fn clients(all: &Figures) -> u64 {
    connected(all) + disconnected(all)
}

fn connected(all: &Figures) -> u64 {
    all.counters.clients_connected()
}

fn disconnected(all: &Figures) -> u64 {
    all.absent_sessions as u64
}

fn stored(all: &Figures) -> u64 {
    (all.retained[0] + all.queued[0]) as u64
}

/// One of the topics.
#[derive(Clone, Copy, Debug)]
pub(super) enum Topic {
    Plain(&'static (&'static str, Form, Value)),
    /// The average of that load over that window.
    Average(usize, usize),
}

impl Topic {
    /// The topic at a place between 0 and [`COUNT`].
    pub(super) fn at(place: usize) -> Option<Self> {
        static TABLE: [(&str, Form, Value); PLAIN.len()] = PLAIN;
        if let Some(plain) = TABLE.get(place) {
            return Some(Self::Plain(plain));
        }
        let place = place - TABLE.len();
        let (load, window) = (place / WINDOWS.len(), place % WINDOWS.len());
        (load < LOADS.len()).then_some(Self::Average(load, window))
    }

    /// What the topic is to say now. Averages have their hundredths.
    pub(super) fn value(self, all: &Figures, loads: &Loads) -> u64 {
        match self {
            Self::Plain((_, _, value)) => value(all),
            Self::Average(load, window) => loads.hundredths(load, window),
        }
    }

    /// Writes the whole topic name.
    pub(super) fn write_name(self, out: &mut String) {
        out.clear();
        // Writing to a string cannot fail, here and below.
        let _ = match self {
            Self::Plain((name, ..)) => write!(out, "$SYS/broker/{name}"),
            Self::Average(load, window) => {
                let (name, _) = LOADS[load];
                let (length, _) = WINDOWS[window];
                write!(out, "$SYS/broker/load/{name}/{length}")
            }
        };
    }

    /// Writes a value as a payload.
    pub(super) fn write_value(self, value: u64, out: &mut String) {
        out.clear();
        let _ = match self {
            Self::Plain((_, Version, _)) => out.write_str(VERSION),
            Self::Plain((_, Seconds, _)) => write!(out, "{value} seconds"),
            Self::Plain((_, Count, _)) => write!(out, "{value}"),
            Self::Average(..) => write!(out, "{}.{:02}", value / 100, value % 100),
        };
    }
}
