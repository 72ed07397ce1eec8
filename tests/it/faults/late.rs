//! Access that ends while its owner's change waits for a lock, after the change has checked it: the change is refused,
//! and nothing of it is stored or published.

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::auth::Role;
use liveplan::events::log::{self, Head};
use liveplan::meals::Queues;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::access::until_waiting;
use super::{Floor, effects};
use crate::follows::kit::Kit;
use crate::harness::{Answer, Client, PASSWORD, TestApp, until};
use crate::plans::publish;

/// The cause of the revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Logout,
    Session,
    Password,
    Membership,
    Role,
}

const CAUSES: [Cause; 5] = [
    Cause::Logout,
    Cause::Session,
    Cause::Password,
    Cause::Membership,
    Cause::Role,
];

struct Scene {
    app: TestApp,
    floor: Floor,
    manager: Client,
}

impl Scene {
    async fn set() -> Self {
        let app = TestApp::start().await;
        let floor = Floor::make(&app, 1).await;
        let manager = app.person(floor.gym, &[Role::Manager]).await;
        Self { app, floor, manager }
    }

    async fn head(&self) -> Head {
        let head = log::head(&mut self.app.owner().await, self.floor.gym.id).await;
        head.expect("read").expect("a log")
    }

    /// Starts another transaction that runs this SQL and holds its locks.
    async fn hold(&self, sql: &str) -> AsyncPgConnection {
        let mut holder = self.app.owner().await;
        holder.batch_execute(&format!("BEGIN; {sql}")).await.expect("held");
        holder
    }

    async fn until_waiting(&self, kind: &str) {
        until_waiting(&mut self.app.owner().await, kind).await;
    }

    /// Ends the access of a session.
    async fn end(&self, cause: Cause, who: &Client, session: &Value) {
        let membership = format!("/memberships/{}", who.account);
        match cause {
            Cause::Logout => assert_eq!(who.post("/auth/logout", &json!({})).await.status, 204),
            Cause::Session => {
                let other = who.with(&who.login(PASSWORD, None).await.ok());
                let path = format!("/auth/sessions/{}", session["session_id"].as_str().expect("an id"));
                assert_eq!(other.delete(&path).await.status, 204);
            }
            Cause::Password => {
                let other = who.with(&who.login(PASSWORD, None).await.ok());
                let body = json!({"current_password": PASSWORD, "new_password": "another horse"});
                assert_eq!(other.post("/auth/password", &body).await.status, 200);
            }
            Cause::Membership => {
                let suspended = json!({"status": "suspended"});
                self.manager.patch(&membership, &suspended).await.ok();
            }
            Cause::Role => {
                let roles = json!({"roles": ["member", "trainer"]});
                self.manager.patch(&membership, &roles).await.ok();
            }
        }
    }
}

/// A person of the gym with a session.
async fn person(app: &TestApp, floor: &Floor, role: Role) -> (Client, Value) {
    let who = app.person(floor.gym, &[role]).await;
    let session = who.login(PASSWORD, None).await.ok();
    (who.with(&session), session)
}

async fn is_refused(change: JoinHandle<Answer>, cause: Cause) {
    let answer = change.await.expect("an answer");
    let said = (answer.status.as_u16(), answer.body["code"].as_str());
    assert_eq!(said, (401, Some("session_ended")), "{cause:?}");
}

async fn count(app: &TestApp, of: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let found: Count = diesel::sql_query(format!("SELECT count(*) AS n FROM {of}"))
        .get_result(&mut app.owner().await)
        .await
        .expect("a count");
    found.n
}

fn put(who: &Client, path: String, body: Value) -> JoinHandle<Answer> {
    let who = who.clone();
    tokio::spawn(async move { who.put(&path, &body).await })
}

#[tokio::test]
async fn every_revocation_logs_its_access_event_in_the_same_transaction() {
    let scene = Scene::set().await;
    for cause in CAUSES {
        let (who, session) = person(&scene.app, &scene.floor, Role::Nutritionist).await;
        scene.end(cause, &who, &session).await;
    }
    let (who, session) = person(&scene.app, &scene.floor, Role::Member).await;
    let switch = json!({"gym": session["gym"]["slug"]});
    let session = who.post("/auth/switch", &switch).await.ok();
    let refresh = |session: &Value| json!({"refresh_token": session["refresh_token"]});
    let next = who.post("/auth/refresh", &refresh(&session)).await.ok();
    who.post("/auth/refresh", &refresh(&next)).await.ok();
    who.post("/auth/refresh", &refresh(&session))
        .await
        .refused(401, "session_ended");
    // Every row carries the id of the transaction that wrote it (`xmin`).
    let without_event = |ended: &str| {
        format!(
            "{ended} AND NOT EXISTS (SELECT FROM live_events e WHERE e.xmin = ended.xmin AND e.gym_id = ended.gym_id
                                     AND e.channel = '!access:' || ended.account_id)"
        )
    };
    for (ended, at_least) in [
        ("sessions ended WHERE ended_at IS NOT NULL", 6),
        ("memberships ended WHERE access_version > 1", 2),
    ] {
        assert!(count(&scene.app, ended).await >= at_least, "{ended}");
        assert_eq!(count(&scene.app, &without_event(ended)).await, 0, "{ended}");
    }
    scene.app.stop().await;
}

#[tokio::test]
async fn a_change_whose_callers_access_ends_while_it_waits_for_a_lock_is_refused() {
    let scene = Scene::set().await;
    let food = scene.app.food().await;
    for cause in CAUSES {
        let (who, session) = person(&scene.app, &scene.floor, Role::Nutritionist).await;
        let plan = publish(&scene.floor.author, food).await;
        let path = format!("/plans/{}", plan.id);
        let mut holder = scene
            .hold(&format!("SELECT 1 FROM plans WHERE id = '{}' FOR UPDATE", plan.id))
            .await;
        let change = tokio::spawn({
            let (who, path, version) = (who.clone(), format!("{path}/days/1/meals/{}", plan.meal), plan.version);
            async move {
                who.write(Method::PATCH, &path, Some(&json!({"title": "Tarde"})), version)
                    .await
            }
        });
        scene.until_waiting("transactionid").await;
        scene.end(cause, &who, &session).await;
        let head = scene.head().await;
        holder.batch_execute("COMMIT").await.expect("let go");
        is_refused(change, cause).await;
        let now = scene.floor.author.get(&path).await.ok();
        assert_eq!(now["version"], plan.version, "{cause:?}");
        assert_eq!(scene.head().await, head, "{cause:?}: the refused change was logged");
    }
    scene.app.stop().await;
}

#[tokio::test]
async fn a_change_without_events_whose_callers_access_ends_while_it_waits_is_refused() {
    let scene = Scene::set().await;
    let draft = json!({"goal": "maintain", "name": "Borrador", "duration_days": 1});
    for cause in CAUSES {
        let (who, session) = person(&scene.app, &scene.floor, Role::Nutritionist).await;
        let draft = scene.floor.author.post("/plans", &draft).await.ok();
        let (id, version) = (draft["id"].as_str().expect("an id"), draft["version"].as_i64());
        let path = format!("/plans/{id}");
        let mut holder = scene
            .hold(&format!("SELECT 1 FROM plans WHERE id = '{id}' FOR UPDATE"))
            .await;
        let change = tokio::spawn({
            let (who, path, version) = (who.clone(), path.clone(), version.expect("a version"));
            async move {
                who.write(Method::PATCH, &path, Some(&json!({"name": "Tarde"})), version)
                    .await
            }
        });
        scene.until_waiting("transactionid").await;
        scene.end(cause, &who, &session).await;
        holder.batch_execute("COMMIT").await.expect("let go");
        is_refused(change, cause).await;
        let now = scene.floor.author.get(&path).await.ok();
        assert_eq!(now["version"].as_i64(), version, "{cause:?}");
    }
    scene.app.stop().await;
}

#[tokio::test]
async fn a_session_that_is_being_ended_cannot_switch_to_a_new_one() {
    let scene = Scene::set().await;
    let (who, session) = person(&scene.app, &scene.floor, Role::Member).await;
    let id = session["session_id"].as_str().expect("an id");
    let mut ending = scene
        .hold(&format!("UPDATE sessions SET ended_at = now() WHERE id = '{id}'"))
        .await;
    let slug = session["gym"]["slug"].as_str().expect("a slug").to_owned();
    let switch = tokio::spawn(async move { who.post("/auth/switch", &json!({"gym": slug})).await });
    scene.until_waiting("transactionid").await;
    ending.batch_execute("COMMIT").await.expect("ended");
    switch.await.expect("an answer").refused(401, "session_ended");
    scene.app.stop().await;
}

#[tokio::test]
async fn a_tick_whose_callers_access_ends_while_it_waits_for_the_follow_is_refused() {
    let scene = Scene::set().await;
    let (plan, today) = (&scene.floor.plan, &scene.floor.today);
    let path = format!("/meals/{}/completions/{today}", plan.meal);
    // A repeated tick makes no event; only its key would be stored.
    for (cause, again) in CAUSES.into_iter().flat_map(|cause| [(cause, false), (cause, true)]) {
        let (who, session) = person(&scene.app, &scene.floor, Role::Member).await;
        who.post(&format!("/plans/{}/follow", plan.id), &json!({})).await.ok();
        if again {
            who.put(&path, &json!({"status": "eaten"})).await.ok();
        }
        let lock = format!("SELECT 1 FROM follows WHERE member_id = '{}' FOR UPDATE", who.account);
        let mut holder = scene.hold(&lock).await;
        let key = format!("{cause:?} {again}");
        let tick = put(&who, path.clone(), json!({"status": "eaten", "key": &key}));
        scene.until_waiting("transactionid").await;
        scene.end(cause, &who, &session).await;
        let head = scene.head().await;
        holder.batch_execute("COMMIT").await.expect("let go");
        is_refused(tick, cause).await;
        assert_eq!(scene.head().await, head, "{cause:?}: the refused tick was logged");
        assert_eq!(
            effects(&scene.app.database, std::slice::from_ref(&key)).await,
            [0],
            "{cause:?}"
        );
        let kept = format!("idempotency_keys WHERE key = '{key}'");
        assert_eq!(count(&scene.app, &kept).await, 0, "{cause:?}");
    }
    scene.app.stop().await;
}

#[tokio::test]
async fn in_a_batch_only_ticks_whose_callers_access_ended_are_refused() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let member = kit.app.person(kit.gym, &[Role::Member]).await;
        member
            .post(&format!("/plans/{}/follow", kit.plan.id), &json!({}))
            .await
            .ok();
        members.push(member);
    }
    let (path, eaten) = (kit.completion(&kit.plan.lunch), json!({"status": "eaten"}));
    let hold = |sql: &'static str| async {
        let mut holder = kit.app.owner().await;
        holder.batch_execute(sql).await.expect("held");
        holder
    };
    // The first batch cannot end, so the others form one batch.
    let mut log = hold("BEGIN; SELECT 1 FROM gym_log_heads FOR UPDATE").await;
    let first = put(&kit.member, path.clone(), eaten.clone());
    let mut owner = kit.app.owner().await;
    until_waiting(&mut owner, "transactionid").await;
    let ticks: Vec<_> = members.iter().map(|m| put(m, path.clone(), eaten.clone())).collect();
    until("the other ticks wait", async || {
        kit.app.app.part::<Queues>().waiting(kit.gym.id) == members.len()
    })
    .await;
    // Then the second batch waits too, after its first check and before it writes.
    let history = tokio::spawn({
        let mut holder = kit.app.owner().await;
        async move {
            let lock = "BEGIN; LOCK TABLE completion_history IN SHARE MODE";
            holder.batch_execute(lock).await.expect("held");
            holder
        }
    });
    until_waiting(&mut owner, "relation").await;
    log.batch_execute("COMMIT").await.expect("let go");
    first.await.expect("an answer").ok();
    let mut history = history.await.expect("the lock");
    until_waiting(&mut owner, "relation").await;
    assert_eq!(members[1].post("/auth/logout", &json!({})).await.status, 204);
    history.batch_execute("COMMIT").await.expect("let go");
    for (who, tick) in ticks.into_iter().enumerate() {
        let answer = tick.await.expect("an answer");
        if who == 1 {
            answer.refused(401, "session_ended");
        } else {
            answer.ok();
        }
    }
    assert_eq!(kit.count("completions").await, 3);
    assert_eq!(kit.count("completion_history").await, 3);
    kit.app.stop().await;
}
