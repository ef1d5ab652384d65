//! What is held for each topic, found by topic and by filter.

use super::id_table::IdTable;
use super::siblings::Siblings;
use super::trie::{ROOT, Trie};
use crate::map::HashKey;

/// Topics, each with a value (`V`): the retained message.
///
/// A topic is found in one table under its whole name: replacing what is retained costs one hash
/// and one look-up. Its levels form a trie, in which a [`Cursor`](super::Cursor) walks over the
/// topics that a filter matches, in the order in which the levels first came up.
///
/// ```
/// use wherry_core::{map::HashKey, topic::RetainedTree};
/// let mut tree = RetainedTree::new(HashKey::from_seed(1));
/// tree.insert("a/b", 1);
/// let mut cursor = tree.cursor("a/#");
/// assert_eq!(tree.insert("a/b", 2), Some(1));
/// assert_eq!(tree.next(&mut cursor), Some(("a/b", &2)));
/// assert_eq!(tree.next(&mut cursor), None);
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
    len: usize,
}

/// What belongs to a node.
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) birth: u64,
    pub(super) children: Siblings,
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
            len: 0,
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
        let id = self.find(topic, self.hash(topic))?;
        self.trie.get(id)?.value.as_ref()
    }

    /// The value of `topic`, to change it.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        let id = self.find(topic, self.hash(topic))?;
        self.trie.get_mut(id)?.value.as_mut()
    }

    /// Sets the value of `topic` and returns the one it had.
    pub fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        let hash = self.hash(topic);
        if let Some(id) = self.find(topic, hash) {
            return self.trie.get_mut(id)?.value.replace(value);
        }
        let mut node = ROOT;
        for level in topic.split('/') {
            node = match self.trie.child(node, level) {
                Some(child) => child,
                None => self.add(node, level),
            };
        }
        self.trie.get_mut(node)?.value = Some(value);
        self.topics.insert(hash, node);
        self.len += 1;
        None
    }

    /// Takes out the value of `topic`, and the nodes that only it needed.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let hash = self.hash(topic);
        let mut node = self.find(topic, hash)?;
        let value = self.trie.get_mut(node)?.value.take();
        self.topics.remove(hash, node);
        self.len -= 1;
        while self.trie.get(node).is_some_and(Entry::is_empty) {
            let Some((parent, entry)) = self.trie.remove(node) else {
                break;
            };
            if let Some(siblings) = self.children_mut(parent) {
                siblings.remove(entry.birth);
            }
            node = parent;
        }
        value
    }

    fn hash(&self, topic: &str) -> u64 {
        self.key.hash_bytes(topic.as_bytes())
    }

    fn find(&self, topic: &str, hash: u64) -> Option<u32> {
        self.topics.find(hash, |id| self.trie.is_path(id, topic))
    }

    fn add(&mut self, parent: u32, level: &str) -> u32 {
        self.births += 1;
        let birth = self.births;
        let id = self.trie.add(
            parent,
            level,
            Entry {
                birth,
                children: Siblings::None,
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
    fn is_empty(&self) -> bool {
        self.value.is_none() && self.children.is_empty()
    }
}
