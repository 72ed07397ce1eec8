//! Routes each channel and each command of the socket to its noun. The hub knows no noun; it asks [`Product`].
//!
//! `backend`: the hub's backend over Postgres. `routes`: snapshots over REST.

mod backend;
mod routes;

use diesel_async::AsyncPgConnection;
use serde_json::Value;

use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::events::{Access, Channel};
use crate::ids::GymId;
use crate::{follows, plans, rosters};

pub use backend::{Product, failure};
pub use routes::{PositionedSnapshot, Snapshots, routes};

/// Each channel's name, subscribers, snapshot and events, for the documentation page and `/api/live.json`.
pub const DESCRIBED: &[(&str, &str, &str, &str)] = &[
    (
        "member:{account}",
        "the member (subscribed by the server at connect), assigned trainers, nutritionists, managers",
        "follow, completions and daily progress of the last 14 days",
        "follow.started, follow.paused, follow.resumed, follow.completed, follow.abandoned, meal.completed, meal.partial, meal.skipped, meal.undone",
    ),
    (
        "plan:{plan}",
        "its followers, staff who may read it",
        "the published tree with its nutrients",
        "plan.published, plan.revised, plan.archived, day.updated, meal.added, meal.updated, meal.removed, item.added, item.updated, item.removed",
    ),
    (
        "roster:{account}",
        "that trainer, managers",
        "the trainer's members: follow and progress since the day before yesterday; who is online, and when the others were last seen",
        "those of member:, assignment.started, assignment.ended, presence.changed (without offset)",
    ),
];

/// Each command's method, data and schema of the data.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    (
        "meal.complete",
        "{key, meal_id, date, status: eaten|partial|skipped, portion_permille?, member_id?}",
        "NewCompletion",
    ),
    ("meal.undo", "{key, meal_id, date, member_id?}", "Undo"),
];

/// The schema of each channel's snapshot, by its name in the OpenAPI document.
pub const STATES: &[(&str, &str)] = &[
    ("member:{account}", "MemberState"),
    ("plan:{plan}", "PlanState"),
    ("roster:{account}", "RosterState"),
];

/// Decides whether a caller may watch a channel.
async fn authorise(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Access> {
    match channel {
        Channel::Member(account) => follows::live::authorise_member(conn, caller, account, now).await,
        Channel::Plan(plan) => plans::live::authorise(conn, caller, plan, now).await,
        Channel::Roster(trainer) => rosters::live::authorise_roster(conn, caller, trainer, now).await,
        Channel::Access(_) => Ok(Access::Refused),
    }
}

/// Reads the snapshot of a channel.
async fn snapshot(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Value> {
    match channel {
        Channel::Member(account) => follows::live::member_snapshot(conn, gym, account, now).await,
        Channel::Plan(plan) => plans::live::snapshot(conn, gym, plan).await,
        Channel::Roster(trainer) => rosters::live::roster_snapshot(conn, gym, trainer, now).await,
        Channel::Access(_) => Err(Error::not_found("channel")),
    }
}
