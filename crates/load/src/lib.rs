//! Many real sockets at a running server: what a delivery costs, how long it takes, and whether every subscriber got
//! everything once and in order. It knows the server only through its public interface, whose messages it takes from the
//! server's code (`wire`). `liveplan-load` is its program.
//!
//! [`run`] does what [`Options`] say. [`door`] opens sockets, [`swarm`] reads them, [`ledger`] checks them, [`stream`] reads
//! bytes; `cast` signs people in, `edits` and [`ticks`] make changes, `audit` asks the server for its log, [`report`] says what
//! came of it. [`process`] reads what a process costs. The benchmarks are built from the same parts.

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

/// Everybody's password in the demo gym.
const DEMO_PASSWORD: &str = "demo";
/// Sockets that are opened at the same time.
const AT_ONCE: usize = 64;
/// Sockets that a server has before its memory is first looked at: what the first ones allocate once is not a socket's.
const WARM: usize = 100;
/// How long memory takes to come to rest.
const REST: Duration = Duration::from_secs(1);
/// How long what was committed may take to arrive, at the end.
const SETTLE: Duration = Duration::from_secs(10);
/// Files that the process needs besides sockets.
const OTHER_FILES: u64 = 256;

/// What is done with the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A meal of one plan is edited again and again; all sockets watch the plan.
    Fanout,
    /// Members tick meals over their sockets; the other sockets watch their trainer's roster.
    Ticks,
    /// Nothing: what sockets weigh.
    Idle,
}

/// How sockets speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codecs {
    /// JSON in text frames.
    Json,
    /// Protobuf in binary frames.
    Protobuf,
    /// Every other socket the one and the other.
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

/// What is done, where, and for how long.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What is done with the sockets.
    #[arg(value_enum, default_value = "fanout")]
    pub mode: Mode,
    /// Sockets to open, authenticated and subscribed. For more than 250 at the demo gym start the server with a higher
    /// `LIVE_SOCKETS_PER_ACCOUNT`, or it closes an account's oldest sockets; for more than 5,000 also with a higher
    /// `LIVE_SOCKETS_PER_ADDRESS` and `LIVE_SOCKETS_PER_GYM`.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub connections: u32,
    /// Seconds to go on for, once all sockets are open.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Changes a second. Without it each burst is sent when everybody has got the one before it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,
    /// Changes that are sent one right after the other (edits), or at the same moment (ticks, at most one a member).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub burst: u32,
    /// How sockets speak.
    #[arg(long, value_enum, default_value = "json")]
    pub codec: Codecs,
    /// The server, without TLS; given several times, sockets are spread over these nodes and changes go to the first.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: Vec<String>,
    /// Allow load on a server that is not this machine: the host as `--url` names it. Times since a commit are then only as
    /// true as both clocks.
    #[arg(long, value_name = "HOST")]
    pub allow_remote: Vec<String>,
    /// Accounts to use in place of the demo gym's; given several times. Staff edit and watch, members tick.
    #[arg(long)]
    pub email: Vec<String>,
    /// The accounts' password.
    #[arg(long, env = "LIVEPLAN_PASSWORD", default_value = DEMO_PASSWORD, hide_env_values = true)]
    pub password: String,
    /// The plan to edit and watch; by default the one that the first member follows today.
    #[arg(long)]
    pub plan: Option<String>,
    /// The server's process on this machine, for its processor time and memory; given several times for several nodes.
    #[arg(long)]
    pub pid: Vec<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What changes came to.
#[derive(Default)]
struct Changes {
    sent: u64,
    accepted: u64,
    refused: u64,
    /// How many must show on a channel.
    shows: HashMap<String, u64>,
}

impl Changes {
    /// One was accepted, which must show on these channels.
    fn accept(&mut self, channels: &[&str]) {
        self.accepted += 1;
        for channel in channels {
            *self.shows.entry((*channel).to_owned()).or_default() += 1;
        }
    }
}

/// Does what the options say.
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

/// Waits until then, or until a socket is lost.
async fn rest(swarm: &Swarm, until: Instant) {
    while Instant::now() < until && swarm.lost() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A socket of the swarm.
struct Seat {
    key: usize,
    codec: Codec,
    /// Whose it is: an index of the cast.
    person: usize,
    /// What it watches.
    watches: Vec<Position>,
}

/// Opens all sockets; the first few before the server's memory is looked at.
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

/// Waits until everybody has what was committed, then holds them against each other and the server's log.
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

/// Accepted changes that no subscriber of their channel was told of.
fn silent(changes: &Changes, verdict: &Verdict) -> u64 {
    let told = |channel: &str| verdict.publications.get(channel).copied().unwrap_or_default();
    changes
        .shows
        .iter()
        .map(|(channel, accepted)| accepted.saturating_sub(told(channel)))
        .sum()
}

/// Host and port of a server that load is allowed on: this machine, or one that was named.
fn address(url: &str, allowed: &[String]) -> anyhow::Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url}: only http:// can be loaded; go round the proxy that ends TLS");
    };
    let authority = rest.trim_end_matches('/');
    let (host, address) = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, authority.to_owned()),
        _ => (authority, format!("{authority}:80")),
    };
    let here = |ip: IpAddr| ip.is_loopback();
    let found = address
        .to_socket_addrs()
        .with_context(|| format!("there is no {address}"))?;
    if found.into_iter().all(|found| here(found.ip())) || allowed.iter().any(|a| a == host) {
        Ok(address)
    } else {
        bail!("{host} is not this machine; to load it all the same, say --allow-remote {host}")
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_this_machine_is_loaded_unless_another_is_named() {
        assert_eq!(address("http://127.0.0.1:8080/", &[]).expect("here"), "127.0.0.1:8080");
        assert_eq!(address("http://[::1]:80", &[]).expect("here"), "[::1]:80");
        let refused = address("http://192.0.2.7:8080", &[]).expect_err("elsewhere");
        assert!(refused.to_string().contains("--allow-remote 192.0.2.7"), "{refused}");
        assert!(address("http://192.0.2.7:8080", &["192.0.2.8".into()]).is_err());
        let named = address("http://192.0.2.7:8080", &["192.0.2.7".into()]);
        assert_eq!(named.expect("it was named"), "192.0.2.7:8080");
        assert!(address("https://127.0.0.1", &[]).is_err());
    }
}
