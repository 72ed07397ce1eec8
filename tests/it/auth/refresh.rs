//! Refresh tokens: lost answers, copies, races, and the ends of a session.

use chrono::TimeDelta;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::future::join_all;
use liveplan::auth::Role;
use serde_json::{Value, json};

use super::{OTHER_PASSWORD, join, member, refresh, slug, slug_of};
use crate::harness::{Client, PASSWORD, TestApp, until};

/// A session's row.
#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    predecessor_until: Option<chrono::DateTime<chrono::Utc>>,
    #[diesel(sql_type = Nullable<Text>)]
    ended_reason: Option<String>,
}

async fn row(app: &TestApp, session: &Value) -> Row {
    let id: uuid::Uuid = session["session_id"].as_str().expect("an id").parse().expect("an id");
    diesel::sql_query("SELECT generation, predecessor_until, ended_reason FROM sessions WHERE id = $1")
        .bind::<SqlUuid, _>(id)
        .get_result(&mut app.owner().await)
        .await
        .expect("a session")
}

async fn until_predecessor_is_void(app: &TestApp, session: &Value) {
    until("the predecessor is void", async || {
        row(app, session).await.predecessor_until.is_none()
    })
    .await;
}

/// Sends a void token, and reads the end of the session from a socket that it has.
async fn ends_the_session(app: &TestApp, member: &Client, void: &Value, newest: &Value) {
    let newest = refresh(member, newest).await.ok();
    let device = member.with(&newest);
    let mut socket = device.socket().await;
    assert!(socket.connected.get("connect").is_some(), "{}", socket.connected);
    refresh(member, void).await.refused(401, "session_ended");
    assert_eq!(socket.closed().await, 3503);
    device.get("/auth/me").await.refused(401, "session_ended");
    refresh(member, &newest).await.refused(401, "session_ended");
    assert_eq!(row(app, &newest).await.ended_reason.as_deref(), Some("reuse"));
}

#[tokio::test]
async fn a_refresh_whose_answer_got_lost_gives_the_same_token_again_for_a_day() {
    let (app, _, member) = member().await;
    let first = member.login(PASSWORD, None).await.ok();
    let lost = refresh(&member, &first).await.ok();
    assert_ne!(lost["refresh_token"], first["refresh_token"]);
    for hours in [0, 1, 22] {
        app.app.clock.advance(TimeDelta::hours(hours));
        let again = refresh(&member, &first).await.ok();
        assert_eq!(again["refresh_token"], lost["refresh_token"], "{hours} h later");
        assert_eq!(again["session_id"], first["session_id"]);
    }
    assert_eq!(row(&app, &first).await.generation, 2);
    // An hour and a bit later the day is over, counted from the first answer.
    app.app.clock.advance(TimeDelta::minutes(61));
    ends_the_session(&app, &member, &first, &lost).await;
    app.stop().await;
}

#[tokio::test]
async fn a_request_with_the_next_access_token_voids_the_refresh_token_before() {
    let (app, _, member) = member().await;
    let first = member.login(PASSWORD, None).await.ok();
    let second = refresh(&member, &first).await.ok();
    // The access token of the generation before proves nothing about the answer.
    member.with(&first).get("/auth/me").await.ok();
    assert_eq!(
        refresh(&member, &first).await.ok()["refresh_token"],
        second["refresh_token"]
    );
    member.with(&second).get("/auth/me").await.ok();
    until_predecessor_is_void(&app, &second).await;
    ends_the_session(&app, &member, &first, &second).await;
    app.stop().await;
}

#[tokio::test]
async fn a_socket_with_the_next_access_token_voids_the_refresh_token_before() {
    let (app, _, member) = member().await;
    let first = member.login(PASSWORD, None).await.ok();
    let second = refresh(&member, &first).await.ok();
    let mut socket = member.with(&second).socket().await;
    until_predecessor_is_void(&app, &second).await;
    refresh(&member, &first).await.refused(401, "session_ended");
    assert_eq!(socket.closed().await, 3503);
    app.stop().await;
}

#[tokio::test]
async fn any_older_refresh_token_ends_the_session_on_any_day() {
    let (app, _, member) = member().await;
    let first = member.login(PASSWORD, None).await.ok();
    let mut newest = refresh(&member, &first).await.ok();
    for _ in 0..3 {
        app.app.clock.advance(TimeDelta::days(20));
        newest = refresh(&member, &newest).await.ok();
        liveplan::server::housekeeping::once(&app.app, Some(&app.database)).await;
    }
    ends_the_session(&app, &member, &first, &newest).await;
    app.stop().await;
}

#[tokio::test]
async fn concurrent_refreshes_on_two_nodes_get_one_token_and_the_session_goes_on() {
    let (app, _, member) = member().await;
    let other = TestApp::node(&app.database, |_| {}).await;
    let mut session = member.login(PASSWORD, None).await.ok();
    for round in 0..5 {
        let all = (0..16).map(|n| {
            let client = if n % 2 == 0 {
                member.clone()
            } else {
                member.at(other.address)
            };
            let session = session.clone();
            tokio::spawn(async move { refresh(&client, &session).await.ok() })
        });
        let all: Vec<Value> = join_all(all)
            .await
            .into_iter()
            .map(|one| one.expect("joined"))
            .collect();
        for one in &all {
            assert_eq!(one["refresh_token"], all[0]["refresh_token"]);
            member.with(one).get("/auth/me").await.ok();
        }
        session = all[0].clone();
        assert_eq!(row(&app, &session).await.generation, round + 2);
    }
    refresh(&member, &session).await.ok();
    other.stop().await;
    app.stop().await;
}

#[tokio::test]
async fn a_forged_refresh_token_ends_nothing() {
    let (app, _, member) = member().await;
    let session = member.login(PASSWORD, None).await.ok();
    let token = session["refresh_token"].as_str().expect("a token");
    // Each character in turn, so every field of the token.
    for at in 0..token.len() {
        let mut forged = token.to_owned();
        forged.replace_range(at..=at, if token[at..].starts_with('A') { "E" } else { "A" });
        refresh(&member, &json!({"refresh_token": forged}))
            .await
            .refused(401, "session_ended");
    }
    refresh(&member, &session).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn a_session_ends_after_ninety_days_although_it_is_used() {
    let (app, _, member) = member().await;
    let elsewhere = app.gym().await;
    join(&app, elsewhere, &member, "active").await;
    let (here, there) = (slug(&member).await, slug_of(&app, elsewhere).await);
    let mut session = member.login(PASSWORD, Some(&here)).await.ok();
    for _ in 0..4 {
        app.app.clock.advance(TimeDelta::days(20));
        session = refresh(&member, &session).await.ok();
    }
    // The log has partitions for two weeks ahead only.
    liveplan::server::housekeeping::once(&app.app, Some(&app.database)).await;
    // The session in another gym inherits the end.
    let switched = member
        .with(&session)
        .post("/auth/switch", &json!({"gym": there}))
        .await
        .ok();
    app.app.clock.advance(TimeDelta::days(10) - TimeDelta::minutes(1));
    let switched = refresh(&member, &switched).await.ok();
    let device = member.with(&switched);
    device.get("/auth/me").await.ok();
    app.app.clock.advance(TimeDelta::minutes(1));
    device.get("/auth/me").await.refused(401, "session_ended");
    refresh(&member, &switched).await.refused(401, "session_ended");
    app.stop().await;
}

#[tokio::test]
async fn a_new_password_gives_the_session_new_tokens_and_voids_its_refresh_token() {
    let (app, _, member) = member().await;
    let change = json!({"current_password": PASSWORD, "new_password": OTHER_PASSWORD});
    let old = member.login(PASSWORD, None).await.ok();
    let device = member.with(&old);
    let mut socket = device.socket().await;
    let answer = device.post("/auth/password", &change).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let new = answer.ok();
    assert_eq!(new["session_id"], old["session_id"]);
    assert_eq!(new["account"], old["account"]);
    let device = device.with(&new);
    device.get("/auth/me").await.ok();
    // The socket stays: the session goes on.
    let own = format!("member:{}", member.account);
    assert_eq!(socket.subscribe(&own).await["error"]["code"], 105);
    let new = refresh(&member, &new).await.ok();
    // Whoever copied the old token ends the session, even if no token of the answer had been used.
    refresh(&member, &old).await.refused(401, "session_ended");
    assert_eq!(socket.closed().await, 3503);
    refresh(&member, &new).await.refused(401, "session_ended");

    let old = member.login(OTHER_PASSWORD, None).await.ok();
    let change = json!({"current_password": OTHER_PASSWORD, "new_password": PASSWORD});
    let new = member.with(&old).post("/auth/password", &change).await.ok();
    refresh(&member, &old).await.refused(401, "session_ended");
    refresh(&member, &new).await.refused(401, "session_ended");
    app.stop().await;
}

#[tokio::test]
async fn a_locked_session_does_not_hold_up_the_uses_of_others() {
    let (app, gym, one) = member().await;
    let two = app.person(gym, &[Role::Member]).await;
    let held = refresh(&one, &one.login(PASSWORD, None).await.ok()).await.ok();
    let free = refresh(&two, &two.login(PASSWORD, None).await.ok()).await.ok();
    let mut locker = app.owner().await;
    locker
        .batch_execute(&format!(
            "BEGIN; SELECT 1 FROM sessions WHERE id = '{}' FOR UPDATE",
            held["session_id"].as_str().expect("an id")
        ))
        .await
        .expect("locked");
    one.with(&held).get("/auth/me").await.ok();
    two.with(&free).get("/auth/me").await.ok();
    until_predecessor_is_void(&app, &free).await;
    assert!(row(&app, &held).await.predecessor_until.is_some());
    locker.batch_execute("ROLLBACK").await.expect("let go");
    // Its next requests report it again.
    until("the predecessor is void", async || {
        one.with(&held).get("/auth/me").await.ok();
        row(&app, &held).await.predecessor_until.is_none()
    })
    .await;
    app.stop().await;
}
