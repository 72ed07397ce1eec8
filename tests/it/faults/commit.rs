//! A client that disconnects while its change is in COMMIT.

use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::screen::Screen;
use super::{Floor, effects};
use crate::harness::TestApp;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Makes the COMMIT of every completion wait for an advisory lock.
pub const HOLD_COMMIT: &str = "
    CREATE FUNCTION hold_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT OR UPDATE ON completions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_commit()";

#[tokio::test]
async fn a_change_whose_client_disconnects_during_commit_still_reaches_the_screens() {
    let app = TestApp::start().await;
    let floor = Floor::make(&app, 1).await;
    let mut screen = Screen::open(&floor.trainer, app.address, floor.roster()).await;
    let mut owner = app.owner().await;
    owner.batch_execute(HOLD_COMMIT).await.expect("a trigger");
    owner
        .batch_execute("SELECT pg_advisory_lock(4711)")
        .await
        .expect("the lock");

    let (member, key) = (&floor.members[0], "given-up");
    let body = json!({"meal_id": floor.plan.meal, "date": floor.today, "status": "eaten", "key": key}).to_string();
    let mut request = TcpStream::connect(app.address).await.expect("a connection");
    let head = format!(
        "POST /api/v1/meals/complete HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        member.token.as_deref().expect("signed in"),
        body.len()
    );
    request.write_all(head.as_bytes()).await.expect("sent");
    let began = Instant::now();
    loop {
        let waiting: Count = diesel::sql_query(
            "SELECT count(*) AS n FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'advisory' AND query ILIKE 'COMMIT%'",
        )
        .get_result(&mut owner)
        .await
        .expect("activity");
        if waiting.n == 1 {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the change did not reach COMMIT"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The server closes its end without an answer: the handler has been dropped while COMMIT waits.
    request.shutdown().await.expect("half closed");
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), request.read_to_end(&mut answer)).await;
    ended.expect("the server lets go of the request").expect("read");
    assert_eq!(String::from_utf8_lossy(&answer), "");
    assert_eq!(
        effects(&app.database, &[key.to_owned()]).await,
        [0],
        "the tick was committed too early"
    );
    let before = screen.seen().offset;

    owner
        .batch_execute("SELECT pg_advisory_unlock(4711)")
        .await
        .expect("let go");
    let took = screen
        .waits_until("it shows the tick", |seen| seen.offset > before)
        .await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    screen.becomes_right(app.address).await;
    assert_eq!(effects(&app.database, &[key.to_owned()]).await, [1]);
    let again = member
        .post("/meals/complete", &serde_json::from_str(&body).expect("JSON"))
        .await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    app.stop().await;
}
