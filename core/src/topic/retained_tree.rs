//! What is held for each topic, found by topic and by filter.

use alloc::string::String;

use super::id_table::IdTable;
use super::siblings::Siblings;
use super::slab::NONE;
use super::trie::{ROOT, Trie};
use crate::map::HashKey;

/// Topics, each with a value (`V`): the retained message.
///
/// A topic is found in one table under its whole name: replacing what is retained costs one hash
/// and one look-up. Its levels form a trie, in which a [`Cursor`](super::Cursor) walks over the
/// topics that a filter matches, in the order in which the levels first came up.
///
/// The topics are also linked in the order in which their values were set, so that the one that was
/// set the longest time ago is always at hand.
///
/// ```
/// use wherry_core::{map::HashKey, topic::RetainedTree};
/// let mut tree = RetainedTree::new(HashKey::from_seed(1));
/// tree.insert("a/b", 1);
/// let mut cursor = tree.cursor("a/#");
/// assert_eq!(tree.insert("a/b", 2).1, Some(1));
/// assert_eq!(tree.next(&mut cursor), Some(("a/b", &2)));
/// assert_eq!(tree.next(&mut cursor), None);
/// let oldest = tree.oldest().unwrap();
/// assert_eq!(tree.remove_id(oldest), Some(("a/b".into(), 2)));
/// ```
#[derive(Debug)]
pub struct RetainedTree<V> {
    key: HashKey,
    pub(super) trie: Trie<Entry<V>>,
    /// The first levels.
    pub(super) top: Siblings,
    /// The nodes that have a value, by the hash of the whole topic.
    topics: IdTable,
    /// How many nodes were ever made. Numbers are never used again, so that a cursor can tell what
    /// it knew from what came later.
    pub(super) births: u64,
    /// The nodes whose values were set the longest and the shortest time ago, or [`NONE`].
    oldest: u32,
    newest: u32,
    len: usize,
    /// The node above the last topic that was added, or [`NONE`], with its levels: topics that
    /// come for the first time nearly always have neighbours that did just before.
    above: (u32, String),
}

/// A topic in a [`RetainedTree`]. It stays valid while the topic has a value. Afterwards it names
/// nothing, or the same topic with its next value; it never comes to stand for another topic,
/// unless it is kept while four thousand million others come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId {
    node: u32,
    /// The low half of the node's birth.
    birth: u32,
}

/// Where a topic was looked for. It is true as long as the tree stays the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookedUp {
    hash: u64,
    node: Option<u32>,
}

/// What belongs to a node.
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) birth: u64,
    pub(super) children: Siblings,
    /// The nodes whose values were set just before and after this one's, or [`NONE`].
    older: u32,
    newer: u32,
    pub(super) value: Option<V>,
}

impl<V> RetainedTree<V> {
    /// An empty tree; allocates nothing.
    pub const fn new(key: HashKey) -> Self {
        Self {
            key,
            trie: Trie::new(key),
            top: Siblings::None,
            topics: IdTable::new(),
            births: 0,
            oldest: NONE,
            newest: NONE,
            len: 0,
            above: (NONE, String::new()),
        }
    }

    /// How many topics have a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no topic has one.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `topic`.
    pub fn get(&self, topic: &str) -> Option<&V> {
        let node = self.find(topic, self.hash(topic))?;
        self.trie.get(node)?.value.as_ref()
    }

    /// The value of `topic`, to change it; it keeps its place in the order.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        let node = self.find(topic, self.hash(topic))?;
        self.trie.get_mut(node)?.value.as_mut()
    }

    /// The value of the topic that `id` names.
    pub fn get_id(&self, id: TopicId) -> Option<&V> {
        let entry = self.trie.get(id.node)?;
        entry.value.as_ref().filter(|_| entry.id(id.node) == id)
    }

    /// What names `topic`, if it has a value.
    pub fn id(&self, topic: &str) -> Option<TopicId> {
        let node = self.find(topic, self.hash(topic))?;
        Some(self.trie.get(node)?.id(node))
    }

    /// The topic whose value was set the longest time ago.
    pub fn oldest(&self) -> Option<TopicId> {
        Some(self.trie.get(self.oldest)?.id(self.oldest))
    }

    /// Sets the value of `topic`; returns what names the topic, and the value it had.
    pub fn insert(&mut self, topic: &str, value: V) -> (TopicId, Option<V>) {
        let place = self.look_up(topic);
        self.insert_at(topic, place, value)
    }

    /// Where a topic is, or would be.
    pub(crate) fn look_up(&self, topic: &str) -> LookedUp {
        let hash = self.hash(topic);
        let node = self.find(topic, hash);
        LookedUp { hash, node }
    }

    /// What names the topic that was looked up, if it has a value.
    pub(crate) fn id_at(&self, place: LookedUp) -> Option<TopicId> {
        let node = place.node?;
        Some(self.trie.get(node)?.id(node))
    }

    /// Sets the value of a topic that was just looked up.
    pub(crate) fn insert_at(
        &mut self,
        topic: &str,
        place: LookedUp,
        value: V,
    ) -> (TopicId, Option<V>) {
        let node = match place.node {
            Some(node) => {
                self.unlink(node);
                node
            }
            None => self.add_topic(topic, place.hash),
        };
        self.link(node);
        match self.trie.get_mut(node) {
            Some(entry) => (entry.id(node), entry.value.replace(value)),
            None => (TopicId { node, birth: 0 }, None),
        }
    }

    /// Takes out the value of `topic`, and the nodes that only it needed.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let hash = self.hash(topic);
        let node = self.find(topic, hash)?;
        self.take(node, hash)
    }

    /// Takes out the topic that `id` names, and the nodes that only it needed.
    pub fn remove_id(&mut self, id: TopicId) -> Option<(String, V)> {
        self.get_id(id)?;
        let mut topic = String::new();
        self.trie.write_path(id.node, &mut topic);
        let hash = self.hash(&topic);
        let value = self.take(id.node, hash)?;
        Some((topic, value))
    }

    /// Takes out the value of `node`, whose topic has that hash.
    fn take(&mut self, mut node: u32, hash: u64) -> Option<V> {
        let value = self.trie.get_mut(node)?.value.take()?;
        self.unlink(node);
        self.topics.remove(hash, node);
        self.len -= 1;
        while self.trie.get(node).is_some_and(Entry::is_empty) {
            if self.above.0 == node {
                self.above = (NONE, String::new());
            }
            let Some((parent, entry)) = self.trie.remove(node) else {
                break;
            };
            if let Some(siblings) = self.children_mut(parent) {
                siblings.remove(entry.birth);
            }
            node = parent;
        }
        Some(value)
    }

    /// Makes `node` the one whose value was set last.
    fn link(&mut self, node: u32) {
        let before = core::mem::replace(&mut self.newest, node);
        if let Some(entry) = self.trie.get_mut(node) {
            (entry.older, entry.newer) = (before, NONE);
        }
        match self.trie.get_mut(before) {
            Some(entry) => entry.newer = node,
            None => self.oldest = node,
        }
    }

    fn unlink(&mut self, node: u32) {
        let Some(entry) = self.trie.get(node) else {
            return;
        };
        let (older, newer) = (entry.older, entry.newer);
        match self.trie.get_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.trie.get_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    fn hash(&self, topic: &str) -> u64 {
        self.key.hash_bytes(topic.as_bytes())
    }

    fn find(&self, topic: &str, hash: u64) -> Option<u32> {
        self.topics.find(hash, |id| self.trie.is_path(id, topic))
    }

    /// Adds the nodes of a topic that has no value yet.
    fn add_topic(&mut self, topic: &str, hash: u64) -> u32 {
        let (mut node, mut rest) = (ROOT, topic);
        if let Some((above, level)) = topic.rsplit_once('/') {
            if self.above.0 != NONE && *self.above.1 == *above {
                (node, rest) = (self.above.0, level);
            } else {
                node = self.add_levels(ROOT, above);
                self.above.0 = node;
                self.above.1.clear();
                self.above.1.push_str(above);
                rest = level;
            }
        }
        node = self.add_levels(node, rest);
        self.topics.insert(hash, node);
        self.len += 1;
        node
    }

    /// The node of these levels beneath another, which are added if they are not there.
    fn add_levels(&mut self, mut node: u32, levels: &str) -> u32 {
        for level in levels.split('/') {
            let hash = self.trie.hash(level);
            node = match self.trie.child_by_hash(node, level, hash) {
                Some(child) => child,
                None => self.add(node, level, hash),
            };
        }
        node
    }

    fn add(&mut self, parent: u32, level: &str, hash: u64) -> u32 {
        self.births += 1;
        let birth = self.births;
        let id = self.trie.add_by_hash(
            parent,
            level,
            hash,
            Entry {
                birth,
                children: Siblings::None,
                older: NONE,
                newer: NONE,
                value: None,
            },
        );
        if let Some(siblings) = self.children_mut(parent) {
            siblings.push(id, birth);
        }
        id
    }

    fn children_mut(&mut self, node: u32) -> Option<&mut Siblings> {
        if node == ROOT {
            Some(&mut self.top)
        } else {
            self.trie.get_mut(node).map(|entry| &mut entry.children)
        }
    }
}

impl<V> Entry<V> {
    /// What names the topic of this entry, which belongs to `node`.
    fn id(&self, node: u32) -> TopicId {
        let birth = (self.birth << 32 >> 32) as u32;
        TopicId { node, birth }
    }

    fn is_empty(&self) -> bool {
        self.value.is_none() && self.children.is_empty()
    }
}
