//! The daily partitions of live events on a real Postgres: created ahead, detached while other connections read and
//! write, dropped, and completed after an interruption.

use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate};
use diesel::sql_types::{BigInt, Date, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::events::partitions;
use serde_json::{Value, json};

use crate::harness::{TestApp, postgres};

#[derive(diesel::QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn table(day: NaiveDate) -> String {
    format!("live_events_{}", day.format("%Y%m%d"))
}

/// Creates the partitions of `days` days from `first` on.
async fn make(conn: &mut AsyncPgConnection, first: NaiveDate, days: i32) {
    diesel::sql_query("SELECT make_live_event_partitions($1, $2)")
        .bind::<Date, _>(first)
        .bind::<Integer, _>(days)
        .execute(conn)
        .await
        .expect("partitions");
}

/// Lists the tables of days, whether they are still partitions or not.
async fn tables(conn: &mut AsyncPgConnection) -> Vec<String> {
    let names: Vec<Name> = diesel::sql_query(
        "SELECT relname::text AS name FROM pg_class WHERE relkind = 'r' AND relname LIKE 'live_events_2%' ORDER BY 1",
    )
    .load(conn)
    .await
    .expect("tables");
    names.into_iter().map(|n| n.name).collect()
}

async fn oldest_table(conn: &mut AsyncPgConnection) -> Option<String> {
    tables(conn).await.into_iter().next()
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    let count: Count = diesel::sql_query(sql).get_result(conn).await.expect(sql);
    count.n
}

async fn write(conn: &mut AsyncPgConnection, day: NaiveDate) {
    diesel::sql_query(
        "INSERT INTO live_events (gym_id, seq, channel, type, payload, at)
         VALUES (gen_random_uuid(), 1, 'c', 't', '{}', $1::timestamp AT TIME ZONE 'UTC')",
    )
    .bind::<Date, _>(day)
    .execute(conn)
    .await
    .expect("written");
}

/// A database with partitions for ten past days and the days ahead. Returns its URL, the first day and today.
async fn with_old_days() -> (String, NaiveDate, NaiveDate) {
    let url = postgres::fresh_database().await;
    let mut conn = liveplan::db::establish(&url).await.expect("a connection");
    let today = liveplan::clock::Clock::default().now().date_naive();
    let first = today - Days::new(10);
    make(&mut conn, first, 25).await;
    write(&mut conn, first).await;
    write(&mut conn, today).await;
    (url, first, today)
}

#[tokio::test]
async fn partitions_past_retention_are_detached_and_dropped_and_the_others_stay() {
    let (url, first, today) = with_old_days().await;
    let mut conn = liveplan::db::establish(&url).await.expect("a connection");
    let oldest = first + Days::new(3);
    assert!(partitions::any_to_retire(&mut conn, oldest).await.expect("read"));
    assert_eq!(partitions::retire(&mut conn, oldest).await.expect("retired"), 3);
    assert_eq!(tables(&mut conn).await.len(), 22);
    assert_eq!(oldest_table(&mut conn).await, Some(table(oldest)));
    assert_eq!(count(&mut conn, "SELECT count(*) AS n FROM live_events").await, 1);
    assert!(!partitions::any_to_retire(&mut conn, oldest).await.expect("read"));
    assert_eq!(partitions::retire(&mut conn, oldest).await.expect("nothing"), 0);
    let last = partitions::last_day(&mut conn, today).await.expect("read");
    assert_eq!(last, Some(today + Days::new(14)));
}

#[tokio::test]
async fn a_table_detached_before_a_crash_is_dropped() {
    let (url, first, _) = with_old_days().await;
    let mut conn = liveplan::db::establish(&url).await.expect("a connection");
    conn.batch_execute(&format!(
        "ALTER TABLE live_events DETACH PARTITION {} CONCURRENTLY",
        table(first)
    ))
    .await
    .expect("detached");
    let oldest = first + Days::new(1);
    assert!(partitions::any_to_retire(&mut conn, oldest).await.expect("read"));
    assert_eq!(partitions::retire(&mut conn, oldest).await.expect("retired"), 1);
    assert_eq!(oldest_table(&mut conn).await.as_ref(), Some(&table(oldest)));
}

#[tokio::test]
async fn an_interrupted_detach_is_completed_and_blocks_nobody_meanwhile() {
    let (url, first, today) = with_old_days().await;
    let [mut reader, mut tender, mut writer] = [
        liveplan::db::establish(&url).await.expect("a connection"),
        liveplan::db::establish(&url).await.expect("a connection"),
        liveplan::db::establish(&url).await.expect("a connection"),
    ];
    // A long read makes the detach wait until its statement times out.
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM live_events")
        .await
        .expect("reading");
    tender.batch_execute("SET statement_timeout = '2s'").await.expect("set");
    let began = Instant::now();
    let detach = format!("ALTER TABLE live_events DETACH PARTITION {} CONCURRENTLY", table(first));
    let pending = "SELECT count(*) AS n FROM pg_inherits WHERE inhdetachpending";
    let (detached, ()) = tokio::join!(tender.batch_execute(&detach), async {
        while count(&mut writer, pending).await == 0 {
            assert!(
                began.elapsed() < Duration::from_millis(1800),
                "the detach has not begun"
            );
        }
        write(&mut writer, today).await;
        // Another node may start and create partitions meanwhile.
        make(&mut writer, today + Days::new(15), 1).await;
        // Rows of a partition that is being detached are no longer visible.
        assert_eq!(count(&mut writer, "SELECT count(*) AS n FROM live_events").await, 2);
        assert!(
            began.elapsed() < Duration::from_millis(1800),
            "a statement waited for the detach"
        );
    });
    assert!(detached.is_err(), "the detach was not interrupted");
    assert_eq!(count(&mut writer, pending).await, 1);
    reader.batch_execute("COMMIT").await.expect("read");

    let oldest = first + Days::new(2);
    assert_eq!(partitions::retire(&mut tender, oldest).await.expect("retired"), 2);
    assert_eq!(count(&mut writer, pending).await, 0);
    assert_eq!(oldest_table(&mut writer).await.as_ref(), Some(&table(oldest)));
    write(&mut writer, today).await;
}

#[tokio::test]
async fn of_two_nodes_only_one_retires_old_partitions() {
    let (url, first, _) = with_old_days().await;
    let mut one = liveplan::db::establish(&url).await.expect("a connection");
    let mut two = liveplan::db::establish(&url).await.expect("a connection");
    let oldest = first + Days::new(5);
    let (a, b) = tokio::join!(
        partitions::retire(&mut one, oldest),
        partitions::retire(&mut two, oldest)
    );
    let (a, b) = (a.expect("retired"), b.expect("retired"));
    // The second call may have begun after the first had ended.
    assert_eq!(a + b, 5, "{a} and {b}");
    assert_eq!(oldest_table(&mut one).await.as_ref(), Some(&table(oldest)));
}

#[tokio::test]
async fn a_node_starts_while_another_retires_a_partition_that_is_still_read() {
    let (url, first, _) = with_old_days().await;
    let mut reader = liveplan::db::establish(&url).await.expect("a connection");
    let mut watcher = liveplan::db::establish(&url).await.expect("a connection");
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM live_events")
        .await
        .expect("reading");
    let retiring = {
        let url = url.clone();
        tokio::spawn(async move {
            let mut conn = liveplan::db::establish(&url).await.expect("a connection");
            partitions::retire(&mut conn, first + Days::new(1)).await
        })
    };
    crate::harness::until("the day is being detached", async || {
        count(
            &mut watcher,
            "SELECT count(*) AS n FROM pg_inherits WHERE inhdetachpending",
        )
        .await
            == 1
    })
    .await;
    let app = TestApp::node(&url, |_| {}).await;
    assert!(
        !retiring.is_finished(),
        "the partition was retired before the reader ended"
    );
    reader.batch_execute("COMMIT").await.expect("read");
    assert_eq!(retiring.await.expect("no panic").expect("retired"), 1);
    app.stop().await;
}

#[tokio::test]
async fn creating_partitions_does_not_wait_for_readers() {
    let (url, _, today) = with_old_days().await;
    let mut reader = liveplan::db::establish(&url).await.expect("a connection");
    let mut maker = liveplan::db::establish(&url).await.expect("a connection");
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM live_events")
        .await
        .expect("reading");
    maker.batch_execute("SET lock_timeout = '500ms'").await.expect("set");
    make(&mut maker, today + Days::new(15), 2).await;
    reader.batch_execute("COMMIT").await.expect("read");
    let last = partitions::last_day(&mut maker, today).await.expect("read");
    assert_eq!(last, Some(today + Days::new(16)));
    write(&mut maker, today + Days::new(16)).await;
}

#[tokio::test]
async fn a_server_retires_old_partitions_and_readiness_warns_before_days_run_out() {
    let (url, first, today) = with_old_days().await;
    let app = TestApp::node(&url, |_| {}).await;
    let mut conn = app.owner().await;
    let began = Instant::now();
    // Seven days are kept, plus one for time zones.
    while oldest_table(&mut conn).await.as_ref() != Some(&table(first + Days::new(2))) {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            tables(&mut conn).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let warns = |body: &Value| body["warnings"].to_string().contains("partitions");
    let (status, body) = app.readiness().await;
    assert_eq!((status, &body["partition_days_ahead"]), (200, &json!(14)));
    assert!(!warns(&body), "{body}");
    for (days, status, ahead, warned) in [
        (4, 200, json!(3), false),
        (3, 200, json!(2), true),
        (0, 503, json!(null), true),
    ] {
        let gone = table(today + Days::new(days));
        conn.batch_execute(&format!("ALTER TABLE live_events DETACH PARTITION {gone}"))
            .await
            .expect("detached");
        crate::harness::until("the node has checked its partitions", async || {
            app.readiness().await.1["partition_days_ahead"] == ahead
        })
        .await;
        let (got, body) = app.readiness().await;
        assert_eq!(got, status, "{body}");
        let stranger = app.nobody().send(reqwest::Method::GET, "/readyz", None, &[]).await;
        assert_eq!(stranger.status.as_u16(), status);
        assert_eq!(warns(&body), warned, "{body}");
    }
    app.stop().await;
}
