//! What an idle socket weighs: 5,000 of them, authenticated, each with its own channel.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use liveplan::auth::Role;

use super::stage::Stage;
use super::stats::resident;
use super::wire::Socket;

const SOCKETS: u32 = 5_000;
const AT_ONCE: usize = 32;

pub async fn run(stage: &Stage) {
    let gym = stage.gym().await;
    let people = stage.people(gym.id, Role::Member, SOCKETS.into()).await;
    // What the first connections allocate once is not a connection's weight.
    let (first, rest) = people.split_at(100);
    let warm = connect(stage, first).await;
    settle().await;
    let before = resident(stage.pid());
    let idle = connect(stage, rest).await;
    settle().await;
    let after = resident(stage.pid());
    let each = f64::from(u32::try_from((after.saturating_sub(before)) / 1024).expect("fits"))
        / f64::from(u32::try_from(idle.len()).expect("fits"));
    println!(
        "\nidle sockets: {} open, {:.1} MiB resident, {each:.1} KiB each; aim <= 24",
        warm.len() + idle.len(),
        f64::from(u32::try_from(after / 1024).expect("fits")) / 1024.0
    );
}

async fn connect(stage: &Stage, people: &[super::stage::Person]) -> Vec<Socket> {
    stream::iter(people)
        .map(|person| Socket::connect(&stage.address, person))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}
