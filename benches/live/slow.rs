//! The effect of subscribers that never read on the others: rounds with and without them alternate on the same channel.
//! Every round sends more than a queue holds, so that within it the slow ones fill up and are disconnected.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use liveplan::auth::Role;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::results::Results;
use super::stage::{Gym, Person, Stage};
use super::stats::{ms, quantile, spread};
use super::wire::Socket;

const READERS: i64 = 200;
/// One in a hundred readers.
const STUCK: i64 = 2;
const PAIRS: usize = 8;
const EDITS: u32 = 600;
const EVERY: Duration = Duration::from_millis(10);
/// Characters of a title: long enough for a round to exceed the connection's queue and the kernel's buffers.
const TITLE: usize = 190;

type Times = Arc<Mutex<Vec<Duration>>>;

pub async fn run(stage: &Stage, results: &mut Results) {
    results.say(format!(
        "\nslow readers: {READERS} subscribers of a plan, {STUCK} more that never read, {EDITS} edits at 100/s a round"
    ));
    let gym = stage.gym().await;
    let times = Times::default();
    let began = Instant::now();
    let mut readers = JoinSet::new();
    for person in stage.people(gym.id, Role::Nutritionist, READERS).await {
        let socket = subscribed(Socket::connect(&stage.address, &person).await, &gym).await;
        readers.spawn(read(socket, times.clone(), began));
    }
    let stuck = stage.people(gym.id, Role::Nutritionist, STUCK).await;
    let mut author = Author::of(stage, &gym).await;
    // Warm up caches.
    round(stage, &gym, &mut author, &times, &[], began).await;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        let mut of = [Duration::ZERO; 4];
        // The order within a pair alternates, so that a drift of the machine favours neither.
        for with in [pair % 2 == 0, pair % 2 != 0] {
            let slow: &[Person] = if with { &stuck } else { &[] };
            let mut times = round(stage, &gym, &mut author, &times, slow, began).await;
            of[usize::from(with)] = quantile(&mut times, 0.5);
            of[2 + usize::from(with)] = quantile(&mut times, 0.99);
        }
        results.say(format!(
            "  pair {pair}: without p50 {} p99 {}; with p50 {} p99 {}",
            ms(of[0]),
            ms(of[2]),
            ms(of[1]),
            ms(of[3])
        ));
        p50.push(of[1].as_secs_f64() / of[0].as_secs_f64());
        p99.push(of[3].as_secs_f64() / of[2].as_secs_f64());
    }
    results.say(format!(
        "  with / without: p50 {}, p99 {}; aim p99 < 1.10",
        spread(p50),
        spread(p99)
    ));
    readers.shutdown().await;
}

/// Sends the edits of a round, and returns the latency of each edit at each reader.
async fn round(
    stage: &Stage,
    gym: &Gym,
    author: &mut Author,
    times: &Times,
    stuck: &[Person],
    began: Instant,
) -> Vec<Duration> {
    let mut deaf = Vec::new();
    for person in stuck {
        deaf.push(subscribed(Socket::narrow(&stage.address, person).await, gym).await);
    }
    times.lock().expect("unpoisoned").clear();
    let begin = tokio::time::Instant::now();
    for edit in 0..EDITS {
        tokio::time::sleep_until(begin + EVERY * edit).await;
        author.edit(began.elapsed()).await;
    }
    let all = usize::try_from(READERS).expect("few") * usize::try_from(EDITS).expect("few");
    let until = Instant::now() + Duration::from_secs(10);
    while times.lock().expect("unpoisoned").len() < all {
        assert!(Instant::now() < until, "a reader did not get every edit");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(deaf);
    std::mem::take(&mut *times.lock().expect("unpoisoned"))
}

async fn subscribed(mut socket: Socket, gym: &Gym) -> Socket {
    let channel = format!("plan:{}", gym.plan);
    socket.send(&json!({"id": 2, "subscribe": {"channel": channel}})).await;
    loop {
        for message in socket.next().await {
            if message["id"] == 2 {
                assert!(message["subscribe"].is_object(), "{message}");
                return socket;
            }
        }
    }
}

/// Records the latency of each edit, from the send time in its title. It searches the text, since parsing would
/// dominate.
async fn read(mut socket: Socket, times: Times, began: Instant) {
    while let Some(Ok(Message::Text(text))) = socket.stream.next().await {
        if text.as_str() == "{}" {
            socket.stream.send(Message::text("{}")).await.expect("pong");
            continue;
        }
        let now = began.elapsed();
        let sent = text
            .split("sent@")
            .skip(1)
            .filter_map(|rest| rest.split('.').next()?.parse().ok());
        let took = sent.map(|us| now.saturating_sub(Duration::from_micros(us)));
        times.lock().expect("unpoisoned").extend(took);
    }
}

/// The author who edits one meal's title.
struct Author {
    http: reqwest::Client,
    url: String,
    token: String,
    version: Value,
}

impl Author {
    async fn of(stage: &Stage, gym: &Gym) -> Self {
        let http = reqwest::Client::new();
        let plan = format!("http://{}/api/v1/plans/{}", stage.address, gym.plan);
        let answer = http
            .get(&plan)
            .bearer_auth(&gym.author.token)
            .send()
            .await
            .expect("an answer");
        let tree: Value = answer.json().await.expect("a plan");
        let meal = tree["days"][0]["meals"][0]["id"].as_str().expect("a meal").to_owned();
        Self {
            http,
            url: format!("{plan}/days/1/meals/{meal}"),
            token: gym.author.token.clone(),
            version: tree["version"].clone(),
        }
    }

    async fn edit(&mut self, at: Duration) {
        let title = format!("{:x<TITLE$}", format!("sent@{}.", at.as_micros()));
        let request = self.http.patch(&self.url).bearer_auth(&self.token);
        let request = request.header("If-Match", format!("\"{}\"", self.version));
        let answer = request.json(&json!({"title": title})).send().await.expect("an answer");
        let made: Value = answer.json().await.expect("JSON");
        assert!(made["version"].is_number(), "{made}");
        self.version = made["version"].clone();
    }
}
