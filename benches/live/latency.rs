//! 200 commits per second on 200 sockets: every member ticks a meal once a second over the member's own socket and
//! waits for the publication on it. Rounds alternate with a bare write-and-commit at the same rate on the same
//! Postgres.

use std::time::{Duration, Instant};

use diesel_async::{AsyncConnection as _, RunQueryDsl as _};
use liveplan::auth::Role;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::results::Results;
use super::stage::{Person, Stage};
use super::stats::{ms, quantile, spread};
use super::wire::Socket;

const GYMS: usize = 10;
const MEMBERS_PER_GYM: i64 = 20;
const MEMBERS: usize = 200;
const ROUNDS: usize = 5;
const SECONDS: u32 = 6;
const EVERY: Duration = Duration::from_secs(1);

struct Member {
    person: Person,
    meals: Vec<Value>,
    date: Value,
    socket: Socket,
    acts: usize,
}

#[derive(Default)]
struct Times {
    /// From sending the command to the publication.
    whole: Vec<Duration>,
    /// From the start of the change, by the event's `at`, to the publication.
    change: Vec<Duration>,
}

pub async fn run(stage: &Stage, results: &mut Results) {
    let rounds = results.rounds(ROUNDS);
    results.say(format!(
        "\ncommit to socket: {MEMBERS} commits/s, {MEMBERS} sockets, {GYMS} gyms, {rounds} rounds of {SECONDS} s each"
    ));
    let mut members = members(stage).await;
    prepare_bare(stage).await;
    // Warm up caches and open connections.
    members = hub(members, 2).await.1;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let mut bare = bare(stage, 200, SECONDS, 16).await;
        let (mut times, back) = hub(members, SECONDS).await;
        members = back;
        let (bare50, bare99) = (quantile(&mut bare, 0.5), quantile(&mut bare, 0.99));
        let (change50, change99) = (quantile(&mut times.change, 0.5), quantile(&mut times.change, 0.99));
        results.say(format!(
            "  round {round}: bare commit p50 {} p99 {}; change begun to socket p50 {} p99 {}; command sent to socket p50 {} p99 {} ({} commits)",
            ms(bare50),
            ms(bare99),
            ms(change50),
            ms(change99),
            ms(quantile(&mut times.whole, 0.5)),
            ms(quantile(&mut times.whole, 0.99)),
            times.whole.len()
        ));
        p50.push(change50.as_secs_f64() / bare50.as_secs_f64());
        p99.push(change99.as_secs_f64() / bare99.as_secs_f64());
    }
    results.say(format!(
        "  socket / bare commit: p50 {}, p99 {}; aim p99 <= 3",
        spread(p50.clone()),
        spread(p99.clone())
    ));
    results.number("socket over bare commit", json!({"p50": p50, "p99": p99}));
}

async fn members(stage: &Stage) -> Vec<Member> {
    let http = reqwest::Client::new();
    let mut members = Vec::new();
    for _ in 0..GYMS {
        let gym = stage.gym().await;
        for person in stage.people(gym.id, Role::Member, MEMBERS_PER_GYM).await {
            stage
                .post(&person, &format!("/plans/{}/follow", gym.plan), &json!({}), None)
                .await;
            let today: Value = http
                .get(format!("http://{}/api/v1/follows/today", stage.address))
                .bearer_auth(&person.token)
                .send()
                .await
                .expect("an answer")
                .json()
                .await
                .expect("today");
            let meals = today["meals"]
                .as_array()
                .expect("meals")
                .iter()
                .map(|meal| meal["id"].clone())
                .collect();
            let socket = Socket::connect(&stage.address, &person).await;
            members.push(Member {
                person,
                meals,
                date: today["date"].clone(),
                socket,
                acts: 0,
            });
        }
    }
    members
}

/// Lets every member tick once a second; the ticks are spread evenly over the second.
async fn hub(members: Vec<Member>, seconds: u32) -> (Times, Vec<Member>) {
    let began = Instant::now() + Duration::from_millis(100);
    let mut tasks = JoinSet::new();
    for (index, mut member) in members.into_iter().enumerate() {
        let offset = EVERY * u32::try_from(index).expect("few") / u32::try_from(MEMBERS).expect("few");
        tasks.spawn(async move {
            let mut times = Times::default();
            for second in 0..seconds {
                tokio::time::sleep_until((began + offset + EVERY * second).into()).await;
                member.tick(&mut times).await;
            }
            (times, member)
        });
    }
    let (mut all, mut back) = (Times::default(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (times, member) = done.expect("no panic");
        all.whole.extend(times.whole);
        all.change.extend(times.change);
        back.push(member);
    }
    (all, back)
}

impl Member {
    /// Sends a completion with a new status, and waits for the reply and the publication.
    async fn tick(&mut self, times: &mut Times) {
        let (meal, turn) = (self.acts % self.meals.len(), self.acts / self.meals.len());
        let status = ["eaten", "skipped"][turn % 2];
        self.acts += 1;
        let key = format!("bench-{}-{}", self.person.account, self.acts);
        let data = json!({"key": key, "meal_id": self.meals[meal], "date": self.date, "status": status});
        let sent = Instant::now();
        self.socket
            .send(&json!({"id": self.acts + 1, "rpc": {"method": "meal.complete", "data": data}}))
            .await;
        let (mut replied, mut published) = (false, false);
        while !(replied && published) {
            for message in self.socket.next().await {
                if message["id"] == self.acts + 1 {
                    assert!(message["error"].is_null(), "{message}");
                    replied = true;
                } else if let Some(at) = message["push"]["pub"]["data"]["at"].as_str() {
                    let begun: chrono::DateTime<chrono::Utc> = at.parse().expect("an instant");
                    times.whole.push(sent.elapsed());
                    let now = liveplan::clock::Clock::default().now();
                    times.change.push((now - begun).to_std().unwrap_or_default());
                    published = true;
                }
            }
        }
    }
}

/// Creates the tables for the bare commits.
pub async fn prepare_bare(stage: &Stage) {
    let mut conn = stage.owner().await;
    for sql in [
        "CREATE TABLE IF NOT EXISTS bench_rows (id int PRIMARY KEY, n bigint NOT NULL)",
        "CREATE TABLE IF NOT EXISTS bench_events (id bigserial PRIMARY KEY, payload text NOT NULL)",
        "INSERT INTO bench_rows SELECT g, 0 FROM generate_series(1, 200) g ON CONFLICT DO NOTHING",
    ] {
        diesel::sql_query(sql).execute(&mut conn).await.expect(sql);
    }
}

/// Commits transactions of one updated row and one inserted event, at this rate per second, over several connections.
pub async fn bare(stage: &Stage, rate: u32, seconds: u32, connections: u32) -> Vec<Duration> {
    let payload = "x".repeat(400);
    let mut tasks = JoinSet::new();
    let began = Instant::now() + Duration::from_millis(200);
    for lane in 0..connections {
        let mut conn = stage.owner().await;
        let payload = payload.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            let every = EVERY * connections / rate;
            for turn in 0..seconds * rate / connections {
                tokio::time::sleep_until((began + every * lane / connections + every * turn).into()).await;
                let id = i32::try_from((lane + turn * connections) % 200 + 1).expect("small");
                let begun = Instant::now();
                conn.transaction::<_, diesel::result::Error, _>(async |conn| {
                    diesel::sql_query("UPDATE bench_rows SET n = n + 1 WHERE id = $1")
                        .bind::<diesel::sql_types::Integer, _>(id)
                        .execute(conn)
                        .await?;
                    diesel::sql_query("INSERT INTO bench_events (payload) VALUES ($1)")
                        .bind::<diesel::sql_types::Text, _>(&payload)
                        .execute(conn)
                        .await?;
                    Ok(())
                })
                .await
                .expect("a commit");
                times.push(begun.elapsed());
            }
            times
        });
    }
    tasks.join_all().await.concat()
}
