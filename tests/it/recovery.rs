//! Recovery: a returning client gets what it missed from the replay buffer, then from Postgres, up to bounds in
//! publications and bytes; beyond them it gets a snapshot. The node's counters show which path was taken.

mod restless;
mod storm;

use liveplan_hub::counters::{Reason, RecoveryCounters};
use serde_json::{Value, json};

use crate::faults::Floor;
use crate::harness::{Socket, TestApp};

/// A plan with one permanent subscriber, so that the node keeps the gym's replay buffer, and one that comes and goes.
struct Watched {
    app: TestApp,
    floor: Floor,
    channel: String,
    stays: Socket,
}

impl Watched {
    async fn start(adjust: impl FnOnce(&mut liveplan::config::Config)) -> Self {
        let app = TestApp::start_with(adjust).await;
        let floor = Floor::make(&app, 1).await;
        let channel = format!("plan:{}", floor.plan.id);
        let mut stays = floor.author.socket().await;
        stays.subscribe(&channel).await;
        Self {
            app,
            floor,
            channel,
            stays,
        }
    }

    fn counters(&self) -> &RecoveryCounters {
        &self.app.app.hub.counters.recovery
    }

    /// Makes changes and waits until each has reached the permanent subscriber.
    async fn change(&mut self, titles: &[&str]) {
        for title in titles {
            self.floor.rename(title).await;
            self.stays.publication(&self.channel).await;
        }
    }

    /// The position that a new subscriber gets.
    async fn position(&self) -> Value {
        let mut socket = self.floor.author.socket().await;
        socket.subscribe(&self.channel).await["subscribe"].clone()
    }

    /// Subscribes from a position and returns the reply's body.
    async fn back(&self, position: &Value) -> Value {
        let mut socket = self.floor.author.socket().await;
        let from =
            json!({"channel": self.channel, "recover": true, "epoch": position["epoch"], "offset": position["offset"]});
        let reply = socket.call("subscribe", from).await["subscribe"].clone();
        assert_eq!(reply["was_recovering"], true, "{reply}");
        reply
    }
}

/// The titles that a recovery contains, or `None` if the reply is a snapshot.
fn titles(reply: &Value) -> Option<Vec<String>> {
    if reply["recovered"] != true {
        assert!(reply["data"]["days"].is_object(), "the reply is no snapshot: {reply}");
        assert!(
            reply.get("publications").is_none(),
            "a snapshot came with publications: {reply}"
        );
        return None;
    }
    assert!(reply.get("data").is_none(), "a recovery came with a snapshot: {reply}");
    let publications = reply["publications"].as_array().cloned().unwrap_or_default();
    Some(publications.iter().filter_map(title).collect())
}

/// The title that a publication gives the plan's meal.
fn title(publication: &Value) -> Option<String> {
    let days = publication["data"]["patch"]["days"].as_object()?;
    let meal = days.values().next()?["meals"].as_object()?.values().next()?;
    meal["title"].as_str().map(str::to_owned)
}

/// Counts so far: recoveries from memory, recoveries from the database, and snapshots by reason.
fn paths(counters: &RecoveryCounters) -> (u64, u64, [u64; 6]) {
    let snapshots = Reason::ALL.map(|why| counters.snapshots(why));
    (counters.memory.get(), counters.database.get(), snapshots)
}

#[tokio::test]
async fn a_short_absence_is_recovered_from_memory_without_a_read() {
    let mut watched = Watched::start(|_| {}).await;
    let position = watched.position().await;
    watched.change(&["Uno", "Dos", "Tres"]).await;
    let (before, reads) = (paths(watched.counters()), watched.counters().snapshot_reads.get());
    assert_eq!(
        titles(&watched.back(&position).await),
        Some(vec!["Uno".into(), "Dos".into(), "Tres".into()])
    );
    let now = watched.position().await;
    assert_eq!(
        titles(&watched.back(&now).await),
        Some(vec![]),
        "a client that missed nothing got publications"
    );
    let after = paths(watched.counters());
    assert_eq!(
        (after.0, after.1),
        (before.0 + 2, before.1),
        "a recovery did not come from memory"
    );
    assert_eq!(watched.counters().database_reads.get(), 0);
    assert_eq!(
        watched.counters().snapshot_reads.get(),
        reads + 1,
        "only the new position may need a read"
    );
    watched.app.stop().await;
}

#[tokio::test]
async fn changes_beyond_the_replay_buffer_are_recovered_from_postgres() {
    let mut watched = Watched::start(|config| config.recovery.memory_events = 2).await;
    let position = watched.position().await;
    watched.change(&["Uno", "Dos", "Tres"]).await;
    let before = paths(watched.counters());
    let all: Vec<String> = ["Uno", "Dos", "Tres"].map(str::to_owned).into();
    assert_eq!(titles(&watched.back(&position).await), Some(all));
    let from_two = json!({"epoch": position["epoch"], "offset": position["offset"].as_u64().map(|n| n + 1)});
    assert_eq!(
        titles(&watched.back(&from_two).await),
        Some(vec!["Dos".into(), "Tres".into()])
    );
    let after = paths(watched.counters());
    assert_eq!((after.0, after.1), (before.0 + 1, before.1 + 1));
    assert_eq!(after.2, before.2, "a snapshot was read");
    watched.app.stop().await;
}

/// One change beyond the bound leads to a snapshot, from memory and from the database alike.
async fn bounded_in_events(memory_events: usize) {
    let mut watched = Watched::start(|config| {
        config.recovery.events = 3;
        config.recovery.memory_events = memory_events;
    })
    .await;
    let position = watched.position().await;
    watched.change(&["Uno", "Dos", "Tres"]).await;
    assert_eq!(titles(&watched.back(&position).await).map(|t| t.len()), Some(3));
    watched.change(&["Cuatro"]).await;
    let reply = watched.back(&position).await;
    assert_eq!(titles(&reply), None);
    assert!(
        reply.to_string().contains("Cuatro"),
        "the snapshot is not the latest: {reply}"
    );
    assert_eq!(watched.counters().snapshots(Reason::Events), 1);
    let (memory, database, _) = paths(watched.counters());
    let expected = if memory_events > 0 { (1, 0) } else { (0, 1) };
    assert_eq!((memory, database), expected);
    watched.app.stop().await;
}

#[tokio::test]
async fn a_recovery_from_memory_is_bounded_in_publications() {
    bounded_in_events(1000).await;
}

#[tokio::test]
async fn a_recovery_from_the_database_is_bounded_in_publications() {
    bounded_in_events(0).await;
}

/// The bytes of the missed publications.
fn bytes_of(reply: &Value) -> usize {
    let publications = reply["publications"].as_array().expect("publications");
    publications.iter().map(|p| p["data"].to_string().len()).sum()
}

async fn bounded_in_bytes(memory_events: usize) {
    // Measures how many bytes two changes take, where they fit.
    let mut wide = Watched::start(|_| {}).await;
    let position = wide.position().await;
    wide.change(&["Uno", "Dos"]).await;
    let two = bytes_of(&wide.back(&position).await);
    wide.app.stop().await;
    let mut watched = Watched::start(|config| {
        config.recovery.bytes = two;
        config.recovery.memory_events = memory_events;
    })
    .await;
    let position = watched.position().await;
    watched.change(&["Uno", "Dos"]).await;
    assert_eq!(titles(&watched.back(&position).await).map(|t| t.len()), Some(2));
    watched.change(&["Tres"]).await;
    assert_eq!(titles(&watched.back(&position).await), None);
    assert_eq!(watched.counters().snapshots(Reason::Bytes), 1);
    let (memory, database, _) = paths(watched.counters());
    let expected = if memory_events > 0 { (1, 0) } else { (0, 1) };
    assert_eq!((memory, database), expected);
    watched.app.stop().await;
}

#[tokio::test]
async fn a_recovery_from_memory_is_bounded_in_bytes() {
    bounded_in_bytes(1000).await;
}

#[tokio::test]
async fn a_recovery_from_the_database_is_bounded_in_bytes() {
    bounded_in_bytes(0).await;
}

#[tokio::test]
async fn snapshots_are_counted_by_their_reason() {
    use diesel_async::RunQueryDsl as _;
    let mut watched = Watched::start(|_| {}).await;
    let position = watched.position().await;
    watched.change(&["Uno", "Dos"]).await;
    let fresh = watched.counters().snapshots(Reason::Fresh);
    let of = |epoch: &str, offset: u64| json!({"epoch": epoch, "offset": offset});
    let (epoch, offset) = (
        position["epoch"].as_str().expect("an epoch"),
        position["offset"].as_u64(),
    );
    let offset = offset.expect("an offset");
    assert_eq!(titles(&watched.back(&of("other", offset)).await), None);
    assert_eq!(titles(&watched.back(&of(epoch, offset + 1000)).await), None);
    // Simulates retention: the first event is deleted, and the node's replay buffer does not have it.
    diesel::sql_query("DELETE FROM live_events WHERE seq = 1")
        .execute(&mut watched.app.owner().await)
        .await
        .expect("deleted");
    assert_eq!(titles(&watched.back(&of(epoch, 0)).await), None);
    let counted = Reason::ALL.map(|why| (why.name(), watched.counters().snapshots(why)));
    assert_eq!(
        counted,
        [
            ("fresh", fresh),
            ("epoch", 1),
            ("ahead", 1),
            ("retention", 1),
            ("events", 0),
            ("bytes", 0)
        ]
    );
    watched.app.stop().await;
}
