//! Whole connections: what clients send, read and do, as the fuzzer likes it.

use std::num::NonZeroU16;
use std::time::Duration;

use wherry_core::{Config, QueuePolicy, ShareStrategy};

use crate::scenario::{Client, World};
use crate::wire::{Version, take_packet};

/// How many clients a script can speak of at a time.
const CLIENTS: usize = 8;

/// How many connections a script may open. More would make it slow, not more telling.
const CONNECTIONS: usize = 32;

/// Below this nothing that a client reads has to wait for room. Above it, what a subscription
/// replays may be overtaken by what happens meanwhile, and when that is depends on the pieces.
const AT_ONCE: u64 = 64 << 10;

/// However long a session is to last, it ends then.
const LONGEST_SESSION: Duration = Duration::from_secs(100);

const SMALL_WINDOW: NonZeroU16 = NonZeroU16::new(2).expect("it is not zero");

/// The ways of a script's world: the first byte.
mod ways {
    /// Outboxes are very small.
    pub(super) const SMALL_OUTBOX: u8 = 1;
    /// Everything else is.
    pub(super) const SMALL_LIMITS: u8 = 2;
    /// At the end the broker stops before the clients go.
    pub(super) const SHUT_DOWN: u8 = 4;
}

/// Instructions: the upper five bits of a byte, whose lower three are a client. What is not among
/// them is an instruction to send.
mod instruction {
    /// Time passes; how much says the next byte.
    pub(super) const PASS: u8 = 1;
    /// The client reads only so much more: the next byte, in units of 16.
    pub(super) const TAKE: u8 = 2;
    /// The client reads all there is.
    pub(super) const TAKE_ALL: u8 = 3;
    /// The client is gone.
    pub(super) const HANG_UP: u8 = 4;
    /// The client has a new connection, and does not care for the old one.
    pub(super) const DIAL: u8 = 5;
    /// The bytes whose number is the next byte are sent.
    pub(super) const SEND: u8 = 0;
}

/// A script as bytes, for seeds. The methods are the instructions.
#[derive(Clone, Debug)]
pub struct Script(Vec<u8>);

impl Script {
    /// An empty script, with the ways of its world in the lowest bits: small outboxes, small
    /// limits, and whether the broker stops at the end.
    pub fn new(ways: u8) -> Self {
        Self(vec![ways])
    }

    fn then(mut self, instruction: u8, client: u8, rest: &[u8]) -> Self {
        self.0.push(instruction << 3 | client);
        self.0.extend(rest);
        self
    }

    /// The client sends these bytes.
    #[must_use]
    pub fn send(self, client: u8, bytes: impl AsRef<[u8]>) -> Self {
        bytes.as_ref().chunks(255).fold(self, |script, chunk| {
            let sent = [&[chunk.len() as u8][..], chunk].concat();
            script.then(instruction::SEND, client, &sent)
        })
    }

    /// Time passes: the square of `time`, in units of 10 ms.
    #[must_use]
    pub fn pass(self, time: u8) -> Self {
        self.then(instruction::PASS, 0, &[time])
    }

    /// The client reads so many times 16 bytes, and then stops.
    #[must_use]
    pub fn take(self, client: u8, amount: u8) -> Self {
        self.then(instruction::TAKE, client, &[amount])
    }

    /// The client reads everything.
    #[must_use]
    pub fn take_all(self, client: u8) -> Self {
        self.then(instruction::TAKE_ALL, client, &[])
    }

    /// The client ends its side.
    #[must_use]
    pub fn hang_up(self, client: u8) -> Self {
        self.then(instruction::HANG_UP, client, &[])
    }

    /// The client opens another connection.
    #[must_use]
    pub fn dial(self, client: u8) -> Self {
        self.then(instruction::DIAL, client, &[])
    }

    /// The script.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// What came of a script.
struct Outcome {
    /// What each connection has received.
    received: Vec<Vec<u8>>,
    causes: Vec<String>,
    retained: (usize, usize),
    comparable: bool,
}

/// Plays a script, once with what is sent in one piece and once byte by byte.
///
/// At any time, what waits belongs to someone; at the end nothing is left. Every connection
/// receives the same both times, and ends for the same reason. Returns whether that could be
/// compared: not so where clients lose messages, for which ones depends on the pieces.
pub fn stream(script: &[u8]) -> bool {
    let whole = play(script, usize::MAX);
    let slowly = play(script, 1);
    let comparable = whole.comparable && slowly.comparable;
    if comparable {
        for (at, (whole, slowly)) in whole.received.iter().zip(&slowly.received).enumerate() {
            assert!(
                whole == slowly,
                "connection {at} receives\n{}\nor, byte by byte,\n{}",
                whole.escape_ascii(),
                slowly.escape_ascii()
            );
        }
        assert_eq!(whole.causes, slowly.causes, "why they ended");
        assert_eq!(whole.retained, slowly.retained, "what is retained");
    }
    comparable
}

fn config(ways: u8) -> Config {
    let mut config = Config {
        max_keep_alive: None,
        max_session_expiry: Some(LONGEST_SESSION),
        ..Config::default()
    };
    if ways & ways::SMALL_OUTBOX != 0 {
        config.outbox_limit = 200;
        config.outbox_total_limit = 500;
        config.max_events = 3;
    }
    if ways & ways::SMALL_LIMITS != 0 {
        config.max_packet_size = 200;
        config.max_connect_size = 100;
        config.max_client_id_len = 23;
        config.max_topic_levels = 4;
        config.max_subscriptions = 3;
        config.max_subscription_bytes = 40;
        config.max_retained = 3;
        config.max_retained_bytes = 300;
        config.max_sessions = 6;
        config.max_queued_messages = 3;
        config.max_queued_bytes = 100;
        config.max_queued_bytes_total = 150;
        config.queue_policy = QueuePolicy::DropOldest;
        config.queue_qos0 = true;
        config.send_window = SMALL_WINDOW;
        config.receive_window = SMALL_WINDOW;
        config.max_topic_aliases = 2;
        config.max_topic_aliases_to_client = 2;
        config.retransmit_interval = Some(Duration::from_secs(1));
        config.retransmit_limit = 2;
        config.share_strategy = ShareStrategy::LeastInFlight;
    }
    config
}

/// Plays the script with what is sent in pieces of that size.
fn play(script: &[u8], piece: usize) -> Outcome {
    let mut script = script.iter().copied();
    let ways = script.next().unwrap_or(0);
    let mut world = World::new(config(ways));
    let mut all = Vec::new();
    let mut clients = [None; CLIENTS];
    while let Some(byte) = script.next() {
        let slot = &mut clients[usize::from(byte) % CLIENTS];
        let what = byte >> 3;
        if slot.is_none() || what == instruction::DIAL {
            if all.len() == CONNECTIONS {
                break;
            }
            let client = world.dial(Version::V5);
            all.push(client);
            *slot = Some(client);
        }
        let Some(client) = *slot else { continue };
        match what {
            instruction::DIAL => {}
            instruction::PASS => {
                let time = u64::from(script.next().unwrap_or(0));
                world.pass(Duration::from_millis(time * time * 10));
            }
            instruction::TAKE => {
                let amount = script.next().unwrap_or(0);
                world.take_only(client, usize::from(amount) * 16);
            }
            instruction::TAKE_ALL => world.take_all(client),
            instruction::HANG_UP => world.hang_up(client),
            _ => {
                let len = script.next().unwrap_or(0);
                let bytes: Vec<u8> = script.by_ref().take(len.into()).collect();
                world.send_in_pieces(client, bytes, piece);
            }
        }
        assert_consistent(&world, &all);
    }
    end(world, &all, ways)
}

fn end(mut world: World, all: &[Client], ways: u8) -> Outcome {
    let counters = world.broker.counters();
    let sent = counters.bytes_sent + world.broker.waiting_bytes() as u64;
    let comparable = ways & ways::SMALL_OUTBOX == 0
        && sent < AT_ONCE
        && !world.was_interrupted()
        && counters.events_dropped == 0;
    if ways & ways::SHUT_DOWN != 0 {
        world.broker.shut_down();
        world.settle();
    }
    for client in all {
        world.take_all(*client);
    }
    let mut received = Vec::new();
    for client in all {
        let mut bytes = world.received(*client).to_vec();
        received.push(bytes.clone());
        while take_packet(&mut bytes).is_some() {}
        let complete = bytes.is_empty() || world.is_closed(*client);
        assert!(complete, "half a packet: {}", bytes.escape_ascii());
    }
    for client in all {
        world.hang_up(*client);
    }
    assert_consistent(&world, all);
    assert_eq!(world.broker.connections(), 0);
    assert_eq!(world.broker.sessions(), world.broker.absent_sessions());
    // By now the last session has ended, and its will was published.
    world.pass(2 * LONGEST_SESSION);
    let broker = &world.broker;
    let held = [
        broker.sessions(),
        broker.absent_sessions(),
        broker.subscriptions(),
        broker.shared_subscriptions(),
        broker.queued_messages(),
        broker.queued_bytes(),
    ];
    assert_eq!(held, [0; 6], "nobody is there any more");
    assert_eq!((broker.waiting_bytes(), broker.unparsed_bytes()), (0, 0));
    Outcome {
        received,
        causes: world.causes(),
        retained: (broker.retained_messages(), broker.retained_bytes()),
        comparable,
    }
}

fn assert_consistent(world: &World, all: &[Client]) {
    let broker = &world.broker;
    let mut waiting = 0;
    for client in all {
        let id = world.id(*client);
        let len = broker.outbox_len(id);
        let slices = broker
            .outbox(id)
            .inspect(|slice| assert!(!slice.is_empty()));
        assert_eq!(slices.map(<[u8]>::len).sum::<usize>(), len);
        waiting += len;
    }
    assert_eq!(waiting, broker.waiting_bytes(), "every byte is someone's");
    assert!(broker.sessions() <= broker.connections() + broker.absent_sessions());
    assert!(
        broker
            .next_deadline()
            .is_none_or(|next| next.as_millis() > world.now().as_millis() as u64)
    );
}
