//! Changes that a sequencer cannot deliver yet, because an earlier one is missing. Pure.
//!
//! The buffer is bounded in changes and in bytes, because other nodes keep committing while the log cannot be read. It
//! drops the highest numbers first; the sequencer later reads them from the log with the missing ones.

use std::collections::BTreeMap;

use crate::log::change::Committed;

/// Capacity in changes.
pub(crate) const CHANGES: usize = 4096;
/// Capacity in bytes: twice the default replay buffer of a log.
pub(crate) const BYTES: usize = 512 * 1024;

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting {
    changes: BTreeMap<u64, Committed>,
    bytes: usize,
}

impl Waiting {
    /// The number of waiting changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Approximate memory of the waiting changes, in bytes.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// The lowest number that waits.
    pub fn first(&self) -> Option<u64> {
        self.changes.first_key_value().map(|(seq, _)| *seq)
    }

    /// The change with the highest number.
    pub fn last(&self) -> Option<&Committed> {
        self.changes.last_key_value().map(|(_, change)| change)
    }

    /// Adds a change; one with the same number is replaced, since it is the same change.
    pub fn insert(&mut self, change: Committed) {
        self.bytes += change.size();
        if let Some(same) = self.changes.insert(change.seq, change) {
            self.bytes -= same.size();
        }
    }

    /// Removes and returns the change with this number, and drops those with lower numbers.
    pub fn take(&mut self, next: u64) -> Option<Committed> {
        self.forget_before(next);
        let first = self.changes.first_entry().filter(|first| *first.key() == next)?;
        let change = first.remove();
        self.bytes -= change.size();
        Some(change)
    }

    /// Drops the changes with lower numbers.
    pub fn forget_before(&mut self, next: u64) {
        while let Some(first) = self.changes.first_entry().filter(|first| *first.key() < next) {
            self.bytes -= first.remove().size();
        }
    }

    /// Drops the highest numbers until the rest is within the bounds.
    pub fn forget_farthest(&mut self) {
        while self.changes.len() > CHANGES || self.bytes > BYTES {
            let Some((_, farthest)) = self.changes.pop_last() else {
                return;
            };
            self.bytes -= farthest.size();
        }
    }

    /// Drops all changes.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogId;
    use crate::log::change::LoggedEvent;

    fn change(seq: u64, bytes: usize) -> Committed {
        Committed {
            log: LogId::random(),
            epoch: "e".into(),
            seq,
            events: vec![LoggedEvent {
                channel: "a".into(),
                payload: vec![b' '; bytes].into(),
            }],
            committed_at: None,
            more_soon: false,
        }
    }

    fn sizes(waiting: &Waiting) -> usize {
        waiting.changes.values().map(Committed::size).sum()
    }

    #[test]
    fn changes_are_taken_in_order_and_lower_numbers_are_dropped() {
        let mut waiting = Waiting::default();
        for seq in [7, 5, 3, 6, 5] {
            waiting.insert(change(seq, 10));
        }
        assert_eq!((waiting.first(), waiting.len()), (Some(3), 4));
        assert_eq!(waiting.take(4), None);
        assert_eq!(waiting.first(), Some(5), "number 3 is below the requested one");
        assert_eq!(waiting.take(5).map(|c| c.seq), Some(5));
        assert_eq!(waiting.take(6).map(|c| c.seq), Some(6));
        assert_eq!(waiting.last().map(|c| c.seq), Some(7));
        assert_eq!(waiting.bytes, sizes(&waiting));
        waiting.clear();
        assert_eq!((waiting.len(), waiting.bytes), (0, 0));
    }

    #[test]
    fn over_the_bounds_the_highest_numbers_are_dropped() {
        let mut waiting = Waiting::default();
        let last = u64::try_from(CHANGES).expect("it fits") + 100;
        for seq in 1..=last {
            waiting.insert(change(seq, 0));
        }
        waiting.forget_farthest();
        assert!(waiting.len() <= CHANGES && waiting.bytes <= BYTES);
        assert_eq!(waiting.first(), Some(1));
        waiting.clear();
        for seq in 1..=9 {
            waiting.insert(change(seq, BYTES / 4));
        }
        waiting.forget_farthest();
        assert_eq!((waiting.first(), waiting.len()), (Some(1), 3));
        assert_eq!(waiting.bytes, sizes(&waiting));
    }

    #[test]
    fn a_change_larger_than_the_whole_buffer_is_dropped() {
        let mut waiting = Waiting::default();
        waiting.insert(change(2, BYTES + 1));
        waiting.forget_farthest();
        assert_eq!((waiting.len(), waiting.bytes), (0, 0));
    }
}
