//! The server's own log of what is watched: a socket that comes, says where the last one was, and gets what it missed. What no
//! subscriber was sent shows only so.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::Seat;
use super::cast::Cast;
use super::door::{Door, Position};
use super::swarm::Swarm;
use crate::wire::Codec;

/// Changes between two looks. A server replays a bounded number and else sends a new snapshot.
const EVERY: u64 = 300;

/// Where the log has been read up to.
pub(super) struct Audit {
    door: Door,
    token: String,
    at: Mutex<Option<Position>>,
    changes: AtomicU64,
    whole: AtomicBool,
}

impl Audit {
    /// From where the first subscriber of what is watched began.
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

    /// Counts changes that were accepted, and looks after enough of them.
    pub(super) async fn changed(&self, count: u64, swarm: &Swarm) -> anyhow::Result<()> {
        let before = self.changes.fetch_add(count, Ordering::Relaxed);
        if before / EVERY != (before + count) / EVERY {
            self.look(swarm).await?;
        }
        Ok(())
    }

    /// Reads what is new in the log.
    pub(super) async fn look(&self, swarm: &Swarm) -> anyhow::Result<()> {
        let mut at = self.at.lock().await;
        // Of a log in which nothing ever was there is nothing to ask for.
        let Some(from) = at.as_mut().filter(|at| at.offset > 0) else {
            return Ok(());
        };
        let opened = match self.door.open(&self.token, std::slice::from_ref(from)).await {
            Ok(opened) => opened,
            // The subscribers are still held against each other, and what they got is to be told.
            Err(error) => {
                tracing::warn!("the server's log cannot be read: {error:#}");
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

    /// Whether the server replayed everything that it was asked for.
    pub(super) fn replayed(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }
}
