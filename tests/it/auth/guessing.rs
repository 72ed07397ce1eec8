//! Guessed passwords: what is counted and for whom, on one node and on several; known devices; the lanes; and passwords
//! that nobody may choose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use liveplan::auth::Role;
use liveplan::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use super::OTHER_PASSWORD;
use crate::harness::client::Answer;
use crate::harness::cluster::Cluster;
use crate::harness::redis::{Program, Redis};
use crate::harness::{Client, PASSWORD, TestApp};

/// Believes what this test says about the client's address.
fn behind_a_proxy(config: &mut Config) {
    config.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
}

/// Signs in from an address, as a device with this secret.
async fn login_from(address: &str, who: &Client, password: &str, secret: Option<&Value>) -> Answer {
    let mut body = json!({"email": who.email, "password": password});
    if let Some(secret) = secret {
        body["device_secret"] = secret.clone();
    }
    let headers = [("x-forwarded-for", address)];
    who.send(Method::POST, "/api/v1/auth/login", Some(&body), &headers)
        .await
}

async fn wrong_from(address: &str, who: &Client, secret: Option<&Value>) -> u16 {
    login_from(address, who, OTHER_PASSWORD, secret).await.status.as_u16()
}

/// Guesses from ten addresses until the account is locked for strangers.
async fn lock_out_strangers(who: &Client) {
    for network in 1..=10 {
        for _ in 0..10 {
            assert_eq!(wrong_from(&format!("198.51.100.{network}"), who, None).await, 401);
        }
    }
    let closed = login_from("192.0.2.1", who, PASSWORD, None).await;
    closed.refused(429, "too_many_requests");
    assert!(closed.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn ten_wrong_passwords_lock_an_account_for_one_address() {
    let app = TestApp::start_with(behind_a_proxy).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let other = app.person(gym, &[Role::Member]).await;
    let here = "2001:db8:1:1::1";
    for _ in 0..9 {
        assert_eq!(wrong_from(here, &member, None).await, 401);
    }
    login_from(here, &member, PASSWORD, None).await.ok();
    // Any address of the same /64.
    assert_eq!(wrong_from("2001:db8:1:1:ffff::2", &member, None).await, 401);
    let closed = login_from(here, &member, PASSWORD, None).await;
    closed.refused(429, "too_many_requests");
    let wait: i64 = closed.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((60..=91).contains(&wait), "{wait}");
    login_from(here, &other, PASSWORD, None).await.ok();
    login_from("2001:db8:1:2::1", &member, PASSWORD, None).await.ok();
    login_from("192.0.2.1", &member, PASSWORD, None).await.ok();
    app.app.clock.advance(TimeDelta::minutes(15));
    login_from(here, &member, PASSWORD, None).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn nobody_can_lock_the_owner_of_an_account_out_of_a_known_device() {
    let app = TestApp::start_with(behind_a_proxy).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let stranger = app.person(gym, &[Role::Member]).await;
    let (home, office) = ("203.0.113.7", "203.0.113.8");
    let phone = login_from(home, &member, PASSWORD, None).await.ok()["device_secret"].clone();
    let laptop = login_from(home, &member, PASSWORD, None).await.ok()["device_secret"].clone();
    assert!(phone.is_string() && phone != laptop);
    let foreign = login_from(home, &stranger, PASSWORD, None).await.ok()["device_secret"].clone();
    lock_out_strangers(&member).await;

    let answer = login_from(office, &member, PASSWORD, Some(&phone)).await.ok();
    assert_eq!(answer.get("device_secret"), None, "it keeps its secret");
    // No other secret helps.
    let mut altered = phone.as_str().expect("a text").to_owned();
    altered.replace_range(40..41, if altered[40..].starts_with('A') { "B" } else { "A" });
    for none in [json!(altered), foreign, json!(""), json!("x".repeat(500))] {
        login_from(office, &member, PASSWORD, Some(&none))
            .await
            .refused(429, "too_many_requests");
    }
    // Whoever has the phone can guess ten times, and the laptop is not affected.
    for _ in 0..10 {
        assert_eq!(wrong_from(office, &member, Some(&phone)).await, 401);
    }
    assert_eq!(wrong_from(office, &member, Some(&phone)).await, 429);
    login_from(office, &member, PASSWORD, Some(&laptop)).await.ok();
    app.stop().await;
}

async fn devices(app: &TestApp, who: &Client) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let count: Count = diesel::sql_query("SELECT count(*) AS n FROM known_devices WHERE account_id = $1")
        .bind::<SqlUuid, _>(who.account)
        .get_result(&mut app.owner().await)
        .await
        .expect("a count");
    count.n
}

#[tokio::test]
async fn an_account_knows_twenty_devices_and_keeps_those_that_come_back() {
    let app = TestApp::start_with(behind_a_proxy).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let here = "203.0.113.7";
    let phone = login_from(here, &member, PASSWORD, None).await.ok()["device_secret"].clone();
    app.app.clock.advance(TimeDelta::hours(1));
    login_from(here, &member, PASSWORD, Some(&phone)).await.ok();
    let script = login_from(here, &member, PASSWORD, None).await.ok()["device_secret"].clone();
    for _ in 0..24 {
        app.app.clock.advance(TimeDelta::minutes(1));
        login_from(here, &member, PASSWORD, None).await.ok();
    }
    assert_eq!(devices(&app, &member).await, 20);
    let knows = async |secret: &Value| {
        let answer = login_from(here, &member, PASSWORD, Some(secret)).await.ok();
        answer.get("device_secret").is_none()
    };
    assert!(knows(&phone).await);
    assert!(!knows(&script).await);
    // Half a year later nobody knows them.
    app.app.clock.advance(TimeDelta::days(181));
    liveplan::server::housekeeping::once(&app.app, Some(&app.database)).await;
    assert_eq!(devices(&app, &member).await, 0);
    assert!(!knows(&phone).await);
    app.stop().await;
}

#[tokio::test]
async fn a_crowd_of_strangers_does_not_keep_a_known_device_waiting_and_a_full_lane_says_so() {
    let app = TestApp::start_with(behind_a_proxy).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let phone = login_from("203.0.113.7", &member, PASSWORD, None).await.ok()["device_secret"].clone();
    let answered = Arc::new(AtomicUsize::new(0));
    // More than wait and are verified meanwhile.
    let crowd = 256 + 200 * (liveplan::turns::cores() / 2).clamp(1, 8);
    let crowd: Vec<_> = (0..crowd)
        .map(|n| {
            let (mut nobody, answered) = (app.nobody(), answered.clone());
            nobody.email = format!("nobody{n}@test.example");
            tokio::spawn(async move {
                let answer = login_from(
                    &format!("198.51.{}.{}", 100 + n / 200, n % 200),
                    &nobody,
                    PASSWORD,
                    None,
                )
                .await;
                answered.fetch_add(1, Ordering::SeqCst);
                answer
            })
        })
        .collect();
    // The trait of queries has a `load` of its own.
    let so_far = || AtomicUsize::load(&answered, Ordering::SeqCst);
    crate::harness::until("the crowd waits", async || so_far() > 20).await;
    login_from("203.0.113.7", &member, PASSWORD, Some(&phone)).await.ok();
    let before = so_far();
    let (all, mut wrong, mut full) = (crowd.len(), 0, 0);
    for answer in join_all(crowd).await {
        let answer = answer.expect("joined");
        match answer.status.as_u16() {
            401 => wrong += 1,
            _ => {
                answer.refused(503, "busy");
                assert!(answer.headers.contains_key("retry-after"));
                full += 1;
            }
        }
    }
    println!("{before} of {all} were answered before the device; {wrong} wrong, {full} refused");
    assert!(before < all * 3 / 4, "the device waited for the crowd: {before}");
    assert!(full > 0 && wrong > 20, "{full} refused, {wrong} wrong");
    app.stop().await;
}

async fn two_nodes(redis_url: String) -> (TestApp, TestApp, Client, Client) {
    let url = redis_url.clone();
    let one = TestApp::start_with(|config| config.redis_url = Some(url)).await;
    let two = TestApp::node(&one.database, |config| config.redis_url = Some(redis_url)).await;
    let here = one.person(one.gym().await, &[Role::Member]).await;
    let there = here.at(two.address);
    (one, two, here, there)
}

#[tokio::test]
async fn nodes_count_wrong_passwords_together() {
    let redis = Redis::start().await;
    let (one, two, here, there) = two_nodes(redis.url()).await;
    for _ in 0..5 {
        here.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
        there.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
    }
    here.login(PASSWORD, None).await.refused(429, "too_many_requests");
    there.login(PASSWORD, None).await.refused(429, "too_many_requests");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn nodes_count_wrong_passwords_together_in_a_cluster() {
    let cluster = Cluster::start(Program::Redis).await;
    let (one, two, here, there) = two_nodes(cluster.url()).await;
    for _ in 0..5 {
        here.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
        there.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
    }
    here.login(PASSWORD, None).await.refused(429, "too_many_requests");
    there.login(PASSWORD, None).await.refused(429, "too_many_requests");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn right_passwords_do_not_count_on_any_node() {
    let redis = Redis::start().await;
    let (one, two, here, there) = two_nodes(redis.url()).await;
    for _ in 0..7 {
        here.login(PASSWORD, None).await.ok();
        there.login(PASSWORD, None).await.ok();
    }
    for _ in 0..9 {
        here.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
    }
    there.login(PASSWORD, None).await.ok();
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_node_counts_by_itself_while_redis_is_gone_silent_or_emptied() {
    let mut redis = Redis::start().await;
    let app = TestApp::start_with(|config| config.redis_url = Some(redis.url())).await;
    let gym = app.gym().await;
    for fault in ["emptied", "silent", "gone"] {
        let member = app.person(gym, &[Role::Member]).await;
        for n in 0..10 {
            if n == 5 {
                match fault {
                    "emptied" => drop(redis.ask(&["FLUSHALL"]).await),
                    "silent" => redis.pause(),
                    _ => redis.kill(),
                }
            }
            member.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
        }
        if fault == "emptied" {
            redis.ask(&["FLUSHALL"]).await;
        }
        let closed = member.login(PASSWORD, None).await;
        assert_eq!(closed.status, 429, "{fault}: {}", closed.body);
        if fault == "silent" {
            redis.resume();
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_redis_that_lies_refuses_for_no_longer_than_a_full_count_would() {
    let redis = Redis::start().await;
    let app = TestApp::start_with(|config| config.redis_url = Some(redis.url())).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    member.login(OTHER_PASSWORD, None).await.refused(401, "bad_credentials");
    let redis::Value::Array(keys) = redis.ask(&["KEYS", "liveplan:{attempts}:*"]).await else {
        panic!("a list");
    };
    assert!(keys.len() >= 3, "{keys:?}");
    for key in keys {
        let redis::Value::BulkString(key) = key else {
            panic!("a key")
        };
        let key = String::from_utf8(key).expect("a text");
        assert!(!key.contains("test.example"), "{key}");
        redis.ask(&["SET", &key, "9e300"]).await;
    }
    let closed = member.login(PASSWORD, None).await;
    closed.refused(429, "too_many_requests");
    let wait: i64 = closed.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!(wait <= 30_001, "{wait}");
    app.stop().await;
}

#[tokio::test]
async fn wrong_current_passwords_are_counted_by_session() {
    let app = TestApp::start().await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let change = |current: &str| json!({"current_password": current, "new_password": OTHER_PASSWORD});
    let thief = member.with(&member.login(PASSWORD, None).await.ok());
    for _ in 0..10 {
        thief
            .post("/auth/password", &change("not the one"))
            .await
            .refused(401, "bad_credentials");
    }
    thief
        .post("/auth/password", &change(PASSWORD))
        .await
        .refused(429, "too_many_requests");
    // The owner's own session is not affected, and ends the thief's.
    member.post("/auth/password", &change(PASSWORD)).await.ok();
    thief.get("/auth/me").await.refused(401, "session_ended");
    app.stop().await;
}

#[tokio::test]
async fn common_and_personal_passwords_are_refused() {
    let app = TestApp::start().await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let gym = member.get("/gym").await.ok()["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let local = member.email.split('@').next().expect("a part");
    for refused in [
        "iloveyou",
        "Password1",
        "prueba2026",
        "Ana.Prueba",
        &gym,
        local,
        &member.email,
        "x".repeat(257).as_str(),
    ] {
        let change = json!({"current_password": PASSWORD, "new_password": refused});
        let answer = member.post("/auth/password", &change).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["field"], "new_password", "{refused}");
    }
    app.stop().await;
}
