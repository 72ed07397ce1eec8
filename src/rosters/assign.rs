//! Starts and ends assignments. An assignment puts the member on the trainer's roster, and gives the trainer the right
//! to watch the member.

use std::time::Duration;

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::live::member_entry;
use crate::app::{App, For};
use crate::assignments::store::{self, Assignment, AssignmentsWanted, Ending};
use crate::auth::{Caller, Role};
use crate::budget::Permit;
use crate::error::{Code, Error, Result};
use crate::events::{Channel, Tx};
use crate::follows::live::hold;
use crate::gyms::rules::Standing;
use crate::gyms::store::lock_standing;
use crate::http::{Body, Page, PageQuery, bounds};
use crate::idempotency::{Answer, IdempotencyKey, once};
use crate::ids::{AccountId, AssignmentId};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list_assignments)
        .service(create_assignment)
        .service(end_assignment);
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AssignmentsQuery {
    /// Only assignments of this trainer.
    trainer: Option<AccountId>,
    /// Only assignments to this member.
    member: Option<AccountId>,
    /// Items per page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the previous page.
    cursor: Option<Uuid>,
}

/// List the assignments in force. Trainers and members see their own.
#[utoipa::path(
    tag = "gym",
    params(AssignmentsQuery),
    responses(
        (status = 200, body = Page<Assignment>),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the role sees no assignments, or not these"),
    ),
    security(("bearer" = []))
)]
#[get("/assignments")]
async fn list_assignments(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    query: web::Query<AssignmentsQuery>,
) -> Result<web::Json<Page<Assignment>>> {
    let (trainer, member) = seen_by(&caller, query.trainer, query.member)?;
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let (limit, now) = (page.limit()?, app.clock.now());
    let wanted = AssignmentsWanted {
        trainer,
        member,
        after: page.after(),
        limit: limit + 1,
    };
    let found = app
        .read(&caller, async |conn| {
            Ok(store::list_assignments(conn, caller.gym, wanted, now).await?)
        })
        .await?;
    Ok(web::Json(Page::cut(found, limit, |a| a.id.0)))
}

/// Narrows a filter by trainer and member to the assignments that the caller may see: staff see all, others only their
/// own.
fn seen_by(
    caller: &Caller,
    trainer: Option<AccountId>,
    member: Option<AccountId>,
) -> Result<(Option<AccountId>, Option<AccountId>)> {
    let me = caller.account;
    if caller.roles.any(&[Role::Owner, Role::Manager, Role::Nutritionist]) {
        return Ok((trainer, member));
    }
    let (trains, follows) = (caller.roles.has(Role::Trainer), caller.roles.has(Role::Member));
    if trains && trainer.is_none_or(|t| t == me) && member != Some(me) {
        Ok((Some(me), member))
    } else if follows && member.is_none_or(|m| m == me) {
        Ok((trainer, Some(me)))
    } else {
        Err(Error::forbidden())
    }
}

#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAssignment {
    trainer_id: AccountId,
    member_id: AccountId,
    /// Planned end. Without it the assignment lasts until it is ended.
    until: Option<DateTime<Utc>>,
}

/// Assign a trainer to a member, from now on. For owners and managers.
#[utoipa::path(
    tag = "gym",
    request_body = NewAssignment,
    params(("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response")),
    responses(
        (status = 201, body = Assignment),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not an owner or manager"),
        (status = 409, description = "already_assigned"),
        (status = 422, description = "not an active trainer or member of this gym, or `until` is in the past"),
    ),
    security(("bearer" = []))
)]
#[post("/assignments")]
async fn create_assignment(
    app: web::Data<App>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<NewAssignment>,
) -> Result<Answer> {
    caller.require(&[Role::Owner, Role::Manager])?;
    let new = body.0;
    new.until.map(|until| bounds::instant("until", until)).transpose()?;
    app.change(&caller, async move |tx| {
        once(tx, &key, "create_assignment", &new, 201, async |tx| {
            start(tx, new.trainer_id, new.member_id, new.until).await
        })
        .await
    })
    .await
}

/// Assigns a trainer to a member from now on.
///
/// # Errors
/// 422 if the two are not an active trainer and an active member, or if `until` is in the past;
/// [`Code::AlreadyAssigned`].
pub async fn start(
    tx: &mut Tx,
    trainer_id: AccountId,
    member_id: AccountId,
    until: Option<DateTime<Utc>>,
) -> Result<Assignment> {
    let (gym, now) = (tx.gym, tx.now);
    if until.is_some_and(|until| until <= now) {
        return Err(Error::invalid(
            "until",
            ("must be in the future", "debe ser un instante futuro"),
        ));
    }
    if trainer_id == member_id {
        return Err(Error::invalid(
            "member_id",
            ("must not be the trainer", "no puede ser el propio entrenador"),
        ));
    }
    // Lock in the order of ids, so that two assignments of the same people cannot deadlock.
    let mut people = [
        (trainer_id, "trainer_id", Role::Trainer),
        (member_id, "member_id", Role::Member),
    ];
    people.sort_unstable_by_key(|(account, ..)| *account);
    for (account, field, role) in people {
        let standing = lock_standing(tx, gym, account).await?;
        if !standing.is_some_and(|s: Standing| s.active(role)) {
            return Err(Error::invalid(
                field,
                (
                    format!("not an active {} of this gym", role.name()),
                    format!("no tiene el rol {} activo en este gimnasio", role.name()),
                ),
            ));
        }
    }
    if store::is_assigned(tx, gym, trainer_id, member_id, now).await? {
        return Err(Error::new(Code::AlreadyAssigned));
    }
    let assignment = Assignment {
        id: AssignmentId::new(),
        trainer_id,
        member_id,
        since: now,
        until,
    };
    store::insert_assignment(tx, gym, &assignment).await?;
    let entry = member_entry(tx, gym, assignment.member_id, now).await?;
    let patch = json!({"members": {assignment.member_id.to_string(): entry}});
    tx.emit(Channel::Roster(assignment.trainer_id), "assignment.started", patch);
    tx.access_changed(assignment.trainer_id);
    Ok(assignment)
}

/// End an assignment now. For owners and managers.
#[utoipa::path(
    tag = "gym",
    params(("assignment" = AssignmentId, Path)),
    responses(
        (status = 204, description = "ended"),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not an owner or manager"),
        (status = 404, description = "no such assignment in force"),
    ),
    security(("bearer" = []))
)]
#[delete("/assignments/{assignment}")]
async fn end_assignment(app: web::Data<App>, caller: Caller, path: web::Path<AssignmentId>) -> Result<HttpResponse> {
    caller.require(&[Role::Owner, Role::Manager])?;
    let assignment = path.into_inner();
    app.change(&caller, async move |tx| {
        match end(tx, Ending::One(assignment)).await? {
            0 => Err(Error::not_found("assignment")),
            _ => Ok(()),
        }
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends assignments and publishes their ends to the rosters. Returns their number.
///
/// # Errors
/// Database errors.
pub async fn end(tx: &mut Tx, ending: Ending) -> Result<usize> {
    let (gym, now) = (tx.gym, tx.now);
    let ended = store::end_assignments(tx, gym, ending, now).await?;
    tell_ended(tx, &ended).await?;
    Ok(ended.len())
}

async fn tell_ended(tx: &mut Tx, ended: &[Assignment]) -> Result<()> {
    let gym = tx.gym;
    let members: Vec<_> = ended.iter().map(|assignment| assignment.member_id).collect();
    hold(tx, gym, &members).await?;
    for assignment in ended {
        let patch = json!({"members": {assignment.member_id.to_string(): null}});
        tx.emit(Channel::Roster(assignment.trainer_id), "assignment.ended", patch);
        tx.access_changed(assignment.trainer_id);
    }
    Ok(())
}

/// Interval at which [`tend`] looks for assignments whose end has passed.
const CLOSE_EVERY: Duration = Duration::from_secs(20);

/// Closes assignments whose end has passed, in an endless loop. Spawn it on an actix runtime, which changes need.
pub async fn tend(app: App) {
    loop {
        tokio::time::sleep(CLOSE_EVERY).await;
        if let Err(error) = close_due(&app).await {
            tracing::warn!(error.cause = ?error, "closing ended assignments failed; retrying");
        }
    }
}

/// Closes assignments whose end has passed, and publishes their ends to the trainers' rosters. The rights have ended by
/// themselves at that instant; this removes the members from the rosters. Returns the number of ends published.
pub async fn close_due(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let gyms = app
        .system(async |conn| Ok(store::gyms_with_due(conn, now).await?))
        .await?;
    let mut told = 0;
    for gym in gyms {
        told += app
            .change(For::gym(gym), async move |tx| {
                let now = tx.now;
                let due = store::close_due(tx, gym, now).await?;
                let mut over = Vec::with_capacity(due.len());
                for assignment in due {
                    // Trainers who were assigned again keep the member on their roster.
                    let (trainer, member) = (assignment.trainer_id, assignment.member_id);
                    if !store::is_assigned(tx, gym, trainer, member, now).await? {
                        over.push(assignment);
                    }
                }
                tell_ended(tx, &over).await?;
                Ok(over.len())
            })
            .await?;
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GymId, SessionId};

    #[test]
    fn staff_see_all_assignments_and_others_their_own() {
        let caller = |roles: &[Role]| Caller {
            account: AccountId::new(),
            gym: GymId::new(),
            roles: roles.iter().copied().collect(),
            session: SessionId::new(),
            access_version: 1,
        };
        let other = Some(AccountId::new());
        assert_eq!(
            seen_by(&caller(&[Role::Manager]), other, None).expect("seen"),
            (other, None)
        );
        let trainer = caller(&[Role::Trainer]);
        let me = Some(trainer.account);
        assert_eq!(seen_by(&trainer, None, None).expect("seen"), (me, None));
        assert_eq!(seen_by(&trainer, me, other).expect("seen"), (me, other));
        assert!(seen_by(&trainer, other, None).is_err());
        let both = caller(&[Role::Trainer, Role::Member]);
        let me = Some(both.account);
        assert_eq!(seen_by(&both, None, me).expect("seen"), (None, me));
        assert_eq!(seen_by(&both, other, None).expect("seen"), (other, me));
        assert!(seen_by(&caller(&[Role::Member]), None, other).is_err());
        assert!(seen_by(&caller(&[Role::Auditor]), None, None).is_err());
    }
}
