//! Time-outs against a list of them, which is searched for the next one: none is early, none is
//! late, none is lost, although the broker sets a timer far less often than a time-out changes.

use std::time::Duration;

use proptest::prelude::*;
use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::permission::Grant;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Action, Broker, Config};
use wherry_tests::wire::{self, Value, Version, id};

const CONNECT_TIMEOUT: u64 = 10_000;
const CLOSE_TIMEOUT: u64 = 5000;

#[derive(Clone, Debug)]
enum Call {
    Open,
    /// Which connection, its keep-alive and how long its session outlives it, in seconds.
    Connect(usize, u16, u32),
    Ping(usize),
    HangUp(usize),
    Kick(usize),
}

fn call() -> impl Strategy<Value = (u64, Call)> {
    let which = || 0usize..6;
    let call = prop_oneof![
        3 => Just(Call::Open),
        4 => (which(), 0u16..30, prop::sample::select(vec![0u32, 0, 1, 7, 40, u32::MAX]))
            .prop_map(|(which, keep_alive, expiry)| Call::Connect(which, keep_alive, expiry)),
        10 => which().prop_map(Call::Ping),
        2 => which().prop_map(Call::HangUp),
        1 => which().prop_map(Call::Kick),
    ];
    (prop_oneof![3 => 0u64..3000, 1 => 0u64..40_000], call)
}

/// How far a connection is, and since when.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Silent {
        opened: u64,
    },
    Open {
        heard: u64,
        keep_alive: u16,
        expiry: u32,
    },
    Closing {
        since: u64,
    },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Close,
    Abort,
}

/// What the list says: when, which connection, what.
type Ends = Vec<(u64, usize, End)>;

#[derive(Default)]
struct Model {
    stages: Vec<Stage>,
    /// When the sessions of absent clients end.
    absent: Vec<u64>,
}

impl Model {
    fn due(&self, at: usize) -> Option<u64> {
        match self.stages[at] {
            Stage::Silent { opened } => Some(opened + CONNECT_TIMEOUT),
            Stage::Open { keep_alive: 0, .. } | Stage::Gone => None,
            Stage::Open {
                heard, keep_alive, ..
            } => Some(heard + u64::from(keep_alive) * 1500),
            Stage::Closing { since } => Some(since + CLOSE_TIMEOUT),
        }
    }

    /// A connection ends, and its session stays for a while.
    fn ended(&mut self, at: usize, now: u64) {
        match self.stages[at] {
            Stage::Open { expiry: 0, .. } => {}
            Stage::Open {
                expiry: u32::MAX, ..
            } => self.absent.push(u64::MAX),
            Stage::Open { expiry, .. } => self.absent.push(now + u64::from(expiry) * 1000),
            _ => {}
        }
    }

    /// All that is due by `now`, in order.
    fn advance(&mut self, now: u64) -> Ends {
        let mut ends = Ends::new();
        loop {
            let all = (0..self.stages.len()).filter_map(|at| Some((self.due(at)?, at)));
            let Some((due, at)) = all.filter(|(due, _)| *due <= now).min() else {
                break;
            };
            if let Stage::Closing { .. } = self.stages[at] {
                self.stages[at] = Stage::Gone;
                ends.push((due, at, End::Abort));
            } else {
                self.ended(at, due);
                self.stages[at] = Stage::Closing { since: due };
                ends.push((due, at, End::Close));
            }
        }
        self.absent.retain(|ends| *ends > now);
        ends
    }

    fn sessions(&self) -> usize {
        let open = |stage: &&Stage| matches!(stage, Stage::Open { .. });
        self.stages.iter().filter(open).count() + self.absent.len()
    }
}

struct World {
    broker: Broker,
    ids: Vec<ConnectionId>,
    ends: Ends,
}

impl World {
    fn act(&mut self, now: u64) {
        while let Some(action) = self.broker.poll_action() {
            let place = |id| self.ids.iter().position(|it| *it == id).expect("known");
            match action {
                Action::Send(id) => self.broker.sent(id, usize::MAX),
                Action::Authenticate(id) => self.broker.admit(id, Grant::unrestricted()),
                Action::Close(id) => self.ends.push((now, place(id), End::Close)),
                Action::Abort(id) => self.ends.push((now, place(id), End::Abort)),
                Action::Pause(_) | Action::Resume(_) | Action::Deliver(_) | Action::Event => {}
                Action::Move(..) | Action::Route(_) | Action::Store => {}
            }
        }
    }

    /// Lets time pass as a program does: it wakes when the broker asks for it, and at the end.
    fn advance(&mut self, from: u64, to: u64) -> Result<Ends, TestCaseError> {
        let mut now = from;
        let mut idle = 0;
        while let Some(next) = self
            .broker
            .next_deadline()
            .filter(|it| it.as_millis() <= to)
        {
            idle = if next.as_millis() > now { 0 } else { idle + 1 };
            prop_assert!(
                idle < 100,
                "it wants to be called again and again at {}",
                now
            );
            now = now.max(next.as_millis());
            self.broker.advance(next);
            self.act(now);
        }
        self.broker.advance(Instant::from_millis(to));
        self.act(to);
        Ok(std::mem::take(&mut self.ends))
    }
}

fn connect(name: usize, keep_alive: u16, expiry: u32) -> Vec<u8> {
    wire::connect(Version::V5)
        .client_id(name.to_string())
        .keep_alive(keep_alive)
        .with(id::SESSION_EXPIRY_INTERVAL, Value::Four(expiry))
        .bytes()
}

proptest! {
    #[test]
    fn time_outs_come_when_a_list_says(calls in prop::collection::vec(call(), 0..60)) {
        let config = Config {
            connect_timeout: Duration::from_millis(CONNECT_TIMEOUT),
            close_timeout: Duration::from_millis(CLOSE_TIMEOUT),
            max_session_expiry: None,
            sys_interval: None,
            ..Config::default()
        };
        let start = Instant::from_millis(0);
        let broker = Broker::new(config, 1, start, WallClock::from_unix_millis(0));
        let mut world = World { broker, ids: Vec::new(), ends: Ends::new() };
        let mut model = Model::default();
        let mut now = 0;
        for (wait, call) in calls.into_iter().chain([(200_000, Call::Open)]) {
            let before = now;
            now += wait;
            let (mut found, mut expected) = (world.advance(before, now)?, model.advance(now));
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(world.broker.sessions(), model.sessions());
            make(&mut world, &mut model, now, &call);
            prop_assert!(world.ends.is_empty());
        }
    }
}

/// Makes a call, if the connection is there, of which the list has to know.
fn make(world: &mut World, model: &mut Model, now: u64, call: &Call) {
    let (Call::Connect(which, ..) | Call::Ping(which) | Call::HangUp(which) | Call::Kick(which)) =
        call
    else {
        let origin = Origin {
            listener: 0,
            transport: Transport::Tcp,
            remote: None,
            local: None,
        };
        world
            .ids
            .push(world.broker.open(origin).expect("there is room"));
        model.stages.push(Stage::Silent { opened: now });
        return world.act(now);
    };
    let Some(at) = which.checked_rem(model.stages.len()) else {
        return;
    };
    // The latest ones are the liveliest.
    let at = model.stages.len() - 1 - at;
    let id = world.ids[at];
    let stage = &mut model.stages[at];
    match (call, stage) {
        (Call::Connect(_, keep_alive, expiry), stage @ Stage::Silent { .. }) => {
            world
                .broker
                .received(id, &connect(at, *keep_alive, *expiry));
            *stage = Stage::Open {
                heard: now,
                keep_alive: *keep_alive,
                expiry: *expiry,
            };
        }
        (Call::Ping(_), Stage::Open { heard, .. }) => {
            world.broker.received(id, &wire::PINGREQ);
            *heard = now;
        }
        (Call::HangUp(_), Stage::Silent { .. } | Stage::Open { .. } | Stage::Closing { .. }) => {
            world.broker.closed(id, Closed::EndOfStream);
            model.ended(at, now);
            model.stages[at] = Stage::Gone;
        }
        (Call::Kick(_), Stage::Silent { .. } | Stage::Open { .. }) => {
            world.broker.kick(id);
            model.ended(at, now);
            model.stages[at] = Stage::Closing { since: now };
            world.act(now);
            world.ends.clear();
        }
        _ => {}
    }
    world.act(now);
}
