//! Routes for sign-in, refresh, sign-out, the caller's own data, and the switch to another gym.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::lanes::{Lanes, Waits};
use super::signin::{self, Me, Session};
use super::store;
use crate::app::{App, For};
use crate::auth::guesses::Guesser;
use crate::auth::sessions::{self, Device, Life, Owned, Reason, Rotation};
use crate::auth::store as accounts;
use crate::auth::{Caller, Email, Status, access, devices};
use crate::error::{Code, Error, Result};
use crate::http::body::SMALL_BYTES;
use crate::http::{Body, peer};
use crate::ids::AccountId;

/// Mounts the routes under `/auth`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(login)
        .service(refresh_session)
        .service(logout)
        .service(find_me)
        .service(switch_gym);
    super::devices::routes(config);
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// Email of the account.
    email: String,
    /// Its password.
    #[schema(format = Password)]
    password: String,
    /// Slug of the gym; required if the account belongs to several.
    gym: Option<String>,
    /// Secret that this device got at an earlier sign-in to the account.
    #[schema(format = Password)]
    device_secret: Option<String>,
}

/// Sign in.
///
/// Wrong passwords are counted by account and address, and more slowly by account and by address. Those of a device that
/// sends its secret are counted apart.
#[utoipa::path(
    tag = "auth",
    request_body = Login,
    responses(
        (status = 200, body = Session),
        (status = 401, description = "bad_credentials: the same for a wrong password and an unknown email"),
        (status = 403, description = "no_membership: the account has no active membership of the gym"),
        (status = 409, description = "gym_required: the account belongs to several gyms; `gyms` lists their slugs"),
        (status = 429, description = "too_many_requests: too many wrong passwords for this account or from this address"),
        (status = 503, description = "busy: too many sign-ins at once"),
    )
)]
#[post("/auth/login")]
async fn login(app: web::Data<App>, request: HttpRequest, body: Body<Login, SMALL_BYTES>) -> Result<HttpResponse> {
    let Login {
        email,
        password,
        gym,
        device_secret,
    } = body.0;
    let now = app.clock.now();
    let refused = || Error::new(Code::BadCredentials);
    // A malformed email address cannot match an account.
    let address = peer::address(&request, &app.config);
    let Ok(email) = Email::parse(&email) else {
        let _wrong = app
            .guesses
            .count(Guesser::Nobody(address), &app.sign_in_keys, now)
            .await?;
        return Err(refused());
    };
    let known_device = known_device(&app, &email, device_secret.as_deref()).await?;
    let (guesser, waits) = match &known_device {
        Some(hash) => (Guesser::Device(hash), Waits::Device(*hash)),
        None => (Guesser::Stranger(&email, address), Waits::Stranger(address)),
    };
    let attempt = app.guesses.count(guesser, &app.sign_in_keys, now).await?;
    let right = proved(&app, &email, password, waits).await;
    if !matches!(right, Ok(None)) {
        app.guesses.was_right(&attempt);
    }
    let (account, hash) = right?.ok_or_else(refused)?;
    let device = Device::of(&request, &app.config);
    let session = app
        .system(async |conn| {
            // Refuse if the password was changed since it was verified: that change ended all sessions, and would miss
            // this one.
            if !accounts::hold_password(conn, account, &hash).await? {
                return Err(refused());
            }
            let mut session = signin::enter(conn, &app, account, gym.as_deref(), &device, now).await?;
            let hash = known_device.unwrap_or_else(|| {
                let (secret, hash) = devices::make(&app.sign_in_keys, &email);
                session.device_secret = Some(secret);
                hash
            });
            devices::remember(conn, account, &hash, now).await?;
            Ok(session)
        })
        .await?;
    Ok(session.response())
}

/// The hash of a device's secret, if the device has signed in to the account before.
async fn known_device(app: &App, email: &Email, secret: Option<&str>) -> Result<Option<devices::Hash>> {
    let Some(hash) = secret.and_then(|secret| devices::open(&app.sign_in_keys, email, secret)) else {
        return Ok(None);
    };
    app.system(async |conn| {
        let known = match accounts::credentials(conn, email).await? {
            Some((account, _)) => devices::is_known(conn, account, &hash).await?,
            None => false,
        };
        Ok(known.then_some(hash))
    })
    .await
}

/// The account with this email and its password's hash, if the password is right.
async fn proved(app: &App, email: &Email, password: String, waits: Waits) -> Result<Option<(AccountId, String)>> {
    let known = app
        .system(async |conn| Ok(accounts::credentials(conn, email).await?))
        .await?;
    let hash = known.as_ref().map(|(_, hash)| hash.clone());
    let right = app.part::<Lanes>().matches(waits, password, hash).await?;
    Ok(known.filter(|_| right))
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
                    let belonging = store::belonging(conn, owned.gym, owned.account).await?;
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
            let belonging = store::belonging(conn, caller.gym, caller.account).await?;
            let belonging = belonging.ok_or_else(|| Error::new(Code::SessionEnded))?;
            signin::me(conn, Owned::of(&caller), belonging).await
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
    // End the old session last, so that a failure in between leaves the client signed in.
    app.change(For::account(caller.gym, caller.account), async move |tx| {
        let now = tx.now;
        sessions::end(tx, &Owned::of(&caller), Reason::Ended, now).await?;
        tx.access_changed(caller.account);
        Ok(())
    })
    .await?;
    Ok(session.response())
}
