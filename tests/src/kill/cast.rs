//! Who takes part.

use super::actor::Actor;
use super::changer::{self, Changer};
use super::checker::Checker;
use super::publisher::{Publisher, Publishing};
use super::record::{Record, TopicId};
use super::subscriber::{Habit, Subscriber};
use super::visitor::Visitor;
use super::willing::Willing;
use crate::wire::Version::{V3_1_1, V5};

/// The client that looks at what is retained.
pub(super) const CHECKER: &str = Checker::NAME;

/// All clients. Topics of messages to be kept begin with `k/`, those of retained ones with `r/`, of
/// wills with `w/`, and those that are subscribed to and not, with `c/`.
pub(super) fn all(record: &mut Record) -> Vec<Box<dyn Actor>> {
    let publishers = publishers(record);
    let wills = ["w/old", "w/new"].map(|name| record.add_topic(name, 2));
    let subscribers = [
        ("present-2", V5, 2, Habit::Present),
        ("present-1", V3_1_1, 1, Habit::Present),
        ("slow-2", V5, 2, Habit::Slow),
        ("away-2", V3_1_1, 2, Habit::Away),
        ("away-1", V5, 1, Habit::Away),
    ];
    let mut all: Vec<Box<dyn Actor>> = Vec::new();
    // Whoever subscribes knows by then which topics there are.
    for (name, version, qos, habit) in subscribers {
        let subscriber = Subscriber::new(name, version, qos, habit, record);
        all.push(Box::new(subscriber));
    }
    all.push(Box::new(Changer::new("changer-new", V5, record)));
    all.push(Box::new(Changer::new("changer-old", V3_1_1, record)));
    all.push(Box::new(Checker::new(record)));
    all.push(Box::new(Visitor::new("visitor-old", V3_1_1)));
    all.push(Box::new(Visitor::new("visitor-new", V5)));
    all.push(Box::new(Willing::new("willing-old", V3_1_1, wills[0])));
    all.push(Box::new(Willing::new("willing-new", V5, wills[1])));
    for publisher in publishers {
        all.push(Box::new(Publishing::new(publisher)));
    }
    all
}

fn publishers(record: &mut Record) -> [Publisher; 6] {
    let plain = Publisher {
        name: "",
        version: V5,
        is_lasting: true,
        topics: Vec::new(),
        is_retaining: false,
        window: 20,
    };
    let changed = |record: &mut Record| {
        let one = (0..changer::FILTERS).map(|n| (format!("c/{n}/one"), 1));
        let two = (0..changer::FILTERS).map(|n| (format!("c/{n}/two"), 2));
        let all = one.chain(two);
        all.map(|(name, qos)| record.add_topic(&name, qos))
            .collect()
    };
    [
        Publisher {
            name: "publisher-1-new",
            topics: topics(record, "k/a", &[1, 1, 1]),
            ..plain.clone()
        },
        Publisher {
            name: "publisher-2-new",
            topics: topics(record, "k/b", &[2, 2, 2]),
            ..plain.clone()
        },
        Publisher {
            name: "publisher-2-old",
            version: V3_1_1,
            topics: topics(record, "k/c", &[1, 2, 2]),
            ..plain.clone()
        },
        Publisher {
            name: "publisher-passing",
            version: V3_1_1,
            is_lasting: false,
            topics: topics(record, "k/d", &[1, 1]),
            ..plain.clone()
        },
        Publisher {
            name: "publisher-retained",
            topics: topics(record, "r", &[1, 2, 1, 2, 1, 2]),
            is_retaining: true,
            window: 6,
            ..plain.clone()
        },
        Publisher {
            name: "publisher-changed",
            topics: changed(record),
            window: 10,
            ..plain
        },
    ]
}

/// Topics of these qualities of service.
fn topics(record: &mut Record, below: &str, qualities: &[u8]) -> Vec<TopicId> {
    let numbered = qualities.iter().enumerate();
    numbered
        .map(|(number, qos)| record.add_topic(&format!("{below}/{number}"), *qos))
        .collect()
}
