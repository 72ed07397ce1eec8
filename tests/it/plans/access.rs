//! Who may read and write which plans.

use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{TestPlan, follow, kitchen};
use crate::harness::{Client, TestApp};

/// Returns the status of a read, whether a list has the plan, and the status of a write.
async fn tries(who: &Client, plan: &TestPlan) -> (u16, bool, u16) {
    let read = who.get(&plan.path("")).await.status.as_u16();
    let list = who.get("/plans?limit=200").await;
    let listed = list.body["items"]
        .as_array()
        .is_some_and(|items| items.iter().any(|p| p["id"] == json!(plan.id)));
    let body = json!({"description": format!("by {}", who.account)});
    let write = who
        .send(
            Method::PATCH,
            &format!("/api/v1{}", plan.path("")),
            Some(&body),
            &[("If-Match", "\"0\"")],
        )
        .await;
    (read, listed, write.status.as_u16())
}

/// Writes are tried with a stale version: 412 shows that the caller may write.
const MAY: u16 = 412;

#[tokio::test]
async fn each_role_reads_and_writes_only_the_plans_it_may() {
    let app = TestApp::start().await;
    let (gym, _, food) = kitchen(&app).await;
    let (author, assigned, other) = (
        app.person(gym, &[Role::Trainer]).await,
        app.person(gym, &[Role::Trainer]).await,
        app.person(gym, &[Role::Trainer]).await,
    );
    let (follower, member) = (
        app.person(gym, &[Role::Member]).await,
        app.person(gym, &[Role::Member]).await,
    );
    app.assign(gym, &assigned, &follower).await;
    let owner = app.person(gym, &[Role::Owner]).await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let nutritionist = app.person(gym, &[Role::Nutritionist]).await;
    let auditor = app.person(gym, &[Role::Auditor]).await;
    let stranger = app
        .person(app.gym().await, &[Role::Manager, Role::Nutritionist, Role::Owner])
        .await;

    let mut plan = TestPlan::draft(&author, 1).await;
    plan.meal(1, "Lunch", food).await;
    for who in [&assigned, &other, &follower, &member, &auditor] {
        assert_eq!(
            tries(who, &plan).await,
            (403, false, 403),
            "only its editors may see a draft"
        );
    }
    plan.publish().await;
    assert_eq!(tries(&member, &plan).await, (200, true, 403));
    assert_eq!(tries(&other, &plan).await, (200, true, 403));
    plan.write(Method::PATCH, "", Some(&json!({"visibility": "assigned"})))
        .await;
    follow(&app, gym, &follower, &plan).await;
    for (who, read, write) in [
        (&author, 200, MAY),
        (&assigned, 200, 403),
        (&other, 403, 403),
        (&follower, 200, 403),
        (&member, 403, 403),
        (&owner, 200, 403),
        (&manager, 200, MAY),
        (&nutritionist, 200, MAY),
        (&auditor, 403, 403),
        (&stranger, 404, 404),
    ] {
        assert_eq!(tries(who, &plan).await, (read, read == 200, write), "{}", who.email);
    }
    assert_eq!(tries(&app.nobody(), &plan).await, (401, false, 401));
    app.stop().await;
}

#[tokio::test]
async fn only_staff_create_plans() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let body = json!({"goal": "health", "name": "x", "duration_days": 1});
    for role in Role::ALL {
        let who = app.person(gym, &[role]).await;
        let may = matches!(role, Role::Manager | Role::Nutritionist | Role::Trainer);
        assert_eq!(
            who.post("/plans", &body).await.status.as_u16(),
            if may { 201 } else { 403 },
            "{role:?}"
        );
    }
    app.nobody().post("/plans", &body).await.refused(401, "unauthenticated");
    assert_eq!(app.person(gym, &[Role::Auditor]).await.get("/plans").await.status, 403);
    app.stop().await;
}

#[tokio::test]
async fn another_gyms_plan_answers_404_on_every_route() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::published(&author, 1, food).await;
    let meal = plan.meal(1, "Dinner", food).await;
    let item = plan.read().await["days"][0]["meals"][1]["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let stranger = app.person(app.gym().await, &Role::ALL).await;
    let new_meal = json!({"slot": "lunch", "title": "x"});
    let new_item = json!({"food_id": food, "grams_milli": 1});
    for (method, below, body) in [
        (Method::GET, String::new(), Value::Null),
        (Method::PATCH, String::new(), json!({"name": "x"})),
        (Method::DELETE, String::new(), Value::Null),
        (Method::POST, "/publish".into(), Value::Null),
        (Method::POST, "/archive".into(), Value::Null),
        (Method::POST, "/duplicate".into(), Value::Null),
        (Method::GET, "/revisions".into(), Value::Null),
        (Method::GET, "/revisions/1".into(), Value::Null),
        (Method::GET, "/days/1".into(), Value::Null),
        (Method::PATCH, "/days/1".into(), json!({"title": "x"})),
        (Method::POST, "/days/1/meals".into(), new_meal),
        (Method::GET, meal.clone(), Value::Null),
        (Method::PATCH, meal.clone(), json!({"title": "x"})),
        (Method::DELETE, meal.clone(), Value::Null),
        (Method::POST, format!("{meal}/items"), new_item),
        (Method::PATCH, format!("{meal}/items/{item}"), json!({"grams_milli": 1})),
        (Method::DELETE, format!("{meal}/items/{item}"), Value::Null),
    ] {
        let found = stranger
            .write(method.clone(), &plan.path(&below), Some(&body), plan.version)
            .await;
        found.refused(404, "not_found");
        let path = format!("/plans/01890000-0000-7000-8000-000000000000{below}");
        let missing = stranger.write(method, &path, Some(&body), plan.version).await;
        assert_eq!(
            found.body, missing.body,
            "the answers for another gym's plan and a missing one differ"
        );
    }
    assert_eq!(stranger.get("/plans").await.ok()["items"], json!([]));
    app.stop().await;
}
