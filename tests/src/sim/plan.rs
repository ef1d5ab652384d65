//! What kind of world a seed is: every knob is drawn, and whole features are switched off in some.

use std::num::NonZeroU16;
use std::time::Duration;

use wherry_core::{Config, QueuePolicy, RetainedPolicy, ShareStrategy};

use super::net::Pieces;
use super::schedule::Millis;
use crate::random::Random;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident: $chance:literal,)*) => {
        /// What may happen in a world.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Features {
            $($(#[$doc])* pub(crate) $name: bool,)*
        }

        impl Features {
            /// Each is there in so many of a hundred worlds.
            fn draw(random: &mut Random) -> Self {
                Self {
                    $($name: random.below(100) < $chance,)*
                }
            }

            /// The names of those that are there.
            pub(crate) fn names(&self) -> Vec<&'static str> {
                [$((stringify!($name), self.$name)),*]
                    .into_iter()
                    .filter_map(|(name, on)| on.then_some(name))
                    .collect()
            }

            /// Switches one off; false if there is none of that name.
            pub(crate) fn switch_off(&mut self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => self.$name = false,)*
                    _ => return false,
                }
                true
            }
        }
    };
}

features! {
    /// Versions 3.1 and 3.1.1 beside 5.
    old_versions: 80,
    /// Messages of QoS 0.
    qos0: 80,
    /// Messages of QoS 1.
    qos1: 85,
    /// Messages of QoS 2.
    qos2: 85,
    /// Messages are retained and cleared.
    retain: 70,
    /// Clients leave wills.
    wills: 60,
    /// Wills are delayed.
    will_delays: 70,
    /// Subscriptions are shared.
    shared: 40,
    /// Messages expire.
    expiry: 50,
    /// Sessions outlive connections.
    sessions: 85,
    /// Sessions end soon after their connections.
    short_sessions: 50,
    /// Topic aliases, in both directions.
    aliases: 50,
    /// Subscription identifiers.
    identifiers: 60,
    /// Large messages.
    large: 25,
    /// Clients that take small packets only.
    small_packets: 30,
    /// Clients with a small Receive Maximum.
    small_windows: 50,
    /// User properties and the others that are passed on.
    properties: 50,
    /// Second connections under the same identifier.
    takeovers: 60,
    /// Connections end without a word.
    cuts: 70,
    /// Connections end inside a packet.
    cuts_inside: 50,
    /// Connections are reset.
    resets: 50,
    /// Clients go silent and their connections stay.
    half_open: 30,
    /// Clients stop reading.
    stalls: 40,
    /// Clients do not acknowledge.
    never_acknowledge: 30,
    /// Clients acknowledge in any order.
    any_order: 30,
    /// Clients acknowledge on a new connection what came on the old one.
    early_answers: 20,
    /// Clients refuse messages.
    receiver_errors: 30,
    /// Clients keep alive, or neglect to.
    keep_alive: 50,
    /// Keep-alive is neglected.
    neglect: 40,
    /// Hostile clients send what they like.
    hostile: 25,
    /// Clients send before they know whether they are let in.
    hasty: 30,
    /// Clients may not do everything.
    rights: 40,
    /// Credentials take time to check.
    slow_doors: 40,
    /// Clients are refused.
    refusals: 20,
    /// An administrator ends connections.
    kicks: 25,
    /// The broker is configured anew.
    reconfigure: 25,
    /// The broker stops and begins again.
    restarts: 15,
    /// The broker dies and begins again.
    crashes: 25,
    /// Sockets are reported as ready for no reason.
    false_alarms: 50,
    /// System calls are interrupted.
    interrupts: 30,
    /// Queues are short.
    short_queues: 20,
    /// Outboxes are small.
    small_outboxes: 20,
    /// There is little room for retained messages.
    few_retained: 10,
    /// The broker publishes under `$SYS`.
    sys: 20,
    /// There are several shards.
    shards: 50,
    /// After a stop or a crash there may be another number of them.
    reshard: 50,
    /// There is a store.
    store: 50,
    /// The store fails now and then.
    store_failures: 25,
    /// The process is gone for a while before it begins again.
    downtime: 40,
    /// Clients use the lowest identifier that is free.
    low_ids: 40,
}

/// How long things take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    /// Between two steps of a client, at most.
    pub(crate) step: Millis,
    /// For bytes to arrive, at most.
    pub(crate) network: Millis,
    /// Until a client answers, at most.
    pub(crate) answer: Millis,
    /// Until credentials are checked, at most.
    pub(crate) door: Millis,
    /// From shard to shard, at most.
    pub(crate) link: Millis,
    /// Until a batch is committed, at most.
    pub(crate) store: Millis,
}

/// Something that happens to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An administrator ends the connection of somebody.
    Kick,
    /// Other bounds and time-outs.
    Reconfigure,
    /// The broker stops, gracefully, and begins anew.
    Restart,
    /// The broker dies, and begins anew.
    Crash,
    /// The store takes nothing for a while.
    StoreDown,
}

/// A kind of world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How many shards there are at first.
    pub(crate) shards: usize,
    pub(crate) clients: usize,
    pub(crate) hostile: usize,
    /// Steps of each client.
    pub(crate) steps: usize,
    pub(crate) features: Features,
    /// What is stored is in the store that comes with the broker as well. The seed does not say.
    pub(crate) has_real_store: bool,
    pub(crate) delays: Delays,
    pub(crate) pieces: Pieces,
    /// How many bytes a socket takes that its client has not read.
    pub(crate) socket_buffer: usize,
    /// Whether the broker has a turn after everything that happens, or after all of one moment.
    pub(crate) eager: bool,
    pub(crate) config: Config,
    /// Each at its time.
    pub(crate) faults: Vec<(Millis, Fault)>,
}

impl Plan {
    /// The kind that belongs to a seed.
    pub(crate) fn draw(seed: u64, off: &[String]) -> Self {
        let mut random = Random::new(seed);
        let mut features = Features::draw(&mut random);
        for name in off {
            features.switch_off(name);
        }
        if !(features.qos0 || features.qos1 || features.qos2) {
            features.qos0 = true;
        }
        // A message of QoS 1 has another identifier after a crash: who answers under the old one
        // would answer another message.
        let ends = features.crashes || features.restarts;
        features.early_answers &= !(features.store && ends);
        // Whether one that leaves at once was let in while the store fails, nobody can tell.
        features.hasty &= !(features.store && features.store_failures);
        // What was sent on a connection that is let in late comes after what was sent on another:
        // an identifier is not free then although its message is over.
        features.low_ids &= !features.slow_doors && !features.hasty;
        let (clients, steps) = match random.below(200) {
            0 => (100 + random.below(200), 10),
            1..8 => (10 + random.below(30), 10 + random.below(20)),
            _ => (2 + random.below(6), 10 + random.below(50)),
        };
        let delays = Delays {
            step: *random.one_of(&[5, 100, 1000, 1000, 5000]),
            network: *random.one_of(&[0, 0, 1, 20, 300]),
            answer: *random.one_of(&[0, 1, 20, 2000]),
            door: *random.one_of(&[1, 100, 5000]),
            link: *random.one_of(&[0, 0, 1, 20, 300]),
            store: *random.one_of(&[0, 1, 20, 20, 300, 3000]),
        };
        let pieces = *random.one_of(&[Pieces::Whole, Pieces::Tiny, Pieces::Mixed, Pieces::Mixed]);
        let socket_buffer = match features.large {
            true => *random.one_of(&[1 << 20, 1 << 20, 1 << 16, 5000]),
            false => *random.one_of(&[1 << 20, 1 << 20, 1 << 16, 2000, 100]),
        };
        // What depends on features does not change what comes after it.
        let mut of_config = Random::new(random.next_u64());
        let mut of_faults = Random::new(random.next_u64());
        let config = Self::config(&features, &mut of_config);
        let hostile = match features.hostile {
            true => 1 + of_faults.below(3),
            false => 0,
        };
        let shards = Self::some_shards(&features, &mut of_faults);
        let mut plan = Self {
            seed,
            shards,
            clients,
            hostile,
            steps,
            features,
            has_real_store: false,
            delays,
            pieces,
            socket_buffer,
            eager: random.below(2) == 0,
            config,
            faults: Vec::new(),
        };
        plan.draw_faults(&mut of_faults);
        plan
    }

    fn draw_faults(&mut self, random: &mut Random) {
        let span = self.delays.step / 2 * self.steps as Millis;
        let features = &self.features;
        let kinds = [
            (features.kicks, Fault::Kick, 6),
            (features.reconfigure, Fault::Reconfigure, 4),
            (features.restarts, Fault::Restart, 2),
            (features.crashes, Fault::Crash, 3),
            (
                features.store && features.store_failures,
                Fault::StoreDown,
                3,
            ),
        ];
        for (on, fault, most) in kinds {
            let count = 1 + random.below(most);
            for _ in 0..count {
                let at = random.below(span as usize + 1) as Millis;
                if on {
                    self.faults.push((at, fault));
                }
            }
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// How many shards there may be.
    pub(crate) fn some_shards(features: &Features, random: &mut Random) -> usize {
        match features.shards {
            true => 2 + random.below(3),
            false => 1,
        }
    }

    /// Bounds and time-outs that suit the features.
    pub(crate) fn config(features: &Features, random: &mut Random) -> Config {
        let mut config = Config {
            sys_interval: features.sys.then(|| Duration::from_secs(5)),
            write_timeout: Duration::from_secs(*random.one_of(&[3, 30, 300])),
            close_timeout: Duration::from_secs(*random.one_of(&[1, 5])),
            connect_timeout: Duration::from_secs(10),
            authenticate_timeout: Duration::from_secs(*random.one_of(&[4, 30])),
            max_session_expiry: *random.one_of(&[None, None, Some(Duration::from_secs(20))]),
            max_keep_alive: *random.one_of(&[None, None, NonZeroU16::new(10)]),
            queue_qos0: random.below(3) == 0,
            share_strategy: *random.one_of(&[
                ShareStrategy::RoundRobin,
                ShareStrategy::Random,
                ShareStrategy::Sticky,
                ShareStrategy::LeastInFlight,
            ]),
            send_window: window(*random.one_of(&[1, 3, 1024])),
            receive_window: window(*random.one_of(&[1, 4, 8192])),
            max_topic_aliases: *random.one_of(&[0, 2, 16]),
            max_topic_aliases_to_client: *random.one_of(&[0, 3, 16]),
            ..Config::default()
        };
        let linger = random.clone().below(3); // Drawn aside: all else stays as it is for a seed.
        config.commit_linger = Duration::from_millis([0, 2, 10][linger]);
        if features.short_queues {
            config.max_queued_messages = 1 + random.below(8);
            config.max_queued_bytes = *random.one_of(&[500, 1 << 20]);
            config.max_queued_bytes_total = *random.one_of(&[1000, 1 << 20]);
            config.queue_policy = *random.one_of(&[
                QueuePolicy::Reject,
                QueuePolicy::DropNewest,
                QueuePolicy::DropOldest,
            ]);
        }
        if features.small_outboxes {
            config.outbox_limit = *random.one_of(&[1, 50, 500]);
            config.outbox_total_limit = *random.one_of(&[100, 1000, 1 << 20]);
        }
        if features.few_retained {
            config.max_retained = 1 + random.below(4);
            config.retained_policy =
                *random.one_of(&[RetainedPolicy::Reject, RetainedPolicy::DropOldest]);
        }
        config
    }
}

fn window(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).expect("it is not zero")
}
