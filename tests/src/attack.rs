//! What broke brokers before, thrown at this one.
//!
//! Every attack goes through [`Arena::attack`], which asserts the same four promises each time:
//! 1. the broker is alive: a new client connects and is served;
//! 2. its memory stays within a bound, at any time;
//! 3. a bystander pair, which exchanges messages all the while, notices nothing: every message
//!    arrives, in time and in order;
//! 4. the reason is told to the attacker where the protocol has words for it, logged with its
//!    address (and client identifier, where it had told one), and counted.
//!
//! Each attack happens twice: sent whole, and one byte at a time. The outcome is the same.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::broker::{BinaryUnderTest, Broker, Stopped};
use crate::client::{Client, Next};
use crate::wire::{self, Version};

/// How much the broker's memory may grow under an attack that names no bound of its own: room for
/// buffers of the allocator and of a few connections, and far from what any attack asks for.
pub const USUAL_GROWTH: u64 = 8 << 20;

/// Within this a bystander's message must arrive. A broker needs microseconds; the rest is for a
/// test machine that is busy with something else.
const IN_TIME: Duration = Duration::from_secs(5);

/// What an attacker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing: the stream ends.
    Nothing,
    /// A CONNACK with this code, then the end.
    Connack(u8),
    /// A DISCONNECT with one of these reasons (on MQTT 5), then the end.
    Disconnect(&'static [u8]),
    /// A SUBACK with this code for every filter; the connection lives on.
    Suback(u8),
    /// Nothing, and the connection lives on.
    NothingAndLives,
}

/// One attack: who says what, and what must come of it.
#[derive(Clone, Debug)]
pub struct Attack {
    version: Version,
    by_client: bool,
    bytes: Vec<u8>,
    told: Told,
    counter: Option<&'static str>,
    logged: Vec<String>,
    slowly: bool,
}

impl Attack {
    /// By a peer that has not said anything before.
    pub fn by_stranger(version: Version, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            version,
            by_client: false,
            bytes: bytes.into(),
            told: Told::Nothing,
            counter: None,
            logged: Vec::new(),
            slowly: true,
        }
    }

    /// By a client that has been let in. Unless told otherwise, it ends with a protocol error.
    pub fn by_client(version: Version, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            by_client: true,
            told: Told::Disconnect(&[0x81, 0x82]),
            counter: Some("ended_protocol_error"),
            ..Self::by_stranger(version, bytes)
        }
    }

    /// What the attacker is told.
    #[must_use]
    pub fn told(mut self, told: Told) -> Self {
        self.told = told;
        self
    }

    /// The counter that goes up by one each time.
    #[must_use]
    pub fn counted(mut self, counter: &'static str) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Nothing is counted of it, and nothing logged: it is allowed after all.
    #[must_use]
    pub fn not_counted(mut self) -> Self {
        self.counter = None;
        self
    }

    /// What the log line says beside the address.
    #[must_use]
    pub fn logged(mut self, words: &str) -> Self {
        self.logged.push(words.into());
        self
    }

    /// Leaves the bytes in one piece: there are so many that one by one they would take minutes.
    #[must_use]
    pub fn only_whole(mut self) -> Self {
        self.slowly = false;
        self
    }
}

/// A broker under attack, with its bystanders.
#[derive(Debug)]
pub struct Arena {
    broker: Broker,
    bystanders: Bystanders,
    rss_before: u64,
    allowed_growth: u64,
    /// How much it had grown when it was last looked at.
    growth: u64,
    counted: BTreeMap<&'static str, u64>,
    promised_lines: Vec<Vec<String>>,
    attacks: u32,
}

impl Arena {
    /// Starts a broker, lets the bystanders warm it up and notes its memory.
    pub fn new(binary: &BinaryUnderTest) -> Self {
        Self::around(binary.start())
    }

    /// The same with a broker that has been started for it.
    pub fn around(broker: Broker) -> Self {
        let mut bystanders = Bystanders::start(&broker);
        bystanders.wait_for_rounds(3);
        let rss_before = broker.rss_bytes();
        Self {
            broker,
            bystanders,
            rss_before,
            allowed_growth: USUAL_GROWTH,
            growth: 0,
            counted: BTreeMap::new(),
            promised_lines: Vec::new(),
            attacks: 0,
        }
    }

    /// Sets how much the broker's memory may grow, all attacks together.
    #[must_use]
    pub fn allow_growth(mut self, bytes: u64) -> Self {
        self.allowed_growth = bytes;
        self
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// How often a counter has been promised to go up, beyond what [`Arena::attack`] promises.
    pub fn expect_count(&mut self, counter: &'static str, times: u64) {
        *self.counted.entry(counter).or_default() += times;
    }

    /// Carries out an attack, whole and byte by byte, and asserts the promises.
    pub fn attack(&mut self, attack: &Attack) {
        let shown = &attack.bytes[..attack.bytes.len().min(40)];
        eprintln!("{:?}: {}", attack.version, shown.escape_ascii());
        self.carry_out(attack, attack.bytes.len());
        if attack.slowly {
            self.carry_out(attack, 1);
        }
        self.assert_well();
    }

    fn carry_out(&mut self, attack: &Attack, piece: usize) {
        self.attacks += 1;
        let mut client = Client::dial(&self.broker, attack.version);
        let client_id = attack
            .by_client
            .then(|| format!("attacker{}", self.attacks));
        if let Some(id) = &client_id {
            client.send(wire::connect(attack.version).client_id(id).bytes());
            client.expect_connack(0);
        }
        client.throw(&attack.bytes, piece);
        assert_told(&mut client, attack.told);
        if let Some(counter) = attack.counter {
            self.expect_count(counter, 1);
        }
        let lives = matches!(attack.told, Told::Suback(_) | Told::NothingAndLives);
        if lives && attack.counter.is_none() {
            return;
        }
        let mut needles = vec![client.address().to_string()];
        needles.extend(client_id);
        needles.extend(attack.logged.iter().cloned());
        // The line that tells of the client's arrival has address and identifier too.
        needles.push(
            if lives {
                "refused"
            } else if attack.by_client {
                "disconnected"
            } else {
                "not let in"
            }
            .into(),
        );
        self.promise_log(needles);
    }

    /// Promises a log line with all of `needles`, which [`Arena::finish`] looks for. The broker
    /// limits how many such lines it writes a second, and says how many it left out: those may be
    /// missing.
    pub fn promise_log(&mut self, needles: Vec<String>) {
        self.promised_lines.push(needles);
    }

    /// Asserts promises 1, 2 and 3 as things stand.
    pub fn assert_well(&mut self) {
        self.bystanders.wait_for_rounds(1);
        let probe = format!("probe{}", self.attacks);
        let mut client = Client::connect(&self.broker, Version::V5, &probe);
        client.subscribe(&probe);
        client.publish(&probe, "alive");
        client.expect_publish(&probe, "alive", false);
        client.disconnect();
        let growth = self.broker.peak_rss_bytes().saturating_sub(self.rss_before);
        let allowed = self.allowed_growth;
        self.growth = growth;
        assert!(
            growth <= allowed,
            "memory grew by {growth} bytes, {allowed} are allowed"
        );
    }

    fn assert_logged(&self) {
        let missing_and_left_out = |log: &[String]| {
            let missing: Vec<&Vec<String>> = self
                .promised_lines
                .iter()
                .filter(|needles| {
                    let fits = |line: &String| needles.iter().all(|n| line.contains(n.as_str()));
                    !log.iter().any(fits)
                })
                .collect();
            (
                missing,
                log.iter().filter_map(|line| left_out(line)).sum::<usize>(),
            )
        };
        // The line about what was left out comes when a second has passed.
        let all_there = |log: &[String]| {
            let (missing, left_out) = missing_and_left_out(log);
            missing.len() <= left_out
        };
        if !self.broker.wait_for_log_that(all_there, PATIENCE) {
            let log = self.broker.log_since(0);
            let (missing, left_out) = missing_and_left_out(&log);
            panic!("{left_out} log lines were left out, but these are missing: {missing:#?}");
        }
        let (missing, _) = missing_and_left_out(&self.broker.log_since(0));
        let promised = self.promised_lines.len();
        assert!(
            promised == 0 || missing.len() < promised,
            "none of {promised} lines is there"
        );
    }

    /// Ends it all: the promises once more, and what was counted.
    pub fn finish(mut self) -> Stopped {
        self.assert_well();
        eprintln!("memory grew by {} KiB", self.growth >> 10);
        self.bystanders.stop();
        self.assert_logged();
        let stopped = self.broker.stop();
        assert!(stopped.status.success(), "{:?}", stopped.status);
        for (name, times) in self.counted {
            assert_eq!(
                stopped.counter(name),
                times,
                "{name} in {:?}",
                stopped.counters
            );
        }
        stopped
    }
}

/// The number in a line that says how many lines were left out.
fn left_out(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" more lines about refused or misbehaving peers")?;
    before.rsplit(' ').next()?.parse().ok()
}

fn assert_told(client: &mut Client, told: Told) {
    match told {
        Told::Nothing => client.expect_closed(),
        Told::Connack(code) => client.expect_refusal(code),
        Told::Disconnect(reasons) => {
            if client.version().is_v5() {
                let said = client.expect_any().disconnect().reason;
                assert!(
                    reasons.contains(&said),
                    "{said:#04x} is none of {reasons:02x?}"
                );
            }
            client.expect_closed();
        }
        Told::Suback(code) => {
            let suback = client.expect_any().suback(client.version());
            assert!(!suback.codes.is_empty());
            assert!(
                suback.codes.iter().all(|c| *c == code),
                "{code:#04x}: {:02x?}",
                suback.codes
            );
            client.ping();
        }
        Told::NothingAndLives => client.ping(),
    }
}

/// A publisher and a subscriber that go on talking, whatever happens around them.
#[derive(Debug)]
struct Bystanders {
    thread: Option<JoinHandle<()>>,
    /// Dropped to end the conversation.
    stop: Option<Sender<()>>,
    rounds: mpsc::Receiver<()>,
}

impl Bystanders {
    fn start(broker: &Broker) -> Self {
        let mut subscriber = Client::connect(broker, Version::V5, "bystander s");
        subscriber.subscribe("bystander/+");
        let publisher = Client::connect(broker, Version::V3_1_1, "bystander p");
        let (stop, stopped) = mpsc::channel();
        let (round, rounds) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut subscriber, mut publisher) = (subscriber, publisher);
            let mut number = 0;
            // The pause between rounds leaves the processor to the broker.
            while stopped.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
                exchange(&mut publisher, &mut subscriber, &mut number);
                round.send(()).ok();
            }
            subscriber.disconnect();
            publisher.disconnect();
        });
        Self {
            thread: Some(thread),
            stop: Some(stop),
            rounds,
        }
    }

    /// Waits until so many rounds that begin from now on are over.
    fn wait_for_rounds(&mut self, rounds: usize) {
        while self.rounds.try_recv().is_ok() {}
        // The first may have begun before.
        for _ in 0..=rounds {
            if self.rounds.recv_timeout(PATIENCE).is_err() {
                self.stop();
                panic!("the bystanders are silent");
            }
        }
    }

    /// Ends the conversation; fails if it did not go well.
    fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "a bystander was harmed");
        }
    }
}

/// A round: ten messages, each with its number, must come back in time and in order.
fn exchange(publisher: &mut Client, subscriber: &mut Client, number: &mut u64) {
    let start = Instant::now();
    for n in *number..*number + 10 {
        publisher.publish(&format!("bystander/{}", n % 3), n.to_string());
    }
    for n in *number..*number + 10 {
        match subscriber.next_until(start + IN_TIME) {
            Next::Packet(packet) => {
                let publish = packet.publish(Version::V5);
                assert_eq!(publish.payload, n.to_string().as_bytes(), "out of order");
            }
            other => panic!("message {n} did not arrive in time: {other:?}"),
        }
    }
    *number += 10;
}
