//! The commands that tick a plan's meals. [`crate::completions`] has the records that they write.
//!
//! REST (`routes`) and the socket ([`rpc_complete`], [`rpc_undo`]) put commands into [`Queues`]. Commands of a gym that
//! arrive while a batch is being written are folded into the next transaction (`fold`); a command that cannot be folded
//! runs `alone`. The product itself calls [`complete`]. All of these work on a `batch`.

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
    /// Sets its completion. The last command wins.
    Complete {
        /// Eaten, partial or skipped.
        status: CompletionStatus,
        /// The eaten portion in thousandths, if the status is partial.
        portion_permille: Option<i32>,
    },
    /// Removes its completion.
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

/// The kind of the event for a status.
const fn event(status: CompletionStatus) -> &'static str {
    match status {
        CompletionStatus::Eaten => "meal.completed",
        CompletionStatus::Partial => "meal.partial",
        CompletionStatus::Skipped => "meal.skipped",
    }
}

/// The origin of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A REST request.
    Rest,
    /// The socket.
    Socket,
    /// The product itself, as in the demo.
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

/// A command on one meal of one day. Its JSON is part of the idempotency fingerprint, so it must be the same for REST
/// and the socket.
#[derive(Clone, Debug, Serialize)]
pub struct Command {
    /// What to do.
    pub kind: Kind,
    /// The member.
    pub member: AccountId,
    /// The meal.
    pub meal_id: MealId,
    /// The day.
    pub date: NaiveDate,
    /// The client's key, stored in the history.
    #[serde(skip)]
    pub key: Option<String>,
    /// The account that sends the command.
    #[serde(skip)]
    pub actor: AccountId,
    /// Whether the actor is the member's trainer.
    #[serde(skip)]
    pub on_behalf: bool,
    /// The command's origin.
    #[serde(skip)]
    pub source: Source,
}

/// A member's record for one meal on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Completion {
    /// The day.
    pub date: NaiveDate,
    /// The meal.
    pub meal_id: MealId,
    /// Eaten, partial or skipped.
    pub status: CompletionStatus,
    /// The eaten portion, in thousandths.
    pub portion_permille: i32,
    /// The meal's title at the first tick.
    pub title: String,
    /// The plan's revision at the first tick.
    pub plan_revision: i32,
    /// Whether a trainer ticked the meal on the member's behalf.
    pub on_behalf: bool,
    /// Time of the last tick.
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

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Outcome {
    /// The meal's completion after the command; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub completion: Option<Completion>,
    /// The daily progress of the meal's day.
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

/// Carries out commands in order, in one batch, and emits their events. Returns one result per command; a refused
/// command does not affect the others. Repeating the last command for a meal succeeds and changes nothing.
///
/// The caller must have checked that the actors may act for the members ([`crate::assignments::require_act_for`]).
///
/// # Errors
/// Only errors of the database fail the batch as a whole; the caller must roll back.
pub async fn complete(tx: &mut Tx, commands: &[Command]) -> Result<Vec<Result<Outcome>>> {
    let commands: Vec<_> = commands.iter().collect();
    let members = commands.iter().map(|command| command.member).collect();
    let mut batch = Batch::lock(tx, tx.gym, tx.now, members, Lock::Wait).await?;
    batch.read_days(tx, &PlannedDays::default(), &commands, 0).await?;
    let outcomes = apply(tx, &mut batch, &commands).await?;
    tell(tx, &batch);
    // The product itself has no caller whose access would have to be checked again.
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

/// Emits the events of each member whose days changed, on the member's channel and on the rosters of the member's
/// trainers. Each member's events are one change, with its own actor and its own number in the gym's log.
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

/// The patch from the days before to the days after. A changed entry has all its fields, and null for each removed one.
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
