//! Commits while a right is in doubt: a screen whose right may have ended gets nothing until the check has confirmed
//! the right, however long the database takes.

use std::time::Duration;

use chrono::TimeDelta;
use liveplan::auth::Role;
use serde_json::{Value, json};

use super::ends::assign_until;
use super::races::Scene;
use crate::harness::Socket;

/// How long a socket must stay quiet.
const QUIET: Duration = Duration::from_millis(400);

/// Asserts that nothing arrives for a while.
async fn is_quiet(socket: &mut Socket) {
    if let Ok(message) = tokio::time::timeout(QUIET, socket.next()).await {
        panic!("nothing should arrive: {message:?}");
    }
}

/// Reads until `count` channels have ended; returns the other messages and the ended channels.
async fn until_ended(socket: &mut Socket, count: usize) -> (Vec<Value>, Vec<(Value, Value)>) {
    let (mut came, mut ended) = (Vec::new(), Vec::new());
    while ended.len() < count {
        let message = socket.next().await.expect("a push");
        let push = &message["push"];
        if push["unsubscribe"].is_object() {
            ended.push((push["channel"].clone(), push["unsubscribe"]["code"].clone()));
        } else {
            came.push(message);
        }
    }
    (came, ended)
}

#[tokio::test]
async fn nothing_after_a_revocation_is_delivered_while_the_right_is_checked() {
    let mut scene = Scene::set().await;
    let trainer = scene.floor.trainer.clone();
    // The trainer may read this plan only because of the assignment.
    let path = format!("/plans/{}", scene.floor.plan.id);
    let hidden = json!({"visibility": "assigned"});
    let (author, version) = (scene.floor.author.clone(), scene.floor.plan.version);
    let written = author
        .write(reqwest::Method::PATCH, &path, Some(&hidden), version)
        .await
        .ok();
    scene.floor.plan.version = written["version"].as_i64().expect("a version");
    let member = format!("member:{}", scene.floor.members[0].account);
    let plan = format!("plan:{}", scene.floor.plan.id);
    let roster = scene.floor.roster();
    let mut socket = trainer.at(scene.held.address).socket().await;
    for channel in [&member, &plan, &roster] {
        let reply = socket.subscribe(channel).await;
        assert!(reply["subscribe"].is_object(), "{channel}: {reply}");
    }
    let path = format!("/assignments?trainer={}", trainer.account);
    let id = scene.manager.get(&path).await.ok()["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();

    scene.proxy.hold();
    let removed = scene.manager.delete(&format!("/assignments/{id}")).await;
    assert_eq!(removed.status, 204);
    assert!(scene.floor.tick(0, 500).send(scene.free.address).await);
    scene.floor.rename("not for them").await;
    scene.hears().await;
    is_quiet(&mut socket).await;
    scene.proxy.release();
    let (came, mut ended) = until_ended(&mut socket, 2).await;
    ended.sort_by_key(|(channel, _)| channel.to_string());
    assert_eq!(ended, [(json!(member), json!(2000)), (json!(plan), json!(2000))]);
    // The trainer's own roster was held back and now continues.
    let told = [came, until_answered(&mut socket, &roster).await].concat();
    let channels: Vec<_> = told.iter().map(|message| &message["push"]["channel"]).collect();
    assert_eq!(channels, [&json!(roster)], "{told:?}");
    scene.stop().await;
}

/// Reads until the server answers that the socket is already subscribed; returns the messages before.
async fn until_answered(socket: &mut Socket, channel: &str) -> Vec<Value> {
    let id = socket.send("subscribe", json!({"channel": channel})).await;
    let mut came = Vec::new();
    loop {
        let message = socket.next().await.expect("an answer");
        if message["id"] == id {
            assert_eq!(message["error"]["code"], 105, "{message}");
            return came;
        }
        came.push(message);
    }
}

#[tokio::test]
async fn held_back_publications_arrive_in_order_once_the_right_is_confirmed() {
    let mut scene = Scene::set().await;
    let trainer = scene.floor.trainer.clone();
    let plan = format!("plan:{}", scene.floor.plan.id);
    let mut socket = trainer.at(scene.held.address).socket().await;
    assert!(socket.subscribe(&plan).await["subscribe"].is_object());
    scene.proxy.hold();
    // A new assignment changes the trainer's rights and takes none away.
    let next = scene.free.person(scene.floor.gym, &[Role::Member]).await;
    let body = json!({"trainer_id": trainer.account, "member_id": next.account});
    scene.manager.post("/assignments", &body).await.ok();
    for title in ["one", "two", "three"] {
        scene.floor.rename(title).await;
    }
    scene.hears().await;
    is_quiet(&mut socket).await;
    scene.proxy.release();
    for title in ["one", "two", "three"] {
        let (_, event) = socket.publication(&plan).await;
        assert!(event["patch"].to_string().contains(title), "{event}");
    }
    scene.floor.rename("four").await;
    assert!(socket.publication(&plan).await.1["patch"].to_string().contains("four"));
    scene.stop().await;
}

#[tokio::test]
async fn an_expired_right_lets_nothing_through_while_its_end_is_checked() {
    let scene = Scene::set().await;
    let trainer = scene.free.person(scene.floor.gym, &[Role::Trainer]).await;
    let until = scene.free.app.clock.now() + TimeDelta::seconds(2);
    let member = &scene.floor.members[0];
    assign_until(&scene.free, scene.floor.gym, &trainer, member, until).await;
    let channel = format!("member:{}", member.account);
    let mut socket = trainer.at(scene.held.address).socket().await;
    assert!(socket.subscribe(&channel).await["subscribe"].is_object());
    scene.proxy.hold();
    let left = until - scene.free.app.clock.now();
    assert!(
        left > TimeDelta::zero(),
        "the subscription came after the end of the right"
    );
    // The extra time lets the connection's timer fire.
    tokio::time::sleep(left.to_std().expect("positive") + Duration::from_millis(100)).await;
    assert!(scene.floor.tick(0, 500).send(scene.free.address).await);
    scene.hears().await;
    is_quiet(&mut socket).await;
    scene.proxy.release();
    let (came, ended) = until_ended(&mut socket, 1).await;
    assert_eq!((came, ended), (vec![], vec![(json!(channel), json!(2000))]));
    scene.stop().await;
}
