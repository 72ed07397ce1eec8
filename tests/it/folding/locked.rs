//! Members whose follows another transaction has locked: however many commands arrive for them, most connections stay
//! free for others, and accepted commands run in order once the lock is released.

use std::time::{Duration, Instant};

use liveplan::auth::Role;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Held, followers, tick};
use crate::faults::effects;
use crate::follows::kit::Kit;
use crate::harness::client::Answer;
use crate::harness::{Client, until};

/// The time within which other requests must be answered.
const WITHIN: Duration = Duration::from_secs(1);

/// Counts the database sessions that wait for a lock.
async fn blocked(kit: &Kit) -> i64 {
    kit.count("pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        .await
}

fn part(portion: usize, key: &str) -> Value {
    json!({"status": "partial", "portion_permille": portion, "key": key})
}

/// Sends a tick over a new socket.
fn over_socket(who: &Client, meal: &str, kit: &Kit, body: &Value) -> JoinHandle<Value> {
    let (who, mut tick) = (who.clone(), body.clone());
    tick["meal_id"] = json!(meal);
    tick["date"] = json!(kit.today());
    tokio::spawn(async move {
        let mut socket = who.socket().await;
        socket
            .call("rpc", json!({"method": "meal.complete", "data": tick}))
            .await
    })
}

async fn in_time(what: &str, answer: impl Future<Output = Answer>) -> Value {
    let began = Instant::now();
    let answer = answer.await;
    assert!(began.elapsed() < WITHIN, "{what} took {:?}", began.elapsed());
    answer.ok()
}

/// Locks one member's follow and sends many ticks for that member, over REST and sockets; others must be answered in
/// time.
async fn others_are_answered(fold_batch: usize) {
    let kit = Kit::start_with(|config| config.fold_batch = fold_batch).await;
    kit.follow(0).await;
    let neighbour = followers(&kit, 1).await.remove(0);
    let elsewhere = kit.app.gym().await;
    let stranger = kit.app.person(elsewhere, &[Role::Nutritionist]).await;
    let path = kit.completion(&kit.plan.lunch);

    let held = Held::follow(&kit, &kit.member).await;
    let keys: Vec<_> = (0..40).map(|n| format!("tick {n}")).collect();
    let (by_request, by_socket) = keys.split_at(30);
    let requests: Vec<_> = (1..)
        .zip(by_request)
        .map(|(n, key)| tick(&kit.member, path.clone(), part(n, key)))
        .collect();
    let sockets: Vec<_> = (101..)
        .zip(by_socket)
        .map(|(n, key)| over_socket(&kit.member, &kit.plan.lunch, &kit, &part(n, key)))
        .collect();
    until("a tick waits for the follow", async || blocked(&kit).await > 0).await;
    for n in 0..10 {
        in_time("a read of another gym", stranger.get("/auth/me")).await;
        let plan = json!({"goal": "maintain", "name": format!("Plan {n}"), "duration_days": 1});
        in_time("a change of another gym", stranger.post("/plans", &plan)).await;
        in_time(
            "a tick of the same gym",
            neighbour.put(&path, &part(200 + n, &format!("{n}"))),
        )
        .await;
        assert_eq!(blocked(&kit).await, 1, "one member's commands must wait for each other");
    }
    held.release().await;
    for request in requests {
        request.await.expect("an answer").ok();
    }
    for reply in sockets {
        let reply = reply.await.expect("a reply");
        assert!(reply["rpc"]["data"]["completion"].is_object(), "{reply}");
    }
    assert_eq!(effects(&kit.app.database, &keys).await, vec![1; keys.len()]);
    kit.app.stop().await;
}

#[tokio::test]
async fn a_locked_follow_and_a_fast_client_leave_connections_to_others() {
    others_are_answered(64).await;
}

#[tokio::test]
async fn a_locked_follow_leaves_connections_to_others_without_folding() {
    others_are_answered(1).await;
}

#[tokio::test]
async fn many_locked_follows_of_a_gym_take_only_part_of_the_connections() {
    let kit = Kit::start().await;
    let members = followers(&kit, 12).await;
    let elsewhere = kit.app.gym().await;
    let stranger = kit.app.person(elsewhere, &[Role::Nutritionist]).await;
    let mut held = Vec::new();
    for member in &members {
        held.push(Held::follow(&kit, member).await);
    }
    let path = kit.completion(&kit.plan.lunch);
    let keys: Vec<_> = (0..12).map(|n| format!("tick {n}")).collect();
    let ticks: Vec<_> = members
        .iter()
        .zip(&keys)
        .map(|(member, key)| tick(member, path.clone(), part(1, key)))
        .collect();
    // A gym may use a quarter of the pool's eight connections.
    until("two ticks wait for their follows", async || blocked(&kit).await == 2).await;
    for _ in 0..20 {
        in_time("a read of another gym", stranger.get("/auth/me")).await;
        assert_eq!(blocked(&kit).await, 2);
    }
    for held in held {
        held.release().await;
    }
    for tick in ticks {
        tick.await.expect("an answer").ok();
    }
    assert_eq!(effects(&kit.app.database, &keys).await, [1; 12]);
    kit.app.stop().await;
}

#[tokio::test]
async fn commands_that_waited_for_a_lock_keep_their_order() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let path = kit.completion(&kit.plan.lunch);
    let held = Held::follow(&kit, &kit.member).await;
    let queues = kit.app.app.part::<liveplan::meals::Queues>();
    let mut ticks = Vec::new();
    for n in 1..=8 {
        ticks.push(tick(&kit.member, path.clone(), part(n, &n.to_string())));
        // The first waits for the follow, each other for the one before it.
        until("the tick waits", async || {
            blocked(&kit).await == 1 && queues.waiting_in_all() == n - 1
        })
        .await;
    }
    held.release().await;
    for tick in ticks {
        tick.await.expect("an answer").ok();
    }
    let in_order =
        "(SELECT portion_permille - row_number() OVER (ORDER BY id) AS off FROM completion_history) AS h WHERE off = 0";
    assert_eq!(kit.count(in_order).await, 8);
    kit.app.stop().await;
}

#[tokio::test]
async fn a_command_that_waits_too_long_is_refused_and_has_no_effect() {
    let kit = Kit::start_with(|config| config.database_statement = Duration::from_secs(1)).await;
    kit.follow(0).await;
    let path = kit.completion(&kit.plan.lunch);
    let held = Held::follow(&kit, &kit.member).await;
    let keys = ["a", "b", "c", "d"].map(str::to_owned);
    let began = Instant::now();
    let ticks = keys.each_ref().map(|key| tick(&kit.member, path.clone(), part(1, key)));
    let mut codes = Vec::new();
    for tick in ticks {
        codes.push(tick.await.expect("an answer").body["code"].clone());
    }
    codes.sort_by_key(Value::to_string);
    // A transaction may take a third longer than a statement, so two commands had time to begin.
    assert_eq!(codes, ["internal", "internal", "unavailable", "unavailable"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    held.release().await;
    in_time("the next", kit.member.put(&path, &part(2, "e"))).await;
    assert_eq!(effects(&kit.app.database, &keys).await, [0; 4]);
    kit.app.stop().await;
}
