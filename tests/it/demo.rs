//! The demo gym and its simulated members.

use std::time::Duration;

use diesel::QueryDsl as _;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::config::Config;
use liveplan::db::schema::gyms;
use liveplan::demo;
use liveplan::simulate::{self, Options};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::process::liveplan;
use crate::harness::{Client, TestApp, config, postgres};

async fn sign_in(app: &TestApp, local: &str) -> (Client, Value) {
    let mut person = app.nobody();
    person.email = format!("{local}@demo.test");
    let session = person.login("demo", None).await.ok();
    let mut person = person.with(&session);
    let me = person.get("/auth/me").await.ok();
    person.account = me["account"]["id"].as_str().expect("an id").parse().expect("an id");
    (person, me)
}

async fn rows(app: &TestApp) -> Vec<i64> {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let mut counts = Vec::new();
    for table in [
        "gyms",
        "accounts",
        "memberships",
        "assignments",
        "plans",
        "follows",
        "completions",
    ] {
        let count: Count = diesel::sql_query(format!("SELECT count(*) AS n FROM {table}"))
            .get_result(&mut app.owner().await)
            .await
            .expect(table);
        counts.push(count.n);
    }
    counts
}

#[tokio::test]
async fn a_demo_is_created_once_with_all_accounts_plans_and_follows() {
    let database = postgres::fresh_database().await;
    let app = TestApp::node(&database, |config| config.demo = true).await;
    for local in ["owner", "manager", "nutritionist", "trainer2", "member02", "member24"] {
        sign_in(&app, local).await;
    }
    let (trainer, _) = sign_in(&app, "trainer1").await;
    let (member, _) = sign_in(&app, "member01").await;
    let today = member.get("/follows/today").await.ok();
    let meals = today["meals"].as_array().expect("meals");
    assert!(
        meals.len() == 5 && meals.iter().all(|meal| meal["status"] == "open"),
        "{today}"
    );
    let plan = trainer
        .get(&format!("/plans/{}", today["plan_id"].as_str().expect("an id")))
        .await
        .ok();
    assert_eq!(plan["author_id"], trainer.account.to_string());
    assert_eq!(
        (plan["status"].as_str(), plan["days"].as_array().map(Vec::len)),
        (Some("published"), Some(7))
    );
    let roster = trainer.get("/trainer/roster").await.ok();
    assert_eq!(
        roster["snapshot"]["members"].as_object().map(serde_json::Map::len),
        Some(12)
    );
    let offered = app.nobody().get("/demo").await.ok();
    assert!(
        offered["accounts"].as_array().expect("accounts").len() >= 7,
        "{offered}"
    );

    let before = rows(&app).await;
    assert_eq!(
        (before[0], before[2], before[3], before[4], before[5]),
        (1, 29, 24, 2, 24)
    );
    app.stop().await;
    let app = TestApp::node(&database, |config| config.demo = true).await;
    assert_eq!(rows(&app).await, before, "a second start must add nothing");
    app.stop().await;
}

#[tokio::test]
async fn a_demo_that_a_killed_start_left_unfinished_is_completed() {
    let database = postgres::fresh_database().await;
    let app = TestApp::node(&database, |config| config.demo = true).await;
    let whole = rows(&app).await;
    app.stop().await;
    let mut owner = liveplan::db::establish(&database).await.expect("a connection");
    for sql in [
        "TRUNCATE completion_history, completions, daily_progress, follows, plan_items, plan_meals, plan_days,
                  plan_revisions, plans, assignments CASCADE",
        "DELETE FROM memberships WHERE NOT 'owner' = ANY(roles)",
        "DELETE FROM accounts WHERE email NOT LIKE 'owner@%'",
    ] {
        diesel::sql_query(sql).execute(&mut owner).await.expect(sql);
    }
    let app = TestApp::node(&database, |config| config.demo = true).await;
    assert_eq!(rows(&app).await, whole);
    app.stop().await;
}

#[tokio::test]
async fn another_server_on_the_demos_database_lets_no_demo_account_in() {
    let database = postgres::fresh_database().await;
    let demo = TestApp::node(&database, |config| config.demo = true).await;
    let (owner, _) = sign_in(&demo, "owner").await;
    let session = owner.login("demo", None).await.ok();
    demo.stop().await;
    let app = TestApp::node(&database, |_| {}).await;
    let owner = owner.at(app.address);
    owner.login("demo", None).await.refused(403, "no_membership");
    owner.login("demo", Some("demo")).await.refused(403, "no_membership");
    let refresh = json!({"refresh_token": session["refresh_token"]});
    owner
        .post("/auth/refresh", &refresh)
        .await
        .refused(401, "session_ended");
    owner.get("/auth/me").await.refused(401, "session_ended");
    let mut socket = owner.raw_socket().await;
    socket.send("connect", json!({"token": owner.token})).await;
    assert_eq!(socket.closed().await, 3500);
    // The account may enter other gyms, and no request leads from there into the demo's.
    let gym = app.gym().await;
    diesel::sql_query(
        "INSERT INTO memberships (gym_id, account_id, roles, status, created_at)
         VALUES ($1, $2, '{member}', 'active', now())",
    )
    .bind::<SqlUuid, _>(gym.id)
    .bind::<SqlUuid, _>(owner.account)
    .execute(&mut app.owner().await)
    .await
    .expect("a membership");
    let elsewhere = owner.with(&owner.login("demo", None).await.ok());
    elsewhere.get("/auth/me").await.ok();
    let back = json!({"gym": "demo"});
    elsewhere
        .post("/auth/switch", &back)
        .await
        .refused(403, "no_membership");
    app.stop().await;
}

#[tokio::test]
async fn a_demo_gym_of_an_earlier_version_is_marked_and_others_are_not() {
    let database = postgres::fresh_database().await;
    let app = TestApp::node(&database, |config| config.demo = true).await;
    let real = app.gym().await;
    app.stop().await;
    let mut owner = liveplan::db::establish(&database).await.expect("a connection");
    for sql in [
        include_str!("../../migrations/2026-11-29-000090_demo_gyms/down.sql"),
        include_str!("../../migrations/2026-11-29-000090_demo_gyms/up.sql"),
    ] {
        owner.batch_execute(sql).await.expect(sql);
    }
    let marked: Vec<(uuid::Uuid, bool)> = gyms::table
        .select((gyms::id, gyms::demo))
        .load(&mut owner)
        .await
        .expect("gyms");
    assert_eq!(marked.len(), 2);
    assert!(
        marked.iter().all(|(id, demo)| *demo == (*id != real.id.0)),
        "{marked:?}"
    );
}

#[tokio::test]
async fn the_demo_command_refuses_a_configured_database() {
    let database = postgres::fresh_database().await;
    let mut command = liveplan(&database);
    command.arg("demo");
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let ended = ended.expect("joined").expect("the binary");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("unset DATABASE_URL"), "{said}");
}

#[test]
fn the_demo_command_has_a_folder_of_its_own() {
    let served = Config {
        data_dir: "/srv/liveplan".into(),
        ..config("")
    };
    let demo = demo::configure(served).expect("a configuration");
    assert!(demo.demo);
    assert_eq!(demo.data_dir, std::path::Path::new("/srv/liveplan/demo"));
}

#[tokio::test]
async fn only_a_demo_lists_its_accounts() {
    let app = TestApp::start().await;
    app.nobody().get("/demo").await.refused(404, "not_found");
    app.stop().await;
}

#[tokio::test]
async fn simulated_members_tick_and_the_trainers_wall_shows_it() {
    let app = TestApp::start_with(|config| config.demo = true).await;
    let (trainer, _) = sign_in(&app, "trainer1").await;
    let mut wall = trainer.socket().await;
    let roster = format!("roster:{}", trainer.account);
    wall.subscribe(&roster).await;
    let options = Options {
        members: 4,
        minutes: 1,
        every: 1,
        url: format!("http://{}", app.address),
        password: "demo".into(),
    };
    let tally = simulate::run_until(&options, Instant::now() + Duration::from_secs(6))
        .await
        .expect("a day");
    assert_eq!((tally.refused, tally.failed, tally.reconnects), (0, 0, 0), "{tally}");
    assert!(
        tally.by_socket > 0 && tally.by_rest > 0 && tally.publications > 0,
        "{tally}"
    );
    // Changes of presence arrive on this channel too.
    while wall.publication(&roster).await.1["patch"]["members"].is_null() {}
    app.stop().await;
}

#[tokio::test]
async fn simulated_members_that_cannot_sign_in_report_the_reason() {
    let app = TestApp::start().await;
    let mut options = Options {
        members: 2,
        minutes: 1,
        every: 1,
        url: format!("http://{}", app.address),
        password: "demo".into(),
    };
    let until = Instant::now() + Duration::from_secs(5);
    let refused = simulate::run_until(&options, until).await.expect_err("no such member");
    assert!(format!("{refused:#}").contains("signing in was refused"), "{refused:#}");
    app.stop().await;
    options.url = "http://127.0.0.1:9".into();
    let refused = simulate::run_until(&options, until).await.expect_err("no server");
    assert!(format!("{refused:#}").contains("nothing answers at"), "{refused:#}");
}
