//! Log lines about security: each act of authentication, and each refusal, with who and where and without a secret.

use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::lines::LoggedNode;
use crate::harness::{PASSWORD, RawHttp, TestApp};

#[tokio::test]
async fn authentication_and_refusals_are_logged_with_who_and_where_and_without_a_secret() {
    let maker = TestApp::start().await;
    let gym = maker.gym().await;
    let member = maker.person(gym, &[Role::Member]).await;
    let node = LoggedNode::start(&maker.database, "info,tokio_postgres=warn").await;
    let member = member.at(node.address);

    let nobody = maker.nobody().at(node.address);
    let login = |password: &str| json!({"email": member.email, "password": password});
    let wrong = nobody.post("/auth/login", &login("wrong horse")).await;
    wrong.refused(401, "bad_credentials");
    let session = nobody.post("/auth/login", &login(PASSWORD)).await.ok();
    let member = member.with(&session);
    member.get("/gym").await.ok();
    member.get("/system/live").await.refused(403, "forbidden");
    nobody.get("/gym").await.refused(401, "unauthenticated");
    let refresh = json!({"refresh_token": session["refresh_token"]});
    let next = member.post("/auth/refresh", &refresh).await.ok();
    let member = member.with(&next);
    member.send(Method::POST, "/api/v1/auth/logout", None, &[]).await.ok();
    member.get("/gym").await.refused(401, "session_ended");
    node.until("session_ended", 1).await;
    let log = node.end();

    let secrets = [
        PASSWORD,
        "wrong horse",
        &member.email,
        session["access_token"].as_str().expect("a token"),
        session["refresh_token"].as_str().expect("a token"),
        next["refresh_token"].as_str().expect("a token"),
    ];
    for secret in secrets {
        assert!(log.iter().all(|line| !line.contains(secret)), "{secret} is in the log");
    }
    let events: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let about = |event: &&Value| {
        ["authentication", "refused"]
            .map(Value::from)
            .contains(&event["fields"]["message"])
    };
    let said: Vec<&Value> = events.iter().filter(about).collect();
    let facts = |event: &&Value| {
        let fields = &event["fields"];
        assert_eq!(fields["client.address"], "127.0.0.1", "{event}");
        assert!(event["span"]["request.id"].is_string(), "{event}");
        assert!(
            event["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{event}"
        );
        let known = fields["account.id"] == member.account.to_string() && fields["gym.id"] == gym.id.to_string();
        assert!(known || fields.get("account.id").is_none(), "{event}");
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        (text("message"), text("error.code"), text("http.route"), known)
    };
    let line = |message: &str, code: &str, route: &str, known| {
        (message.to_owned(), code.to_owned(), format!("/api/v1{route}"), known)
    };
    assert_eq!(
        said.iter().map(facts).collect::<Vec<_>>(),
        [
            line("refused", "bad_credentials", "/auth/login", false),
            line("authentication", "", "/auth/login", true),
            line("refused", "forbidden", "/system/live", true),
            line("refused", "unauthenticated", "/gym", false),
            line("authentication", "", "/auth/logout", true),
            line("refused", "session_ended", "/gym", true),
        ]
    );
    let id = session["session_id"].as_str().expect("an id");
    assert_eq!(said[1]["fields"]["session.id"], id);
    assert_eq!(said[1]["fields"]["http.status"], 200);
    maker.stop().await;
}

#[tokio::test]
async fn malformed_requests_write_no_lines() {
    let maker = TestApp::start().await;
    let node = LoggedNode::start(&maker.database, "info,tokio_postgres=warn").await;
    for _ in 0..20 {
        let mut stranger = RawHttp::open(node.address).await;
        let lengths = ["Content-Length: 1", "Content-Length: 2"];
        stranger.send("POST /api/v1/auth/login", &lengths, "").await;
        assert_eq!(stranger.answer().await.status, 400);
    }
    // A line that comes after all others.
    maker
        .nobody()
        .at(node.address)
        .get("/gym")
        .await
        .refused(401, "unauthenticated");
    node.until("unauthenticated", 1).await;
    let log = node.end();
    assert!(log.iter().all(|line| !line.contains(r#""level":"ERROR""#)), "{log:?}");
    maker.stop().await;
}
