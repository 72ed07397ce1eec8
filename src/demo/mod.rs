//! The demo gym: staff and members, two plans of real foods, and a few days of history. The `demo` command creates it
//! once, with the same functions that create a real gym.
//!
//! Everybody knows its passwords. So the demo has a database of its own ([`configure`]), and other servers let nobody
//! into a gym that is marked as a demo ([`close`]).
//!
//! [`seed`] creates the gym, [`people`] lists its people, and [`menus`] has the meals of its plans.

pub mod menus;
pub mod people;
mod routes;

use std::collections::HashMap;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;
use diesel::{ExpressionMethods as _, QueryDsl as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use liveplan_nutrition::portion::CompletionStatus as Status;

use crate::app::{App, For};
use crate::auth::sessions::Reason;
use crate::auth::store::NewAccount;
use crate::auth::{Caller, Email, Role, password};
use crate::config::Config;
use crate::db::schema::{gyms as gyms_table, sessions};
use crate::error::{Error, Lang, Result};
use crate::events::Tx;
use crate::follows::{self, Beginning};
use crate::foods::starter;
use crate::gyms::{self, Gym};
use crate::ids::{AccountId, GymId, PlanId, SessionId};
use crate::meals::{self, Command, Kind, Source};
use crate::plans::{self, Goal, NewMeal, NewPlan, NewTarget, Plan};
use crate::{members, rosters};
pub use routes::routes;

use people::{MEMBERS, OWNER, STAFF};

/// The gym's slug.
pub const SLUG: &str = "demo";
/// The password of every account in the gym.
pub const PASSWORD: &str = "demo";
/// The demo's data directory, in `DATA_DIR`.
const FOLDER: &str = "demo";
/// The time zone of the gym and of its members.
const TIME_ZONE: Tz = Tz::Europe__Madrid;
/// Number of days before today whose meals are ticked.
const HISTORY_DAYS: i64 = 6;

/// The configuration of the command `demo`: demo mode, with the folder `demo` of `DATA_DIR` as its data directory.
///
/// # Errors
/// If a database is configured, which might be that of real gyms.
pub fn configure(config: Config) -> anyhow::Result<Config> {
    anyhow::ensure!(
        config.database_url.is_none() && config.database_owner_url.is_none(),
        "every account of the demo has the password `{PASSWORD}`, so the demo runs on a Postgres of its own, in the folder \
         `{FOLDER}` of DATA_DIR; unset DATABASE_URL and DATABASE_OWNER_URL, or run `liveplan serve`"
    );
    Ok(Config {
        data_dir: config.data_dir.join(FOLDER),
        demo: true,
        ..config
    })
}

/// Ends the open sessions of all demo gyms, for a server that is no demo. Returns their number. No new session can
/// begin there, since sign-in and refresh do not find such a gym. Needs the system role.
pub async fn close(conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<usize> {
    let demos = gyms_table::table.filter(gyms_table::demo).select(gyms_table::id);
    let open = sessions::table
        .filter(sessions::ended_at.is_null())
        .filter(sessions::gym_id.eq_any(demos));
    diesel::update(open)
        .set((
            sessions::ended_at.eq(now),
            sessions::ended_reason.eq(Reason::Access.name()),
        ))
        .execute(conn)
        .await
}

/// Creates the demo gym if the database does not have it, and completes a gym that an interrupted start left empty.
/// Returns whether it wrote anything.
///
/// # Errors
/// Database errors; 409 if a gym with this slug has no active owner.
pub async fn seed(app: &App) -> Result<bool> {
    let hash = password::hash(PASSWORD.into()).await?;
    let owner = account(OWNER.0, OWNER.1, &hash)?;
    let (gym, owner) = gyms::find_or_insert_demo(app, &new_gym(), &owner).await?;
    app.change(For::account(gym, owner), async move |tx| {
        let gym = tx.gym;
        if plans::any(tx, gym).await? {
            return Ok(false);
        }
        fill(tx, &hash).await?;
        Ok(true)
    })
    .await
}

fn new_gym() -> Gym {
    Gym {
        id: GymId::new(),
        slug: SLUG.into(),
        name: "Gimnasio Demo".into(),
        time_zone: TIME_ZONE.name().into(),
        locale: Lang::Es.tag().into(),
        day_start: 0,
    }
}

fn account(local: &str, name: &str, hash: &str) -> Result<NewAccount> {
    Ok(NewAccount {
        email: Email::parse(&format!("{local}@demo.test"))?,
        name: name.into(),
        locale: Lang::Es,
        password_hash: hash.into(),
    })
}

/// Creates everything except the gym and its owner.
async fn fill(tx: &mut Tx, hash: &str) -> Result<()> {
    let mut staff = HashMap::new();
    for (local, name, role) in STAFF {
        let added = members::add(tx, &account(local, name, hash)?, [role].into_iter().collect()).await?;
        staff.insert(local, caller(tx.gym, added, role));
    }
    let of = |local: &str| {
        staff
            .get(local)
            .copied()
            .ok_or_else(|| anyhow::anyhow!("{local} is not staff"))
    };
    let (trainer1, trainer2, nutritionist) = (of("trainer1")?, of("trainer2")?, of("nutritionist")?);
    let plan_a = plan(tx, &trainer1, "a").await?;
    let plan_b = plan(tx, &nutritionist, "b").await?;
    let today = tx.now.with_timezone(&TIME_ZONE).date_naive();
    let mut members = Vec::with_capacity(MEMBERS.len());
    for (index, name) in MEMBERS.into_iter().enumerate() {
        let local = format!("member{:02}", index + 1);
        let member = members::add(tx, &account(&local, name, hash)?, [Role::Member].into_iter().collect()).await?;
        let (trainer, plan) = if index % 2 == 0 {
            (&trainer1, &plan_a)
        } else {
            (&trainer2, &plan_b)
        };
        rosters::start(tx, trainer.account, member, None).await?;
        follow(tx, member, plan.id, first_day(today)).await?;
        members.push((member, plan));
    }
    for back in (0..=HISTORY_DAYS).rev() {
        tick(tx, &members, today - TimeDelta::days(back), today).await?;
    }
    Ok(())
}

/// Returns last week's Monday: day 1 of the demo's plans is a Monday, and the history fits after it.
fn first_day(today: NaiveDate) -> NaiveDate {
    today - TimeDelta::days(i64::from(today.weekday().num_days_from_monday()) + 7)
}

fn caller(gym: GymId, account: AccountId, role: Role) -> Caller {
    Caller {
        account,
        gym,
        roles: [role].into_iter().collect(),
        session: SessionId::new(),
        access_version: 1,
    }
}

async fn plan(tx: &mut Tx, author: &Caller, key: &str) -> Result<Plan> {
    let foods = starter::identifiers()?;
    let mut meals: Vec<(i32, NewMeal)> = Vec::new();
    for menu in menus::of(key)? {
        meals.push((menu.day, menu.meal(&foods)?));
    }
    let (name, description, energy_mkcal, protein_mg) = match key {
        "a" => (
            "Fuerza y equilibrio",
            "Siete días altos en proteína para entrenar fuerza.",
            2_150_000,
            140_000,
        ),
        _ => (
            "Ligero mediterráneo",
            "Siete días de cocina mediterránea, ligeros y saciantes.",
            1_650_000,
            95_000,
        ),
    };
    let new = NewPlan {
        kind: None,
        goal: if key == "a" { Goal::GainMuscle } else { Goal::LoseFat },
        name: name.into(),
        description: description.into(),
        target: NewTarget {
            energy_mkcal: Some(energy_mkcal),
            protein_mg: Some(protein_mg),
            ..NewTarget::default()
        },
        duration_days: 7,
        cycle: Some(plans::Cycle::Weekly),
        visibility: None,
        start_date: None,
    };
    plans::insert_published(tx, author, new, &meals).await
}

async fn follow(tx: &mut Tx, member: AccountId, plan: PlanId, start: NaiveDate) -> Result<()> {
    let beginning = Beginning {
        member,
        plan,
        start_date: Some(start),
        time_zone: None,
    };
    follows::start(tx, &beginning).await?;
    Ok(())
}

/// Ticks the meals of one date as its members might have: all meals of a past date, and today's meals that are over.
/// The first member's meals of today stay open for the person who tries the demo.
async fn tick(tx: &mut Tx, members: &[(AccountId, &Plan)], date: NaiveDate, today: NaiveDate) -> Result<()> {
    let minutes = minutes_of_day(tx.now);
    let mut commands = Vec::new();
    for (index, (member, plan)) in members.iter().enumerate().skip(usize::from(date == today)) {
        let number = i32::try_from(date.weekday().number_from_monday()).unwrap_or(1);
        let day = plan.day(number).ok_or_else(|| Error::not_found("day"))?;
        for (place, meal) in day.meals.iter().enumerate() {
            let over = date < today || meal.time_min.is_some_and(|time| time + 30 < minutes);
            if let Some(kind) = habit(index, place, date).filter(|_| over) {
                commands.push(command(kind, *member, meal.id, date));
            }
        }
    }
    for outcome in meals::complete(tx, &commands).await? {
        outcome?;
    }
    Ok(())
}

fn minutes_of_day(now: DateTime<Utc>) -> i32 {
    let local = now.with_timezone(&TIME_ZONE).time();
    i32::try_from(local.hour() * 60 + local.minute()).unwrap_or(0)
}

fn command(kind: Kind, member: AccountId, meal_id: crate::ids::MealId, date: NaiveDate) -> Command {
    Command {
        kind,
        member,
        meal_id,
        date,
        key: None,
        actor: member,
        on_behalf: false,
        source: Source::System,
    }
}

/// Decides what a member does with a meal: most meals are eaten, some in part, some skipped, and some not ticked. The
/// result depends only on the arguments.
fn habit(member: usize, place: usize, date: NaiveDate) -> Option<Kind> {
    let day = usize::try_from(date.num_days_from_ce()).unwrap_or(0);
    let (status, portion_permille) = match (member * 31 + place * 17 + day * 7) % 20 {
        0..=12 => (Status::Eaten, None),
        13 | 14 => (Status::Partial, Some(500)),
        15 => (Status::Partial, Some(750)),
        16 | 17 => (Status::Skipped, None),
        _ => return None,
    };
    Some(Kind::Complete {
        status,
        portion_permille,
    })
}
