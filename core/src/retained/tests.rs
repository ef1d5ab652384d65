//! Retained messages against a list that is searched from its beginning.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "b/a", "a topic of some length"];

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message {
        topic,
        payload,
        qos: QoS::AtMostOnce,
        retain: true,
        properties: &[],
        expiry: None,
        packet: None,
        known: None,
        shared: None,
    }
}

fn config(policy: RetainedPolicy, max: usize, max_bytes: usize) -> Config {
    Config {
        retained_policy: policy,
        max_retained: max,
        max_retained_bytes: max_bytes,
        ..Config::default()
    }
}

fn store() -> RetainedMessages {
    RetainedMessages::new(HashKey::from_seed(5), &Place::alone(5))
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// All that is kept, in the order of topics.
fn contents(store: &RetainedMessages) -> Vec<(String, Vec<u8>)> {
    let mut cursor = store.tree.cursor("#");
    let mut found = Vec::new();
    while let Some((topic, retained)) = store.tree.next(&mut cursor) {
        found.push((topic.to_string(), retained.content.to_vec()));
    }
    found.sort();
    found
}

#[derive(Clone, Debug)]
enum Call {
    /// A topic, the length of the payload, and after how many seconds the message expires.
    Set(usize, usize, Option<u64>),
    Clear(usize),
    Advance(u64),
    Configure(RetainedPolicy, usize, usize),
}

fn policy() -> impl Strategy<Value = RetainedPolicy> {
    prop::sample::select(vec![RetainedPolicy::Reject, RetainedPolicy::DropOldest])
}

fn call() -> impl Strategy<Value = Call> {
    let expiry = prop_oneof![Just(None), (0..300u64).prop_map(Some)];
    prop_oneof![
        12 => (0..TOPICS.len(), 1..50usize, expiry)
            .prop_map(|(topic, len, expiry)| Call::Set(topic, len, expiry)),
        3 => (0..TOPICS.len()).prop_map(Call::Clear),
        3 => (0..100u64).prop_map(Call::Advance),
        1 => (policy(), 0..6usize, 0..150usize)
            .prop_map(|(policy, max, bytes)| Call::Configure(policy, max, bytes)),
    ]
}

/// The store as a list in the order of setting.
#[derive(Default)]
struct Model {
    list: Vec<Entry>,
}

struct Entry {
    topic: &'static str,
    payload: Vec<u8>,
    expires: Option<Instant>,
}

impl Model {
    fn bytes(&self) -> usize {
        let sizes = self.list.iter();
        sizes
            .map(|entry| entry.topic.len() + entry.payload.len())
            .sum()
    }

    fn clear(&mut self, topic: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|entry| entry.topic != topic);
        self.list.len() < before
    }

    /// What has expired, first what did so first.
    fn next_due(&self, now: Instant) -> Option<usize> {
        let due = self.list.iter().enumerate();
        due.filter_map(|(place, entry)| Some((entry.expires?, place)))
            .filter(|(expires, _)| *expires <= now)
            .min()
            .map(|(_, place)| place)
    }

    /// Sets a message; says whether it was refused, how many expired, how many were dropped.
    fn set(&mut self, entry: Entry, now: Instant, config: &Config) -> (bool, u64, u64) {
        let size = entry.topic.len() + entry.payload.len();
        let was_there = self.list.iter().any(|old| old.topic == entry.topic);
        let in_place = was_there && {
            let others = self.list.iter().filter(|old| old.topic != entry.topic);
            let others: usize = others.map(|old| old.topic.len() + old.payload.len()).sum();
            others + size <= config.max_retained_bytes
        };
        self.clear(entry.topic);
        if entry.expires.is_some_and(|expires| expires <= now) {
            return (false, 1, 0);
        }
        let (mut expired, mut dropped) = (0, 0);
        if !in_place {
            if config.max_retained == 0 || size > config.max_retained_bytes {
                return (true, 0, 0);
            }
            while self.list.len() >= config.max_retained
                || self.bytes() + size > config.max_retained_bytes
            {
                if let Some(place) = self.next_due(now) {
                    self.list.remove(place);
                    expired += 1;
                } else if config.retained_policy == RetainedPolicy::DropOldest {
                    self.list.remove(0);
                    dropped += 1;
                } else {
                    return (true, expired, dropped);
                }
            }
        }
        self.list.push(entry);
        (false, expired, dropped)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_store_keeps_what_a_list_would(
        first in policy(),
        calls in prop::collection::vec(call(), 0..120),
    ) {
        let mut config = config(first, 4, 100);
        let mut store = store();
        let mut model = Model::default();
        let mut now = at(0);
        for (number, call) in (0u8..).zip(calls) {
            match call {
                Call::Set(topic, len, expiry) => {
                    let topic = TOPICS[topic];
                    let payload = vec![number; len];
                    // No two expire in the same moment: which of two leaves first is not promised.
                    let expires = expiry.map(|expiry| match expiry {
                        0 => now,
                        _ => at(now.as_millis() + expiry * 1000 + u64::from(number)),
                    });
                    let message = message(topic, &payload);
                    let outcome = store.set(&message, &[], expires, now, &config);
                    let entry = Entry { topic, payload: payload.clone(), expires };
                    let expected = model.set(entry, now, &config);
                    let got = (outcome.refused, outcome.expired, outcome.dropped);
                    prop_assert_eq!(got, expected);
                }
                Call::Clear(topic) => {
                    store.clear(TOPICS[topic]);
                    model.clear(TOPICS[topic]);
                }
                Call::Advance(seconds) => {
                    now = at(now.as_millis() + seconds * 1000);
                    // Leaving some of those that have expired to those who need room.
                    if seconds % 2 == 0 {
                        let before = model.list.len();
                        model.list.retain(|entry| entry.expires.is_none_or(|at| at > now));
                        let expired = (before - model.list.len()) as u64;
                        prop_assert_eq!(store.expire(now), expired);
                    }
                }
                Call::Configure(policy, max, bytes) => config = self::config(policy, max, bytes),
            }
            let mut expected: Vec<(String, Vec<u8>)> = Vec::new();
            for entry in &model.list {
                expected.push((entry.topic.to_string(), entry.payload.clone()));
            }
            expected.sort();
            prop_assert_eq!(contents(&store), expected);
            prop_assert_eq!((store.len(), store.bytes()), (model.list.len(), model.bytes()));
            let expiring = model.list.iter().filter_map(|entry| entry.expires);
            prop_assert_eq!(store.expiry.len(), expiring.clone().count());
            prop_assert_eq!(store.next_expiry(), expiring.min());
        }
    }
}

#[test]
fn a_retained_message_is_small() {
    assert_eq!(size_of::<Retained>(), 40);
    assert_eq!(size_of::<(Instant, TopicId)>(), 16);
}

#[test]
fn expired_messages_leave_over_as_many_turns_as_it_takes() {
    let config = Config::default();
    let mut store = store();
    for number in 0..5000 {
        let topic = format!("t/{number}");
        store.set(&message(&topic, b"x"), &[], Some(at(10)), at(0), &config);
    }
    store.set(&message("stays", b"x"), &[], None, at(0), &config);
    assert_eq!(
        (store.expire(at(9)), store.next_expiry()),
        (0, Some(at(10)))
    );
    let mut turns = 0;
    while store.next_expiry().is_some() {
        let left = store.expire(at(10));
        assert!((1..=1024).contains(&left), "{left}");
        turns += 1;
    }
    assert_eq!((turns, store.len(), store.bytes()), (5, 1, 6));
}

#[test]
fn long_topics_that_expire_leave_in_smaller_slices() {
    let config = Config::default();
    let mut store = store();
    for number in 0..100 {
        let topic = format!("{number}/{}", "x".repeat(60_000));
        store.set(&message(&topic, b"x"), &[], Some(at(10)), at(0), &config);
    }
    let left = store.expire(at(10));
    assert!((10..30).contains(&left), "{left}");
}

#[test]
fn one_message_makes_room_in_bounded_work_and_the_next_one_goes_on() {
    let config = config(RetainedPolicy::DropOldest, usize::MAX, 100_000);
    let mut store = store();
    for number in 10_000..20_000 {
        let topic = format!("{number}");
        store.set(&message(&topic, b"12345"), &[], None, at(0), &config);
    }
    assert_eq!(store.len(), 10_000);
    let large = vec![0; 99_000];
    let mut refused = 0;
    loop {
        let outcome = store.set(&message("large", &large), &[], None, at(0), &config);
        assert!((1..=4096).contains(&outcome.dropped), "{outcome:?}");
        assert!(outcome.work <= ROOM_BUDGET + STEPS, "{outcome:?}");
        if !outcome.refused {
            break;
        }
        refused += 1;
    }
    assert_eq!(refused, 2);
    assert_eq!(
        (store.len(), store.bytes()),
        (100, 1000 - 5 - 10 + 99_005 + 5)
    );
}

#[test]
fn nothing_makes_room_for_what_could_never_fit() {
    let config = config(RetainedPolicy::DropOldest, 10, 20);
    let mut store = store();
    for topic in ["a", "b"] {
        store.set(&message(topic, b"x"), &[], None, at(0), &config);
    }
    let outcome = store.set(&message("b", &[0; 20]), &[], None, at(0), &config);
    assert!(outcome.refused && outcome.dropped == 0, "{outcome:?}");
    assert_eq!(contents(&store), [("a".to_string(), b"x".to_vec())]);
}
