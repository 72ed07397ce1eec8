//! Clients that do not read. The kernel's buffers are small at both ends, so that few bytes hide in them.

use std::time::Duration;

use futures_util::SinkExt as _;
use liveplan::auth::Role;
use liveplan::config::Config;
use liveplan_hub::protocol::close::Close;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{nothing_is_left, side_of};
use crate::faults::Floor;
use crate::harness::{Socket, TestApp, until};
use crate::plans::{publish, rename};

const BOUND: usize = 8 * 1024;
const EDITS: usize = 600;

fn small(config: &mut Config) {
    config.live.outbox_bytes = BOUND;
    config.live.send_buffer_bytes = 1024;
}

/// Reads until the channel ends: offsets of publications, then the code of the unsubscribe (`Ok`) or of the close
/// (`Err`).
async fn read_until_end(socket: &mut Socket, channel: &str) -> (Vec<u64>, Result<u64, u16>) {
    let mut offsets = Vec::new();
    loop {
        let message = match socket.next().await {
            Ok(message) => message,
            Err(code) => return (offsets, Err(code)),
        };
        let push = &message["push"];
        if push["channel"] != channel {
            continue;
        }
        offsets.extend(push["pub"]["offset"].as_u64());
        if let Some(code) = push["unsubscribe"]["code"].as_u64() {
            return (offsets, Ok(code));
        }
    }
}

fn offsets(result: &Value) -> Vec<u64> {
    let publications = result["publications"].as_array().into_iter().flatten();
    publications.filter_map(|p| p["offset"].as_u64()).collect()
}

#[tokio::test]
async fn a_slow_subscriber_loses_the_whole_channel_and_recovers_the_rest() {
    let app = TestApp::start_with(small).await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let mut plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut slow = author.narrow_socket().await;
    let from = slow.subscribe(&channel).await["subscribe"]["offset"]
        .as_u64()
        .expect("an offset");
    let side = side_of(&app, gym, &author);
    let subscription = side.subscription(&channel).expect("subscribed");
    let mut edits = 0;
    while !subscription.ended() {
        edits += 1;
        assert!(edits < EDITS, "the client was never too slow");
        rename(&author, &mut plan, &format!("{edits} {}", "ñ".repeat(150))).await;
        assert!(side.outbox.waiting_bytes() <= BOUND);
    }
    // A few more changes that it does not receive.
    for n in 0..5 {
        rename(&author, &mut plan, &format!("después {n}")).await;
    }
    let (seen, end) = read_until_end(&mut slow, &channel).await;
    assert_eq!(end, Ok(2500));
    let upto = from + seen.len() as u64;
    assert_eq!(
        seen,
        (from + 1..=upto).collect::<Vec<_>>(),
        "the publications have a gap"
    );
    assert!(upto < from + edits as u64, "the waiting publications were not dropped");
    let position = json!({"channel": channel, "recover": true, "epoch": "", "offset": upto});
    let again = slow.call("subscribe", position).await;
    assert_eq!(again["subscribe"]["recovered"], true, "{again}");
    assert_eq!(
        offsets(&again["subscribe"]),
        (upto + 1..=from + edits as u64 + 5).collect::<Vec<_>>()
    );
    rename(&author, &mut plan, "al final").await;
    assert_eq!(slow.publication(&channel).await.0, from + edits as u64 + 6);
    drop(slow);
    drop((side, subscription));
    nothing_is_left(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn a_slow_members_socket_is_closed_and_recovers_its_own_channel_on_return() {
    let app = TestApp::start_with(small).await;
    let floor = Floor::make(&app, 1).await;
    let member = &floor.members[0];
    let own = format!("member:{}", member.account);
    let mut slow = member.narrow_socket().await;
    let begin = slow.connected["connect"]["subs"][&own].clone();
    let side = side_of(&app, floor.gym, member);
    let mut ticks = 0;
    while side.outbox.closed().is_none() {
        ticks += 1;
        assert!(ticks < EDITS, "the client was never too slow");
        assert!(floor.tick(0, ticks % 999 + 1).send(app.address).await);
    }
    assert_eq!(side.outbox.closed(), Some(Close::Slow));
    let (seen, end) = read_until_end(&mut slow, &own).await;
    assert_eq!(end, Err(3008));
    let from = begin["offset"].as_u64().expect("an offset");
    let upto = from + seen.len() as u64;
    assert_eq!(
        seen,
        (from + 1..=upto).collect::<Vec<_>>(),
        "the publications have a gap"
    );
    let mut back = Socket::open(app.address).await;
    let position = json!({"recover": true, "epoch": begin["epoch"], "offset": upto});
    let token = member.token.as_deref();
    let connected = back
        .call("connect", json!({"token": token, "subs": {&own: position}}))
        .await;
    let result = &connected["connect"]["subs"][&own];
    assert_eq!(result["recovered"], true, "{connected}");
    assert_eq!(offsets(result), (upto + 1..=from + ticks as u64).collect::<Vec<_>>());
    drop((slow, back));
    drop(side);
    nothing_is_left(&app).await;
    app.stop().await;
}

/// Sends commands with long answers, which the client does not read.
async fn ask(socket: &mut Socket, channel: &str, times: usize) {
    for _ in 0..times {
        socket.send("subscribe", json!({"channel": channel})).await;
        socket.send("unsubscribe", json!({"channel": channel})).await;
    }
}

async fn with_a_plan(
    adjust: impl FnOnce(&mut Config),
) -> (TestApp, crate::harness::Gym, crate::harness::Client, String) {
    let app = TestApp::start_with(|config| {
        small(config);
        adjust(config);
    })
    .await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    (app, gym, author, channel)
}

#[tokio::test]
async fn a_client_that_never_reads_holds_a_bounded_outbox_and_is_closed_after_the_write_timeout() {
    let (app, gym, author, channel) = with_a_plan(|config| config.live.write_within = Duration::from_secs(2)).await;
    let mut reader = author.socket().await;
    let one = reader.subscribe(&channel).await.to_string().len();
    drop(reader);
    nothing_is_left(&app).await;

    let mut deaf = author.narrow_socket().await;
    let side = side_of(&app, gym, &author);
    ask(&mut deaf, &channel, 100).await;
    until("its answers wait in the outbox", async || {
        side.outbox.waiting_bytes() > BOUND
    })
    .await;
    let mut most = 0;
    until("the socket is closed", async || {
        most = most.max(side.outbox.waiting_bytes());
        side.outbox.closed().is_some()
    })
    .await;
    assert!(most <= BOUND + one + 100, "{most} bytes waited");
    assert_eq!(side.outbox.closed(), Some(Close::Slow));
    until("the outbox is freed", async || side.outbox.waiting_bytes() < 100).await;
    // The client still exists and has read nothing: kernel memory and file must be released too.
    drop(side);
    nothing_is_left(&app).await;
    drop(deaf);
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_and_keeps_sending_is_closed_for_too_many_requests() {
    let (app, gym, author, channel) = with_a_plan(|config| {
        config.live.pending_commands = 50;
        config.live.write_within = Duration::from_secs(2);
    })
    .await;
    let mut deaf = author.narrow_socket().await;
    let side = side_of(&app, gym, &author);
    ask(&mut deaf, &channel, 150).await;
    until("the socket is closed", async || side.outbox.closed().is_some()).await;
    assert_eq!(side.outbox.closed(), Some(Close::TooManyRequests));
    drop(side);
    nothing_is_left(&app).await;
    drop(deaf);
    app.stop().await;
}

#[tokio::test]
async fn a_client_whose_answers_wait_can_still_send() {
    let (app, gym, author, channel) = with_a_plan(|_| {}).await;
    let mut slow = author.narrow_socket().await;
    let side = side_of(&app, gym, &author);
    ask(&mut slow, &channel, 100).await;
    until("its answers wait in the outbox", async || {
        side.outbox.waiting_bytes() > BOUND
    })
    .await;
    // When it reads again, every command is answered, in order.
    for id in 2..=201_u32 {
        let answer = slow.next().await.expect("an answer");
        assert_eq!(answer["id"], id);
    }
    ask(&mut slow, &channel, 100).await;
    until("its answers wait in the outbox", async || {
        side.outbox.waiting_bytes() > BOUND
    })
    .await;
    slow.stream.send(Message::Close(None)).await.expect("sent");
    until("its close is received", async || {
        side.outbox.closed() == Some(Close::Normal)
    })
    .await;
    until("the socket has left the hub", async || app.app.hub.counts() == (0, 0)).await;
    drop(slow);
    drop(side);
    nothing_is_left(&app).await;
    app.stop().await;
}
