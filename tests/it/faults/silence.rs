//! A Postgres that goes silent: connections stay open, and no answer arrives.

use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use reqwest::Method;
use serde_json::json;

use super::commit::HOLD_COMMIT;
use super::screen::Screen;
use super::{Floor, effects};
use crate::harness::proxy::Cuttable;
use crate::harness::{Answer, TestApp, until};

/// The timeout of one statement; a transaction has a third more.
const STATEMENT: Duration = Duration::from_secs(3);
const TRANSACTION: Duration = Duration::from_secs(4);
/// The time that a loaded machine may add.
const MORE: Duration = Duration::from_secs(2);

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// One database, two nodes: one behind a proxy, and one with a direct connection.
async fn nodes() -> (TestApp, Cuttable, TestApp) {
    let direct = TestApp::start().await;
    let proxy = Cuttable::before_postgres(&direct.database).await;
    let through = proxy.url(&direct.database);
    let app = TestApp::node(&through, |config| config.database_statement = STATEMENT).await;
    (direct, proxy, app)
}

async fn in_time<T>(what: &str, deadline: Duration, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = tokio::time::timeout(deadline + MORE, work).await;
    println!("{what}: {:?}", began.elapsed());
    done.unwrap_or_else(|_| panic!("{what} hangs for longer than {deadline:?}"))
}

async fn ready(app: &TestApp) -> Answer {
    app.nobody().send(Method::GET, "/readyz", None, &[]).await
}

#[tokio::test]
async fn a_silent_postgres_delays_every_caller_at_most_until_the_deadline() {
    let (direct, proxy, app) = nodes().await;
    let floor = Floor::make(&direct, 1).await;
    let screen = Screen::open(&floor.trainer, app.address, floor.roster()).await;
    let (first, lost, elsewhere) = (floor.tick(0, 1), floor.tick(0, 2), floor.tick(0, 3));
    assert!(first.send(app.address).await);

    proxy.silence(true);
    let reader = floor.trainer.at(app.address);
    let (sent, read, ()) = tokio::join!(
        in_time("a change", TRANSACTION, lost.send(app.address)),
        in_time("a read", TRANSACTION, reader.get("/auth/me")),
        in_time(
            "the node's readiness",
            Duration::from_secs(3),
            until("it is not ready", async || { ready(&app).await.status == 503 })
        ),
    );
    assert!(!sent, "a change was acknowledged during the silence");
    read.refused(503, "unavailable");
    let (status, details) = app.readiness().await;
    assert_eq!((status, &details["database"]), (503, &json!(false)));
    // A change that another node commits meanwhile arrives when the database is back.
    assert!(elsewhere.send(direct.address).await);
    proxy.silence(false);

    until("the node is ready again", async || {
        ready(&app).await.status.is_success()
    })
    .await;
    reader.get("/auth/me").await.ok();
    until("the repeated change is acknowledged", async || {
        lost.send(app.address).await
    })
    .await;
    screen.becomes_right(app.address).await;
    assert_eq!(screen.seen().subscribed, 1, "the screen needed a new snapshot");
    let keys = [first.key, lost.key, elsewhere.key];
    assert_eq!(effects(&direct.database, &keys).await, [1; 3]);
    app.stop().await;
    direct.stop().await;
}

#[tokio::test]
async fn silence_during_commit_is_an_unknown_outcome_and_the_sweep_delivers_the_change() {
    let (direct, proxy, app) = nodes().await;
    let floor = Floor::make(&direct, 1).await;
    let mut screen = Screen::open(&floor.trainer, app.address, floor.roster()).await;
    let before = screen.seen().offset;
    let mut owner = direct.owner().await;
    owner.batch_execute(HOLD_COMMIT).await.expect("a trigger");
    owner
        .batch_execute("SELECT pg_advisory_lock(4711)")
        .await
        .expect("the lock");

    let member = floor.members[0].at(app.address);
    let path = format!("/api/v1/meals/{}/completions/{}", floor.plan.meal, floor.today);
    let body = json!({"status": "eaten"});
    let headers = [("Idempotency-Key", "silent")];
    let sent = member.send(Method::PUT, &path, Some(&body), &headers);
    let (answer, ()) = tokio::join!(in_time("a change", TRANSACTION, sent), async {
        until("the change is in COMMIT", async || {
            let waiting: Count = diesel::sql_query(
                "SELECT count(*) AS n FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'advisory' AND query ILIKE 'COMMIT%'",
            )
            .get_result(&mut owner)
            .await
            .expect("activity");
            waiting.n == 1
        })
        .await;
        proxy.silence(true);
        owner
            .batch_execute("SELECT pg_advisory_unlock(4711)")
            .await
            .expect("let go");
    });
    answer.refused(503, "outcome_unknown");
    assert_eq!(
        effects(&direct.database, &["silent".to_owned()]).await,
        [1],
        "the change was not committed"
    );
    assert_eq!(
        screen.seen().offset,
        before,
        "the screen got the change during the silence"
    );
    proxy.silence(false);

    let took = screen
        .waits_until("it shows the tick", |seen| seen.offset > before)
        .await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    screen.becomes_right(app.address).await;
    let again = member.send(Method::PUT, &path, Some(&body), &headers).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(effects(&direct.database, &["silent".to_owned()]).await, [1]);
    app.stop().await;
    direct.stop().await;
}
