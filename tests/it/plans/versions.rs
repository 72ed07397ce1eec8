//! Writes name the version that they were made from.

use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{TestPlan, kitchen};
use crate::harness::TestApp;

#[tokio::test]
async fn a_write_needs_the_version_that_was_read() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::published(&author, 1, food).await;
    let stale = plan.version;
    let meal = plan.meal(1, "Dinner", food).await;
    let path = |below: &str| format!("/api/v1{}", plan.path(below));
    let body = json!({"title": "x"});
    for (method, below) in [
        (Method::PATCH, String::new()),
        (Method::DELETE, String::new()),
        (Method::POST, "/publish".into()),
        (Method::POST, "/archive".into()),
        (Method::PATCH, "/days/1".into()),
        (Method::POST, "/days/1/meals".into()),
        (Method::PATCH, meal.clone()),
        (Method::DELETE, meal.clone()),
        (Method::POST, format!("{meal}/items")),
    ] {
        let body = match (method.as_str(), below.as_str()) {
            ("PATCH", "") => json!({"name": "x"}),
            ("POST", "/days/1/meals") => json!({"slot": "lunch", "title": "x"}),
            ("POST", _) => json!({"food_id": food, "grams_milli": 1}),
            _ => body.clone(),
        };
        author
            .send(method.clone(), &path(&below), Some(&body), &[])
            .await
            .refused(428, "version_required");
        let old = author
            .write(method.clone(), &plan.path(&below), Some(&body), stale)
            .await;
        old.refused(412, "version_stale");
        assert_eq!(old.etag, Some(format!("\"{}\"", plan.version)));
        // A stranger learns nothing of the version.
        let stranger = app.person(app.gym().await, &[Role::Manager]).await;
        stranger
            .send(method, &path(&below), Some(&body), &[])
            .await
            .refused(404, "not_found");
    }
    let etag = format!("\"{}\"", plan.version);
    let same = author
        .send(Method::GET, &path(""), None, &[("If-None-Match", &etag)])
        .await;
    assert_eq!(
        (same.status.as_u16(), same.etag.as_deref(), &same.body),
        (304, Some(etag.as_str()), &json!(""))
    );
    assert_eq!(
        author
            .send(Method::GET, &path(""), None, &[("If-None-Match", "\"1\"")])
            .await
            .status,
        200
    );
    let outsider = app.person(gym, &[Role::Auditor]).await;
    outsider
        .send(Method::GET, &path(""), None, &[("If-None-Match", &etag)])
        .await
        .refused(403, "forbidden");
    app.stop().await;
}

#[tokio::test]
async fn of_two_edits_at_once_one_is_made() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let plan = TestPlan::published(&author, 1, food).await;
    let bodies: Vec<Value> = (0..6)
        .map(|n| json!({"slot": "snack", "title": format!("{n}")}))
        .collect();
    let edits = bodies
        .iter()
        .map(|body| plan.attempt(Method::POST, "/days/1/meals", Some(body)));
    let mut answers: Vec<u16> = futures_util::future::join_all(edits)
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, [201, 412, 412, 412, 412, 412]);
    let read = plan.read().await;
    assert_eq!(
        (&read["version"], &read["revision"]),
        (&json!(plan.version + 1), &json!(2))
    );
    assert_eq!(read["days"][0]["meals"].as_array().map(Vec::len), Some(2));
    app.stop().await;
}
