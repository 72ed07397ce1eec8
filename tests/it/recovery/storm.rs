//! Many clients that subscribe at once: rights are checked individually, and shared state is read only a few times.

use futures_util::future::join_all;
use liveplan::auth::Role;
use serde_json::{Value, json};

use crate::faults::Floor;
use crate::harness::{Client, Socket, TestApp};

const PEOPLE: usize = 125;
const EACH: usize = 8;

/// Connected sockets of people with a role, the same number for each person.
async fn sockets(app: &TestApp, floor: &Floor, role: Role) -> Vec<Socket> {
    let mut people: Vec<Client> = Vec::new();
    for _ in 0..PEOPLE {
        people.push(app.person(floor.gym, &[role]).await);
    }
    let mut sockets = Vec::new();
    for person in &people {
        sockets.extend(join_all((0..EACH).map(|_| person.socket())).await);
    }
    sockets
}

/// How often a socket sends its command again after error 111, which asks for that.
const RETRIES: usize = 5;

/// Sends a command on every socket before it awaits any reply; returns the replies. Like the SDKs, a socket that is told to
/// try again does so.
async fn all(sockets: &mut [Socket], command: &Value) -> Vec<Value> {
    let ids = join_all(sockets.iter_mut().map(|s| s.send("subscribe", command.clone()))).await;
    let replies = sockets.iter_mut().zip(ids).map(async |(socket, id)| {
        let mut reply = reply_to(socket, &id.into()).await;
        for _ in 0..RETRIES {
            if reply["error"]["code"] != 111 {
                break;
            }
            assert_eq!(reply["error"]["temporary"], true, "{reply}");
            let again = socket.send("subscribe", command.clone()).await;
            reply = reply_to(socket, &again.into()).await;
        }
        reply
    });
    join_all(replies).await
}

async fn reply_to(socket: &mut Socket, id: &Value) -> Value {
    loop {
        let message = socket.next().await.expect("a reply");
        if message["id"] == *id {
            return message;
        }
    }
}

#[tokio::test]
async fn a_thousand_subscribes_to_a_plan_share_few_reads_and_refuse_those_without_the_right() {
    let app = TestApp::start().await;
    let mut floor = Floor::make(&app, 1).await;
    let channel = format!("plan:{}", floor.plan.id);
    let mut crowd = sockets(&app, &floor, Role::Nutritionist).await;
    let owner = app.person(floor.gym, &[Role::Auditor]).await;
    let mut outsiders = join_all((0..EACH).map(|_| owner.socket())).await;
    let counters = &app.app.hub.counters.recovery;
    let (reads, shared) = (counters.snapshot_reads.get(), counters.snapshots_shared.get());

    let command = json!({"channel": channel});
    let half = crowd.split_off(crowd.len() / 2);
    let mut second = half;
    // While they subscribe, the plan changes and clients without the right subscribe too.
    let (first, refused, (), later) = tokio::join!(
        all(&mut crowd, &command),
        all(&mut outsiders, &command),
        floor.rename("En plena tormenta"),
        all(&mut second, &command),
    );
    for reply in &refused {
        assert_eq!(reply["error"]["code"], 103, "{reply}");
    }
    let replies: Vec<Value> = first.into_iter().chain(later).collect();
    assert_eq!(replies.len(), PEOPLE * EACH);
    let mut waiting = crowd.into_iter().chain(second);
    for reply in &replies {
        let mut socket = waiting.next().expect("a socket");
        assert!(reply["subscribe"]["data"]["days"].is_object(), "{reply}");
        // Every subscriber ends with the new title, from its snapshot or from a publication after it.
        if !reply.to_string().contains("En plena tormenta") {
            let (offset, event) = socket.publication(&channel).await;
            assert!(offset > reply["subscribe"]["offset"].as_u64().expect("an offset"));
            assert!(event.to_string().contains("En plena tormenta"), "{event}");
        }
    }
    let reads = counters.snapshot_reads.get() - reads;
    let shared = counters.snapshots_shared.get() - shared;
    println!("{} subscribes, {reads} reads", replies.len());
    assert_eq!(
        reads + shared,
        replies.len() as u64,
        "every subscribe must read or share a read"
    );
    assert!(reads <= 50, "{reads} reads for {} subscribes", replies.len());
    app.stop().await;
}

#[tokio::test]
async fn hundreds_of_snapshot_requests_share_few_reads_and_refuse_those_without_the_right() {
    let app = TestApp::start().await;
    let mut floor = Floor::make(&app, 1).await;
    let path = format!("/live/snapshots/plan:{}", floor.plan.id);
    let (reader, owner) = tokio::join!(
        app.person(floor.gym, &[Role::Nutritionist]),
        app.person(floor.gym, &[Role::Auditor])
    );
    let counters = &app.app.hub.counters.recovery;
    let all = async |who: &Client| join_all((0..PEOPLE).map(|_| who.get(&path))).await;
    let (first, refused, (), second) = tokio::join!(
        all(&reader),
        all(&owner),
        floor.rename("En plena tormenta"),
        all(&reader)
    );
    for answer in &refused {
        answer.refused(403, "forbidden");
    }
    let (reads, shared) = (counters.snapshot_reads.get(), counters.snapshots_shared.get());
    println!("{} snapshots, {reads} reads", 2 * PEOPLE);
    assert_eq!(
        reads + shared,
        2 * PEOPLE as u64,
        "every request must read or share a read"
    );
    assert!(reads <= 50, "{reads} reads for {} snapshots", 2 * PEOPLE);
    let offsets = first.into_iter().chain(second).map(|answer| {
        let body = answer.ok();
        assert!(body["snapshot"]["days"].is_object(), "{body}");
        body["offset"].as_u64().expect("an offset")
    });
    let newest = offsets.max().expect("some");
    // A later request does not share an earlier read.
    floor.rename("En calma").await;
    let after = reader.get(&path).await.ok();
    assert!(after["offset"].as_u64() > Some(newest) && after.to_string().contains("En calma"));
    app.stop().await;
}

#[tokio::test]
async fn a_thousand_recoveries_on_a_node_without_a_replay_buffer_share_few_reads() {
    let app = TestApp::start_with(|config| config.recovery.memory_events = 0).await;
    let mut floor = Floor::make(&app, 1).await;
    let channel = format!("plan:{}", floor.plan.id);
    let mut before = floor.author.socket().await;
    let position = before.subscribe(&channel).await["subscribe"].clone();
    for title in ["Uno", "Dos"] {
        floor.rename(title).await;
        before.publication(&channel).await;
    }
    let mut crowd = sockets(&app, &floor, Role::Nutritionist).await;
    let counters = &app.app.hub.counters.recovery;
    let from = json!({"channel": channel, "recover": true, "epoch": position["epoch"], "offset": position["offset"]});
    for reply in all(&mut crowd, &from).await {
        let reply = &reply["subscribe"];
        assert_eq!(reply["recovered"], true, "{reply}");
        assert_eq!(super::titles(reply), Some(vec!["Uno".into(), "Dos".into()]));
    }
    let (served, shared, reads) = (
        counters.database.get(),
        counters.database_shared.get(),
        counters.database_reads.get(),
    );
    println!("{served} recoveries, {reads} reads");
    assert_eq!((served, reads + shared), ((PEOPLE * EACH) as u64, served));
    assert!(reads <= 50, "{reads} reads for {served} recoveries");
    app.stop().await;
}
