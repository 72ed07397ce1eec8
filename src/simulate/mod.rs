//! Simulated members who use a running server over real sockets and REST, so that a trainer's wall shows activity. The
//! simulation uses only the server's public interface.
//!
//! [`run`] runs the members and returns a [`Tally`]. Each member uses a [`liveplan_client::Session`].

mod member;

use std::fmt;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use tokio::time::Instant;

/// The number of members in the demo gym.
const DEMO_MEMBERS: u32 = 24;

/// Options of a simulation.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Number of members of the demo gym that act, from `member01` on.
    #[arg(long, default_value_t = DEMO_MEMBERS, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEMO_MEMBERS)))]
    pub members: u32,
    /// Duration in minutes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub minutes: u64,
    /// Average wait of a member between two acts, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// Address of the server, which must run `liveplan demo`.
    #[arg(long, default_value = "http://localhost:8080")]
    pub url: String,
    /// The members' password.
    #[arg(long, default_value = crate::demo::PASSWORD)]
    pub password: String,
}

/// Counts of what the members did and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ticks and undos over the socket.
    pub by_socket: u64,
    /// Ticks and undos over REST.
    pub by_rest: u64,
    /// Acts that the server refused.
    pub refused: u64,
    /// Publications that the members received.
    pub publications: u64,
    /// Lost sockets that were reopened.
    pub reconnects: u64,
    /// Members who stopped with an error.
    pub failed: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.by_socket += other.by_socket;
        self.by_rest += other.by_rest;
        self.refused += other.refused;
        self.publications += other.publications;
        self.reconnects += other.reconnects;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            by_socket,
            by_rest,
            refused,
            publications,
            reconnects,
            failed,
        } = self;
        write!(
            f,
            "{by_socket} acts over sockets, {by_rest} over REST, {refused} refused; {publications} publications; \
             {reconnects} reconnects; {failed} members failed"
        )
    }
}

/// Runs the simulation for `options.minutes`.
///
/// # Errors
/// If no member can sign in.
pub async fn run(options: &Options) -> anyhow::Result<Tally> {
    run_until(options, Instant::now() + Duration::from_secs(options.minutes * 60)).await
}

/// Runs the simulation until `until`.
///
/// # Errors
/// If no member can sign in.
pub async fn run_until(options: &Options, until: Instant) -> anyhow::Result<Tally> {
    let lives = (1..=options.members).map(|number| member::live(options, number, until));
    let mut total = Tally::default();
    let mut failures = Vec::new();
    for lived in join_all(lives).await {
        match lived {
            Ok(tally) => total += tally,
            Err(error) => failures.push(error),
        }
    }
    total.failed = failures.len() as u64;
    if total.failed == u64::from(options.members)
        && let Some(first) = failures.pop()
    {
        return Err(first);
    }
    for error in failures {
        tracing::warn!("a simulated member stopped: {error:#}");
    }
    Ok(total)
}
