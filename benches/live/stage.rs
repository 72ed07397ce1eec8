//! The stage of a benchmark: a Postgres, the server under test, and gyms with accounts.

use std::time::Duration;

use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use liveplan::auth::deployment;
use liveplan::auth::refresh::FIRST;
use liveplan::auth::seal::MasterKey;
use liveplan::auth::{Caller, Role, Tokens};
use liveplan::clock::Clock;
use liveplan::db::embedded::{self, EmbeddedPostgres};
use liveplan::ids::{AccountId, GymId, SessionId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::node::{KEY, Node};

/// Lifetime of tokens: longer than the longest run.
const TOKEN_LIFE: chrono::TimeDelta = chrono::TimeDelta::hours(2);

pub struct Stage {
    pub address: String,
    pub database: String,
    server: Node,
    postgres: EmbeddedPostgres,
    _directory: tempfile::TempDir,
    tokens: Tokens,
    http: reqwest::Client,
}

/// A signed-in account.
#[derive(Clone)]
pub struct Person {
    pub account: AccountId,
    pub token: String,
}

/// A gym with a plan of seven days, with five meals a day and four items a meal.
pub struct Gym {
    pub id: GymId,
    pub author: Person,
    pub plan: String,
}

impl Stage {
    pub async fn set() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        // The account that runs Postgres must be able to enter.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let postgres = EmbeddedPostgres::start(directory.path(), embedded::options())
            .await
            .expect("a Postgres");
        let mut conn = liveplan::db::establish(&postgres.url("postgres"))
            .await
            .expect("a connection");
        diesel::sql_query("CREATE DATABASE liveplan")
            .execute(&mut conn)
            .await
            .expect("a database");
        let database = postgres.url("liveplan");
        let server = Node::start(&database, &[]).await;
        let address = server.address.clone();
        let http = reqwest::Client::new();
        let master = MasterKey::of(KEY, None).expect("a key");
        let mut conn = liveplan::db::establish(&database).await.expect("a connection");
        let now = Clock::default().now();
        let issuer = deployment::load(&mut conn, false, now).await.expect("a deployment");
        let tokens = Tokens::load(&mut conn, &master, issuer, TOKEN_LIFE, now)
            .await
            .expect("signing keys");
        Self {
            address,
            database,
            server,
            postgres,
            _directory: directory,
            tokens,
            http,
        }
    }

    /// Waits until no socket is connected.
    pub async fn idle(&self) {
        let ready = format!("http://{}/readyz", self.address);
        for attempt in 0.. {
            let answer = self.http.get(&ready).send().await.expect("an answer");
            let state: Value = answer.json().await.expect("JSON");
            if state["sockets"] == 0 {
                return;
            }
            assert!(attempt < 600, "a socket stays connected: {state}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub async fn owner(&self) -> AsyncPgConnection {
        liveplan::db::establish(&self.database).await.expect("a connection")
    }

    /// Inserts signed-in accounts with a role in a gym.
    pub async fn people(&self, gym: GymId, role: Role, count: i64) -> Vec<Person> {
        let mut conn = self.owner().await;
        let accounts: Vec<AccountId> = (0..count).map(|_| AccountId::new()).collect();
        let ids = json!(accounts).to_string();
        for sql in [
            "INSERT INTO accounts (id, email, password_hash, name, locale, created_at)
             SELECT id::uuid, id || '@bench.test', 'none', 'Ana Prueba', 'en', now() FROM json_array_elements_text($1::json) id
             WHERE $2::uuid IS NOT NULL AND $3 <> ''",
            "INSERT INTO memberships (gym_id, account_id, roles, status, created_at)
             SELECT $2, id::uuid, ARRAY[$3], 'active', now() FROM json_array_elements_text($1::json) id",
            "INSERT INTO sessions (id, gym_id, account_id, created_at, last_used_at, expires_at)
             SELECT id::uuid, $2, id::uuid, now(), now(), now() + interval '1 day' FROM json_array_elements_text($1::json) id
             WHERE $3 <> ''",
        ] {
            diesel::sql_query(sql)
                .bind::<Text, _>(&ids)
                .bind::<SqlUuid, _>(gym)
                .bind::<Text, _>(role.name())
                .execute(&mut conn)
                .await
                .expect(sql);
        }
        let now = Clock::default().now();
        accounts
            .into_iter()
            .map(|account| {
                let session = SessionId(account.0);
                let caller = Caller {
                    account,
                    gym,
                    roles: [role].into_iter().collect(),
                    session,
                    access_version: 1,
                };
                Person {
                    account,
                    token: self.tokens.issue(&caller, FIRST, now).expect("a token"),
                }
            })
            .collect()
    }

    pub async fn gym(&self) -> Gym {
        let id = GymId::new();
        let mut conn = self.owner().await;
        diesel::sql_query(
            "INSERT INTO gyms (id, slug, name, time_zone, locale, created_at) VALUES ($1, $2, $2, 'UTC', 'en', now())",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<Text, _>(format!("b{}", &id.0.simple().to_string()[16..]))
        .execute(&mut conn)
        .await
        .expect("a gym");
        liveplan::events::log::create(&mut conn, id).await.expect("a log");
        let author = self.people(id, Role::Nutritionist, 1).await.remove(0);
        let plan = self.plan(&author).await;
        Gym { id, author, plan }
    }

    async fn plan(&self, author: &Person) -> String {
        #[derive(diesel::QueryableByName)]
        struct Food {
            #[diesel(sql_type = SqlUuid)]
            id: Uuid,
        }
        let foods: Vec<Food> = diesel::sql_query("SELECT id FROM foods ORDER BY id LIMIT $1")
            .bind::<BigInt, _>(140)
            .load(&mut self.owner().await)
            .await
            .expect("foods");
        let body = json!({"goal": "maintain", "name": "Bench", "duration_days": 7, "cycle": "weekly"});
        let plan = self.post(author, "/plans", &body, None).await;
        let id = plan["id"].as_str().expect("an id").to_owned();
        let mut version = plan["version"].clone();
        for (at, slot) in (0..7).flat_map(|day| (0..5).map(move |meal| (day, meal))) {
            let items: Vec<Value> = foods[(at * 5 + slot) * 4..][..4]
                .iter()
                .map(|food| json!({"food_id": food.id, "grams_milli": 100_000}))
                .collect();
            let meal = json!({"slot": "lunch", "title": format!("Meal {slot}"), "items": items});
            let path = format!("/plans/{id}/days/{}/meals", at + 1);
            version = self.post(author, &path, &meal, Some(&version)).await["version"].clone();
        }
        self.post(author, &format!("/plans/{id}/publish"), &json!({}), Some(&version))
            .await;
        id
    }

    /// Reads a resource; panics unless it succeeds.
    pub async fn get(&self, person: &Person, path: &str) -> Value {
        let request = self.http.get(format!("http://{}/api/v1{path}", self.address));
        let answer = request.bearer_auth(&person.token).send().await.expect("an answer");
        let answer = answer.error_for_status().expect("a success");
        answer.json().await.expect("JSON")
    }

    /// Patches a resource of this version; panics unless it succeeds.
    pub async fn patch(&self, person: &Person, path: &str, body: &Value, version: &Value) -> Value {
        let request = self.http.patch(format!("http://{}/api/v1{path}", self.address));
        let request = request
            .bearer_auth(&person.token)
            .header("If-Match", format!("\"{version}\""));
        let answer = request.json(body).send().await.expect("an answer");
        let answer = answer.error_for_status().expect("a success");
        answer.json().await.expect("JSON")
    }

    /// Posts a body; panics unless it succeeds.
    pub async fn post(&self, person: &Person, path: &str, body: &Value, version: Option<&Value>) -> Value {
        let request = self
            .http
            .post(format!("http://{}/api/v1{path}", self.address))
            .bearer_auth(&person.token);
        let request = match version {
            Some(version) => request.header("If-Match", format!("\"{version}\"")),
            None => request,
        };
        let answer = request.json(body).send().await.expect("an answer");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub async fn clear(self) {
        self.server.stop();
        self.postgres.stop().await.expect("stopped");
    }
}
