//! A gym under random change: its people, its plans, and the latest snapshot of each channel.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, PASSWORD, TestApp};

/// A person of the gym.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Writes the plans.
    Author,
    /// Assigns, suspends and watches every channel.
    Manager,
    Trainer,
    /// Another trainer.
    Helper,
    Member,
    /// Another member, who is suspended at times.
    Guest,
}

/// The gym as the test knows it.
pub struct World {
    people: BTreeMap<Who, Client>,
    /// Published plans, each with a channel.
    pub plans: Vec<String>,
    /// A plan without a channel yet, and its version.
    pub draft: Option<(String, i64)>,
    pub foods: Vec<String>,
    /// The date at the start of the test: snapshots drop old days at midnight, and the dates in use are far from that
    /// edge.
    pub today: NaiveDate,
    /// The latest snapshot of each channel.
    pub seen: BTreeMap<String, Value>,
    /// Assignments that have not ended, as REST shows them.
    pub assignments: Vec<Value>,
    pub guest_status: String,
    database: String,
}

impl World {
    /// A gym with a published plan, which nobody follows yet.
    pub async fn new(app: &TestApp) -> Self {
        let gym = app.gym().await;
        let mut people = BTreeMap::new();
        for (who, role) in [
            (Who::Author, Role::Nutritionist),
            (Who::Manager, Role::Manager),
            (Who::Trainer, Role::Trainer),
            (Who::Helper, Role::Trainer),
            (Who::Member, Role::Member),
            (Who::Guest, Role::Member),
        ] {
            people.insert(who, app.person(gym, &[role]).await);
        }
        let foods = people[&Who::Author].get("/foods?limit=40").await.ok();
        let foods = foods["items"].as_array().expect("foods").iter();
        let mut world = Self {
            foods: foods.map(|food| text(&food["id"])).collect(),
            people,
            plans: Vec::new(),
            draft: None,
            today: liveplan_nutrition::calendar::local_day(app.app.clock.now(), chrono_tz::Europe::Madrid, 0),
            seen: BTreeMap::new(),
            assignments: Vec::new(),
            guest_status: "active".into(),
            database: app.database.clone(),
        };
        world.draft_a_plan().await;
        let (plan, version) = world.draft.take().expect("a draft");
        let path = format!("/plans/{plan}/publish");
        world
            .who(Who::Author)
            .write(Method::POST, &path, None, version)
            .await
            .ok();
        world.plans.push(plan);
        world.look().await;
        world
    }

    pub fn who(&self, who: Who) -> &Client {
        &self.people[&who]
    }

    pub fn channel(&self, kind: &str, who: Who) -> String {
        format!("{kind}:{}", self.who(who).account)
    }

    /// All channels of the gym.
    pub fn channels(&self) -> Vec<String> {
        let people = [
            self.channel("member", Who::Member),
            self.channel("member", Who::Guest),
            self.channel("roster", Who::Trainer),
            self.channel("roster", Who::Helper),
        ];
        let plans = self.plans.iter().map(|plan| format!("plan:{plan}"));
        people.into_iter().chain(plans).collect()
    }

    /// Creates a two-day draft with one meal.
    async fn draft_a_plan(&mut self) {
        // A sequence may create more plans than the hourly quota allows.
        let mut owner = liveplan::db::establish(&self.database).await.expect("a connection");
        let cleared = diesel::sql_query("DELETE FROM quota_windows").execute(&mut owner).await;
        cleared.expect("no quota used");
        let author = self.who(Who::Author);
        let body = json!({"goal": "maintain", "name": "Base", "duration_days": 2, "cycle": "fixed"});
        let plan = author.post("/plans", &body).await.ok();
        let id = text(&plan["id"]);
        let item = json!({"food_id": self.foods[0], "grams_milli": 100_000});
        let meal = json!({"slot": "lunch", "title": "Lunch", "items": [item]});
        let path = format!("/plans/{id}/days/1/meals");
        let version = plan["version"].as_i64().expect("a version");
        let made = author.write(Method::POST, &path, Some(&meal), version).await.ok();
        self.draft = Some((id, made["version"].as_i64().expect("a version")));
    }

    /// Reads everything again.
    pub async fn look(&mut self) {
        if self.draft.is_none() && self.plans.len() < 4 {
            self.draft_a_plan().await;
        }
        let looks = self.channels().into_iter().map(async |channel| {
            let fresh = self.who(Who::Manager).get(&format!("/live/snapshots/{channel}")).await;
            (channel, fresh.ok())
        });
        self.seen = join_all(looks).await.into_iter().collect();
        let open = self.who(Who::Manager).get("/assignments?limit=200").await.ok();
        self.assignments
            .clone_from(open["items"].as_array().expect("assignments"));
        let path = format!("/memberships/{}", self.who(Who::Guest).account);
        let status = text(&self.who(Who::Manager).get(&path).await.ok()["status"]);
        if status == "active" && self.guest_status != status {
            // The suspension has ended the session.
            let session = self.who(Who::Guest).login(PASSWORD, None).await.ok();
            let guest = self.who(Who::Guest).with(&session);
            self.people.insert(Who::Guest, guest);
        }
        self.guest_status = status;
    }

    /// The latest snapshot of a channel.
    pub fn snapshot(&self, channel: &str) -> &Value {
        &self.seen[channel]["snapshot"]
    }

    /// A member's current follow.
    pub fn follow(&self, member: Who) -> Option<&Value> {
        self.snapshot(&self.channel("member", member)).get("follow")
    }

    /// Whether a person may sign in.
    pub fn acts(&self, who: Who) -> bool {
        who != Who::Guest || self.guest_status == "active"
    }

    /// Whether a member is on a trainer's roster.
    pub fn trains(&self, trainer: Who, member: Who) -> bool {
        let roster = &self.snapshot(&self.channel("roster", trainer))["members"];
        roster.get(self.who(member).account.to_string()).is_some()
    }

    /// The meals of a plan, with the number of their day.
    pub fn meals(&self, plan: &str) -> Vec<(i64, String, &Value)> {
        let days = self.snapshot(&format!("plan:{plan}"))["days"]
            .as_object()
            .expect("days");
        let mut meals: Vec<_> = days
            .values()
            .flat_map(|day| {
                let number = day["number"].as_i64().expect("a number");
                let meals = day["meals"].as_object().expect("meals");
                meals.iter().map(move |(id, meal)| (number, id.clone(), meal))
            })
            .collect();
        meals.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        meals
    }
}

/// A JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
