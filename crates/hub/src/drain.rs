//! Drain: how a node's sockets end at shutdown. They close in small batches at random moments, so that clients do not
//! all reconnect at once, and each closes after its accepted commands are answered. Users who were online are recorded
//! as last seen.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use tokio::time::Instant;

use crate::Hub;
use crate::backend::Backend;
use crate::cluster::presence;
use crate::protocol::close::Close;

/// Interval between two batches of closes.
const EVERY: Duration = Duration::from_millis(50);
/// How long accepted commands may still run.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// Poll interval while waiting for sockets or commands to end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Hub {
    /// Closes every socket, spread over `over`, and waits until their commands are answered. New sockets are refused
    /// from now on.
    pub async fn drain(&self, over: Duration) {
        self.draining.store(true, Ordering::Release);
        // Sockets that have not finished `connect` go first: another node serves them as well.
        self.door.send_away(Close::Shutdown);
        let mut connections = self.connections.all();
        connections.shuffle(&mut rand::rng());
        let begin = Instant::now();
        let turns = usize::try_from(over.as_millis() / EVERY.as_millis())
            .unwrap_or(1)
            .max(1);
        let batches: Vec<_> = connections.chunks(connections.len().div_ceil(turns).max(1)).collect();
        let each = over.div_f64(f64::from(u32::try_from(batches.len().max(1)).unwrap_or(u32::MAX)));
        let mut due = begin;
        for batch in batches {
            tokio::time::sleep_until(due + each.mul_f64(rand::random_range(0.0..1.0))).await;
            due += each;
            for connection in batch {
                connection.close_when_done(Close::Shutdown);
            }
        }
        let all_left = || {
            let left = self.connections.all();
            // Includes sockets whose `connect` was under way when the drain began.
            for connection in &left {
                connection.close_when_done(Close::Shutdown);
            }
            left.is_empty()
        };
        if !self.comes_so(FINISH_WITHIN, all_left).await {
            for connection in self.connections.all() {
                connection.close(Close::Shutdown);
            }
        }
    }

    /// Records every user who was online here as last seen now, after the drain has closed the sockets.
    pub async fn record_last_seen(&self, backend: &dyn Backend) {
        presence::settle(&self.0, backend).await;
    }

    /// Waits at most `within` until clients have read the close frames and their sockets are gone.
    pub async fn sockets_gone(&self, within: Duration) {
        self.comes_so(within, || self.door.counts().0 == 0).await;
    }

    /// True once sockets are being closed for shutdown; new ones are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    async fn comes_so(&self, within: Duration, so: impl Fn() -> bool) -> bool {
        let until = Instant::now() + within;
        while !so() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }
}
