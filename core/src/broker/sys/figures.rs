//! The topics under `$SYS/broker`, in Mosquitto's names, and what each of them says.

use alloc::string::String;
use core::fmt::Write as _;

use super::super::{Broker, Counters};
use super::loads::{LOADS, WINDOWS};

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

pub(super) type Value = fn(&Broker) -> u64;

/// All but the averages. Some things have two names, a newer one and one that dashboards still ask
/// for.
const PLAIN: [(&str, Form, Value); 26] = [
    ("version", Version, |_| 0),
    ("uptime", Seconds, |broker| {
        broker.now.since(broker.sys.started).as_secs()
    }),
    ("clients/total", Count, clients),
    ("clients/connected", Count, connected),
    ("clients/active", Count, connected),
    ("clients/disconnected", Count, disconnected),
    ("clients/inactive", Count, disconnected),
    ("clients/maximum", Count, |broker| {
        counters(broker).clients_most
    }),
    ("clients/expired", Count, |broker| {
        counters(broker).sessions_expired
    }),
    ("connections/socket/count", Count, |broker| {
        counters(broker).connections_opened
    }),
    ("messages/received", Count, |broker| {
        counters(broker).packets_received
    }),
    ("messages/sent", Count, |broker| {
        counters(broker).packets_sent
    }),
    ("messages/stored", Count, stored),
    ("store/messages/count", Count, stored),
    ("store/messages/bytes", Count, |broker| {
        (broker.retained_bytes() + broker.queued_bytes()) as u64
    }),
    ("messages/inflight", Count, |broker| {
        broker.out.in_flight as u64
    }),
    ("bytes/received", Count, |broker| {
        counters(broker).bytes_received
    }),
    ("bytes/sent", Count, |broker| counters(broker).bytes_sent),
    ("publish/messages/received", Count, |broker| {
        counters(broker).publish_received
    }),
    ("publish/messages/sent", Count, |broker| {
        counters(broker).publish_sent
    }),
    ("publish/messages/dropped", Count, |broker| {
        counters(broker).dropped_for_want_of_room()
    }),
    ("publish/bytes/received", Count, |broker| {
        counters(broker).publish_bytes_received
    }),
    ("publish/bytes/sent", Count, |broker| {
        counters(broker).publish_bytes_sent
    }),
    ("retained messages/count", Count, |broker| {
        broker.retained_messages() as u64
    }),
    ("subscriptions/count", Count, |broker| {
        broker.subscriptions() as u64
    }),
    ("shared_subscriptions/count", Count, |broker| {
        broker.shared_subscriptions() as u64
    }),
];

fn counters(broker: &Broker) -> &Counters {
    broker.counters()
}

/// Those that connect: a local client is part of the broker's program.
fn clients(broker: &Broker) -> u64 {
    connected(broker) + disconnected(broker)
}

fn connected(broker: &Broker) -> u64 {
    counters(broker).clients_connected()
}

fn disconnected(broker: &Broker) -> u64 {
    broker.absent_sessions() as u64
}

fn stored(broker: &Broker) -> u64 {
    (broker.retained_messages() + broker.queued_messages()) as u64
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
    pub(super) fn value(self, broker: &Broker) -> u64 {
        match self {
            Self::Plain((_, _, value)) => value(broker),
            Self::Average(load, window) => broker.sys.loads.hundredths(load, window),
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
