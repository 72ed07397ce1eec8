//! The number of plans that an account may create per hour.

use chrono::TimeDelta;
use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::kitchen;
use crate::harness::{Answer, Client, TestApp};

fn new() -> Value {
    json!({"goal": "health", "name": "Base", "duration_days": 1})
}

async fn begin(who: &Client, key: &str) -> Answer {
    let headers = [("Idempotency-Key", key)];
    who.send(Method::POST, "/api/v1/plans", Some(&new()), &headers).await
}

/// The remaining quota, from the `RateLimit` header.
fn left(answer: &Answer) -> i64 {
    let header = answer.headers["ratelimit"].to_str().expect("text");
    let times = header
        .strip_prefix("\"create_plan\";r=")
        .and_then(|rest| rest.split(';').next());
    times.and_then(|n| n.parse().ok()).expect("a number")
}

#[tokio::test]
async fn an_account_creates_ten_plans_an_hour_and_only_created_plans_count() {
    let app = TestApp::start().await;
    let (gym, author, _) = kitchen(&app).await;
    let other = TestApp::node(&app.database, |_| {}).await;
    for n in 0..9 {
        // Both nodes count in the same window.
        let node = if n % 2 == 0 { app.address } else { other.address };
        let made = begin(&author.at(node), &format!("k{n}")).await;
        assert_eq!(made.headers["ratelimit-policy"], "\"create_plan\";q=10;w=3600");
        assert_eq!((made.status.as_u16(), left(&made)), (201, 9 - n), "{n}");
    }
    for _ in 0..3 {
        let invalid = json!({"goal": "health", "name": "", "duration_days": 1});
        author.post("/plans", &invalid).await.refused(422, "invalid");
        let again = begin(&author, "k3").await;
        assert_eq!(again.headers["idempotency-replayed"], "true");
        let told = again
            .headers
            .get_all("ratelimit")
            .iter()
            .filter_map(|rest| rest.to_str().ok());
        let told: Vec<_> = told.filter(|rest| rest.contains("create_plan")).collect();
        assert_eq!(told, Vec::<&str>::new(), "a repeated request has no quota");
    }
    let plan = begin(&author, "k3").await.ok();
    let copy = format!("/plans/{}/duplicate", plan["id"].as_str().expect("an id"));
    let made = author.post(&copy, &json!({})).await;
    assert_eq!(
        (made.status.as_u16(), left(&made)),
        (201, 0),
        "a copy must count as a plan"
    );
    for _ in 0..2 {
        let refused = begin(&author, "one-too-many").await;
        refused.refused(429, "too_many_requests");
        assert_eq!(left(&refused), 0);
        let wait: i64 = refused.headers["retry-after"]
            .to_str()
            .ok()
            .and_then(|s| s.parse().ok())
            .expect("seconds");
        assert!((3500..=3601).contains(&wait), "{wait}");
        author.post(&copy, &json!({})).await.refused(429, "too_many_requests");
    }
    let listed = author.get("/plans?limit=200").await.ok();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(10));
    let colleague = app.person(gym, &[Role::Nutritionist]).await;
    assert_eq!(
        left(&begin(&colleague, "k0").await),
        9,
        "each account must have its own quota"
    );
    app.app.clock.advance(TimeDelta::minutes(61));
    let fresh = author.login(crate::harness::PASSWORD, None).await.ok();
    assert_eq!(left(&begin(&author.with(&fresh), "one-too-many").await), 9);
    other.stop().await;
    app.stop().await;
}
