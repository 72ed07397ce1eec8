//! The system under test: Postgres, Redis, two nodes behind proxies that inject faults, and a gym with its people.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use liveplan::auth::Role;
use liveplan::db::embedded::{self, EmbeddedPostgres, Options};
use liveplan::db::migrations::{self, Direction};
use liveplan_hub::protocol::Codec;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::harness::proxy::{Cuttable, Lossy};
use crate::harness::redis::{Redis, signal};
use crate::harness::{self, Gym, TestApp, postgres, process};
use crate::seen::Watches;

/// Members; half of them follow each plan.
pub const MEMBERS: usize = 120;
/// The members who change plans instead of ticking meals.
pub const SWITCHERS: usize = 12;
/// The members whose requests are cancelled during COMMIT.
pub const GIVEN_UP: usize = 4;
pub const TRAINERS: usize = 30;
/// Members assigned to each trainer at the start.
const EACH: usize = 5;
const STAFF: usize = 12;
/// Further people whose membership or session ends during the run.
pub const LEAVERS: usize = 8;
/// One of this many messages between the nodes is lost.
const LOSE_EVERY: usize = 10;

/// A person of the gym.
pub type Person = harness::Client;

/// A plan that is edited during the run.
#[derive(Clone)]
pub struct Plan {
    pub id: String,
    pub meal: String,
    pub version: i64,
}

/// A Postgres that can be restarted.
pub struct Database {
    dir: PathBuf,
    pub url: String,
    running: Mutex<Option<EmbeddedPostgres>>,
}

impl Database {
    async fn start() -> Self {
        let dir = postgres::directory();
        let server = EmbeddedPostgres::start(&dir, options()).await.expect("a Postgres");
        postgres::watch_over(&dir);
        let root = server.url("postgres");
        let mut conn = liveplan::db::establish(&root).await.expect("a connection");
        diesel_async::SimpleAsyncConnection::batch_execute(&mut conn, "CREATE DATABASE chaos")
            .await
            .expect("a database");
        let url = server.url("chaos");
        migrations::run(&url, Direction::Up).await.expect("migrations");
        Self {
            dir,
            url,
            running: Mutex::new(Some(server)),
        }
    }

    /// Stops Postgres, cleanly or as in a crash, and starts it again after a while.
    pub async fn restart(&self, crash: bool, down: Duration) {
        let mut running = self.running.lock().await;
        if let Some(server) = running.take() {
            if crash {
                let file = std::fs::read_to_string(self.dir.join("pg/postmaster.pid")).unwrap_or_default();
                let pid = file.lines().next().unwrap_or_default().to_owned();
                let told = std::process::Command::new("kill").args(["-QUIT", &pid]).status();
                assert!(told.is_ok_and(|s| s.success()), "the postmaster does not exist");
            }
            server.stop().await.expect("it stops");
        }
        tokio::time::sleep(down).await;
        *running = Some(
            EmbeddedPostgres::start(&self.dir, options())
                .await
                .expect("it comes back"),
        );
    }

    pub async fn stop(&self) {
        if let Some(server) = self.running.lock().await.take() {
            server.stop().await.expect("it stops");
        }
    }
}

/// Acknowledged commits survive a crash of Postgres, but not a crash of the machine.
fn options() -> Options {
    let kept = [("synchronous_commit", "on"), ("full_page_writes", "on")];
    Options {
        durable: false,
        extra: kept.map(|(name, value)| (name.into(), value.into())).into(),
        ..embedded::options()
    }
}

/// A node as a process.
pub struct Node {
    pub address: SocketAddr,
    database: String,
    redis: String,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Node {
    fn new(name: &str, database: String, redis: String) -> Self {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{name}.log"));
        std::fs::write(&log, "").expect("a log");
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], harness::free_port())),
            database,
            redis,
            log,
            child: Mutex::default(),
        }
    }

    fn run(&self) -> Child {
        let log = std::fs::File::options().append(true).open(&self.log).expect("a log");
        process::liveplan(&self.database)
            .arg("serve")
            .env("BIND", self.address.to_string())
            .env("REDIS_URL", &self.redis)
            .env("DRAIN_SECONDS", "0")
            .env("WORKERS", "1")
            .env("LIVE_PING_SECONDS", "5")
            // Short, so that a silent Postgres exceeds the deadline within a run.
            .env("DATABASE_STATEMENT_SECONDS", "3")
            // Members change the same meal all the time.
            .env("BUDGET_CHANGES_OF_A_MEAL", "0")
            .env("RUST_LOG", "info")
            .stderr(Stdio::from(log.try_clone().expect("a log")))
            .stdout(Stdio::from(log))
            .spawn()
            .expect("the binary")
    }

    /// Starts the node and waits until it answers. If it exits because its database is down, it is started again.
    pub async fn start(&self) {
        let mut child = self.child.lock().await;
        let began = Instant::now();
        loop {
            let ended = match child.as_mut() {
                Some(running) => running.try_wait().expect("a status").is_some(),
                None => true,
            };
            if ended {
                *child = Some(self.run());
            }
            let answer = reqwest::get(format!("http://{}/healthz", self.address)).await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "{} does not get ready",
                self.address
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills the node with SIGKILL and starts a new one after a while.
    pub async fn kill(&self, down: Duration) {
        let gone = self.child.lock().await.take();
        if let Some(mut gone) = gone {
            gone.kill().expect("killed");
            gone.wait().expect("ended");
        }
        tokio::time::sleep(down).await;
        self.start().await;
    }

    /// Stops the process with SIGSTOP for a while.
    pub async fn pause(&self, time: Duration) {
        let child = self.child.lock().await;
        let Some(child) = child.as_ref() else { return };
        signal(child, "STOP");
        tokio::time::sleep(time).await;
        signal(child, "CONT");
    }

    pub async fn stop(&self) {
        if let Some(mut child) = self.child.lock().await.take() {
            // The process may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub struct World {
    pub database: Database,
    pub redis: Mutex<Redis>,
    pub postgres_proxy: Cuttable,
    pub redis_proxy: Lossy,
    pub nodes: [Arc<Node>; 2],
    pub gym: Gym,
    pub author: Person,
    pub manager: Person,
    pub members: Vec<Person>,
    pub trainers: Vec<Person>,
    staff: Vec<Person>,
    pub leavers: Vec<Person>,
    pub plans: Vec<Plan>,
    pub today: String,
}

impl World {
    pub async fn make() -> Self {
        let database = Database::start().await;
        let redis = Redis::start().await;
        let redis_proxy = Lossy::before_redis(redis.port).await;
        let postgres_proxy = Cuttable::before_postgres(&database.url).await;
        let through = postgres_proxy.url(&database.url);
        let nodes = ["one", "two"].map(|name| Arc::new(Node::new(name, through.clone(), redis_proxy.url())));
        // The people's tokens must outlive the run.
        let maker = TestApp::node(&database.url, |config| config.access_token_seconds = 7200).await;
        let gym = maker.gym().await;
        let author = maker.person(gym, &[Role::Nutritionist]).await;
        let manager = maker.person(gym, &[Role::Manager]).await;
        let food = maker.food().await;
        let plans = [publish(&author, food).await, publish(&author, food).await].into();
        let mut world = Self {
            database,
            redis: Mutex::new(redis),
            postgres_proxy,
            redis_proxy,
            nodes,
            gym,
            author,
            manager,
            members: Vec::new(),
            trainers: Vec::new(),
            staff: Vec::new(),
            leavers: Vec::new(),
            plans,
            today: String::new(),
        };
        world.people(&maker).await;
        maker.stop().await;
        for node in &world.nodes {
            node.start().await;
        }
        world.redis_proxy.lose_every(LOSE_EVERY);
        world
    }

    async fn people(&mut self, maker: &TestApp) {
        for n in 0..MEMBERS {
            let member = maker.person(self.gym, &[Role::Member]).await;
            let path = format!("/plans/{}/follow", self.plans[n % 2].id);
            member.post(&path, &json!({})).await.ok();
            self.members.push(member);
        }
        for n in 0..TRAINERS {
            let trainer = maker.person(self.gym, &[Role::Trainer]).await;
            for k in 0..EACH {
                let member = &self.members[(n * EACH + k) % MEMBERS];
                maker.assign(self.gym, &trainer, member).await;
            }
            self.trainers.push(trainer);
        }
        for n in 0..STAFF {
            let role = if n % 2 == 0 { Role::Manager } else { Role::Nutritionist };
            self.staff.push(maker.person(self.gym, &[role]).await);
        }
        for _ in 0..LEAVERS {
            self.leavers.push(maker.person(self.gym, &[Role::Nutritionist]).await);
        }
        let today = self.members[0].get("/follows/today").await.ok();
        today["date"].as_str().expect("a date").clone_into(&mut self.today);
    }

    /// The two hundred clients: every member, every trainer on two devices, staff and leavers. Codecs alternate, so
    /// that half of each kind use each.
    pub fn clients(&self, seed: u64) -> Vec<Arc<Client>> {
        let nodes = [self.nodes[0].address, self.nodes[1].address];
        let mut clients: Vec<Arc<Client>> = Vec::new();
        let mut start = |name: String, who: &Person, watches: Watches| {
            let codec = Codec::ALL[clients.len() % 2];
            let token = who.token.clone().expect("signed in");
            let seed = seed.wrapping_add(clients.len() as u64);
            clients.push(Client::start(name, codec, token, watches, nodes, seed));
        };
        for (n, member) in self.members.iter().enumerate() {
            let own = format!("member:{}", member.account);
            start(format!("member {n}"), member, Watches::ItsPlan { own });
        }
        for (n, trainer) in self.trainers.iter().enumerate() {
            let own = format!("roster:{}", trainer.account);
            for device in ["phone", "desk"] {
                let own = own.clone();
                start(format!("trainer {n}, {device}"), trainer, Watches::ItsRoster { own });
            }
        }
        for (n, person) in self.staff.iter().enumerate() {
            let member = |k: usize| format!("member:{}", self.members[(n * 7 + k * 13) % MEMBERS].account);
            let mut channels: Vec<String> = (0..4).map(member).collect();
            channels.push(format!("plan:{}", self.plans[n % 2].id));
            if n % 2 == 0 {
                channels.push(format!("roster:{}", self.trainers[n].account));
            }
            start(format!("staff {n}"), person, Watches::Fixed(channels));
        }
        for (n, person) in self.leavers.iter().enumerate() {
            let channels = vec![
                format!("plan:{}", self.plans[n % 2].id),
                format!("member:{}", self.members[n].account),
            ];
            start(format!("leaver {n}"), person, Watches::Fixed(channels));
        }
        clients
    }

    pub async fn stop(self) {
        for node in &self.nodes {
            node.stop().await;
        }
        self.database.stop().await;
    }
}

/// Publishes a one-day plan with one meal.
async fn publish(author: &Person, food: uuid::Uuid) -> Plan {
    let plan = json!({"goal": "maintain", "name": "Base", "duration_days": 1, "cycle": "weekly"});
    let plan = author.post("/plans", &plan).await.ok();
    let id = plan["id"].as_str().expect("an id").to_owned();
    let version = |of: &Value| of["version"].as_i64().expect("a version");
    let meal = json!({"slot": "lunch", "title": "Arroz", "items": [{"food_id": food, "grams_milli": 150_000}]});
    let path = format!("/plans/{id}/days/1/meals");
    let made = author
        .write(Method::POST, &path, Some(&meal), version(&plan))
        .await
        .ok();
    let path = format!("/plans/{id}/publish");
    let published = author
        .write(Method::POST, &path, Some(&json!({})), version(&made))
        .await
        .ok();
    Plan {
        meal: made["meal"]["id"].as_str().expect("an id").to_owned(),
        version: version(&published),
        id,
    }
}
