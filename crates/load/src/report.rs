//! The result of a run, as text and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Faults;
use super::swarm::{Times, Verdict};
use super::{Changes, Codecs, Mode, Options, process};

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The load that was generated.
    pub mode: Mode,
    /// Sockets that were opened.
    pub connections: u32,
    /// Codec of the sockets.
    pub codec: Codecs,
    /// Seconds in which changes were made and arrived.
    pub seconds: f64,
    /// Changes that were sent.
    pub sent: u64,
    /// Changes that the server accepted.
    pub accepted: u64,
    /// Changes that the server refused.
    pub refused: u64,
    /// Publications that arrived, summed over all subscribers.
    pub deliveries: u64,
    /// Bytes that arrived, summed over all sockets.
    pub bytes: u64,
    /// Missing, repeated and out-of-order publications of all subscribers.
    pub faults: Faults,
    /// Accepted changes that no subscriber received.
    pub silent: u64,
    /// Whether the server's own log could be read for comparison.
    pub compared_with_log: bool,
    /// Sockets and subscriptions that the server closed.
    pub lost: u64,
    /// The reasons of the first few.
    pub ends: Vec<String>,
    /// Latency from the change, by the event's `at`, to its arrival.
    pub from_commit: Option<Quantiles>,
    /// Latency from sending the command to the arrival of its event.
    pub from_send: Option<Quantiles>,
    /// Resources that the server used, if its process was given.
    pub server: Option<Used>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Maximum.
    pub max: f64,
}

impl Quantiles {
    /// Converts from nanoseconds; none if nothing was recorded.
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

/// Resources that a server used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Used {
    /// CPU time of all its threads, in seconds.
    pub cpu_seconds: f64,
    /// CPU time per delivery, in microseconds; includes the cost of making the changes.
    pub cpu_us_per_delivery: Option<f64>,
    /// Resident memory before most sockets were opened, in bytes.
    pub resident_before: u64,
    /// Resident memory with all sockets idle, in bytes.
    pub resident_after: u64,
    /// Memory per socket in bytes: the difference divided by the sockets opened in between.
    pub bytes_per_connection: u64,
}

/// The measurements of a run.
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

    /// Whether every subscriber got every publication exactly once and in order.
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
            write!(f, "server: {:.2} s of CPU time", used.cpu_seconds)?;
            if let Some(each) = used.cpu_us_per_delivery {
                write!(f, ", {each:.2} µs a delivery including the changes themselves")?;
            }
            let mib = |bytes: u64| per(bytes, 1024.0 * 1024.0);
            writeln!(
                f,
                "\nserver: {:.1} KiB a socket; {:.1} MiB before, {:.1} MiB with all sockets",
                per(used.bytes_per_connection, 1024.0),
                mib(used.resident_before),
                mib(used.resident_after)
            )?;
        }
        let compared = if self.compared_with_log {
            "each subscriber compared with the server's log"
        } else {
            "subscribers compared with each other only: the server did not replay its log"
        };
        writeln!(f, "publications: {}; {compared}", self.faults)?;
        if self.silent > 0 {
            writeln!(f, "changes that no subscriber received: {}", self.silent)?;
        }
        if self.lost > 0 {
            writeln!(f, "sockets lost: {}\n  {}", self.lost, self.ends.join("\n  "))?;
        }
        f.write_str(if self.is_right() { "passed" } else { "FAILED" })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn per(count: u64, of: f64) -> f64 {
    if of > 0.0 { count as f64 / of } else { 0.0 }
}

/// The server's processes, and their memory over time.
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

    /// Reads the memory after a pause; `sockets` have been opened since the previous reading.
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

    /// CPU time used so far.
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
