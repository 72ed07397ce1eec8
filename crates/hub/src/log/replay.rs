//! The replay buffer: the last changes of a log, as its sequencer delivered them, so that a client that was away for a
//! moment recovers without a database read. It is bounded in changes and in bytes; older changes are in Postgres.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits::Recovery;
use crate::log::change::Committed;
use crate::log::change::{Bounds, Head, Missed};

/// See the module. Numbers are gapless: the buffer holds every change above `floor` up to `top`.
pub(crate) struct ReplayBuffer {
    epoch: Arc<str>,
    floor: u64,
    top: u64,
    changes: VecDeque<Committed>,
    bytes: usize,
    limits: (usize, usize),
}

/// A channel's missed publications, according to the replay buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub missed: Missed,
    /// The position up to which they are complete.
    pub head: Head,
}

impl ReplayBuffer {
    /// Creates an empty buffer without a position.
    pub fn new(bounds: &Recovery) -> Self {
        Self {
            epoch: "".into(),
            floor: 0,
            top: 0,
            changes: VecDeque::new(),
            bytes: 0,
            limits: (bounds.memory_events, bounds.memory_bytes),
        }
    }

    /// Drops all changes and continues at a position.
    pub fn restart(&mut self, head: &Head) {
        self.epoch = head.epoch.clone();
        (self.floor, self.top) = (head.seq, head.seq);
        self.changes = VecDeque::new();
        self.bytes = 0;
    }

    /// Adds the next change.
    pub fn push(&mut self, change: &Committed) {
        self.top = change.seq;
        self.bytes += change.size();
        self.changes.push_back(change.clone());
        let (events, bytes) = self.limits;
        while self.changes.len() > events || self.bytes > bytes {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.floor = oldest.seq;
            self.bytes -= oldest.size();
        }
    }

    /// Returns a channel's publications after a position. Returns `None` if the position is below the buffer, above it,
    /// or of another epoch.
    pub fn since(&self, channel: &str, epoch: &str, after: u64, bounds: Bounds) -> Option<Recalled> {
        let known = (epoch.is_empty() || *epoch == *self.epoch) && !self.epoch.is_empty();
        if !known || after < self.floor || after > self.top {
            return None;
        }
        let skip = usize::try_from(after - self.floor).ok()?;
        let events = self.changes.iter().skip(skip).flat_map(|change| {
            let of_channel = change.events.iter().filter(|e| *e.channel == *channel);
            of_channel.map(|e| (change.seq, e.payload.clone()))
        });
        Some(Recalled {
            missed: Missed::within(events, bounds),
            head: Head {
                epoch: self.epoch.clone(),
                seq: self.top,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogId;
    use crate::log::change::LoggedEvent;

    fn memory(events: usize, bytes: usize) -> ReplayBuffer {
        let mut memory = ReplayBuffer::new(&Recovery {
            memory_events: events,
            memory_bytes: bytes,
            ..Recovery::default()
        });
        memory.restart(&head(10));
        memory
    }

    fn head(seq: u64) -> Head {
        Head { epoch: "e".into(), seq }
    }

    fn change(seq: u64, channel: &str, payload: &str) -> Committed {
        Committed {
            log: LogId::random(),
            epoch: "e".into(),
            seq,
            events: vec![LoggedEvent {
                channel: channel.into(),
                payload: payload.to_owned().into(),
            }],
            committed_at: None,
            more_soon: false,
        }
    }

    const WIDE: Bounds = Bounds {
        events: 100,
        bytes: 1000,
    };

    fn offsets(memory: &ReplayBuffer, after: u64) -> Option<Vec<u64>> {
        match memory.since("a", "e", after, WIDE)?.missed {
            Missed::All(events) => Some(events.into_iter().map(|(seq, _)| seq).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_recovery_returns_only_its_channels_later_events() {
        let mut memory = memory(10, 10_000);
        for (seq, channel) in [(11, "a"), (12, "b"), (13, "a")] {
            memory.push(&change(seq, channel, "{}"));
        }
        assert_eq!(offsets(&memory, 10), Some(vec![11, 13]));
        assert_eq!(offsets(&memory, 11), Some(vec![13]));
        assert_eq!(offsets(&memory, 13), Some(vec![]));
        let recalled = memory.since("a", "", 12, WIDE).expect("an empty epoch matches");
        assert_eq!(recalled.head, head(13));
    }

    #[test]
    fn a_position_outside_the_buffer_is_not_answered() {
        let mut memory = memory(2, 10_000);
        for seq in 11..=14 {
            memory.push(&change(seq, "a", "{}"));
        }
        assert_eq!(offsets(&memory, 11), None, "the change after 11 was dropped");
        assert_eq!(offsets(&memory, 12), Some(vec![13, 14]));
        assert_eq!(offsets(&memory, 15), None, "above the buffer");
        assert_eq!(memory.since("a", "other", 13, WIDE), None);
        memory.restart(&head(20));
        assert_eq!(offsets(&memory, 14), None);
        assert_eq!(offsets(&memory, 20), Some(vec![]));
        assert_eq!(
            ReplayBuffer::new(&Recovery::default()).since("a", "", 0, WIDE),
            None,
            "not started"
        );
    }

    #[test]
    fn the_buffer_is_bounded_in_bytes() {
        let one = change(11, "a", &"x".repeat(100)).size();
        let mut memory = memory(1000, 3 * one);
        for seq in 11..=30 {
            memory.push(&change(seq, "a", &"x".repeat(100)));
        }
        assert_eq!(memory.changes.len(), 3);
        assert_eq!(memory.bytes, 3 * one);
        // A change larger than the whole buffer leaves it empty.
        memory.push(&change(31, "a", &"x".repeat(4 * one)));
        assert_eq!((memory.bytes, memory.floor, memory.top), (0, 31, 31));
        assert_eq!(offsets(&memory, 31), Some(vec![]));
    }

    #[test]
    fn a_recovery_over_its_bounds_says_which_bound() {
        let mut memory = memory(100, 10_000);
        for seq in 11..=13 {
            memory.push(&change(seq, "a", "1234567890"));
        }
        let missed = |events, bytes| {
            let recalled = memory.since("a", "e", 10, Bounds { events, bytes });
            recalled.expect("in memory").missed
        };
        assert_eq!(missed(2, 1000), Missed::TooMany);
        assert_eq!(missed(3, 29), Missed::TooLarge);
        assert!(matches!(missed(3, 30), Missed::All(events) if events.len() == 3));
    }
}
