//! The load during the faults: ticks and undos over REST and the socket, edits of plans, follows, assignments. Each
//! command is repeated under its key until its outcome is known, and a book records what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Called, Client};
use crate::world::{GIVEN_UP, Person, SWITCHERS, World};

/// The time within which a command must get a definite answer, whatever fails.
const CLEAR_WITHIN: Duration = Duration::from_mins(2);

/// The commands that were sent and their outcomes.
#[derive(Default)]
pub struct Book {
    /// By idempotency key: whether the tick or undo was acknowledged.
    pub ticks: Mutex<BTreeMap<String, bool>>,
    /// By member's account: follows that were started.
    pub follows: Mutex<BTreeMap<String, usize>>,
    /// By plan: the version after its edits, and the last title.
    pub plans: Mutex<BTreeMap<String, (i64, String)>>,
    /// By kind of command: how many were acknowledged and refused.
    pub counts: Mutex<BTreeMap<&'static str, (usize, usize)>>,
    /// How often an answer was missing or temporary.
    pub repeated: Mutex<usize>,
    pub violations: Mutex<Vec<String>>,
    pub stop: AtomicBool,
}

impl Book {
    pub fn count(&self, what: &'static str, acknowledged: bool) {
        let mut counts = self.counts.lock().expect("no panic");
        let (yes, no) = counts.entry(what).or_default();
        *if acknowledged { yes } else { no } += 1;
    }

    pub fn violated(&self, text: String) {
        self.violations.lock().expect("no panic").push(text);
    }

    fn tick(&self, key: &str, acknowledged: bool) {
        self.ticks
            .lock()
            .expect("no panic")
            .insert(key.to_owned(), acknowledged);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }
}

/// REST requests through both nodes.
pub struct Rest {
    pub http: reqwest::Client,
    pub nodes: [std::net::SocketAddr; 2],
    pub book: Arc<Book>,
}

impl Rest {
    pub fn new(world: &World, book: &Arc<Book>) -> Arc<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(6)).build();
        Arc::new(Self {
            http: http.expect("a client"),
            nodes: [world.nodes[0].address, world.nodes[1].address],
            book: book.clone(),
        })
    }

    /// Sends a request to the nodes in turn until the answer is definite.
    pub async fn ask(
        &self,
        who: &Person,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let began = Instant::now();
        let mut attempt = rand::random_range(0..2);
        loop {
            attempt += 1;
            let node = self.nodes[attempt % 2];
            let token = who.token.as_deref().unwrap_or_default();
            let url = format!("http://{node}/api/v1{path}");
            let mut request = self.http.request(method.clone(), url).bearer_auth(token);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Ok(answer) = request.send().await {
                let status = answer.status().as_u16();
                if let Ok(text) = answer.text().await {
                    match status {
                        // 408: the node stopped before it had received the whole request, so nothing was done (RFC 9110
                        // §15.5.9).
                        503 | 429 | 408 => {}
                        500.. => self.book.violated(format!("{method} {path}: {status} {text}")),
                        _ => return (status, serde_json::from_str(&text).unwrap_or(Value::String(text))),
                    }
                }
            }
            *self.book.repeated.lock().expect("no panic") += 1;
            if began.elapsed() > CLEAR_WITHIN {
                self.book.violated(format!("{method} {path}: never a clear answer"));
                return (0, Value::Null);
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(50..250))).await;
        }
    }
}

fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Waits for a random time around a mean.
async fn pause(rng: &mut StdRng, mean_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(mean_ms / 2..mean_ms * 3 / 2))).await;
}

/// Starts all tasks of the load.
pub fn start(world: &World, clients: &[Arc<Client>], rest: &Arc<Rest>, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
    let rng = |n: usize| StdRng::seed_from_u64(seed ^ 0xC4A05 ^ ((n as u64) << 32));
    let mut tasks = Vec::new();
    for (n, member) in world.members.iter().enumerate().skip(SWITCHERS + GIVEN_UP) {
        let (client, member) = (clients[n].clone(), member.clone());
        let meal = world.plans[n % 2].meal.clone();
        tasks.push(tokio::spawn(ticks(
            client,
            member,
            meal,
            world.today.clone(),
            rest.clone(),
            rng(n),
        )));
    }
    for plan in &world.plans {
        let book = &rest.book;
        book.plans
            .lock()
            .expect("no panic")
            .insert(plan.id.clone(), (plan.version, String::new()));
        tasks.push(tokio::spawn(edits(
            plan.clone(),
            world.author.clone(),
            rest.clone(),
            rng(1000),
        )));
    }
    let plans = world.plans.iter().map(|plan| plan.id.clone()).collect();
    let members = world.members[..SWITCHERS].to_vec();
    tasks.push(tokio::spawn(follows(members, plans, rest.clone(), rng(1001))));
    let people = (world.trainers.clone(), world.members.clone());
    tasks.push(tokio::spawn(assignments(
        people,
        world.manager.clone(),
        rest.clone(),
        rng(1002),
    )));
    let leavers = world.leavers.clone();
    tasks.push(tokio::spawn(leaving(
        leavers,
        world.manager.clone(),
        rest.clone(),
        rng(1003),
    )));
    tasks
}

/// One leaver after the other is suspended or signs out.
async fn leaving(leavers: Vec<Person>, manager: Person, rest: Arc<Rest>, mut rng: StdRng) {
    for (n, leaver) in leavers.iter().enumerate() {
        pause(&mut rng, 4000).await;
        let (status, answer) = if n % 2 == 0 {
            let path = format!("/memberships/{}", leaver.account);
            let body = json!({"status": "suspended"});
            rest.ask(&manager, &Method::PATCH, &path, Some(&body), &[]).await
        } else {
            rest.ask(leaver, &Method::POST, "/auth/logout", Some(&json!({})), &[])
                .await
        };
        // A 401 means signed out already: the first answer was lost.
        if !(status == 200 || status == 204 || (n % 2 == 1 && status == 401)) {
            rest.book.violated(format!("leaving was refused: {status} {answer}"));
        }
        rest.book.count("leaving", true);
    }
}

/// One member ticks one meal with changing portions, and sometimes undoes it. Sometimes an older acknowledged tick is
/// repeated under its key; it must have no effect.
async fn ticks(client: Arc<Client>, member: Person, meal: String, date: String, rest: Arc<Rest>, mut rng: StdRng) {
    let book = rest.book.clone();
    let (mut portion, mut ticked) = (0, false);
    let (mut last, mut before): (Option<Value>, Option<Value>) = (None, None);
    while book.goes_on() {
        pause(&mut rng, 5000).await;
        if let Some(late) = before.as_ref().filter(|_| rng.random_range(0..4) == 0) {
            let done = by_rpc(&client, "meal.complete", late, &rest).await;
            book.count("late repeat", done);
        }
        let key = key();
        let undo = ticked && rng.random_range(0..5) == 0;
        portion = portion % 999 + 1;
        let said = if undo {
            json!({"key": key, "meal_id": meal, "date": date})
        } else {
            json!({"key": key, "meal_id": meal, "date": date, "status": "partial", "portion_permille": portion})
        };
        book.tick(&key, false);
        let command = said.clone();
        let done = if undo || rng.random() {
            let method = if undo { "meal.undo" } else { "meal.complete" };
            by_rpc(&client, method, &said, &rest).await
        } else {
            let path = format!("/meals/{meal}/completions/{date}");
            let said = json!({"status": "partial", "portion_permille": portion});
            let (status, answer) = rest
                .ask(&member, &Method::PUT, &path, Some(&said), &[("Idempotency-Key", &key)])
                .await;
            if status != 200 {
                book.violated(format!("a tick was refused: {status} {answer}"));
            }
            status == 200
        };
        book.tick(&key, done);
        book.count(if undo { "undo" } else { "tick" }, done);
        ticked = !undo && done;
        if ticked {
            // Repeated only after the next tick.
            before = last.replace(command);
        }
    }
}

async fn by_rpc(client: &Client, method: &str, said: &Value, rest: &Rest) -> bool {
    let began = Instant::now();
    loop {
        match client.call(method, said).await {
            Called::Acknowledged => return true,
            Called::Refused(refusal) => {
                rest.book.violated(format!("{method} was refused: {refusal:?}"));
                return false;
            }
            Called::Unknown => {}
        }
        *rest.book.repeated.lock().expect("no panic") += 1;
        if began.elapsed() > CLEAR_WITHIN {
            rest.book.violated(format!("{}: {method} is never clear", client.name));
            return false;
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..250))).await;
    }
}

/// The author gives a plan's meal a new title again and again.
async fn edits(plan: crate::world::Plan, author: Person, rest: Arc<Rest>, mut rng: StdRng) {
    let path = format!("/plans/{}/days/1/meals/{}", plan.id, plan.meal);
    let mut version = plan.version;
    while rest.book.goes_on() {
        pause(&mut rng, 2000).await;
        let title = format!("Plato {}", version + 1);
        let tag = format!("\"{version}\"");
        let body = json!({"title": title});
        let (status, answer) = rest
            .ask(&author, &Method::PATCH, &path, Some(&body), &[("If-Match", &tag)])
            .await;
        // Nobody else edits the plan: a stale version means that this edit succeeded and its first answer was lost.
        if status == 200 || status == 412 {
            version += 1;
            let mut plans = rest.book.plans.lock().expect("no panic");
            plans.insert(plan.id.clone(), (version, title));
        } else {
            rest.book.violated(format!("an edit was refused: {status} {answer}"));
        }
        rest.book.count("edit", status == 200 || status == 412);
    }
}

/// Members abandon their plan and follow the other one.
async fn follows(members: Vec<Person>, plans: Vec<String>, rest: Arc<Rest>, mut rng: StdRng) {
    while rest.book.goes_on() {
        pause(&mut rng, 1500).await;
        let member = &members[rng.random_range(0..members.len())];
        let list = "/follows?limit=1".to_owned();
        let (status, found) = rest.ask(member, &Method::GET, &list, None, &[]).await;
        let Some(follow) = found["items"][0]["id"].as_str().filter(|_| status == 200) else {
            rest.book
                .violated(format!("no follow of {}: {status} {found}", member.account));
            continue;
        };
        let old = found["items"][0]["plan_id"].as_str().unwrap_or_default();
        let new = plans.iter().find(|plan| *plan != old).expect("another plan");
        for (path, what) in [
            (format!("/follows/{follow}/abandon"), "abandon"),
            (format!("/plans/{new}/follow"), "follow"),
        ] {
            let key = key();
            let (status, answer) = rest
                .ask(
                    member,
                    &Method::POST,
                    &path,
                    Some(&json!({})),
                    &[("Idempotency-Key", &key)],
                )
                .await;
            let done = status == 200 || status == 201;
            if !done {
                rest.book.violated(format!("{what} was refused: {status} {answer}"));
            }
            rest.book.count(what, done);
            if done && what == "follow" {
                let mut follows = rest.book.follows.lock().expect("no panic");
                *follows.entry(member.account.to_string()).or_default() += 1;
            }
        }
    }
}

/// The manager creates and ends assignments.
async fn assignments(
    (trainers, members): (Vec<Person>, Vec<Person>),
    manager: Person,
    rest: Arc<Rest>,
    mut rng: StdRng,
) {
    while rest.book.goes_on() {
        pause(&mut rng, 700).await;
        let trainer = &trainers[rng.random_range(0..trainers.len())];
        let path = format!("/assignments?trainer={}&limit=200", trainer.account);
        let (_, found) = rest.ask(&manager, &Method::GET, &path, None, &[]).await;
        let there = found["items"].as_array().cloned().unwrap_or_default();
        // About as many are created as ended, so that a trainer has a few.
        if !there.is_empty() && rng.random_range(0..10) < there.len() {
            let id = there[rng.random_range(0..there.len())]["id"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let (status, answer) = rest
                .ask(&manager, &Method::DELETE, &format!("/assignments/{id}"), None, &[])
                .await;
            // A 404 means that it has ended already: the first answer was lost.
            if status != 204 && status != 404 {
                rest.book.violated(format!("an end was refused: {status} {answer}"));
            }
            rest.book.count("assignment ended", status == 204 || status == 404);
        } else {
            let member = &members[rng.random_range(0..members.len())];
            let body = json!({"trainer_id": trainer.account, "member_id": member.account});
            let key = key();
            let headers = [("Idempotency-Key", &*key)];
            let (status, answer) = rest
                .ask(&manager, &Method::POST, "/assignments", Some(&body), &headers)
                .await;
            if status != 201 && answer["code"] != "already_assigned" {
                rest.book
                    .violated(format!("an assignment was refused: {status} {answer}"));
            }
            rest.book.count("assignment", status == 201);
        }
    }
}
