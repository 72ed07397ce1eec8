//! The deployment that access tokens name: a copy of the database opens nothing in the original.

use diesel_async::SimpleAsyncConnection as _;
use liveplan::auth::Role;
use serde_json::json;

use super::refresh;
use crate::harness::{PASSWORD, TestApp, postgres, until};

#[tokio::test]
async fn a_copys_access_tokens_open_nothing_in_the_original_nor_the_other_way_round() {
    let app = TestApp::start().await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let session = member.login(PASSWORD, None).await.ok();
    let database = app.database.clone();
    // A database is copied while nobody uses it.
    app.stop().await;
    let copied = postgres::copy_of(&database).await;
    let (original, copy) = (
        TestApp::node(&database, |_| {}).await,
        TestApp::node(&copied, |_| {}).await,
    );
    assert_ne!(original.app.tokens.issuer(), copy.app.tokens.issuer());

    // The restarted original is the same deployment. Both have the session and the same keys.
    let here = member.at(original.address).with(&session);
    here.get("/auth/me").await.ok();
    let there = here.at(copy.address);
    there.get("/auth/me").await.refused(401, "unauthenticated");
    let mut socket = there.raw_socket().await;
    socket.send("connect", json!({"token": session["access_token"]})).await;
    assert_eq!(socket.closed().await, 3500);

    let in_copy = there.login(PASSWORD, None).await.ok();
    there.with(&in_copy).get("/auth/me").await.ok();
    here.with(&in_copy)
        .get("/auth/me")
        .await
        .refused(401, "unauthenticated");
    let mut socket = here.raw_socket().await;
    socket.send("connect", json!({"token": in_copy["access_token"]})).await;
    assert_eq!(socket.closed().await, 3500);
    copy.stop().await;
    original.stop().await;
}

#[tokio::test]
async fn a_node_that_runs_follows_the_deployment_after_a_failover() {
    let one = TestApp::start().await;
    let member = one.person(one.gym().await, &[Role::Member]).await;
    let before = member.login(PASSWORD, None).await.ok();
    // As if the database had been promoted from a replica.
    one.owner()
        .await
        .batch_execute("UPDATE log_origin SET timeline = '0000ABCD'")
        .await
        .expect("another timeline");
    let two = TestApp::node(&one.database, |_| {}).await;
    let issuer = two.app.tokens.issuer();
    member
        .at(two.address)
        .with(&before)
        .get("/auth/me")
        .await
        .refused(401, "unauthenticated");
    until("the running node follows", async || one.app.tokens.issuer() == issuer).await;
    member
        .with(&before)
        .get("/auth/me")
        .await
        .refused(401, "unauthenticated");
    // Sessions go on: a refresh gives a token that both accept.
    let after = refresh(&member, &before).await.ok();
    for address in [one.address, two.address] {
        member.at(address).with(&after).get("/auth/me").await.ok();
    }
    // Starting again changes nothing.
    let three = TestApp::node(&one.database, |_| {}).await;
    assert_eq!(three.app.tokens.issuer(), issuer);
    for app in [one, two, three] {
        app.stop().await;
    }
}
