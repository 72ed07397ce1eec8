//! 50,000 sockets that come and go and end in every possible way. Compares the server's memory and open files after the
//! second half with those after the first.

use futures_util::{SinkExt as _, StreamExt as _, stream};
use liveplan::auth::Role;
use liveplan_load::process::resident;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::results::Results;
use super::stage::{Person, Stage};
use super::stats::files;
use super::wire::Socket;

const HALF: usize = 25_000;
const AT_ONCE: usize = 32;

pub async fn run(stage: &Stage, results: &mut Results) {
    results.say(format!("\nsockets that come and go: 2 x {HALF}, {AT_ONCE} at once"));
    let gym = stage.gym().await;
    let people = stage.people(gym.id, Role::Member, 100).await;
    let mut after = Vec::new();
    for half in 1..=2 {
        let began = std::time::Instant::now();
        stream::iter(0..HALF)
            .map(|n| come_and_go(stage, n, &people[n % people.len()]))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
        // Wait until no client is connected, and then for memory that is freed with a delay.
        stage.idle().await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let (memory, open) = (resident(stage.pid()).expect("it runs"), files(stage.pid()));
        results.say(format!(
            "  half {half}: {} KiB resident, {open} files open, {:.0} s",
            memory / 1024,
            began.elapsed().as_secs_f64()
        ));
        after.push((memory, open));
    }
    let kib = |bytes: u64| f64::from(u32::try_from(bytes / 1024).expect("fits"));
    results.say(format!(
        "  second / first: resident {:.3}, aim <= 1.05; files {} and {}, aim equal",
        kib(after[1].0) / kib(after[0].0),
        after[0].1,
        after[1].1
    ));
}

async fn come_and_go(stage: &Stage, n: usize, person: &Person) {
    if n % 5 == 4 {
        // This one connects and never sends a command.
        let url = format!("ws://{}/connection/websocket", stage.address);
        drop(tokio_tungstenite::connect_async(url).await.expect("an upgrade"));
        return;
    }
    let mut socket = Socket::connect(&stage.address, person).await;
    match n % 5 {
        0 => {
            socket.stream.send(Message::Close(None)).await.expect("sent");
            while let Some(Ok(_)) = socket.stream.next().await {}
        }
        1 => {
            // This one violates the protocol and reads the server's close frame.
            socket.send(&json!({"id": 2})).await;
            while let Some(Ok(_)) = socket.stream.next().await {}
        }
        2 => {
            socket
                .send(&json!({"id": 2, "subscribe": {"channel": "plan:none"}}))
                .await;
            socket.next().await;
        }
        _ => {}
    }
}
