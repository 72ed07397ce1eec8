//! The schedule of faults: a pure function of the seed and the length of the run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    NodeKilled,
    NodePaused,
    RedisKilled,
    RedisFlushed,
    RedisPaused,
    RedisSilent,
    PostgresRestarted,
    PostgresCutOff,
    PostgresSilent,
    SocketCut,
    ClientOffline,
    CommitCancelled,
    TransactionHeld,
}

/// Each kind with the mean time between two of its faults and the range of their durations, in milliseconds.
const KINDS: [(Kind, u64, std::ops::Range<u64>); 13] = [
    (Kind::NodeKilled, 24_000, 100..1500),
    (Kind::NodePaused, 20_000, 300..3000),
    (Kind::RedisKilled, 24_000, 200..2000),
    (Kind::RedisFlushed, 15_000, 0..1),
    (Kind::RedisPaused, 20_000, 300..2500),
    (Kind::RedisSilent, 30_000, 300..6000),
    (Kind::PostgresRestarted, 40_000, 0..1500),
    (Kind::PostgresCutOff, 30_000, 200..2500),
    // Some are longer than the nodes' deadline for Postgres, some shorter.
    (Kind::PostgresSilent, 30_000, 500..8000),
    (Kind::SocketCut, 2500, 0..1),
    (Kind::ClientOffline, 3500, 200..6000),
    (Kind::CommitCancelled, 12_000, 0..1),
    (Kind::TransactionHeld, 12_000, 200..1500),
];

/// One fault: its start, kind and duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Duration,
    pub kind: Kind,
    pub lasts: Duration,
    /// Selects the node, client or variant, modulo their number.
    pub which: usize,
}

/// The faults of a run, in order. Every kind occurs at least twice.
pub fn faults(seed: u64, run: Duration) -> Vec<Fault> {
    let mut rng = StdRng::seed_from_u64(seed);
    let length = u64::try_from(run.as_millis()).expect("a run of sane length");
    let mut all = Vec::new();
    for (kind, every, lasts) in KINDS {
        let count = (length / every).max(2);
        for n in 0..count {
            // One at a random moment of each equal part of the run.
            let part = length * n / count..length * (n + 1) / count;
            all.push(Fault {
                at: Duration::from_millis(rng.random_range(part)),
                kind,
                lasts: Duration::from_millis(rng.random_range(lasts.clone())),
                which: rng.random_range(0..1_000_000),
            });
        }
    }
    all.shuffle(&mut rng);
    all.sort_by_key(|fault| fault.at);
    all
}
