//! Work that is gathered while the same kind of work is under way. For each key there is one batch at a time: what comes
//! first is worked on at once, and what comes meanwhile waits for its end and is the next batch. So a key at rest waits for
//! nothing, and a busy one shares what a batch costs.
//!
//! A [`Gatherer`] holds what waits, up to a bound. Who finds a key at rest is given its [`Running`], which takes batch after
//! batch until nothing waits. However it ends, the key is at rest then: those who still waited are told by their channels.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::oneshot;

use crate::error::{Code, Error, Result};

/// What waits, by key.
pub struct Gatherer<K: Copy + Eq + Hash, T> {
    /// A key has an entry exactly while somebody works for it.
    lines: DashMap<K, Line<T>>,
    bound: usize,
}

/// What waits of one key.
struct Line<T> {
    items: VecDeque<T>,
    /// How many are waited for, where they are, and who is told that so many are there.
    awaited: Option<(usize, oneshot::Sender<()>)>,
}

impl<K: Copy + Eq + Hash, T> Gatherer<K, T> {
    /// With the number of items of one key that may wait.
    #[must_use]
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            lines: DashMap::new(),
            bound,
        })
    }

    /// Puts an item behind those of its key. Where nobody works for the key, whoever calls this is to do so.
    ///
    /// # Errors
    /// The item, where as many wait as may.
    pub fn put(self: &Arc<Self>, key: K, item: T) -> Result<Option<Running<K, T>>, T> {
        match self.lines.entry(key) {
            Entry::Occupied(mut line) if line.get().items.len() < self.bound => {
                let line = line.get_mut();
                line.items.push_back(item);
                let enough = |(wanted, _): &mut (usize, _)| line.items.len() >= *wanted;
                if let Some((_, told)) = line.awaited.take_if(enough) {
                    // Who waits may just have given up.
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

    /// How many items of a key wait.
    #[must_use]
    pub fn waiting(&self, key: K) -> usize {
        self.lines.get(&key).map_or(0, |line| line.items.len())
    }

    /// How many items of all keys wait.
    #[must_use]
    pub fn waiting_in_all(&self) -> usize {
        self.lines.iter().map(|line| line.items.len()).sum()
    }

    /// Whether nobody works for a key.
    #[must_use]
    pub fn is_at_rest(&self, key: K) -> bool {
        !self.lines.contains_key(&key)
    }
}

/// The work for a key, of which there is one at a time.
pub struct Running<K: Copy + Eq + Hash, T> {
    gatherer: Arc<Gatherer<K, T>>,
    key: K,
    at_rest: bool,
}

impl<K: Copy + Eq + Hash, T> Running<K, T> {
    /// What it works for.
    #[must_use]
    pub fn key(&self) -> K {
        self.key
    }

    /// The next batch, for which `take` takes one item at least; none where nothing waits, and the key is at rest again.
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

    /// Waits for so many items to come, up to a moment: those who were just answered often come again at once.
    pub async fn linger(&self, wanted: usize, within: Duration) {
        let (told, come) = oneshot::channel();
        match self.gatherer.lines.get_mut(&self.key) {
            Some(mut line) if line.items.len() < wanted => line.awaited = Some((wanted, told)),
            _ => return,
        }
        // What came is taken either way.
        let _ = tokio::time::timeout(within, come).await;
        if let Some(mut line) = self.gatherer.lines.get_mut(&self.key) {
            line.awaited = None;
        }
    }
}

impl<K: Copy + Eq + Hash, T> Drop for Running<K, T> {
    /// After a panic too, or where the work is dropped, the key must not stay busy for ever.
    fn drop(&mut self) {
        if !self.at_rest {
            self.gatherer.lines.remove(&self.key);
        }
    }
}

/// Waits for the answer to an item.
///
/// # Errors
/// The answer's; [`Code::Internal`] where the work ended without one.
pub async fn answer<T>(answered: oneshot::Receiver<Result<T>>) -> Result<T> {
    answered
        .await
        .unwrap_or_else(|_| Err(Error::new(Code::Internal).caused_by(anyhow::anyhow!("a batch came to nothing"))))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn all(queue: &mut VecDeque<u32>) -> Vec<u32> {
        queue.drain(..).collect()
    }

    fn begun(gatherer: &Arc<Gatherer<u8, u32>>, item: u32) -> Running<u8, u32> {
        let running = gatherer.put(1, item).expect("a place");
        running.expect("the key was at rest")
    }

    #[test]
    fn what_comes_while_a_batch_is_under_way_is_the_next_one() {
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
    fn an_item_too_many_comes_back() {
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
    fn work_that_is_dropped_or_panics_leaves_the_key_at_rest_and_tells_those_who_wait() {
        let gatherer = Gatherer::new(10);
        let put = |answer| gatherer.put(1, answer).expect("a place");
        for panics in [false, true] {
            let (first, second) = (oneshot::channel::<()>(), oneshot::channel());
            let mut running = put(first.0).expect("the key was at rest");
            assert!(put(second.0).is_none());
            let work = std::thread::spawn(move || {
                running.next(VecDeque::pop_front);
                assert!(!panics, "as a fault of the work");
            });
            assert_eq!(work.join().is_err(), panics);
            for (_, mut answered) in [(0, first.1), (1, second.1)] {
                assert_eq!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
            }
            assert!(gatherer.is_at_rest(1));
        }
    }

    #[tokio::test]
    async fn lingering_ends_when_enough_have_come_or_time_is_up() {
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
