//! A lane: permits for work that callers of many kinds compete for. Callers wait in a line per key, and the lines take
//! turns, so that a key with many callers delays only itself.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::PATIENCE;
use crate::error::{Code, Error, Result};

/// How many callers may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In all lines.
    pub waiting: usize,
    /// In the line of one key.
    pub waiting_per_key: usize,
}

/// Items in a line per key. The lines take turns.
struct Lines<K, T> {
    by_key: HashMap<K, VecDeque<T>>,
    /// Keys with a line, the next one first.
    turns: VecDeque<K>,
    waiting: usize,
    bounds: Bounds,
}

impl<K: Copy + Eq + Hash, T> Lines<K, T> {
    fn new(bounds: Bounds) -> Self {
        Self {
            by_key: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            bounds,
        }
    }

    fn length(&self, key: &K) -> usize {
        self.by_key.get(key).map_or(0, VecDeque::len)
    }

    /// Appends an item to its key's line. If all lines are full together, the last item of the longest line gives way
    /// to an item whose own line stays shorter, and is returned.
    ///
    /// # Errors
    /// The item, if there is no room for it.
    fn push(&mut self, key: K, item: T) -> Result<Option<T>, T> {
        let own = self.length(&key);
        if own >= self.bounds.waiting_per_key {
            return Err(item);
        }
        let mut gone = None;
        if self.waiting >= self.bounds.waiting {
            let longest = self.turns.iter().copied().max_by_key(|key| self.length(key));
            let Some(longest) = longest.filter(|longest| self.length(longest) > own + 1) else {
                return Err(item);
            };
            // The line keeps at least one item, and so its turn.
            gone = self.by_key.get_mut(&longest).and_then(VecDeque::pop_back);
            self.waiting -= usize::from(gone.is_some());
        }
        if own == 0 {
            self.turns.push_back(key);
        }
        self.by_key.entry(key).or_default().push_back(item);
        self.waiting += 1;
        Ok(gone)
    }

    /// Takes the first item of the line whose turn it is.
    fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let line = self.by_key.get_mut(&key)?;
        let item = line.pop_front();
        if line.is_empty() {
            self.by_key.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        self.waiting -= usize::from(item.is_some());
        item
    }

    /// Removes all other items.
    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for line in self.by_key.values_mut() {
            line.retain(&keep);
        }
        self.by_key.retain(|_, line| !line.is_empty());
        self.turns.retain(|key| self.by_key.contains_key(key));
        self.waiting = self.by_key.values().map(VecDeque::len).sum();
    }
}

/// Permits for one kind of work, and the callers that wait for them.
pub struct Lane<K: Copy + Eq + Hash>(Mutex<State<K>>);

struct State<K: Copy + Eq + Hash> {
    free: usize,
    /// Empty while a permit is free.
    waiting: Lines<K, oneshot::Sender<Permit<K>>>,
}

/// The right to work. It passes to the next caller when it is dropped, also if it was sent and nobody received it.
struct Permit<K: Copy + Eq + Hash>(Option<Arc<Lane<K>>>);

impl<K: Copy + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let Some(lane) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = lane.state();
                let Some(next) = state.waiting.pop() else {
                    state.free += 1;
                    return;
                };
                next
            };
            // A caller that has given up sends it back.
            match next.send(Self(Some(lane.clone()))) {
                Ok(()) => return,
                Err(mut back) => back.0 = None,
            }
        }
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> Lane<K> {
    /// A lane with this number of permits, at least one.
    #[must_use]
    pub fn new(permits: usize, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: permits.max(1),
            waiting: Lines::new(bounds),
        })))
    }

    /// Runs `work` on a blocking thread once it is this key's turn.
    ///
    /// # Errors
    /// [`Code::Busy`] with the seconds to wait, if the lane is full or no permit is free within 10 s.
    pub async fn take<T: Send + 'static>(
        self: &Arc<Self>,
        key: K,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = self.permit(key, PATIENCE).await?;
        // The work holds the permit: a client that disconnects must not free it while its work still runs.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|e| Error::new(Code::Internal).caused_by(e))
    }

    async fn permit(self: &Arc<Self>, key: K, patience: Duration) -> Result<Permit<K>> {
        let busy = || Error::new(Code::Busy).with("seconds", PATIENCE.as_secs());
        let turn = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(Some(self.clone())));
            }
            if state.waiting.waiting >= state.waiting.bounds.waiting {
                // Callers that have given up make room.
                state.waiting.retain(|caller| !caller.is_closed());
            }
            let (sender, turn) = oneshot::channel();
            // Whoever gives way learns it from its closed channel.
            drop(state.waiting.push(key, sender).map_err(|_| busy())?);
            turn
        };
        match tokio::time::timeout(patience, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }
}

impl<K: Copy + Eq + Hash> Lane<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        waiting: 12,
        waiting_per_key: 5,
    };

    proptest! {
        /// Random pushes and pops, where a key's items are numbered.
        #[test]
        fn lines_take_turns_within_their_bounds(steps in proptest::collection::vec(proptest::option::of(0..8_u8), 1..200)) {
            let mut lines: Lines<u8, (u8, usize)> = Lines::new(BOUNDS);
            // Which item each key expects next, and how many others were served since it waits.
            let mut served: HashMap<u8, Vec<usize>> = HashMap::new();
            for (number, step) in steps.into_iter().enumerate() {
                let before = lines.waiting;
                if let Some(key) = step {
                    let own = lines.length(&key);
                    let longest = lines.turns.iter().map(|key| lines.length(key)).max().unwrap_or(0);
                    match lines.push(key, (key, number)) {
                        Ok(None) => prop_assert!(before < BOUNDS.waiting && lines.waiting == before + 1),
                        Ok(Some((gone, _))) => {
                            prop_assert!(before == BOUNDS.waiting && gone != key);
                            prop_assert!(longest > own + 1 && lines.length(&gone) + 1 == longest);
                        }
                        Err(_) => prop_assert!(
                            own == BOUNDS.waiting_per_key || (before == BOUNDS.waiting && longest <= own + 1)
                        ),
                    }
                } else if let Some(next) = lines.turns.front().copied() {
                    let (key, number) = lines.pop().expect("an item");
                    prop_assert_eq!(key, next);
                    let earlier = served.entry(key).or_default();
                    prop_assert!(earlier.last().is_none_or(|last| *last < number), "in order within a line");
                    earlier.push(number);
                    // It is the last one's turn now.
                    prop_assert!(lines.length(&key) == 0 || lines.turns.back() == Some(&key));
                } else {
                    prop_assert!(lines.pop().is_none());
                }
                prop_assert!(lines.waiting <= BOUNDS.waiting);
                prop_assert_eq!(lines.waiting, lines.by_key.values().map(VecDeque::len).sum::<usize>());
                prop_assert_eq!(lines.turns.len(), lines.by_key.len());
            }
        }
    }

    #[tokio::test]
    async fn a_caller_waits_for_one_of_each_other_key_and_not_for_a_crowd() {
        let lane = Lane::new(
            1,
            Bounds {
                waiting: 100,
                waiting_per_key: 50,
            },
        );
        let (order, held) = (
            Arc::new(Mutex::new(Vec::new())),
            lane.permit(0, PATIENCE).await.expect("free"),
        );
        let work = |key: u8| {
            let (lane, order) = (lane.clone(), order.clone());
            tokio::spawn(async move { lane.take(key, move || order.lock().expect("whole").push(key)).await })
        };
        let mut all = Vec::new();
        for key in [vec![1; 40], vec![2, 2, 3]].concat() {
            all.push(work(key));
            // So that they wait in this order.
            tokio::task::yield_now().await;
        }
        drop(held);
        for done in join_all(all).await {
            done.expect("joined").expect("a permit");
        }
        let order = order.lock().expect("whole");
        assert_eq!(order[..6], [1, 2, 3, 1, 2, 1]);
        assert_eq!(order.len(), 43);
    }

    #[tokio::test]
    async fn a_full_lane_refuses_at_once_and_a_slow_one_within_its_patience() {
        let lane = Lane::new(
            1,
            Bounds {
                waiting: 2,
                waiting_per_key: 1,
            },
        );
        let held = lane.permit(0, PATIENCE).await.expect("free");
        let waiting = [1, 2].map(|key| {
            let lane = lane.clone();
            tokio::spawn(async move { lane.permit(key, Duration::from_millis(300)).await.map(drop) })
        });
        tokio::task::yield_now().await;
        for key in [1, 3] {
            let refused = lane.permit(key, PATIENCE).await.map(drop).expect_err("full");
            assert_eq!(refused.code, Code::Busy);
        }
        for refused in join_all(waiting).await {
            assert_eq!(refused.expect("joined").expect_err("late").code, Code::Busy);
        }
        // Those that gave up hold neither a permit nor a place.
        drop(held);
        assert!(lane.permit(4, PATIENCE).await.is_ok());
        assert_eq!(lane.state().waiting.waiting, 0);
    }

    #[tokio::test]
    async fn a_permit_that_was_sent_to_a_caller_that_left_passes_on() {
        let lane = Lane::new(1, BOUNDS);
        let held = lane.permit(0, PATIENCE).await.expect("free");
        let mut left = Box::pin(lane.permit(1, PATIENCE));
        let mut stays = Box::pin(lane.permit(2, PATIENCE));
        assert!(futures_util::poll!(&mut left).is_pending());
        assert!(futures_util::poll!(&mut stays).is_pending());
        // The permit is in the channel of the first caller, which then leaves.
        drop(held);
        drop(left);
        let permit = tokio::time::timeout(Duration::from_secs(1), stays)
            .await
            .expect("passed on");
        drop(permit.expect("a permit"));
        assert_eq!(lane.state().free, 1);
    }
}
