//! Those who wait at a full door, by the address they come from. The oldest of the address that has most gives way, so
//! no address can keep the others out, however many places it takes. If all addresses have as many, the one whose
//! oldest has waited longest gives way: a client that gets through quickly is never that one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// How many waiting ones [`Crowd::find`] looks at. It bounds the cost of a newcomer at a full door.
const LOOKS: usize = 256;

/// The waiting ones, each with a number that grows with time.
#[derive(Debug)]
pub struct Crowd<K, T> {
    waiting: HashMap<K, BTreeMap<u64, T>>,
    /// For each address: how many wait, its oldest, and itself. The last one is the next to give way.
    order: BTreeSet<(usize, Reverse<u64>, K)>,
}

impl<K, T> Default for Crowd<K, T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord + Hash, T> Crowd<K, T> {
    /// Enters one that waits. Numbers are unique.
    pub fn enter(&mut self, address: K, number: u64, one: T) {
        self.reorder(address, |waiting| {
            waiting.insert(number, one);
        });
    }

    /// Removes one; `None` if it does not wait.
    pub fn leave(&mut self, address: K, number: u64) -> Option<T> {
        self.waiting.get(&address)?.get(&number)?;
        self.reorder(address, |waiting| waiting.remove(&number))
    }

    fn reorder<R>(&mut self, address: K, change: impl FnOnce(&mut BTreeMap<u64, T>) -> R) -> R {
        let rank = |waiting: &BTreeMap<u64, T>| {
            let (oldest, _) = waiting.first_key_value()?;
            Some((waiting.len(), Reverse(*oldest), address))
        };
        let waiting = self.waiting.entry(address).or_default();
        let before = rank(waiting);
        let changed = change(waiting);
        let after = rank(waiting);
        if before != after {
            if let Some(before) = before {
                self.order.remove(&before);
            }
            match after {
                Some(after) => drop(self.order.insert(after)),
                None => drop(self.waiting.remove(&address)),
            }
        }
        changed
    }

    /// How many wait of an address.
    #[must_use]
    pub fn of(&self, address: K) -> usize {
        self.waiting.get(&address).map_or(0, BTreeMap::len)
    }

    /// Finds the one that gives way among those that may: the oldest of the address that has most, or else of the
    /// address that has most of the others.
    pub fn find(&self, may: impl Fn(&T) -> bool) -> Option<(K, u64)> {
        let addresses = self.order.iter().rev().map(|(.., address)| *address);
        let ones = addresses.flat_map(|address| self.ones(address));
        let mut looked_at = ones.take(LOOKS);
        looked_at
            .find(|(.., one)| may(one))
            .map(|(address, number, _)| (address, number))
    }

    /// Finds the one that gives way among those of one address that may.
    pub fn find_of(&self, address: K, may: impl Fn(&T) -> bool) -> Option<(K, u64)> {
        let mut looked_at = self.ones(address).take(LOOKS);
        looked_at
            .find(|(.., one)| may(one))
            .map(|(address, number, _)| (address, number))
    }

    fn ones(&self, address: K) -> impl Iterator<Item = (K, u64, &T)> {
        let waiting = self.waiting.get(&address).into_iter().flatten();
        waiting.map(move |(number, one)| (address, *number, one))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_of_the_address_that_has_most_gives_way() {
        let mut crowd = Crowd::default();
        for (number, address) in [(1, 'a'), (2, 'b'), (3, 'b'), (4, 'a'), (5, 'b'), (6, 'c')] {
            crowd.enter(address, number, ());
        }
        let mut gone = Vec::new();
        while let Some((address, number)) = crowd.find(|()| true) {
            assert!(crowd.leave(address, number).is_some() && crowd.leave(address, number).is_none());
            gone.push(number);
        }
        // b has three; then a and b have two each, and a's oldest is older; in the end the oldest of all.
        assert_eq!(gone, [2, 1, 3, 4, 5, 6]);
        assert!(crowd.waiting.is_empty() && crowd.order.is_empty());
    }

    #[test]
    fn one_that_may_not_give_way_is_passed_over() {
        let mut crowd = Crowd::default();
        for (number, address, may) in [(1, 'a', false), (2, 'a', false), (3, 'b', true), (4, 'a', true)] {
            crowd.enter(address, number, may);
        }
        assert_eq!(crowd.find(|may| *may), Some(('a', 4)));
        crowd.leave('a', 4);
        assert_eq!(crowd.find(|may| *may), Some(('b', 3)));
        assert_eq!(crowd.find_of('a', |may| *may), None);
    }

    #[test]
    fn a_newcomer_at_a_full_door_costs_a_bounded_search() {
        let mut crowd = Crowd::default();
        (0..10_000).for_each(|number| crowd.enter(number % 7, number, ()));
        let looks = std::cell::Cell::new(0);
        let none = crowd.find(|()| {
            looks.set(looks.get() + 1);
            false
        });
        assert_eq!((none, looks.get()), (None, LOOKS));
    }

    proptest! {
        #[test]
        fn it_chooses_as_a_plain_search_does(steps in prop::collection::vec((0..6_u8, any::<bool>(), 0..12_usize), 0..80)) {
            let mut crowd = Crowd::default();
            let mut plain: Vec<(u8, u64)> = Vec::new();
            for (number, (address, enters, at)) in (0_u64..).zip(steps) {
                if enters {
                    crowd.enter(address, number, ());
                    plain.push((address, number));
                } else if at < plain.len() {
                    let (address, number) = plain.remove(at);
                    prop_assert!(crowd.leave(address, number).is_some());
                }
                let of = |address: u8| plain.iter().filter(|one| one.0 == address).count();
                let oldest = |address: u8| plain.iter().filter(|one| one.0 == address).map(|one| one.1).min();
                let most = plain.iter().map(|one| of(one.0)).max();
                let chosen = plain
                    .iter()
                    .filter(|one| Some(of(one.0)) == most && oldest(one.0) == Some(one.1))
                    .min_by_key(|one| one.1);
                prop_assert_eq!(crowd.find(|()| true), chosen.copied());
                prop_assert_eq!(crowd.of(address), of(address));
                prop_assert_eq!(crowd.find_of(address, |()| true), oldest(address).map(|number| (address, number)));
            }
        }
    }
}
