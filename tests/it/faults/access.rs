//! An assignment that ends while its trainer watches, or at the moment of subscribing: no channel stays open.

use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::auth::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Floor;
use crate::harness::redis::Redis;
use crate::harness::{Client, Socket, TestApp, until};

/// The time within which a channel must end.
const WITHIN: Duration = Duration::from_secs(1);
/// Rounds of the race at random moments.
const ROUNDS: u32 = 60;

/// A gym with a manager who creates and ends assignments.
struct Scene {
    app: TestApp,
    floor: Floor,
    manager: Client,
    member: String,
}

impl Scene {
    async fn set(app: TestApp) -> Self {
        let floor = Floor::make(&app, 1).await;
        let manager = app.person(floor.gym, &[Role::Manager]).await;
        let member = format!("member:{}", floor.members[0].account);
        // The trainer may read this plan only because of the assignment.
        let hidden = json!({"visibility": "assigned"});
        let path = format!("/plans/{}", floor.plan.id);
        floor
            .author
            .write(reqwest::Method::PATCH, &path, Some(&hidden), floor.plan.version)
            .await
            .ok();
        Self {
            app,
            floor,
            manager,
            member,
        }
    }

    fn plan(&self) -> String {
        format!("plan:{}", self.floor.plan.id)
    }

    async fn assignment(&self) -> String {
        let path = format!("/assignments?member={}", self.floor.members[0].account);
        let found = self.manager.get(&path).await.ok();
        let id = found["items"][0]["id"].as_str().expect("an assignment");
        format!("/assignments/{id}")
    }

    async fn assign(&self) {
        let (trainer, member) = (self.floor.trainer.account, self.floor.members[0].account);
        let body = json!({"trainer_id": trainer, "member_id": member});
        self.manager.post("/assignments", &body).await.ok();
    }
}

/// Waits until a database session waits for this kind of lock.
pub async fn until_waiting(owner: &mut AsyncPgConnection, kind: &str) {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let sql = format!(
        "SELECT count(*) AS n FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = '{kind}'"
    );
    let what = format!("a session waits for {kind}");
    until(&what, async || {
        let waiting = diesel::sql_query(&sql).get_result::<Count>(owner).await;
        waiting.expect("activity").n > 0
    })
    .await;
}

/// Waits for a channel's unsubscribe push on a socket and returns its code.
async fn ends(socket: &mut Socket, channel: &str, since: Instant) -> u64 {
    let code = socket.unsubscribed(channel).await;
    assert!(since.elapsed() < WITHIN, "{channel} ended after {:?}", since.elapsed());
    code
}

#[tokio::test]
async fn a_removed_assignment_ends_the_trainers_channels_on_every_node() {
    let redis = Redis::start().await;
    let with_redis = |config: &mut liveplan::config::Config| config.redis_url = Some(redis.url());
    let scene = Scene::set(TestApp::start_with(with_redis).await).await;
    let other = TestApp::node(&scene.app.database, with_redis).await;
    let (roster, plan) = (scene.floor.roster(), scene.plan());
    let mut sockets = vec![
        scene.floor.trainer.socket().await,
        scene.floor.trainer.at(other.address).socket().await,
    ];
    for socket in &mut sockets {
        for channel in [&scene.member, &plan, &roster] {
            let reply = socket.subscribe(channel).await;
            assert!(reply["subscribe"].is_object(), "{channel}: {reply}");
        }
    }
    let path = scene.assignment().await;
    let began = Instant::now();
    assert_eq!(scene.manager.delete(&path).await.status, StatusCode::NO_CONTENT);
    let member = scene.floor.members[0].account.to_string();
    for socket in &mut sockets {
        // The trainer keeps their own roster, without the member.
        let (_, event) = socket.publication(&roster).await;
        assert_eq!(event["type"], "assignment.ended");
        assert_eq!(event["patch"]["members"], json!({member.clone(): null}));
    }
    assert!(began.elapsed() < WITHIN);
    for socket in &mut sockets {
        let mut ended = [end_of_any(socket, began).await, end_of_any(socket, began).await];
        ended.sort();
        let mut expected = [(scene.member.clone(), 2000), (plan.clone(), 2000)];
        expected.sort();
        assert_eq!(ended, expected);
        assert_eq!(socket.subscribe(&scene.member).await["error"]["code"], 103);
        assert_eq!(socket.subscribe(&plan).await["error"]["code"], 103);
    }
    // Later changes of the member no longer reach the trainer: the next publication is about somebody else.
    assert!(scene.floor.tick(0, 500).send(scene.app.address).await);
    let next = scene.app.person(scene.floor.gym, &[Role::Member]).await;
    let body = json!({"trainer_id": scene.floor.trainer.account, "member_id": next.account});
    scene.manager.post("/assignments", &body).await.ok();
    for socket in &mut sockets {
        let push = loop {
            let message = socket.next().await.expect("a push");
            if message["push"]["pub"]["offset"].as_u64() > Some(0) {
                break message["push"].clone();
            }
        };
        assert_eq!(push["channel"], json!(roster));
        assert_eq!(push["pub"]["data"]["type"], "assignment.started");
    }
    other.stop().await;
    scene.app.stop().await;
}

/// The next channel that ends on a socket, and the code.
async fn end_of_any(socket: &mut Socket, since: Instant) -> (String, u64) {
    loop {
        let push = socket.next().await.expect("an unsubscribe push")["push"].clone();
        if let Some(code) = push["unsubscribe"]["code"].as_u64() {
            assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
            return (push["channel"].as_str().expect("a channel").to_owned(), code);
        }
    }
}

#[tokio::test]
async fn an_assignment_that_ends_between_the_read_of_the_right_and_the_reply_opens_no_channel() {
    let scene = Scene::set(TestApp::start().await).await;
    let mut owner = scene.app.owner().await;
    let mut holder = scene.app.owner().await;
    let path = scene.assignment().await;
    let mut socket = scene.floor.trainer.socket().await;
    // The snapshot is read after the right, in the same transaction, and waits for this lock.
    let hold = "BEGIN; LOCK TABLE completions IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(hold).await.expect("the lock");
    let id = socket.send("subscribe", json!({"channel": scene.member})).await;
    until_waiting(&mut owner, "relation").await;
    let began = Instant::now();
    assert_eq!(scene.manager.delete(&path).await.status, StatusCode::NO_CONTENT);
    // By the time the trainer can read their roster, the hub knows the end of the assignment.
    let mut wall = scene.floor.trainer.socket().await;
    wall.subscribe(&scene.floor.roster()).await;
    holder.batch_execute("ROLLBACK").await.expect("let go");
    let reply = reply_to(&mut socket, id).await;
    if reply["error"].is_null() {
        // The old database snapshot let it in, and the subscription ended at once.
        assert_eq!(ends(&mut socket, &scene.member, began).await, 2000);
    } else {
        assert_eq!(reply["error"]["code"], 103, "{reply}");
    }
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
    stays_closed(&scene, socket).await;
    scene.app.stop().await;
}

#[tokio::test]
async fn an_assignment_that_ends_in_commit_while_its_trainer_subscribes_ends_the_channel() {
    let scene = Scene::set(TestApp::start().await).await;
    let mut owner = scene.app.owner().await;
    owner
        .batch_execute(
            "CREATE FUNCTION hold_commit() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER hold_commit AFTER UPDATE ON assignments
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_commit();
             SELECT pg_advisory_lock(4711)",
        )
        .await
        .expect("a trigger");
    let path = scene.assignment().await;
    let manager = scene.manager.clone();
    let removal = tokio::spawn(async move { manager.delete(&path).await.status });
    until_waiting(&mut owner, "advisory").await;
    let mut socket = scene.floor.trainer.socket().await;
    let reply = socket.subscribe(&scene.member).await;
    assert!(
        reply["subscribe"].is_object(),
        "the assignment must still count: {reply}"
    );
    let began = Instant::now();
    owner
        .batch_execute("SELECT pg_advisory_unlock(4711)")
        .await
        .expect("let go");
    assert_eq!(ends(&mut socket, &scene.member, began).await, 2000);
    assert_eq!(removal.await.expect("no panic"), StatusCode::NO_CONTENT);
    stays_closed(&scene, socket).await;
    scene.app.stop().await;
}

#[tokio::test]
async fn an_assignment_that_ends_at_any_moment_of_subscribing_leaves_no_channel_open() {
    let scene = Scene::set(TestApp::start().await).await;
    let (mut slowest, mut refused) = (Duration::ZERO, 0);
    for round in 0..ROUNDS {
        if round > 0 {
            scene.assign().await;
        }
        let path = scene.assignment().await;
        let mut socket = scene.floor.trainer.socket().await;
        // Moments close to each other, from well before to well after.
        let (early, late) = (rand::random_range(0..12), rand::random_range(0..12));
        let manager = scene.manager.clone();
        let removal = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(early)).await;
            let status = manager.delete(&path).await.status;
            (status, Instant::now())
        });
        tokio::time::sleep(Duration::from_millis(late)).await;
        let reply = socket.subscribe(&scene.member).await;
        let (status, removed) = removal.await.expect("no panic");
        assert_eq!(status, StatusCode::NO_CONTENT);
        if reply["error"].is_null() {
            match ends_somehow(&mut socket, &scene.member).await {
                // A subscription that an old snapshot let in may also end with its socket.
                Ok(code) => assert_eq!(code, 2000, "round {round}"),
                Err(close) => assert_eq!(close, 3014, "round {round}"),
            }
            slowest = slowest.max(removed.elapsed());
        } else {
            assert_eq!(reply["error"]["code"], 103, "round {round}: {reply}");
            refused += 1;
        }
        assert!(slowest < WITHIN, "round {round}: {slowest:?}");
    }
    println!("{ROUNDS} rounds: {refused} refused, the others ended within {slowest:?}");
    assert!(
        refused > 0 && refused < ROUNDS,
        "all rounds fell on one side of the race: {refused} refused"
    );
    scene.app.stop().await;
}

/// The code of a channel's unsubscribe push, or the close code as `Err`.
async fn ends_somehow(socket: &mut Socket, channel: &str) -> Result<u64, u16> {
    loop {
        let message = socket.next().await?;
        let push = &message["push"];
        if push["channel"] == channel
            && let Some(code) = push["unsubscribe"]["code"].as_u64()
        {
            return Ok(code);
        }
    }
}

async fn reply_to(socket: &mut Socket, id: u32) -> Value {
    loop {
        let message = socket.next().await.expect("a reply");
        if message["id"] == id {
            return message;
        }
    }
}

/// Asserts that the member's channel stays closed: after a tick, the trainer's next reply comes with no publication
/// before it.
async fn stays_closed(scene: &Scene, mut socket: Socket) {
    assert!(scene.floor.tick(0, 700).send(scene.app.address).await);
    let reply = socket.send("subscribe", json!({"channel": scene.floor.roster()})).await;
    loop {
        let message = socket.next().await.expect("a reply");
        assert_ne!(message["push"]["channel"], json!(scene.member), "{message}");
        if message["id"] == reply {
            return;
        }
    }
}
