//! The official SDKs against the real server. Each scenario is a script in `tests/sdk`, once in JavaScript and once in
//! Python.

mod ends;
pub mod script;

use chrono::TimeDelta;
use liveplan::auth::Role;
use liveplan::auth::refresh::FIRST;
use liveplan::config::Config;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::conformance::Conformance;
use crate::harness::{Client, Gym, PASSWORD, TestApp};
use crate::plans::{Published, publish};
use script::{Script, Sdk};

/// A gym with a published plan and a member who follows it.
struct Stage {
    app: TestApp,
    gym: Gym,
    author: Client,
    member: Client,
    plan: Published,
    date: Value,
}

impl Stage {
    async fn set(adjust: impl FnOnce(&mut Config)) -> Self {
        let app = TestApp::start_with(adjust).await;
        let gym = app.gym().await;
        let author = app.person(gym, &[Role::Nutritionist]).await;
        let member = app.person(gym, &[Role::Member]).await;
        let plan = publish(&author, app.food().await).await;
        let path = format!("/plans/{}/follow", plan.id);
        member.post(&path, &json!({})).await.ok();
        let date = member.get("/follows/today").await.ok()["date"].clone();
        Self {
            app,
            gym,
            author,
            member,
            plan,
            date,
        }
    }

    /// The input of every script.
    fn given(&self) -> Value {
        let person = |who: &Client| json!({"email": who.email, "account": who.account});
        json!({
            "address": self.app.address.to_string(),
            "password": PASSWORD,
            "member": person(&self.member),
            "author": person(&self.author),
            "plan": {"id": self.plan.id, "meal": self.plan.meal, "version": self.plan.version, "title": "Arroz"},
            "date": self.date,
        })
    }

    /// An expired token of the member's.
    fn expired(&self) -> String {
        let (tokens, now) = (&self.app.app.tokens, self.app.app.clock.now());
        let token = self.member.token.as_deref().expect("signed in");
        let caller = tokens.verify(token, now).expect("a good token").caller;
        tokens
            .issue(&caller, FIRST, now - TimeDelta::hours(1))
            .expect("a token")
    }
}

async fn what_was_missed_is_recovered(sdk: Sdk) {
    let stage = Stage::set(|_| {}).await;
    Script::pass(sdk, "watching", &stage.given()).await;
    stage.app.stop().await;
}

#[tokio::test]
async fn javascript_receives_a_live_change_and_recovers_fifty_missed_ones() {
    what_was_missed_is_recovered(Sdk::JavaScript).await;
}

#[tokio::test]
async fn python_receives_a_live_change_and_recovers_fifty_missed_ones() {
    what_was_missed_is_recovered(Sdk::Python).await;
}

async fn tokens_are_renewed(sdk: Sdk) {
    let mut stage = Stage::set(|_| {}).await;
    let mut given = stage.given();
    given["expired"] = stage.expired().into();
    // This node's tokens live 3 s, too short to prepare the stage on it.
    let database = stage.app.database.clone();
    stage.app.stop().await;
    stage.app = TestApp::node(&database, |config| config.access_token_seconds = 3).await;
    given["address"] = stage.app.address.to_string().into();
    Script::pass(sdk, "tokens", &given).await;
    stage.app.stop().await;
}

#[tokio::test]
async fn javascript_keeps_its_connection_across_new_tokens_and_replaces_an_expired_one() {
    tokens_are_renewed(Sdk::JavaScript).await;
}

#[tokio::test]
async fn python_keeps_its_connection_across_new_tokens_and_replaces_an_expired_one() {
    tokens_are_renewed(Sdk::Python).await;
}

async fn what_is_not_ones_own_is_refused(sdk: Sdk) {
    let stage = Stage::set(|_| {}).await;
    let (app, gym) = (&stage.app, stage.gym);
    let trainer = app.person(gym, &[Role::Trainer]).await;
    let neighbour = app.person(gym, &[Role::Member]).await;
    let draft = json!({"goal": "maintain", "name": "Draft", "duration_days": 1});
    let draft = stage.author.post("/plans", &draft).await.ok();
    let elsewhere = app.gym().await;
    let foreign_author = app.person(elsewhere, &[Role::Nutritionist]).await;
    let foreigner = app.person(elsewhere, &[Role::Member, Role::Trainer]).await;
    let foreign_plan = publish(&foreign_author, app.food().await).await;
    let (own, nobody) = (stage.member.account, Uuid::now_v7());
    let mut given = stage.given();
    given["refused"] = json!([
        {"channel": "weather", "code": 102},
        {"channel": "plan:", "code": 102},
        {"channel": "plan:1", "code": 102},
        {"channel": format!("weather:{nobody}"), "code": 102},
        {"channel": format!("!access:{own}"), "code": 102},
        {"channel": format!("member:{own}"), "code": 105},
        {"channel": format!("member:{}", neighbour.account), "code": 103},
        {"channel": format!("roster:{}", trainer.account), "code": 103},
        {"channel": format!("roster:{own}"), "code": 103},
        {"channel": format!("plan:{}", draft["id"].as_str().expect("an id")), "code": 103},
    ]);
    given["indistinguishable"] = json!([
        [format!("plan:{}", foreign_plan.id), format!("plan:{nobody}")],
        [format!("member:{}", foreigner.account), format!("member:{nobody}")],
        [format!("roster:{}", foreigner.account), format!("roster:{nobody}")],
    ]);
    Script::pass(sdk, "refusals", &given).await;
    stage.app.stop().await;
}

#[tokio::test]
async fn javascript_is_refused_channels_it_has_no_right_to() {
    what_is_not_ones_own_is_refused(Sdk::JavaScript).await;
}

#[tokio::test]
async fn python_is_refused_channels_it_has_no_right_to() {
    what_is_not_ones_own_is_refused(Sdk::Python).await;
}

async fn a_retried_command_has_one_effect(sdk: Sdk) {
    let stage = Stage::set(|_| {}).await;
    Script::pass(sdk, "commands", &stage.given()).await;
    let completions = stage.member.get("/progress/daily").await.ok();
    assert_eq!(completions["items"][0]["meals_done"], 0, "{completions}");
    stage.app.stop().await;
}

#[tokio::test]
async fn a_command_that_javascript_retries_has_one_effect() {
    a_retried_command_has_one_effect(Sdk::JavaScript).await;
}

#[tokio::test]
async fn a_command_that_python_retries_has_one_effect() {
    a_retried_command_has_one_effect(Sdk::Python).await;
}

async fn a_restart_is_survived(sdk: Sdk) {
    let mut stage = Stage::set(|_| {}).await;
    let (database, address) = (stage.app.database.clone(), stage.app.address.to_string());
    let mut script = Script::start(sdk, "restart", &stage.given()).await;
    script.cue("restart").await;
    stage.app.stop().await;
    stage.app = TestApp::node(&database, |config| config.bind = address).await;
    script.tell("go").await;
    script.passes().await;
    stage.app.stop().await;
}

#[tokio::test]
async fn javascript_survives_a_restart_of_the_server() {
    a_restart_is_survived(Sdk::JavaScript).await;
}

#[tokio::test]
async fn python_survives_a_restart_of_the_server() {
    a_restart_is_survived(Sdk::Python).await;
}

#[tokio::test]
async fn javascript_gets_empty_presence_for_a_channel_without_subscribers() {
    let server = Conformance::start().await;
    let given = json!({"address": server.address.to_string()});
    Script::pass(Sdk::JavaScript, "nobody", &given).await;
    server.stop().await;
}
