//! Epochs rotated by an operator: a client with an older position takes a new snapshot and continues.

use std::process::Output;

use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use serde_json::json;

use super::Floor;
use super::screen::Screen;
use crate::harness::process::liveplan;
use crate::harness::{Gym, TestApp};

async fn slug(app: &TestApp, gym: Gym) -> String {
    #[derive(diesel::QueryableByName)]
    struct Slug {
        #[diesel(sql_type = Text)]
        slug: String,
    }
    let found: Slug = diesel::sql_query("SELECT slug FROM gyms WHERE id = $1")
        .bind::<SqlUuid, _>(gym.id)
        .get_result(&mut app.owner().await)
        .await
        .expect("a slug");
    found.slug
}

async fn rotate(app: &TestApp, gym: &str) -> Output {
    let mut command = liveplan(&app.database);
    command.args(["epoch", "rotate", "--gym", gym]);
    tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("joined")
        .expect("the binary")
}

#[tokio::test]
async fn a_rotated_epoch_gives_every_client_of_a_running_node_a_new_snapshot() {
    let app = TestApp::start().await;
    let floor = Floor::make(&app, 1).await;
    let bystanders = Floor::make(&app, 1).await;
    let own = format!("member:{}", floor.members[0].account);
    // One client-side and one server-side subscription.
    let mut screens = vec![
        Screen::open(&floor.trainer, app.address, floor.roster()).await,
        Screen::open(&floor.members[0], app.address, own.clone()).await,
    ];
    let elsewhere = Screen::open(&bystanders.trainer, app.address, bystanders.roster()).await;
    let mut away = floor.trainer.socket().await;
    let position = away.subscribe(&own).await["subscribe"].clone();
    drop(away);

    let done = rotate(&app, &slug(&app, floor.gym).await).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "1 epochs rotated\n");
    for screen in &mut screens {
        screen
            .waits_until("it has a new snapshot", |seen| seen.subscribed == 2)
            .await;
        assert_eq!(screen.seen().recovered, 0, "{}", screen.channel);
    }
    assert!(floor.tick(0, 300).send(app.address).await);
    assert!(bystanders.tick(0, 300).send(app.address).await);
    for screen in &screens {
        screen.becomes_right(app.address).await;
    }
    elsewhere.becomes_right(app.address).await;
    assert_eq!(elsewhere.seen().subscribed, 1, "another gym's epoch was rotated too");

    let mut back = floor.trainer.socket().await;
    let recover = json!({"channel": own, "recover": true, "epoch": position["epoch"], "offset": position["offset"]});
    let reply = back.call("subscribe", recover).await["subscribe"].clone();
    assert_eq!(reply["was_recovering"], true);
    assert!(reply.get("recovered").is_none(), "{reply}");
    assert_ne!(reply["epoch"], position["epoch"]);
    assert!(reply["data"]["follow"].is_object(), "{reply}");
    assert!(floor.tick(0, 400).send(app.address).await);
    assert_eq!(back.publication(&own).await.1["type"], "meal.partial");
    app.stop().await;
}

#[tokio::test]
async fn rotating_the_epoch_of_an_unknown_gym_is_refused() {
    let app = TestApp::start().await;
    let refused = rotate(&app, "nowhere").await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("There is no such gym"), "{said}");
    app.stop().await;
}
