//! A Postgres with messages in another language: the server recognises errors by code and behaviour, never by text.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Floor;
use super::access::until_waiting;
use crate::harness::foreign::Foreign;
use crate::harness::{Answer, TestApp};

/// A node whose Postgres answers in another language, and a node with a direct connection.
struct Scene {
    direct: TestApp,
    _foreign: Foreign,
    node: TestApp,
    floor: Floor,
}

impl Scene {
    async fn set() -> Self {
        let direct = TestApp::start().await;
        let foreign = Foreign::before_postgres(&direct.database).await;
        let node = TestApp::node(&foreign.url(&direct.database), |_| {}).await;
        let floor = Floor::make(&direct, 1).await;
        Self {
            direct,
            _foreign: foreign,
            node,
            floor,
        }
    }

    /// Starts a transaction that locks the gym's log head, which a change locks last.
    async fn hold_log(&self) -> AsyncPgConnection {
        let mut holder = self.direct.owner().await;
        let gym = self.floor.gym.id;
        let hold = format!("BEGIN; SELECT 1 FROM gym_log_heads WHERE gym_id = '{gym}' FOR UPDATE");
        holder.batch_execute(&hold).await.expect("held");
        holder
    }

    /// Starts to rename the plan's meal, and returns when that waits for a lock.
    async fn rename(&self) -> JoinHandle<Answer> {
        let author = self.floor.author.at(self.node.address);
        let plan = &self.floor.plan;
        let (path, version) = (format!("/plans/{}/days/1/meals/{}", plan.id, plan.meal), plan.version);
        let body = json!({"title": "Paella"});
        let renamed = tokio::spawn(async move { author.write(Method::PATCH, &path, Some(&body), version).await });
        until_waiting(&mut self.direct.owner().await, "transactionid").await;
        renamed
    }

    async fn title(&self) -> Value {
        let path = format!("/plans/{}", self.floor.plan.id);
        let plan = self.floor.author.at(self.node.address).get(&path).await.ok();
        plan["days"][0]["meals"][0]["title"].clone()
    }

    async fn stop(self) {
        self.node.stop().await;
        self.direct.stop().await;
    }
}

/// Ends the database session that waits for a lock.
async fn end_waiting(owner: &mut AsyncPgConnection) {
    let ended = diesel::sql_query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    assert_eq!(ended.execute(owner).await.expect("ended"), 1);
}

#[tokio::test]
async fn a_deadlock_is_retried_whatever_the_servers_language() {
    let scene = Scene::set().await;
    let mut other = scene.hold_log().await;
    // The change must detect the deadlock, so the other transaction gets a long `deadlock_timeout`.
    other
        .batch_execute("SET LOCAL deadlock_timeout = '1min'")
        .await
        .expect("set");
    let renamed = scene.rename().await;
    let plan = format!("SELECT 1 FROM plans WHERE id = '{}' FOR UPDATE", scene.floor.plan.id);
    other.batch_execute(&plan).await.expect("the change gave up its lock");
    other.batch_execute("COMMIT").await.expect("let go");
    renamed.await.expect("an answer").ok();
    assert_eq!(scene.title().await, "Paella");
    scene.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_sessions_is_unavailable_whatever_its_language() {
    let scene = Scene::set().await;
    let mut owner = scene.direct.owner().await;
    let mut holder = scene.hold_log().await;
    let renamed = scene.rename().await;
    end_waiting(&mut owner).await;
    renamed.await.expect("an answer").refused(503, "unavailable");
    holder.batch_execute("ROLLBACK").await.expect("let go");

    let lock = "BEGIN; LOCK TABLE plans IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(lock).await.expect("held");
    let author = scene.floor.author.at(scene.node.address);
    let read = tokio::spawn(async move { author.get("/plans").await });
    until_waiting(&mut owner, "relation").await;
    end_waiting(&mut owner).await;
    read.await.expect("an answer").refused(503, "unavailable");
    holder.batch_execute("ROLLBACK").await.expect("let go");
    assert_ne!(scene.title().await, "Paella");
    scene.stop().await;
}

#[tokio::test]
async fn a_permanent_fault_is_reported_after_three_attempts() {
    let scene = Scene::set().await;
    let mut owner = scene.direct.owner().await;
    owner
        .batch_execute(
            "CREATE SEQUENCE attempts; GRANT USAGE ON attempts TO liveplan_app;
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM nextval('attempts'); RAISE EXCEPTION 'no'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON plans FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .expect("a trigger");
    let (author, plan) = (scene.floor.author.at(scene.node.address), &scene.floor.plan);
    let path = format!("/plans/{}/days/1/meals/{}", plan.id, plan.meal);
    let body = json!({"title": "Paella"});
    let answer = author.write(Method::PATCH, &path, Some(&body), plan.version);
    let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
    answer.expect("in time").refused(500, "internal");
    let attempts: Count = diesel::sql_query("SELECT last_value AS n FROM attempts")
        .get_result(&mut owner)
        .await
        .expect("a count");
    assert_eq!(attempts.n, 3);
    scene.stop().await;
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}
