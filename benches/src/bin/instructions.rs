//! How many instructions of the core a message takes, by valgrind: figures that a noisy machine
//! does not change. `cargo run --release -p wherry-benches --bin instructions -- --help`.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::env;
use std::io::{Error, Result};
use std::process::Command;

use clap::{Parser, ValueEnum};
use wherry_benches::{Bench, encode};
use wherry_core::connection::ConnectionId;
use wherry_core::packet::ProtocolVersion::{self, V3_1_1, V5};
use wherry_core::packet::{Packet, PacketId, Properties, Publish, QoS};
use wherry_host::allocator::Allocator;

/// The allocator that the brokers' programs have.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// How many messages of a client come in one read.
const BATCH: usize = 64;

/// How many publishers there are, each with a topic of its own, where not everybody has the same.
const PAIRS: usize = 10;

/// Two runs that differ by so many rounds tell what a round takes.
const ROUNDS: usize = 100;

/// Counts the instructions that a message takes in the core.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to count; everything without it.
    scenarios: Vec<Scenario>,
    /// Only does the work, so many rounds of it, to be looked at by any tool.
    #[arg(long)]
    rounds: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    PairsQos0,
    PairsQos0V5,
    PairsQos1,
    PairsQos1V5,
    PairsQos1OneKib,
    PairsQos2,
    FanoutQos0,
    FanoutQos1,
    FaninQos0,
    FaninQos1,
    Wild,
    RetainedStored,
    RetainedDelivered,
    OfflineQueued,
    OfflineDrained,
}

impl Scenario {
    fn name(self) -> String {
        let name = self.to_possible_value();
        name.map_or_else(String::new, |name| name.get_name().to_owned())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    if let Some(rounds) = arguments.rounds {
        for scenario in scenarios {
            println!("{}", work(*scenario, rounds));
        }
        return Ok(());
    }
    println!("instructions of the core for a message that is delivered, stored or queued");
    for scenario in scenarios {
        let (few, many) = (counted(*scenario, ROUNDS)?, counted(*scenario, 2 * ROUNDS)?);
        let (instructions, messages) = (many.0 - few.0, many.1 - few.1);
        let each = instructions as f64 / messages as f64;
        println!("{:20} {each:8.0}", scenario.name());
    }
    Ok(())
}

/// How many instructions so many rounds take in all, and how many messages they were.
fn counted(scenario: Scenario, rounds: usize) -> Result<(u64, u64)> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no"])
        .arg("--cachegrind-out-file=/dev/null")
        .arg(env::current_exe()?)
        .args(["--rounds", &rounds.to_string(), &scenario.name()])
        .output()
        .map_err(|error| Error::other(format!("valgrind: {error}; is it installed?")))?;
    let told = String::from_utf8_lossy(&output.stderr);
    // `==1234== I refs:        12,345`
    let refs = told.lines().find_map(|line| line.split_once("refs:"));
    let refs = refs.and_then(|(_, number)| number.trim().replace(',', "").parse().ok());
    let messages = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    refs.zip(messages)
        .ok_or_else(|| Error::other(format!("valgrind said: {told}")))
}

/// Does the work of so many rounds; returns how many messages that were.
fn work(scenario: Scenario, rounds: usize) -> u64 {
    use Scenario as S;
    let (one, all) = (QoS::AtLeastOnce, 100);
    match scenario {
        S::PairsQos0 => exchange(rounds, &Shape::pairs(QoS::AtMostOnce, V3_1_1)),
        S::PairsQos0V5 => exchange(rounds, &Shape::pairs(QoS::AtMostOnce, V5)),
        S::PairsQos1 => exchange(rounds, &Shape::pairs(one, V3_1_1)),
        S::PairsQos1V5 => exchange(rounds, &Shape::pairs(one, V5)),
        S::PairsQos1OneKib => {
            let payload = 1024;
            let pairs = Shape::pairs(one, V3_1_1);
            exchange(rounds, &Shape { payload, ..pairs })
        }
        S::PairsQos2 => exchange(rounds, &Shape::pairs(QoS::ExactlyOnce, V3_1_1)),
        S::FanoutQos0 => exchange(rounds, &Shape::fan(QoS::AtMostOnce, 1, all)),
        S::FanoutQos1 => exchange(rounds, &Shape::fan(one, 1, all)),
        S::FaninQos0 => exchange(rounds, &Shape::fan(QoS::AtMostOnce, all, 1)),
        S::FaninQos1 => exchange(rounds, &Shape::fan(one, all, 1)),
        S::Wild => {
            let filters = &["+/7/device/+/temperature"];
            let subscribers = 10;
            let pairs = Shape::pairs(QoS::AtMostOnce, V3_1_1);
            exchange(
                rounds,
                &Shape {
                    filters,
                    subscribers,
                    ..pairs
                },
            )
        }
        S::RetainedStored => retained(rounds, 0),
        S::RetainedDelivered => retained(8, rounds),
        S::OfflineQueued => offline(rounds, false),
        S::OfflineDrained => offline(rounds, true),
    }
}

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
struct Shape {
    qos: QoS,
    version: ProtocolVersion,
    payload: usize,
    publishers: usize,
    subscribers: usize,
    /// What every subscriber subscribes to; without it, the topic of the publisher of its number.
    filters: &'static [&'static str],
}

impl Shape {
    fn pairs(qos: QoS, version: ProtocolVersion) -> Self {
        Self {
            qos,
            version,
            payload: 64,
            publishers: PAIRS,
            subscribers: PAIRS,
            filters: &[],
        }
    }

    fn fan(qos: QoS, publishers: usize, subscribers: usize) -> Self {
        Self {
            publishers,
            subscribers,
            filters: &["#"],
            ..Self::pairs(qos, V3_1_1)
        }
    }
}

fn topic(number: usize) -> String {
    format!("site/7/device/{number}/temperature")
}

/// Packets of one kind and length, whose packet identifiers count up from batch to batch.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    len: usize,
    /// Where the packet identifier is in each; nowhere at QoS 0.
    id_at: Option<usize>,
    count: usize,
}

impl Batch {
    fn new(packet: &[u8], id_at: Option<usize>) -> Self {
        Self {
            bytes: packet.repeat(BATCH),
            len: packet.len(),
            id_at,
            count: 0,
        }
    }

    fn ack(first: u8) -> Self {
        Self::new(&[first, 2, 0, 0], Some(2))
    }

    fn publish(topic: &str, shape: &Shape) -> Self {
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: shape.qos,
            retain: false,
            topic,
            packet_id: (shape.qos > QoS::AtMostOnce)
                .then(|| PacketId::new(1))
                .flatten(),
            properties: Properties::EMPTY,
            payload: &vec![7; shape.payload],
        });
        let bytes = encode(&packet, shape.version);
        let properties = usize::from(shape.version == V5);
        let id_at = bytes.len() - shape.payload - properties - 2;
        Self::new(&bytes, (shape.qos > QoS::AtMostOnce).then_some(id_at))
    }

    /// The first `count` of them, with the next identifiers.
    fn next(&mut self, count: usize) -> &[u8] {
        if let Some(at) = self.id_at {
            for packet in self.bytes.chunks_exact_mut(self.len).take(count) {
                let id = u16::try_from(self.count % 65_535 + 1).unwrap_or(1);
                packet[at..at + 2].copy_from_slice(&id.to_be_bytes());
                self.count += 1;
            }
        }
        &self.bytes[..self.len * count]
    }
}

/// Messages from publishers to subscribers that are there, with all acknowledgements.
fn exchange(rounds: usize, shape: &Shape) -> u64 {
    let mut bench = Bench::default();
    let mut subscribers: Vec<(ConnectionId, [Batch; 2])> = Vec::new();
    for n in 0..shape.subscribers {
        let id = bench.connect(shape.version, &format!("subscriber {n}"));
        let own = topic(n);
        let filters: &[&str] = match shape.filters {
            [] => &[&own],
            all => all,
        };
        bench.subscribe_at(id, shape.version, filters, shape.qos);
        subscribers.push((id, [answer(shape.qos), Batch::ack(0x70)]));
    }
    let mut publishers: Vec<(ConnectionId, [Batch; 2])> = Vec::new();
    for n in 0..shape.publishers {
        let id = bench.connect(shape.version, &format!("publisher {n}"));
        let messages = Batch::publish(&topic(n), shape);
        publishers.push((id, [messages, Batch::ack(0x62)]));
    }
    let to_each = match shape.filters {
        [] => 1,
        _ => shape.subscribers,
    };
    for _ in 0..rounds {
        for (n, (id, [messages, releases])) in publishers.iter_mut().enumerate() {
            bench.receive(*id, messages.next(BATCH));
            if shape.qos == QoS::ExactlyOnce {
                bench.receive(*id, releases.next(BATCH));
            }
            let receivers = match to_each {
                1 if shape.subscribers > 1 => &mut subscribers[n..=n],
                _ => &mut subscribers[..],
            };
            for (id, [acks, completions]) in receivers {
                if shape.qos > QoS::AtMostOnce {
                    bench.receive(*id, acks.next(BATCH));
                }
                if shape.qos == QoS::ExactlyOnce {
                    bench.receive(*id, completions.next(BATCH));
                }
            }
        }
    }
    let messages = (rounds * BATCH * shape.publishers * to_each) as u64;
    assert_eq!(bench.broker().counters().publish_sent, messages);
    messages
}

/// What a subscriber answers first.
fn answer(qos: QoS) -> Batch {
    match qos {
        QoS::ExactlyOnce => Batch::ack(0x50),
        _ => Batch::ack(0x40),
    }
}

/// Messages that are retained, each of a topic of its own, and subscribers that get all of them.
fn retained(stored: usize, delivered: usize) -> u64 {
    let mut bench = Bench::default();
    let publisher = bench.connect(V3_1_1, "publisher");
    for n in 0..stored * BATCH {
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: &format!("site/{}/device/{n}", n / 1000),
            packet_id: None,
            properties: Properties::EMPTY,
            payload: &[7; 64],
        });
        bench.receive(publisher, &encode(&packet, V3_1_1));
    }
    let reader = bench.connect(V3_1_1, "reader");
    for _ in 0..delivered {
        bench.subscribe_at(reader, V3_1_1, &["site/#"], QoS::AtMostOnce);
    }
    assert_eq!(
        bench.broker().counters().publish_sent,
        (stored * delivered * BATCH) as u64
    );
    (stored * delivered.max(1) * BATCH) as u64
}

/// Messages for sessions whose clients are away, and come for them at the end.
fn offline(rounds: usize, is_drained: bool) -> u64 {
    let shape = Shape::pairs(QoS::AtLeastOnce, V3_1_1);
    let mut bench = Bench::default();
    let clients = rounds.div_ceil(4);
    for n in 0..clients {
        let id = bench.connect_lasting(&format!("subscriber {n}"));
        bench.subscribe_at(id, V3_1_1, &[&topic(n)], QoS::AtLeastOnce);
        bench.disconnect(id);
    }
    let publisher = bench.connect(V3_1_1, "publisher");
    for n in 0..clients {
        let mut messages = Batch::publish(&topic(n), &shape);
        for _ in 0..4 {
            bench.receive(publisher, messages.next(BATCH));
        }
    }
    for n in 0..if is_drained { clients } else { 0 } {
        let id = bench.connect_lasting(&format!("subscriber {n}"));
        let mut acks = Batch::ack(0x40);
        for _ in 0..4 {
            bench.receive(id, acks.next(BATCH));
        }
    }
    (clients * 4 * BATCH) as u64
}
