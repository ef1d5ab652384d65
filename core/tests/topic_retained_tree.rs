//! The retained tree against an ordered map, and its cursors against their promise.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wherry_core::map::HashKey;
use wherry_core::topic::{Cursor, MAX_BYTES, MAX_LEVELS, RetainedTree, Step, TopicId, matches};

#[derive(Clone, Debug)]
enum Call {
    Insert(String, u32),
    Remove(String),
    /// By an id that was given once, whether it is stale or not.
    RemoveId(usize),
    RemoveOldest,
    Open(String),
    /// Which of the open cursors, and the budget of the step.
    Step(usize, usize),
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "$s",
        "",
        "a level too long to lie in its node",
    ])
}

fn not_empty(text: String) -> String {
    if text.is_empty() { "a".into() } else { text }
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..4).prop_map(|levels| not_empty(levels.join("/")))
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![1 => level(), 1 => Just("+")];
    (prop::collection::vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, tail)| {
        levels.extend(tail.then_some("#"));
        not_empty(levels.join("/"))
    })
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (topic(), any::<u32>()).prop_map(|(topic, value)| Call::Insert(topic, value)),
        3 => topic().prop_map(Call::Remove),
        2 => any::<prop::sample::Index>().prop_map(|which| Call::RemoveId(which.index(1000))),
        1 => Just(Call::RemoveOldest),
        1 => filter().prop_map(Call::Open),
        8 => (any::<prop::sample::Index>(), 0..6usize)
            .prop_map(|(which, budget)| Call::Step(which.index(1000), budget)),
    ]
}

/// A cursor, and what it owes.
struct Walk {
    cursor: Cursor,
    filter: String,
    /// Topics that were there at the opening and never went.
    owed: BTreeSet<String>,
    visited: BTreeSet<String>,
}

impl Walk {
    /// Makes one step; says whether the walk goes on.
    fn step(
        &mut self,
        tree: &RetainedTree<u32>,
        model: &BTreeMap<String, u32>,
        mut budget: usize,
    ) -> Result<bool, TestCaseError> {
        let given = budget;
        match tree.next_within(&mut self.cursor, &mut budget) {
            Step::Topic(topic, value) => {
                prop_assert_eq!(model.get(topic), Some(value));
                prop_assert!(matches(&self.filter, topic), "{} {}", self.filter, topic);
                prop_assert!(
                    self.visited.insert(topic.to_string()),
                    "{} came twice",
                    topic
                );
            }
            Step::Pending => prop_assert_eq!(budget, 0),
            Step::Done => {
                let missed: Vec<&String> = self.owed.difference(&self.visited).collect();
                prop_assert!(missed.is_empty(), "{} missed {:?}", self.filter, missed);
                return Ok(false);
            }
        }
        prop_assert!(budget <= given);
        Ok(true)
    }
}

/// Notes that a topic has gone.
fn gone(topic: &str, order: &mut Vec<String>, walks: &mut [Walk]) {
    order.retain(|other| other != topic);
    for walk in walks {
        walk.owed.remove(topic);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn cursors_keep_their_promise_while_topics_come_and_go(
        calls in prop::collection::vec(call(), 0..200),
    ) {
        let mut tree = RetainedTree::new(HashKey::from_seed(7));
        let mut model: BTreeMap<String, u32> = BTreeMap::new();
        let mut order: Vec<String> = Vec::new();
        let mut ids: Vec<(TopicId, String)> = Vec::new();
        let mut walks: Vec<Walk> = Vec::new();
        for call in calls {
            match call {
                Call::Insert(topic, value) => {
                    let (id, replaced) = tree.insert(&topic, value);
                    prop_assert_eq!(replaced, model.insert(topic.clone(), value));
                    prop_assert_eq!(tree.get(&topic), Some(&value));
                    prop_assert_eq!((tree.id(&topic), tree.get_id(id)), (Some(id), Some(&value)));
                    order.retain(|other| *other != topic);
                    order.push(topic.clone());
                    ids.push((id, topic));
                }
                Call::Remove(topic) => {
                    prop_assert_eq!(tree.remove(&topic), model.remove(&topic));
                    prop_assert_eq!((tree.get(&topic), tree.id(&topic)), (None, None));
                    gone(&topic, &mut order, &mut walks);
                }
                Call::RemoveId(_) if ids.is_empty() => {}
                Call::RemoveId(which) => {
                    let (id, topic) = ids[which % ids.len()].clone();
                    match tree.remove_id(id) {
                        Some((removed, value)) => {
                            prop_assert_eq!(&removed, &topic, "it names no other topic");
                            prop_assert_eq!(model.remove(&topic), Some(value));
                            gone(&topic, &mut order, &mut walks);
                        }
                        None => prop_assert_ne!(tree.id(&topic), Some(id)),
                    }
                    prop_assert_eq!(tree.get_id(id), None);
                }
                Call::RemoveOldest => {
                    let oldest = tree.oldest();
                    prop_assert_eq!(oldest, order.first().and_then(|topic| tree.id(topic)));
                    if let Some((topic, value)) = oldest.and_then(|id| tree.remove_id(id)) {
                        prop_assert_eq!(model.remove(&topic), Some(value));
                        gone(&topic, &mut order, &mut walks);
                    }
                }
                Call::Open(filter) => {
                    let there = model.keys().filter(|topic| matches(&filter, topic));
                    let owed = there.cloned().collect();
                    let cursor = tree.cursor(&filter);
                    walks.push(Walk { cursor, filter, owed, visited: BTreeSet::new() });
                }
                Call::Step(_, _) if walks.is_empty() => {}
                Call::Step(which, budget) => {
                    let which = which % walks.len();
                    if !walks[which].step(&tree, &model, budget)? {
                        walks.swap_remove(which);
                    }
                }
            }
            prop_assert_eq!(tree.len(), model.len());
        }
        for mut walk in walks {
            while walk.step(&tree, &model, 1)? {}
        }
        for topic in order {
            let oldest = tree.oldest().and_then(|id| tree.remove_id(id));
            prop_assert_eq!(oldest.map(|(oldest, _)| oldest), Some(topic));
        }
        prop_assert!(tree.oldest().is_none() && tree.is_empty());
    }

    #[test]
    fn a_cursor_finds_exactly_the_topics_that_match(
        topics in prop::collection::btree_set(topic(), 0..40),
        filter in filter(),
    ) {
        let mut tree = RetainedTree::new(HashKey::from_seed(7));
        for topic in &topics {
            tree.insert(topic, ());
        }
        let mut cursor = tree.cursor(&filter);
        let mut found = BTreeSet::new();
        while let Some((topic, ())) = tree.next(&mut cursor) {
            prop_assert!(found.insert(topic.to_string()), "{} came twice", topic);
        }
        prop_assert!(tree.next(&mut cursor).is_none());
        let expected: BTreeSet<String> =
            topics.into_iter().filter(|topic| matches(&filter, topic)).collect();
        prop_assert_eq!(found, expected);
    }
}

/// All that a cursor finds.
fn found(tree: &RetainedTree<u32>, filter: &str) -> Vec<String> {
    let mut cursor = tree.cursor(filter);
    let mut found = Vec::new();
    while let Some((topic, _)) = tree.next(&mut cursor) {
        found.push(topic.to_string());
    }
    found
}

#[test]
fn a_topic_that_goes_and_comes_again_is_not_visited_twice() {
    let mut tree = RetainedTree::new(HashKey::from_seed(1));
    tree.insert("a/b", 1);
    tree.insert("c", 1);
    let mut cursor = tree.cursor("#");
    assert_eq!(tree.next(&mut cursor), Some(("a/b", &1)));
    tree.remove("a/b");
    tree.insert("a/b", 2);
    assert_eq!(tree.next(&mut cursor), Some(("c", &1)));
    assert_eq!(tree.next(&mut cursor), None);
}

#[test]
fn clearing_each_topic_as_it_is_visited_misses_none() {
    // What a tool does that clears all retained messages.
    let mut tree = RetainedTree::new(HashKey::from_seed(1));
    for number in 0..10_000 {
        tree.insert(&format!("a/b/{number}"), number);
    }
    let mut cursor = tree.cursor("#");
    let mut count = 0;
    while let Some((topic, _)) = tree.next(&mut cursor) {
        let topic = topic.to_string();
        assert!(tree.remove(&topic).is_some());
        count += 1;
    }
    assert_eq!((count, tree.len()), (10_000, 0));
}

#[test]
fn a_step_looks_at_no_more_nodes_than_its_budget() {
    let mut tree = RetainedTree::new(HashKey::from_seed(1));
    for number in 0..10_000 {
        tree.insert(&format!("{number}/y"), number);
    }
    tree.insert("9999/x", 1);
    let mut cursor = tree.cursor("+/x");
    let mut steps = 0;
    loop {
        let mut budget = 100;
        match tree.next_within(&mut cursor, &mut budget) {
            Step::Pending => steps += 1,
            Step::Topic(topic, _) => {
                assert_eq!(topic, "9999/x");
                break;
            }
            Step::Done => panic!("9999/x is there"),
        }
    }
    // Each first level costs itself and the look-up of `x` beneath it.
    assert!((195..=205).contains(&steps), "{steps}");
}

#[test]
fn the_order_of_topics_does_not_depend_on_the_hash() {
    let mut trees = [1, 2].map(|seed| RetainedTree::new(HashKey::from_seed(seed)));
    for tree in &mut trees {
        for number in 0..1000u32 {
            tree.insert(&format!("{}/{}", number % 7, number), number);
            if number % 3 == 0 {
                let gone = number / 3;
                tree.remove(&format!("{}/{}", gone % 7, gone));
            }
        }
    }
    let [one, other] = &trees;
    assert_eq!(found(one, "#").len(), one.len());
    assert_eq!(found(one, "#"), found(other, "#"));
}

#[test]
fn wildcards_leave_out_reserved_topics() {
    // [MQTT-4.7.2-1]
    let mut tree = RetainedTree::new(HashKey::from_seed(1));
    for topic in ["$SYS", "$SYS/a", "a", "a/$b"] {
        tree.insert(topic, 0);
    }
    assert_eq!(found(&tree, "#"), ["a", "a/$b"]);
    assert_eq!(found(&tree, "+/a"), [""; 0]);
    assert_eq!(found(&tree, "+/+"), ["a/$b"]);
    assert_eq!(found(&tree, "$SYS/#"), ["$SYS", "$SYS/a"]);
}

#[test]
fn a_stale_id_names_nothing_although_its_node_is_used_again() {
    let mut tree = RetainedTree::new(HashKey::from_seed(1));
    tree.insert("stays", 0);
    let (stale, _) = tree.insert("a/b", 1);
    assert_eq!(tree.remove_id(stale), Some(("a/b".to_string(), 1)));
    for topic in ["a/b", "c/d", "e"] {
        tree.insert(topic, 2);
    }
    assert_eq!(tree.get_id(stale), None);
    assert_eq!(tree.remove_id(stale), None);
    assert_eq!(tree.len(), 4);
    let (inner, _) = tree.insert("a", 3);
    tree.remove("a");
    assert_eq!(tree.get_id(inner), None, "a node without a value");
}

#[test]
fn topics_at_the_limits_are_found() {
    let mut tree = RetainedTree::new(HashKey::from_seed(1));
    let long_level = "x".repeat(MAX_BYTES - 2 * (MAX_LEVELS - 1));
    let deep = format!("{}{long_level}", "a/".repeat(MAX_LEVELS - 1));
    assert_eq!(deep.len(), MAX_BYTES);
    let slashes = "/".repeat(MAX_LEVELS - 1);
    tree.insert(&deep, 1);
    tree.insert(&slashes, 2);
    assert_eq!(found(&tree, "#"), [deep.clone(), slashes.clone()]);
    assert_eq!(
        found(&tree, &["+"; MAX_LEVELS].join("/")),
        [deep.clone(), slashes.clone()]
    );
    assert_eq!(
        found(&tree, &format!("{}#", "+/".repeat(MAX_LEVELS - 1))).len(),
        2
    );
    assert_eq!(found(&tree, &deep), [deep.as_str()]);
    assert_eq!(
        (tree.remove(&deep), tree.remove(&slashes)),
        (Some(1), Some(2))
    );
    assert_eq!(tree.get(&deep), None);
}
