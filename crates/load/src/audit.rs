//! Reads the server's own log of the watched channel: it connects, subscribes with recovery from the last known
//! position, and takes the replayed publications. Only this shows a publication that no subscriber received.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::Seat;
use super::cast::Cast;
use super::door::{Door, Position};
use super::swarm::Swarm;
use crate::wire::Codec;

/// Changes between two reads of the log. A server replays a bounded number of publications; beyond it, it does not
/// recover.
const EVERY: u64 = 300;

/// A position in the log, up to which it has been read.
pub(super) struct Audit {
    door: Door,
    token: String,
    at: Mutex<Option<Position>>,
    changes: AtomicU64,
    whole: AtomicBool,
}

impl Audit {
    /// Starts at the position of the first subscriber of the watched channel.
    pub(super) fn new(address: &str, cast: &Cast, seats: &[Seat]) -> Self {
        let watched = |position: &&Position| position.channel == cast.watched;
        let starts = seats.iter().flat_map(|seat| &seat.watches).filter(watched);
        let first = starts.min_by_key(|position| position.offset).cloned();
        Self {
            door: Door {
                address: address.to_owned(),
                codec: Codec::Json,
            },
            token: cast.watcher().to_owned(),
            at: Mutex::new(first),
            changes: AtomicU64::new(0),
            whole: AtomicBool::new(true),
        }
    }

    /// Counts accepted changes and reads the log after every [`EVERY`] of them.
    pub(super) async fn changed(&self, count: u64, swarm: &Swarm) -> anyhow::Result<()> {
        let before = self.changes.fetch_add(count, Ordering::Relaxed);
        if before / EVERY != (before + count) / EVERY {
            self.look(swarm).await?;
        }
        Ok(())
    }

    /// Reads the part of the log that is new.
    pub(super) async fn look(&self, swarm: &Swarm) -> anyhow::Result<()> {
        let mut at = self.at.lock().await;
        // Offset 0: the log was empty at the start, and there is no position to recover from.
        let Some(from) = at.as_mut().filter(|at| at.offset > 0) else {
            return Ok(());
        };
        let opened = match self.door.open(&self.token, std::slice::from_ref(from)).await {
            Ok(opened) => opened,
            // Subscribers are still compared with each other, and the report mentions that the log is missing.
            Err(error) => {
                tracing::warn!("cannot read the server's log: {error:#}");
                self.whole.store(false, Ordering::Relaxed);
                return Ok(());
            }
        };
        let Some(joined) = opened.joined.iter().find(|j| j.position.channel == from.channel) else {
            return Ok(());
        };
        if !joined.recovered {
            self.whole.store(false, Ordering::Relaxed);
        }
        if let Some(last) = joined.replayed.last() {
            from.offset = *last;
        } else if !joined.recovered {
            from.offset = joined.position.offset;
        }
        swarm.know(&from.channel, joined.replayed.clone())
    }

    /// Whether the server replayed everything that was asked for.
    pub(super) fn replayed(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }
}
