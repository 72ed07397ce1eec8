//! Everything that ends access, and how soon sockets on two nodes end: by the access event, by the sweep if its message
//! is lost, and by a timer if there is no event.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use liveplan::auth::Role;
use serde_json::{Value, json};

use super::Floor;
use crate::harness::proxy::Lossy;
use crate::harness::redis::Redis;
use crate::harness::{Client, Gym, PASSWORD, Socket, TestApp};

/// Two nodes on one database, and people who watch on both.
struct Scene {
    lossy: Lossy,
    _redis: Redis,
    one: TestApp,
    two: TestApp,
    floor: Floor,
    manager: Client,
}

/// How a socket or a subscription must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close(u16),
    Unsubscribe(u64),
}

impl Scene {
    async fn set() -> Self {
        let redis = Redis::start().await;
        let lossy = Lossy::before_redis(redis.port).await;
        let one = TestApp::start_with(|config| config.redis_url = Some(lossy.url())).await;
        let two = TestApp::node(&one.database, |config| config.redis_url = Some(lossy.url())).await;
        let floor = Floor::make(&one, 1).await;
        let manager = one.person(floor.gym, &[Role::Manager]).await;
        Self {
            lossy,
            _redis: redis,
            one,
            two,
            floor,
            manager,
        }
    }

    fn gym(&self) -> Gym {
        self.floor.gym
    }

    /// A socket of a person at each node.
    async fn sockets(&self, who: &Client) -> Vec<Socket> {
        vec![who.socket().await, who.at(self.two.address).socket().await]
    }

    /// Waits until what a person watches has ended on both nodes; prints and returns the time each took.
    async fn ended(&self, cause: &str, sockets: &mut [Socket], since: Instant, expected: End) -> Vec<Duration> {
        let mut took = Vec::new();
        for socket in sockets {
            let found = end_of(socket).await;
            took.push(since.elapsed());
            assert_eq!(found, expected, "{cause}");
        }
        println!("{cause}: {expected:?} after {took:.0?}");
        took
    }

    async fn stop(self) {
        self.two.stop().await;
        self.one.stop().await;
    }
}

/// Waits for the socket's close or for the end of one of its channels.
async fn end_of(socket: &mut Socket) -> End {
    loop {
        match socket.next().await {
            Err(code) => return End::Close(code),
            Ok(message) => {
                if let Some(code) = message["push"]["unsubscribe"]["code"].as_u64() {
                    return End::Unsubscribe(code);
                }
            }
        }
    }
}

/// Causes every kind of revocation; returns the time each took on the node where it was caused and on the other.
async fn every_end(scene: &Scene) -> Vec<(&'static str, Vec<Duration>)> {
    let (app, gym) = (&scene.one, scene.gym());
    let mut all = Vec::new();

    let trainer = app.person(gym, &[Role::Trainer]).await;
    app.assign(gym, &trainer, &scene.floor.members[0]).await;
    let mut sockets = scene.sockets(&trainer).await;
    let member = format!("member:{}", scene.floor.members[0].account);
    for socket in &mut sockets {
        assert!(socket.subscribe(&member).await["subscribe"].is_object());
    }
    let path = format!("/assignments?trainer={}", trainer.account);
    let assignment = scene.manager.get(&path).await.ok()["items"][0]["id"].clone();
    let path = format!("/assignments/{}", assignment.as_str().expect("an id"));
    let since = Instant::now();
    assert_eq!(scene.manager.delete(&path).await.status, 204);
    let cause = "assignment removed";
    all.push((
        cause,
        scene.ended(cause, &mut sockets, since, End::Unsubscribe(2000)).await,
    ));

    for (cause, patch, end) in [
        ("membership suspended", json!({"status": "suspended"}), 3503),
        ("membership ended", json!({"status": "ended"}), 3503),
        ("role changed", json!({"roles": ["trainer", "member"]}), 3014),
    ] {
        let who = app.person(gym, &[Role::Trainer]).await;
        let mut sockets = scene.sockets(&who).await;
        let since = Instant::now();
        let path = format!("/memberships/{}", who.account);
        scene.manager.patch(&path, &patch).await.ok();
        all.push((cause, scene.ended(cause, &mut sockets, since, End::Close(end)).await));
    }

    for cause in [
        "password changed",
        "session ended",
        "signed out",
        "refresh token used twice",
    ] {
        let who = app.person(gym, &[Role::Member]).await;
        let session = who.login(PASSWORD, None).await.ok();
        let phone = who.with(&session);
        let mut sockets = scene.sockets(&phone).await;
        let mut kept = scene.sockets(&who).await;
        let since = Instant::now();
        end_session(cause, &who, &phone, &session).await;
        all.push((cause, scene.ended(cause, &mut sockets, since, End::Close(3503)).await));
        // The account's other session continues.
        let own = format!("member:{}", who.account);
        let refused = kept[0].subscribe(&own).await;
        assert_eq!(refused["error"]["code"], 105, "{cause}: {refused}");
        let refused = kept[1].subscribe(&own).await;
        assert_eq!(refused["error"]["code"], 105, "{cause}: {refused}");
    }
    all
}

/// Ends the phone's session.
async fn end_session(cause: &str, who: &Client, phone: &Client, session: &Value) {
    match cause {
        "password changed" => {
            let body = json!({"current_password": PASSWORD, "new_password": "another horse"});
            let done = who.post("/auth/password", &body).await;
            assert_eq!(done.status, 200, "{}", done.body);
        }
        "session ended" => {
            let path = format!("/auth/sessions/{}", session["session_id"].as_str().expect("an id"));
            assert_eq!(who.delete(&path).await.status, 204);
        }
        "signed out" => assert_eq!(phone.post("/auth/logout", &json!({})).await.status, 204),
        _ => {
            let body = |session: &Value| json!({"refresh_token": session["refresh_token"]});
            let next = phone.post("/auth/refresh", &body(session)).await.ok();
            phone.post("/auth/refresh", &body(&next)).await.ok();
            assert_eq!(phone.post("/auth/refresh", &body(session)).await.status, 401);
        }
    }
}

#[tokio::test]
async fn every_revocation_reaches_both_nodes_within_a_second() {
    let scene = Scene::set().await;
    for (cause, took) in every_end(&scene).await {
        assert!(
            took.iter().all(|took| *took < Duration::from_secs(1)),
            "{cause}: {took:?}"
        );
    }
    assert_eq!(scene.lossy.lost(), 0);
    scene.stop().await;
}

#[tokio::test]
async fn a_revocation_whose_message_is_lost_is_found_by_the_sweep() {
    let scene = Scene::set().await;
    scene.lossy.lose_every(1);
    let mut slow = 0;
    for (cause, took) in every_end(&scene).await {
        assert!(took[0] < Duration::from_secs(1), "{cause}: {took:?}");
        // The sweep runs once a second.
        assert!(took[1] < Duration::from_millis(1500), "{cause}: {took:?}");
        slow += usize::from(took[1] > Duration::from_millis(100));
    }
    assert!(slow > 0 && scene.lossy.lost() > 0, "no message was lost");
    scene.stop().await;
}

/// Inserts an assignment with an end; no event announces that end.
pub async fn assign_until(app: &TestApp, gym: Gym, trainer: &Client, member: &Client, until: DateTime<Utc>) {
    diesel::sql_query(
        "INSERT INTO assignments (id, gym_id, trainer_id, member_id, since, until) VALUES ($1, $2, $3, $4, now(), $5)",
    )
    .bind::<SqlUuid, _>(uuid::Uuid::now_v7())
    .bind::<SqlUuid, _>(gym.id)
    .bind::<SqlUuid, _>(trainer.account)
    .bind::<SqlUuid, _>(member.account)
    .bind::<Timestamptz, _>(until)
    .execute(&mut app.owner().await)
    .await
    .expect("an assignment");
}

#[tokio::test]
async fn an_expired_assignment_ends_its_channel_on_both_nodes_without_an_event() {
    let scene = Scene::set().await;
    let trainer = scene.one.person(scene.gym(), &[Role::Trainer]).await;
    let until = scene.one.app.clock.now() + TimeDelta::seconds(3);
    let member = &scene.floor.members[0];
    assign_until(&scene.one, scene.gym(), &trainer, member, until).await;
    let mut sockets = scene.sockets(&trainer).await;
    let channel = format!("member:{}", member.account);
    for socket in &mut sockets {
        assert!(socket.subscribe(&channel).await["subscribe"].is_object());
    }
    // The assignment counts until its end: a tick arrives.
    assert!(scene.floor.tick(0, 500).send(scene.one.address).await);
    for socket in &mut sockets {
        assert_eq!(socket.publication(&channel).await.1["type"], "meal.partial");
    }
    let before = head(&scene).await;
    for socket in &mut sockets {
        assert_eq!(socket.unsubscribed(&channel).await, 2000);
        let late = scene.one.app.clock.now() - until;
        println!("run out: ended {} ms after its end", late.num_milliseconds());
        assert!((TimeDelta::zero()..TimeDelta::seconds(1)).contains(&late), "{late}");
        assert_eq!(socket.subscribe(&channel).await["error"]["code"], 103);
    }
    assert_eq!(head(&scene).await, before, "an event was written to the log");
    scene.stop().await;
}

async fn head(scene: &Scene) -> u64 {
    let mut owner = scene.one.owner().await;
    let head = liveplan::events::log::head(&mut owner, scene.gym().id).await;
    head.expect("read").expect("a head").seq
}

#[tokio::test]
async fn a_log_that_may_lack_access_events_has_every_connection_re_authorised() {
    let app = TestApp::start().await;
    let floor = Floor::make(&app, 1).await;
    // A trainer's socket has no server-side subscription, which would end it anyway.
    let (mut stays, mut goes) = (
        floor.trainer.socket().await,
        app.person(floor.gym, &[Role::Trainer]).await,
    );
    let mut socket = goes.socket().await;
    goes.token = None;
    diesel::sql_query("UPDATE memberships SET status = 'suspended' WHERE account_id = $1")
        .bind::<SqlUuid, _>(goes.account)
        .execute(&mut app.owner().await)
        .await
        .expect("suspended");
    // As after a restore: the log may lack any event.
    diesel::sql_query("UPDATE gym_log_heads SET epoch = 'restored' WHERE gym_id = $1")
        .bind::<SqlUuid, _>(floor.gym.id)
        .execute(&mut app.owner().await)
        .await
        .expect("a new epoch");
    assert_eq!(socket.closed().await, 3503);
    assert!(stays.subscribe(&floor.roster()).await["subscribe"].is_object());
    app.stop().await;
}
