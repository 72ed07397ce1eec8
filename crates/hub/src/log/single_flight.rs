//! Reads that are made once for all who may share them. Whoever asks takes a [`Ticket`] first; a read serves those who had
//! theirs before it began, so that nobody is answered with something older than what they have been hearing since.
//!
//! At most one read of a key runs at a time. Those who come while it runs wait for it, and of those who came too late for
//! it one makes the next. A failure is shared too: when the database is away, a thousand do not find out one by one.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio::sync::Mutex;

use crate::backend::Failure;

/// The reads of one kind, by what they read.
pub struct SingleFlight<K: Eq + Hash, T, E = Failure> {
    slots: DashMap<K, Weak<Slot<T, E>>>,
    begun: AtomicU64,
}

/// The last read of a key. It is kept for as long as somebody has a ticket.
struct Slot<T, E>(Mutex<Option<Flight<T, E>>>);

struct Flight<T, E> {
    /// Its place among all reads.
    number: u64,
    result: Result<Arc<T>, E>,
}

/// The right to what reads of a key find that begin from now on.
pub struct Ticket<K: Eq + Hash + Clone, T, E = Failure> {
    reads: Arc<SingleFlight<K, T, E>>,
    key: K,
    /// There until the ticket is dropped.
    slot: Option<Arc<Slot<T, E>>>,
    /// Reads that had begun when it was taken.
    begun: u64,
}

/// What a read found, and whether it was made for another.
pub struct Reading<T> {
    /// What it found.
    pub value: Arc<T>,
    /// Whether it was made for another.
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
    /// A ticket for a key.
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
    /// What a read found that began after the ticket was taken: one that somebody else made, or `read`.
    ///
    /// # Errors
    /// That of the read.
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
        // Counted before it begins: a ticket that does not see it yet was taken before.
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

    /// A read that returns how many there were before it.
    async fn count(made: &AtomicUsize) -> Result<usize, &'static str> {
        let number = made.fetch_add(1, Ordering::SeqCst);
        // Others come to run meanwhile.
        tokio::task::yield_now().await;
        Ok(number)
    }

    #[tokio::test]
    async fn a_thousand_who_had_their_tickets_before_it_share_one_read() {
        let (reads, made) = (Reads::default(), AtomicUsize::new(0));
        let tickets: Vec<_> = (0..1000).map(|_| reads.ticket("one")).collect();
        let all = tickets.iter().map(|ticket| ticket.get(count(&made)));
        let found = futures_util::future::join_all(all).await;
        let shared = found.iter().filter(|f| f.as_ref().is_ok_and(|f| f.shared)).count();
        assert_eq!((made.load(Ordering::SeqCst), shared), (1, 999));
    }

    #[tokio::test]
    async fn who_came_after_a_read_began_is_not_served_by_it() {
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
    async fn a_failure_is_shared_and_a_read_that_was_given_up_is_not() {
        let reads = Reads::default();
        let tickets: Vec<_> = (0..3).map(|_| reads.ticket("one")).collect();
        let given_up = tickets[0].get(std::future::pending());
        assert!(futures_util::FutureExt::now_or_never(given_up).is_none());
        let failed = tickets[1].get(async { Err("away") }).await;
        assert_eq!(failed.err(), Some("away"));
        let shared = tickets[2].get(async { panic!("not read again") }).await;
        assert_eq!(shared.err(), Some("away"));
    }

    #[tokio::test]
    async fn nothing_is_kept_for_nobody() {
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
