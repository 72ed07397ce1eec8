//! Invariants under any fault: no acknowledged change is lost, none is applied twice, every screen is correct within
//! three seconds, and an account whose right ended sees nothing more. Redis, Postgres and the nodes are real and really
//! fail. (`nodes` kills and restarts Redis.)

mod access;
mod commit;
mod database;
mod doubt;
mod ends;
mod epoch;
mod foreign;
mod killed;
mod late;
mod messages;
mod races;
pub mod screen;
mod silence;

use liveplan::auth::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Client, Gym, TestApp};
use crate::plans::{Published, publish};

/// A gym where members tick and their trainer watches. It is created through one node and outlives it.
pub struct Floor {
    pub gym: Gym,
    pub author: Client,
    pub trainer: Client,
    pub members: Vec<Client>,
    pub plan: Published,
    /// The members' current date.
    pub today: String,
}

impl Floor {
    pub async fn make(app: &TestApp, members: usize) -> Self {
        let gym = app.gym().await;
        let author = app.person(gym, &[Role::Nutritionist]).await;
        let trainer = app.person(gym, &[Role::Trainer]).await;
        let plan = publish(&author, app.food().await).await;
        let mut floor = Self {
            gym,
            author,
            trainer,
            members: Vec::new(),
            plan,
            today: String::new(),
        };
        for _ in 0..members {
            let member = app.person(gym, &[Role::Member]).await;
            app.assign(gym, &floor.trainer, &member).await;
            let path = format!("/plans/{}/follow", floor.plan.id);
            member.post(&path, &json!({})).await.ok();
            floor.members.push(member);
        }
        let today = floor.members[0].get("/follows/today").await.ok();
        today["date"].as_str().expect("a date").clone_into(&mut floor.today);
        floor
    }

    pub fn roster(&self) -> String {
        format!("roster:{}", self.trainer.account)
    }

    /// Changes the title of the plan's meal, as an editor of the trainer's gym.
    pub async fn rename(&mut self, title: &str) {
        let path = format!("/plans/{}/days/1/meals/{}", self.plan.id, self.plan.meal);
        let body = json!({"title": title});
        let made = self
            .author
            .write(Method::PATCH, &path, Some(&body), self.plan.version)
            .await
            .ok();
        self.plan.version = made["version"].as_i64().expect("a version");
    }

    /// A member's tick of the meal with `portion` thousandths of it, under a new idempotency key.
    pub fn tick(&self, member: usize, portion: usize) -> Tick {
        Tick {
            member: self.members[member].clone(),
            path: format!("/api/v1/meals/{}/completions/{}", self.plan.meal, self.today),
            portion,
            key: uuid::Uuid::new_v4().to_string(),
        }
    }
}

/// A tick that can be sent again.
#[derive(Clone)]
pub struct Tick {
    pub member: Client,
    path: String,
    portion: usize,
    pub key: String,
}

impl Tick {
    /// Sends the tick to a node and returns whether it was acknowledged. Any other answer must say that the tick may be
    /// sent again.
    pub async fn send(&self, node: std::net::SocketAddr) -> bool {
        let request = reqwest::Client::new()
            .put(format!("http://{node}{}", self.path))
            .bearer_auth(self.member.token.as_deref().unwrap_or_default())
            .header("Idempotency-Key", &self.key)
            .json(&json!({"status": "partial", "portion_permille": self.portion}));
        // A killed node sends no answer.
        let Ok(answer) = request.send().await else { return false };
        let status = answer.status();
        if status.is_success() {
            return true;
        }
        let problem: serde_json::Value = answer.json().await.unwrap_or_default();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        let code = problem["code"].as_str().unwrap_or_default();
        assert!(["unavailable", "outcome_unknown"].contains(&code), "{problem}");
        false
    }
}

/// Returns how often the tick with each key took effect.
pub async fn effects(database: &str, keys: &[String]) -> Vec<i64> {
    use diesel::sql_types::{Array, BigInt, Text};
    use diesel_async::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let mut conn = liveplan::db::establish(database).await.expect("a connection");
    let counts: Vec<Count> = diesel::sql_query(
        "SELECT count(h.id) AS n FROM unnest($1) WITH ORDINALITY AS k(key, place)
         LEFT JOIN completion_history h ON h.client_key = k.key GROUP BY k.place ORDER BY k.place",
    )
    .bind::<Array<Text>, _>(keys)
    .load(&mut conn)
    .await
    .expect("counts");
    counts.into_iter().map(|c| c.n).collect()
}
