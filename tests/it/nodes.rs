//! Two nodes on one Postgres and one Redis, both real. The sweep is made too slow to help, so that what arrives came
//! through Redis.

use std::time::{Duration, Instant};

use liveplan::auth::Role;
use reqwest::Method;
use serde_json::json;

use crate::harness::TestApp;
use crate::harness::redis::Redis;
use crate::plans::publish;

#[tokio::test]
async fn a_change_crosses_nodes_through_redis_and_presence_does_too() {
    let redis = Redis::start().await;
    let slow_sweep = |config: &mut liveplan::config::Config| {
        config.redis_url = Some(redis.url());
        config.live.sweep_every = Duration::from_hours(1);
    };
    let one = TestApp::start_with(slow_sweep).await;
    let two = TestApp::node(&one.database, slow_sweep).await;
    let gym = one.gym().await;
    let author = one.person(gym, &[Role::Nutritionist]).await;
    let plan = publish(&author, one.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut screen = author.at(two.address).socket().await;
    screen.subscribe(&channel).await;
    let mut version = plan.version;
    for title in ["Cena", "Merienda"] {
        let path = format!("/plans/{}/days/1/meals/{}", plan.id, plan.meal);
        let made = author
            .write(Method::PATCH, &path, Some(&json!({"title": title})), version)
            .await
            .ok();
        version = made["version"].as_i64().expect("a version");
        let (_, event) = screen.publication(&channel).await;
        assert_eq!(event["type"], "meal.updated");
    }

    let trainer = one.person(gym, &[Role::Trainer]).await;
    let member = one.person(gym, &[Role::Member]).await;
    one.assign(gym, &trainer, &member).await;
    let roster = format!("roster:{}", trainer.account);
    let mut wall = trainer.at(two.address).socket().await;
    wall.subscribe(&roster).await;
    let phone = member.socket().await;
    let (offset, event) = wall.publication(&roster).await;
    assert_eq!((offset, event["type"].as_str()), (0, Some("presence.changed")));
    assert_eq!(event["patch"]["online"][member.account.to_string()], true);
    drop(phone);
    let (_, event) = wall.publication(&roster).await;
    assert!(event["patch"]["online"][member.account.to_string()].is_null());
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_killed_redis_delays_a_change_and_loses_nothing() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let one = TestApp::start_with(|config| config.redis_url = Some(url.clone())).await;
    let two = TestApp::node(&one.database, |config| config.redis_url = Some(url)).await;
    let gym = one.gym().await;
    let author = one.person(gym, &[Role::Nutritionist]).await;
    let plan = publish(&author, one.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut screen = author.at(two.address).socket().await;
    screen.subscribe(&channel).await;
    let path = format!("/plans/{}/days/1/meals/{}", plan.id, plan.meal);
    let mut version = plan.version;
    for (n, title) in ["Antes", "Sin Redis", "Después"].into_iter().enumerate() {
        match n {
            1 => redis.kill(),
            2 => redis.restart().await,
            _ => {}
        }
        let made = author
            .write(Method::PATCH, &path, Some(&json!({"title": title})), version)
            .await
            .ok();
        version = made["version"].as_i64().expect("a version");
        let began = Instant::now();
        let (_, event) = screen.publication(&channel).await;
        let meals = &event["patch"]["days"]
            .as_object()
            .expect("days")
            .values()
            .next()
            .expect("a day")["meals"];
        assert_eq!(meals[&plan.meal]["title"], title);
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{title} took {:?}",
            began.elapsed()
        );
    }
    two.stop().await;
    one.stop().await;
}
