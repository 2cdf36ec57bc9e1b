//! The newest numbers of a topic whose updates have no order.

/// The most numbers that are remembered of one topic.
pub(super) const MAX_REMEMBERED: usize = 4096;

/// A set of the newest numbers. It takes at most 12 bytes for each: 8 in the ring, and two places of 2 in a table that
/// is at most half full.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The numbers. Once it is full, the next one replaces the oldest.
    ring: Vec<u64>,
    oldest: usize,
    /// Where a number stands in the ring, plus one; 0 is empty. Linear probing, without tombstones.
    table: Vec<u16>,
}

impl Recent {
    /// Remembers a number. Returns `false` if it is remembered already.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if (self.ring.len() + 1) * 2 > self.table.len() && self.ring.len() < MAX_REMEMBERED {
            self.grow();
        }
        let place = self.find(number);
        if self.table[place] != 0 {
            return false;
        }
        if self.ring.len() < MAX_REMEMBERED {
            self.ring.push(number);
            self.set(place, self.ring.len() - 1);
            return true;
        }
        self.remove(self.find(self.ring[self.oldest]));
        self.ring[self.oldest] = number;
        // The removal may have moved what stood in the way.
        self.set(self.find(number), self.oldest);
        self.oldest = (self.oldest + 1) % MAX_REMEMBERED;
        true
    }

    /// Doubles the table.
    fn grow(&mut self) {
        self.table = vec![0; (self.table.len() * 2).max(16)];
        for at in 0..self.ring.len() {
            self.set(self.find(self.ring[at]), at);
        }
    }

    /// Returns the place of a number, or the empty place where it belongs.
    fn find(&self, number: u64) -> usize {
        let mut place = self.home(number);
        while self.table[place] != 0 && self.number(place) != number {
            place = self.next(place);
        }
        place
    }

    /// Empties a place, and moves those behind it forward that may stand there.
    fn remove(&mut self, mut empty: usize) {
        let mut place = empty;
        loop {
            place = self.next(place);
            if self.table[place] == 0 {
                break;
            }
            let mask = self.table.len() - 1;
            let from_home = place.wrapping_sub(self.home(self.number(place))) & mask;
            if from_home >= place.wrapping_sub(empty) & mask {
                self.table[empty] = self.table[place];
                empty = place;
            }
        }
        self.table[empty] = 0;
    }

    fn number(&self, place: usize) -> u64 {
        self.ring[usize::from(self.table[place]) - 1]
    }

    fn set(&mut self, place: usize, at: usize) {
        // At most 4,096.
        self.table[place] = at as u16 + 1;
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.table.len() - 1)
    }

    /// Returns where a number stands if nothing is in the way. Numbers that follow one another are spread by the golden
    /// ratio.
    fn home(&self, number: u64) -> usize {
        (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & (self.table.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A queue of the newest numbers, looked through from end to end, is the reference.
        #[test]
        fn the_newest_numbers_are_known_and_older_ones_are_not(
            spread in 1u64..20_000,
            numbers in prop::collection::vec(any::<u64>(), 0..12_000),
        ) {
            let (mut recent, mut reference) = (Recent::default(), VecDeque::new());
            let mut known = std::collections::HashSet::new();
            for number in numbers.into_iter().map(|number| number % spread * 4_096) {
                let is_new = known.insert(number);
                prop_assert_eq!(recent.insert(number), is_new, "{}", number);
                if is_new {
                    reference.push_back(number);
                    if reference.len() > MAX_REMEMBERED {
                        known.remove(&reference.pop_front().unwrap());
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_takes_at_most_16_bytes() {
        let mut recent = Recent::default();
        for number in 0..100_000 {
            assert!(recent.insert(number * 7));
        }
        let bytes = recent.ring.capacity() * 8 + recent.table.capacity() * 2;
        assert!(bytes <= 16 * MAX_REMEMBERED, "{bytes}");
    }
}
