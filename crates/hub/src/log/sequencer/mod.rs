//! One sequencer per log that has sockets on this node. It puts the log's changes in order, fills holes from Postgres,
//! and delivers the changes, so that subscriptions get contiguous input.
//!
//! Changes arrive from this node's commits and from the broker, in any order and possibly repeated. The sequencer
//! delivers the next number and drops lower ones. A higher number waits briefly for the missing ones, which are then
//! read from the log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::HubInner;
use crate::backend::{Backend, Failure, Kind};
use crate::fanout::delivery::{deliver, doubt_access, lose_all};
use crate::ids::LogId;
use crate::limits::{LiveLimits, Recovery};
use crate::log::change::{Bounds, Committed, Head, LoggedEvent};
use crate::log::replay::{Recalled, ReplayBuffer};
use crate::log::waiting::{self, Waiting};

/// Capacity of the inbox in changes. Further changes are dropped, and later read from the log.
const INBOX: usize = 4096;
/// Capacity of the inbox in bytes of changes.
const INBOX_BYTES: usize = 4 << 20;
/// Changes that may wait behind a hole. Over it, the sequencer reads the log at once instead of waiting for late
/// messages.
const WAITING: usize = 1024;
/// Largest number of changes delivered together.
const TOGETHER: usize = 64;
/// Changes per read of the log.
const REFILL: u64 = 500;
/// How far above the position a change of another node is believed. One farther ahead only causes a read of the log, which
/// says how far it really goes.
const BELIEVED: u64 = waiting::CHANGES as u64;
/// Interval between two sweeps because of changes with another epoch: old messages may be sent again.
const DOUBT_EVERY: Duration = Duration::from_millis(250);

/// An input of a sequencer.
enum Input {
    Change(Committed),
    /// The log's head, as read by the sweep.
    Head(Head),
}

/// A handle to a log's sequencer. Its task ends when the last handle is dropped.
pub struct SequencedLog {
    id: LogId,
    inbox: mpsc::Sender<Input>,
    /// Bytes of the changes in the inbox.
    inbox_bytes: AtomicUsize,
    position: Mutex<Option<Head>>,
    memory: Mutex<ReplayBuffer>,
    start: tokio::sync::Mutex<Option<mpsc::Receiver<Input>>>,
}

impl SequencedLog {
    pub(crate) fn new(id: LogId, bounds: &Recovery) -> Arc<Self> {
        let (inbox, receiver) = mpsc::channel(INBOX);
        let start = tokio::sync::Mutex::new(Some(receiver));
        Arc::new(Self {
            id,
            inbox,
            inbox_bytes: AtomicUsize::new(0),
            position: Mutex::default(),
            memory: Mutex::new(ReplayBuffer::new(bounds)),
            start,
        })
    }

    /// The sequencer's log.
    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    /// Reads the head and starts the task, once. Every subscriber waits for this first, so that the sequencer's
    /// position is never above that of a snapshot read later.
    pub(crate) async fn ensure_started(
        self: &Arc<Self>,
        hub: &Arc<HubInner>,
        backend: &Arc<dyn Backend>,
    ) -> Result<(), Failure> {
        let mut start = self.start.lock().await;
        if start.is_none() {
            return Ok(());
        }
        let head = backend.heads(&[self.id]).await?.remove(&self.id);
        let head = head.ok_or_else(|| backend.failure(Kind::NotFound))?;
        self.restart(&head);
        if let Some(receiver) = start.take() {
            let task = Sequencer {
                hub: Arc::downgrade(hub),
                backend: Arc::downgrade(backend),
                handle: Arc::downgrade(self),
                log: self.id,
                head: head.clone(),
                known: head.seq,
                waiting: Waiting::default(),
                fill_at: None,
                failing_since: None,
                doubted: None,
            };
            hub.runtime.spawn(task.run(receiver));
        }
        Ok(())
    }

    /// Takes a committed change without waiting; drops it if the inbox is full.
    pub(crate) fn offer(&self, change: Committed) {
        let size = change.size();
        let full = self.inbox_bytes.fetch_add(size, Ordering::Relaxed) > INBOX_BYTES;
        if full || self.inbox.try_send(Input::Change(change)).is_err() {
            self.inbox_bytes.fetch_sub(size, Ordering::Relaxed);
        }
    }

    /// Subtracts a change that the task has taken out of the inbox.
    fn taken(&self, change: &Committed) {
        self.inbox_bytes.fetch_sub(change.size(), Ordering::Relaxed);
    }

    /// Takes a head that the sweep has read, without waiting.
    pub(crate) fn compare(&self, head: Head) {
        let same = self.position().is_some_and(|p| p == head);
        if !same {
            // If the inbox is full, the next sweep tries again.
            let _ = self.inbox.try_send(Input::Head(head));
        }
    }

    /// The position up to which changes were delivered.
    pub fn position(&self) -> Option<Head> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a channel's publications after a position, if the replay buffer reaches back to it. The caller must have
    /// registered its subscription before, which then gets all later publications.
    pub(crate) fn recall(&self, channel: &str, epoch: &str, after: u64, bounds: Bounds) -> Option<Recalled> {
        self.memory().since(channel, epoch, after, bounds)
    }

    fn memory(&self) -> MutexGuard<'_, ReplayBuffer> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change to the replay buffer, before it is delivered: a subscriber that misses it in the buffer gets it by
    /// delivery.
    fn remember(&self, change: &Committed) {
        self.memory().push(change);
    }

    /// Continues at a position with an empty replay buffer.
    fn restart(&self, head: &Head) {
        self.memory().restart(head);
        self.set_position(head.clone());
    }

    fn set_position(&self, head: Head) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }
}

/// The task's state.
struct Sequencer {
    hub: Weak<HubInner>,
    backend: Weak<dyn Backend>,
    handle: Weak<SequencedLog>,
    log: LogId,
    /// Position up to which changes were delivered.
    head: Head,
    /// The highest number known to exist.
    known: u64,
    /// Changes behind a hole.
    waiting: Waiting,
    /// When to read the missing changes.
    fill_at: Option<Instant>,
    failing_since: Option<Instant>,
    /// When a change with another epoch last caused a sweep.
    doubted: Option<Instant>,
}

impl Sequencer {
    async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let mut inputs = Vec::new();
        loop {
            let fill_at = self.fill_at;
            let came = tokio::select! {
                came = inbox.recv_many(&mut inputs, TOGETHER) => came,
                () = async { tokio::time::sleep_until(fill_at.unwrap_or_else(Instant::now)).await }, if fill_at.is_some() => {
                    let Some(hub) = self.hub.upgrade() else { return };
                    self.fill(&hub).await;
                    continue;
                }
            };
            let Some(hub) = self.hub.upgrade().filter(|_| came > 0) else {
                return;
            };
            let began = Instant::now();
            loop {
                for input in inputs.drain(..) {
                    match input {
                        Input::Change(change) => {
                            if let Some(log) = self.handle.upgrade() {
                                log.taken(&change);
                            }
                            self.take(&hub, change);
                        }
                        Input::Head(head) => self.notice(&hub, head).await,
                    }
                }
                let Some(wait) = self.waits_for_more(&hub) else { break };
                let more = inbox.recv_many(&mut inputs, TOGETHER);
                if !matches!(tokio::time::timeout_at(began + wait, more).await, Ok(1..)) {
                    break;
                }
            }
            self.hand_on(&hub).await;
            self.mind_the_hole(&hub);
        }
    }

    fn take(&mut self, hub: &Arc<HubInner>, change: Committed) {
        if change.epoch != self.head.epoch {
            // The sweep reads the log's current epoch.
            let now = Instant::now();
            if self.doubted.is_none_or(|at| now.duration_since(at) >= DOUBT_EVERY) {
                self.doubted = Some(now);
                hub.sweep_soon();
            }
            return;
        }
        let believed = self.head.seq.saturating_add(BELIEVED);
        self.known = self.known.max(change.seq.min(believed));
        if change.seq > self.head.seq && change.seq <= believed {
            self.waiting.insert(change);
        }
    }

    /// Returns how long the last change may wait for another that is about to follow it, so that the many subscribers
    /// of a wide channel get both in one write. `None` behind a hole, or once as many changes wait as are delivered
    /// together.
    fn waits_for_more(&self, hub: &HubInner) -> Option<Duration> {
        let next = self.waiting.first()?;
        if next > self.head.seq + 1 || self.waiting.len() >= TOGETHER {
            return None;
        }
        let change = self.waiting.last().filter(|change| change.more_soon)?;
        let width = |event: &LoggedEvent| hub.registry.width(self.log, &event.channel);
        let widest = change.events.iter().map(width).max()?;
        let each = u32::try_from(widest).unwrap_or(u32::MAX);
        let LiveLimits {
            wide,
            wide_wait,
            widest_wait,
            ..
        } = hub.limits;
        (widest >= wide).then(|| wide_wait.saturating_mul(each).min(widest_wait))
    }

    async fn notice(&mut self, hub: &Arc<HubInner>, head: Head) {
        if head.epoch != self.head.epoch {
            tracing::warn!(gym.id = %self.log, "the log has a new epoch; its subscriptions start again");
            self.waiting.clear();
            self.restart_at(hub, head);
            return;
        }
        self.known = self.known.max(head.seq);
        self.hand_on(hub).await;
        self.mind_the_hole(hub);
    }

    /// Delivers all contiguous changes after the position together.
    async fn hand_on(&mut self, hub: &Arc<HubInner>) {
        let log = self.handle.upgrade();
        let mut next = Vec::new();
        while let Some(change) = self.waiting.take(self.head.seq + 1) {
            self.head.seq = change.seq;
            doubt_access(hub, self.log, &change);
            if let Some(log) = &log {
                log.remember(&change);
            }
            next.push(change);
        }
        deliver(hub, self.log, next).await;
        if let Some(log) = log {
            log.set_position(self.head.clone());
        }
    }

    /// Schedules a read of the log if changes still wait behind a hole.
    fn mind_the_hole(&mut self, hub: &HubInner) {
        self.waiting.forget_farthest();
        if self.head.seq >= self.known {
            self.fill_at = None;
        } else if self.waiting.len() > WAITING && self.failing_since.is_none() {
            self.fill_at = Some(Instant::now());
        } else if self.fill_at.is_none() {
            hub.counters.hole_waits.inc();
            self.fill_at = Some(Instant::now() + hub.limits.hole_wait);
        }
    }

    /// Reads the missing changes and delivers them.
    async fn fill(&mut self, hub: &Arc<HubInner>) {
        hub.counters.refills.inc();
        self.fill_at = None;
        let Some(backend) = self.backend.upgrade() else {
            return;
        };
        let began = Instant::now();
        match backend.since(self.log, self.head.seq, REFILL).await {
            Ok((changes, head)) => {
                self.failing_since = None;
                if head.epoch != self.head.epoch {
                    self.notice(hub, head).await;
                    return;
                }
                self.known = self.known.max(head.seq);
                let reached = changes.first().is_none_or(|c| c.seq == self.head.seq + 1);
                if !reached || (changes.is_empty() && head.seq > self.head.seq) {
                    tracing::warn!(gym.id = %self.log, "the log no longer holds the missing changes");
                    self.restart_at(hub, head);
                    return;
                }
                for change in changes {
                    self.waiting.insert(change);
                }
                // A known number above the log's head is not in the log, so the sequencer stops waiting for it.
                self.known = self.known.min(head.seq.max(self.head.seq));
                self.hand_on(hub).await;
                if self.head.seq < self.known {
                    self.fill_at = Some(Instant::now());
                }
            }
            Err(failure) => {
                hub.counters.refill_failures.inc();
                let since = *self.failing_since.get_or_insert(began);
                tracing::warn!(gym.id = %self.log, error.cause = ?failure, "cannot read the missing changes");
                if since.elapsed() > hub.limits.insufficient_after {
                    self.failing_since = None;
                    lose_all(hub, self.log);
                }
                self.fill_at = Some(Instant::now() + Duration::from_millis(250));
            }
        }
    }

    /// Gives up on the missing changes: every subscription of the log starts again from a snapshot.
    fn restart_at(&mut self, hub: &Arc<HubInner>, head: Head) {
        self.known = head.seq;
        self.head = head;
        self.fill_at = None;
        self.waiting.forget_before(self.head.seq + 1);
        if let Some(log) = self.handle.upgrade() {
            log.restart(&self.head);
        }
        lose_all(hub, self.log);
    }
}

#[cfg(test)]
mod tests;
