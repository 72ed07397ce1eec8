//! Follows: a member on a plan since a start date. A member has at most one running follow.
//!
//! - [`start`] starts a follow and [`apply`] changes one; both publish to the live channels.
//! - [`live`] has the channel `member:`. A change of what this channel or a roster shows of a member locks that member
//!   first ([`live::hold`], or a lock of the running follow), so that events have the order of the changes.
//! - [`ending`] completes follows whose plan has ended. [`gate`] checks that a plan is safe for a member. [`today`]
//!   reads a member's day. [`crate::meals`] ticks meals.

pub mod ending;
pub mod gate;
pub mod live;
mod routes;
pub mod rules;
pub mod store;
pub mod today;

use chrono::NaiveDate;
use diesel::deserialize::Queryable;
use diesel_async::AsyncPgConnection;
use liveplan_nutrition::calendar::{Days, may_begin, zone};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::events::Tx;
use crate::gyms::store as gyms;
use crate::ids::{AccountId, FollowId, GymId, PlanId};
use crate::{assignments, plans};
use rules::{Action, Status};

/// A follow: a member on a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Queryable)]
pub struct Follow {
    /// Identifier.
    pub id: FollowId,
    /// The member.
    pub member_id: AccountId,
    /// The plan.
    pub plan_id: PlanId,
    /// The plan's name at the start.
    pub plan_name: String,
    /// The plan's revision at the start. The member always follows the current revision.
    pub revision: i32,
    /// Status of the follow.
    pub status: Status,
    /// The plan's first day for this member.
    pub start_date: NaiveDate,
    /// The member's time zone.
    pub time_zone: String,
}

/// A follow to start.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The member.
    pub member: AccountId,
    /// The plan.
    pub plan: PlanId,
    /// The plan's first day for this member; by default today in the member's time zone.
    pub start_date: Option<NaiveDate>,
    /// The member's IANA time zone; by default the account's, or else the gym's.
    pub time_zone: Option<String>,
}

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(routes::follow_plan)
        // Before the routes with an id in the path.
        .service(today::find_today)
        .service(routes::list_follows)
        .service(routes::pause_follow)
        .service(routes::resume_follow)
        .service(routes::abandon_follow);
}

/// Starts a follow. The caller has checked the right to do so.
///
/// # Errors
/// 404 if the gym does not have the plan or the member; [`Code::PlanNotPublished`]; [`Code::AlreadyFollowing`]; the
/// errors of [`gate::check`]; 422 for an invalid time zone or start date.
pub async fn start(tx: &mut Tx, beginning: &Beginning) -> Result<Follow> {
    let (gym, now, member) = (tx.gym, tx.now, beginning.member);
    let plan = store::hold_plan(tx, gym, beginning.plan)
        .await?
        .ok_or_else(|| Error::not_found("plan"))?;
    if plan.status != plans::Status::Published {
        return Err(Error::new(Code::PlanNotPublished));
    }
    gyms::lock_members(tx, gym, &[member]).await?;
    let time = gyms::member_time(tx, gym, member)
        .await?
        .ok_or_else(|| Error::not_found("member"))?;
    let zone = match &beginning.time_zone {
        Some(name) => name.parse().map_err(|_| {
            Error::invalid(
                "time_zone",
                (
                    "must be an IANA time zone, such as Europe/Madrid",
                    "debe ser una zona horaria de la IANA, como Europe/Madrid",
                ),
            )
        })?,
        None => zone(time.account_zone.as_deref().unwrap_or(&time.gym_zone)),
    };
    let today = Days {
        zone,
        day_start: time.day_start,
    }
    .today(now);
    let start_date = match (plan.start_date, beginning.start_date) {
        (Some(live), Some(asked)) if live != asked => {
            return Err(Error::invalid(
                "start_date",
                (
                    format!("must be {live}, the day on which this live plan starts for everybody"),
                    format!("debe ser {live}, el día en que este plan en vivo empieza para todos"),
                ),
            ));
        }
        (Some(live), _) => live,
        (None, asked) => asked.unwrap_or(today),
    };
    if plan.start_date.is_none() && !may_begin(start_date, today) {
        return Err(Error::invalid(
            "start_date",
            (
                "must be between 31 days before today and 366 days after it",
                "debe estar entre 31 días antes de hoy y 366 días después",
            ),
        ));
    }
    gate::check(tx, member, beginning.plan).await?;
    ending::make_way(tx, member).await?;
    let before = live::member_snapshot(tx, gym, member, now).await?;
    let new = store::NewFollow {
        id: FollowId::new(),
        gym_id: gym,
        member_id: member,
        plan_id: beginning.plan,
        revision: plan.revision,
        status: Status::Active.name(),
        start_date,
        time_zone: zone.name().to_owned(),
        created_at: now,
    };
    if !store::insert(tx, &new).await? {
        return Err(Error::new(Code::AlreadyFollowing));
    }
    live::tell(tx, member, "follow.started", &before).await?;
    found(tx, gym, new.id).await
}

/// Applies an action to a follow, if the caller may act for its member.
///
/// # Errors
/// 404, 403, and [`Code::FollowStatus`] if the follow's status does not allow the action.
pub async fn apply(tx: &mut Tx, caller: &Caller, id: FollowId, action: Action) -> Result<Follow> {
    let (gym, now) = (tx.gym, tx.now);
    let (member, status) = store::lock(tx, gym, id)
        .await?
        .ok_or_else(|| Error::not_found("follow"))?;
    assignments::require_act_for(tx, caller, member, now).await?;
    let after = action
        .after(status)
        .ok_or_else(|| Error::new(Code::FollowStatus).with("status", status.name()))?;
    let before = live::member_snapshot(tx, gym, member, now).await?;
    let ended_at = (action == Action::Abandon).then_some(now);
    store::set_status(tx, gym, id, after, ended_at).await?;
    live::tell(tx, member, action.event(), &before).await?;
    found(tx, gym, id).await
}

async fn found(conn: &mut AsyncPgConnection, gym: GymId, id: FollowId) -> Result<Follow> {
    store::find(conn, gym, id)
        .await?
        .ok_or_else(|| Error::not_found("follow"))
}

/// Reads the settings that determine a member's current date. The time zone is that of the running follow, or else of
/// the account, or else of the gym.
///
/// # Errors
/// 404 if the account has no membership of the gym.
pub async fn days_of(conn: &mut AsyncPgConnection, gym: GymId, member: AccountId) -> Result<Days> {
    let time = gyms::member_time(conn, gym, member)
        .await?
        .ok_or_else(|| Error::not_found("member"))?;
    let follow = store::current(conn, gym, member).await?;
    let name = follow
        .map(|f| f.time_zone)
        .or(time.account_zone)
        .unwrap_or(time.gym_zone);
    Ok(Days {
        zone: zone(&name),
        day_start: time.day_start,
    })
}
