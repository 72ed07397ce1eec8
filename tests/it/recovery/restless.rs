//! Screens that subscribe and unsubscribe while changes are made: each change reaches each of them once and in order.

use std::time::Duration;

use serde_json::{Value, json};

use super::Watched;
use crate::harness::Client;

const CHANGES: usize = 60;

/// Recovers from its position and unsubscribes, until it has the last title; returns the titles that arrived.
async fn come_and_go(who: Client, channel: String, position: Value, last: String) -> Vec<String> {
    let mut socket = who.socket().await;
    let (mut titles, mut offset) = (Vec::new(), position["offset"].as_u64().expect("an offset"));
    let mut take = |publication: &Value| {
        offset = publication["offset"].as_u64().expect("an offset");
        titles.extend(super::title(publication));
        (offset, titles.last() == Some(&last))
    };
    let mut at = position["offset"].as_u64().expect("an offset");
    loop {
        let from = json!({"channel": channel, "recover": true, "epoch": position["epoch"], "offset": at});
        let reply = socket.call("subscribe", from).await["subscribe"].clone();
        assert_eq!(reply["recovered"], true, "{reply}");
        let mut done = false;
        for publication in reply["publications"].as_array().into_iter().flatten() {
            (at, done) = take(publication);
        }
        let left = socket.send("unsubscribe", json!({"channel": channel})).await;
        loop {
            let message = socket.next().await.expect("a reply");
            if message["id"] == left {
                break;
            }
            if message["push"]["pub"].is_object() {
                (at, done) = take(&message["push"]["pub"]);
            }
        }
        if done {
            return titles;
        }
        // Without a pause the clients would take all CPUs, and a Postgres process might not be scheduled for seconds.
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..4000))).await;
    }
}

async fn nothing_is_lost_or_doubled(memory_events: usize) {
    let mut watched = Watched::start(|config| {
        config.recovery.memory_events = memory_events;
        // Lifts the rate limits, which no real client exceeds this far.
        (config.live.commands_per_second, config.live.commands_at_once) = (100_000, 100_000);
        config.live.bytes_at_once = 1 << 30;
    })
    .await;
    let position = watched.position().await;
    let titles: Vec<String> = (0..CHANGES).map(|n| format!("Plato {n}")).collect();
    let last = titles.last().expect("a title").clone();
    let restless: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(come_and_go(
                watched.floor.author.clone(),
                watched.channel.clone(),
                position.clone(),
                last.clone(),
            ))
        })
        .collect();
    for title in &titles {
        watched.floor.rename(title).await;
    }
    for seen in restless {
        assert_eq!(seen.await.expect("it ends"), titles);
    }
    let recovery = watched.counters();
    assert!(recovery.memory.get() > 0 || memory_events == 0);
    assert!(recovery.database.get() > 0 || memory_events > 0);
    watched.app.stop().await;
}

#[tokio::test]
async fn a_screen_that_comes_and_goes_gets_each_change_once_from_memory() {
    nothing_is_lost_or_doubled(1000).await;
}

#[tokio::test]
async fn a_screen_that_comes_and_goes_gets_each_change_once_from_the_database() {
    nothing_is_lost_or_doubled(0).await;
}
