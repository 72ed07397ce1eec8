//! Every channel and every command on the socket.

use std::collections::BTreeSet;

use liveplan::auth::Role;
use liveplan::channels::{COMMANDS, DESCRIBED};
use serde_json::{Value, json};

use super::EVERYBODY;
use super::world::{World, fingerprint};
use crate::harness::{Client, TestApp};

/// Picks a person with the right to the channel.
type Watcher = fn(&World) -> &Client;

/// A channel's name, the roles that may not watch it by their role alone, and a person who may.
const CHANNELS: &[(&str, &[Role], Watcher)] = &[
    (
        "member:{account}",
        &[Role::Owner, Role::Trainer, Role::Member, Role::Auditor],
        |world| &world.trainer,
    ),
    ("plan:{plan}", &[Role::Trainer, Role::Member, Role::Auditor], |world| {
        &world.member
    }),
    (
        "roster:{trainer}",
        &[
            Role::Owner,
            Role::Nutritionist,
            Role::Trainer,
            Role::Member,
            Role::Auditor,
        ],
        |world| &world.trainer,
    ),
];

/// A command and its data.
const SAID: &[(&str, &str)] = &[
    (
        "meal.complete",
        r#"{"key": "k", "meal_id": "<meal>", "date": "<date>", "status": "eaten", "member_id": "<member>"}"#,
    ),
    (
        "meal.undo",
        r#"{"key": "k2", "meal_id": "<meal>", "date": "<date>", "member_id": "<member>"}"#,
    ),
];

#[test]
fn the_tables_have_every_channel_and_command_and_no_other() {
    // This table names the roster's account by its role, because the world has another account too.
    let rows: BTreeSet<_> = CHANNELS
        .iter()
        .map(|(name, ..)| name.replace("{trainer}", "{account}"))
        .collect();
    let there: BTreeSet<_> = DESCRIBED.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(rows, there);
    let rows: BTreeSet<_> = SAID.iter().map(|(name, _)| name).collect();
    let there: BTreeSet<_> = COMMANDS.iter().map(|(name, ..)| name).collect();
    assert_eq!(rows, there);
}

async fn subscribe(who: &Client, channel: &str) -> Value {
    who.socket().await.subscribe(channel).await
}

async fn say(who: &Client, method: &str, data: &str) -> Value {
    let data: Value = serde_json::from_str(data).expect("JSON");
    who.socket()
        .await
        .call("rpc", json!({"method": method, "data": data}))
        .await
}

#[tokio::test]
async fn every_channel_and_command_refuses_anonymous_callers_the_wrong_role_and_another_gym() {
    let app = TestApp::start().await;
    let world = World::make(&app).await;
    let nowhere = world.without_things();
    let before = fingerprint(&app).await;
    for (name, wrong, right) in CHANNELS {
        let channel = world.fill(name, &[]);
        let mut nobody = app.nobody().raw_socket().await;
        nobody.send("subscribe", json!({"channel": channel})).await;
        assert_eq!(nobody.closed().await, 3501, "{name}");
        for role in *wrong {
            let reply = subscribe(&world.alone[role], &channel).await;
            assert_eq!(reply["error"]["code"], 103, "{name} as {role:?}: {reply}");
        }
        let refused = subscribe(&world.stranger, &channel).await;
        let missing = subscribe(&world.stranger, &nowhere.fill(name, &[])).await;
        assert_eq!(refused["error"]["code"], 103, "{name}: {refused}");
        assert_eq!(
            refused, missing,
            "{name}: the answers for another gym's channel and a missing one differ"
        );
        let reply = subscribe(right(&world), &channel).await;
        assert!(reply["subscribe"].is_object(), "{name}: {reply}");
    }
    for (method, data) in SAID {
        let data_here = world.fill_body(data);
        let mut nobody = app.nobody().raw_socket().await;
        nobody.send("rpc", json!({"method": method, "data": {}})).await;
        assert_eq!(nobody.closed().await, 3501, "{method}");
        for role in EVERYBODY {
            let reply = say(&world.alone[role], method, &data_here).await;
            assert_eq!(reply["error"]["code"], 103, "{method} as {role:?}: {reply}");
        }
        let refused = say(&world.stranger, method, &data_here).await;
        let missing = say(&world.stranger, method, &nowhere.fill_body(data)).await;
        assert_eq!(refused["error"]["code"], 1404, "{method}: {refused}");
        assert_eq!(
            refused, missing,
            "{method}: the answers for another gym's member and a missing one differ"
        );
    }
    assert_eq!(fingerprint(&app).await, before, "a refused request changed something");
    for (method, data) in SAID {
        let reply = say(&world.trainer, method, &world.fill_body(data)).await;
        assert!(reply["rpc"].is_object(), "{method}: {reply}");
    }
    app.stop().await;
}
