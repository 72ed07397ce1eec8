//! What is held back of a subscription: all of it while its snapshot is read, and what comes from a change on while its right is
//! in doubt. Pure, and bounded.

use bytes::Bytes;

/// Publications held back. Over it the subscription starts anew, as for a slow client.
const PUBLICATIONS: usize = 1024;

/// The right to watch may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// With the change of this number, or with what is not stored.
    pub from: u64,
    /// The doubt's number on its connection.
    pub number: u64,
}

impl Doubt {
    /// One that no check answers: the subscription is about to be ended.
    pub const FOR_GOOD: Self = Self {
        from: 0,
        number: u64::MAX,
    };
}

/// See the module.
#[derive(Default)]
pub(super) struct Held {
    /// Up to where everything was sent; none until the client is answered.
    last: Option<u64>,
    doubt: Option<Doubt>,
    /// In the order that they came, with their offsets.
    frames: Vec<(u64, Bytes)>,
    overflowed: bool,
}

/// Whether a subscription goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// Not yet.
    Not,
    /// Everything up to `last` was sent.
    Live { last: u64 },
    /// More came than may be held back.
    Overflowed,
}

impl Held {
    /// Of a subscription that was live.
    pub fn doubted(last: u64, doubt: Doubt) -> Self {
        Self {
            last: Some(last),
            doubt: Some(doubt),
            ..Self::default()
        }
    }

    /// Another doubt, which the check of an earlier one does not answer.
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

    /// All doubts up to this number are answered; whether that leaves none.
    pub fn certain(&mut self, up_to: u64) -> bool {
        let answered = self.doubt.is_some_and(|doubt| doubt.number <= up_to);
        if answered {
            self.doubt = None;
        }
        answered
    }

    /// The client was answered with what there is up to a position.
    pub fn answered(&mut self, position: u64) {
        self.last = Some(position);
    }

    pub fn is_answered(&self) -> bool {
        self.last.is_some()
    }

    /// Takes a publication; returns it where it need not be held back.
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

    /// What need not be held back any more, in order.
    pub fn take(&mut self) -> Vec<Bytes> {
        if self.overflowed {
            return Vec::new();
        }
        let frames = std::mem::take(&mut self.frames);
        frames.into_iter().filter_map(|frame| self.put(frame)).collect()
    }

    /// Whether the client may have it now: it was answered, and what it gets is in no doubt.
    fn may_go(&self, offset: u64) -> bool {
        let certain = self.doubt.is_none_or(|doubt| offset > 0 && offset < doubt.from);
        self.is_answered() && certain
    }

    /// Notes that a publication is sent; false for one that was.
    fn advance(&mut self, offset: u64) -> bool {
        let last = self.last.get_or_insert(0);
        let new = offset == 0 || offset > *last;
        *last = (*last).max(offset);
        new
    }

    /// Whether it goes on, once what may go was taken.
    pub fn released(&self) -> Released {
        match self.last {
            Some(_) if self.overflowed => Released::Overflowed,
            Some(last) if self.doubt.is_none() => Released::Live { last },
            _ => Released::Not,
        }
    }
}
