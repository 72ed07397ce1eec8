//! Batching per key. At most one batch per key is under way; items that arrive meanwhile form the next batch. An item
//! for an idle key therefore starts at once, and items for a busy key share the cost of a batch.
//!
//! A [`Gatherer`] holds the waiting items, up to a bound per key. The caller that finds its key idle gets a [`Running`]
//! and must run batch after batch with it until no item waits. When the `Running` is dropped, even by a panic, the key
//! is idle again and the waiting items are dropped, which closes their reply channels.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::oneshot;

use crate::error::{Code, Error, Result};

/// The waiting items, by key.
pub struct Gatherer<K: Copy + Eq + Hash, T> {
    /// A key has an entry exactly while it has a [`Running`].
    lines: DashMap<K, Line<T>>,
    bound: usize,
}

/// The waiting items of one key.
struct Line<T> {
    items: VecDeque<T>,
    /// While the key lingers: the number of items it waits for, and the sender that ends the wait.
    awaited: Option<(usize, oneshot::Sender<()>)>,
}

impl<K: Copy + Eq + Hash, T> Gatherer<K, T> {
    /// A gatherer in which at most `bound` items per key may wait.
    #[must_use]
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            lines: DashMap::new(),
            bound,
        })
    }

    /// Appends an item to those of its key. Returns a [`Running`] if the key was idle; the caller must then run its
    /// batches.
    ///
    /// # Errors
    /// The item, if the key has reached the bound.
    pub fn put(self: &Arc<Self>, key: K, item: T) -> Result<Option<Running<K, T>>, T> {
        match self.lines.entry(key) {
            Entry::Occupied(mut line) if line.get().items.len() < self.bound => {
                let line = line.get_mut();
                line.items.push_back(item);
                let enough = |(wanted, _): &mut (usize, _)| line.items.len() >= *wanted;
                if let Some((_, told)) = line.awaited.take_if(enough) {
                    // The lingering task may just have timed out.
                    let _ = told.send(());
                }
                Ok(None)
            }
            Entry::Occupied(_) => Err(item),
            Entry::Vacant(line) => {
                line.insert(Line {
                    items: VecDeque::from([item]),
                    awaited: None,
                });
                Ok(Some(Running {
                    gatherer: self.clone(),
                    key,
                    at_rest: false,
                }))
            }
        }
    }

    /// Number of waiting items of a key.
    #[must_use]
    pub fn waiting(&self, key: K) -> usize {
        self.lines.get(&key).map_or(0, |line| line.items.len())
    }

    /// Number of waiting items of all keys.
    #[must_use]
    pub fn waiting_in_all(&self) -> usize {
        self.lines.iter().map(|line| line.items.len()).sum()
    }

    /// Whether a key is idle.
    #[must_use]
    pub fn is_at_rest(&self, key: K) -> bool {
        !self.lines.contains_key(&key)
    }
}

/// The exclusive right to run the batches of a key.
pub struct Running<K: Copy + Eq + Hash, T> {
    gatherer: Arc<Gatherer<K, T>>,
    key: K,
    at_rest: bool,
}

impl<K: Copy + Eq + Hash, T> Running<K, T> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> K {
        self.key
    }

    /// The next batch, which `take` takes from the queue; `take` must remove at least one item. Returns `None` if no
    /// item waits; the key is then idle.
    pub fn next<B>(&mut self, take: impl FnOnce(&mut VecDeque<T>) -> B) -> Option<B> {
        let Entry::Occupied(mut line) = self.gatherer.lines.entry(self.key) else {
            return None;
        };
        if line.get().items.is_empty() {
            line.remove();
            self.at_rest = true;
            return None;
        }
        Some(take(&mut line.get_mut().items))
    }

    /// Lingers until `wanted` items wait, at most for `within`, so that clients that just got an answer can join the
    /// next batch.
    pub async fn linger(&self, wanted: usize, within: Duration) {
        let (told, come) = oneshot::channel();
        match self.gatherer.lines.get_mut(&self.key) {
            Some(mut line) if line.items.len() < wanted => line.awaited = Some((wanted, told)),
            _ => return,
        }
        // The next batch takes the items that arrived, whether or not they are enough.
        let _ = tokio::time::timeout(within, come).await;
        if let Some(mut line) = self.gatherer.lines.get_mut(&self.key) {
            line.awaited = None;
        }
    }
}

impl<K: Copy + Eq + Hash, T> Drop for Running<K, T> {
    /// Makes the key idle, even if the work panicked or was dropped; else it would stay busy for ever.
    fn drop(&mut self) {
        if !self.at_rest {
            self.gatherer.lines.remove(&self.key);
        }
    }
}

/// Waits for the answer to an item.
///
/// # Errors
/// Those of the answer; [`Code::Internal`] if the batch ended without one.
pub async fn answer<T>(answered: oneshot::Receiver<Result<T>>) -> Result<T> {
    answered
        .await
        .unwrap_or_else(|_| Err(Error::new(Code::Internal).caused_by(anyhow::anyhow!("the batch had no answer"))))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn all(queue: &mut VecDeque<u32>) -> Vec<u32> {
        queue.drain(..).collect()
    }

    fn begun(gatherer: &Arc<Gatherer<u8, u32>>, item: u32) -> Running<u8, u32> {
        let running = gatherer.put(1, item).expect("room");
        running.expect("the key was idle")
    }

    #[test]
    fn items_that_arrive_during_a_batch_form_the_next_one() {
        let gatherer = Gatherer::new(10);
        let mut running = begun(&gatherer, 1);
        assert_eq!(running.next(all), Some(vec![1]));
        for item in [2, 3] {
            assert!(gatherer.put(1, item).expect("a place").is_none());
        }
        assert!(gatherer.put(2, 4).expect("a place").is_some(), "another key");
        assert_eq!(gatherer.waiting(1), 2);
        assert_eq!(running.next(all), Some(vec![2, 3]));
        assert_eq!(running.next(all), None);
        assert!(gatherer.is_at_rest(1));
        begun(&gatherer, 5);
    }

    #[test]
    fn an_item_over_the_bound_is_returned() {
        let gatherer = Gatherer::new(2);
        let mut running = begun(&gatherer, 1);
        running.next(all);
        for item in [2, 3] {
            assert!(gatherer.put(1, item).is_ok());
        }
        assert_eq!(gatherer.put(1, 4).err(), Some(4));
        assert_eq!(gatherer.waiting_in_all(), 2);
    }

    #[test]
    fn work_that_is_dropped_or_panics_leaves_the_key_idle_and_closes_reply_channels() {
        let gatherer = Gatherer::new(10);
        let put = |answer| gatherer.put(1, answer).expect("a place");
        for panics in [false, true] {
            let (first, second) = (oneshot::channel::<()>(), oneshot::channel());
            let mut running = put(first.0).expect("the key was idle");
            assert!(put(second.0).is_none());
            let work = std::thread::spawn(move || {
                running.next(VecDeque::pop_front);
                assert!(!panics, "a bug in the work");
            });
            assert_eq!(work.join().is_err(), panics);
            for (_, mut answered) in [(0, first.1), (1, second.1)] {
                assert_eq!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
            }
            assert!(gatherer.is_at_rest(1));
        }
    }

    #[tokio::test]
    async fn lingering_ends_when_enough_items_wait_or_time_is_up() {
        let gatherer = Gatherer::new(10);
        let mut running = begun(&gatherer, 1);
        running.next(all);
        let began = Instant::now();
        running.linger(2, Duration::from_millis(20)).await;
        assert!(began.elapsed() >= Duration::from_millis(20));
        let come = async {
            tokio::task::yield_now().await;
            for item in [2, 3] {
                assert!(gatherer.put(1, item).is_ok());
            }
        };
        tokio::join!(running.linger(2, Duration::from_hours(1)), come);
        running.linger(2, Duration::from_hours(1)).await;
        assert_eq!(running.next(all), Some(vec![2, 3]));
    }
}
