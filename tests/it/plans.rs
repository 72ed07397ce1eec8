//! Plans over REST; each test of a change ends with the frame that a subscribed socket receives. The submodules test
//! writing, revisions, access and refusals.

mod access;
mod cached;
mod kit;
mod live;
mod quota;
mod refusals;
mod revisions;
mod together;
mod versions;
mod writing;

use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Gym, TestApp};

/// A published one-day plan with one meal of one item.
pub struct Published {
    pub id: String,
    pub meal: String,
    pub version: i64,
}

impl Published {
    fn meal_path(&self) -> String {
        format!("/plans/{}/days/1/meals/{}", self.id, self.meal)
    }
}

pub async fn publish(author: &Client, food: uuid::Uuid) -> Published {
    let plan = author
        .post(
            "/plans",
            &json!({"goal": "maintain", "name": "Base", "duration_days": 1, "cycle": "weekly"}),
        )
        .await
        .ok();
    let id = plan["id"].as_str().expect("an id").to_owned();
    let meal = json!({"slot": "lunch", "title": "Arroz", "items": [{"food_id": food, "grams_milli": 150_000}]});
    let version = plan["version"].as_i64().expect("a version");
    let made = author
        .write(Method::POST, &format!("/plans/{id}/days/1/meals"), Some(&meal), version)
        .await
        .ok();
    let version = made["version"].as_i64().expect("a version");
    let published = author
        .write(Method::POST, &format!("/plans/{id}/publish"), Some(&json!({})), version)
        .await
        .ok();
    Published {
        id,
        meal: made["meal"]["id"].as_str().expect("an id").to_owned(),
        version: published["version"].as_i64().expect("a version"),
    }
}

pub async fn rename(author: &Client, plan: &mut Published, title: &str) {
    let body = json!({"title": title});
    let made = author
        .write(Method::PATCH, &plan.meal_path(), Some(&body), plan.version)
        .await
        .ok();
    plan.version = made["version"].as_i64().expect("a version");
}

async fn nutritionist(app: &TestApp, gym: Gym) -> Client {
    app.person(gym, &[Role::Nutritionist]).await
}

#[tokio::test]
async fn an_edit_reaches_a_subscriber_and_gives_the_state_of_a_fresh_snapshot() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = nutritionist(&app, gym).await;
    let mut plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut socket = author.socket().await;
    let reply = socket.subscribe(&channel).await;
    let mut seen = reply["subscribe"]["data"].clone();
    let start = reply["subscribe"]["offset"].as_u64().expect("an offset");
    for title in ["Comida", "Almuerzo", "Lunch"] {
        rename(&author, &mut plan, title).await;
        let (offset, event) = socket.publication(&channel).await;
        assert!(offset > start);
        assert_eq!(event["type"], "meal.updated");
        liveplan::events::merge::apply(&mut seen, event["patch"].clone());
    }
    let fresh = author.get(&format!("/live/snapshots/{channel}")).await.ok();
    assert_eq!(seen, fresh["snapshot"]);
    app.stop().await;
}

#[tokio::test]
async fn a_returning_subscriber_recovers_exactly_what_it_missed_in_order() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = nutritionist(&app, gym).await;
    let mut plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let reply = author.socket().await.subscribe(&channel).await["subscribe"].clone();
    let (epoch, offset) = (reply["epoch"].clone(), reply["offset"].clone());
    for n in 0..50 {
        rename(&author, &mut plan, &format!("Comida {n}")).await;
    }
    let mut socket = author.socket().await;
    let ask = json!({"channel": channel, "recover": true, "epoch": epoch, "offset": offset});
    let reply = socket.call("subscribe", ask).await["subscribe"].clone();
    assert_eq!(
        (reply["recovered"].clone(), reply["was_recovering"].clone()),
        (json!(true), json!(true))
    );
    assert_eq!(reply["offset"], offset);
    let titles: Vec<Value> = reply["publications"]
        .as_array()
        .expect("publications")
        .iter()
        .map(|p| {
            p["data"]["patch"]["days"]
                .as_object()
                .expect("days")
                .values()
                .next()
                .expect("a day")["meals"][&plan.meal]["title"]
                .clone()
        })
        .collect();
    assert_eq!(
        titles,
        (0..50).map(|n| json!(format!("Comida {n}"))).collect::<Vec<_>>()
    );
    let stranger_epoch = json!({"channel": channel, "recover": true, "epoch": "other", "offset": offset});
    let reply = author.socket().await.call("subscribe", stranger_epoch).await["subscribe"].clone();
    assert_eq!(reply.get("recovered"), None);
    assert!(reply["data"]["days"].is_object());
    app.stop().await;
}

#[tokio::test]
async fn a_write_without_the_current_version_is_refused() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = nutritionist(&app, gym).await;
    let plan = publish(&author, app.food().await).await;
    let body = json!({"title": "X"});
    let without = author
        .send(Method::PATCH, &format!("/api/v1{}", plan.meal_path()), Some(&body), &[])
        .await;
    without.refused(428, "version_required");
    let stale = author
        .write(Method::PATCH, &plan.meal_path(), Some(&body), plan.version - 1)
        .await;
    stale.refused(412, "version_stale");
    assert_eq!(stale.etag, Some(format!("\"{}\"", plan.version)));
    let unknown = json!({"title": "X", "colour": "red"});
    author
        .write(Method::PATCH, &plan.meal_path(), Some(&unknown), plan.version)
        .await
        .refused(400, "malformed");
    let after = author.get(&format!("/plans/{}", plan.id)).await.ok();
    assert_eq!(after["version"], plan.version);
    app.stop().await;
}

#[tokio::test]
async fn anonymous_callers_and_strangers_get_neither_the_plan_nor_its_channel() {
    let app = TestApp::start().await;
    let (gym, other) = (app.gym().await, app.gym().await);
    let author = nutritionist(&app, gym).await;
    let plan = publish(&author, app.food().await).await;
    let path = format!("/plans/{}", plan.id);
    app.nobody().get(&path).await.refused(401, "unauthenticated");
    let stranger = nutritionist(&app, other).await;
    stranger.get(&path).await.refused(404, "not_found");
    let body = json!({"title": "X"});
    stranger
        .write(Method::PATCH, &plan.meal_path(), Some(&body), plan.version)
        .await
        .refused(404, "not_found");
    let member = app.person(gym, &[Role::Member]).await;
    member
        .write(Method::PATCH, &plan.meal_path(), Some(&body), plan.version)
        .await
        .refused(403, "forbidden");
    let channel = format!("plan:{}", plan.id);
    let mut socket = stranger.socket().await;
    assert_eq!(socket.subscribe(&channel).await["error"]["code"], 103);
    assert_eq!(socket.subscribe("nonsense:1").await["error"]["code"], 102);
    app.stop().await;
}

#[tokio::test]
async fn without_redis_the_sweep_brings_a_change_to_another_nodes_screens() {
    let app = TestApp::start().await;
    let node = TestApp::node(&app.database, |_| {}).await;
    let gym = app.gym().await;
    let author = nutritionist(&app, gym).await;
    let mut plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut socket = author.at(node.address).socket().await;
    socket.subscribe(&channel).await;
    rename(&author, &mut plan, "Cena").await;
    let (_, event) = socket.publication(&channel).await;
    assert_eq!(event["type"], "meal.updated");
    node.stop().await;
    app.stop().await;
}

#[tokio::test]
async fn a_suspended_accounts_socket_closes_within_a_second() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = nutritionist(&app, gym).await;
    let mut socket = author.socket().await;
    let account = author.account;
    // Written as the members' routes write it: the rows and the access event in one transaction.
    let changed = tokio::task::LocalSet::new()
        .run_until(app.app.change(liveplan::app::For::gym(gym.id), async move |tx| {
            use diesel_async::RunQueryDsl as _;
            diesel::sql_query("UPDATE memberships SET status = 'suspended' WHERE account_id = $1")
                .bind::<diesel::sql_types::Uuid, _>(account)
                .execute(&mut **tx)
                .await?;
            tx.access_changed(account);
            Ok(())
        }))
        .await;
    changed.expect("suspended");
    let began = std::time::Instant::now();
    assert_eq!(socket.closed().await, 3503);
    assert!(began.elapsed().as_secs_f64() < 1.0);
    author.get("/plans").await.refused(401, "session_ended");
    app.stop().await;
}
