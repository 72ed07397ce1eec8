//! A followed plan and its ticks, from the member's phone to the trainer's wall.

use liveplan::auth::Role;
use serde_json::json;

use crate::harness::TestApp;
use crate::plans::publish;

#[tokio::test]
async fn a_tick_reaches_the_trainers_wall_and_a_retry_has_no_second_effect() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let trainer = app.person(gym, &[Role::Trainer]).await;
    let member = app.person(gym, &[Role::Member]).await;
    app.assign(gym, &trainer, &member).await;
    let plan = publish(&author, app.food().await).await;
    member
        .post(&format!("/plans/{}/follow", plan.id), &json!({}))
        .await
        .ok();
    let today = member.get("/follows/today").await.ok();
    assert_eq!(today["meals"][0]["status"], "open");

    let roster = format!("roster:{}", trainer.account);
    let mut wall = trainer.socket().await;
    let shown = wall.subscribe(&roster).await["subscribe"]["data"].clone();
    assert!(shown["members"][member.account.to_string()].is_object(), "{shown}");
    let mut phone = member.socket().await;
    let channel = format!("member:{}", member.account);
    let mut seen = phone.connected["connect"]["subs"][&channel]["data"].clone();
    let tick = json!({"method": "meal.complete", "data": {
        "key": "tick-1", "meal_id": plan.meal, "date": today["date"], "status": "eaten"}});
    let first = phone.call("rpc", tick.clone()).await;
    assert!(first["error"].is_null(), "{first}");
    let (offset, event) = phone.publication(&channel).await;
    assert_eq!(event["type"], "meal.completed");
    liveplan::events::merge::apply(&mut seen, event["patch"].clone());
    let (on_wall, event) = wall.publication(&roster).await;
    assert_eq!((on_wall, event["type"].as_str()), (offset, Some("meal.completed")));
    let again = phone.call("rpc", tick).await;
    assert_eq!(again["rpc"], first["rpc"]);
    let fresh = member.get(&format!("/live/snapshots/{channel}")).await.ok();
    assert_eq!((fresh["offset"].as_u64(), &fresh["snapshot"]), (Some(offset), &seen));
    assert_eq!(member.get("/follows/today").await.ok()["meals"][0]["status"], "eaten");
    app.stop().await;
}

#[tokio::test]
async fn strangers_can_neither_watch_nor_tick() {
    let app = TestApp::start().await;
    let (gym, other) = (app.gym().await, app.gym().await);
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let member = app.person(gym, &[Role::Member]).await;
    let plan = publish(&author, app.food().await).await;
    member
        .post(&format!("/plans/{}/follow", plan.id), &json!({}))
        .await
        .ok();
    let channel = format!("member:{}", member.account);
    for stranger in [
        app.person(gym, &[Role::Member]).await,
        app.person(gym, &[Role::Trainer]).await,
        app.person(other, &[Role::Manager]).await,
    ] {
        assert_eq!(stranger.socket().await.subscribe(&channel).await["error"]["code"], 103);
    }
    let body = json!({"meal_id": plan.meal, "date": "2026-11-24", "status": "eaten"});
    app.nobody()
        .post("/meals/complete", &body)
        .await
        .refused(401, "unauthenticated");
    app.stop().await;
}
