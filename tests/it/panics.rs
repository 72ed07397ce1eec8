//! A panic inside a transaction is a bug; it must fail its own request and affect nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use liveplan::app::For;
use liveplan::auth::Role;
use liveplan::error::{Code, Result};
use liveplan::events::{Channel, log};
use liveplan::ids::AccountId;
use serde_json::json;

use crate::harness::{TestApp, local};

/// More panics than the pool has connections.
const TIMES: usize = 24;

#[tokio::test]
async fn a_panic_in_a_transaction_fails_only_its_own_request() {
    let app = TestApp::start().await;
    let place = app.gym().await;
    let gym = place.id;
    let rename = |name: String, fails: bool| {
        let app = app.app.clone();
        async move {
            app.change(For::gym(gym), async move |tx| {
                diesel::sql_query("UPDATE gyms SET name = name || $2 WHERE id = $1")
                    .bind::<SqlUuid, _>(gym)
                    .bind::<Text, _>(&name)
                    .execute(&mut **tx)
                    .await?;
                assert!(!fails, "a mistake in a change");
                tx.emit(Channel::Roster(AccountId::new()), "test", json!({}));
                Ok(())
            })
            .await
        }
    };
    let work = async {
        for _ in 0..TIMES {
            let read = app.app.clone();
            let read = tokio::task::spawn_local(async move {
                read.read(For::gym(gym), async |_| -> Result<()> { panic!("a mistake in a read") })
                    .await
            });
            let (kept, lost, read) = tokio::join!(rename("+".into(), false), rename("-".into(), true), read);
            kept.expect("the change beside it is made");
            assert_eq!(lost.expect_err("a panic").code, Code::Internal);
            assert!(read.expect_err("a panic").is_panic());
        }
    };
    local(work).await;
    let in_flight = &app.app.changes_in_flight;
    assert_eq!(AtomicUsize::load(in_flight, Ordering::Acquire), 0);
    let manager = app.person(place, &[Role::Manager]).await;
    let all: Vec<_> = (0..TIMES).map(|_| manager.get("/gym")).collect();
    for answer in futures_util::future::join_all(all).await {
        let name = answer.ok()["name"].as_str().expect("a name").to_owned();
        assert_eq!(
            (
                name.matches('+').count(),
                name.split_once('+').map(|(_, rest)| rest.contains('-'))
            ),
            (TIMES, Some(false))
        );
    }
    let head = app
        .app
        .read(For::gym(gym), async |conn| Ok(log::head(conn, gym).await?))
        .await;
    assert_eq!(head.expect("a read").expect("a head").seq, TIMES as u64);
    app.stop().await;
}
