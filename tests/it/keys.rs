//! The keys in the database and the master key: what a node checks when it loads them, and their replacement while
//! nodes run.

use std::process::Output;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use diesel::sql_types::{BigInt, Binary, Bool};
use diesel_async::RunQueryDsl as _;
use liveplan::auth::Role;
use liveplan::auth::seal::{MasterKey, Missing};
use liveplan::config::Config;
use liveplan::server::{boot, housekeeping, keys};
use liveplan_hub::cluster::keyring::Kind;
use serde_json::{Value, json};

use crate::harness::process::{Node, liveplan};
use crate::harness::redis::Redis;
use crate::harness::{self, PASSWORD, TestApp, free_port, postgres, until};
use crate::nodes::forged::Attacker;
use crate::nodes::{NEVER, Pair, count};

/// The tests' master key.
const OLD: [u8; 32] = [0; 32];
const NEW: [u8; 32] = [9; 32];

fn text(key: [u8; 32]) -> String {
    BASE64_STANDARD.encode(key)
}

/// A database with keys, whose node has stopped.
async fn used_database() -> String {
    let app = TestApp::start().await;
    let database = app.database.clone();
    app.stop().await;
    database
}

async fn sql(database: &str, sql: &str) {
    let mut conn = liveplan::db::establish(database).await.expect("a connection");
    diesel::sql_query(sql).execute(&mut conn).await.expect(sql);
}

async fn counted(database: &str, table: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let mut conn = liveplan::db::establish(database).await.expect("a connection");
    let counted = diesel::sql_query(format!("SELECT count(*) AS n FROM {table}"));
    let Count { n } = counted.get_result(&mut conn).await.expect(table);
    n
}

/// Why a node does not start.
async fn refusal(config: &Config) -> String {
    match boot::boot(config).await {
        Ok(_) => panic!("the node starts"),
        Err(error) => format!("{error:#}"),
    }
}

/// The id of the key that signed a session's access token.
fn kid(session: &Value) -> String {
    let token = session["access_token"].as_str().expect("a token");
    let header = token.split('.').next().expect("a header");
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a key id").to_owned()
}

/// The id of the key that made a session's refresh token.
fn refresh_key(session: &Value) -> Vec<u8> {
    let token = session["refresh_token"].as_str().expect("a token");
    BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64")[1..17].to_vec()
}

/// Runs `liveplan keys rotate …` with the new master key, which also opens what the old one sealed.
fn rotate(database: &str, words: &[&str]) -> Output {
    let mut command = liveplan(database);
    command
        .args(["keys", "rotate"])
        .args(words)
        .env("MASTER_KEY", text(NEW))
        .env("MASTER_KEY_PREVIOUS", text(OLD));
    command.output().expect("the binary")
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_signing_key_whose_halves_do_not_belong_together_stops_the_start() {
    let database = used_database().await;
    sql(
        &database,
        "UPDATE signing_keys SET public_key = decode(repeat('07', 32), 'hex')",
    )
    .await;
    let refused = refusal(&harness::config(&database)).await;
    assert!(refused.contains("public half"), "{refused}");
}

#[tokio::test]
async fn a_key_that_was_written_past_the_nodes_is_not_used_by_them() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let before = kid(&manager.login(PASSWORD, None).await.ok());
    // Whoever can write to the table knows a private key of their own, but not the master key.
    sql(
        &app.database,
        "INSERT INTO signing_keys (id, public_key, sealed_private_key, created_at, active_from)
         SELECT gen_random_uuid(), decode(repeat('07', 32), 'hex'), sealed_private_key, now(), now() FROM signing_keys",
    )
    .await;
    tokio::time::sleep(keys::LOAD_EVERY + Duration::from_secs(2)).await;
    assert_eq!(kid(&manager.login(PASSWORD, None).await.ok()), before);
    manager.get("/auth/me").await.ok();
    let database = app.database.clone();
    app.stop().await;
    let refused = refusal(&harness::config(&database)).await;
    assert!(refused.contains("encrypted for another place"), "{refused}");
}

#[tokio::test]
async fn a_seal_that_was_copied_to_another_row_stops_the_start() {
    let database = used_database().await;
    sql(
        &database,
        "UPDATE sealed_secrets SET sealed = (SELECT sealed_private_key FROM signing_keys LIMIT 1)",
    )
    .await;
    let refused = refusal(&harness::config(&database)).await;
    assert!(refused.contains("encrypted for another place"), "{refused}");
}

#[tokio::test]
async fn seals_of_an_earlier_release_open_once_and_are_bound_to_their_rows() {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Binary)]
        public_key: Vec<u8>,
        #[diesel(sql_type = Bool)]
        placed: bool,
    }
    let database = postgres::fresh_database().await;
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let (cipher, nonce) = (XChaCha20Poly1305::new_from_slice(&OLD).expect("a cipher"), [3; 24]);
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), &key.to_bytes()[..])
        .expect("sealed");
    let mut conn = liveplan::db::establish(&database).await.expect("a connection");
    diesel::sql_query(
        "INSERT INTO signing_keys (id, public_key, sealed_private_key, created_at) VALUES (gen_random_uuid(), $1, $2, now())",
    )
    .bind::<Binary, _>(key.verifying_key().to_bytes().to_vec())
    .bind::<Binary, _>([&nonce[..], &sealed].concat())
    .execute(&mut conn)
    .await
    .expect("a key");
    for _ in 0..2 {
        let app = TestApp::node(&database, |_| {}).await;
        app.stop().await;
        let row: Row = diesel::sql_query(
            "SELECT public_key, get_byte(sealed_private_key, 0) = 2 AND length(sealed_private_key) = 81 AS placed
             FROM signing_keys",
        )
        .get_result(&mut conn)
        .await
        .expect("one key");
        assert_eq!(row.public_key, key.verifying_key().to_bytes());
        assert!(row.placed, "the key is still sealed without its place");
    }
}

#[tokio::test]
async fn a_lost_master_key_is_not_replaced_by_a_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        data_dir: dir.path().to_owned(),
        master_key: None,
        ..harness::config(&used_database().await)
    };
    let refused = refusal(&config).await;
    assert!(refused.contains("no master key"), "{refused}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
    // The same for the key of an embedded Postgres, once it has sealed something.
    assert!(MasterKey::load(&config, Missing::IsAnError).is_err());
    assert!(MasterKey::load(&config, Missing::IsMade).is_ok());
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1);
}

#[tokio::test]
async fn keys_are_replaced_under_two_working_nodes_and_nobody_notices() {
    let redis = Redis::start().await;
    let mut pair = Pair::start_with(&redis.url(), &redis.url(), NEVER, |config| {
        config.master_key = Some(text(OLD));
        config.master_key_previous = Some(text(NEW));
    })
    .await;
    let database = pair.one.database.clone();
    let attacker = Attacker::on(&redis).await;
    let mut ears = attacker.listen(liveplan::events::log_of(pair.gym.id)).await;
    let first = pair.author.login(PASSWORD, None).await.ok();
    let nodes = [pair.one.address, pair.two.address];
    let received = count(&pair.heard().received);
    let (mut session, mut edits, mut broker_keys) = (first.clone(), 0, Vec::new());
    let (mut signing_keys, mut refresh_keys) = (vec![kid(&first)], vec![refresh_key(&first)]);

    let done = succeeded(&rotate(&database, &["master"]));
    let resealed: usize = done.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(resealed >= 2, "{done}");
    for which in ["signing", "broker", "refresh", "sign-in"] {
        succeeded(&rotate(&database, &[which, "--after-seconds", "10"]));
    }
    // Real work, until both nodes have used the new keys for a while.
    let (began, mut settled) = (Instant::now(), 0);
    while settled < 20 {
        assert!(began.elapsed() < Duration::from_mins(1), "the new keys are not used");
        let (here, there) = (nodes[edits % 2], nodes[(edits + 1) % 2]);
        // A token of one node is used at once at the other.
        let refresh = json!({"refresh_token": session["refresh_token"]});
        session = pair.author.at(here).post("/auth/refresh", &refresh).await.ok();
        pair.author.at(there).with(&session).get("/auth/me").await.ok();
        pair.author = pair.author.with(&session);
        let title = format!("Plato {edits}");
        pair.edit(&title).await;
        pair.shows(&title).await;
        edits += 1;
        let (sealed, ..) = crate::nodes::forged::overhear(&mut ears).await;
        if !signing_keys.contains(&kid(&session)) {
            signing_keys.push(kid(&session));
        }
        if !refresh_keys.contains(&refresh_key(&session)) {
            refresh_keys.push(refresh_key(&session));
        }
        if broker_keys.last().is_none_or(|id| *id != sealed[1..17]) {
            broker_keys.push(sealed[1..17].to_vec());
        }
        let replaced = [signing_keys.len(), broker_keys.len(), refresh_keys.len()];
        settled += usize::from(replaced == [2; 3]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        began.elapsed() > Duration::from_secs(8),
        "a key was used before all nodes knew it"
    );
    // Nothing was refused, nothing lost: each change came through Redis, in order, and the sweep never ran.
    assert_eq!(count(&pair.heard().received) - received, edits as u64);
    for node in [&pair.one, &pair.two] {
        assert_eq!(node.app.hub.keyring().expect("other nodes").refused(Kind::Message), 0);
        // A token of the key before is good until it expires.
        pair.author.at(node.address).with(&first).get("/auth/me").await.ok();
    }
    pair.stop().await;

    // The old master key is of no more use, and the new one is enough.
    let refused = refusal(&harness::config(&database)).await;
    assert!(refused.contains("no accepted master key"), "{refused}");
    let third = TestApp::node(&database, |config| config.master_key = Some(text(NEW))).await;
    third.nobody().with(&first).get("/auth/me").await.ok();
    third.nobody().with(&session).get("/auth/me").await.ok();
    third.stop().await;
}

#[tokio::test]
async fn a_replaced_key_is_retired_once_nothing_that_it_made_is_valid() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let before = manager.login(PASSWORD, None).await.ok();
    let mut command = liveplan(&app.database);
    let output = command
        .args(["keys", "rotate", "signing", "--after-seconds", "10"])
        .output();
    succeeded(&output.expect("the binary"));
    let retired = "signing_keys WHERE retired_at IS NOT NULL";
    housekeeping::once(&app.app, Some(&app.database)).await;
    assert_eq!(counted(&app.database, retired).await, 0);
    // As if the succession were longer ago than the life of a token.
    sql(
        &app.database,
        "UPDATE signing_keys SET active_from = active_from - interval '17 minutes'",
    )
    .await;
    until("tokens of the key before are refused", async || {
        manager.with(&before).get("/auth/me").await.status == 401
    })
    .await;
    let after = manager.login(PASSWORD, None).await.ok();
    assert_ne!(kid(&after), kid(&before));
    manager.with(&after).get("/auth/me").await.ok();
    housekeeping::once(&app.app, Some(&app.database)).await;
    assert_eq!(counted(&app.database, retired).await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_key_is_not_added_with_a_master_key_that_the_nodes_do_not_have() {
    let database = used_database().await;
    let mut command = liveplan(&database);
    let output = command
        .args(["keys", "rotate", "signing"])
        .env("MASTER_KEY", text(NEW))
        .output();
    let output = output.expect("the binary");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no accepted master key"), "{error}");
    assert_eq!(counted(&database, "signing_keys").await, 1);
}

#[tokio::test]
async fn secrets_are_read_from_files_and_refused_as_flags() {
    let database = postgres::fresh_database().await;
    let redis = Redis::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("{text}\n")).expect("written");
        path.to_str().expect("a path").to_owned()
    };
    let (url, broker, key) = (
        file("database", &postgres::as_server(&database)),
        file("redis", &redis.url()),
        file("master", &text(OLD)),
    );
    let variables = [
        ("DATABASE_URL", ""),
        ("MASTER_KEY", ""),
        ("DATABASE_URL_FILE", &url),
        ("REDIS_URL_FILE", &broker),
        ("MASTER_KEY_FILE", &key),
    ];
    let node = Node::with(&database, &variables).await;
    until("the node reaches its Redis", async || {
        let clients = format!("{:?}", redis.ask(&["CLIENT", "LIST"]).await);
        clients.matches("age=").count() > 1
    })
    .await;
    drop(node);
    assert_eq!(counted(&database, "signing_keys").await, 1);

    let output = liveplan(&database).arg("serve").env("DATABASE_URL_FILE", &url).output();
    let error = String::from_utf8_lossy(&output.expect("the binary").stderr).into_owned();
    assert!(
        error.contains("both DATABASE_URL and DATABASE_URL_FILE are set"),
        "{error}"
    );
    let bind = format!("127.0.0.1:{}", free_port());
    for flag in ["--database-url", "--redis-url", "--master-key", "--master-key-previous"] {
        let mut command = liveplan(&database);
        let output = command
            .args(["serve", "--bind", &bind, &format!("{flag}=hunter2")])
            .output();
        let output = output.expect("the binary");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains("unexpected argument"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}
