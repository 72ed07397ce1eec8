//! Members who live their day against a running server, over real sockets and REST, so that a trainer's wall has something
//! to show. It knows the server only through its public interface.
//!
//! [`run`] lets them live and says what they did; each acts with a [`liveplan_client::Session`].

mod member;

use std::fmt;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use tokio::time::Instant;

/// The members that the demo gym has.
const DEMO_MEMBERS: u32 = 24;

/// Who lives, where, and how long.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How many members of the demo gym act, from `member01` on.
    #[arg(long, default_value_t = DEMO_MEMBERS, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEMO_MEMBERS)))]
    pub members: u32,
    /// How many minutes they act.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub minutes: u64,
    /// Seconds that a member waits between two acts, on average.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// The server, which runs `liveplan demo`.
    #[arg(long, default_value = "http://localhost:8080")]
    pub url: String,
    /// The members' password.
    #[arg(long, default_value = crate::demo::PASSWORD)]
    pub password: String,
}

/// What members did and saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ticks and undos over the socket.
    pub by_socket: u64,
    /// Ticks and undos by requests.
    pub by_rest: u64,
    /// Acts that the server refused.
    pub refused: u64,
    /// Publications that arrived.
    pub publications: u64,
    /// Sockets that were lost and opened again.
    pub reconnects: u64,
    /// Members who could not go on.
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
            "{by_socket} acts by socket, {by_rest} by REST, {refused} refused; {publications} publications arrived; \
             {reconnects} reconnects; {failed} members failed"
        )
    }
}

/// Lets the members live for as long as the options say.
///
/// # Errors
/// Where not one of them can sign in.
pub async fn run(options: &Options) -> anyhow::Result<Tally> {
    run_until(options, Instant::now() + Duration::from_secs(options.minutes * 60)).await
}

/// Lets the members live until then.
///
/// # Errors
/// Where not one of them can sign in.
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
        tracing::warn!("{error:#}");
    }
    Ok(total)
}
