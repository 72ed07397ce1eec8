//! Routes for the caller's own credentials: change the password, list sessions, end a session.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::signin::{self, Session};
use super::store;
use crate::app::App;
use crate::auth::guesses::Guesser;
use crate::auth::sessions::{self, Life, OpenSession, Owned, Reason};
use crate::auth::store as accounts;
use crate::auth::{Caller, access, password, resets};
use crate::db;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Page};
use crate::ids::SessionId;

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(change_password)
        .service(list_sessions)
        .service(end_session);
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    #[schema(format = Password)]
    current_password: String,
    /// 8 to 256 characters; neither one of the most common passwords, nor little more than the account's name or email
    /// or the gym's name.
    #[schema(format = Password)]
    new_password: String,
}

/// Change the password. This ends all other sessions of the account, in every gym.
///
/// The answer has new tokens of this session, and voids its refresh token: do not refresh until the answer is there.
#[utoipa::path(
    tag = "auth",
    request_body = PasswordChange,
    responses(
        (status = 200, body = Session),
        (status = 401, description = "bad_credentials: the current password is wrong; or not signed in"),
        (status = 422, description = "the new password is too short, too long, too common or too close to the account"),
        (status = 429, description = "too many wrong passwords"),
    ),
    security(("bearer" = []))
)]
#[post("/auth/password")]
async fn change_password(app: web::Data<App>, caller: Caller, body: Body<PasswordChange>) -> Result<HttpResponse> {
    let PasswordChange {
        current_password,
        new_password,
    } = body.0;
    let (old, account, belonging) = app
        .read(&caller, async |conn| {
            let old = db::as_system(conn, async |conn| {
                Ok(accounts::password_hash(conn, caller.account).await?)
            })
            .await?;
            let account = accounts::account(conn, caller.account).await?;
            let belonging = store::belonging(conn, caller.gym, caller.account, app.config.demo).await?;
            Ok((old, account, belonging))
        })
        .await?;
    let gym = belonging.map(|b| b.gym.name).unwrap_or_default();
    password::check("new_password", &new_password, &[&account.name, &account.email, &gym])?;
    // By session, so that whoever stole one cannot keep the owner from changing the password in another.
    let guesser = Guesser::Session(caller.session);
    let attempt = app.guesses.count(guesser, &app.sign_in_keys, app.clock.now()).await?;
    let verified = password::verify(current_password, Some(old.clone())).await;
    if !matches!(verified, Ok(false)) {
        app.guesses.was_right(&attempt);
    }
    if !verified? {
        return Err(Error::new(Code::BadCredentials));
    }
    let new = password::hash(new_password).await?;
    let (handle, life) = (app.clone(), Life::of(&app.config));
    let session = app
        .change(&caller, async move |tx| {
            let now = tx.now;
            let gyms = db::as_system(tx, async |conn| {
                if !accounts::set_password(conn, caller.account, &old, &new).await? {
                    return Err(Error::new(Code::BadCredentials));
                }
                // Whoever knows the password needs no link, and somebody else may hold an open one.
                resets::revoke_for(conn, caller.account, now).await?;
                let ended =
                    sessions::end_all(conn, caller.account, Some(caller.session), Reason::Password, now).await?;
                Ok(ended)
            })
            .await?;
            tx.access_changed(caller.account);
            for gym in gyms.into_iter().filter(|gym| *gym != caller.gym) {
                tx.access_changed_in(gym, caller.account);
            }
            let owned = Owned::of(&caller);
            let generation = sessions::renew(tx, &owned, life, now).await?;
            let belonging = store::belonging(tx, owned.gym, owned.account, handle.config.demo).await?;
            let (Some(generation), Some(belonging)) = (generation, belonging) else {
                return Err(Error::new(Code::SessionEnded));
            };
            signin::with_tokens(tx, &handle, owned, belonging, generation, now).await
        })
        .await?;
    Ok(session.response())
}

/// A session: one signed-in device.
#[derive(Serialize, ToSchema)]
struct DeviceSession {
    id: SessionId,
    created_at: DateTime<Utc>,
    /// Time of the last sign-in or refresh.
    last_used_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ip_address: Option<String>,
    /// Whether this request came from it.
    current: bool,
}

/// List the caller's open sessions in this gym, most recently used first.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, body = Page<DeviceSession>), (status = 401, description = "not signed in")),
    security(("bearer" = []))
)]
#[get("/auth/sessions")]
async fn list_sessions(app: web::Data<App>, caller: Caller) -> Result<web::Json<Page<DeviceSession>>> {
    let now = app.clock.now();
    let open = app
        .read(&caller, async |conn| {
            Ok(sessions::list(conn, caller.gym, caller.account, now).await?)
        })
        .await?;
    let item = |s: OpenSession| DeviceSession {
        current: s.id == caller.session,
        id: s.id,
        created_at: s.created_at,
        last_used_at: s.last_used_at,
        user_agent: s.user_agent,
        ip_address: s.ip_address,
    };
    Ok(web::Json(Page::all(open.into_iter().map(item).collect())))
}

/// End one of the caller's own sessions in this gym and close its sockets.
#[utoipa::path(
    tag = "auth",
    params(("session" = SessionId, Path)),
    responses(
        (status = 204, description = "ended"),
        (status = 401, description = "not signed in"),
        (status = 404, description = "the caller has no such open session"),
    ),
    security(("bearer" = []))
)]
#[delete("/auth/sessions/{session}")]
async fn end_session(app: web::Data<App>, caller: Caller, path: web::Path<SessionId>) -> Result<HttpResponse> {
    let session = path.into_inner();
    app.change(&caller, async move |tx| {
        let now = tx.now;
        let owned = Owned {
            session,
            ..Owned::of(&caller)
        };
        if session == caller.session {
            access::hold_own(tx, &caller).await?;
        }
        if !sessions::end(tx, &owned, Reason::Ended, now).await? {
            return Err(Error::not_found("session"));
        }
        tx.access_changed(caller.account);
        Ok(())
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}
