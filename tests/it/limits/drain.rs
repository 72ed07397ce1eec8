//! A node that stops: it reports that it drains, answers accepted commands, and closes its sockets in batches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::auth::Role;
use serde_json::{Value, json};

use super::side_of;
use crate::faults::Floor;
use crate::harness::{Socket, TestApp, readiness, until};

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[tokio::test]
async fn a_draining_node_is_not_ready_admits_nobody_and_answers_accepted_commands() {
    let app = TestApp::start_with(|config| config.drain_seconds = 1).await;
    let floor = Floor::make(&app, 2).await;
    let (member, hub, address, metrics) = (&floor.members[0], app.app.hub.clone(), app.address, app.metrics);
    let nobody = app.nobody();
    let mut lock = app.owner().await;
    let mut phone = member.socket().await;
    let side = side_of(&app, floor.gym, member);
    let mut unsaid = Socket::open(address).await;
    // Every write to the gym's log now waits.
    lock.batch_execute("BEGIN; LOCK TABLE completion_history IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let tick = |key: &str| {
        let data = json!({"key": key, "meal_id": floor.plan.meal, "date": floor.today, "status": "eaten"});
        json!({"method": "meal.complete", "data": data})
    };
    let key = uuid::Uuid::new_v4().to_string();
    let due = phone.send("rpc", tick(&key)).await;
    until("the change has begun", async || {
        AtomicUsize::load(&app.app.changes_in_flight, Ordering::SeqCst) > 0
    })
    .await;
    let database = app.database.clone();
    let mut keeper = liveplan::db::establish(&database).await.expect("a connection");
    let stopping = tokio::spawn(app.stop());
    until("the node drains", async || hub.is_draining()).await;
    let ready = nobody.send(reqwest::Method::GET, "/readyz", None, &[]).await;
    assert_eq!(
        (ready.status.as_u16(), ready.body),
        (503, json!({"status": "not ready"}))
    );
    assert_eq!(readiness(metrics).await.1["draining"], true);
    let (status, wait) = Socket::try_open(address).await.err().expect("refused");
    assert!(status == 503 && wait > 0);
    assert_eq!(unsaid.closed().await, 3001);
    // A command that arrives now is not accepted and gets no answer; the client sends it to another node.
    until("the phone's socket takes no more commands", async || {
        !side.takes_commands()
    })
    .await;
    phone.send("rpc", tick("late")).await;
    lock.batch_execute("COMMIT").await.expect("unlocked");
    let mut answers: Vec<Value> = Vec::new();
    let code = loop {
        match phone.next().await {
            Ok(message) if message["id"].is_number() => answers.push(message),
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert_eq!(code, 3001);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0]["id"] == due && answers[0]["rpc"].is_object(), "{answers:?}");
    stopping.await.expect("stopped");
    assert_eq!(crate::faults::effects(&database, &[key, "late".into()]).await, [1, 0]);
    let seen: Count = diesel::sql_query(
        "SELECT count(*) AS n FROM last_seen WHERE account_id = $1 AND seen_at > now() - interval '20 s'",
    )
    .bind::<SqlUuid, _>(member.account)
    .get_result(&mut keeper)
    .await
    .expect("a count");
    assert_eq!(seen.n, 1, "the member's last_seen was not recorded");
}

#[tokio::test]
async fn sockets_are_closed_in_batches_over_the_configured_time() {
    const SOCKETS: usize = 60;
    let app = TestApp::start_with(|config| {
        config.drain_seconds = 3;
        config.live.sockets_per_user = SOCKETS;
    })
    .await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(member.socket().await);
    }
    let began = Instant::now();
    let closing = sockets.into_iter().map(|mut socket| async move {
        assert_eq!(socket.closed().await, 3001);
        began.elapsed()
    });
    let (stopped, mut after) = tokio::join!(
        async {
            app.stop().await;
            began.elapsed()
        },
        futures_util::future::join_all(closing)
    );
    after.sort();
    assert!(after[SOCKETS / 4] > Duration::from_millis(400), "{after:?}");
    assert!(after[SOCKETS - 1] > Duration::from_secs(2), "{after:?}");
    let most = (0..SOCKETS)
        .map(|n| {
            after[n..]
                .iter()
                .take_while(|at| **at < after[n] + Duration::from_millis(100))
                .count()
        })
        .max();
    assert!(most < Some(12), "too many closes within 100 ms: {most:?} of {after:?}");
    assert!(stopped < Duration::from_secs(6), "{stopped:?}");
}
