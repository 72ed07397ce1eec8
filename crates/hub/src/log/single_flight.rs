//! Single-flight: one read for all who may share it. A caller takes a [`Ticket`] first, and is served only by a read
//! that began after that. So no subscriber gets a state older than the publications held back for it since it
//! registered.
//!
//! At most one read of a key runs at a time. Callers that arrive during a read wait for it to end; one of those that it
//! cannot serve then makes the next read. A failure is shared too, so that a thousand callers do not find out one by
//! one that the database is down.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio::sync::Mutex;

use crate::backend::Failure;

/// Single-flight reads of one kind, by key.
pub struct SingleFlight<K: Eq + Hash, T, E = Failure> {
    slots: DashMap<K, Weak<Slot<T, E>>>,
    begun: AtomicU64,
}

/// The last read of a key, kept for as long as somebody holds a ticket.
struct Slot<T, E>(Mutex<Option<Flight<T, E>>>);

struct Flight<T, E> {
    /// The read's place in the order of all reads.
    number: u64,
    result: Result<Arc<T>, E>,
}

/// The right to the result of any read of a key that begins after the ticket was taken.
pub struct Ticket<K: Eq + Hash + Clone, T, E = Failure> {
    reads: Arc<SingleFlight<K, T, E>>,
    key: K,
    /// `None` only while the ticket is being dropped.
    slot: Option<Arc<Slot<T, E>>>,
    /// The number of reads that had begun when the ticket was taken.
    begun: u64,
}

/// The result of a read.
pub struct Reading<T> {
    /// The value that was read.
    pub value: Arc<T>,
    /// True if another caller made the read.
    pub shared: bool,
}

impl<K: Eq + Hash, T, E> Default for SingleFlight<K, T, E> {
    fn default() -> Self {
        Self {
            slots: DashMap::new(),
            begun: AtomicU64::new(0),
        }
    }
}

impl<K: Eq + Hash + Clone, T, E> SingleFlight<K, T, E> {
    /// Returns a ticket for a key.
    pub fn ticket(self: &Arc<Self>, key: K) -> Ticket<K, T, E> {
        let slot = {
            let mut entry = self.slots.entry(key.clone()).or_default();
            match entry.upgrade() {
                Some(slot) => slot,
                None => {
                    let slot = Arc::new(Slot(Mutex::new(None)));
                    *entry = Arc::downgrade(&slot);
                    slot
                }
            }
        };
        Ticket {
            reads: self.clone(),
            key,
            slot: Some(slot),
            begun: self.begun.load(Ordering::SeqCst),
        }
    }
}

impl<K: Eq + Hash + Clone, T, E: Clone> Ticket<K, T, E> {
    /// Returns the result of a read that began after the ticket was taken: another caller's, or that of `read`.
    ///
    /// # Errors
    /// The read's error.
    pub async fn get(&self, read: impl Future<Output = Result<T, E>>) -> Result<Reading<T>, E> {
        let unshared = |value| Reading { value, shared: false };
        let Some(slot) = &self.slot else {
            return read.await.map(Arc::new).map(unshared);
        };
        let mut last = slot.0.lock().await;
        if let Some(there) = last.as_ref().filter(|read| read.number > self.begun) {
            let value = there.result.clone()?;
            return Ok(Reading { value, shared: true });
        }
        // Counted before the read begins: a ticket that does not include this number was taken before the read.
        let number = self.reads.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = read.await.map(Arc::new);
        *last = Some(Flight {
            number,
            result: result.clone(),
        });
        result.map(unshared)
    }
}

impl<K: Eq + Hash + Clone, T, E> Drop for Ticket<K, T, E> {
    fn drop(&mut self) {
        self.slot = None;
        self.reads
            .slots
            .remove_if(&self.key, |_, slot| slot.strong_count() == 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    type Reads = Arc<SingleFlight<&'static str, usize, &'static str>>;

    /// A read that returns the number of earlier reads.
    async fn count(made: &AtomicUsize) -> Result<usize, &'static str> {
        let number = made.fetch_add(1, Ordering::SeqCst);
        // Lets the other tasks run meanwhile.
        tokio::task::yield_now().await;
        Ok(number)
    }

    #[tokio::test]
    async fn a_thousand_tickets_taken_before_a_read_share_it() {
        let (reads, made) = (Reads::default(), AtomicUsize::new(0));
        let tickets: Vec<_> = (0..1000).map(|_| reads.ticket("one")).collect();
        let all = tickets.iter().map(|ticket| ticket.get(count(&made)));
        let found = futures_util::future::join_all(all).await;
        let shared = found.iter().filter(|f| f.as_ref().is_ok_and(|f| f.shared)).count();
        assert_eq!((made.load(Ordering::SeqCst), shared), (1, 999));
    }

    #[tokio::test]
    async fn a_ticket_taken_after_a_read_began_is_not_served_by_it() {
        let (reads, made) = (Reads::default(), AtomicUsize::new(0));
        let early = reads.ticket("one");
        let mut late = Vec::new();
        let first = early.get(async {
            late.extend([reads.ticket("one"), reads.ticket("one")]);
            count(&made).await
        });
        assert_eq!(first.await.map(|f| *f.value).ok(), Some(0));
        for (ticket, shared) in late.iter().zip([false, true]) {
            let found = ticket.get(count(&made)).await.expect("found");
            assert_eq!((*found.value, found.shared), (1, shared));
        }
        let other = reads.ticket("other").get(count(&made)).await.expect("found");
        assert_eq!(
            (*other.value, other.shared),
            (2, false),
            "another key's read is not shared"
        );
    }

    #[tokio::test]
    async fn a_failed_read_is_shared_and_a_cancelled_read_is_not() {
        let reads = Reads::default();
        let tickets: Vec<_> = (0..3).map(|_| reads.ticket("one")).collect();
        let given_up = tickets[0].get(std::future::pending());
        assert!(futures_util::FutureExt::now_or_never(given_up).is_none());
        let failed = tickets[1].get(async { Err("away") }).await;
        assert_eq!(failed.err(), Some("away"));
        let shared = tickets[2].get(async { panic!("the failure must be shared") }).await;
        assert_eq!(shared.err(), Some("away"));
    }

    #[tokio::test]
    async fn a_key_without_tickets_keeps_nothing() {
        let (reads, made) = (Reads::default(), AtomicUsize::new(0));
        let ticket = reads.ticket("one");
        assert!(ticket.get(count(&made)).await.is_ok());
        let other = reads.ticket("one");
        drop(ticket);
        assert_eq!(reads.slots.len(), 1);
        drop(other);
        assert_eq!(reads.slots.len(), 0);
    }
}
