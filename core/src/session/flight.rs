//! Messages in flight, by their packet identifiers and in the order in which they were sent.
//!
//! Messages are numbered without end, and a number says the identifier: 1 to 65,535, then 1 again.
//! So an identifier is found by arithmetic, however many are in flight, and in whatever order they
//! are acknowledged. Clients acknowledge in order, more or less: what is in flight lies in one
//! ring. Messages that were left behind by thousands of later ones move to a tree, and their
//! identifiers to another: millions may follow before they are acknowledged, if ever.

use alloc::collections::{BTreeMap, VecDeque};

use crate::packet::PacketId;

/// How many identifiers there are.
const TURN: u64 = 65_535;

/// So many places of the ring may be free although others are in use.
const GAPS: usize = 1024;

/// The number of a message.
pub(crate) type Sequence = u64;

/// The identifier of a number.
#[inline]
pub(crate) fn packet_id(number: Sequence) -> PacketId {
    let id = u16::try_from(number % TURN + 1).unwrap_or(1);
    PacketId::new(id).unwrap_or(PacketId::FIRST)
}

/// Things in flight, by number.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    /// Those that were left behind; their numbers are below `first`.
    behind: BTreeMap<Sequence, T>,
    /// The numbers of those, by identifier.
    behind_ids: BTreeMap<PacketId, Sequence>,
    ring: VecDeque<Option<T>>,
    /// The number of the first place of the ring.
    first: Sequence,
    /// How many places of the ring are in use.
    in_use: usize,
}

impl<T> Flight<T> {
    pub(crate) const fn new() -> Self {
        Self {
            behind: BTreeMap::new(),
            behind_ids: BTreeMap::new(),
            ring: VecDeque::new(),
            first: 0,
            in_use: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.behind.len() + self.in_use
    }

    /// One more than the last number that was given.
    #[inline]
    pub(crate) fn end(&self) -> Sequence {
        self.first + self.ring.len() as Sequence
    }

    /// The number that [`Flight::push`] will give: its identifier is free ([MQTT-2.2.1-3]).
    #[inline]
    pub(crate) fn next(&mut self) -> Sequence {
        // At most as many times as there are messages in flight; `len` is below TURN by the window.
        while self.len() > 0 && self.find(packet_id(self.end())).is_some() {
            self.ring.push_back(None);
        }
        self.end()
    }

    /// Adds a thing under the number that [`Flight::next`] gave.
    #[inline]
    pub(crate) fn push(&mut self, thing: T) {
        self.ring.push_back(Some(thing));
        self.in_use += 1;
        if self.ring.len() > 2 * self.in_use + GAPS {
            self.leave_behind();
        }
    }

    /// Makes the number of this identifier the next one: the first that is free.
    pub(crate) fn skip_to(&mut self, id: Option<PacketId>) {
        while id.is_some_and(|id| packet_id(self.end()) != id) {
            self.ring.push_back(None);
        }
    }

    /// Moves the oldest out of the ring, so that what follows takes no more than its own place.
    #[cold]
    fn leave_behind(&mut self) {
        while self.ring.len() > self.in_use + GAPS / 2
            && let Some(thing) = self.ring.pop_front()
        {
            if let Some(thing) = thing {
                self.in_use -= 1;
                self.behind.insert(self.first, thing);
                self.behind_ids.insert(packet_id(self.first), self.first);
            }
            self.first += 1;
        }
    }

    /// The number in flight with this identifier.
    #[inline]
    pub(crate) fn find(&self, id: PacketId) -> Option<Sequence> {
        // The latest number below `end` with this identifier, then one turn earlier at a time: the
        // ring holds few turns.
        let end = self.end();
        let last = (end + TURN - u64::from(id.get())) % TURN + 1;
        let mut number = end.checked_sub(last);
        while let Some(this) = number.filter(|number| *number >= self.first) {
            if self.get(this).is_some() {
                return Some(this);
            }
            number = this.checked_sub(TURN);
        }
        if self.behind_ids.is_empty() {
            return None;
        }
        self.behind_ids.get(&id).copied()
    }

    #[inline]
    pub(crate) fn get(&self, number: Sequence) -> Option<&T> {
        match number.checked_sub(self.first) {
            Some(place) => self.ring.get(usize::try_from(place).ok()?)?.as_ref(),
            None => self.behind.get(&number),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: Sequence) -> Option<&mut T> {
        match number.checked_sub(self.first) {
            Some(place) => self.ring.get_mut(usize::try_from(place).ok()?)?.as_mut(),
            None => self.behind.get_mut(&number),
        }
    }

    /// Takes a thing out; its identifier is free.
    #[inline]
    pub(crate) fn remove(&mut self, number: Sequence) -> Option<T> {
        let Some(place) = number.checked_sub(self.first) else {
            self.behind_ids.remove(&packet_id(number));
            return self.behind.remove(&number);
        };
        let thing = self.ring.get_mut(usize::try_from(place).ok()?)?.take()?;
        self.in_use -= 1;
        while self.ring.front().is_some_and(Option::is_none) {
            self.ring.pop_front();
            self.first += 1;
        }
        Some(thing)
    }

    /// Gives back what is kept for the next ones. There are none now.
    pub(crate) fn shed(&mut self) {
        self.first = self.end();
        self.ring = VecDeque::new();
        self.behind = BTreeMap::new();
        self.behind_ids = BTreeMap::new();
    }

    /// The first number in flight from `from` on.
    pub(crate) fn next_from(&self, from: Sequence) -> Option<Sequence> {
        if let Some((number, _)) = self.behind.range(from..).next() {
            return Some(*number);
        }
        let from = from.max(self.first);
        let skip = usize::try_from(from - self.first).ok()?;
        let place = self.ring.iter().skip(skip).position(Option::is_some)?;
        Some(from + place as Sequence)
    }

    /// All, oldest first.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Sequence, &mut T)> {
        let ring = (self.first..).zip(self.ring.iter_mut());
        self.behind
            .iter_mut()
            .map(|(number, thing)| (*number, thing))
            .chain(ring.filter_map(|(number, thing)| Some((number, thing.as_mut()?))))
    }

    /// All, oldest first, by value.
    pub(crate) fn into_things(self) -> impl Iterator<Item = T> {
        self.behind
            .into_values()
            .chain(self.ring.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap as Model;
    use std::vec::Vec;

    fn push(flight: &mut Flight<u64>) -> PacketId {
        let number = flight.next();
        flight.push(number);
        packet_id(number)
    }

    #[test]
    fn identifiers_go_from_1_to_65_535_and_begin_again() {
        // [MQTT-2.2.1-3]
        let mut flight = Flight::new();
        for turn in 0..2 {
            for id in 1..=65_535 {
                assert_eq!(push(&mut flight).get(), id, "turn {turn}");
                let number = flight.find(packet_id(flight.end() - 1)).expect("in flight");
                flight.remove(number);
            }
        }
        assert_eq!(flight.len(), 0);
        let next = flight.next();
        flight.shed();
        assert_eq!((flight.ring.capacity(), flight.next()), (0, next));
    }

    #[test]
    fn an_identifier_in_flight_is_not_given_again() {
        let mut flight = Flight::new();
        let kept: Vec<_> = (0..3).map(|_| push(&mut flight)).collect();
        for _ in 0..200_000 {
            let id = push(&mut flight);
            assert!(!kept.contains(&id));
            let number = flight.find(id).expect("in flight");
            assert_eq!(flight.remove(number), Some(number));
        }
        assert!(flight.ring.len() <= GAPS + 2, "{}", flight.ring.len());
        for (number, id) in (0..).zip(&kept) {
            assert_eq!(flight.find(*id), Some(number));
            assert_eq!(flight.remove(number), Some(number));
            assert_eq!(flight.find(*id), None);
        }
    }

    #[test]
    fn what_was_left_behind_long_ago_is_found_at_once() {
        let mut flight = Flight::new();
        let kept = push(&mut flight);
        for _ in 0..2 * GAPS {
            let id = push(&mut flight);
            let number = flight.find(id).expect("in flight");
            flight.remove(number);
        }
        assert_eq!(flight.behind.len(), 1);
        flight.first += TURN << 40; // As many later there is no time to go through.
        assert_eq!(flight.find(kept), Some(0));
        let id = push(&mut flight);
        assert_ne!(id, kept);
        assert_eq!(flight.find(packet_id(flight.end())), None);
        assert_eq!(flight.remove(0), Some(0));
        assert_eq!(flight.find(kept), None);
    }

    #[test]
    fn all_but_one_identifier_may_be_in_flight() {
        let mut flight = Flight::new();
        let ids: Vec<_> = (0..65_534).map(|_| push(&mut flight)).collect();
        let number = flight.find(ids[100]).expect("in flight");
        flight.remove(number);
        assert_eq!(push(&mut flight).get(), 65_535);
        assert_eq!(push(&mut flight), ids[100]);
    }

    #[test]
    fn a_flight_is_a_map_in_order() {
        let mut flight = Flight::new();
        let mut model = Model::new();
        let mut seed = 7;
        let mut random = |below: u64| crate::map::split_mix(&mut seed) % below;
        for _ in 0..200_000 {
            if model.len() < 50 && random(2) == 0 || model.is_empty() {
                let number = flight.next();
                flight.push(number);
                model.insert(number, packet_id(number));
            } else {
                // Mostly the oldest, sometimes any but the very oldest.
                let nth = if random(4) > 0 {
                    1
                } else {
                    usize::try_from(random(model.len() as u64)).expect("small")
                };
                let nth = nth.min(model.len() - 1);
                let (number, id) = model.iter().nth(nth).map(|(n, i)| (*n, *i)).expect("there");
                assert_eq!(flight.find(id), Some(number));
                assert_eq!(flight.remove(number), Some(number));
                assert_eq!(flight.find(id), None);
                model.remove(&number);
            }
            assert_eq!(flight.len(), model.len());
            let from = model.keys().next().copied().unwrap_or(0) + random(100);
            let next = model.range(from..).next().map(|(number, _)| *number);
            assert_eq!(flight.next_from(from), next);
        }
        assert!(flight.iter_mut().map(|(n, _)| n).eq(model.keys().copied()));
        assert!(flight.into_things().eq(model.into_keys()));
    }
}
