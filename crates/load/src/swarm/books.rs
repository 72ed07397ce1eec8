//! The ledgers of channels, and the counts and latencies of deliveries.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::super::ledger::{Cursor, Ledger};
use super::super::stream;
use super::{Answered, Shared, Times};

pub(super) struct Channel {
    pub(super) name: String,
    pub(super) ledger: Ledger,
    /// Send times of commands whose events have not arrived yet, oldest first.
    pub(super) sent: VecDeque<u64>,
}

/// The ledgers of all channels, and the measurements.
pub(super) struct Books {
    pub(super) shared: Arc<Shared>,
    pub(super) answer: mpsc::Sender<Answered>,
    pub(super) names: HashMap<String, usize>,
    pub(super) channels: Vec<Channel>,
    pub(super) times: Times,
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
}

impl Books {
    pub(super) fn channel(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.channels.len();
        self.names.insert(name.to_owned(), at);
        self.channels.push(Channel {
            name: name.to_owned(),
            ledger: Ledger::default(),
            sent: VecDeque::new(),
        });
        at
    }

    pub(super) fn of(&mut self, name: &str) -> &mut Channel {
        let at = self.channel(name);
        &mut self.channels[at]
    }

    /// Records a publication. One without an offset is not stored in the log, so nobody is owed it.
    pub(super) fn delivered(&mut self, of: &mut [(usize, Cursor)], channel: &[u8], offset: u64, data: &[u8], now: u64) {
        let channels = &mut self.channels;
        let found = of.iter_mut().find(|(at, _)| channels[*at].name.as_bytes() == channel);
        let Some((at, cursor)) = found.filter(|_| offset > 0) else {
            return;
        };
        let Channel { ledger, sent, .. } = &mut channels[*at];
        let new = || {
            (
                stream::begun(data).unwrap_or_default(),
                sent.pop_front().unwrap_or_default(),
            )
        };
        if let Some(entry) = ledger.take(cursor, offset, new) {
            let Times { from_commit, from_send } = &mut self.times;
            for (since, histogram) in [(entry.at, from_commit), (entry.sent, from_send)] {
                if since > 0 {
                    histogram.saturating_record(now.saturating_sub(since));
                }
            }
        }
        self.deliveries += 1;
    }

    /// Publishes the counts to other threads.
    pub(super) fn show(&self) {
        self.shared.bytes.store(self.bytes, Ordering::Relaxed);
        self.shared.deliveries.store(self.deliveries, Ordering::SeqCst);
        if self.deliveries >= self.shared.wanted.load(Ordering::SeqCst) {
            self.shared.reached.notify_one();
        }
    }
}
