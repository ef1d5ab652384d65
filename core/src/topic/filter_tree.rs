//! Who subscribed to what.

use alloc::string::String;
use core::hash::Hash;
use core::ops::ControlFlow;

use super::filter::has_wildcard;
use super::id_table::IdTable;
use super::slab::{NONE, Slab};
use super::stamps::Changes;
use super::subscribers::Subscribers;
use super::text::Text;
use super::wildcards::{Place, Wildcards};
use crate::map::HashKey;

/// Topic filters with their subscribers (`K`), each with a value (`V`): the subscription.
///
/// Filters without wildcards, which are nearly all, lie in one table under the whole topic: a
/// message costs one hash and one look-up among any number of them. The others form a trie, where a
/// match costs one look-up for each branch that matches so far. Nothing is ever proportional to the
/// number of subscriptions, and a match allocates nothing.
///
/// ```
/// use wherry_core::{map::HashKey, topic::FilterTree};
/// let mut tree = FilterTree::new(HashKey::from_seed(1));
/// let filter = tree.insert("a/+", "someone", 1).filter;
/// tree.for_each_match("a/b", |found, subscribers| {
///     assert_eq!((found, subscribers), (filter, &[("someone", 1)][..]));
/// });
/// assert_eq!(tree.remove(filter, "someone"), Some(1));
/// ```
#[derive(Debug)]
pub struct FilterTree<K, V> {
    key: HashKey,
    filters: Slab<Filter<K, V>>,
    /// The filters without wildcards, by the hash of the whole filter.
    exact: IdTable,
    wildcards: Wildcards,
    subscriptions: usize,
    changes: Changes,
}

#[derive(Debug)]
struct Filter<K, V> {
    name: Name,
    subscribers: Subscribers<K, V>,
}

#[derive(Debug)]
enum Name {
    Exact(Text),
    Wildcard(Place),
}

/// A filter in a [`FilterTree`]. It stays valid while the filter has a subscriber; afterwards it
/// may come to stand for another filter.
/// The default names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterId(u32);

impl Default for FilterId {
    fn default() -> Self {
        Self(NONE)
    }
}

/// What [`FilterTree::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted<V> {
    /// The filter subscribed to.
    pub filter: FilterId,
    /// The value of the subscription that was there already.
    pub replaced: Option<V>,
}

impl<K: Copy + Eq + Hash, V: Copy> FilterTree<K, V> {
    /// An empty tree; allocates nothing.
    pub const fn new(key: HashKey) -> Self {
        Self {
            key,
            filters: Slab::new(),
            exact: IdTable::new(),
            wildcards: Wildcards::new(key),
            subscriptions: 0,
            changes: Changes::new(),
        }
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions
    }

    /// Whether there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }

    /// How many different filters have subscribers.
    pub fn filters(&self) -> usize {
        self.filters.len()
    }

    /// Subscribes `subscriber` to `filter`, or sets the value of the subscription that is there.
    pub fn insert(&mut self, filter: &str, subscriber: K, value: V) -> Inserted<V> {
        let (id, replaced) = match self.find(filter) {
            Some(FilterId(id)) => {
                let found = self.filters.get_mut(id);
                let replaced =
                    found.and_then(|found| found.subscribers.insert(&self.key, subscriber, value));
                (id, replaced)
            }
            None => (
                self.add(filter, Subscribers::One((subscriber, value))),
                None,
            ),
        };
        self.subscriptions += usize::from(replaced.is_none());
        Inserted {
            filter: FilterId(id),
            replaced,
        }
    }

    /// Ends a subscription and returns its value.
    pub fn remove(&mut self, FilterId(id): FilterId, subscriber: K) -> Option<V> {
        let filter = self.filters.get_mut(id)?;
        let value = filter.subscribers.remove(&self.key, subscriber)?;
        self.subscriptions -= 1;
        if filter.subscribers.as_slice().is_empty() {
            match self.filters.remove(id)?.name {
                Name::Exact(name) => {
                    let hash = self.hash(&name);
                    self.exact.remove(hash, id);
                    self.changes.exact(hash);
                }
                Name::Wildcard(place) => {
                    self.wildcards.remove(place);
                    self.changes.wildcard();
                }
            }
        }
        Some(value)
    }

    /// The filter that is written `filter`, if anyone subscribed to it.
    pub fn find(&self, filter: &str) -> Option<FilterId> {
        let id = if has_wildcard(filter) {
            self.wildcards.find(filter)
        } else {
            self.find_exact(filter)
        };
        id.map(FilterId)
    }

    /// The value of one subscription.
    pub fn get(&self, FilterId(id): FilterId, subscriber: K) -> Option<&V> {
        self.filters.get(id)?.subscribers.get(&self.key, subscriber)
    }

    /// The value of one subscription, to change it.
    pub(crate) fn get_mut(&mut self, FilterId(id): FilterId, subscriber: K) -> Option<&mut V> {
        let filter = self.filters.get_mut(id)?;
        filter.subscribers.get_mut(&self.key, subscriber)
    }

    /// All filters that have subscribers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = FilterId> {
        self.filters.ids().map(FilterId)
    }

    /// Who subscribed to `filter`; nobody, if it is no longer valid.
    pub fn subscribers(&self, FilterId(id): FilterId) -> &[(K, V)] {
        self.filters
            .get(id)
            .map_or(&[], |filter| filter.subscribers.as_slice())
    }

    /// Appends how `filter` is written to `out`; nothing, if it is no longer valid.
    pub fn write_filter(&self, FilterId(id): FilterId, out: &mut String) {
        match self.filters.get(id).map(|filter| &filter.name) {
            Some(Name::Exact(name)) => out.push_str(name),
            Some(Name::Wildcard(place)) => self.wildcards.write(*place, out),
            None => {}
        }
    }

    /// Calls `f` once for every filter that matches `topic`, with all its subscribers.
    ///
    /// The order depends on the filters alone: the one without wildcards first, then depth first,
    /// literal levels before `+`.
    ///
    /// Returns how many places of the tree were looked at. That is about one for each level, unless
    /// filters with wildcards were made to branch at every level.
    pub fn for_each_match<'a>(
        &'a self,
        topic: &str,
        mut f: impl FnMut(FilterId, &'a [(K, V)]),
    ) -> usize {
        let mut found = |id| {
            if let Some(filter) = self.filters.get(id) {
                f(FilterId(id), filter.subscribers.as_slice());
            }
        };
        if let Some(id) = self.find_exact(topic) {
            found(id);
        }
        let mut visited = 1;
        let _ = self.wildcards.walk(topic, &mut visited, |id| {
            found(id);
            ControlFlow::Continue(())
        });
        visited
    }

    /// Whether any filter matches `topic`.
    pub fn has_match(&self, topic: &str) -> bool {
        self.find_exact(topic).is_some()
            || self
                .wildcards
                .walk(topic, &mut 0, |_| ControlFlow::Break(()))
                .is_break()
    }

    /// The hash that a topic goes by, and a filter without wildcards.
    #[inline]
    pub(crate) fn hash(&self, topic: &str) -> u64 {
        self.key.hash_bytes(topic.as_bytes())
    }

    /// When filters came or went.
    #[inline]
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    #[inline]
    fn find_exact(&self, filter: &str) -> Option<u32> {
        if self.exact.is_empty() {
            return None;
        }
        let is_it = |id| match self.filters.get(id).map(|filter| &filter.name) {
            Some(Name::Exact(name)) => **name == *filter,
            _ => false,
        };
        self.exact.find(self.hash(filter), is_it)
    }

    fn add(&mut self, filter: &str, subscribers: Subscribers<K, V>) -> u32 {
        if has_wildcard(filter) {
            let place = self.wildcards.prepare(filter);
            let id = self.filters.insert(Filter {
                name: Name::Wildcard(place),
                subscribers,
            });
            self.wildcards.set(place, id);
            self.changes.wildcard();
            id
        } else {
            let name = Name::Exact(Text::from(filter));
            let id = self.filters.insert(Filter { name, subscribers });
            let hash = self.hash(filter);
            self.exact.insert(hash, id);
            self.changes.exact(hash);
            id
        }
    }
}
