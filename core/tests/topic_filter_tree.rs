//! The filter tree against a list of subscriptions that is searched with [`matches`].

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wherry_core::map::HashKey;
use wherry_core::topic::{FilterId, FilterTree, MAX_BYTES, MAX_LEVELS, matches};

type Who = u8;

#[derive(Clone, Debug)]
enum Call {
    Insert(String, Who, u32),
    Remove(String, Who),
    Match(String),
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
    prop::collection::vec(level(), 1..5).prop_map(|levels| not_empty(levels.join("/")))
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>()).prop_map(|(mut levels, tail)| {
        levels.extend(tail.then_some("#"));
        not_empty(levels.join("/"))
    })
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (filter(), 0..4u8, any::<u32>()).prop_map(|(f, who, v)| Call::Insert(f, who, v)),
        2 => (filter(), 0..4u8).prop_map(|(f, who)| Call::Remove(f, who)),
        3 => topic().prop_map(Call::Match),
    ]
}

fn written(tree: &FilterTree<Who, u32>, id: FilterId) -> String {
    let mut filter = String::new();
    tree.write_filter(id, &mut filter);
    filter
}

/// What a match finds, in the order in which it is found.
fn found(tree: &FilterTree<Who, u32>, topic: &str) -> Vec<(String, Vec<(Who, u32)>)> {
    let mut found = Vec::new();
    tree.for_each_match(topic, |id, list| {
        found.push((written(tree, id), list.to_vec()));
    });
    found
}

proptest! {
    #[test]
    fn a_match_finds_the_subscriptions_whose_filter_matches(
        calls in prop::collection::vec(call(), 0..120),
    ) {
        let mut tree = FilterTree::new(HashKey::from_seed(11));
        let mut list: BTreeMap<(String, Who), u32> = BTreeMap::new();
        for call in calls {
            match call {
                Call::Insert(filter, who, value) => {
                    let inserted = tree.insert(&filter, who, value);
                    prop_assert_eq!(tree.find(&filter), Some(inserted.filter));
                    prop_assert_eq!(tree.get(inserted.filter, who), Some(&value));
                    prop_assert_eq!(written(&tree, inserted.filter), filter.clone());
                    prop_assert_eq!(inserted.replaced, list.insert((filter, who), value));
                }
                Call::Remove(filter, who) => {
                    let removed = tree.find(&filter).and_then(|id| tree.remove(id, who));
                    prop_assert_eq!(removed, list.remove(&(filter, who)));
                }
                Call::Match(topic) => {
                    let mut expected: BTreeMap<String, BTreeMap<Who, u32>> = BTreeMap::new();
                    for ((filter, who), value) in &list {
                        if matches(filter, &topic) {
                            expected.entry(filter.clone()).or_default().insert(*who, *value);
                        }
                    }
                    prop_assert_eq!(tree.has_match(&topic), !expected.is_empty());
                    for (filter, subscribers) in found(&tree, &topic) {
                        let count = subscribers.len();
                        let subscribers: BTreeMap<Who, u32> = subscribers.into_iter().collect();
                        prop_assert_eq!(subscribers.len(), count);
                        prop_assert_eq!(Some(subscribers), expected.remove(&filter), "{}", filter);
                    }
                    prop_assert!(expected.is_empty());
                }
            }
            let filters: BTreeSet<&String> = list.keys().map(|(filter, _)| filter).collect();
            prop_assert_eq!((tree.len(), tree.filters()), (list.len(), filters.len()));
        }
    }

    #[test]
    fn the_order_of_matches_does_not_depend_on_the_hash(
        calls in prop::collection::vec(call(), 0..120),
    ) {
        let mut one = FilterTree::new(HashKey::from_seed(1));
        let mut other = FilterTree::new(HashKey::from_seed(2));
        for call in calls {
            match call {
                Call::Insert(filter, who, value) => {
                    let inserted = one.insert(&filter, who, value);
                    prop_assert_eq!(inserted, other.insert(&filter, who, value));
                }
                Call::Remove(filter, who) => {
                    let id = one.find(&filter);
                    prop_assert_eq!(id, other.find(&filter));
                    if let Some(id) = id {
                        prop_assert_eq!(one.remove(id, who), other.remove(id, who));
                    }
                }
                Call::Match(topic) => prop_assert_eq!(found(&one, &topic), found(&other, &topic)),
            }
        }
    }
}

#[test]
fn any_number_of_subscribers_of_one_filter_come_and_go() {
    for filter in ["a/b", "a/+"] {
        let mut tree = FilterTree::new(HashKey::from_seed(5));
        for who in 0..=255u8 {
            tree.insert(filter, who, u32::from(who));
        }
        let id = tree.find(filter).unwrap();
        for who in (0..=255u8).step_by(2) {
            assert_eq!(tree.remove(id, who), Some(u32::from(who)));
            assert_eq!(tree.remove(id, who), None);
        }
        let mut left: Vec<Who> = tree.subscribers(id).iter().map(|(who, _)| *who).collect();
        left.sort_unstable();
        assert_eq!(left, (1..=255).step_by(2).collect::<Vec<Who>>());
        for who in left {
            tree.remove(id, who);
        }
        assert!(tree.is_empty() && tree.find(filter).is_none() && !tree.has_match("a/b"));
    }
}

#[test]
fn topics_at_the_limits_are_matched() {
    let mut tree = FilterTree::new(HashKey::from_seed(5));
    let long_level = "x".repeat(MAX_BYTES - 2 * (MAX_LEVELS - 1));
    let deep = format!("{}{long_level}", "a/".repeat(MAX_LEVELS - 1));
    assert_eq!(deep.len(), MAX_BYTES);
    let pluses = ["+"; MAX_LEVELS].join("/");
    let tail = format!("{}#", "+/".repeat(MAX_LEVELS - 1));
    for filter in [deep.as_str(), &pluses, &tail, "#", "+/#"] {
        tree.insert(filter, 1, 1);
    }
    assert_eq!(found(&tree, &deep).len(), 5);
    assert_eq!(found(&tree, &"/".repeat(MAX_LEVELS - 1)).len(), 4);
    assert_eq!(found(&tree, &"/".repeat(MAX_LEVELS - 2)).len(), 3);
}

#[test]
fn every_level_may_branch_at_once() {
    // Both branches at every level: the stack of the walk is as full as it can get.
    let mut tree = FilterTree::new(HashKey::from_seed(5));
    let literals = ["a"; MAX_LEVELS];
    for at in 0..MAX_LEVELS {
        let mut levels = literals;
        levels[at] = "+";
        tree.insert(&levels.join("/"), 1, 1);
    }
    assert_eq!(found(&tree, &literals.join("/")).len(), MAX_LEVELS);
}

#[test]
fn deeper_strings_than_are_allowed_do_no_harm() {
    // No such string passes the checks; a caller that skipped them still gets an answer.
    let mut tree = FilterTree::new(HashKey::from_seed(5));
    let filter = ["+"; 1000].join("/");
    let id = tree.insert(&filter, 1, 1).filter;
    tree.insert("#", 1, 1);
    assert_eq!(tree.find(&filter), Some(id));
    assert_eq!(written(&tree, id), filter);
    assert_eq!(
        found(&tree, &["a"; 1000].join("/")),
        [("#".into(), vec![(1, 1)])]
    );
    assert_eq!(found(&tree, &"/".repeat(65_000)).len(), 1);
    assert_eq!(tree.remove(id, 1), Some(1));
    assert_eq!(tree.filters(), 1);
}
