//! Routes for sign-in, refresh, sign-out, the caller's own data, and the switch to another gym.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::signin::{self, Me, Session};
use super::{claims, devices, store};
use crate::app::{App, For};
use crate::auth::link::Secret;
use crate::auth::sessions::{self, Device, Life, Owned, Reason, Rotation};
use crate::auth::store as accounts;
use crate::auth::{Caller, Email, Status, access, password};
use crate::db;
use crate::error::{Code, Error, Result};
use crate::gyms::{Joining, accept, rules};
use crate::http::body::SMALL_BYTES;
use crate::http::{Body, peer};

/// Mounts the routes under `/auth`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(login)
        .service(refresh_session)
        .service(logout)
        .service(find_me)
        .service(switch_gym);
    devices::routes(config);
    claims::routes(config);
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// Email of the account.
    email: String,
    /// Its password.
    #[schema(format = Password)]
    password: String,
    /// Slug of the gym; required if the account belongs to several. If several accounts have the email, it names the one
    /// that belongs to this gym.
    gym: Option<String>,
    /// The text after the `#` of an invitation's link. The account accepts it, and signs in to its gym; `gym` may then
    /// name another gym of the account.
    invitation: Option<String>,
}

/// Sign in, and accept an invitation with the account.
#[utoipa::path(
    tag = "auth",
    request_body = Login,
    responses(
        (status = 200, body = Session),
        (status = 401, description = "bad_credentials: the same for a wrong password and an unknown email"),
        (status = 403, description = "no_membership: the account has no active membership of the gym"),
        (status = 409, description = "gym_required: the account belongs to several gyms; `gyms` lists their slugs. With an invitation: already_member, email_in_use"),
        (status = 410, description = "link_invalid: the invitation's link no longer works"),
        (status = 429, description = "too_many_requests: too many attempts for this account or from this address"),
    )
)]
#[post("/auth/login")]
async fn login(app: web::Data<App>, request: HttpRequest, body: Body<Login, SMALL_BYTES>) -> Result<HttpResponse> {
    let Login {
        email,
        password,
        gym,
        invitation,
    } = body.0;
    let invitation = invitation.as_deref().map(Secret::parse).transpose()?;
    let now = app.clock.now();
    let refused = || Error::new(Code::BadCredentials);
    if let Some(address) = peer::address(&request, &app.config) {
        app.limits
            .take(&format!("login:address:{address}"), signin::PER_ADDRESS, now)?;
    }
    // A malformed email address cannot match an account.
    let email = Email::parse(&email).map_err(|_| refused())?;
    // Count the attempt before verifying the password, so that concurrent guesses count too.
    let counter = format!("login:account:{email}");
    app.limits.take(&counter, signin::PER_ACCOUNT, now)?;

    let known = app
        .system(async |conn| {
            let joins = match &invitation {
                Some(secret) => Some(claims::slug_of(conn, secret, now).await?),
                None => None,
            };
            let named = gym.as_deref().or(joins.as_deref());
            let named = named.filter(|slug| rules::check_slug(slug).is_ok());
            Ok(accounts::credentials(conn, &email, named).await?)
        })
        .await?;
    let hash = known.as_ref().map(|(_, hash)| hash.clone());
    if !password::verify(password, hash).await? {
        return Err(refused());
    }
    let (account, hash) = known.ok_or_else(refused)?;
    app.limits.forget(&counter);
    let device = Device::of(&request, &app.config);
    let (session, joined) = app
        .system(async |conn| {
            // First, as it locks more of the account than the next statement.
            let joined = match &invitation {
                Some(secret) => Some(accept(conn, secret, Joining::Existing(account), now).await?),
                None => None,
            };
            // Refuse if the password was changed since it was verified: that change ended all sessions, and would miss
            // this one.
            if !accounts::hold_password(conn, account, &hash).await? {
                return Err(refused());
            }
            let named = joined.as_ref().map(|joined| joined.slug.as_str()).or(gym.as_deref());
            let session = signin::enter(conn, &app, account, named, &device, now).await?;
            Ok((session, joined))
        })
        .await?;
    if let Some(joined) = joined {
        joined.log();
    }
    Ok(session.response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    /// The session's latest refresh token.
    refresh_token: String,
}

/// Get a new access token and the next refresh token.
///
/// If the answer got lost, the same refresh token gives the same next one again, for up to 24 hours. It is void as soon
/// as a token of the answer is used. A void refresh token ends the session, since somebody must have a copy.
#[utoipa::path(
    tag = "auth",
    request_body = Refresh,
    responses(
        (status = 200, body = Session),
        (status = 401, description = "session_ended: the token is unknown or void, or the session has ended"),
    )
)]
#[post("/auth/refresh")]
async fn refresh_session(
    app: web::Data<App>,
    request: HttpRequest,
    body: Body<Refresh, SMALL_BYTES>,
) -> Result<HttpResponse> {
    let token = body.0.refresh_token;
    let device = Device::of(&request, &app.config);
    let now = app.clock.now();
    let ended = || Error::new(Code::SessionEnded);
    let named = app.refresh_tokens.open(&token).ok_or_else(ended)?;
    let life = Life::of(&app.config);
    let result = app
        .system(async |conn| {
            Ok(match sessions::rotate(conn, named, &device, life, now).await? {
                Rotation::Rotated(owned, generation) => {
                    let in_demo = app.config.demo;
                    let belonging = store::belonging(conn, owned.gym, owned.account, in_demo).await?;
                    let active = belonging.filter(|b| b.status == Status::Active).ok_or_else(ended)?;
                    Ok(signin::with_tokens(conn, &app, owned, active, generation, now).await?)
                }
                Rotation::Reused(owned) => Err(Some(owned)),
                Rotation::Refused => Err(None),
            })
        })
        .await?;
    match result {
        Ok(session) => Ok(session.response()),
        Err(reused) => {
            if let Some(owned) = reused {
                end_reused(&app, owned).await?;
            }
            Err(ended())
        }
    }
}

/// Ends the session of a void refresh token, and emits an access event so that its sockets close.
async fn end_reused(app: &App, owned: Owned) -> Result<()> {
    tracing::warn!(session.id = %owned.session, gym.id = %owned.gym, "void refresh token; ending the session");
    app.change(For::account(owned.gym, owned.account), async move |tx| {
        let now = tx.now;
        if sessions::end(tx, &owned, Reason::Reuse, now).await? {
            tx.access_changed(owned.account);
        }
        Ok(())
    })
    .await
}

/// Sign out: end the session and close its sockets.
#[utoipa::path(
    tag = "auth",
    responses((status = 204, description = "signed out"), (status = 401, description = "not signed in")),
    security(("bearer" = []))
)]
#[post("/auth/logout")]
async fn logout(app: web::Data<App>, caller: Caller) -> Result<HttpResponse> {
    app.change(&caller, async move |tx| {
        let now = tx.now;
        access::hold_own(tx, &caller).await?;
        sessions::end(tx, &Owned::of(&caller), Reason::Logout, now).await?;
        tx.access_changed(caller.account);
        Ok(())
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Read the signed-in account with its gym, roles and live channels.
#[utoipa::path(
    tag = "auth",
    responses((status = 200, body = Me), (status = 401, description = "not signed in")),
    security(("bearer" = []))
)]
#[get("/auth/me")]
async fn find_me(app: web::Data<App>, caller: Caller) -> Result<web::Json<Me>> {
    let me = app
        .read(&caller, async |conn| {
            let belonging = store::belonging(conn, caller.gym, caller.account, app.config.demo).await?;
            let belonging = belonging.ok_or_else(|| Error::new(Code::SessionEnded))?;
            // A link to set a new password may be another gym's.
            db::as_system(conn, async |conn| signin::me(conn, Owned::of(&caller), belonging).await).await
        })
        .await?;
    Ok(web::Json(me))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Switch {
    /// Slug of the gym to switch to.
    gym: String,
}

/// Switch to another gym of the same account. A new session there replaces this one.
#[utoipa::path(
    tag = "auth",
    request_body = Switch,
    responses(
        (status = 200, body = Session),
        (status = 401, description = "not signed in"),
        (status = 403, description = "no_membership: the account has no active membership of the gym"),
    ),
    security(("bearer" = []))
)]
#[post("/auth/switch")]
async fn switch_gym(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    body: Body<Switch, SMALL_BYTES>,
) -> Result<HttpResponse> {
    let device = Device::of(&request, &app.config);
    let now = app.clock.now();
    let life = Life::of(&app.config);
    let session = app
        .system(async |conn| {
            access::hold(conn, &caller.claim(), now).await?;
            let session = signin::enter(conn, &app, caller.account, Some(&body.0.gym), &device, now).await?;
            sessions::inherit_life(conn, caller.session, session.me.session_id, life, now).await?;
            Ok(session)
        })
        .await?;
    claims::end_replaced(&app, caller).await?;
    Ok(session.response())
}
