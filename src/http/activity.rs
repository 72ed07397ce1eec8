//! The use of a plain connection, by the request on it. The middleware marks it, and the server's listener reads it, on
//! its own thread or on another.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// A connection's place among the others, shared with the threads that admit connections.
#[derive(Default)]
pub struct Seat {
    /// Whether a request has arrived completely and is not answered yet.
    busy: AtomicBool,
    /// Whether the connection must close, because another one needs its place.
    gone: AtomicBool,
    task: AtomicWaker,
}

impl Seat {
    /// Whether the connection may be closed for another one. It may if no request is on it, or if the client still
    /// sends one; it may not while the server works on a request that has arrived.
    #[must_use]
    pub fn may_give_way(&self) -> bool {
        !self.busy.load(Ordering::Acquire)
    }

    /// Closes the connection for another one.
    pub fn give_way(&self) {
        self.gone.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Whether the connection must close. `waker` is woken if that changes.
    pub fn has_given_way(&self, waker: &Waker) -> bool {
        self.task.register(waker);
        self.gone.load(Ordering::Acquire)
    }
}

/// Whether a connection is in use. Middleware finds it in the connection's data and marks each request on it.
#[derive(Default)]
pub struct Activity {
    answering: Cell<usize>,
    receiving: Cell<usize>,
    since_last_look: Cell<bool>,
    seat: Arc<Seat>,
}

impl Activity {
    /// The activity of the connection with this seat.
    #[must_use]
    pub fn of(seat: Arc<Seat>) -> Rc<Self> {
        Rc::new(Self {
            seat,
            ..Self::default()
        })
    }

    /// The connection's seat.
    #[must_use]
    pub const fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Marks a request as under way until the guard is dropped.
    #[must_use]
    pub fn answering(self: &Rc<Self>) -> Answering {
        self.answering.set(self.answering.get() + 1);
        self.show();
        Answering(self.clone())
    }

    /// Marks a request's body as incomplete until the guard is dropped.
    #[must_use]
    pub fn receiving(self: &Rc<Self>) -> Receiving {
        self.receiving.set(self.receiving.get() + 1);
        self.show();
        Receiving(self.clone())
    }

    fn show(&self) {
        let busy = self.answering.get() > self.receiving.get();
        self.seat.busy.store(busy, Ordering::Release);
    }

    /// Records that bytes were written.
    pub fn mark(&self) {
        self.since_last_look.set(true);
    }

    /// Whether there was activity since the last call, or a request is under way.
    pub fn look(&self) -> bool {
        self.since_last_look.replace(false) || self.answering.get() > 0
    }
}

/// The guard of [`Activity::answering`].
pub struct Answering(Rc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(self.0.answering.get() - 1);
        self.0.show();
        self.0.mark();
    }
}

/// The guard of [`Activity::receiving`].
pub struct Receiving(Rc<Activity>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.receiving.set(self.0.receiving.get() - 1);
        self.0.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_is_a_request_under_way_or_a_mark_since_the_last_check() {
        let activity = Rc::<Activity>::default();
        assert!(!activity.look());
        let answering = activity.answering();
        assert!(activity.look() && activity.look());
        drop(answering);
        assert!(activity.look() && !activity.look());
        activity.mark();
        assert!(activity.look() && !activity.look());
    }

    #[test]
    fn only_a_connection_whose_request_has_arrived_keeps_its_place() {
        let activity = Activity::of(Arc::default());
        let seat = activity.seat().clone();
        assert!(seat.may_give_way(), "no request");
        let answering = activity.answering();
        assert!(!seat.may_give_way(), "a request without a body");
        let receiving = activity.receiving();
        assert!(seat.may_give_way(), "its body is on the way");
        drop(receiving);
        assert!(!seat.may_give_way(), "its body is here");
        drop(answering);
        assert!(seat.may_give_way(), "it is answered");
        assert!(!seat.has_given_way(Waker::noop()));
        seat.give_way();
        assert!(seat.has_given_way(Waker::noop()));
    }
}
