//! Memory of an idle socket: 10,000 of them, authenticated, each subscribed to the member's own channel.

use std::time::Duration;

use liveplan::auth::Role;
use liveplan_load::process::resident;
use liveplan_load::swarm::Swarm;

use super::cast;
use super::results::Results;
use super::stage::{Person, Stage};

const SOCKETS: usize = 10_000;
/// Connections opened before the first reading, so that one-time allocations do not count as memory of a connection.
const FIRST: usize = 100;

pub async fn run(stage: &Stage, results: &mut Results) {
    let count = results.many(SOCKETS);
    let gym = stage.gym().await;
    let people = stage
        .people(gym.id, Role::Member, i64::try_from(count).expect("fits"))
        .await;
    let swarm = Swarm::start().expect("a swarm");
    let (first, rest) = people.split_at(FIRST);
    connect(stage, first, &swarm).await;
    let before = resident(stage.pid()).expect("it runs");
    connect(stage, rest, &swarm).await;
    let after = resident(stage.pid()).expect("it runs");
    assert_eq!(swarm.lost(), 0, "all sockets stay open");
    let kib = |bytes: u64| f64::from(u32::try_from(bytes / 1024).expect("fits"));
    let each = kib(after.saturating_sub(before)) / f64::from(u32::try_from(rest.len()).expect("fits"));
    results.say(format!(
        "\nidle sockets: {count} open, {:.1} MiB resident, {each:.1} KiB each; aim <= 16",
        kib(after) / 1024.0
    ));
    results.number("KiB a socket", each);
}

/// Opens these people's sockets and lets the server settle.
async fn connect(stage: &Stage, people: &[Person], swarm: &Swarm) {
    for opened in cast::open(&stage.address, cast::watching(people.to_vec(), &[])).await {
        assert_eq!(opened.joined.len(), 1, "the member's own channel");
        swarm.join(opened).expect("joined");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
}
