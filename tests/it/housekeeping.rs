//! The hourly job: partitions are created even if deletes cannot run, and deletes run in bounded batches.

use std::time::Duration;

use chrono::Days;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::events::partitions;
use liveplan::server::housekeeping::{self, BATCH, TRIMS};

use crate::harness::{Gym, TestApp, until};

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    let count: Count = diesel::sql_query(sql).get_result(conn).await.expect(sql);
    count.n
}

/// Inserts expired idempotency keys of a gym.
async fn old_keys(conn: &mut AsyncPgConnection, gym: Gym, rows: i64) {
    conn.batch_execute(&format!(
        "INSERT INTO idempotency_keys (gym_id, account_id, key, request_hash, status, response, created_at)
         SELECT '{}', gen_random_uuid(), 'old-' || n, '\\x00', 200, '{{}}', now() - interval '2 days'
         FROM generate_series(1, {rows}) AS n",
        gym.id
    ))
    .await
    .expect("keys");
}

#[tokio::test]
async fn partitions_are_created_while_the_deletes_wait_for_a_lock() {
    let app = TestApp::start().await;
    let mut owner = app.owner().await;
    let mut locker = app.owner().await;
    let today = app.app.clock.now().date_naive();
    // As if no partition had been created for two weeks.
    for day in 2..=14 {
        let gone = format!("live_events_{}", (today + Days::new(day)).format("%Y%m%d"));
        owner
            .batch_execute(&format!("DROP TABLE {gone}"))
            .await
            .expect("dropped");
    }
    locker
        .batch_execute(
            "BEGIN; LOCK TABLE idempotency_keys, quota_windows, sessions, known_devices IN ACCESS EXCLUSIVE MODE",
        )
        .await
        .expect("locked");
    let (served, url) = (app.app.clone(), app.database.clone());
    let keeping = tokio::spawn(async move { housekeeping::once(&served, Some(&url)).await });
    until("the partitions are created", async || {
        partitions::last_day(&mut owner, today).await.expect("read") == Some(today + Days::new(14))
    })
    .await;
    assert!(!keeping.is_finished(), "the deletes did not wait for the lock");
    keeping.abort();
    locker.batch_execute("ROLLBACK").await.expect("let go");
    app.stop().await;
}

#[tokio::test]
async fn expired_rows_are_deleted_in_bounded_batches_and_locked_ones_are_skipped() {
    let app = TestApp::start().await;
    let mut owner = app.owner().await;
    let gym = app.gym().await;
    old_keys(&mut owner, gym, 2 * BATCH + 500).await;
    owner
        .batch_execute(
            "CREATE TABLE batches (rows bigint, transaction bigint);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN INSERT INTO batches SELECT count(*), txid_current() FROM gone; RETURN NULL; END $$;
             CREATE TRIGGER note AFTER DELETE ON idempotency_keys REFERENCING OLD TABLE AS gone
             FOR EACH STATEMENT EXECUTE FUNCTION note()",
        )
        .await
        .expect("a trigger");
    let mut locker = app.owner().await;
    locker
        .batch_execute("BEGIN; SELECT 1 FROM idempotency_keys WHERE key = 'old-7' FOR UPDATE")
        .await
        .expect("locked");
    let began = std::time::Instant::now();
    housekeeping::once(&app.app, Some(&app.database)).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "the job waited for the locked row"
    );
    assert_eq!(count(&mut owner, "SELECT count(*) AS n FROM idempotency_keys").await, 1);
    assert_eq!(
        count(&mut owner, "SELECT max(rows)::bigint AS n FROM batches").await,
        BATCH
    );
    assert_eq!(
        count(&mut owner, "SELECT sum(rows)::bigint AS n FROM batches").await,
        2 * BATCH + 499
    );
    let transactions = "SELECT count(DISTINCT transaction) AS n FROM batches WHERE rows > 0";
    assert_eq!(count(&mut owner, transactions).await, 3);
    locker.batch_execute("ROLLBACK").await.expect("let go");
    housekeeping::once(&app.app, Some(&app.database)).await;
    assert_eq!(count(&mut owner, "SELECT count(*) AS n FROM idempotency_keys").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn every_delete_finds_its_rows_by_an_index() {
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        #[diesel(column_name = "QUERY PLAN")]
        line: String,
    }
    let app = TestApp::start().await;
    let mut owner = app.owner().await;
    // On these small tables Postgres would choose a sequential scan; this checks that an index scan is possible.
    owner
        .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        .await
        .expect("set");
    for trim in TRIMS {
        let sql = trim.sql().replace("$1", "now()").replace("$2", "1000");
        let plan: Vec<Line> = diesel::sql_query(format!("EXPLAIN {sql}"))
            .load(&mut owner)
            .await
            .expect("a plan");
        let plan = plan.into_iter().map(|l| l.line).collect::<Vec<_>>().join("\n");
        assert!(
            plan.contains("Index Scan using") && plan.contains("Tid Scan"),
            "{trim:?}: {plan}"
        );
        assert!(!plan.contains("Seq Scan") && !plan.contains("Sort"), "{trim:?}: {plan}");
    }
    app.stop().await;
}
