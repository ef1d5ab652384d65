//! What brokers are to do.

use std::io;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use super::brokers::{Broker, Kind, Running};
use super::series::Faults;
use crate::load::{Crowd, Figures, Generator, Load, Shape, Until, churn};

/// How long a broker may be idle until its memory is looked at: buffers are given back by then.
const REST: Duration = Duration::from_secs(1);

/// How long each is given to warm up.
const WARM_UP: Duration = Duration::from_millis(100);

const CONNECTIONS: usize = 5000;
const CYCLES: usize = 10_000;
const RETAINED: usize = 100_000;
/// How often all retained messages are delivered.
const DELIVERIES: usize = 3;
const FILTERS: [(usize, Figure); 3] = [
    (1000, Figure::Message1k),
    (10_000, Figure::Message10k),
    (100_000, Figure::Message100k),
];
/// Of subscribers that are away, and what waits for each.
const AWAY: (usize, u64) = (100, 500);

/// What brokers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Ten pairs with messages of 64 bytes.
    PairsQos0,
    /// The same with QoS 1.
    PairsQos1,
    /// The same with QoS 2.
    PairsQos2,
    /// The same with messages of 1 KiB.
    PairsQos0OneKib,
    /// The same with QoS 1.
    PairsQos1OneKib,
    /// The same with QoS 2.
    PairsQos2OneKib,
    /// Ten pairs of MQTT 5 with messages of 64 bytes.
    PairsQos0V5,
    /// The same with QoS 1.
    PairsQos1V5,
    /// One publisher, 100 subscribers.
    FanoutQos0,
    /// The same with QoS 1.
    FanoutQos1,
    /// 100 publishers, one subscriber.
    FaninQos0,
    /// The same with QoS 1.
    FaninQos1,
    /// Ten publishers, and ten subscribers with wildcards who get everything.
    Wild,
    /// Ten pairs with 2,000 messages a second, all together.
    LatencyQos0,
    /// The same with QoS 1.
    LatencyQos1,
    /// 5,000 idle connections with a subscription each.
    Connections,
    /// 1,000, 10,000 and 100,000 filters.
    Filters,
    /// 100,000 retained messages, stored and delivered.
    Retained,
    /// 100 subscribers that are away while 500 messages come for each.
    Offline,
    /// 10,000 times: connect, subscribe, publish, receive, disconnect.
    Churn,
    /// System calls by connection and turn, as strace sees them.
    Syscalls,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Microseconds of the broker's processor time for each message delivered.
    Message,
    /// The same with so many filters.
    Message1k,
    /// The same with so many filters.
    Message10k,
    /// The same with so many filters.
    Message100k,
    /// Half of the messages took no longer, in microseconds.
    Half,
    /// 99 of 100 took no longer.
    Most,
    /// Bytes of memory for each idle connection.
    ConnectionBytes,
    /// Microseconds of processor time for each, until it has its subscription.
    Connection,
    /// Bytes of memory for each subscription.
    SubscriptionBytes,
    /// Microseconds of processor time for each message stored.
    Stored,
    /// Bytes of memory for each.
    StoredBytes,
    /// Microseconds of processor time for each message delivered from the store.
    Delivered,
    /// Microseconds of processor time for each message that begins to wait.
    Queued,
    /// Microseconds of processor time for each that has waited and is delivered.
    Drained,
    /// Microseconds of processor time for each cycle.
    Cycle,
    /// Those of them outside the kernel.
    CycleUser,
}

impl Figure {
    /// What it is called after its scenario.
    pub fn title(self) -> &'static str {
        match self {
            Self::Message => "CPU us/message",
            Self::Message1k => "1,000, CPU us/message",
            Self::Message10k => "10,000, CPU us/message",
            Self::Message100k => "100,000, CPU us/message",
            Self::Half => "p50 us",
            Self::Most => "p99 us",
            Self::ConnectionBytes => "bytes each",
            Self::Connection => "CPU us each",
            Self::SubscriptionBytes => "100,000, bytes each",
            Self::Stored => "stored, CPU us/message",
            Self::StoredBytes => "stored, bytes/message",
            Self::Delivered => "delivered, CPU us/message",
            Self::Queued => "queued, CPU us/message",
            Self::Drained => "drained, CPU us/message",
            Self::Cycle => "CPU us/cycle",
            Self::CycleUser => "CPU us/cycle in user mode",
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The figures.
    pub figures: Vec<(Figure, f64)>,
    /// What went wrong with messages.
    pub faults: Faults,
}

impl Run {
    /// Adds what went wrong and, unless most was lost, what each message has cost: where little is
    /// delivered, a quotient says nothing.
    fn add(&mut self, figure: Figure, micros: f64, figures: &Figures) {
        self.faults = self.faults.and(faults(figures));
        if figures.delivered > figures.lost {
            let each = each(micros, figures.delivered);
            self.figures.push((figure, each));
        }
    }
}

impl Scenario {
    /// What it is called in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::PairsQos0 => "pairs, QoS 0, 64 B",
            Self::PairsQos1 => "pairs, QoS 1, 64 B",
            Self::PairsQos2 => "pairs, QoS 2, 64 B",
            Self::PairsQos0OneKib => "pairs, QoS 0, 1 KiB",
            Self::PairsQos1OneKib => "pairs, QoS 1, 1 KiB",
            Self::PairsQos2OneKib => "pairs, QoS 2, 1 KiB",
            Self::PairsQos0V5 => "pairs, QoS 0, 64 B, MQTT 5",
            Self::PairsQos1V5 => "pairs, QoS 1, 64 B, MQTT 5",
            Self::FanoutQos0 => "1 to 100, QoS 0",
            Self::FanoutQos1 => "1 to 100, QoS 1",
            Self::FaninQos0 => "100 to 1, QoS 0",
            Self::FaninQos1 => "100 to 1, QoS 1",
            Self::Wild => "10 with wildcards, QoS 0",
            Self::LatencyQos0 => "2,000/s, QoS 0",
            Self::LatencyQos1 => "2,000/s, QoS 1",
            Self::Connections => "5,000 idle connections",
            Self::Filters => "filters",
            Self::Retained => "100,000 retained",
            Self::Offline => "subscribers away, QoS 1",
            Self::Churn => "connect to disconnect",
            Self::Syscalls => "system calls",
        }
    }

    /// The load, where nothing but messages is to be measured.
    fn load(self) -> Option<Load> {
        let (shape, qos, window) = match self {
            Self::PairsQos0 | Self::PairsQos0V5 | Self::Syscalls => (Shape::Pairs(10), 0, 1000),
            Self::PairsQos0OneKib => (Shape::Pairs(10), 0, 200),
            Self::PairsQos1 | Self::PairsQos1OneKib | Self::PairsQos1V5 => {
                (Shape::Pairs(10), 1, 100)
            }
            Self::PairsQos2 | Self::PairsQos2OneKib => (Shape::Pairs(10), 2, 100),
            Self::FanoutQos0 => (Shape::FanOut(100), 0, 100),
            Self::FanoutQos1 => (Shape::FanOut(100), 1, 100),
            Self::FaninQos0 => (Shape::FanIn(100), 0, 100),
            Self::FaninQos1 => (Shape::FanIn(100), 1, 100),
            Self::Wild => (Shape::Wild(10), 0, 100),
            Self::LatencyQos0 => (Shape::Pairs(10), 0, 1000),
            Self::LatencyQos1 => (Shape::Pairs(10), 1, 1000),
            Self::Connections | Self::Filters | Self::Retained | Self::Offline | Self::Churn => {
                return None;
            }
        };
        let is_long = [
            Self::PairsQos0OneKib,
            Self::PairsQos1OneKib,
            Self::PairsQos2OneKib,
        ];
        let is_slow = [Self::LatencyQos0, Self::LatencyQos1].contains(&self);
        let is_v5 = [Self::PairsQos0V5, Self::PairsQos1V5].contains(&self);
        Some(Load {
            shape,
            qos,
            window,
            version: if is_v5 { 5 } else { 4 },
            payload: if is_long.contains(&self) { 1024 } else { 64 },
            rate: is_slow.then_some(2000),
            ..lossy()
        })
    }

    /// The load under which system calls are counted.
    pub fn of_system_calls() -> Load {
        Self::Syscalls.load().unwrap_or_default()
    }

    /// Whether it is for a broker: the floor knows no QoS but 0, and keeps nothing.
    pub fn is_for(self, broker: &Broker) -> bool {
        let is_floor = broker.kind() == Kind::Floor;
        let for_floor = match self {
            Self::Connections | Self::Churn => true,
            _ => self.load().is_some_and(|load| load.qos == 0),
        };
        for_floor || !is_floor
    }

    /// Does it once; `time` is for how long where that is not given by a number.
    ///
    /// # Errors
    ///
    /// If the broker does not start, ends, or does not let a client in.
    pub fn run(self, broker: &Broker, time: Duration) -> io::Result<Run> {
        match self {
            Self::Connections => connections(&broker.start()?),
            Self::Filters => filters(broker, time),
            Self::Retained => retained(&broker.start()?),
            Self::Offline => offline(&broker.start()?),
            Self::Churn => cycles(&broker.start()?),
            _ => match self.load() {
                Some(load) => messages(&broker.start()?, load, time),
                None => Ok(Run::default()),
            },
        }
    }
}

/// Messages may be lost, which is told; who waits for them does not wait long.
fn lossy() -> Load {
    Load {
        stall: Duration::from_secs(3),
        may_lose: true,
        ..Load::default()
    }
}

impl Running {
    /// Microseconds of processor time that something takes, and those of them outside the kernel.
    fn cost<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<(T, f64, f64)> {
        let before = self.process.processor_time()?;
        let outcome = act()?;
        let after = self.process.processor_time()?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let user = micros(after.user_since(before));
        Ok((outcome, micros(after.since(before)), user))
    }
}

fn faults(figures: &Figures) -> Faults {
    Faults {
        lost: figures.lost,
        repeated: figures.repeated,
        disordered: figures.late.saturating_sub(figures.repeated),
        broken: 0,
    }
}

/// A part of what is not nothing.
fn each(whole: f64, count: u64) -> f64 {
    whole / count.max(1) as f64
}

fn messages(running: &Running, load: Load, time: Duration) -> io::Result<Run> {
    let process = &running.process;
    let address = match load.version {
        5 => process.address_v5(),
        _ => process.address(),
    };
    let mut clients = Generator::connect(address, "m", load)?;
    let first = clients.publish(Until::Time(WARM_UP))?;
    let (figures, micros, _) = running.cost(|| clients.publish(Until::Time(time)))?;
    let mut run = Run {
        faults: faults(&first),
        ..Run::default()
    };
    run.add(Figure::Message, micros, &figures);
    if load.rate.is_some() && !run.figures.is_empty() {
        let after = figures.delivered_after;
        run.figures.push((Figure::Half, after.half.into()));
        run.figures.push((Figure::Most, after.most.into()));
    }
    Ok(run)
}

fn connections(running: &Running) -> io::Result<Run> {
    let process = &running.process;
    let before = process.resident()?;
    let connect = || Crowd::connect(process.address(), CONNECTIONS);
    let (crowd, micros, _) = running.cost(connect)?;
    thread::sleep(REST);
    let bytes = process.resident()? as f64 - before as f64;
    drop(crowd);
    let count = CONNECTIONS as u64;
    Ok(Run {
        figures: vec![
            (Figure::ConnectionBytes, each(bytes, count)),
            (Figure::Connection, each(micros, count)),
        ],
        faults: Faults::default(),
    })
}

fn filters(broker: &Broker, time: Duration) -> io::Result<Run> {
    let mut run = Run::default();
    for (count, figure) in FILTERS {
        let running = broker.start()?;
        let process = &running.process;
        let before = process.resident()?;
        let load = Load {
            shape: Shape::Grid(count),
            qos: 0,
            window: 1000,
            ..lossy()
        };
        let mut clients = Generator::connect(process.address(), "f", load)?;
        let bytes = process.resident()? as f64 - before as f64;
        let first = clients.publish(Until::Time(WARM_UP))?;
        let (figures, micros, _) = running.cost(|| clients.publish(Until::Time(time)))?;
        run.faults = run.faults.and(faults(&first));
        run.add(figure, micros, &figures);
        if figure == Figure::Message100k {
            let bytes = each(bytes, count as u64);
            run.figures.push((Figure::SubscriptionBytes, bytes));
        }
    }
    Ok(run)
}

fn retained(running: &Running) -> io::Result<Run> {
    let process = &running.process;
    let load = Load {
        shape: Shape::Tree(RETAINED),
        qos: 1,
        granted: Some(0),
        is_retained: true,
        window: 500,
        ..lossy()
    };
    let count = RETAINED as u64;
    let mut clients = Generator::connect(process.address(), "r", load)?;
    clients.leave()?;
    let before = process.resident()?;
    let (_, stored, _) = running.cost(|| clients.publish(Until::Messages(count)))?;
    let bytes = process.resident()? as f64 - before as f64;
    let mut run = Run {
        figures: vec![
            (Figure::Stored, each(stored, count)),
            (Figure::StoredBytes, each(bytes, count)),
        ],
        faults: Faults::default(),
    };
    let (mut all, mut micros) = (Figures::default(), 0.0);
    for _ in 0..DELIVERIES {
        let (figures, cost, _) = running.cost(|| {
            clients.come_back()?;
            clients.receive(count)
        })?;
        all.delivered += figures.delivered;
        all.lost += figures.lost;
        all.repeated += figures.repeated;
        all.late += figures.late;
        micros += cost;
        clients.leave()?;
    }
    run.add(Figure::Delivered, micros, &all);
    Ok(run)
}

fn offline(running: &Running) -> io::Result<Run> {
    let (pairs, messages) = AWAY;
    let load = Load {
        shape: Shape::Pairs(pairs),
        is_lasting: true,
        ..lossy()
    };
    let count = pairs as u64 * messages;
    let mut clients = Generator::connect(running.process.address(), "o", load)?;
    clients.leave()?;
    let (queued, queue, _) = running.cost(|| clients.publish(Until::Messages(count)))?;
    let (drained, drain, _) = running.cost(|| {
        clients.come_back()?;
        clients.receive(count)
    })?;
    let mut run = Run::default();
    let each = each(queue, queued.published);
    run.figures.push((Figure::Queued, each));
    run.add(Figure::Drained, drain, &drained);
    Ok(run)
}

fn cycles(running: &Running) -> io::Result<Run> {
    let address = running.process.address();
    let (broken, micros, user) = running.cost(|| churn(address, CYCLES))?;
    let count = (CYCLES - broken) as u64;
    Ok(Run {
        figures: vec![
            (Figure::Cycle, each(micros, count)),
            (Figure::CycleUser, each(user, count)),
        ],
        faults: Faults {
            broken: broken as u64,
            ..Faults::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(delivered: u64, lost: u64) -> Figures {
        Figures {
            delivered,
            lost,
            ..Figures::default()
        }
    }

    #[test]
    fn a_message_costs_its_part_of_the_time() {
        let mut run = Run::default();
        run.add(Figure::Message, 50.0, &figures(100, 1));
        assert_eq!(run.figures, [(Figure::Message, 0.5)]);
        assert_eq!(run.faults.lost, 1);
    }

    #[test]
    fn what_lost_most_has_no_figure_and_yet_its_faults() {
        let mut run = Run::default();
        run.add(Figure::Message, 50.0, &figures(100, 200));
        run.add(Figure::Message, 50.0, &figures(0, 0));
        assert_eq!(run.figures, []);
        assert_eq!(run.faults.lost, 200);
    }

    #[test]
    fn late_messages_are_out_of_order_unless_they_came_twice() {
        let figures = Figures {
            late: 5,
            repeated: 2,
            ..Figures::default()
        };
        let expected = Faults {
            lost: 0,
            repeated: 2,
            disordered: 3,
            broken: 0,
        };
        assert_eq!(faults(&figures), expected);
    }
}
