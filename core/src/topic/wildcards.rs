//! The filters that contain wildcards, and the walk that finds those a topic matches.

use alloc::string::String;
use core::ops::ControlFlow;

use super::MAX_LEVELS;
use super::matching::is_reserved;
use super::slab::NONE;
use super::trie::{ROOT, Trie};
use crate::map::HashKey;

/// A trie over the levels of filters. Ids of filters come from outside.
#[derive(Debug)]
pub(super) struct Wildcards {
    trie: Trie<Branches>,
    root: Branches,
}

/// What continues and what ends at a node; [`NONE`] for what is not there.
///
/// `#` is always last, so it needs no node; and `+` is looked for at every step, so it is found
/// without the table of edges.
#[derive(Debug)]
struct Branches {
    /// The node of the level `+`.
    plus: u32,
    /// How many other levels continue here: without any, a step needs no look-up and no hash.
    literals: u32,
    /// The node of the only other level, which is compared rather than looked up. While others came
    /// and went it may be [`NONE`] even so.
    only: u32,
    /// The filter that ends here.
    end: u32,
    /// The filter that ends here with a further level `#`.
    tail: u32,
}

/// Where a filter ends: at a node, or at a `#` beneath it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    node: u32,
    tail: bool,
}

impl Wildcards {
    pub(super) const fn new(key: HashKey) -> Self {
        Self {
            trie: Trie::new(key),
            root: Branches::NONE,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    pub(super) fn find(&self, filter: &str) -> Option<u32> {
        let (path, tail) = split_tail(filter);
        let mut node = ROOT;
        for level in path.into_iter().flat_map(|path| path.split('/')) {
            node = self.trie.child(node, level)?;
        }
        let branches = self.branches(node)?;
        let id = if tail { branches.tail } else { branches.end };
        (id != NONE).then_some(id)
    }

    /// Makes the place for a filter that is not there yet; [`set`](Self::set) must follow.
    pub(super) fn prepare(&mut self, filter: &str) -> Place {
        let (path, tail) = split_tail(filter);
        let mut node = ROOT;
        for level in path.into_iter().flat_map(|path| path.split('/')) {
            node = match self.trie.child(node, level) {
                Some(child) => child,
                None => self.add(node, level),
            };
        }
        Place { node, tail }
    }

    /// Lets the filter `id` end at `place`.
    pub(super) fn set(&mut self, place: Place, id: u32) {
        if let Some(branches) = self.branches_mut(place.node) {
            *(if place.tail {
                &mut branches.tail
            } else {
                &mut branches.end
            }) = id;
        }
    }

    /// Takes the filter out that ends at `place`, and the nodes that only it needed.
    pub(super) fn remove(&mut self, place: Place) {
        self.set(place, NONE);
        let mut node = place.node;
        while self.trie.get(node).is_some_and(Branches::is_empty) {
            let Some((parent, _)) = self.trie.remove(node) else {
                return;
            };
            if let Some(branches) = self.branches_mut(parent) {
                if branches.plus == node {
                    branches.plus = NONE;
                } else {
                    branches.literals -= 1;
                    branches.only = NONE;
                }
            }
            node = parent;
        }
    }

    /// Appends the filter that ends at `place`.
    pub(super) fn write(&self, place: Place, out: &mut String) {
        self.trie.write_path(place.node, out);
        if place.tail {
            out.push_str(if place.node == ROOT { "#" } else { "/#" });
        }
    }

    /// Calls `found` with every filter that matches `topic`, until it breaks.
    ///
    /// Depth first, the literal branch before `+`. Only the `+` branches wait on a stack, at most
    /// one for each level on the way to the node, so [`MAX_LEVELS`] bounds it. A topic with more
    /// levels than that is followed no further down.
    pub(super) fn walk(
        &self,
        topic: &str,
        visited: &mut usize,
        mut found: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.is_empty() {
            return ControlFlow::Continue(());
        }
        // [MQTT-4.7.2-1]: no wildcard in the first level matches a topic that begins with `$`.
        let reserved = is_reserved(topic);
        let mut levels = Levels {
            left: Some(topic),
            seen: heapless::Vec::new(),
        };
        let mut waiting: heapless::Vec<(u32, usize), MAX_LEVELS> = heapless::Vec::new();
        let (mut node, mut depth) = (ROOT, 0);
        loop {
            *visited += 1;
            let mut literal = None;
            if let Some(branches) = self.branches(node) {
                let wildcards_match = depth > 0 || !reserved;
                if branches.tail != NONE && wildcards_match {
                    found(branches.tail)?;
                }
                match levels.at(depth) {
                    Reached::Level(level) => {
                        if branches.only != NONE {
                            let is_it = self.trie.level_of(branches.only) == Some(level.text);
                            literal = is_it.then_some(branches.only);
                        } else if branches.literals > 0 {
                            let hash =
                                *level.hash.get_or_insert_with(|| self.trie.hash(level.text));
                            literal = self.trie.child_by_hash(node, level.text, hash);
                        }
                        if branches.plus != NONE && wildcards_match {
                            // There is room: see above.
                            let _ = waiting.push((branches.plus, depth + 1));
                        }
                    }
                    Reached::End if branches.end != NONE => found(branches.end)?,
                    Reached::End | Reached::TooDeep => {}
                }
            }
            (node, depth) = match literal {
                Some(child) => (child, depth + 1),
                None => match waiting.pop() {
                    Some(next) => next,
                    None => return ControlFlow::Continue(()),
                },
            };
        }
    }

    fn add(&mut self, parent: u32, level: &str) -> u32 {
        let node = self.trie.add(parent, level, Branches::NONE);
        if let Some(branches) = self.branches_mut(parent) {
            if level == "+" {
                branches.plus = node;
            } else {
                branches.only = if branches.literals == 0 { node } else { NONE };
                branches.literals += 1;
            }
        }
        node
    }

    #[inline]
    fn branches(&self, node: u32) -> Option<&Branches> {
        if node == ROOT {
            Some(&self.root)
        } else {
            self.trie.get(node)
        }
    }

    fn branches_mut(&mut self, node: u32) -> Option<&mut Branches> {
        if node == ROOT {
            Some(&mut self.root)
        } else {
            self.trie.get_mut(node)
        }
    }
}

impl Branches {
    const NONE: Self = Self {
        plus: NONE,
        literals: 0,
        only: NONE,
        end: NONE,
        tail: NONE,
    };

    fn is_empty(&self) -> bool {
        self.plus == NONE && self.literals == 0 && self.end == NONE && self.tail == NONE
    }
}

/// The levels before a final `#` (none, for `#` alone), and whether there is one.
fn split_tail(filter: &str) -> (Option<&str>, bool) {
    if filter == "#" {
        return (None, true);
    }
    match filter.strip_suffix("/#") {
        Some(path) => (Some(path), true),
        None => (Some(filter), false),
    }
}

/// The levels of a topic, split off as the walk first gets to them and hashed as it first looks one
/// up.
struct Levels<'a> {
    left: Option<&'a str>,
    seen: heapless::Vec<Level<'a>, MAX_LEVELS>,
}

struct Level<'a> {
    text: &'a str,
    hash: Option<u64>,
}

enum Reached<'l, 'a> {
    Level(&'l mut Level<'a>),
    End,
    TooDeep,
}

impl<'a> Levels<'a> {
    /// The walk gets to no depth before it was at the one above.
    #[inline]
    fn at(&mut self, depth: usize) -> Reached<'_, 'a> {
        if depth >= self.seen.len() {
            let Some(left) = self.left else {
                return Reached::End;
            };
            let (text, left) = match left.split_once('/') {
                Some((text, left)) => (text, Some(left)),
                None => (left, None),
            };
            if self.seen.push(Level { text, hash: None }).is_err() {
                return Reached::TooDeep;
            }
            self.left = left;
        }
        match self.seen.get_mut(depth) {
            Some(level) => Reached::Level(level),
            None => Reached::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn found(wildcards: &Wildcards, topic: &str) -> Vec<u32> {
        let mut found = Vec::new();
        let _ = wildcards.walk(topic, &mut 0, |id| {
            found.push(id);
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn nodes_that_no_filter_needs_are_taken_out() {
        let mut wildcards = Wildcards::new(HashKey::from_seed(1));
        let filters = ["#", "+", "a/+/c", "a/+/#", "a/b/#", "+/+/+/#", "x/+"];
        let mut places = Vec::new();
        for (id, filter) in (0..).zip(filters) {
            let place = wildcards.prepare(filter);
            wildcards.set(place, id);
            places.push(place);
        }
        // +  +/+  +/+/+  a  a/+  a/+/c  a/b  x  x/+
        assert_eq!(wildcards.trie.len(), 9);
        wildcards.remove(places[5]);
        assert_eq!(wildcards.trie.len(), 7);
        for place in places
            .into_iter()
            .filter(|place| !(place.node == ROOT && place.tail))
        {
            wildcards.remove(place);
        }
        assert_eq!(
            (wildcards.trie.len(), found(&wildcards, "a/b/c")),
            (0, [0].into())
        );
    }

    #[test]
    fn a_node_finds_its_children_whether_one_or_several_are_left() {
        let mut wildcards = Wildcards::new(HashKey::from_seed(1));
        let places = ["a/+", "b/+", "c/+"].map(|filter| wildcards.prepare(filter));
        for (id, place) in (0..).zip(places) {
            wildcards.set(place, id);
        }
        wildcards.remove(places[0]);
        wildcards.remove(places[1]);
        assert_eq!(
            (found(&wildcards, "a/x"), found(&wildcards, "c/x")),
            (Vec::new(), [2].into())
        );
        let place = wildcards.prepare("d/+");
        wildcards.set(place, 3);
        assert_eq!(
            (found(&wildcards, "c/x"), found(&wildcards, "d/x")),
            ([2].into(), [3].into())
        );
        wildcards.remove(place);
        wildcards.remove(places[2]);
        assert!(wildcards.is_empty());
        let place = wildcards.prepare("e/+");
        wildcards.set(place, 4);
        assert_eq!(
            (found(&wildcards, "c/x"), found(&wildcards, "e/x")),
            (Vec::new(), [4].into())
        );
    }
}
