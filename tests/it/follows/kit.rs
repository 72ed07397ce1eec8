//! A gym with a published plan, a member who may follow it, the member's trainer, and screens that apply events.

use chrono::{NaiveDate, TimeDelta};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use liveplan::auth::Role;
use liveplan::events::merge;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Gym, Socket, TestApp};

/// The starting point of tests of follows and completions. The gym is in Madrid.
pub struct Kit {
    pub app: TestApp,
    pub gym: Gym,
    pub author: Client,
    pub member: Client,
    pub trainer: Client,
    pub food: uuid::Uuid,
    pub plan: PublishedPlan,
}

/// A weekly plan of two days: breakfast of 150 g and lunch of 200 g, then dinner of 100 g; 1 kcal per gram.
pub struct PublishedPlan {
    pub id: String,
    pub version: i64,
    pub breakfast: String,
    pub lunch: String,
    pub dinner: String,
}

impl Kit {
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut liveplan::config::Config)) -> Self {
        let app = TestApp::start_with(adjust).await;
        let gym = app.gym().await;
        let author = app.person(gym, &[Role::Nutritionist]).await;
        let member = app.person(gym, &[Role::Member]).await;
        let trainer = app.person(gym, &[Role::Trainer]).await;
        app.assign(gym, &trainer, &member).await;
        let food = app.food().await;
        let plan = publish(&author, food, &json!({"cycle": "weekly"})).await;
        Self {
            app,
            gym,
            author,
            member,
            trainer,
            food,
            plan,
        }
    }

    /// The current date in Madrid.
    pub fn today(&self) -> NaiveDate {
        liveplan_nutrition::calendar::local_day(self.app.app.clock.now(), chrono_tz::Europe::Madrid, 0)
    }

    /// Makes the member follow the plan from `days_ago` days ago.
    pub async fn follow(&self, days_ago: i64) -> Value {
        let start = self.today() - TimeDelta::days(days_ago);
        let path = format!("/plans/{}/follow", self.plan.id);
        self.member.post(&path, &json!({"start_date": start})).await.ok()
    }

    /// The path of a meal's completion today.
    pub fn completion(&self, meal: &str) -> String {
        format!("/meals/{meal}/completions/{}", self.today())
    }

    /// A screen on the member's own channel.
    pub async fn own_screen(&self) -> Screen {
        let socket = self.member.socket().await;
        let channel = format!("member:{}", self.member.account);
        let shown = socket.connected["connect"]["subs"][&channel]["data"].clone();
        Screen { socket, channel, shown }
    }

    /// A screen on the trainer's roster.
    pub async fn roster_screen(&self) -> Screen {
        Screen::open(&self.trainer, format!("roster:{}", self.trainer.account)).await
    }

    pub async fn count(&self, sql: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            n: i64,
        }
        let sql = format!("SELECT count(*) AS n FROM {sql}");
        let count: Count = diesel::sql_query(sql)
            .get_result(&mut self.app.owner().await)
            .await
            .expect("a count");
        count.n
    }

    pub async fn sql(&self, sql: &str) {
        diesel::sql_query(sql)
            .execute(&mut self.app.owner().await)
            .await
            .expect(sql);
    }

    /// Edits a meal of the published plan.
    pub async fn edit(&mut self, day: i32, meal: &str, body: &Value) {
        let path = format!("/plans/{}/days/{day}/meals/{meal}", self.plan.id);
        let answer = self
            .author
            .write(Method::PATCH, &path, Some(body), self.plan.version)
            .await
            .ok();
        self.plan.version = answer["version"].as_i64().expect("a version");
    }

    /// Removes a meal from the published plan.
    pub async fn remove(&mut self, day: i32, meal: &str) {
        let path = format!("/plans/{}/days/{day}/meals/{meal}", self.plan.id);
        let answer = self
            .author
            .write(Method::DELETE, &path, None, self.plan.version)
            .await
            .ok();
        self.plan.version = answer["version"].as_i64().expect("a version");
    }
}

/// Publishes a two-day plan; `fields` override the usual ones.
pub async fn publish(author: &Client, food: uuid::Uuid, fields: &Value) -> PublishedPlan {
    let (id, version) = draft(author, fields).await;
    let mut plan = PublishedPlan {
        id,
        version,
        breakfast: String::new(),
        lunch: String::new(),
        dinner: String::new(),
    };
    plan.breakfast = plan.add(author, food, 1, "breakfast", 150_000).await;
    plan.lunch = plan.add(author, food, 1, "lunch", 200_000).await;
    plan.dinner = plan.add(author, food, 2, "dinner", 100_000).await;
    let path = format!("/plans/{}/publish", plan.id);
    let published = author
        .write(Method::POST, &path, Some(&json!({})), plan.version)
        .await
        .ok();
    plan.version = published["version"].as_i64().expect("a version");
    plan
}

/// Creates an empty draft and returns its id and version.
pub async fn draft(author: &Client, fields: &Value) -> (String, i64) {
    let mut body = json!({"goal": "maintain", "name": "Base", "duration_days": 2, "cycle": "weekly"});
    merge::apply(&mut body, fields.clone());
    let plan = author.post("/plans", &body).await.ok();
    (
        plan["id"].as_str().expect("an id").to_owned(),
        plan["version"].as_i64().expect("a version"),
    )
}

impl PublishedPlan {
    async fn add(&mut self, author: &Client, food: uuid::Uuid, day: i32, slot: &str, grams_milli: i64) -> String {
        let item = json!({"food_id": food, "grams_milli": grams_milli});
        let body = json!({"slot": slot, "title": format!("The {slot}"), "items": [item]});
        let path = format!("/plans/{}/days/{day}/meals", self.id);
        let made = author.write(Method::POST, &path, Some(&body), self.version).await.ok();
        self.version = made["version"].as_i64().expect("a version");
        made["meal"]["id"].as_str().expect("an id").to_owned()
    }
}

/// A subscribed socket and the state that it shows.
pub struct Screen {
    pub socket: Socket,
    pub channel: String,
    pub shown: Value,
}

impl Screen {
    pub async fn open(who: &Client, channel: String) -> Self {
        let mut socket = who.socket().await;
        let reply = socket.subscribe(&channel).await;
        let shown = reply["subscribe"]["data"].clone();
        assert!(shown.is_object(), "{reply}");
        Self { socket, channel, shown }
    }

    /// Waits for the next event with an offset and applies it.
    pub async fn hears(&mut self) -> Value {
        loop {
            let (offset, event) = self.socket.publication(&self.channel).await;
            if offset > 0 {
                merge::apply(&mut self.shown, event["patch"].clone());
                return event;
            }
        }
    }

    /// Asserts that the screen equals a fresh snapshot.
    pub async fn is_up_to_date(&self, who: &Client) {
        let fresh = who.get(&format!("/live/snapshots/{}", self.channel)).await.ok();
        let mut shown = self.shown.clone();
        // Presence is not part of the snapshot that REST returns.
        let parts = shown.as_object_mut().expect("an object");
        parts.retain(|name, _| name != "online" && name != "last_seen");
        assert_eq!(shown, fresh["snapshot"]);
    }
}
