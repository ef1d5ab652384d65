//! A client: what kind it is, and what it remembers.

use std::collections::BTreeMap;

use super::packets::Number;
use super::plan::Plan;
use super::schedule::Millis;
use super::universe::Right;
use crate::random::Random;
use crate::wire::Version;

/// What a client is like.
#[derive(Clone, Debug)]
pub(crate) struct Persona {
    pub(crate) version: Version,
    /// How often it asks for a clean start, of eight times.
    pub(crate) clean: usize,
    /// Session expiry intervals that it asks for.
    pub(crate) expiries: &'static [u32],
    pub(crate) receive_maximum: u16,
    pub(crate) max_packet: Option<u32>,
    pub(crate) alias_maximum: u16,
    /// In seconds.
    pub(crate) keep_alive: u16,
    pub(crate) neglects: bool,
    /// Whether it answers in the order in which messages came.
    pub(crate) in_order: bool,
    /// How often it does not acknowledge, of a hundred times.
    pub(crate) silent: usize,
    pub(crate) right: Right,
    /// The group that it may join.
    pub(crate) group: usize,
    /// Whether it uses the lowest identifier that is free.
    pub(crate) low_ids: bool,
}

/// A message that a client is publishing.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    pub(crate) id: u16,
    pub(crate) number: Number,
    /// PUBREC came: PUBREL is next.
    pub(crate) received: bool,
    /// It was sent before.
    pub(crate) was_sent: bool,
    /// The connection on which it was last sent.
    pub(crate) line: Option<usize>,
}

/// A message of QoS 1 or 2 that a client has got and is not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inbound {
    pub(crate) qos: u8,
    /// PUBREC was sent.
    pub(crate) received: bool,
    /// PUBREL came.
    pub(crate) released: bool,
    /// The connection on which it last came.
    pub(crate) line: usize,
    /// An answer is on its way to the socket.
    pub(crate) due: bool,
}

/// What a client says to what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To the message under this identifier, what is next; with an error, perhaps.
    Next(u16, bool),
}

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) is_hostile: bool,
    pub(crate) persona: Persona,
    /// The connection that it uses.
    pub(crate) line: Option<usize>,
    /// Whether CONNACK came on it.
    pub(crate) is_in: bool,
    /// Whether its last CONNECT asked for a session that lasts.
    pub(crate) lasting: bool,
    /// It has thrown away what it knew of its session, and the broker has perhaps not.
    pub(crate) has_thrown_away: bool,
    /// How many steps it has taken.
    pub(crate) steps: usize,
    pub(crate) dialled: u64,
    pub(crate) out: Vec<Out>,
    pub(crate) inbox: BTreeMap<u16, Inbound>,
    pub(crate) next_id: u16,
    /// The topics that have an alias for what it publishes on this connection.
    pub(crate) own_aliases: Vec<&'static str>,
    /// What CONNACK said that it may use.
    pub(crate) alias_limit: u16,
    pub(crate) window: u16,
    pub(crate) keep_alive: u16,
    /// The keep-alive counts from here for what it sends.
    pub(crate) spoke: Millis,
}

/// A seed for a part of a world.
pub(crate) fn seed_of(seed: u64, parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(seed, |seed, part| {
        Random::new(seed ^ part.wrapping_mul(0x2545_f491_4f6c_dd1d)).next_u64()
    })
}

impl Client {
    pub(crate) fn new(plan: &Plan, index: usize) -> Self {
        let mut random = Random::new(seed_of(plan.seed, [1, index as u64, 0]));
        let is_hostile = index >= plan.clients;
        let name = match is_hostile {
            true => format!("x{index}"),
            false => format!("c{index}"),
        };
        let persona = Persona::draw(plan, is_hostile, &mut random);
        Self {
            index,
            name,
            is_hostile,
            persona,
            line: None,
            is_in: false,
            lasting: false,
            has_thrown_away: false,
            steps: 0,
            dialled: 0,
            out: Vec::new(),
            inbox: BTreeMap::new(),
            next_id: 0,
            own_aliases: Vec::new(),
            alias_limit: 0,
            window: u16::MAX,
            keep_alive: 0,
            spoke: 0,
        }
    }

    /// The session is another one: nothing of the old one counts any more.
    pub(crate) fn begin_anew(&mut self) {
        self.out.clear();
        self.inbox.clear();
        self.has_thrown_away = true;
    }

    /// An identifier that none of its messages has.
    pub(crate) fn free_id(&mut self) -> u16 {
        if self.persona.low_ids {
            self.next_id = 0;
        }
        loop {
            self.next_id = self.next_id % 200 + 1;
            let id = self.next_id;
            if self.out.iter().all(|out| out.id != id) {
                return id;
            }
        }
    }

    /// How many of its messages are in flight on its connection.
    pub(crate) fn in_flight(&self) -> usize {
        let line = self.line;
        self.out.iter().filter(|out| out.line == line).count()
    }
}

impl Persona {
    fn draw(plan: &Plan, is_hostile: bool, random: &mut Random) -> Self {
        let features = &plan.features;
        let version = match features.old_versions {
            true => *random.one_of(&Version::ALL),
            false => Version::V5,
        };
        let is_v5 = version.is_v5();
        let expiries: &[u32] = match (features.sessions, features.short_sessions) {
            (false, _) => &[0],
            (true, false) => &[0, 60, 600, u32::MAX],
            (true, true) => &[0, 1, 2, 5, 30, u32::MAX],
        };
        let chance = |random: &mut Random, on: bool, one_in| on && random.below(one_in) == 0;
        Self {
            version,
            clean: match features.sessions {
                true => *random.one_of(&[0, 1, 1, 4, 8]),
                false => 8,
            },
            expiries,
            receive_maximum: match is_v5 && chance(random, features.small_windows, 2) {
                true => *random.one_of(&[1, 2, 5]),
                false => u16::MAX,
            },
            max_packet: match is_v5 && chance(random, features.small_packets, 3) {
                true => Some(40 + random.below(80) as u32),
                false => None,
            },
            alias_maximum: match is_v5 && features.aliases {
                true => *random.one_of(&[0, 1, 2, 20]),
                false => 0,
            },
            keep_alive: match chance(random, features.keep_alive, 2) {
                true => *random.one_of(&[1, 2, 10, 60]),
                false => 0,
            },
            neglects: chance(random, features.neglect, 4),
            in_order: !chance(random, features.any_order, 2),
            silent: match chance(random, features.never_acknowledge, 3) {
                true => *random.one_of(&[10, 50, 100]),
                false => 0,
            },
            right: match (is_hostile, version) {
                (true, _) => Right::HOSTILE,
                // Before 3.1.1 a subscription that is refused ends the connection.
                (_, Version::V3_1) => *random.one_of(&[Right::ALL, Right(1)]),
                _ if chance(random, features.rights, 2) => Right(random.below(Right::COUNT)),
                _ => Right::ALL,
            },
            group: random.below(super::universe::GROUPS.len()),
            low_ids: features.low_ids,
        }
    }
}
