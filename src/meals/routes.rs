//! The commands that tick meals, over REST and over the socket, with the same effect.

use actix_web::{delete, post, put, web};
use chrono::NaiveDate;
use liveplan_nutrition::portion::CompletionStatus;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::fold::Asked;
use super::{Command, Kind, Outcome, Source, queue};
use crate::app::App;
use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::http::{Body, bounds};
use crate::idempotency::{Answer, IdempotencyKey};
use crate::ids::{AccountId, MealId};

/// The completion of a meal, whose day is in the path.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionUpdate {
    /// Eaten, partial or skipped.
    status: CompletionStatus,
    /// The eaten portion, 1 to 999 thousandths, if the status is partial.
    portion_permille: Option<i32>,
    /// The member for whom an assigned trainer ticks; the caller by default.
    member_id: Option<AccountId>,
    /// The client's idempotency key, like the header `Idempotency-Key`: a repeat gets the first answer.
    key: Option<String>,
}

/// The completion of a meal on a day.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCompletion {
    /// The meal.
    meal_id: MealId,
    /// The day.
    date: NaiveDate,
    /// Eaten, partial or skipped.
    status: CompletionStatus,
    /// The eaten portion, 1 to 999 thousandths, if the status is partial.
    portion_permille: Option<i32>,
    /// The member for whom an assigned trainer ticks; the caller by default.
    member_id: Option<AccountId>,
    /// The client's idempotency key, like the header `Idempotency-Key`: a repeat gets the first answer.
    key: Option<String>,
}

/// The completion to remove, as data of `meal.undo`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The meal.
    meal_id: MealId,
    /// The day.
    date: NaiveDate,
    /// The member for whom an assigned trainer acts; the caller by default.
    member_id: Option<AccountId>,
    /// The client's idempotency key: a repeat gets the first answer.
    key: Option<String>,
}

/// The query of a removal.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UndoQuery {
    /// The member for whom an assigned trainer acts; the caller by default.
    member: Option<AccountId>,
}

/// A request from REST or the socket, before its checks.
struct Said {
    kind: Kind,
    meal_id: MealId,
    date: NaiveDate,
    member: Option<AccountId>,
    key: Option<String>,
}

impl From<NewCompletion> for Said {
    fn from(new: NewCompletion) -> Self {
        let kind = Kind::Complete {
            status: new.status,
            portion_permille: new.portion_permille,
        };
        Self {
            kind,
            meal_id: new.meal_id,
            date: new.date,
            member: new.member_id,
            key: new.key,
        }
    }
}

impl From<Undo> for Said {
    fn from(undo: Undo) -> Self {
        Self {
            kind: Kind::Undo,
            meal_id: undo.meal_id,
            date: undo.date,
            member: undo.member_id,
            key: undo.key,
        }
    }
}

/// Set the completion of a meal on a day
///
/// The last request wins. Repeating it changes nothing.
#[utoipa::path(tag = "meals", request_body = CompletionUpdate,
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat gets the first answer")),
    responses((status = 200, body = Outcome), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such meal or member, or no plan is being followed"),
        (status = 409, description = "the meal is not on that day, or the plan is paused"),
        (status = 422, description = "an invalid day or portion")))]
#[put("/meals/{meal}/completions/{date}")]
pub(super) async fn update_completion(
    app: web::Data<App>,
    caller: Caller,
    path: web::Path<(MealId, NaiveDate)>,
    header: IdempotencyKey,
    Body(body): Body<CompletionUpdate>,
) -> Result<Answer> {
    let (meal_id, date) = path.into_inner();
    let kind = Kind::Complete {
        status: body.status,
        portion_permille: body.portion_permille,
    };
    let said = Said {
        kind,
        meal_id,
        date,
        member: body.member_id,
        key: header.0.or(body.key),
    };
    carry_out(&app, &caller, said, Source::Rest).await
}

/// Set the completion of a meal on a day, both named in the body
#[utoipa::path(tag = "meals", request_body = NewCompletion,
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat gets the first answer")),
    responses((status = 200, body = Outcome), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such meal or member, or no plan is being followed"),
        (status = 409, description = "the meal is not on that day, or the plan is paused"),
        (status = 422, description = "an invalid day or portion")))]
#[post("/meals/complete")]
pub(super) async fn create_completion(
    app: web::Data<App>,
    caller: Caller,
    header: IdempotencyKey,
    Body(body): Body<NewCompletion>,
) -> Result<Answer> {
    let mut said = Said::from(body);
    said.key = header.0.or(said.key);
    carry_out(&app, &caller, said, Source::Rest).await
}

/// Remove the completion of a meal on a day
#[utoipa::path(tag = "meals",
    params(UndoQuery, ("Idempotency-Key" = Option<String>, Header, description = "a repeat gets the first answer")),
    responses((status = 200, body = Outcome), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such meal or member, or no plan is being followed"),
        (status = 409, description = "the meal is not on that day, or the plan is paused"),
        (status = 422, description = "an invalid day")))]
#[delete("/meals/{meal}/completions/{date}")]
pub(super) async fn delete_completion(
    app: web::Data<App>,
    caller: Caller,
    path: web::Path<(MealId, NaiveDate)>,
    query: web::Query<UndoQuery>,
    header: IdempotencyKey,
) -> Result<Answer> {
    let (meal_id, date) = path.into_inner();
    let said = Said {
        kind: Kind::Undo,
        meal_id,
        date,
        member: query.member,
        key: header.0,
    };
    carry_out(&app, &caller, said, Source::Rest).await
}

/// The command `meal.complete` of the socket; `data` is a `NewCompletion`. Returns the answer as JSON.
///
/// # Errors
/// Those of the equivalent REST request.
pub async fn rpc_complete(app: &App, caller: &Caller, data: Value) -> Result<String> {
    call::<NewCompletion>(app, caller, data).await
}

/// The command `meal.undo` of the socket; `data` is an `Undo`. Returns the answer as JSON.
///
/// # Errors
/// Those of the equivalent REST request.
pub async fn rpc_undo(app: &App, caller: &Caller, data: Value) -> Result<String> {
    call::<Undo>(app, caller, data).await
}

async fn call<T: serde::de::DeserializeOwned + Into<Said>>(app: &App, caller: &Caller, data: Value) -> Result<String> {
    let said: T = serde_json::from_value(data).map_err(|e| Error::new(Code::Malformed).with("reason", e))?;
    Ok(carry_out(app, caller, said.into(), Source::Socket).await?.body)
}

async fn carry_out(app: &App, caller: &Caller, said: Said, source: Source) -> Result<Answer> {
    let caller = *caller;
    if said
        .key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > 200 || key.contains(char::is_control))
    {
        return Err(Error::invalid(
            "key",
            (
                "1 to 200 characters, without control characters",
                "de 1 a 200 caracteres, sin caracteres de control",
            ),
        ));
    }
    let member = said.member.unwrap_or(caller.account);
    let command = Command {
        kind: said.kind,
        member,
        meal_id: said.meal_id,
        date: bounds::date("date", said.date)?,
        key: said.key,
        actor: caller.account,
        on_behalf: member != caller.account,
        source,
    };
    queue::carry_out(app, Asked { caller, command }).await
}
