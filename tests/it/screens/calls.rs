//! Random requests, each sensible or nearly so in the world as it was last seen.

use std::fmt;

use chrono::TimeDelta;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{Who, World, text};
use crate::harness::Answer;

/// A person's request.
pub struct Call {
    pub who: Who,
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    /// The `If-Match` version of a write below a plan.
    pub version: Option<i64>,
}

impl Call {
    fn new(who: Who, method: Method, path: String, body: impl Into<Option<Value>>) -> Self {
        Self {
            who,
            method,
            path,
            body: body.into(),
            version: None,
        }
    }

    /// Sends the request.
    pub async fn make(&self, world: &World) -> Answer {
        let (client, body) = (world.who(self.who), self.body.as_ref());
        match self.version {
            Some(version) => client.write(self.method.clone(), &self.path, body, version).await,
            None => {
                let path = format!("/api/v1{}", self.path);
                client.send(self.method.clone(), &path, body, &[]).await
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}", self.who, self.method, self.path)?;
        if let Some(body) = &self.body {
            write!(f, " {body}")?;
        }
        match self.version {
            Some(version) => write!(f, " of version {version}"),
            None => Ok(()),
        }
    }
}

/// Draws a random request.
pub fn draw(world: &World, rng: &mut StdRng) -> Call {
    loop {
        let drawn = match rng.random_range(0..20) {
            0..9 => edit(world, rng),
            9 => life(world, rng),
            10..16 => tick(world, rng),
            16..18 => follow(world, rng),
            18 => assign(world, rng),
            _ => suspend(world, rng),
        };
        if let Some(call) = drawn {
            return call;
        }
    }
}

/// A title or note from a small set, so that values repeat; some need escaping.
fn word(rng: &mut StdRng) -> &'static str {
    let words = [
        "Lunch",
        "Cena",
        "Ñoquis \u{1f95f}",
        "a \"quoted\" \\ thing",
        "null",
        "__proto__",
    ];
    one(rng, &words)
}

/// True nine times out of ten: requests that cannot succeed are sent too, but rarely.
fn often(rng: &mut StdRng) -> bool {
    rng.random_bool(0.9)
}

/// Picks one value.
fn one<T: Copy>(rng: &mut StdRng, of: &[T]) -> T {
    *of.choose(rng).expect("one to choose")
}

fn item(world: &World, rng: &mut StdRng) -> Value {
    let food = world.foods.choose(rng).expect("a food");
    json!({"food_id": food, "grams_milli": rng.random_range(1..=400) * 500})
}

fn items(world: &World, rng: &mut StdRng) -> Vec<Value> {
    (0..rng.random_range(0..3)).map(|_| item(world, rng)).collect()
}

/// An edit of a published plan.
fn edit(world: &World, rng: &mut StdRng) -> Option<Call> {
    let plan = world.plans.choose(rng)?;
    let summary = &world.snapshot(&format!("plan:{plan}"))["plan"];
    if summary["status"] == "archived" && often(rng) {
        return None;
    }
    let version = summary["version"].as_i64();
    let (method, below, body) = match rng.random_range(0..10) {
        0 => plan_fields(rng),
        1 => {
            let titles = ["", word(rng)];
            let day = format!("/days/{}", rng.random_range(1..=2));
            (Method::PATCH, day, json!({"title": one(rng, &titles)}))
        }
        2 => {
            let meal = json!({"slot": "snack", "title": word(rng), "time_min": 900, "items": items(world, rng)});
            (Method::POST, format!("/days/{}/meals", rng.random_range(1..=2)), meal)
        }
        _ => meal(world, rng, plan)?,
    };
    let body = (method != Method::DELETE).then_some(body);
    let mut call = Call::new(Who::Author, method, format!("/plans/{plan}{below}"), body);
    call.version = version;
    Some(call)
}

/// Method, path below the plan, and body.
type Below = (Method, String, Value);

fn plan_fields(rng: &mut StdRng) -> Below {
    let energy = one(rng, &[None, Some(2_000_000), Some(1_800_000)]);
    let body = match rng.random_range(0..4) {
        0 => json!({"name": word(rng)}),
        1 => json!({"description": one(rng, &["", "Para\nempezar"]), "goal": one(rng, &["health", "maintain"])}),
        2 => json!({"target": {"energy_mkcal": energy}}),
        _ => json!({"target": {"energy_mkcal": energy, "protein_mg": 90_000}}),
    };
    (Method::PATCH, String::new(), body)
}

/// An edit of a meal or of its items.
fn meal(world: &World, rng: &mut StdRng, plan: &str) -> Option<Below> {
    let meals = world.meals(plan);
    let (day, id, meal) = meals.choose(rng)?;
    let path = format!("/days/{day}/meals/{id}");
    let ids: Vec<&String> = meal["items"].as_object()?.keys().collect();
    let some_item = ids.choose(rng).map(|id| format!("{path}/items/{id}"));
    let patch = |body| (Method::PATCH, path.clone(), body);
    Some(match rng.random_range(0..9) {
        0 => patch(json!({"title": word(rng), "slot": one(rng, &["lunch", "dinner"])})),
        1 => patch(json!({"time_min": one(rng, &[None, Some(0), Some(780)])})),
        2 => patch(json!({"position": rng.random_range(0..4), "notes": word(rng)})),
        3 => patch(json!({"items": items(world, rng)})),
        4 => (Method::DELETE, path, Value::Null),
        5 => (Method::POST, format!("{path}/items"), item(world, rng)),
        6 => (Method::PATCH, some_item?, item(world, rng)),
        7 => (Method::PATCH, some_item?, json!({"position": rng.random_range(0..4)})),
        _ => (Method::DELETE, some_item?, Value::Null),
    })
}

/// Publishes a plan or, rarely, archives one.
fn life(world: &World, rng: &mut StdRng) -> Option<Call> {
    let (plan, version, verb) = if rng.random_bool(0.7) {
        let (plan, version) = world.draft.clone()?;
        (plan, Some(version), "publish")
    } else {
        // The last plan is never archived, so that there is always one to edit.
        let plan = world.plans.split_last()?.1.choose(rng)?;
        let version = world.snapshot(&format!("plan:{plan}"))["plan"]["version"].as_i64();
        (plan.clone(), version, "archive")
    };
    let mut call = Call::new(Who::Author, Method::POST, format!("/plans/{plan}/{verb}"), None);
    call.version = version;
    Some(call)
}

/// A tick or an undo, by the member or a trainer.
fn tick(world: &World, rng: &mut StdRng) -> Option<Call> {
    let member = one(rng, &[Who::Member, Who::Member, Who::Guest]);
    let follow = world.follow(member)?;
    if follow["status"] == "paused" && often(rng) {
        return None;
    }
    let plan = text(&follow["plan_id"]);
    let start: chrono::NaiveDate = follow["start_date"].as_str()?.parse().ok()?;
    let (day, meal, _) = world.meals(&plan).choose(rng)?.clone();
    // The date with this meal or, rarely, one without it.
    let date = start + TimeDelta::days(day - i64::from(often(rng)));
    let on_behalf = one(rng, &[None, None, Some(Who::Trainer), Some(Who::Helper)]);
    if on_behalf.map_or(!world.acts(member), |trainer| !world.trains(trainer, member)) && often(rng) {
        return None;
    }
    let path = format!("/meals/{meal}/completions/{date}");
    let for_whom = on_behalf.map(|_| world.who(member).account);
    if rng.random_bool(0.25) {
        let path = for_whom.map_or(path.clone(), |account| format!("{path}?member={account}"));
        return Some(Call::new(on_behalf.unwrap_or(member), Method::DELETE, path, None));
    }
    let mut body = match rng.random_range(0..3) {
        0 => json!({"status": "eaten"}),
        1 => json!({"status": "partial", "portion_permille": rng.random_range(1..=999)}),
        _ => json!({"status": "skipped"}),
    };
    if let Some(account) = for_whom {
        body["member_id"] = json!(account);
    }
    Some(Call::new(on_behalf.unwrap_or(member), Method::PUT, path, body))
}

/// Starts, pauses, resumes or abandons a follow.
fn follow(world: &World, rng: &mut StdRng) -> Option<Call> {
    let member = one(rng, &[Who::Member, Who::Guest]);
    if !world.acts(member) && often(rng) {
        return None;
    }
    let Some(follow) = world.follow(member) else {
        // Start dates for a two-day plan: within the roster's and the member's windows, or within the member's only,
        // and none at the edge of a window.
        let start = world.today - TimeDelta::days(one(rng, &[0, 1, 5]));
        let path = format!("/plans/{}/follow", world.plans.choose(rng)?);
        return Some(Call::new(member, Method::POST, path, json!({"start_date": start})));
    };
    let verbs = if follow["status"] == "paused" {
        ["resume", "abandon"]
    } else {
        ["pause", "abandon"]
    };
    let verb = verbs[usize::from(rng.random_bool(0.2))];
    Some(Call::new(
        member,
        Method::POST,
        format!("/follows/{}/{verb}", text(&follow["id"])),
        None,
    ))
}

/// Creates or ends an assignment.
fn assign(world: &World, rng: &mut StdRng) -> Option<Call> {
    if rng.random_bool(0.4) {
        let id = text(&world.assignments.choose(rng)?["id"]);
        return Some(Call::new(
            Who::Manager,
            Method::DELETE,
            format!("/assignments/{id}"),
            None,
        ));
    }
    let account = |who| world.who(who).account;
    let trainer = account(one(rng, &[Who::Trainer, Who::Trainer, Who::Helper]));
    let member = account(one(rng, &[Who::Member, Who::Member, Who::Guest]));
    let body = json!({"trainer_id": trainer, "member_id": member});
    Some(Call::new(Who::Manager, Method::POST, "/assignments".into(), body))
}

/// Suspends the guest or reinstates them.
fn suspend(world: &World, rng: &mut StdRng) -> Option<Call> {
    let status = if world.guest_status == "active" {
        "suspended"
    } else {
        "active"
    };
    if status == "suspended" && rng.random_bool(0.5) {
        return None;
    }
    let path = format!("/memberships/{}", world.who(Who::Guest).account);
    Some(Call::new(Who::Manager, Method::PATCH, path, json!({"status": status})))
}
