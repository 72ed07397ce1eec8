//! A gym with a plan.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, Client, Gym, TestApp};

/// A plan under test, with the version that was last read.
pub struct TestPlan {
    pub author: Client,
    pub id: String,
    pub version: i64,
}

impl TestPlan {
    /// Creates a draft without meals.
    pub async fn draft(author: &Client, days: i32) -> Self {
        let body = json!({"goal": "maintain", "name": "Base", "duration_days": days});
        let plan = author.post("/plans", &body).await.ok();
        Self {
            author: author.clone(),
            id: plan["id"].as_str().expect("an id").to_owned(),
            version: 1,
        }
    }

    /// Publishes a plan with one meal of 100 g of `food` on the first day.
    pub async fn published(author: &Client, days: i32, food: Uuid) -> Self {
        let mut plan = Self::draft(author, days).await;
        plan.meal(1, "Lunch", food).await;
        plan.publish().await;
        plan
    }

    pub fn path(&self, below: &str) -> String {
        format!("/plans/{}{below}", self.id)
    }

    /// Reads the plan.
    pub async fn read(&self) -> Value {
        self.author.get(&self.path("")).await.ok()
    }

    /// Sends a write with the known version, which must succeed and change it.
    pub async fn write(&mut self, method: Method, below: &str, body: Option<&Value>) -> Value {
        let answer = self.author.write(method, &self.path(below), body, self.version).await;
        let etag = answer.etag.clone();
        let body = answer.ok();
        self.version = body["version"].as_i64().expect("a version");
        assert_eq!(
            etag,
            Some(format!("\"{}\"", self.version)),
            "the ETag does not name the version"
        );
        body
    }

    /// Sends a write that may be refused.
    pub async fn attempt(&self, method: Method, below: &str, body: Option<&Value>) -> Answer {
        self.author.write(method, &self.path(below), body, self.version).await
    }

    pub async fn publish(&mut self) -> Value {
        self.write(Method::POST, "/publish", None).await
    }

    /// Adds a meal of 100 g and returns its path below the plan.
    pub async fn meal(&mut self, day: i32, title: &str, food: Uuid) -> String {
        let body = json!({"slot": "lunch", "title": title, "items": [{"food_id": food, "grams_milli": 100_000}]});
        let written = self
            .write(Method::POST, &format!("/days/{day}/meals"), Some(&body))
            .await;
        format!("/days/{day}/meals/{}", written["meal"]["id"].as_str().expect("an id"))
    }
}

/// A gym with a nutritionist and a food.
pub async fn kitchen(app: &TestApp) -> (Gym, Client, Uuid) {
    let gym = app.gym().await;
    let author = app.person(gym, &[liveplan::auth::Role::Nutritionist]).await;
    (gym, author, app.food().await)
}

/// Inserts a follow directly into the database.
pub async fn follow(app: &TestApp, gym: Gym, member: &Client, plan: &TestPlan) {
    use diesel::sql_types::Uuid as SqlUuid;
    use diesel_async::RunQueryDsl as _;
    diesel::sql_query(
        "INSERT INTO follows (id, gym_id, member_id, plan_id, revision, status, start_date, time_zone, created_at)
         VALUES ($1, $2, $3, $4, 1, 'active', current_date, 'Europe/Madrid', now())",
    )
    .bind::<SqlUuid, _>(Uuid::now_v7())
    .bind::<SqlUuid, _>(gym.id)
    .bind::<SqlUuid, _>(member.account)
    .bind::<SqlUuid, _>(plan.id.parse::<Uuid>().expect("an id"))
    .execute(&mut app.owner().await)
    .await
    .expect("a follow");
}
