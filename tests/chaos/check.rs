//! The invariants that must hold once all faults are over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::RunQueryDsl as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::load::{Book, Rest};
use crate::seen::{State, Watches, plan_of};
use crate::world::World;

/// The time after the last fault within which every screen must be correct.
const RIGHT_WITHIN: Duration = Duration::from_secs(20);

/// Runs all checks and returns the findings.
pub async fn all(world: &World, clients: &[Arc<Client>], rest: &Rest) -> Vec<String> {
    let mut wrong = screens(world, clients, rest).await;
    // One more change for each screen, with every message between nodes lost: only the sweep can deliver these. Clients
    // without the right must receive nothing; the clients record violations.
    world.redis_proxy.lose_every(1);
    for (n, member) in world.members.iter().enumerate() {
        let path = format!("/meals/{}/completions/{}", world.plans[n % 2].meal, world.today);
        let body = json!({"status": "skipped"});
        rest.ask(member, &Method::PUT, &path, Some(&body), &[]).await;
    }
    wrong.extend(screens(world, clients, rest).await);
    for client in clients {
        let seen = client.seen();
        wrong.extend(seen.violations.iter().map(|text| format!("{}: {text}", client.name)));
    }
    wrong.extend(rest.book.violations.lock().expect("no panic").iter().cloned());
    wrong.extend(commands(world, &rest.book).await);
    wrong.extend(plans(world, rest).await);
    wrong
}

/// Waits until every client watches exactly its channels and shows the database's state.
async fn screens(world: &World, clients: &[Arc<Client>], rest: &Rest) -> Vec<String> {
    let began = Instant::now();
    loop {
        let wrong = compare(world, clients, rest).await;
        if wrong.is_empty() || began.elapsed() > RIGHT_WITHIN {
            return wrong;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn compare(world: &World, clients: &[Arc<Client>], rest: &Rest) -> Vec<String> {
    let fresh = snapshots(world, rest).await;
    let mut wrong = Vec::new();
    for client in clients {
        let seen = client.seen();
        let leaver = client.name.starts_with("leaver");
        match (leaver, seen.terminal) {
            // The close that ended it, or the refusal of its next connect.
            (true, Some(3503 | 3500)) => continue,
            (false, None) => {}
            (_, end) => wrong.push(format!("{}: its end is {end:?}", client.name)),
        }
        let live: BTreeSet<&str> = seen
            .channels
            .iter()
            .filter(|(_, channel)| channel.state == State::Live)
            .map(|(name, _)| &**name)
            .collect();
        let expected = expected(&client.watches, &fresh);
        let expected: BTreeSet<&str> = expected.iter().map(|name| &**name).collect();
        for name in live.difference(&expected) {
            wrong.push(format!("{}: {name} is open and must not be", client.name));
        }
        for name in expected.difference(&live) {
            let state = seen.channels.get(*name).map(|channel| channel.state);
            wrong.push(format!("{}: {name} is not open but {state:?}", client.name));
        }
        for name in live.intersection(&expected) {
            let channel = &seen.channels[*name];
            let mut shown = channel.shown.clone();
            if let Some(shown) = shown.as_object_mut() {
                // Presence is not part of the snapshot that REST returns.
                shown.retain(|field, _| field != "online" && field != "last_seen");
            }
            let Some(should) = fresh.get(*name) else {
                wrong.push(format!("no snapshot of {name}"));
                continue;
            };
            let mut differs = Vec::new();
            differences(&shown, should, "", &mut differs);
            if !differs.is_empty() {
                let at = channel.position.as_ref().map(|p| p.offset);
                wrong.push(format!("{}: {name} at {at:?}: {}", client.name, differs.join("; ")));
            }
        }
    }
    wrong
}

/// The channels that a client should watch, according to the snapshots.
fn expected(watches: &Watches, fresh: &BTreeMap<String, Value>) -> Vec<String> {
    match watches {
        Watches::Fixed(channels) => channels.clone(),
        Watches::ItsPlan { own } => {
            let mut channels = vec![own.clone()];
            channels.extend(fresh.get(own).and_then(plan_of));
            channels
        }
        Watches::ItsRoster { own } => {
            let mut channels = vec![own.clone()];
            let members = fresh.get(own).and_then(|roster| roster["members"].as_object());
            channels.extend(
                members
                    .into_iter()
                    .flat_map(|m| m.keys().map(|id| format!("member:{id}"))),
            );
            channels
        }
    }
}

/// Fresh snapshots of every channel, as the manager reads them.
async fn snapshots(world: &World, rest: &Rest) -> BTreeMap<String, Value> {
    let members = world.members.iter().map(|who| format!("member:{}", who.account));
    let rosters = world.trainers.iter().map(|who| format!("roster:{}", who.account));
    let plans = world.plans.iter().map(|plan| format!("plan:{}", plan.id));
    let mut fresh = BTreeMap::new();
    for channel in members.chain(rosters).chain(plans) {
        let path = format!("/live/snapshots/{channel}");
        let (status, mut found) = rest.ask(&world.manager, &Method::GET, &path, None, &[]).await;
        if status == 200 {
            fresh.insert(channel, found["snapshot"].take());
        }
    }
    fresh
}

/// The differences between two values: path, value shown, value expected.
fn differences(shown: &Value, should: &Value, path: &str, found: &mut Vec<String>) {
    let (Value::Object(left), Value::Object(right)) = (shown, should) else {
        if shown != should {
            found.push(format!("{path} shows {shown} and not {should}"));
        }
        return;
    };
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for name in names {
        let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
        differences(&of(left), &of(right), &format!("{path}/{name}"), found);
    }
}

/// Every acknowledged command took effect once, and no command took effect twice.
async fn commands(world: &World, book: &Book) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Happened {
        #[diesel(sql_type = Text)]
        key: String,
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let mut conn = liveplan::db::establish(&world.database.url)
        .await
        .expect("a connection");
    let ticks = book.ticks.lock().expect("no panic").clone();
    let keys: Vec<&String> = ticks.keys().collect();
    let happened: Vec<Happened> = diesel::sql_query(
        "SELECT k.key, count(h.id) AS n FROM unnest($1) AS k(key)
         LEFT JOIN completion_history h ON h.client_key = k.key GROUP BY k.key",
    )
    .bind::<Array<Text>, _>(keys)
    .load(&mut conn)
    .await
    .expect("counts");
    let mut wrong: Vec<String> = happened
        .iter()
        .filter(|h| !(h.n == 1 || (h.n == 0 && !ticks[&h.key])))
        .map(|h| format!("tick {} happened {} times, acknowledged: {}", h.key, h.n, ticks[&h.key]))
        .collect();
    let begun: Vec<Happened> =
        diesel::sql_query("SELECT member_id::text AS key, count(*) AS n FROM follows GROUP BY member_id")
            .load(&mut conn)
            .await
            .expect("counts");
    let follows = book.follows.lock().expect("no panic").clone();
    for Happened { key, n } in begun {
        // `World::make` started the first follow.
        let should = 1 + follows.get(&key).copied().unwrap_or_default();
        if i64::try_from(should) != Ok(n) {
            wrong.push(format!("member {key} has begun {n} follows and not {should}"));
        }
    }
    wrong
}

/// Every edit of a plan took effect once, and the last title is current.
async fn plans(world: &World, rest: &Rest) -> Vec<String> {
    let edited = rest.book.plans.lock().expect("no panic").clone();
    let mut wrong = Vec::new();
    for (plan, (version, title)) in edited {
        let (_, found) = rest
            .ask(&world.author, &Method::GET, &format!("/plans/{plan}"), None, &[])
            .await;
        let shown = &found["days"][0]["meals"][0]["title"];
        if found["version"] != version || (!title.is_empty() && *shown != json!(title)) {
            wrong.push(format!(
                "plan {plan}: version {} {shown}, and not {version} {title}",
                found["version"]
            ));
        }
    }
    wrong
}
