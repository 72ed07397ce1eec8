//! Routes for sign-in, refresh, sign-out, the caller's own data, and the switch to another gym.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::lanes::{Lanes, Waits};
use super::signin::{self, Me, Session};
use super::{claims, store};
use crate::app::{App, For};
use crate::auth::guesses::Guesser;
use crate::auth::link::Secret;
use crate::auth::sessions::{self, Device, Life, Owned, Reason, Rotation};
use crate::auth::store as accounts;
use crate::auth::{Caller, Email, Status, access, devices};
use crate::db;
use crate::error::{Code, Error, Result};
use crate::gyms::{Joining, accept, rules};
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
    /// Secret that this device got at an earlier sign-in to the account.
    #[schema(format = Password)]
    device_secret: Option<String>,
}

/// Sign in, and accept an invitation with the account.
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
        (status = 409, description = "gym_required: the account belongs to several gyms; `gyms` lists their slugs. With an invitation: already_member, email_in_use"),
        (status = 410, description = "link_invalid: the invitation's link no longer works"),
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
        invitation,
        device_secret,
    } = body.0;
    let invitation = invitation.as_deref().map(Secret::parse).transpose()?;
    let now = app.clock.now();
    let refused = || Error::new(Code::BadCredentials);
    // A malformed email address cannot match an account.
    let address = peer::address(&request, &app.config);
    let nobody = || app.guesses.count(Guesser::Nobody(address), &app.sign_in_keys, now);
    let Ok(email) = Email::parse(&email) else {
        let _wrong = nobody().await?;
        return Err(refused());
    };
    if invitation.is_some() {
        claims::count(&app, &request)?;
    }
    let named = match named_gym(&app, gym.as_deref(), invitation.as_ref(), now).await {
        Ok(named) => named,
        Err(error) => {
            let _wrong = nobody().await?;
            return Err(error);
        }
    };
    let known_device = known_device(&app, &email, named.as_deref(), device_secret.as_deref()).await?;
    let (guesser, waits) = match &known_device {
        Some(hash) => (Guesser::Device(hash), Waits::Device(*hash)),
        None => (Guesser::Stranger(&email, address), Waits::Stranger(address)),
    };
    let attempt = app.guesses.count(guesser, &app.sign_in_keys, now).await?;
    let right = proved(&app, &email, named.as_deref(), password, waits).await;
    if !matches!(right, Ok(None)) {
        app.guesses.was_right(&attempt);
    }
    let (account, hash) = right?.ok_or_else(refused)?;
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
            let joined_gym = joined.as_ref().map(|joined| joined.slug.as_str()).or(gym.as_deref());
            let mut session = signin::enter(conn, &app, account, joined_gym, &device, now).await?;
            let hash = known_device.unwrap_or_else(|| {
                let (secret, hash) = devices::make(&app.sign_in_keys, &email);
                session.device_secret = Some(secret);
                hash
            });
            devices::remember(conn, account, &hash, now).await?;
            Ok((session, joined))
        })
        .await?;
    if let Some(joined) = joined {
        joined.log();
    }
    Ok(session.response())
}

/// The slug of the gym that names the account among those with the same email: the named gym, or that of the invitation.
async fn named_gym(
    app: &App,
    gym: Option<&str>,
    invitation: Option<&Secret>,
    now: DateTime<Utc>,
) -> Result<Option<String>> {
    let joins = match invitation {
        Some(secret) => Some(
            app.system(async |conn| claims::slug_of(conn, secret, now).await)
                .await?,
        ),
        None => None,
    };
    let named = gym.map(str::to_owned).or(joins);
    Ok(named.filter(|slug| rules::check_slug(slug).is_ok()))
}

/// The hash of a device's secret, if the device has signed in to the account before.
async fn known_device(
    app: &App,
    email: &Email,
    gym: Option<&str>,
    secret: Option<&str>,
) -> Result<Option<devices::Hash>> {
    let Some(hash) = secret.and_then(|secret| devices::open(&app.sign_in_keys, email, secret)) else {
        return Ok(None);
    };
    app.system(async |conn| {
        let known = match accounts::credentials(conn, email, gym).await? {
            Some((account, _)) => devices::is_known(conn, account, &hash).await?,
            None => false,
        };
        Ok(known.then_some(hash))
    })
    .await
}

/// The account with this email and its password's hash, if the password is right.
async fn proved(
    app: &App,
    email: &Email,
    gym: Option<&str>,
    password: String,
    waits: Waits,
) -> Result<Option<(AccountId, String)>> {
    let known = app
        .system(async |conn| Ok(accounts::credentials(conn, email, gym).await?))
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
