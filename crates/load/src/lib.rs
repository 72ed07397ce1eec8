//! Loads a running server with many real sockets and measures the cost and the latency of a delivery. It verifies that
//! every subscriber got every publication exactly once and in order. It uses only the server's public interface and
//! takes the protocol's messages from the server's code (`wire`). The program is `liveplan-load`.
//!
//! [`run`] does what [`Options`] ask for. [`door`] opens sockets, [`stream`] parses their bytes, [`swarm`] reads them
//! and [`ledger`] verifies them. `cast` signs accounts in, `edits` and [`ticks`] make changes, `audit` reads the
//! server's log, [`process`] reads a process's CPU time and memory, and [`report`] prints the result. The benchmarks
//! are built from the same parts.

mod answers;
mod audit;
mod cast;
pub mod door;
mod edits;
pub mod ledger;
pub mod process;
mod progress;
pub mod report;
pub mod stream;
pub mod swarm;
pub mod ticks;
mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, TryStreamExt as _, stream as streams};
use serde::Serialize;
use tokio::time::Instant;

use crate::wire::Codec;
use audit::Audit;
use cast::Cast;
use door::{Door, Position};
use progress::Progress;
use report::{Report, Server};
use swarm::{Swarm, Verdict};

/// The password of every account of the demo gym.
const DEMO_PASSWORD: &str = "demo";
/// Sockets being opened at the same time.
const AT_ONCE: usize = 64;
/// Sockets opened before the first memory reading, so that one-time allocations do not count as memory of a socket.
const WARM: usize = 100;
/// Pause before a memory reading, in which the server frees what it can.
const REST: Duration = Duration::from_secs(1);
/// How long the last committed changes may take to arrive.
const SETTLE: Duration = Duration::from_secs(10);
/// Files that the process needs besides its sockets.
const OTHER_FILES: u64 = 256;

/// The accounts' password: every account of the machine can read flags, so it comes from the environment.
fn password() -> String {
    std::env::var("LIVEPLAN_PASSWORD").unwrap_or_else(|_| DEMO_PASSWORD.to_owned())
}

/// The load to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Edit one meal of a plan repeatedly; all sockets subscribe to the plan.
    Fanout,
    /// Members tick meals over their own sockets; the other sockets subscribe to their trainer's roster.
    Ticks,
    /// Make no changes: measure the memory of idle sockets.
    Idle,
}

/// The codec of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codecs {
    /// JSON in text frames.
    Json,
    /// Protobuf in binary frames.
    Protobuf,
    /// JSON and Protobuf in turn.
    Both,
}

impl Codecs {
    const fn of(self, socket: usize) -> Codec {
        match self {
            Self::Json => Codec::Json,
            Self::Both if socket.is_multiple_of(2) => Codec::Json,
            Self::Both | Self::Protobuf => Codec::Protobuf,
        }
    }
}

/// The load to generate, where and for how long.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The load to generate. Few accounts make it, so start the server with `BUDGET_WRITES_PER_MINUTE=0`,
    /// `BUDGET_COMMANDS_PER_MINUTE=0` and `BUDGET_CHANGES_OF_A_MEAL=0`, or it refuses them after a while.
    #[arg(value_enum, default_value = "fanout")]
    pub mode: Mode,
    /// Sockets to open, authenticated and subscribed. For more than 250 on the demo gym, start the server with a higher
    /// `LIVE_SOCKETS_PER_ACCOUNT`, or it closes the oldest sockets of an account; for more than 5,000 also with a
    /// higher `LIVE_SOCKETS_PER_ADDRESS` and `LIVE_SOCKETS_PER_GYM`.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub connections: u32,
    /// Seconds to run, once all sockets are open.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Changes per second. Without it, each burst is sent once every subscriber has the previous one.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,
    /// Changes per burst: edits are sent one right after the other, ticks at the same moment (at most one per member).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub burst: u32,
    /// Codec of the sockets.
    #[arg(long, value_enum, default_value = "json")]
    pub codec: Codecs,
    /// URL of the server, without TLS. Repeat it for several nodes: sockets are spread over them, changes go to the
    /// first.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: Vec<String>,
    /// Allow load on a server that is not this machine: its host as in `--url`. Latencies since the commit are then
    /// only as accurate as the two clocks.
    #[arg(long, value_name = "HOST")]
    pub allow_remote: Vec<String>,
    /// Accounts to use instead of the demo gym's; repeat it. Staff accounts edit and watch, member accounts tick. Their
    /// password is in the variable LIVEPLAN_PASSWORD, and never a flag.
    #[arg(long)]
    pub email: Vec<String>,
    /// Password of the accounts.
    #[arg(skip = password())]
    pub password: String,
    /// Plan to edit and watch; by default the one that the first member follows today.
    #[arg(long)]
    pub plan: Option<String>,
    /// Process id of the server on this machine, to measure its CPU time and memory; repeat it for several nodes.
    #[arg(long)]
    pub pid: Vec<u32>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The changes of a run and their outcomes.
#[derive(Default)]
struct Changes {
    sent: u64,
    accepted: u64,
    refused: u64,
    /// How many publications each channel must show.
    shows: HashMap<String, u64>,
}

impl Changes {
    /// Counts an accepted change that must be published on these channels.
    fn accept(&mut self, channels: &[&str]) {
        self.accepted += 1;
        for channel in channels {
            *self.shows.entry((*channel).to_owned()).or_default() += 1;
        }
    }
}

/// Generates the load.
///
/// # Errors
/// The server cannot be reached or refuses, or it is not on this machine and was not allowed.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let addresses = options
        .url
        .iter()
        .map(|url| address(url, &options.allow_remote))
        .collect::<anyhow::Result<Vec<_>>>()?;
    process::allow_files(u64::from(options.connections) + OTHER_FILES)?;
    let cast = Cast::sign_in(options).await?;
    let mut swarm = Swarm::start()?;
    let progress = Progress::start(options, &swarm);
    let (sockets, server) = open(options, &addresses, &cast, &swarm).await?;
    let audit = Audit::new(&addresses[0], &cast, &sockets);

    let measure = Instant::now();
    let before = server.begin()?;
    progress.runs_for(Duration::from_secs(options.seconds));
    let until = measure + Duration::from_secs(options.seconds);
    let (first, bytes) = (swarm.deliveries(), swarm.bytes());
    let _ = swarm.times().await?;
    let changes = match options.mode {
        Mode::Fanout => edits::run(options, &cast, &swarm, &audit, until).await?,
        Mode::Ticks => ticks::run(options, &cast, &mut swarm, &sockets, &audit, until).await?,
        Mode::Idle => {
            rest(&swarm, until).await;
            Changes::default()
        }
    };
    let verdict = settle(&swarm, &changes, &audit).await?;
    let took = measure.elapsed();
    let deliveries = swarm.deliveries() - first;
    let server = server.end(before, deliveries)?;
    progress.end();
    let times = swarm.times().await?;
    Ok(Report::new(
        options,
        report::Seen {
            silent: silent(&changes, &verdict),
            changes,
            deliveries,
            bytes: swarm.bytes() - bytes,
            lost: swarm.lost(),
            verdict,
            times,
            took,
            replayed: audit.replayed(),
            server,
        },
    ))
}

/// Sleeps until the given time, or until a socket is lost.
async fn rest(swarm: &Swarm, until: Instant) {
    while Instant::now() < until && swarm.lost() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A socket of the swarm.
struct Seat {
    key: usize,
    codec: Codec,
    /// Its owner: an index into the cast.
    person: usize,
    /// The channels that it is subscribed to.
    watches: Vec<Position>,
}

/// Opens all sockets; reads the server's memory after the first few and again after all.
async fn open(
    options: &Options,
    addresses: &[String],
    cast: &Cast,
    swarm: &Swarm,
) -> anyhow::Result<(Vec<Seat>, Server)> {
    let count = usize::try_from(options.connections)?;
    let warm = WARM.min(count / 10);
    let seat = async |number: usize| {
        let (person, channels) = cast.place(options.mode, number);
        let codec = options.codec.of(number);
        let address = addresses[number % addresses.len()].clone();
        let opened = Door { address, codec }.open(cast.token(person), &channels).await?;
        let watches = opened.joined.iter().map(|j| j.position.clone()).collect();
        let key = swarm.join(opened)?;
        anyhow::Ok(Seat {
            key,
            codec,
            person,
            watches,
        })
    };
    let open = |numbers: std::ops::Range<usize>| streams::iter(numbers).map(&seat).buffered(AT_ONCE).try_collect();
    let mut seats: Vec<Seat> = open(0..warm).await?;
    let mut server = Server::new(&options.pid);
    server.look(REST, 0).await?;
    let rest: Vec<Seat> = open(warm..count).await?;
    seats.extend(rest);
    server.look(REST, count - warm).await?;
    Ok((seats, server))
}

/// Waits until every subscriber has all committed changes, then compares them with each other and with the server's
/// log.
async fn settle(swarm: &Swarm, changes: &Changes, audit: &Audit) -> anyhow::Result<Verdict> {
    let until = Instant::now() + SETTLE;
    audit.look(swarm).await?;
    loop {
        let verdict = swarm.judge().await?;
        let whole = verdict.faults.missing == 0 && silent(changes, &verdict) == 0;
        if whole || Instant::now() >= until {
            return Ok(verdict);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Accepted changes that no subscriber of their channel received.
fn silent(changes: &Changes, verdict: &Verdict) -> u64 {
    let told = |channel: &str| verdict.publications.get(channel).copied().unwrap_or_default();
    changes
        .shows
        .iter()
        .map(|(channel, accepted)| accepted.saturating_sub(told(channel)))
        .sum()
}

/// Host and port of a server that may be loaded: this machine, or a host that was allowed.
fn address(url: &str, allowed: &[String]) -> anyhow::Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url}: only http:// is supported; bypass the proxy that terminates TLS");
    };
    let authority = rest.trim_end_matches('/');
    let (host, address) = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, authority.to_owned()),
        _ => (authority, format!("{authority}:80")),
    };
    let here = |ip: IpAddr| ip.is_loopback();
    let found = address
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {address}"))?;
    if found.into_iter().all(|found| here(found.ip())) || allowed.iter().any(|a| a == host) {
        Ok(address)
    } else {
        bail!("{host} is not this machine; to load it anyway, pass --allow-remote {host}")
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_this_machine_may_be_loaded_unless_another_host_is_allowed() {
        assert_eq!(
            address("http://127.0.0.1:8080/", &[]).expect("this machine"),
            "127.0.0.1:8080"
        );
        assert_eq!(address("http://[::1]:80", &[]).expect("this machine"), "[::1]:80");
        let refused = address("http://192.0.2.7:8080", &[]).expect_err("elsewhere");
        assert!(refused.to_string().contains("--allow-remote 192.0.2.7"), "{refused}");
        assert!(address("http://192.0.2.7:8080", &["192.0.2.8".into()]).is_err());
        let named = address("http://192.0.2.7:8080", &["192.0.2.7".into()]);
        assert_eq!(named.expect("it was allowed"), "192.0.2.7:8080");
        assert!(address("https://127.0.0.1", &[]).is_err());
    }
}
