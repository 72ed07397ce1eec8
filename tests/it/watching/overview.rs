//! The overview of a gym's live connections.

use std::collections::BTreeSet;

use liveplan::auth::Role;
use serde_json::{Value, json};

use crate::faults::Floor;
use crate::harness::TestApp;

/// The accounts of the connections, each once.
fn accounts(overview: &Value) -> BTreeSet<&str> {
    let items = overview["connections"]["items"].as_array().expect("connections");
    items.iter().filter_map(|c| c["account_id"].as_str()).collect()
}

#[tokio::test]
async fn managers_and_owners_see_only_their_own_gyms_connections() {
    let app = TestApp::start().await;
    let (mut here, elsewhere) = (Floor::make(&app, 1).await, Floor::make(&app, 1).await);
    let manager = app.person(here.gym, &[Role::Manager]).await;
    let owner = app.person(here.gym, &[Role::Owner]).await;
    let empty = manager.get("/system/live").await.ok();
    assert_eq!(
        (&empty["connections_total"], &empty["channels"]),
        (&json!(0), &json!([]))
    );

    let channel = format!("plan:{}", here.plan.id);
    let mut author = here.author.socket().await;
    author.subscribe(&channel).await;
    let mut trainer = here.trainer.socket().await;
    trainer.subscribe(&channel).await;
    trainer.subscribe(&here.roster()).await;
    let member = here.members[0].socket().await;
    let mut other = elsewhere.trainer.socket().await;
    other.subscribe(&elsewhere.roster()).await;
    here.rename("Uno").await;
    author.publication(&channel).await;

    for who in [&manager, &owner] {
        let seen = who.get("/system/live").await.ok();
        assert_eq!(seen["node"], author.connected["connect"]["node"]);
        let people = [&here.author, &here.trainer, &here.members[0]].map(|p| p.account.to_string());
        assert_eq!(accounts(&seen), people.iter().map(String::as_str).collect());
        assert_eq!(
            (&seen["connections_total"], &seen["channels_total"]),
            (&json!(3), &json!(3))
        );
        assert_eq!(
            seen["channels"][0],
            json!({"channel": channel, "subscriptions": 2}),
            "the channel with the most subscriptions must come first"
        );
        let text = seen.to_string();
        let strangers = [
            elsewhere.gym.id.to_string(),
            elsewhere.trainer.account.to_string(),
            elsewhere.plan.id.clone(),
            other.connected["connect"]["client"].as_str().expect("an id").to_owned(),
        ];
        assert!(strangers.iter().all(|id| !text.contains(id)), "{text}");
    }
    let seen = manager.get("/system/live").await.ok();
    let items = seen["connections"]["items"].as_array().expect("connections");
    let of_author = items
        .iter()
        .find(|c| c["id"] == author.connected["connect"]["client"])
        .expect("the author's");
    assert_eq!(of_author["channels"], json!([channel]));
    assert_eq!(
        (&of_author["codec"], &of_author["commands"]),
        (&json!("json"), &json!(2))
    );
    assert_eq!(of_author["deliveries"], 1);
    for role in [Role::Nutritionist, Role::Trainer, Role::Member, Role::Auditor] {
        let refused = app.person(here.gym, &[role]).await.get("/system/live").await;
        refused.refused(403, "forbidden");
    }
    drop((author, trainer, member));
    let began = std::time::Instant::now();
    while manager.get("/system/live").await.ok()["connections_total"] != 0 {
        assert!(
            began.elapsed() < std::time::Duration::from_secs(10),
            "closed connections are still listed"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let left = manager.get("/system/live").await.ok();
    assert_eq!(left["channels"], json!([]));
    app.stop().await;
}

#[tokio::test]
async fn connections_are_listed_in_pages() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(manager.socket().await);
    }
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = manager.get(&format!("/system/live?limit=2{cursor}")).await.ok();
        assert_eq!(page["connections_total"], 5);
        let items = page["connections"]["items"].as_array().expect("connections");
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|c| c["id"].as_str().expect("an id").to_owned()));
        pages += 1;
        match page["connections"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let own = sockets.iter().filter_map(|s| s.connected["connect"]["client"].as_str());
    assert_eq!((seen, pages), (own.map(str::to_owned).collect(), 3));
    manager.get("/system/live?limit=0").await.refused(422, "invalid");
    app.stop().await;
}
