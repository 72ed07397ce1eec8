//! Verifies what every subscriber of a channel got: offsets ascend, none is missing, none is repeated.
//!
//! A channel's log is not known in advance. The ledger collects it from what subscribers get and, at the end, from the
//! server's own replay ([`Ledger::know`]), and compares each subscriber with the whole. Offsets are the gym's sequence
//! numbers and need not be consecutive within a channel, so a gap shows only by comparison.

use std::fmt;

/// Faults that are described in words; all are counted.
const IN_WORDS: usize = 10;

/// The known offsets of a channel, ascending.
#[derive(Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

/// A known publication.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    offset: u64,
    /// The time of its change, as the event states it, in nanoseconds since 1970; 0 if unknown.
    pub at: u64,
    /// The time at which the command that caused it was sent, by this tool's clock, in nanoseconds; 0 if unknown.
    pub sent: u64,
}

/// The progress of one subscriber through a ledger.
#[derive(Debug)]
pub struct Cursor {
    start: u64,
    last: u64,
    /// The likely index of the next entry; a hint, since entries may have been inserted before it.
    next: usize,
    got: u64,
    skipped: Vec<u64>,
    /// Publications at or below `last` that had not been skipped, so they came again.
    repeated: u64,
    disordered: u64,
}

impl Cursor {
    /// A subscriber whose subscription started after this offset.
    #[must_use]
    pub const fn at(start: u64) -> Self {
        Self {
            start,
            last: start,
            next: 0,
            got: 0,
            skipped: Vec::new(),
            repeated: 0,
            disordered: 0,
        }
    }

    /// The last offset that the subscriber got.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }
}

impl Ledger {
    /// Records that a subscriber got an offset, and returns its entry unless it is repeated or out of order. `new`
    /// makes the times (`at`, `sent`) of a publication that nobody got before.
    pub fn take(&mut self, cursor: &mut Cursor, offset: u64, new: impl FnOnce() -> (u64, u64)) -> Option<Entry> {
        if offset <= cursor.last {
            match cursor.skipped.iter().position(|s| *s == offset) {
                Some(at) => {
                    cursor.skipped.swap_remove(at);
                    cursor.got += 1;
                    cursor.disordered += 1;
                }
                None => cursor.repeated += 1,
            }
            return None;
        }
        let next = self.next_of(cursor);
        let found = match self.entries.get(next) {
            Some(entry) if entry.offset == offset => next,
            Some(_) => self.place(offset, new),
            None => {
                let (at, sent) = new();
                self.entries.push(Entry { offset, at, sent });
                next
            }
        };
        cursor
            .skipped
            .extend(self.entries[next..found].iter().map(|entry| entry.offset));
        cursor.last = offset;
        cursor.next = found + 1;
        cursor.got += 1;
        Some(self.entries[found])
    }

    /// Inserts an offset from the server's log, so that a publication that every subscriber missed shows too.
    pub fn know(&mut self, offset: u64) {
        self.place(offset, || (0, 0));
    }

    /// How many known publications follow an offset.
    #[must_use]
    pub fn after(&self, offset: u64) -> u64 {
        (self.entries.len() - self.index_after(offset)) as u64
    }

    /// The last known offset; 0 if none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.offset)
    }

    /// How many publications a subscriber should have got and did not.
    #[must_use]
    pub fn owed(&self, cursor: &Cursor) -> u64 {
        self.after(cursor.start).saturating_sub(cursor.got)
    }

    /// Adds the faults of a subscriber.
    pub fn judge(&self, who: &str, cursor: &Cursor, faults: &mut Faults) {
        let missing = self.owed(cursor);
        let mut say = |count: u64, what: String| {
            if count > 0 && faults.words.len() < IN_WORDS {
                faults.words.push(format!("{who}: {count} {what}"));
            }
        };
        let tail = self.entries[self.index_after(cursor.last)..].iter().map(|e| e.offset);
        let named: Vec<_> = cursor.skipped.iter().copied().chain(tail).take(5).collect();
        say(missing, format!("missing, such as {named:?}"));
        say(
            cursor.repeated,
            format!("repeated; the subscriber has got up to {}", cursor.last),
        );
        say(
            cursor.disordered,
            format!("out of order; the subscriber has got up to {}", cursor.last),
        );
        faults.missing += missing;
        faults.repeated += cursor.repeated;
        faults.disordered += cursor.disordered;
    }

    fn next_of(&self, cursor: &Cursor) -> usize {
        let before = cursor.next.checked_sub(1).and_then(|at| self.entries.get(at));
        if before.is_some_and(|entry| entry.offset == cursor.last) {
            cursor.next
        } else {
            self.index_after(cursor.last)
        }
    }

    fn index_after(&self, offset: u64) -> usize {
        self.entries.partition_point(|entry| entry.offset <= offset)
    }

    fn place(&mut self, offset: u64, new: impl FnOnce() -> (u64, u64)) -> usize {
        match self.entries.binary_search_by_key(&offset, |entry| entry.offset) {
            Ok(at) => at,
            Err(at) => {
                let (begun, sent) = new();
                self.entries.insert(
                    at,
                    Entry {
                        offset,
                        at: begun,
                        sent,
                    },
                );
                at
            }
        }
    }
}

/// Faults in what subscribers got.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Faults {
    /// Publications that a subscriber did not get.
    pub missing: u64,
    /// Publications that a subscriber got more than once.
    pub repeated: u64,
    /// Publications that a subscriber got after later ones.
    pub disordered: u64,
    /// The first of them, in words.
    pub words: Vec<String>,
}

impl Faults {
    /// Whether there are no faults.
    #[must_use]
    pub const fn none(&self) -> bool {
        self.missing == 0 && self.repeated == 0 && self.disordered == 0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            missing,
            repeated,
            disordered,
            words,
        } = self;
        write!(f, "{missing} missing, {repeated} twice, {disordered} out of order")?;
        words.iter().try_for_each(|word| write!(f, "\n  {word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults when subscribers that start at offset 10 get these streams and the server's log contains these
    /// offsets.
    fn judged(streams: &[&[u64]], log: &[u64]) -> Faults {
        let mut ledger = Ledger::default();
        let mut cursors: Vec<_> = streams.iter().map(|_| Cursor::at(10)).collect();
        let longest = streams.iter().map(|s| s.len()).max().unwrap_or_default();
        // Interleave the streams, as many sockets would.
        for turn in 0..longest {
            for (stream, cursor) in streams.iter().zip(&mut cursors) {
                if let Some(offset) = stream.get(turn) {
                    ledger.take(cursor, *offset, || (1, 1));
                }
            }
        }
        for offset in log {
            ledger.know(*offset);
        }
        let mut faults = Faults::default();
        for (number, cursor) in cursors.iter().enumerate() {
            ledger.judge(&format!("subscriber {number}"), cursor, &mut faults);
        }
        faults
    }

    fn counts(faults: &Faults) -> (u64, u64, u64) {
        (faults.missing, faults.repeated, faults.disordered)
    }

    #[test]
    fn equal_ascending_streams_with_gaps_between_offsets_have_no_faults() {
        let stream = [11, 14, 15, 90];
        assert!(judged(&[&stream, &stream, &stream], &stream).none());
    }

    #[test]
    fn a_missing_publication_is_found_and_named_whoever_is_first() {
        let (whole, hole): (&[u64], &[u64]) = (&[11, 14, 15, 90], &[11, 15, 90]);
        for streams in [[whole, hole], [hole, whole]] {
            let faults = judged(&streams, &[]);
            assert_eq!(counts(&faults), (1, 0, 0), "{faults}");
        }
        let faults = judged(&[whole, hole], &[]);
        assert_eq!(faults.words, ["subscriber 1: 1 missing, such as [14]"]);
    }

    #[test]
    fn a_publication_that_nobody_got_is_found_in_the_servers_log() {
        let stream: &[u64] = &[11, 15];
        assert_eq!(counts(&judged(&[stream, stream], &[11, 14, 15])), (2, 0, 0));
        assert_eq!(counts(&judged(&[stream], &[9, 10, 11, 15, 16])), (1, 0, 0), "the end");
    }

    #[test]
    fn a_truncated_stream_misses_its_end() {
        assert_eq!(counts(&judged(&[&[11, 14, 15], &[11]], &[])), (2, 0, 0));
        assert_eq!(counts(&judged(&[&[], &[11, 14]], &[])), (2, 0, 0));
    }

    #[test]
    fn a_repeated_publication_is_found() {
        assert_eq!(counts(&judged(&[&[11, 14, 14, 15], &[11, 14, 15]], &[])), (0, 1, 0));
        assert_eq!(counts(&judged(&[&[11, 14, 11, 15]], &[])), (0, 1, 0));
    }

    #[test]
    fn a_publication_out_of_order_is_found_and_does_not_count_as_missing() {
        let faults = judged(&[&[11, 14, 15], &[11, 15, 14]], &[]);
        assert_eq!(counts(&faults), (0, 0, 1), "{faults}");
    }

    #[test]
    fn publications_before_the_subscription_are_not_owed() {
        assert!(judged(&[&[11]], &[3, 9, 10, 11]).none());
    }
}
