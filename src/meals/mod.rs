//! Meals as members live them: the commands that tick a plan's meals. What they leave behind is [`crate::completions`].
//!
//! REST (`routes`) and the socket ([`rpc_complete`], [`rpc_undo`]) put commands into [`Queues`]; those of a gym that wait
//! while others are being written are folded into one transaction (`fold`); what cannot be folded is carried out `alone`.
//! [`complete`] is the way in for the product itself. Both work on a `batch`.

mod alone;
mod batch;
mod crowd;
mod daily;
mod fold;
mod planned;
mod queue;
mod routes;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use diesel_async::AsyncPgConnection;
use liveplan_nutrition::portion::CompletionStatus;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

pub use queue::Queues;
pub use routes::{Undo, rpc_complete, rpc_undo};

use crate::completions::store::Key;
use crate::completions::{Completed, Progress, by_date, member_from, roster_from};
use crate::error::Result;
use crate::events::{Channel, Tx, merge};
use crate::ids::{AccountId, MealId};
use batch::{Batch, Lock, TouchedDay};
use planned::PlannedDays;

/// What a command does to a meal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Says what became of it. The last word wins.
    Complete {
        /// What.
        status: CompletionStatus,
        /// How much of it, in thousandths, where a part was eaten.
        portion_permille: Option<i32>,
    },
    /// Takes back what was said.
    Undo,
}

impl Kind {
    const fn event(self) -> &'static str {
        match self {
            Self::Complete { status, .. } => event(status),
            Self::Undo => "meal.undone",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Complete { status, .. } => status.name(),
            Self::Undo => "undone",
        }
    }
}

/// The event that tells of a completion.
const fn event(status: CompletionStatus) -> &'static str {
    match status {
        CompletionStatus::Eaten => "meal.completed",
        CompletionStatus::Partial => "meal.partial",
        CompletionStatus::Skipped => "meal.skipped",
    }
}

/// Which way a command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By a request.
    Rest,
    /// Over a socket.
    Socket,
    /// By the product itself, as in the demo.
    System,
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Socket => "socket",
            Self::System => "system",
        }
    }
}

/// Something said of a meal on a day. As JSON it is what a client's key was used for, whichever way it came.
#[derive(Clone, Debug, Serialize)]
pub struct Command {
    /// What.
    pub kind: Kind,
    /// Whose meal.
    pub member: AccountId,
    /// Which meal.
    pub meal_id: MealId,
    /// On which day.
    pub date: NaiveDate,
    /// The client's key, kept in the history.
    #[serde(skip)]
    pub key: Option<String>,
    /// Who says so.
    #[serde(skip)]
    pub actor: AccountId,
    /// Whether the actor is the member's trainer.
    #[serde(skip)]
    pub on_behalf: bool,
    /// Which way it came.
    #[serde(skip)]
    pub source: Source,
}

/// A meal that was ticked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Completion {
    /// The day.
    pub date: NaiveDate,
    /// The meal.
    pub meal_id: MealId,
    /// What became of it.
    pub status: CompletionStatus,
    /// How much of it was eaten, in thousandths.
    pub portion_permille: i32,
    /// Its title when it was first ticked.
    pub title: String,
    /// The plan's revision then.
    pub plan_revision: i32,
    /// Whether a trainer said so for the member.
    pub on_behalf: bool,
    /// When it was last said.
    pub at: DateTime<Utc>,
}

impl Completion {
    fn new(key: Key, completed: &Completed) -> Self {
        Self {
            date: key.date,
            meal_id: key.meal,
            status: completed.tick.status,
            portion_permille: completed.tick.portion_permille,
            title: completed.title.clone(),
            plan_revision: completed.plan_revision,
            on_behalf: completed.tick.by.on_behalf,
            at: completed.tick.by.at,
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Outcome {
    /// The meal as it is now; absent where nothing is said of it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub completion: Option<Completion>,
    /// Its day in sums.
    pub progress: Progress,
}

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(routes::update_completion)
        .service(routes::delete_completion)
        .service(routes::create_completion)
        .service(daily::list_daily_progress);
}

/// Carries out commands in order, set-wise, and tells the live channels: one result each, and a bad one never fails its
/// neighbours. Saying again what was said last succeeds and changes nothing.
///
/// That the actors may act for the members ([`crate::assignments::require_act_for`]) is checked before.
///
/// # Errors
/// As the whole, only those of the database; nothing is kept then.
pub async fn complete(tx: &mut Tx, commands: &[Command]) -> Result<Vec<Result<Outcome>>> {
    let commands: Vec<_> = commands.iter().collect();
    let members = commands.iter().map(|command| command.member).collect();
    let mut batch = Batch::lock(tx, tx.gym, tx.now, members, Lock::Wait).await?;
    batch.read_days(tx, &PlannedDays::default(), &commands).await?;
    let outcomes = apply(tx, &mut batch, &commands).await?;
    tell(tx, &batch);
    // The product itself stands on nobody's access.
    tx.log_after(async |conn| batch.write(conn).await, async |_, _| Ok(()))
        .await?;
    Ok(outcomes)
}

/// Applies commands to the batch's days, in order.
async fn apply(conn: &AsyncPgConnection, batch: &mut Batch, commands: &[&Command]) -> Result<Vec<Result<Outcome>>> {
    let mut applied: Vec<_> = commands.iter().map(|command| batch.apply(command)).collect();
    batch.name_strangers(conn, commands, &mut applied).await?;
    Ok(applied
        .into_iter()
        .map(|applied| applied.and_then(|applied| batch.outcome(applied)))
        .collect())
}

/// Emits the events of each member whose days have changed, on the member's channel and on the rosters of the trainers,
/// as a change of its own: with its own actor, and its own number in the gym's log.
fn tell(tx: &mut Tx, batch: &Batch) {
    let now = tx.now;
    for (member, (kind, actor)) in &batch.events {
        tx.next_change(Some(*actor));
        let days = |from| {
            batch
                .days
                .iter()
                .map(|((_, date), day)| (*date, day))
                .filter(move |(date, day)| day.member == *member && !day.meals.is_empty() && *date >= from)
        };
        let shown: Vec<_> = days(member_from(now)).collect();
        if shown.is_empty() {
            continue;
        }
        tx.emit(Channel::Member(*member), kind, member_patch(&shown));
        let shown: Vec<_> = days(roster_from(now)).collect();
        if shown.is_empty() {
            continue;
        }
        let patch = json!({"members": {member.to_string(): {"progress": progress_patch(&shown)}}});
        for trainer in batch.trainers.get(member).into_iter().flatten() {
            tx.emit(Channel::Roster(*trainer), kind, patch.clone());
        }
    }
}

/// What leads a screen from the days before to those after: entries that changed are named whole, and what an entry no
/// longer has as null.
fn member_patch(days: &[(NaiveDate, &TouchedDay)]) -> Value {
    let all = |day: fn(&TouchedDay) -> &BTreeMap<MealId, Completed>| {
        by_date(
            days.iter()
                .flat_map(move |(date, d)| day(d).iter().map(|(id, c)| (*date, *id, c))),
        )
    };
    let mut completions = merge::diff(&all(|d| &d.before.completed), &all(|d| &d.after.completed));
    let touched = days.iter().flat_map(|(date, d)| {
        d.meals
            .iter()
            .filter_map(|id| d.after.completed.get(id).map(|c| (*date, *id, c)))
    });
    merge::join(&mut completions, by_date(touched));
    json!({"completions": completions, "progress": progress_patch(days)})
}

fn progress_patch(days: &[(NaiveDate, &TouchedDay)]) -> Value {
    let mut patch = Map::new();
    for (date, day) in days {
        let after = day.row.entry();
        let mut row = day
            .row_before
            .as_ref()
            .map_or_else(|| json!({}), |before| merge::diff(&before.entry(), &after));
        merge::join(&mut row, after);
        patch.insert(date.to_string(), row);
    }
    patch.into()
}
