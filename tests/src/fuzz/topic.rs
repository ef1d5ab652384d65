//! Topics and filters against definitions that are written down as naively as they are meant.

use std::collections::{BTreeMap, BTreeSet};

use wherry_core::map::HashKey;
use wherry_core::topic::{
    Cursor, FilterTree, MAX_LEVELS, RetainedTree, SharedFilter, Step, check_filter, check_name,
    covers, matches, overlap, parse_shared,
};

use super::input::Input;

/// How many instructions a script may have. More would make it slow, not more telling.
const INSTRUCTIONS: usize = 400;

/// How many topics are remembered to try filters on.
const REMEMBERED: usize = 32;

/// What is often told apart, for bytes that are no ASCII: so that scripts need not be long to have
/// deep topics.
const PARTS: [&str; 8] = [
    "/",
    "+/",
    "/#",
    "/+",
    "$",
    "$share/g/",
    "a level too long to lie in its node/",
    "é",
];

/// A level that no script can write.
const FRESH: &str = "\u{1}";

/// Plays a script of changes and questions, each of which is checked with lists and loops. Returns
/// how many instructions it had.
pub fn topic(script: &[u8]) -> usize {
    let mut input = Input::new(script);
    let mut filters = Filters::new();
    let mut retained = Retained::new();
    let mut topics: Vec<String> = Vec::new();
    let mut instructions = 0;
    while !input.is_empty() && instructions < INSTRUCTIONS {
        instructions += 1;
        let what = input.below(10);
        let text = text(&mut input);
        check_grammar(&text);
        let is_topic = check_name(&text, MAX_LEVELS).is_ok();
        let is_filter = check_filter(&text, MAX_LEVELS).is_ok();
        if is_topic && topics.len() < REMEMBERED {
            topics.push(text.clone());
        }
        match what {
            0 | 1 if is_filter => filters.insert(text, input.byte(), input.byte()),
            2 => filters.remove(text, input.byte()),
            3 if is_topic => filters.check(&text),
            4 if is_topic => retained.insert(text, input.byte()),
            5 => retained.remove(&text),
            6 => retained.remove_oldest(),
            7 if is_filter => retained.open(text),
            8 => retained.step(input.byte(), input.below(8)),
            9 => relate(&text, &self::text(&mut input), &topics),
            // What is no filter must at least do no harm.
            _ => filters.touch(&text),
        }
    }
    filters.end(&topics);
    retained.end();
    instructions
}

/// A text: ASCII as it stands, any other byte one of [`PARTS`].
fn text(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    for byte in input.bytes() {
        match char::from(*byte) {
            char @ '\u{2}'..='\u{7f}' => text.push(char),
            _ => text.push_str(PARTS[usize::from(*byte) % PARTS.len()]),
        }
    }
    text
}

/// Whether the filter matches the topic, level by level (4.7.1, [MQTT-4.7.2-1]).
pub(super) fn naive(filter: &str, topic: &str) -> bool {
    fn rest(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => rest(filter, topic),
            ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && rest(filter, topic),
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let is_reserved = topic[0].starts_with('$') && ["+", "#"].contains(&filter[0]);
    !is_reserved && rest(&filter, &topic)
}

/// The checks say what their definitions say.
fn check_grammar(text: &str) {
    let levels: Vec<&str> = text.split('/').collect();
    let is_small = !text.is_empty() && text.len() <= 65_535 && levels.len() <= MAX_LEVELS;
    let has_wildcard = |text: &str| text.contains(['+', '#']);
    let is_name = is_small && !has_wildcard(text);
    assert_eq!(check_name(text, MAX_LEVELS).is_ok(), is_name, "{text:?}");
    let (last, before) = levels.split_last().expect("there is always a level");
    let is_level = |level: &&str| *level == "+" || !has_wildcard(level);
    let is_filter = is_small && before.iter().all(is_level) && (*last == "#" || is_level(last));
    assert_eq!(
        check_filter(text, MAX_LEVELS).is_ok(),
        is_filter,
        "{text:?}"
    );
    let shared = match levels[..] {
        ["$share", group, _, ..] => {
            let filter = &text["$share/".len() + group.len() + 1..];
            let is_good = !group.is_empty()
                && !has_wildcard(group)
                && check_filter(filter, MAX_LEVELS).is_ok();
            is_good.then_some(Some(SharedFilter { group, filter }))
        }
        ["$share", ..] => None,
        _ => Some(None),
    };
    assert_eq!(parse_shared(text).ok(), shared, "{text:?}");
}

/// The filter tree, and a list of the subscriptions that are in it.
struct Filters {
    tree: FilterTree<u8, u8>,
    list: BTreeMap<(String, u8), u8>,
    /// Holds what is no filter.
    other: FilterTree<u8, u8>,
}

impl Filters {
    fn new() -> Self {
        Self {
            tree: FilterTree::new(HashKey::from_seed(1)),
            list: BTreeMap::new(),
            other: FilterTree::new(HashKey::from_seed(2)),
        }
    }

    fn insert(&mut self, filter: String, who: u8, value: u8) {
        let inserted = self.tree.insert(&filter, who, value);
        let mut written = String::new();
        self.tree.write_filter(inserted.filter, &mut written);
        assert_eq!(written, filter);
        assert_eq!(self.tree.find(&filter), Some(inserted.filter));
        assert_eq!(self.tree.get(inserted.filter, who), Some(&value));
        assert_eq!(inserted.replaced, self.list.insert((filter, who), value));
        assert_eq!(self.tree.len(), self.list.len());
    }

    fn remove(&mut self, filter: String, who: u8) {
        let id = self.tree.find(&filter);
        let is_there = self.list.keys().any(|(other, _)| *other == filter);
        assert_eq!(id.is_some(), is_there, "{filter:?}");
        let removed = id.and_then(|id| self.tree.remove(id, who));
        assert_eq!(removed, self.list.remove(&(filter, who)));
        assert_eq!(self.tree.len(), self.list.len());
    }

    fn check(&self, topic: &str) {
        let matching = self.list.iter().filter(|((filter, _), _)| {
            let is_match = naive(filter, topic);
            assert_eq!(matches(filter, topic), is_match, "{filter:?} {topic:?}");
            is_match
        });
        let expected: BTreeMap<_, _> = matching.map(|(key, value)| (key.clone(), *value)).collect();
        let mut found = BTreeMap::new();
        self.tree.for_each_match(topic, |id, subscribers| {
            let mut filter = String::new();
            self.tree.write_filter(id, &mut filter);
            for (who, value) in subscribers {
                let before = found.insert((filter.clone(), *who), *value);
                assert_eq!(before, None, "{filter:?} came twice");
            }
        });
        assert_eq!(found, expected, "{topic:?}");
        assert_eq!(self.tree.has_match(topic), !expected.is_empty());
    }

    /// Any string may come in and go, and be looked for.
    fn touch(&mut self, text: &str) {
        let id = self.other.insert(text, 0, 0).filter;
        assert_eq!(self.other.find(text), Some(id));
        self.other.for_each_match(text, |_, _| {});
        if text.len().is_multiple_of(2) {
            assert_eq!(self.other.remove(id, 0), Some(0));
            assert_eq!(self.other.find(text), None);
        }
    }

    fn end(mut self, topics: &[String]) {
        for topic in topics {
            self.check(topic);
        }
        for (filter, who) in self.list.keys() {
            let id = self.tree.find(filter).expect("it is in the list");
            assert!(self.tree.remove(id, *who).is_some());
        }
        assert!(self.tree.is_empty() && self.tree.filters() == 0);
    }
}

/// The retained tree, a list of what is in it in the order in which it was set, and walks over it.
struct Retained {
    tree: RetainedTree<u8>,
    list: Vec<(String, u8)>,
    walks: Vec<Walk>,
}

/// A cursor, and what it owes.
struct Walk {
    cursor: Cursor,
    filter: String,
    /// Topics that were there at the opening and never went.
    owed: BTreeSet<String>,
    visited: BTreeSet<String>,
}

impl Retained {
    fn new() -> Self {
        Self {
            tree: RetainedTree::new(HashKey::from_seed(3)),
            list: Vec::new(),
            walks: Vec::new(),
        }
    }

    fn insert(&mut self, topic: String, value: u8) {
        let place = self.list.iter().position(|(other, _)| *other == topic);
        let before = place.map(|place| self.list.remove(place).1);
        let (id, replaced) = self.tree.insert(&topic, value);
        assert_eq!(replaced, before, "{topic:?}");
        assert_eq!(self.tree.get_id(id), Some(&value));
        assert_eq!(self.tree.get(&topic), Some(&value));
        self.list.push((topic, value));
    }

    fn remove(&mut self, topic: &str) {
        let place = self.list.iter().position(|(other, _)| other == topic);
        let before = place.map(|place| self.list.remove(place).1);
        assert_eq!(self.tree.remove(topic), before, "{topic:?}");
        self.gone(topic);
    }

    fn remove_oldest(&mut self) {
        let oldest = self.tree.oldest().and_then(|id| self.tree.remove_id(id));
        let expected = (!self.list.is_empty()).then(|| self.list.remove(0));
        assert_eq!(oldest, expected);
        if let Some((topic, _)) = expected {
            self.gone(&topic);
        }
    }

    fn gone(&mut self, topic: &str) {
        for walk in &mut self.walks {
            walk.owed.remove(topic);
        }
        assert_eq!(self.tree.len(), self.list.len());
    }

    fn open(&mut self, filter: String) {
        let there = self.list.iter().map(|(topic, _)| topic);
        let owed = there.filter(|topic| naive(&filter, topic)).cloned();
        self.walks.push(Walk {
            cursor: self.tree.cursor(&filter),
            owed: owed.collect(),
            filter,
            visited: BTreeSet::new(),
        });
    }

    fn step(&mut self, which: u8, mut budget: usize) {
        let Some(at) = usize::from(which).checked_rem(self.walks.len()) else {
            return;
        };
        let walk = &mut self.walks[at];
        match self.tree.next_within(&mut walk.cursor, &mut budget) {
            Step::Topic(topic, value) => {
                let there = self.list.iter().find(|(other, _)| other == topic);
                assert_eq!(there.map(|(_, value)| value), Some(value), "{topic:?}");
                assert!(naive(&walk.filter, topic), "{:?} {topic:?}", walk.filter);
                let is_first = walk.visited.insert(topic.to_owned());
                assert!(is_first, "{topic:?} came twice");
            }
            Step::Pending => assert_eq!(budget, 0),
            Step::Done => {
                let mut missed = walk.owed.difference(&walk.visited);
                assert_eq!(missed.next(), None, "{:?} missed it", walk.filter);
                self.walks.swap_remove(at);
            }
        }
    }

    fn end(mut self) {
        while !self.walks.is_empty() {
            self.step(0, 5);
        }
        while !self.list.is_empty() {
            self.remove_oldest();
        }
        assert!(self.tree.is_empty() && self.tree.oldest().is_none());
    }
}

/// What is said of two filters is true of topics, and there is a topic that shows it.
fn relate(one: &str, other: &str, topics: &[String]) {
    if [one, other].map(|it| check_filter(it, MAX_LEVELS).is_ok()) != [true; 2] {
        let _ = (covers(one, other), overlap(one, other), matches(one, other));
        return;
    }
    let is_overlap = overlap(one, other);
    assert_eq!(overlap(other, one), is_overlap, "{one:?} {other:?}");
    let is_covered = covers(one, other);
    for topic in topics {
        let (by_one, by_other) = (naive(one, topic), naive(other, topic));
        assert!(!by_one || !by_other || is_overlap, "{one:?} {other:?}");
        assert!(!by_other || !is_covered || by_one, "{one:?} {other:?}");
    }
    if is_overlap {
        let topic = common_topic(one, other);
        let is_common = naive(one, &topic) && naive(other, &topic);
        assert!(is_common, "{one:?} {other:?} {topic:?}");
    }
    let depth = one.split('/').count() + 1;
    let mut kinds = (0..=depth).filter_map(|extra| topic_of(other, extra));
    let has_other = kinds.any(|topic| {
        assert!(naive(other, &topic), "{other:?} {topic:?}");
        !naive(one, &topic)
    });
    assert_eq!(is_covered, !has_other, "{one:?} {other:?}");
}

/// A topic that a filter matches, with a level that only wildcards match for each of its wildcards,
/// and as many of these for a `#`; none if there is no such topic.
fn topic_of(filter: &str, extra: usize) -> Option<String> {
    let mut levels: Vec<&str> = filter.split('/').collect();
    if levels.last() == Some(&"#") {
        levels.pop();
        levels.extend(std::iter::repeat_n(FRESH, extra));
    }
    let fresh = |level| if level == "+" { FRESH } else { level };
    let topic = levels.into_iter().map(fresh).collect::<Vec<_>>().join("/");
    (!topic.is_empty()).then_some(topic)
}

/// A topic that both filters match, if there is any.
fn common_topic(one: &str, other: &str) -> String {
    let (mut one, mut other) = (one.split('/').peekable(), other.split('/').peekable());
    let mut levels = Vec::new();
    loop {
        let level = match (one.peek().copied(), other.peek().copied()) {
            (None | Some("#"), None | Some("#")) => break,
            (Some("#"), Some(level)) | (Some(level), Some("#")) => level,
            (Some("+"), Some(level)) | (Some(level), _) | (None, Some(level)) => level,
        };
        levels.push(if level == "+" { FRESH } else { level });
        for side in [&mut one, &mut other] {
            side.next_if(|level| *level != "#");
        }
    }
    if levels.iter().all(|level| level.is_empty()) && levels.len() < 2 {
        levels.push(FRESH);
    }
    levels.join("/")
}
