//! Which noun answers for which channel and which command: the hub knows no noun, this table does.

use std::future::ready;

use actix_web::{get, web};
use diesel_async::AsyncPgConnection;
use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::{Caller, Role, access};
use crate::error::{Code, Error, Result};
use crate::events::{Access, Channel, log};
use crate::ids::GymId;
use crate::live::connection::Session;
use crate::live::table::{Offers, Table};
use crate::{follows, gyms, meals, plans};

/// The table that the hub starts with.
pub const TABLE: Table = Table {
    authenticate: |app, token| ready(authenticate(app, token)).boxed_local(),
    standing: |conn, caller, now| async move { access::standing(conn, &caller.claim(), now).await }.boxed_local(),
    server_side,
    // The gym is the token's: another gym's channel cannot be named.
    place: |_, caller, name| ready(Ok(name.parse::<Channel>().ok().map(|_| caller.gym))).boxed_local(),
    authorise: |conn, caller, name, now| {
        async move {
            match name.parse() {
                Ok(channel) => authorise(conn, caller, channel, now).await,
                Err(_) => Ok(Access::Refused),
            }
        }
        .boxed_local()
    },
    snapshot: |conn, gym, name, now| {
        async move {
            let channel = name.parse().map_err(|_| Error::not_found("channel"))?;
            snapshot(conn, gym, channel, now).await.map(Some)
        }
        .boxed_local()
    },
    // Who else watches is nobody's business: rosters show who is online, to those who may know.
    offers: |_| Offers::NOTHING,
    presence: |conn, gym, accounts, now| {
        async move {
            let trainers = follows::store::trainers_of(conn, gym, accounts, now).await?;
            let rosters = |of: Vec<_>| of.into_iter().map(Channel::Roster).collect();
            Ok(trainers
                .into_iter()
                .map(|(account, of)| (account, rosters(of)))
                .collect())
        }
        .boxed()
    },
    record_seen: |conn, gym, seen| async move { Ok(gyms::store::record_seen(conn, gym, seen).await?) }.boxed(),
    last_seen: |conn, gym, accounts| {
        async move { Ok(gyms::store::last_seen(conn, gym, accounts).await?) }.boxed_local()
    },
    call: Some(|app, caller, method, data| {
        async move {
            match method {
                "meal.complete" => meals::rpc_complete(app, caller, data).await,
                "meal.undo" => meals::rpc_undo(app, caller, data).await,
                _ => Err(Error::new(Code::UnknownMethod).with("method", method)),
            }
        }
        .boxed_local()
    }),
    publish: None,
    subscription_token: None,
};

/// Name, who, what it shows, its events: for people and for `/api/live.json`.
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
        "the trainer's members: follow and progress since two days ago; who is online, when the others last were",
        "those of member:, assignment.started, assignment.ended, presence.changed (without offset)",
    ),
];

/// Method, data and its schema of each command.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    (
        "meal.complete",
        "{key, meal_id, date, status: eaten|partial|skipped, portion_permille?, member_id?}",
        "NewCompletion",
    ),
    ("meal.undo", "{key, meal_id, date, member_id?}", "Undo"),
];

/// What the channels show, by the schemas' names in the OpenAPI document.
pub const STATES: &[(&str, &str)] = &[
    ("member:{account}", "MemberState"),
    ("plan:{plan}", "PlanState"),
    ("roster:{account}", "RosterState"),
];

/// Who has this access token.
fn authenticate(app: &App, token: &str) -> Result<Option<Session>> {
    if token.is_empty() {
        return Ok(None);
    }
    let now = app.clock.now();
    let verified = app.tokens.verify(token, now)?;
    let left = (verified.expires_at - now).to_std().unwrap_or_default();
    Ok(Some(Session {
        caller: verified.caller,
        user: verified.caller.account.to_string().into(),
        expires_at: Some(Instant::now() + left),
    }))
}

fn server_side(session: &Session) -> Vec<String> {
    let caller = &session.caller;
    if caller.roles.has(Role::Member) {
        vec![Channel::Member(caller.account).to_string()]
    } else {
        Vec::new()
    }
}

async fn authorise(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Access> {
    match channel {
        Channel::Member(account) => follows::live::authorise_member(conn, caller, account, now).await,
        Channel::Plan(plan) => plans::live::authorise(conn, caller, plan, now).await,
        Channel::Roster(trainer) => follows::live::authorise_roster(conn, caller, trainer, now).await,
        Channel::Access(_) => Ok(Access::Refused),
    }
}

async fn snapshot(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Value> {
    match channel {
        Channel::Member(account) => follows::live::member_snapshot(conn, gym, account, now).await,
        Channel::Plan(plan) => plans::live::snapshot(conn, gym, plan).await,
        Channel::Roster(trainer) => follows::live::roster_snapshot(conn, gym, trainer, now).await,
        Channel::Access(_) => Err(Error::not_found("channel")),
    }
}

/// A channel's snapshot and the position that it was read at.
#[derive(Serialize, ToSchema)]
pub struct PositionedSnapshot {
    /// Epoch of the position.
    epoch: String,
    /// Offset of the position: publications up to it are in the snapshot.
    offset: u64,
    /// What the channel shows.
    #[schema(schema_with = channel_state)]
    snapshot: Value,
}

/// One of [`STATES`].
fn channel_state() -> Schema {
    STATES
        .iter()
        .fold(OneOfBuilder::new(), |any, (_, name)| {
            any.item(Ref::from_schema_name(*name))
        })
        .build()
        .into()
}

/// A live channel's snapshot with its position, of any size
#[utoipa::path(tag = "live", params(("channel" = String, Path, description = "Channel name")),
    responses((status = 200, body = PositionedSnapshot), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such channel")))]
#[get("/live/snapshots/{channel}")]
async fn find_snapshot(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<web::Json<PositionedSnapshot>> {
    let channel: Channel = name.parse().map_err(|_| Error::not_found("channel"))?;
    let read = app
        .read(&caller, async |conn| {
            let now = app.clock.now();
            if authorise(conn, &caller, channel, now).await? == Access::Refused {
                return Err(refusal(conn, &caller, channel, now).await?);
            }
            let head = log::head(conn, caller.gym)
                .await?
                .ok_or_else(|| Error::not_found("gym"))?;
            let snapshot = snapshot(conn, caller.gym, channel, now).await?;
            Ok(PositionedSnapshot {
                epoch: head.epoch.to_string(),
                offset: head.seq,
                snapshot,
            })
        })
        .await?;
    Ok(web::Json(read))
}

/// What somebody gets who may not see a channel: 403 for one of their own gym, else 404.
async fn refusal(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Error> {
    let there = match channel {
        Channel::Member(account) | Channel::Roster(account) => {
            gyms::store::find_membership(conn, caller.gym, account).await?.is_some()
        }
        Channel::Plan(plan) => match plans::may_read(conn, caller, plan, now).await {
            Ok(_) => true,
            Err(error) if error.code == Code::NotFound => false,
            Err(error) => return Err(error),
        },
        Channel::Access(_) => false,
    };
    Ok(if there {
        Error::forbidden()
    } else {
        Error::not_found("channel")
    })
}

/// Mounts the REST reading of snapshots.
pub fn routes(config: &mut ServiceConfig) {
    config.service(find_snapshot);
}
