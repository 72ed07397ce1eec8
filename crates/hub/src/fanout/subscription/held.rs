//! Publications that a subscription holds back: all of them until its client is answered, and those from one change's
//! number on while its right is in doubt. Pure, and bounded.

use bytes::Bytes;

/// Largest number of publications held back. If more arrive, the subscription ends as a slow client's does, and the
/// client subscribes again.
const PUBLICATIONS: usize = 1024;

/// A doubt: a change may have ended the subscription's right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Number of the change that may have ended the right. Notices have no number, so every doubt holds them back.
    pub from: u64,
    /// The doubt's sequence number on its connection.
    pub number: u64,
}

impl Doubt {
    /// A doubt that no check resolves, for a subscription that is about to end.
    pub const FOR_GOOD: Self = Self {
        from: 0,
        number: u64::MAX,
    };
}

/// The publications that one subscription holds back.
#[derive(Default)]
pub(super) struct Held {
    /// Position up to which everything was sent; `None` until the client has been answered.
    last: Option<u64>,
    doubt: Option<Doubt>,
    /// Offsets and frames, in the order of arrival.
    frames: Vec<(u64, Bytes)>,
    overflowed: bool,
}

/// Whether a subscription can stop holding back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// It still holds back.
    Not,
    /// It goes live: everything up to `last` was sent.
    Live { last: u64 },
    /// More publications arrived than the subscription may hold back.
    Overflowed,
}

impl Held {
    /// Creates the state of a subscription that was live until now.
    pub fn doubted(last: u64, doubt: Doubt) -> Self {
        Self {
            last: Some(last),
            doubt: Some(doubt),
            ..Self::default()
        }
    }

    /// Adds a doubt. A check that began before the doubt does not resolve it.
    pub fn doubt(&mut self, doubt: Doubt) {
        let there = self.doubt.unwrap_or(doubt);
        self.doubt = Some(Doubt {
            from: there.from.min(doubt.from),
            number: there.number.max(doubt.number),
        });
    }

    pub fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Resolves all doubts up to this number; returns true if that resolved the last one.
    pub fn certain(&mut self, up_to: u64) -> bool {
        let answered = self.doubt.is_some_and(|doubt| doubt.number <= up_to);
        if answered {
            self.doubt = None;
        }
        answered
    }

    /// Records that the client was answered with everything up to a position.
    pub fn answered(&mut self, position: u64) {
        self.last = Some(position);
    }

    pub fn is_answered(&self) -> bool {
        self.last.is_some()
    }

    /// Holds a publication back, or returns it if it may be sent now. Drops it if it was sent before.
    pub fn put(&mut self, (offset, frame): (u64, Bytes)) -> Option<Bytes> {
        if self.may_go(offset) {
            return self.advance(offset).then_some(frame);
        }
        if self.frames.len() < PUBLICATIONS {
            self.frames.push((offset, frame));
        } else {
            self.overflowed = true;
        }
        None
    }

    /// Removes and returns the frames that may be sent now, in order.
    pub fn take(&mut self) -> Vec<Bytes> {
        if self.overflowed {
            return Vec::new();
        }
        let frames = std::mem::take(&mut self.frames);
        frames.into_iter().filter_map(|frame| self.put(frame)).collect()
    }

    /// True if the client may get the publication now: the client was answered, and the publication is before any
    /// doubt.
    fn may_go(&self, offset: u64) -> bool {
        let certain = self.doubt.is_none_or(|doubt| offset > 0 && offset < doubt.from);
        self.is_answered() && certain
    }

    /// Records that a publication is sent; returns false if it was sent before.
    fn advance(&mut self, offset: u64) -> bool {
        let last = self.last.get_or_insert(0);
        let new = offset == 0 || offset > *last;
        *last = (*last).max(offset);
        new
    }

    /// Returns whether the subscription can stop holding back; to be called after [`take`](Self::take).
    pub fn released(&self) -> Released {
        match self.last {
            Some(_) if self.overflowed => Released::Overflowed,
            Some(last) if self.doubt.is_none() => Released::Live { last },
            _ => Released::Not,
        }
    }
}
