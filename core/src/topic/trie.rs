//! A tree of topic levels.

use alloc::string::String;
use alloc::vec::Vec;

use super::id_table::IdTable;
use super::slab::{NONE, Slab};
use super::text::Text;
use crate::map::{HashKey, split_mix};

/// The parent of first levels. It is no node: whoever owns the trie keeps what belongs to it.
pub(super) const ROOT: u32 = NONE;

/// Nodes that stand for a level beneath a parent, with the owner's data.
///
/// All edges lie in one table, keyed by parent and level: a step down is one look-up however many
/// children there are, and a node without children pays nothing for having none.
#[derive(Debug)]
pub(super) struct Trie<T> {
    key: HashKey,
    nodes: Slab<Node<T>>,
    edges: IdTable,
}

#[derive(Debug)]
struct Node<T> {
    parent: u32,
    level: Text,
    data: T,
}

impl<T> Trie<T> {
    pub(super) const fn new(key: HashKey) -> Self {
        Self {
            key,
            nodes: Slab::new(),
            edges: IdTable::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.nodes.get(id).map(|node| &node.data)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.nodes.get_mut(id).map(|node| &mut node.data)
    }

    pub(super) fn level_of(&self, id: u32) -> Option<&str> {
        self.nodes.get(id).map(|node| &*node.level)
    }

    /// The keyed hash of a level, which serves beneath every parent.
    #[inline]
    pub(super) fn hash(&self, level: &str) -> u64 {
        self.key.hash_bytes(level.as_bytes())
    }

    pub(super) fn child(&self, parent: u32, level: &str) -> Option<u32> {
        self.child_by_hash(parent, level, self.hash(level))
    }

    #[inline]
    pub(super) fn child_by_hash(&self, parent: u32, level: &str, hash: u64) -> Option<u32> {
        self.edges.find(edge(parent, hash), |id| {
            self.nodes
                .get(id)
                .is_some_and(|node| node.parent == parent && *node.level == *level)
        })
    }

    /// Adds a child that is not there yet.
    pub(super) fn add(&mut self, parent: u32, level: &str, data: T) -> u32 {
        self.add_by_hash(parent, level, self.hash(level), data)
    }

    /// The same with the hash of the level.
    pub(super) fn add_by_hash(&mut self, parent: u32, level: &str, hash: u64, data: T) -> u32 {
        let id = self.nodes.insert(Node {
            parent,
            level: Text::from(level),
            data,
        });
        self.edges.insert(edge(parent, hash), id);
        id
    }

    /// Takes out a node that has no children; returns its parent and its data.
    pub(super) fn remove(&mut self, id: u32) -> Option<(u32, T)> {
        let node = self.nodes.remove(id)?;
        self.edges
            .remove(edge(node.parent, self.hash(&node.level)), id);
        Some((node.parent, node.data))
    }

    /// Whether the levels from the root down to `id` are `text`.
    pub(super) fn is_path(&self, id: u32, text: &str) -> bool {
        let mut at = id;
        for level in text.rsplit('/') {
            match self.nodes.get(at) {
                Some(node) if *node.level == *level => at = node.parent,
                _ => return false,
            }
        }
        at == ROOT
    }

    /// Appends the levels from the root down to `id`, each but the first after a `/`.
    pub(super) fn write_path(&self, id: u32, out: &mut String) {
        let mut levels = Vec::new();
        let mut at = id;
        while let Some(node) = self.nodes.get(at) {
            levels.push(&*node.level);
            at = node.parent;
        }
        for (depth, level) in levels.iter().rev().enumerate() {
            if depth > 0 {
                out.push('/');
            }
            out.push_str(level);
        }
    }
}

/// Hashing a level once and mixing the parent in afterwards costs less than hashing both together
/// for every node a match visits. Levels that no client can make collide do not collide here
/// either: the mixing is a bijection, and their hashes stay secret.
#[inline]
fn edge(parent: u32, level_hash: u64) -> u64 {
    let mut state = level_hash ^ u64::from(parent).rotate_left(32);
    split_mix(&mut state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_beneath_their_parent_only() {
        let mut trie = Trie::new(HashKey::from_seed(3));
        let a = trie.add(ROOT, "a", 1);
        let b = trie.add(a, "b", 2);
        let other = trie.add(ROOT, "b", 3);
        assert_eq!(trie.child(ROOT, "b"), Some(other));
        assert_eq!(trie.child(a, "b"), Some(b));
        assert_eq!((trie.child(a, "a"), trie.child(b, "b")), (None, None));
        trie.remove(b);
        assert_eq!(trie.child(a, "b"), None);
        assert_eq!(trie.get(other), Some(&3));
    }

    #[test]
    fn paths_with_empty_levels_are_told_apart() {
        let mut trie = Trie::new(HashKey::from_seed(3));
        let first = trie.add(ROOT, "", ());
        let second = trie.add(first, "", ());
        let mut out = String::new();
        trie.write_path(second, &mut out);
        assert_eq!(out, "/");
        assert!(trie.is_path(first, "") && trie.is_path(second, "/"));
        assert!(!trie.is_path(first, "/") && !trie.is_path(second, "") && !trie.is_path(9, ""));
    }
}
