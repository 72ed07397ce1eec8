//! The secret of a link is in the link and nowhere else: in no kept answer, no table, no log. The command line prints it
//! once.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{NEW_PASSWORD, Place, claim, invitation, secret};
use crate::harness::process::liveplan;
use crate::harness::{Client, TestApp, free_port};

/// The forms in which a secret could be written: the link's text, hexadecimal and Rust's list of bytes.
fn forms(secret: &str) -> [String; 3] {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(secret).expect("base64");
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    [secret.to_owned(), hex, format!("{bytes:?}")]
}

/// The contents of all tables as text.
async fn dump(app: &TestApp) -> String {
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let mut conn = app.owner().await;
    let tables: Vec<Line> = diesel::sql_query(
        "SELECT relname::text AS line FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'foods'",
    )
    .load(&mut conn)
    .await
    .expect("tables");
    let mut text = String::new();
    for Line { line: table } in tables {
        let rows: Vec<Line> = diesel::sql_query(format!("SELECT t::text AS line FROM {table} t"))
            .load(&mut conn)
            .await
            .expect("rows");
        text.extend(rows.into_iter().map(|row| row.line + "\n"));
    }
    text
}

/// Makes a link under an idempotency key twice; returns the secret of the first answer.
async fn made_twice(who: &Client, path: &str, body: &Value) -> String {
    let headers = [("Idempotency-Key", path)];
    let path = format!("/api/v1{path}");
    let first = who.send(Method::POST, &path, Some(body), &headers).await;
    let again = who.send(Method::POST, &path, Some(body), &headers).await;
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.status, first.status);
    let first = first.ok();
    let mut expected = first.clone();
    expected.as_object_mut().expect("an object").remove("link");
    assert_eq!(again.ok(), expected, "a replay answers without the link");
    secret(&first)
}

#[tokio::test]
async fn a_replay_answers_without_the_link_and_no_table_has_its_secret() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let member = app.person(place.gym, &[Role::Member]).await;
    let created = made_twice(&place.manager, "/invitations", &invitation("n@test.example", "member")).await;
    let open = place.manager.get("/invitations").await.ok();
    let id = open["items"][0]["id"].as_str().expect("an id").to_owned();
    let renewed = made_twice(&place.manager, &format!("/invitations/{id}/renew"), &json!({})).await;
    let path = format!("/memberships/{}/reset-link", member.account);
    let reset = made_twice(&place.manager, &path, &json!({})).await;
    // A replay has made no other link: the first ones still work.
    app.nobody()
        .post("/auth/reset", &json!({"secret": reset, "new_password": NEW_PASSWORD}))
        .await
        .ok();
    app.nobody()
        .post("/invitations/accept", &claim(&renewed, "n@test.example"))
        .await
        .ok();

    let kept = dump(&app).await;
    assert!(
        kept.contains(&id) && kept.contains("n@test.example"),
        "the dump has no rows"
    );
    for secret in [created, renewed, reset] {
        for form in forms(&secret) {
            assert!(!kept.contains(&form), "a table has the secret of a link");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn no_log_has_a_secret_even_if_everything_is_logged() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let member = app.person(place.gym, &[Role::Member]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut node = liveplan(&app.database)
        .arg("serve")
        .env("BIND", address.to_string())
        .env("RUST_LOG", "trace")
        .env("DRAIN_SECONDS", "0")
        .stderr(std::fs::File::create(&log).expect("a file"))
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary");
    let began = Instant::now();
    while !reqwest::get(format!("http://{address}/readyz"))
        .await
        .is_ok_and(|answer| answer.status().is_success())
    {
        assert!(began.elapsed() < Duration::from_mins(1), "the node does not get ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (manager, nobody) = (place.manager.at(address), app.nobody().at(address));

    let created = made_twice(&manager, "/invitations", &invitation("n@test.example", "member")).await;
    let open = manager.get("/invitations").await.ok();
    let id = open["items"][0]["id"].as_str().expect("an id").to_owned();
    let renewed = made_twice(&manager, &format!("/invitations/{id}/renew"), &json!({})).await;
    let path = format!("/memberships/{}/reset-link", member.account);
    let reset = made_twice(&manager, &path, &json!({})).await;
    nobody
        .post("/invitations/open", &json!({"secret": created}))
        .await
        .refused(410, "link_invalid");
    nobody.post("/invitations/open", &json!({"secret": renewed})).await.ok();
    // Malformed requests with a secret in them.
    nobody
        .post("/invitations/open", &json!({"secret": {"x": renewed}}))
        .await
        .refused(400, "malformed");
    nobody
        .post("/invitations/accept", &json!({"secret": renewed, "account": renewed}))
        .await
        .refused(400, "malformed");
    let login = json!({"email": "n@test.example", "password": NEW_PASSWORD, "invitation": renewed});
    nobody.post("/auth/login", &login).await.refused(401, "bad_credentials");
    nobody
        .post("/invitations/accept", &claim(&renewed, "n@test.example"))
        .await
        .ok();
    nobody.post("/auth/reset/open", &json!({"secret": reset})).await.ok();
    nobody
        .post("/auth/reset", &json!({"secret": reset, "new_password": NEW_PASSWORD}))
        .await
        .ok();
    node.kill().expect("killed");
    node.wait().expect("ended");

    let logged = std::fs::read_to_string(&log).expect("a log");
    assert!(
        logged.contains("/api/v1/invitations/accept") && logged.contains("invitation accepted"),
        "the log lacks the requests"
    );
    for secret in [created, renewed, reset] {
        for form in forms(&secret) {
            assert!(!logged.contains(&form), "the log has the secret of a link");
        }
    }
    assert!(!logged.contains(NEW_PASSWORD), "the log has a password");
    app.stop().await;
}

/// Runs a command on the test's database; returns what it printed, and its log.
fn run(app: &TestApp, arguments: &[&str]) -> (bool, String, String) {
    let output = liveplan(&app.database)
        .args(arguments)
        .env("RUST_LOG", "trace")
        .output()
        .expect("the binary");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_command_line_prints_links_and_takes_no_password() {
    let app = TestApp::start().await;
    let gym = ["--slug", "norte", "--name", "Norte", "--time-zone", "Europe/Madrid"];
    let owner = ["--owner-email", "olga@test.example", "--owner-name", "Olga"];
    let create = [&["gym", "create"][..], &gym, &owner].concat();
    let (_, _, refused) = run(&app, &[&create[..], &["--password", "correct horse"]].concat());
    assert!(refused.contains("unexpected argument '--password'"), "{refused}");
    let site = ["--url", "https://gym.example/"];
    let (worked, printed, logged) = run(&app, &[&create[..], &site].concat());
    assert!(worked, "{logged}");
    let link = printed.lines().last().expect("a link");
    let first = link
        .strip_prefix("https://gym.example/app/invitation#")
        .expect("a link")
        .to_owned();
    assert!(!logged.contains(&first));

    let again = [
        "gym",
        "invite-owner",
        "--slug",
        "norte",
        "--email",
        "olga@test.example",
        "--name",
        "Olga",
    ];
    let (worked, printed, logged) = run(&app, &again);
    assert!(worked, "{logged}");
    let link = printed
        .trim()
        .strip_prefix("http://localhost:8080/app/invitation#")
        .expect("a link");
    app.nobody()
        .post("/invitations/accept", &claim(&first, "olga@test.example"))
        .await
        .refused(410, "link_invalid");
    let session = app
        .nobody()
        .post("/invitations/accept", &claim(link, "olga@test.example"))
        .await
        .ok();
    assert_eq!(session["roles"], json!(["owner"]));

    let reset = ["account", "reset", "--gym", "norte", "--email", "olga@test.example"];
    let (worked, printed, logged) = run(&app, &reset);
    assert!(worked, "{logged}");
    let secret = printed
        .trim()
        .strip_prefix("http://localhost:8080/app/reset#")
        .expect("a link");
    assert!(
        !logged.contains(secret) && logged.contains("made a link to set a new password"),
        "{logged}"
    );
    let body = json!({"secret": secret, "new_password": "another horse"});
    app.nobody().post("/auth/reset", &body).await.ok();
    let (worked, _, logged) = run(
        &app,
        &["account", "reset", "--gym", "norte", "--email", "nobody@test.example"],
    );
    assert!(!worked && logged.contains("error: "), "{logged}");
    app.stop().await;
}
