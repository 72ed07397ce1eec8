//! Signing in, staying signed in, signing out.

mod deployment;
mod guessing;
mod refresh;

use chrono::TimeDelta;
use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use liveplan::auth::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Client, Gym, PASSWORD, TestApp};

const OTHER_PASSWORD: &str = "battery staple";

async fn member() -> (TestApp, Gym, Client) {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    (app, gym, member)
}

async fn refresh(client: &Client, session: &Value) -> crate::harness::client::Answer {
    client
        .post("/auth/refresh", &json!({"refresh_token": session["refresh_token"]}))
        .await
}

/// Adds a membership in another gym.
async fn join(app: &TestApp, gym: Gym, person: &Client, status: &str) {
    diesel::sql_query(
        "INSERT INTO memberships (gym_id, account_id, roles, status, created_at) VALUES ($1, $2, '{member}', $3, now())",
    )
    .bind::<SqlUuid, _>(gym.id)
    .bind::<SqlUuid, _>(person.account)
    .bind::<Text, _>(status)
    .execute(&mut app.owner().await)
    .await
    .expect("a membership");
}

async fn slug(person: &Client) -> String {
    person.get("/gym").await.ok()["slug"]
        .as_str()
        .expect("a slug")
        .to_owned()
}

#[tokio::test]
async fn signing_in_returns_the_account_the_gym_the_roles_and_the_channels() {
    let (app, gym, _) = member().await;
    let trainer = app.person(gym, &[Role::Trainer, Role::Member]).await;
    let answer = trainer.login(PASSWORD, None).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let session = answer.ok();
    assert_eq!(
        (&session["token_type"], &session["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    assert_eq!(session["account"]["email"], json!(trainer.email));
    assert_eq!(session["gym"]["id"], json!(gym.id));
    assert_eq!(session["roles"], json!(["trainer", "member"]));
    let channels = [
        format!("member:{}", trainer.account),
        format!("roster:{}", trainer.account),
    ];
    assert_eq!(session["channels"], json!(channels));

    let mut expected = session.clone();
    for token in [
        "access_token",
        "refresh_token",
        "device_secret",
        "token_type",
        "expires_in",
    ] {
        expected.as_object_mut().expect("an object").remove(token);
    }
    assert_eq!(trainer.with(&session).get("/auth/me").await.ok(), expected);
    app.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_email_get_the_same_answer() {
    let (app, _, member) = member().await;
    let wrong = member.login(OTHER_PASSWORD, None).await;
    wrong.refused(401, "bad_credentials");
    for email in ["nobody@test.example", "no address"] {
        let unknown = app
            .nobody()
            .post("/auth/login", &json!({"email": email, "password": PASSWORD}))
            .await;
        assert_eq!((unknown.status, &unknown.body), (wrong.status, &wrong.body));
    }
    app.stop().await;
}

#[tokio::test]
async fn a_used_refresh_token_ends_its_session_and_no_other() {
    let (app, _, member) = member().await;
    let first = member.login(PASSWORD, None).await.ok();
    let second = refresh(&member, &first).await.ok();
    let third = refresh(&member, &second).await.ok();
    assert_eq!(third["session_id"], first["session_id"]);
    let device = member.with(&third);
    device.get("/auth/me").await.ok();
    let mut socket = device.socket().await;
    assert!(socket.connected.get("connect").is_some(), "{}", socket.connected);

    refresh(&member, &first).await.refused(401, "session_ended");
    device.get("/auth/me").await.refused(401, "session_ended");
    assert_eq!(socket.closed().await, 3503);
    refresh(&member, &third).await.refused(401, "session_ended");
    // The account's other sessions continue.
    member.get("/auth/me").await.ok();
    app.stop().await;
}

#[tokio::test]
async fn a_malformed_refresh_token_is_refused() {
    let (app, _, member) = member().await;
    for token in ["", "garbage", &"A".repeat(43), &"A".repeat(98)] {
        let answer = member.post("/auth/refresh", &json!({"refresh_token": token})).await;
        answer.refused(401, "session_ended");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_unused_session_expires() {
    let (app, _, member) = member().await;
    let session = member.login(PASSWORD, None).await.ok();
    app.app.clock.advance(TimeDelta::days(29));
    member
        .with(&session)
        .get("/auth/me")
        .await
        .refused(401, "token_expired");
    let session = refresh(&member, &session).await.ok();
    app.app.clock.advance(TimeDelta::days(29));
    let session = refresh(&member, &session).await.ok();
    app.app.clock.advance(TimeDelta::days(31));
    refresh(&member, &session).await.refused(401, "session_ended");
    app.stop().await;
}

#[tokio::test]
async fn signing_out_ends_the_session_and_its_sockets_at_once() {
    let (app, _, member) = member().await;
    let session = member.login(PASSWORD, None).await.ok();
    let device = member.with(&session);
    let mut socket = device.socket().await;
    let answer = device.send(Method::POST, "/api/v1/auth/logout", None, &[]).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(socket.closed().await, 3503);
    device.get("/auth/me").await.refused(401, "session_ended");
    refresh(&member, &session).await.refused(401, "session_ended");
    member.get("/auth/me").await.ok();
    app.stop().await;
}

#[tokio::test]
async fn people_see_and_end_only_their_own_sessions() {
    let (app, gym, member) = member().await;
    let stranger = app.person(gym, &[Role::Owner]).await;
    let session = member.login(PASSWORD, None).await.ok();
    let other = member.with(&session);
    let list = member.get("/auth/sessions").await.ok();
    let items = list["items"].as_array().expect("items");
    assert_eq!(items.len(), 2);
    let current: Vec<_> = items.iter().filter(|s| s["current"] == json!(true)).collect();
    assert_eq!(current.len(), 1);
    let ended = items
        .iter()
        .find(|s| s["id"] == session["session_id"])
        .expect("the other one");
    assert_eq!(ended["ip_address"], "127.0.0.1");

    let path = format!("/auth/sessions/{}", session["session_id"].as_str().expect("an id"));
    stranger.delete(&path).await.refused(404, "not_found");
    let mut socket = other.socket().await;
    assert_eq!(member.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(socket.closed().await, 3503);
    other.get("/auth/me").await.refused(401, "session_ended");
    member.delete(&path).await.refused(404, "not_found");
    app.stop().await;
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions_in_every_gym() {
    let (app, _, member) = member().await;
    let elsewhere = app.gym().await;
    join(&app, elsewhere, &member, "active").await;
    let slug_here = slug(&member).await;
    let here = member.with(&member.login(PASSWORD, Some(&slug_here)).await.ok());
    let session = member
        .post("/auth/switch", &json!({"gym": slug_of(&app, elsewhere).await}))
        .await
        .ok();
    let there = member.with(&session);
    let mut socket = there.socket().await;
    assert!(socket.connected.get("connect").is_some(), "{}", socket.connected);

    let change = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    here.post("/auth/password", &change(OTHER_PASSWORD, OTHER_PASSWORD))
        .await
        .refused(401, "bad_credentials");
    here.post("/auth/password", &change(PASSWORD, "short"))
        .await
        .refused(422, "invalid");
    let answer = here.post("/auth/password", &change(PASSWORD, OTHER_PASSWORD)).await;
    let here = here.with(&answer.ok());
    here.get("/auth/me").await.ok();
    there.get("/auth/me").await.refused(401, "session_ended");
    assert_eq!(socket.closed().await, 3503);
    assert_eq!(
        commits_of_access(&app, &member).await,
        1,
        "the logs of both gyms were written in several commits"
    );
    member
        .login(PASSWORD, Some(&slug_here))
        .await
        .refused(401, "bad_credentials");
    member.login(OTHER_PASSWORD, Some(&slug_here)).await.ok();
    app.stop().await;
}

/// The number of transactions that wrote the account's latest access event in each of its gyms.
async fn commits_of_access(app: &TestApp, who: &Client) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        gyms: i64,
    }
    let count: Count = diesel::sql_query(
        "SELECT count(DISTINCT xmin::text) AS n, count(*) AS gyms FROM
         (SELECT DISTINCT ON (gym_id) xmin FROM live_events WHERE channel = $1 ORDER BY gym_id, seq DESC) AS last",
    )
    .bind::<Text, _>(format!("!access:{}", who.account))
    .get_result(&mut app.owner().await)
    .await
    .expect("counts");
    assert_eq!(count.gyms, 2);
    count.n
}

async fn slug_of(app: &TestApp, gym: Gym) -> String {
    let anybody = app.person(gym, &[Role::Member]).await;
    slug(&anybody).await
}

#[tokio::test]
async fn a_member_of_several_gyms_names_one_at_sign_in_and_may_switch() {
    let (app, _, member) = member().await;
    let elsewhere = app.gym().await;
    join(&app, elsewhere, &member, "active").await;
    let (here, there) = (slug(&member).await, slug_of(&app, elsewhere).await);
    let stranger = slug_of(&app, app.gym().await).await;

    let question = member.login(PASSWORD, None).await;
    question.refused(409, "gym_required");
    assert_eq!(question.body["gyms"].as_array().map(Vec::len), Some(2));
    // The list of an account's gyms is shown only with the right password.
    member.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
    member
        .login(PASSWORD, Some(&stranger))
        .await
        .refused(403, "no_membership");

    let session = member.login(PASSWORD, Some(&here)).await.ok();
    let device = member.with(&session);
    device
        .post("/auth/switch", &json!({"gym": stranger}))
        .await
        .refused(403, "no_membership");
    let switched = device.post("/auth/switch", &json!({"gym": there})).await.ok();
    assert_eq!(switched["gym"]["slug"], json!(there));
    device.get("/auth/me").await.refused(401, "session_ended");
    assert_eq!(device.with(&switched).get("/gym").await.ok()["slug"], json!(there));
    app.stop().await;
}

#[tokio::test]
async fn without_a_token_only_signing_in_is_reachable() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    for (method, path) in [
        (Method::GET, "/auth/me"),
        (Method::GET, "/auth/sessions"),
        (Method::DELETE, "/auth/sessions/0197f0f0-0000-7000-8000-000000000000"),
        (Method::POST, "/auth/logout"),
        (Method::POST, "/auth/switch"),
        (Method::POST, "/auth/password"),
    ] {
        let answer = nobody
            .send(method, &format!("/api/v1{path}"), Some(&json!({})), &[])
            .await;
        answer.refused(401, "unauthenticated");
    }
    nobody.get("/demo").await.refused(404, "not_found");
    nobody
        .post(
            "/auth/login",
            &json!({"email": "a@b.example", "password": "x", "admin": true}),
        )
        .await
        .refused(400, "malformed");
    app.stop().await;
}

#[tokio::test]
async fn a_demo_lists_its_accounts() {
    let app = TestApp::start_with(|config| config.demo = true).await;
    let demo = app.nobody().get("/demo").await.ok();
    assert_eq!(demo["password"], "demo");
    assert!(demo["accounts"].is_array());
    app.stop().await;
}
