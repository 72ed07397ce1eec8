//! What must hold whatever breaks: no acknowledged change is lost, none happens twice, every screen is right within three
//! seconds, and who may no longer watch does not. Redis, Postgres and nodes are real, and really break. (Redis killed and
//! back: `nodes`.)

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

/// A gym where members tick and their trainer watches. Made at a node, it outlives it.
pub struct Floor {
    pub gym: Gym,
    pub author: Client,
    pub trainer: Client,
    pub members: Vec<Client>,
    pub plan: Published,
    /// The day that it is for the members.
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

    /// The trainer edits, or somebody for them: the title of the plan's meal.
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

    /// A member's tick of the meal, `portion` thousandths of it, under a key of its own.
    pub fn tick(&self, member: usize, portion: usize) -> Tick {
        Tick {
            member: self.members[member].clone(),
            path: format!("/api/v1/meals/{}/completions/{}", self.plan.meal, self.today),
            portion,
            key: uuid::Uuid::new_v4().to_string(),
        }
    }
}

/// A tick that may have to be sent again.
#[derive(Clone)]
pub struct Tick {
    pub member: Client,
    path: String,
    portion: usize,
    pub key: String,
}

impl Tick {
    /// Sends it to a node; whether it was acknowledged. An answer that is none says clearly that it may be sent again.
    pub async fn send(&self, node: std::net::SocketAddr) -> bool {
        let request = reqwest::Client::new()
            .put(format!("http://{node}{}", self.path))
            .bearer_auth(self.member.token.as_deref().unwrap_or_default())
            .header("Idempotency-Key", &self.key)
            .json(&json!({"status": "partial", "portion_permille": self.portion}));
        // A node that was killed gives none.
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

/// How often the tick with each key was carried out.
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
