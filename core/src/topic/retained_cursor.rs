//! A walk over retained topics that lasts while they change.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::filter::has_wildcard;
use super::matching::is_reserved;
use super::retained_tree::RetainedTree;
use super::siblings::Siblings;
use super::slab::id_of;
use super::trie::ROOT;

/// A walk over the topics of a [`RetainedTree`] that match a filter.
///
/// It borrows nothing and copies no list; between two steps the tree may change in any way. Every
/// topic that is there from the opening of the cursor to its end is visited exactly once. None is
/// visited twice, even if it goes and comes again. Topics that came after the opening may be
/// visited or not.
#[derive(Debug)]
pub struct Cursor {
    filter: Box<str>,
    /// The last birth before the cursor was opened. What was born later holds no topic that was
    /// there at the opening; passing over it is what keeps a topic from being visited twice.
    opened: u64,
    /// Whether topics that begin with `$` are visited where the filter begins with a wildcard.
    all: bool,
    walk: Walk,
}

#[derive(Debug)]
enum Walk {
    /// A filter without wildcards: one look-up.
    Exact,
    Start,
    Open(Box<Open>),
    Done,
}

#[derive(Debug)]
struct Open {
    /// The path of the node arrived at.
    topic: String,
    /// One for each wildcard on the way there; beneath `#`, one for each level.
    frames: Vec<Frame>,
}

/// A wildcard, and how far its walk over the children of a node has come.
#[derive(Debug)]
struct Frame {
    node: u32,
    /// The birth of the child visited last, and where it was.
    last: u64,
    index: u32,
    /// How many bytes the node's path has.
    path: usize,
    /// Where in the filter the wildcard stands.
    at: usize,
}

/// What one call of [`RetainedTree::next_within`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a, V> {
    /// A topic that matches, and its value.
    Topic(&'a str, &'a V),
    /// The budget is used up; call again with another.
    Pending,
    /// There is no further topic.
    Done,
}

impl<V> RetainedTree<V> {
    /// Opens a walk over the topics that match `filter`.
    pub fn cursor(&self, filter: &str) -> Cursor {
        let walk = if has_wildcard(filter) {
            Walk::Start
        } else {
            Walk::Exact
        };
        Cursor {
            filter: filter.into(),
            opened: self.births,
            all: false,
            walk,
        }
    }

    /// Opens a walk over all topics, those that begin with `$` as well.
    pub(crate) fn cursor_of_all(&self) -> Cursor {
        Cursor {
            all: true,
            ..self.cursor("#")
        }
    }

    /// Goes on to the next topic. It may take time in proportion to the nodes that match the
    /// beginning of the filter but not the rest; [`next_within`](Self::next_within) bounds it.
    pub fn next<'a>(&'a self, cursor: &'a mut Cursor) -> Option<(&'a str, &'a V)> {
        let mut budget = usize::MAX;
        match self.next_within(cursor, &mut budget) {
            Step::Topic(topic, value) => Some((topic, value)),
            Step::Pending | Step::Done => None,
        }
    }

    /// Goes on to the next topic, looking at no more nodes than `budget` (and one filter's depth
    /// beyond it), and takes from `budget` how many it were.
    pub fn next_within<'a>(&'a self, cursor: &'a mut Cursor, budget: &mut usize) -> Step<'a, V> {
        match self.advance(cursor, budget) {
            Ok(Some(value)) => Step::Topic(cursor.topic(), value),
            Ok(None) => {
                cursor.walk = Walk::Done;
                Step::Done
            }
            Err(OutOfBudget) => Step::Pending,
        }
    }

    fn advance(&self, cursor: &mut Cursor, budget: &mut usize) -> Result<Option<&V>, OutOfBudget> {
        let Cursor {
            filter,
            opened,
            all,
            walk,
        } = cursor;
        let mut search = Search {
            tree: self,
            filter,
            opened: *opened,
            all: *all,
            budget,
        };
        loop {
            if *search.budget == 0 {
                return Err(OutOfBudget);
            }
            *search.budget -= 1;
            let found = match walk {
                Walk::Done => None,
                Walk::Exact => {
                    *walk = Walk::Done;
                    return Ok(self.get(filter));
                }
                Walk::Start => {
                    let mut open = Open {
                        topic: String::new(),
                        frames: Vec::new(),
                    };
                    let found = search.arrive(&mut open, ROOT, 0);
                    *walk = Walk::Open(Box::new(open));
                    found
                }
                Walk::Open(open) => search.step(open),
            };
            let at_end = match walk {
                Walk::Open(open) => open.frames.is_empty(),
                _ => true,
            };
            if found.is_some() || at_end {
                return Ok(found);
            }
        }
    }
}

impl Cursor {
    /// The topic that was found last.
    fn topic(&self) -> &str {
        match &self.walk {
            Walk::Open(open) => &open.topic,
            _ => &self.filter,
        }
    }
}

struct OutOfBudget;

/// What stays the same during one call.
struct Search<'t, 'c, V> {
    tree: &'t RetainedTree<V>,
    filter: &'c str,
    opened: u64,
    all: bool,
    budget: &'c mut usize,
}

impl<'t, 'c, V> Search<'t, 'c, V> {
    /// Goes on to the next child of the innermost wildcard, or leaves the wildcard. Returns the
    /// value of the topic found, if one was.
    fn step(&mut self, open: &mut Open) -> Option<&'t V> {
        let frame = open.frames.last_mut()?;
        let next = self
            .children(frame.node)
            .and_then(|children| children.after(frame.last, frame.index as usize))
            .filter(|next| next.birth <= self.opened);
        let Some(next) = next else {
            open.frames.pop();
            return None;
        };
        (frame.last, frame.index) = (next.birth, id_of(next.index));
        let level = self.tree.trie.level_of(next.id)?;
        // [MQTT-4.7.2-1]
        if frame.node == ROOT && !self.all && is_reserved(level) {
            return None;
        }
        let (wildcard, rest) = self.level_at(frame.at)?;
        let at = if wildcard == "#" {
            Some(frame.at)
        } else {
            rest
        };
        open.topic.truncate(frame.path);
        push_level(&mut open.topic, frame.node, level);
        match at {
            Some(at) => self.arrive(open, next.id, at),
            None => self.tree.trie.get(next.id)?.value.as_ref(),
        }
    }

    /// Goes from `node`, whose path is `open.topic`, down the literal levels that the filter has
    /// from `at` on, to the next wildcard or to the end. Returns the value of the topic found, if
    /// one was.
    fn arrive(&mut self, open: &mut Open, mut node: u32, mut at: usize) -> Option<&'t V> {
        loop {
            let (level, rest) = self.level_at(at)?;
            if level == "+" || level == "#" {
                let entry = self.tree.trie.get(node);
                let frame = Frame {
                    node,
                    last: 0,
                    index: 0,
                    path: open.topic.len(),
                    at,
                };
                if self
                    .children(node)
                    .is_some_and(|children| !children.is_empty())
                {
                    open.frames.push(frame);
                }
                // `#` includes the parent level (4.7.1.2).
                return entry.filter(|_| level == "#")?.value.as_ref();
            }
            *self.budget = self.budget.saturating_sub(1);
            let child = self.tree.trie.child(node, level)?;
            push_level(&mut open.topic, node, level);
            node = child;
            match rest {
                Some(rest) => at = rest,
                None => return self.tree.trie.get(node)?.value.as_ref(),
            }
        }
    }

    /// The children of `node`. If a frame's node has gone and its id stands for another now, then
    /// that one's children, like itself, were born after the opening: none is visited.
    fn children(&self, node: u32) -> Option<&'t Siblings> {
        if node == ROOT {
            return Some(&self.tree.top);
        }
        self.tree.trie.get(node).map(|entry| &entry.children)
    }

    /// The level of the filter that begins at `at`, and where the next one begins.
    fn level_at(&self, at: usize) -> Option<(&'c str, Option<usize>)> {
        let left = self.filter.get(at..)?;
        Some(match left.split_once('/') {
            Some((level, _)) => (level, Some(at + level.len() + 1)),
            None => (left, None),
        })
    }
}

/// Appends a level that lies beneath `parent`.
fn push_level(topic: &mut String, parent: u32, level: &str) {
    if parent != ROOT {
        topic.push('/');
    }
    topic.push_str(level);
}
