//! The children of one node in the order of their birth.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::slab::NONE;

/// Children as (birth, id). Births only grow, so a place among the children is a birth: it can be
/// found again by binary search whatever came and went meanwhile.
#[derive(Debug)]
pub(super) enum Siblings {
    None,
    /// Long paths with a single topic at their end have many nodes with one child.
    One {
        id: u32,
        birth: u64,
    },
    Many(Box<List>),
}

#[derive(Debug)]
pub(super) struct List {
    births: Vec<u64>,
    /// [`NONE`] for a child that has gone.
    ids: Vec<u32>,
    gone: usize,
}

/// A child, or where one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sibling {
    pub(super) birth: u64,
    /// [`NONE`] for a child that has gone.
    pub(super) id: u32,
    pub(super) index: usize,
}

impl Siblings {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Adds a child that was born after all others.
    pub(super) fn push(&mut self, id: u32, birth: u64) {
        match self {
            Self::None => *self = Self::One { id, birth },
            Self::One {
                id: first,
                birth: first_birth,
            } => {
                let births = Vec::from([*first_birth, birth]);
                *self = Self::Many(Box::new(List {
                    births,
                    ids: Vec::from([*first, id]),
                    gone: 0,
                }));
            }
            Self::Many(list) => {
                list.births.push(birth);
                list.ids.push(id);
            }
        }
    }

    /// Takes out the child born at `birth`. The others move together once half have gone, so that
    /// each removal pays for one move on average.
    pub(super) fn remove(&mut self, birth: u64) {
        match self {
            Self::One { birth: only, .. } if *only == birth => *self = Self::None,
            Self::None | Self::One { .. } => {}
            Self::Many(list) => {
                list.remove(birth);
                if list.gone + 1 >= list.ids.len() {
                    *self = list.last_left();
                }
            }
        }
    }

    /// The first child, or place of one that has gone, born after `last`; `index` is where the one
    /// born at `last` was seen, and where the search begins.
    pub(super) fn after(&self, last: u64, index: usize) -> Option<Sibling> {
        match self {
            Self::One { id, birth } if *birth > last => Some(Sibling {
                birth: *birth,
                id: *id,
                index: 0,
            }),
            Self::None | Self::One { .. } => None,
            Self::Many(list) => {
                let index = match list.births.get(index) {
                    Some(&birth) if birth == last => index + 1,
                    _ => list.births.partition_point(|&birth| birth <= last),
                };
                let birth = *list.births.get(index)?;
                Some(Sibling {
                    birth,
                    id: *list.ids.get(index)?,
                    index,
                })
            }
        }
    }
}

impl List {
    fn remove(&mut self, birth: u64) {
        let Ok(index) = self.births.binary_search(&birth) else {
            return;
        };
        let Some(id) = self.ids.get_mut(index).filter(|id| **id != NONE) else {
            return;
        };
        *id = NONE;
        self.gone += 1;
        if self.gone * 2 > self.ids.len() {
            let mut ids = self.ids.iter();
            self.births.retain(|_| ids.next() != Some(&NONE));
            self.ids.retain(|&id| id != NONE);
            self.gone = 0;
            self.births.shrink_to(self.ids.len() * 2);
            self.ids.shrink_to(self.ids.len() * 2);
        }
    }

    fn last_left(&self) -> Siblings {
        let mut all = self.births.iter().zip(&self.ids);
        match all.find(|(_, id)| **id != NONE) {
            Some((&birth, &id)) => Siblings::One { id, birth },
            None => Siblings::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_two_words_long() {
        assert_eq!(size_of::<Siblings>(), 16);
    }

    fn live(siblings: &Siblings) -> Vec<(u64, u32)> {
        let (mut last, mut index, mut found) = (0, 0, Vec::new());
        while let Some(next) = siblings.after(last, index) {
            (last, index) = (next.birth, next.index);
            if next.id != NONE {
                found.push((next.birth, next.id));
            }
        }
        found
    }

    #[test]
    fn children_keep_the_order_of_their_birth() {
        let mut siblings = Siblings::None;
        let mut expected = Vec::new();
        for id in 1..=1000u32 {
            siblings.push(id, u64::from(id) * 2);
            expected.push((u64::from(id) * 2, id));
            if id % 3 == 0 {
                let gone = u64::from(id) / 3 * 2;
                siblings.remove(gone);
                siblings.remove(gone);
                expected.retain(|(birth, _)| *birth != gone);
            }
            assert_eq!(live(&siblings), expected);
        }
        while let Some((birth, _)) = expected.pop() {
            siblings.remove(birth);
            assert_eq!(live(&siblings), expected);
        }
        assert!(siblings.is_empty());
    }

    #[test]
    fn a_place_is_found_again_after_removals() {
        let mut siblings = Siblings::None;
        for id in 1..=100u32 {
            siblings.push(id, id.into());
        }
        let place = siblings.after(49, 0).unwrap();
        for birth in 1..=50 {
            siblings.remove(birth);
        }
        let mut next = siblings.after(place.birth, place.index).unwrap();
        while next.id == NONE {
            next = siblings.after(next.birth, next.index).unwrap();
        }
        assert_eq!(next.birth, 51);
    }

    #[test]
    fn memory_is_given_back() {
        let mut siblings = Siblings::None;
        for id in 1..=10_000u32 {
            siblings.push(id, id.into());
        }
        for birth in 1..=9_900 {
            siblings.remove(birth);
        }
        let Siblings::Many(list) = &siblings else {
            panic!("100 are left")
        };
        assert!(list.ids.capacity() <= 400 && list.births.capacity() <= 400);
    }
}
