//! A Postgres that vanishes without a word: connections stay open, and nothing comes back on them.

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

/// For one statement; a transaction has a third more.
const STATEMENT: Duration = Duration::from_secs(3);
const TRANSACTION: Duration = Duration::from_secs(4);
/// What a loaded machine may add.
const MORE: Duration = Duration::from_secs(2);

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// The same database twice: a node behind a proxy, and the test's own way to it.
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
async fn a_postgres_that_vanishes_without_a_word_holds_nobody_longer_than_the_deadline() {
    let (direct, proxy, app) = nodes().await;
    let floor = Floor::make(&direct, 1).await;
    let screen = Screen::open(&floor.trainer, app.address, floor.roster()).await;
    let (first, lost, elsewhere) = (floor.tick(0, 1), floor.tick(0, 2), floor.tick(0, 3));
    assert!(first.send(app.address).await);

    proxy.silence(true);
    let reader = floor.trainer.at(app.address);
    let (sent, read, readiness) = tokio::join!(
        in_time("a change", TRANSACTION, lost.send(app.address)),
        in_time("a read", TRANSACTION, reader.get("/auth/me")),
        in_time("readiness", Duration::from_secs(2), ready(&app)),
    );
    assert!(!sent, "nothing was acknowledged");
    read.refused(503, "unavailable");
    assert_eq!(
        (readiness.status.as_u16(), &readiness.body["database"]),
        (503, &json!(false))
    );
    // What another node commits meanwhile comes when the database is back.
    assert!(elsewhere.send(direct.address).await);
    proxy.silence(false);

    until("the node is ready again", async || {
        ready(&app).await.status.is_success()
    })
    .await;
    reader.get("/auth/me").await.ok();
    until("the change is made", async || lost.send(app.address).await).await;
    screen.becomes_right(app.address).await;
    assert_eq!(screen.seen().subscribed, 1, "it never had to begin anew");
    let keys = [first.key, lost.key, elsewhere.key];
    assert_eq!(effects(&direct.database, &keys).await, [1; 3]);
    app.stop().await;
    direct.stop().await;
}

#[tokio::test]
async fn silence_in_commit_is_an_unknown_outcome_and_the_sweep_delivers_what_was_committed() {
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
        until("it is in COMMIT", async || {
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
        "it was committed"
    );
    assert_eq!(screen.seen().offset, before, "nobody could tell");
    proxy.silence(false);

    let took = screen
        .waits_until("the tick has come", |seen| seen.offset > before)
        .await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    screen.becomes_right(app.address).await;
    let again = member.send(Method::PUT, &path, Some(&body), &headers).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(effects(&direct.database, &["silent".to_owned()]).await, [1]);
    app.stop().await;
    direct.stop().await;
}
