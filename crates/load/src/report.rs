//! What came of a run, as text and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Faults;
use super::swarm::{Times, Verdict};
use super::{Changes, Codecs, Mode, Options, process};

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was done.
    pub mode: Mode,
    /// Sockets.
    pub connections: u32,
    /// How they spoke.
    pub codec: Codecs,
    /// How long changes were made and arrived, in seconds.
    pub seconds: f64,
    /// Changes that were sent.
    pub sent: u64,
    /// Changes that the server accepted.
    pub accepted: u64,
    /// Changes that it refused.
    pub refused: u64,
    /// Publications that arrived, at all subscribers together.
    pub deliveries: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// What was missing, twice or out of order, at any subscriber.
    pub faults: Faults,
    /// Accepted changes that nobody was told of.
    pub silent: u64,
    /// Whether the server's own log was there to compare with.
    pub compared_with_log: bool,
    /// Sockets and subscriptions that the server ended.
    pub lost: u64,
    /// Why, the first few.
    pub ends: Vec<String>,
    /// From the commit's change, as the event's `at` says, until it arrived.
    pub from_commit: Option<Quantiles>,
    /// From sending the command until its event arrived.
    pub from_send: Option<Quantiles>,
    /// What the server used, where its process was named.
    pub server: Option<Used>,
}

/// How long it took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of them took at most this.
    pub p50: f64,
    /// 99 in 100.
    pub p99: f64,
    /// 999 in 1,000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Quantiles {
    /// Of nanoseconds; none where nothing was recorded.
    #[must_use]
    pub fn of(times: &Histogram<u64>) -> Option<Self> {
        let ms = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3;
        (!times.is_empty()).then(|| Self {
            p50: ms(times.value_at_quantile(0.5)),
            p99: ms(times.value_at_quantile(0.99)),
            p999: ms(times.value_at_quantile(0.999)),
            max: ms(times.max()),
        })
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999, max } = self;
        write!(
            f,
            "p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, at most {max:.2} ms"
        )
    }
}

/// What a server used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Used {
    /// Processor time of all its threads in seconds.
    pub cpu_seconds: f64,
    /// The same for each delivery, in microseconds; making the changes is in it.
    pub cpu_us_per_delivery: Option<f64>,
    /// Resident memory before most sockets were opened, in bytes.
    pub resident_before: u64,
    /// Resident memory with all sockets at rest.
    pub resident_after: u64,
    /// Memory of a socket: the difference over the sockets opened between.
    pub bytes_per_connection: u64,
}

/// What was seen.
pub(super) struct Seen {
    pub changes: Changes,
    pub silent: u64,
    pub deliveries: u64,
    pub bytes: u64,
    pub lost: u64,
    pub verdict: Verdict,
    pub times: Times,
    pub took: Duration,
    pub replayed: bool,
    pub server: Option<Used>,
}

impl Report {
    pub(super) fn new(options: &Options, seen: Seen) -> Self {
        Self {
            mode: options.mode,
            connections: options.connections,
            codec: options.codec,
            seconds: seen.took.as_secs_f64(),
            sent: seen.changes.sent,
            accepted: seen.changes.accepted,
            refused: seen.changes.refused,
            deliveries: seen.deliveries,
            bytes: seen.bytes,
            faults: seen.verdict.faults,
            silent: seen.silent,
            compared_with_log: seen.replayed,
            lost: seen.lost,
            ends: seen.verdict.ends,
            from_commit: Quantiles::of(&seen.times.from_commit),
            from_send: Quantiles::of(&seen.times.from_send),
            server: seen.server,
        }
    }

    /// Whether every subscriber got everything, once and in order.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.faults.none() && self.silent == 0 && self.lost == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |count: u64| per(count, self.seconds);
        writeln!(
            f,
            "{} sockets, {:?}, {:.1} s",
            self.connections, self.mode, self.seconds
        )?;
        if self.sent > 0 {
            writeln!(
                f,
                "changes: {} accepted ({:.0} a second), {} refused",
                self.accepted,
                per_second(self.accepted),
                self.refused
            )?;
            writeln!(
                f,
                "deliveries: {} ({:.0} a second), {:.1} MiB",
                self.deliveries,
                per_second(self.deliveries),
                per(self.bytes, 1024.0 * 1024.0)
            )?;
        }
        for (name, times) in [("commit", self.from_commit), ("command sent", self.from_send)] {
            if let Some(times) = times {
                writeln!(f, "{name} to receipt: {times}")?;
            }
        }
        if let Some(used) = &self.server {
            write!(f, "server: {:.2} s of processor time", used.cpu_seconds)?;
            if let Some(each) = used.cpu_us_per_delivery {
                write!(f, ", {each:.2} µs a delivery with the changes themselves")?;
            }
            let mib = |bytes: u64| per(bytes, 1024.0 * 1024.0);
            writeln!(
                f,
                "\nserver: {:.1} KiB a socket; {:.1} MiB before, {:.1} MiB with all",
                per(used.bytes_per_connection, 1024.0),
                mib(used.resident_before),
                mib(used.resident_after)
            )?;
        }
        let compared = if self.compared_with_log {
            "each subscriber held against the server's log"
        } else {
            "subscribers held against each other: the server did not replay its log"
        };
        writeln!(f, "order and holes: {}; {compared}", self.faults)?;
        if self.silent > 0 {
            writeln!(f, "changes that nobody was told of: {}", self.silent)?;
        }
        if self.lost > 0 {
            writeln!(f, "sockets lost: {}\n  {}", self.lost, self.ends.join("\n  "))?;
        }
        f.write_str(if self.is_right() { "right" } else { "WRONG" })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn per(count: u64, of: f64) -> f64 {
    if of > 0.0 { count as f64 / of } else { 0.0 }
}

/// The server's processes, looked at now and then.
pub(super) struct Server {
    pids: Vec<u32>,
    resident: Vec<u64>,
    sockets: u64,
}

impl Server {
    pub(super) fn new(pids: &[u32]) -> Self {
        Self {
            pids: pids.to_vec(),
            resident: Vec::new(),
            sockets: 0,
        }
    }

    /// Looks at the memory after a rest, with so many more sockets.
    pub(super) async fn look(&mut self, rest: Duration, sockets: usize) -> anyhow::Result<()> {
        if self.pids.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(rest).await;
        let all = self.pids.iter().map(|pid| process::resident(*pid));
        self.resident.push(all.sum::<anyhow::Result<u64>>()?);
        self.sockets = sockets as u64;
        Ok(())
    }

    /// Processor time used so far.
    pub(super) fn begin(&self) -> anyhow::Result<Duration> {
        self.pids.iter().map(|pid| process::cpu(*pid)).sum()
    }

    pub(super) fn end(&self, begun: Duration, deliveries: u64) -> anyhow::Result<Option<Used>> {
        let (Some(before), Some(after)) = (self.resident.first(), self.resident.last()) else {
            return Ok(None);
        };
        let cpu = self.begin()?.saturating_sub(begun).as_secs_f64();
        Ok(Some(Used {
            cpu_seconds: cpu,
            cpu_us_per_delivery: (deliveries > 0).then(|| cpu * 1e6 / per(deliveries, 1.0)),
            resident_before: *before,
            resident_after: *after,
            bytes_per_connection: after.saturating_sub(*before) / self.sockets.max(1),
        }))
    }
}
