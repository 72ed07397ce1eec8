//! What tests start: one Postgres server for all tests, a database and a liveplan server for each, and a client per
//! person.

pub mod balancer;
pub mod binary;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod foreign;
pub mod metrics;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod socket;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diesel::sql_types::{Array, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use liveplan::app::App;
use liveplan::auth::refresh::FIRST;
use liveplan::auth::{Caller, Role, Roles};
use liveplan::config::{BudgetLimits, Config, Hsts, HttpLimits, LiveLimits, ProxyHeader, Recovery};
use liveplan::ids::{AccountId, GymId, SessionId};
use liveplan::server::{self, Started, Stop};
use liveplan_hub::backend::Backend;
use tokio::sync::OnceCell;

pub use binary::BinarySocket;
pub use client::{Answer, Client};
pub use raw::{RawHttp, RawSocket};
pub use socket::Socket;

/// Polls a condition until it holds. Panics after 20 seconds; `what` completes the sentence "waited 20 s until …".
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The status and the details of a node's readiness, from the listener of its metrics.
pub async fn readiness(metrics: SocketAddr) -> (u16, serde_json::Value) {
    let answer = reqwest::get(format!("http://{metrics}/readyz"))
        .await
        .expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// A running server with a database of its own.
pub struct TestApp {
    pub address: SocketAddr,
    /// The address that serves metrics.
    pub metrics: SocketAddr,
    pub app: App,
    /// The backend that the server's hub uses.
    pub product: Arc<dyn Backend>,
    pub database: String,
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// A gym in a test.
#[derive(Clone, Copy)]
pub struct Gym {
    pub id: GymId,
}

/// Finds a port that nobody listens on, outside the range of ephemeral ports, so that no client connection takes it
/// while a server restarts.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The base configuration of a test server. `database_url` is the database's with its owner's login; empty for the embedded
/// Postgres.
pub fn config(database_url: &str) -> Config {
    Config {
        bind: "127.0.0.1:0".into(),
        data_dir: std::env::temp_dir(),
        database_url: (!database_url.is_empty()).then(|| postgres::as_server(database_url)),
        database_url_file: None,
        database_owner_url: (!database_url.is_empty()).then(|| database_url.to_owned()),
        database_owner_url_file: None,
        database_ca_file: None,
        database_pool: 8,
        database_statement: Duration::from_secs(15),
        pg_bindir: None,
        redis_url: None,
        redis_url_file: None,
        redis_ca_file: None,
        cache_bytes: 1 << 24,
        master_key: Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()),
        master_key_file: None,
        master_key_previous: None,
        master_key_previous_file: None,
        allowed_origins: Vec::new(),
        trusted_proxies: Vec::new(),
        proxy_header: ProxyHeader::XForwardedFor,
        hsts: Hsts::Auto,
        workers: 1,
        access_token_seconds: 900,
        session_days: 30,
        session_max_days: 90,
        live_retention_days: 7,
        recovery: Recovery::default(),
        live_ping_seconds: 25,
        drain_seconds: 0,
        fold_batch: 64,
        metrics_bind: Some("127.0.0.1:0".into()),
        log_format: "text".into(),
        demo: false,
        throwaway: false,
        http: HttpLimits::default(),
        live: LiveLimits::default(),
        budgets: BudgetLimits::default(),
    }
}

impl TestApp {
    /// Starts a server on a fresh database.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server on a fresh database, configured by `adjust`.
    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let database = postgres::fresh_database().await;
        Self::node(&database, adjust).await
    }

    /// Starts another node on a database that other nodes may share.
    pub async fn node(database: &str, adjust: impl FnOnce(&mut Config)) -> Self {
        liveplan::telemetry::start("text");
        let mut config = config(database);
        adjust(&mut config);
        let (sender, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            if let Err(error) = server::run(config, move |started| drop(sender.send(started))) {
                eprintln!("the server failed to run: {error:?}");
            }
        });
        let started = tokio::task::spawn_blocking(move || started.recv_timeout(Duration::from_mins(1))).await;
        let Started {
            address,
            metrics,
            app,
            product,
            stop,
        } = started.expect("joined").expect("the server starts");
        Self {
            address,
            metrics: metrics.expect("it shows metrics"),
            app,
            product,
            database: database.to_owned(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Connects as the database's owner, who bypasses row-level security.
    pub async fn owner(&self) -> AsyncPgConnection {
        liveplan::db::establish(&self.database).await.expect("a connection")
    }

    /// The status of the detailed readiness, and its details.
    pub async fn readiness(&self) -> (u16, serde_json::Value) {
        readiness(self.metrics).await
    }

    /// Inserts a gym without members.
    pub async fn gym(&self) -> Gym {
        let id = GymId::new();
        let slug = format!("gym-{}", &id.0.simple().to_string()[20..]);
        let mut conn = self.owner().await;
        diesel::sql_query(
            "INSERT INTO gyms (id, slug, name, time_zone, locale, created_at)
             VALUES ($1, $2, $2, 'Europe/Madrid', 'es', now())",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<Text, _>(slug)
        .execute(&mut conn)
        .await
        .expect("a gym");
        liveplan::events::log::create(&mut conn, id).await.expect("a log");
        Gym { id }
    }

    /// Inserts an account with these roles in a gym and signs it in.
    pub async fn person(&self, gym: Gym, roles: &[Role]) -> Client {
        let (account, session) = (AccountId::new(), SessionId::new());
        let email = format!("{}@test.example", account.0.simple());
        let now = self.app.clock.now();
        let roles: Roles = roles.iter().copied().collect();
        let mut conn = self.owner().await;
        diesel::sql_query(
            "INSERT INTO accounts (id, email, password_hash, name, locale, created_at)
             VALUES ($1, $2, $3, 'Ana Prueba', 'en', now())",
        )
        .bind::<SqlUuid, _>(account)
        .bind::<Text, _>(&email)
        .bind::<Text, _>(password_hash().await)
        .execute(&mut conn)
        .await
        .expect("an account");
        diesel::sql_query(
            "INSERT INTO memberships (gym_id, account_id, roles, status, created_at) VALUES ($1, $2, $3, 'active', now())",
        )
        .bind::<SqlUuid, _>(gym.id)
        .bind::<SqlUuid, _>(account)
        .bind::<Array<Text>, _>(roles.names())
        .execute(&mut conn)
        .await
        .expect("a membership");
        diesel::sql_query(
            "INSERT INTO sessions (id, gym_id, account_id, created_at, signed_in_at, last_used_at, expires_at)
             VALUES ($1, $2, $3, $4, $4, $4, $4 + interval '30 days')",
        )
        .bind::<SqlUuid, _>(session)
        .bind::<SqlUuid, _>(gym.id)
        .bind::<SqlUuid, _>(account)
        .bind::<Timestamptz, _>(now)
        .execute(&mut conn)
        .await
        .expect("a session");
        let caller = Caller {
            account,
            gym: gym.id,
            roles,
            session,
            access_version: 1,
        };
        let token = self.app.tokens.issue(&caller, FIRST, now).expect("a token");
        Client::new(self.address, account, email, Some(token))
    }

    /// Assigns a trainer to a member directly in the database.
    pub async fn assign(&self, gym: Gym, trainer: &Client, member: &Client) {
        diesel::sql_query(
            "INSERT INTO assignments (id, gym_id, trainer_id, member_id, since) VALUES ($1, $2, $3, $4, now())",
        )
        .bind::<SqlUuid, _>(uuid::Uuid::now_v7())
        .bind::<SqlUuid, _>(gym.id)
        .bind::<SqlUuid, _>(trainer.account)
        .bind::<SqlUuid, _>(member.account)
        .execute(&mut self.owner().await)
        .await
        .expect("an assignment");
    }

    /// A client that is not signed in.
    pub fn nobody(&self) -> Client {
        Client::new(self.address, AccountId::new(), String::new(), None)
    }

    /// Inserts a shared food with 100 kcal, 10 g protein, 10 g carbohydrate and 2 g fat per 100 g; its fibre is
    /// unknown.
    pub async fn food(&self) -> uuid::Uuid {
        let id = uuid::Uuid::now_v7();
        diesel::sql_query(
            "INSERT INTO foods (id, source, source_ref, kind, name_en, name_es, energy_mkcal, protein_mg, carbohydrate_mg,
                                fat_mg, carb_basis, portions, search, created_at)
             VALUES ($1, 'test', $2, 'dish', 'Rice', 'Arroz', 100000, 10000, 10000, 2000, 'by_difference',
                     '[{\"name_en\":\"cup\",\"name_es\":\"taza\",\"grams_milli\":200000}]', 'rice arroz', now())",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<Text, _>(id.to_string())
        .execute(&mut self.owner().await)
        .await
        .expect("a food");
        id
    }

    /// Stops the server and waits until its thread has ended.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            stop.now();
        }
        if let Some(thread) = self.thread.take() {
            tokio::task::spawn_blocking(move || thread.join())
                .await
                .expect("joined")
                .expect("no panic");
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.now();
        }
    }
}

/// Runs code that changes data without a server: `App::change` spawns local tasks, as on an actix worker.
pub async fn local<T>(work: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(work).await
}

/// The password of every test account.
pub const PASSWORD: &str = "correct horse";

/// The hash of `PASSWORD`, computed once.
async fn password_hash() -> &'static str {
    static HASH: OnceCell<String> = OnceCell::const_new();
    HASH.get_or_init(|| async { liveplan::auth::password::hash(PASSWORD.into()).await.expect("a hash") })
        .await
}
