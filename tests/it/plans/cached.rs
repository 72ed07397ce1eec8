//! Cached plans: always the current version, only for accounts that may read it, with or without Redis.

use std::io::Read as _;

use liveplan::app::App;
use liveplan::auth::Role;
use serde_json::json;

use crate::follows::kit::Kit;
use crate::harness::redis::Redis;
use crate::harness::{Client, TestApp};
use crate::nodes::forged::Attacker;

/// How often L1, L2 and neither had a plan.
fn counts(app: &App) -> (u64, u64, u64) {
    let counts = app.cache.counts();
    (counts.local.get(), counts.shared.get(), counts.missed.get())
}

/// Waits until the plan is in Redis, and returns its key.
async fn until_shared(redis: &Redis, kit: &Kit) -> String {
    let keys = format!("gym:{}:plan:{}*", kit.gym.id, kit.plan.id);
    for _ in 0..200 {
        if let redis::Value::Array(keys) = redis.ask(&["KEYS", &keys]).await
            && let Some(redis::Value::BulkString(key)) = keys.first()
        {
            return String::from_utf8(key.clone()).expect("text");
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the plan was not cached in Redis");
}

async fn title(who: &Client, plan: &str) -> serde_json::Value {
    who.get(&format!("/plans/{plan}")).await.ok()["days"][0]["meals"][0]["title"].clone()
}

#[tokio::test]
async fn nodes_share_cached_plans_and_never_serve_an_old_version() {
    let redis = Redis::start().await;
    let url = redis.url();
    let mut kit = Kit::start_with(|config| config.redis_url = Some(url.clone())).await;
    let other = TestApp::node(&kit.app.database, |config| config.redis_url = Some(url.clone())).await;
    let (plan, there) = (kit.plan.id.clone(), kit.author.at(other.address));

    let first = kit.author.get(&format!("/plans/{plan}")).await.ok();
    let key = until_shared(&redis, &kit).await;
    let ttl = redis.ask(&["TTL", &key]).await;
    assert!(matches!(ttl, redis::Value::Int(1..=300)), "{ttl:?}");
    assert_eq!(there.get(&format!("/plans/{plan}")).await.ok(), first);
    assert_eq!((counts(&kit.app.app), counts(&other.app)), ((0, 0, 1), (0, 1, 0)));
    there.get(&format!("/plans/{plan}")).await.ok();
    assert_eq!(counts(&other.app), (1, 1, 0));

    let breakfast = kit.plan.breakfast.clone();
    kit.edit(1, &breakfast, &json!({"title": "Later"})).await;
    assert_eq!(title(&there, &plan).await, "Later");
    assert_eq!(title(&kit.author, &plan).await, "Later");
    other.stop().await;
    kit.app.stop().await;
}

#[tokio::test]
async fn a_value_in_redis_that_no_node_wrote_for_its_key_is_never_shown() {
    let redis = Redis::start().await;
    let url = redis.url();
    let mut kit = Kit::start_with(|config| config.redis_url = Some(url.clone())).await;
    let other = TestApp::node(&kit.app.database, |config| config.redis_url = Some(url.clone())).await;
    let (plan, breakfast, there) = (
        kit.plan.id.clone(),
        kit.plan.breakfast.clone(),
        kit.author.at(other.address),
    );
    let mut attacker = Attacker::on(&redis).await;
    // Another plan of the gym with the same version.
    let twin = crate::follows::kit::publish(&kit.author, kit.food, &json!({"cycle": "weekly", "name": "Twin"})).await;
    let mut replaced = Vec::new();
    for n in 0..4_u64 {
        let (true_title, twin_title) = (format!("True {n}"), format!("Twin {n}"));
        kit.edit(1, &breakfast, &json!({"title": true_title})).await;
        let edit = json!({"title": twin_title});
        let path = format!("/plans/{}/days/1/meals/{}", twin.id, twin.breakfast);
        let version = twin.version + i64::try_from(n).expect("small");
        kit.author
            .write(reqwest::Method::PATCH, &path, Some(&edit), version)
            .await
            .ok();
        assert_eq!(version + 1, kit.plan.version);
        let mut keys = Vec::new();
        for id in [&plan, &twin.id] {
            kit.author.get(&format!("/plans/{id}")).await.ok();
            keys.push(fresh_value(&mut attacker, &kit, id, &replaced).await);
        }
        let [(key, value), (_, of_twin)] = &keys[..] else {
            panic!("two")
        };
        let at = value.windows(5).position(|w| w == b"True ").expect("the title");
        let mut altered = value.clone();
        altered[at..at + 4].copy_from_slice(b"Fake");
        let forged = match n {
            0 => altered,
            // As an earlier release stores it: without a MAC.
            1 => altered[49..].to_vec(),
            2 => of_twin.clone(),
            _ => value[..value.len() / 2].to_vec(),
        };
        attacker.ask(&[b"SET", key.as_bytes(), &forged]).await;
        replaced.push(value.clone());
        replaced.push(of_twin.clone());
        assert_eq!(title(&there, &plan).await, true_title);
        let keyring = other.app.hub.keyring().expect("other nodes");
        assert_eq!(keyring.refused(liveplan_hub::cluster::keyring::Kind::Value), n + 1);
    }
    assert_eq!(counts(&other.app), (0, 0, 4));
    other.stop().await;
    kit.app.stop().await;
}

/// Waits until Redis has a value of a plan that is none of these, and returns its key and the value.
async fn fresh_value(attacker: &mut Attacker, kit: &Kit, plan: &str, old: &[Vec<u8>]) -> (String, Vec<u8>) {
    let pattern = format!("gym:{}:plan:{plan}*", kit.gym.id);
    for _ in 0..500 {
        if let redis::Value::Array(keys) = attacker.ask(&[b"KEYS", pattern.as_bytes()]).await
            && let Some(redis::Value::BulkString(key)) = keys.first()
            && let Some(value) = attacker.bytes(&[b"GET", key]).await
            && !old.contains(&value)
            && value.windows(5).any(|w| w == b"True " || w == b"Twin ")
        {
            return (String::from_utf8(key.clone()).expect("text"), value);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the plan was not cached in Redis");
}

#[tokio::test]
async fn a_new_epoch_invalidates_cached_plans_and_etags() {
    let redis = Redis::start().await;
    let url = redis.url();
    let kit = Kit::start_with(|config| config.redis_url = Some(url.clone())).await;
    let other = TestApp::node(&kit.app.database, |config| config.redis_url = Some(url.clone())).await;
    let path = format!("/plans/{}", kit.plan.id);
    let read = async |who: &Client, tag: &str| {
        let whole = format!("/api/v1{path}");
        who.send(reqwest::Method::GET, &whole, None, &[("If-None-Match", tag)])
            .await
    };
    let tag = kit.author.get(&path).await.etag.expect("a tag");
    assert_eq!(read(&kit.author, &tag).await.status, 304);
    until_shared(&redis, &kit).await;
    // Simulates the restore of one table: the same version with other content.
    kit.sql("UPDATE plans SET name = 'Restored'").await;
    let mut owner = kit.app.owner().await;
    liveplan::events::log::rotate_epochs(&mut owner, Some(kit.gym.id))
        .await
        .expect("rotated");
    for node in [kit.author.clone(), kit.author.at(other.address)] {
        let again = read(&node, &tag).await;
        assert_eq!((again.status.as_u16(), &again.body["name"]), (200, &json!("Restored")));
        assert_eq!(again.body["version"], kit.plan.version);
        let new = again.etag.expect("a tag");
        assert_ne!(new, tag);
        assert_eq!(read(&node, &new).await.status, 304);
    }
    let body = json!({"name": "Renamed"});
    let headers = [("If-Match", tag.as_str())];
    let whole = format!("/api/v1{path}");
    kit.author
        .send(reqwest::Method::PATCH, &whole, Some(&body), &headers)
        .await
        .ok();
    other.stop().await;
    kit.app.stop().await;
}

#[tokio::test]
async fn a_cached_plan_is_shown_only_to_accounts_that_may_read_it() {
    let kit = Kit::start().await;
    let path = format!("/plans/{}", kit.plan.id);
    kit.author.get(&path).await.ok();
    kit.author.get(&path).await.ok();
    assert_eq!(counts(&kit.app.app), (1, 0, 1));
    // A plan that is not visible to the gym is for its followers and their trainers.
    kit.sql("UPDATE plans SET visibility = 'trainer'").await;
    kit.member.get(&path).await.refused(403, "forbidden");
    kit.app.nobody().get(&path).await.refused(401, "unauthenticated");
    let elsewhere = kit.app.gym().await;
    let stranger = kit.app.person(elsewhere, &[Role::Owner]).await;
    stranger.get(&path).await.refused(404, "not_found");
    assert_eq!(counts(&kit.app.app), (1, 0, 1));
    kit.app.stop().await;
}

#[tokio::test]
async fn a_paused_or_killed_redis_fails_no_read() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let kit = Kit::start_with(|config| config.redis_url = Some(url.clone())).await;
    let path = format!("/plans/{}", kit.plan.id);
    redis.pause();
    let first = kit.author.get(&path).await.ok();
    redis.resume();
    redis.kill();
    assert_eq!(kit.author.get(&path).await.ok(), first);
    kit.app.stop().await;
}

#[tokio::test]
async fn a_client_that_accepts_gzip_gets_the_same_plan_compressed() {
    // Long enough to compress well.
    let mut kit = Kit::start().await;
    for title in ["x".repeat(200), "y".repeat(200)] {
        let lunch = kit.plan.lunch.clone();
        kit.edit(1, &lunch, &json!({"title": title})).await;
    }
    let (plan, token) = (kit.plan.id.clone(), kit.author.token.clone().expect("a token"));
    let url = format!("http://{}/api/v1/plans/{plan}", kit.app.address);
    let get = async |accepts: &str| {
        let request = reqwest::Client::new().get(&url).bearer_auth(&token);
        let answer = request
            .header("Accept-Encoding", accepts)
            .send()
            .await
            .expect("an answer");
        let field = |name: &str| answer.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
        let fields = [field("content-encoding"), field("etag"), field("vary")];
        (fields, answer.bytes().await.expect("a body"))
    };
    let (plain_fields, plain) = get("identity").await;
    assert_eq!(plain_fields[0], None);
    let shown: serde_json::Value = serde_json::from_slice(&plain).expect("JSON");
    assert_eq!(shown, kit.author.get(&format!("/plans/{plan}")).await.ok());
    // The second answer comes from the cache.
    for _ in 0..2 {
        let (fields, short) = get("gzip, deflate, br").await;
        assert_eq!(fields[0].as_deref(), Some("gzip"));
        let plain_tag = plain_fields[1].as_deref().expect("a tag");
        let tag = fields[1].as_deref().expect("a tag");
        assert_eq!(
            Some(tag),
            plain_tag
                .strip_suffix('"')
                .map(|tag| format!("{tag}-gzip\""))
                .as_deref()
        );
        assert_eq!(fields[2], plain_fields[2], "the Vary header differs");
        assert!(short.len() < plain.len() / 2, "{} of {}", short.len(), plain.len());
        let mut long = Vec::new();
        flate2::read::GzDecoder::new(&short[..])
            .read_to_end(&mut long)
            .expect("gzip");
        assert!(long == plain);
    }
    assert_eq!(get("gzip;q=0, identity").await.0[0], None);
    kit.app.stop().await;
}
