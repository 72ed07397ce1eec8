//! A plan's live channel.

use liveplan::auth::Role;
use liveplan::events::merge;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{TestPlan, follow, kitchen};
use crate::harness::TestApp;

#[tokio::test]
async fn every_edit_reaches_a_follower_and_gives_the_state_of_a_fresh_snapshot() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::published(&author, 2, food).await;
    let member = app.person(gym, &[Role::Member]).await;
    follow(&app, gym, &member, &plan).await;
    let channel = format!("plan:{}", plan.id);
    let mut socket = member.socket().await;
    let subscribed = socket.subscribe(&channel).await;
    let mut screen = subscribed["subscribe"]["data"].clone();
    assert_eq!(screen["plan"]["revision"], 1, "{subscribed}");

    let first = plan.read().await["days"][0]["meals"][0].clone();
    let meal = format!("/days/1/meals/{}", first["id"].as_str().expect("an id"));
    let item = format!("{meal}/items/{}", first["items"][0]["id"].as_str().expect("an id"));
    let two = json!([{"food_id": food, "quantity_milli": 500, "unit": "cup"}, {"food_id": food, "grams_milli": 5000}]);
    let edits = [
        (
            Method::POST,
            format!("{meal}/items"),
            json!({"food_id": food, "grams_milli": 7}),
            "item.added",
        ),
        (
            Method::PATCH,
            item.clone(),
            json!({"grams_milli": 31_000, "position": 7}),
            "item.updated",
        ),
        (Method::DELETE, item, Value::Null, "item.removed"),
        (
            Method::PATCH,
            meal.clone(),
            json!({"title": "Comida", "time_min": 900, "items": two}),
            "meal.updated",
        ),
        (
            Method::PATCH,
            meal.clone(),
            json!({"time_min": null, "notes": "fría"}),
            "meal.updated",
        ),
        (
            Method::POST,
            "/days/2/meals".into(),
            json!({"slot": "dinner", "title": "Cena"}),
            "meal.added",
        ),
        (
            Method::PATCH,
            "/days/2".into(),
            json!({"title": "Descanso"}),
            "day.updated",
        ),
        (
            Method::PATCH,
            String::new(),
            json!({"name": "Otro", "target": {"fat_mg": 5}}),
            "plan.revised",
        ),
        (Method::PATCH, String::new(), json!({"target": null}), "plan.revised"),
        (Method::DELETE, meal, Value::Null, "meal.removed"),
        (Method::POST, "/archive".into(), Value::Null, "plan.archived"),
    ];
    let mut last = 0;
    for (method, below, body, kind) in edits {
        plan.write(method, &below, Some(&body)).await;
        let (offset, event) = socket.publication(&channel).await;
        assert_eq!(
            (&event["type"], &event["actor"]),
            (&json!(kind), &json!(author.account))
        );
        merge::apply(&mut screen, event["patch"].clone());
        let fresh = author.get(&format!("/live/snapshots/{channel}")).await.ok();
        assert_eq!(screen, fresh["snapshot"], "{kind}");
        assert!(offset > last && fresh["offset"] == json!(offset), "{kind}");
        last = offset;
    }
    assert_eq!(screen["plan"]["status"], "archived");
    app.stop().await;
}

#[tokio::test]
async fn a_draft_has_no_channel_and_its_publication_carries_the_whole_plan() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::draft(&author, 1).await;
    let channel = format!("plan:{}", plan.id);
    let mut socket = author.socket().await;
    let refused = socket.subscribe(&channel).await;
    assert_eq!(refused["error"]["code"], 103, "{refused}");
    let position = async || {
        // Every channel's offset is a number of the gym's log, so any published plan of the gym shows it.
        let other = TestPlan::published(&author, 1, food).await;
        author.get(&format!("/live/snapshots/plan:{}", other.id)).await.ok()["offset"]
            .as_i64()
            .expect("an offset")
    };
    let before = position().await;
    plan.meal(1, "Lunch", food).await;
    assert_eq!(
        position().await,
        before + 1,
        "an edit of a draft was written to the log"
    );
    plan.publish().await;
    let read = author.get(&format!("/live/snapshots/{channel}")).await.ok();
    let mut recovering = author.socket().await;
    let epoch = read["epoch"].as_str().expect("an epoch");
    let reply = recovering
        .call(
            "subscribe",
            json!({"channel": channel, "recover": true, "epoch": epoch, "offset": before + 1}),
        )
        .await;
    let publications = reply["subscribe"]["publications"]
        .as_array()
        .expect("publications")
        .clone();
    assert_eq!(publications.len(), 1, "{reply}");
    assert_eq!(publications[0]["data"]["type"], "plan.published");
    assert_eq!(publications[0]["data"]["patch"], read["snapshot"]);
    app.stop().await;
}

#[tokio::test]
async fn only_accounts_with_the_right_may_watch_a_plan() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::published(&author, 1, food).await;
    let channel = format!("plan:{}", plan.id);
    let (follower, member) = (
        app.person(gym, &[Role::Member]).await,
        app.person(gym, &[Role::Member]).await,
    );
    let (trainer, other) = (
        app.person(gym, &[Role::Trainer]).await,
        app.person(gym, &[Role::Trainer]).await,
    );
    app.assign(gym, &trainer, &follower).await;
    follow(&app, gym, &follower, &plan).await;
    let mut watching = other.socket().await;
    assert!(watching.subscribe(&channel).await["subscribe"].is_object());
    plan.write(Method::PATCH, "", Some(&json!({"visibility": "assigned"})))
        .await;
    assert_eq!(
        watching.unsubscribed(&channel).await,
        2000,
        "a trainer who lost the right still watches the plan"
    );

    for (who, may) in [
        (&author, true),
        (&follower, true),
        (&trainer, true),
        (&app.person(gym, &[Role::Manager]).await, true),
        (&app.person(gym, &[Role::Owner]).await, true),
        (&member, false),
        (&other, false),
        (&app.person(gym, &[Role::Auditor]).await, false),
        (&app.person(app.gym().await, &[Role::Manager]).await, false),
    ] {
        let reply = who.socket().await.subscribe(&channel).await;
        assert_eq!(reply["subscribe"].is_object(), may, "{}: {reply}", who.email);
        let status = who.get(&format!("/live/snapshots/{channel}")).await.status;
        assert_eq!(status.is_success(), may, "{}: {status}", who.email);
    }
    app.stop().await;
}
