//! What every subscriber of a channel must have got, and whether it did: offsets rise, none is missing, none comes twice.
//!
//! A channel's log is not known beforehand. It is gathered from what its subscribers get, and at the end from the server's own
//! replay ([`Ledger::know`]); each subscriber is then held against the whole of it. Offsets are the gym's numbers: they
//! need not be consecutive, so a hole shows only beside the others.

use std::fmt;

/// Faults that are kept in words; all are counted.
const IN_WORDS: usize = 10;

/// The offsets of a channel that are known, rising.
#[derive(Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

/// A publication.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    offset: u64,
    /// When its change began, as the event says, in nanoseconds since 1970; 0 where it does not say.
    pub at: u64,
    /// When the command was sent that caused it, on the tool's own clock in nanoseconds; 0 where that is not known.
    pub sent: u64,
}

/// Where one subscriber stands in a ledger.
#[derive(Debug)]
pub struct Cursor {
    start: u64,
    last: u64,
    /// Where the next entry probably is: entries may have been put in before it.
    next: usize,
    got: u64,
    skipped: Vec<u64>,
    /// Publications that came though an equal or later one had come.
    repeated: u64,
    disordered: u64,
}

impl Cursor {
    /// A subscriber whose subscription began after this offset.
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

    /// The last offset that it got.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }
}

impl Ledger {
    /// A subscriber got an offset. The entry, where it is as it must be; `new` makes what is kept of one that nobody got before.
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

    /// Puts in what the server's log holds, so that what every subscriber missed shows too.
    pub fn know(&mut self, offset: u64) {
        self.place(offset, || (0, 0));
    }

    /// How many publications are known after an offset.
    #[must_use]
    pub fn after(&self, offset: u64) -> u64 {
        (self.entries.len() - self.index_after(offset)) as u64
    }

    /// The last offset that is known; 0 where none is.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.offset)
    }

    /// How many publications a subscriber should have got and has not.
    #[must_use]
    pub fn owed(&self, cursor: &Cursor) -> u64 {
        self.after(cursor.start).saturating_sub(cursor.got)
    }

    /// Adds what is wrong with a subscriber.
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
        say(cursor.repeated, format!("came again, the last up to {}", cursor.last));
        say(
            cursor.disordered,
            format!("came after later ones, the last up to {}", cursor.last),
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

/// What was wrong with what subscribers got.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Faults {
    /// Publications that a subscriber did not get.
    pub missing: u64,
    /// Publications that a subscriber got more than once.
    pub repeated: u64,
    /// Publications that a subscriber got after later ones.
    pub disordered: u64,
    /// The first of them in words.
    pub words: Vec<String>,
}

impl Faults {
    /// Whether there are none.
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

    /// What is wrong when subscribers from offset 10 on get these, and the server's log holds those.
    fn judged(streams: &[&[u64]], log: &[u64]) -> Faults {
        let mut ledger = Ledger::default();
        let mut cursors: Vec<_> = streams.iter().map(|_| Cursor::at(10)).collect();
        let longest = streams.iter().map(|s| s.len()).max().unwrap_or_default();
        // One after the other, as they would come from many sockets.
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
    fn equal_rising_streams_are_right_though_offsets_are_not_consecutive() {
        let stream = [11, 14, 15, 90];
        assert!(judged(&[&stream, &stream, &stream], &stream).none());
    }

    #[test]
    fn a_hole_is_found_and_named_whoever_comes_first() {
        let (whole, hole): (&[u64], &[u64]) = (&[11, 14, 15, 90], &[11, 15, 90]);
        for streams in [[whole, hole], [hole, whole]] {
            let faults = judged(&streams, &[]);
            assert_eq!(counts(&faults), (1, 0, 0), "{faults}");
        }
        let faults = judged(&[whole, hole], &[]);
        assert_eq!(faults.words, ["subscriber 1: 1 missing, such as [14]"]);
    }

    #[test]
    fn what_nobody_got_is_found_in_the_servers_log() {
        let stream: &[u64] = &[11, 15];
        assert_eq!(counts(&judged(&[stream, stream], &[11, 14, 15])), (2, 0, 0));
        assert_eq!(counts(&judged(&[stream], &[9, 10, 11, 15, 16])), (1, 0, 0), "the end");
    }

    #[test]
    fn a_stream_that_ends_early_lacks_its_end() {
        assert_eq!(counts(&judged(&[&[11, 14, 15], &[11]], &[])), (2, 0, 0));
        assert_eq!(counts(&judged(&[&[], &[11, 14]], &[])), (2, 0, 0));
    }

    #[test]
    fn what_comes_twice_is_found() {
        assert_eq!(counts(&judged(&[&[11, 14, 14, 15], &[11, 14, 15]], &[])), (0, 1, 0));
        assert_eq!(counts(&judged(&[&[11, 14, 11, 15]], &[])), (0, 1, 0));
    }

    #[test]
    fn what_comes_after_a_later_one_is_found_and_is_not_missing() {
        let faults = judged(&[&[11, 14, 15], &[11, 15, 14]], &[]);
        assert_eq!(counts(&faults), (0, 0, 1), "{faults}");
    }

    #[test]
    fn what_was_before_the_subscription_is_not_owed() {
        assert!(judged(&[&[11]], &[3, 9, 10, 11]).none());
    }
}
