//! A gym with one object of each kind, and the people who try to reach them.

use std::collections::{BTreeMap, HashMap};

use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::rows::Right;
use crate::harness::{Client, Gym, PASSWORD, TestApp};

/// The objects and people of a gym, by the placeholders that stand for them in paths and bodies.
pub struct World {
    pub gym: Gym,
    words: BTreeMap<&'static str, String>,
    author: Client,
    manager: Client,
    pub trainer: Client,
    pub member: Client,
    /// People of the gym with one role and no other relation to its objects.
    pub alone: HashMap<Role, Client>,
    /// An account of another gym with every role there.
    pub stranger: Client,
}

fn id(value: &Value) -> String {
    value.as_str().expect("an id").to_owned()
}

/// The UUID in a value, such as an account's in a channel's name.
fn id_in(thing: &str) -> Option<uuid::Uuid> {
    thing.rsplit(':').next()?.parse().ok()
}

impl World {
    pub async fn make(app: &TestApp) -> Self {
        let gym = app.gym().await;
        let author = app.person(gym, &[Role::Nutritionist]).await;
        let manager = app.person(gym, &[Role::Manager]).await;
        let trainer = app.person(gym, &[Role::Trainer]).await;
        let member = app.person(gym, &[Role::Member]).await;
        let second = app.person(gym, &[Role::Member]).await;
        let mut alone = HashMap::new();
        for role in Role::ALL {
            alone.insert(role, app.person(gym, &[role]).await);
        }
        let stranger = app.person(app.gym().await, &Role::ALL).await;
        let body = json!({"trainer_id": trainer.account, "member_id": member.account});
        let assignment = id(&manager.post("/assignments", &body).await.ok()["id"]);
        let food = author
            .post("/foods", &json!({"name_es": "Pan", "per_100g": {}}))
            .await
            .ok();
        let food = id(&food["id"]);
        let body = json!({"email": "invited@test.example", "name": "Inés", "roles": ["member"]});
        let invitation = id(&manager.post("/invitations", &body).await.ok()["id"]);
        let plan = Self::plan(&author, &food, true).await;
        // The plan is for its followers only; the member starts to follow while it is visible to the gym.
        let at = format!("/api/v1/plans/{}", plan["plan"]);
        let show_to = async |visibility: &str| {
            let body = json!({"visibility": visibility});
            author
                .send(Method::PATCH, &at, Some(&body), &[("If-Match", "*")])
                .await
                .ok()
        };
        show_to("gym").await;
        let path = format!("/plans/{}/follow", plan["plan"]);
        let follow = id(&member.post(&path, &json!({})).await.ok()["id"]);
        show_to("assigned").await;
        let date = id(&member.get("/follows/today").await.ok()["date"]);
        let device = member.login(PASSWORD, None).await.ok();
        let sessions = member.with(&device).get("/auth/sessions").await.ok();
        let session = sessions["items"]
            .as_array()
            .and_then(|all| all.iter().find(|s| s["current"] == true))
            .expect("the session");
        let mut words = plan;
        words.extend([
            (
                "ready",
                Self::plan(&author, &food, false).await.remove("plan").expect("a plan"),
            ),
            (
                "draft",
                Self::plan(&author, &food, false).await.remove("plan").expect("a plan"),
            ),
            ("day", "1".into()),
            ("revision", "1".into()),
            ("date", date),
            ("follow", follow),
            ("assignment", assignment),
            ("food", food),
            ("invitation", invitation),
            ("session", id(&session["id"])),
            ("account", member.account.to_string()),
            ("member", member.account.to_string()),
            ("second", second.account.to_string()),
            ("trainer", trainer.account.to_string()),
            ("channel", format!("member:{}", member.account)),
            ("slug", id(&manager.get("/gym").await.ok()["slug"])),
        ]);
        Self {
            gym,
            words,
            author,
            manager,
            trainer,
            member,
            alone,
            stranger,
        }
    }

    /// Creates a one-day plan with two meals of two items each.
    async fn plan(author: &Client, food: &str, publish: bool) -> BTreeMap<&'static str, String> {
        let new = json!({"goal": "health", "name": "Base", "duration_days": 1, "visibility": "assigned"});
        let plan = id(&author.post("/plans", &new).await.ok()["id"]);
        let mut words = BTreeMap::from([("plan", plan.clone())]);
        for (meal_word, item_word) in [("meal", "item"), ("other_meal", "other_item")] {
            let items = json!([{"food_id": food, "grams_milli": 1000}, {"food_id": food, "grams_milli": 2000}]);
            let meal = json!({"slot": "lunch", "title": "x", "items": items});
            let path = format!("/api/v1/plans/{plan}/days/1/meals");
            let made = author
                .send(Method::POST, &path, Some(&meal), &[("If-Match", "*")])
                .await
                .ok();
            words.insert(meal_word, id(&made["meal"]["id"]));
            words.insert(item_word, id(&made["meal"]["items"][0]["id"]));
        }
        if publish {
            let path = format!("/api/v1/plans/{plan}/publish");
            author.send(Method::POST, &path, None, &[("If-Match", "*")]).await.ok();
        }
        words
    }

    /// The same placeholders with ids that no gym has.
    pub fn without_things(&self) -> Self {
        // In the same order, because accounts are locked and refused in the order of their ids.
        let mut ids: Vec<uuid::Uuid> = self.words.values().filter_map(|thing| id_in(thing)).collect();
        ids.sort_unstable();
        let made: HashMap<_, _> = ids.into_iter().map(|id| (id, uuid::Uuid::now_v7())).collect();
        let words = self.words.iter().map(|(word, thing)| {
            let other = id_in(thing).map(|id| thing.replace(&id.to_string(), &made[&id].to_string()));
            (*word, other.unwrap_or_else(|| thing.clone()))
        });
        let words = words.collect();
        Self {
            gym: self.gym,
            words,
            author: self.author.clone(),
            manager: self.manager.clone(),
            trainer: self.trainer.clone(),
            member: self.member.clone(),
            alone: self.alone.clone(),
            stranger: self.stranger.clone(),
        }
    }

    /// The value of a placeholder.
    pub fn word(&self, word: &str) -> &str {
        self.words
            .get(word)
            .unwrap_or_else(|| panic!("the world has no {word}"))
    }

    /// The ids of its objects.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let is_id = |thing: &&String| thing.parse::<uuid::Uuid>().is_ok();
        self.words.values().filter(is_id).map(String::as_str)
    }

    /// Replaces `{placeholders}`; `instead` maps a placeholder to another.
    pub fn fill(&self, template: &str, instead: &[(&str, &str)]) -> String {
        let mut filled = String::new();
        for (n, piece) in template.split(['{', '}']).enumerate() {
            if n % 2 == 0 {
                filled.push_str(piece);
            } else {
                let word = instead
                    .iter()
                    .find(|(word, _)| *word == piece)
                    .map_or(piece, |(_, other)| other);
                filled.push_str(self.word(word));
            }
        }
        filled
    }

    /// Replaces `<placeholders>`, since braces belong to JSON.
    pub fn fill_body(&self, template: &str) -> String {
        self.fill(
            &template
                .replace('{', "\u{1}")
                .replace('}', "\u{2}")
                .replace('<', "{")
                .replace('>', "}"),
            &[],
        )
        .replace('\u{1}', "{")
        .replace('\u{2}', "}")
    }

    /// A person with this right.
    pub async fn person(&self, app: &TestApp, right: Right) -> Client {
        match right {
            Right::Author => self.author.clone(),
            Right::Manager => self.manager.clone(),
            Right::Trainer => self.trainer.clone(),
            Right::Member => self.member.clone(),
            Right::Anybody => app.person(self.gym, &[Role::Member]).await,
        }
    }
}

/// A digest of every table. `last_seen` is left out: a refused subscription ends its socket like any other.
pub async fn fingerprint(app: &TestApp) -> Vec<String> {
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let mut conn = app.owner().await;
    let tables: Vec<Line> = diesel::sql_query(
        "SELECT relname::text AS line FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
           AND relname NOT IN ('foods', 'last_seen', '__diesel_schema_migrations') ORDER BY 1",
    )
    .load(&mut conn)
    .await
    .expect("tables");
    let each = tables.iter().map(|Line { line: table }| {
        format!(
            "SELECT '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') AS line
             FROM {table} t"
        )
    });
    let sql = each.collect::<Vec<_>>().join(" UNION ALL ");
    let lines: Vec<Line> = diesel::sql_query(sql).load(&mut conn).await.expect("digests");
    assert!(lines.len() > 15, "{} tables", lines.len());
    lines.into_iter().map(|l| l.line).collect()
}
