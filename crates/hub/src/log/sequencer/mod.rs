//! One sequencer per log that has sockets here: it puts the log's changes in order, fills holes from Postgres and hands
//! them on, so that subscriptions get contiguous input.
//!
//! Changes come from this node's commits and from the broker, in any order and more than once. The next number goes on;
//! a lower one is dropped; a higher one waits a moment for what is missing and is then read from the log.

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
use crate::log::replay::{Memory, Recalled};
use crate::log::waiting::Waiting;

/// Changes that may wait for the sequencer; over it they are dropped here and read from the log.
const INBOX: usize = 4096;
/// Bytes of them.
const INBOX_BYTES: usize = 4 << 20;
/// Changes that may wait behind a hole for it to close by itself; over it the hole is filled at once.
const WAITING: usize = 1024;
/// Changes that are handed on together at most.
const TOGETHER: usize = 64;
/// Changes read from the log at a time.
const REFILL: u64 = 500;

/// What reaches a sequencer.
enum Input {
    Change(Committed),
    /// The log's head, as the sweep read it.
    Head(Head),
}

/// A log's sequencer, as others see it. Its task ends when the last handle is dropped.
pub struct SequencedLog {
    id: LogId,
    inbox: mpsc::Sender<Input>,
    /// Of the changes in it, together.
    inbox_bytes: AtomicUsize,
    position: Mutex<Option<Head>>,
    memory: Mutex<Memory>,
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
            memory: Mutex::new(Memory::new(bounds)),
            start,
        })
    }

    /// Which log it is.
    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    /// Reads the head and starts the task, once. Whoever subscribes waits for it, so that the sequencer's position is
    /// never above that of a snapshot taken later.
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
            };
            hub.runtime.spawn(task.run(receiver));
        }
        Ok(())
    }

    /// Takes a committed change without waiting.
    pub(crate) fn offer(&self, change: Committed) {
        let size = change.size();
        let full = self.inbox_bytes.fetch_add(size, Ordering::Relaxed) > INBOX_BYTES;
        if full || self.inbox.try_send(Input::Change(change)).is_err() {
            self.inbox_bytes.fetch_sub(size, Ordering::Relaxed);
        }
    }

    /// A change was taken out of the inbox.
    fn taken(&self, change: &Committed) {
        self.inbox_bytes.fetch_sub(change.size(), Ordering::Relaxed);
    }

    /// Takes what the sweep read, without waiting.
    pub(crate) fn compare(&self, head: Head) {
        let same = self.position().is_some_and(|p| p == head);
        if !same {
            // A full inbox gets the next sweep.
            let _ = self.inbox.try_send(Input::Head(head));
        }
    }

    /// Up to where changes were handed on.
    pub fn position(&self) -> Option<Head> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a channel got after a position, where this node remembers it. A subscription has to be registered before: what
    /// comes later is handed to it.
    pub(crate) fn recall(&self, channel: &str, epoch: &str, after: u64, bounds: Bounds) -> Option<Recalled> {
        self.memory().since(channel, epoch, after, bounds)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a change, before it is handed on: what a subscription does not find here comes to it.
    fn remember(&self, change: &Committed) {
        self.memory().push(change);
    }

    /// Goes on at a position, with nothing remembered of before.
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
    /// Up to where changes were handed on.
    head: Head,
    /// The highest number known to exist.
    known: u64,
    /// Changes behind a hole.
    waiting: Waiting,
    /// When to read what is missing.
    fill_at: Option<Instant>,
    failing_since: Option<Instant>,
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
            // The sweep will tell what the log's epoch is now.
            hub.sweep_soon();
            return;
        }
        self.known = self.known.max(change.seq);
        if change.seq > self.head.seq {
            self.waiting.insert(change);
        }
    }

    /// How long the last change may wait for the one that is about to follow it, so that many subscribers get both in one write: not
    /// behind a hole, and not where as many wait as are handed on together.
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
            tracing::warn!(gym.id = %self.log, "the log has a new epoch; all subscriptions start anew");
            self.waiting.clear();
            self.restart_at(hub, head);
            return;
        }
        self.known = self.known.max(head.seq);
        self.hand_on(hub).await;
        self.mind_the_hole(hub);
    }

    /// Everything that is next goes on, together.
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

    /// What still waits is behind a hole.
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

    /// Reads what is missing and goes on.
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
                    tracing::warn!(gym.id = %self.log, "the log no longer holds what is missing");
                    self.restart_at(hub, head);
                    return;
                }
                for change in changes {
                    self.waiting.insert(change);
                }
                // A number that the log does not have yet was dropped with its transaction's node, or never was.
                self.known = self.known.min(head.seq.max(self.head.seq));
                self.hand_on(hub).await;
                if self.head.seq < self.known {
                    self.fill_at = Some(Instant::now());
                }
            }
            Err(failure) => {
                hub.counters.refill_failures.inc();
                let since = *self.failing_since.get_or_insert(began);
                tracing::warn!(gym.id = %self.log, error.cause = ?failure, "cannot read what is missing");
                if since.elapsed() > hub.limits.insufficient_after {
                    self.failing_since = None;
                    lose_all(hub, self.log);
                }
                self.fill_at = Some(Instant::now() + Duration::from_millis(250));
            }
        }
    }

    /// Gives up what is missing: every subscription of the log starts anew from a snapshot.
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
