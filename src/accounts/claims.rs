//! Routes for whoever holds a one-time link: join a gym with an account that they have or with a new one, or set a new
//! password. The secret in the link is the proof; it comes in the body, never in a path. Until mail proves an address,
//! nothing else ties a person to an account: not the email that an invitation names.

use actix_web::http::header;
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::signin::{self, Session};
use crate::app::{App, For};
use crate::auth::link::Secret;
use crate::auth::sessions::{self, Device, Owned, Reason};
use crate::auth::store::{self as accounts, NewAccount};
use crate::auth::{Caller, Email, Roles, access, password, resets};
use crate::db;
use crate::error::{Code, Error, Lang, Result};
use crate::gyms::store as gyms;
use crate::gyms::store::invitations::{self, Invitation};
use crate::gyms::{Gym, Joining, accept, rules};
use crate::http::body::SMALL_BYTES;
use crate::http::limits::Limit;
use crate::http::{Body, peer};
use crate::ids::{AccountId, GymId};

/// Limit on requests with links per host (an IPv6 host is a /64) and node. It is high because all phones on a gym's Wi-Fi
/// share one address.
const PER_ADDRESS: Limit = Limit {
    attempts: 300,
    window: TimeDelta::minutes(15),
};
/// Limit on attempts to use one link per node, so that its holder cannot try many emails or have many passwords hashed.
const PER_LINK: Limit = Limit {
    attempts: 20,
    window: TimeDelta::minutes(15),
};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(open_invitation)
        .service(accept_invitation)
        .service(open_reset)
        .service(reset_password);
}

/// Counts a request with a link, before the link is looked up.
pub(super) fn count(app: &App, request: &HttpRequest) -> Result<()> {
    peer::address(request, &app.config).map_or(Ok(()), |address| {
        let host = peer::host(address);
        app.limits
            .take(&format!("link:address:{host}"), PER_ADDRESS, app.clock.now())
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Opened {
    /// The text after the link's `#`.
    secret: String,
}

/// An invitation, as whoever opens its link may see it.
#[derive(Serialize, ToSchema)]
struct OpenedInvitation {
    /// The gym that it joins.
    gym: Gym,
    /// Email that the inviter wrote. The account may use another one.
    email: String,
    /// Name that the inviter wrote.
    name: String,
    /// Roles that the membership will have.
    roles: Roles,
    /// Language that the inviter chose for the person.
    #[schema(value_type = Lang)]
    locale: String,
    /// When the link stops working.
    expires_at: DateTime<Utc>,
}

/// Read the invitation of a link.
#[utoipa::path(
    tag = "auth",
    request_body = Opened,
    responses(
        (status = 200, body = OpenedInvitation),
        (status = 410, description = "link_invalid"),
        (status = 429, description = "too many requests from this address"),
    )
)]
#[post("/invitations/open")]
async fn open_invitation(
    app: web::Data<App>,
    request: HttpRequest,
    body: Body<Opened, SMALL_BYTES>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let secret = Secret::parse(&body.0.secret)?;
    let now = app.clock.now();
    let (gym, invitation) = app
        .system(async |conn| {
            let (gym, invitation) = find(conn, &secret, now).await?;
            Ok((gyms::find_gym(conn, gym).await?, invitation))
        })
        .await?;
    Ok(private(&OpenedInvitation {
        gym,
        email: invitation.email,
        name: invitation.name,
        roles: invitation.roles,
        locale: invitation.locale,
        expires_at: invitation.expires_at,
    }))
}

async fn find(conn: &mut AsyncPgConnection, secret: &Secret, now: DateTime<Utc>) -> Result<(GymId, Invitation)> {
    let found = invitations::find(conn, secret, now).await?;
    found.ok_or_else(|| Error::new(Code::LinkInvalid))
}

/// The slug of the gym that a link joins. Needs the system role.
pub(super) async fn slug_of(conn: &mut AsyncPgConnection, secret: &Secret, now: DateTime<Utc>) -> Result<String> {
    let (gym, _) = find(conn, secret, now).await?;
    Ok(gyms::find_gym(conn, gym).await?.slug)
}

/// Builds a response that no cache may store.
fn private(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    /// The text after the link's `#`.
    secret: String,
    /// The account to create; absent for the signed-in account.
    account: Option<ClaimedAccount>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClaimedAccount {
    /// Email with which the account will sign in. Other accounts may have the same one, except in this gym.
    email: String,
    name: String,
    /// 8 to 256 characters.
    #[schema(format = Password)]
    password: String,
    /// The language of the invitation by default.
    locale: Option<Lang>,
}

/// Accept an invitation and sign in to its gym: as the signed-in account, whose session this one replaces, or with a new
/// account. To accept with an account that is not signed in, sign in with the invitation's secret. Works once.
#[utoipa::path(
    tag = "auth",
    request_body = Acceptance,
    responses(
        (status = 200, body = Session),
        (status = 401, description = "the access token is not valid"),
        (status = 409, description = "already_member: the account belongs to the gym; email_in_use: another account of the gym has this email"),
        (status = 410, description = "link_invalid"),
        (status = 422, description = "a field is invalid, or there is neither an account to create nor an access token"),
        (status = 429, description = "too many requests from this address or with this link"),
    ),
    security((), ("bearer" = []))
)]
#[post("/invitations/accept")]
async fn accept_invitation(
    app: web::Data<App>,
    request: HttpRequest,
    body: Body<Acceptance, SMALL_BYTES>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let secret = Secret::parse(&body.0.secret)?;
    let device = Device::of(&request, &app.config);
    if let Some(new) = body.0.account {
        return join_with_new(&app, &secret, new, &device).await;
    }
    if !request.headers().contains_key(header::AUTHORIZATION) {
        let reason = (
            "needed unless the request is signed in",
            "necesario si la petición no tiene una sesión iniciada",
        );
        return Err(Error::invalid("account", reason));
    }
    let caller = Caller::extract(&request).await?;
    join_as(&app, &secret, caller, &device).await
}

/// Joins with a new account.
async fn join_with_new(app: &App, secret: &Secret, new: ClaimedAccount, device: &Device) -> Result<HttpResponse> {
    let email = Email::parse(&new.email)?;
    rules::check_name("name", &new.name)?;
    password::check("password", &new.password, &[&new.name, &new.email])?;
    let now = app.clock.now();
    let (_, invitation) = app.system(async |conn| find(conn, secret, now).await).await?;
    // A password is hashed only for somebody who has a link.
    app.limits.take(&format!("link:{}", invitation.id), PER_LINK, now)?;
    let account = NewAccount {
        email,
        name: new.name.trim().to_owned(),
        locale: new.locale.unwrap_or(if invitation.locale == Lang::Es.tag() {
            Lang::Es
        } else {
            Lang::En
        }),
        password_hash: password::hash(new.password).await?,
    };
    let (joined, session) = app
        .system(async |conn| {
            let joined = accept(conn, secret, Joining::New(&account), now).await?;
            let session = signin::enter(conn, app, joined.account, Some(&joined.slug), device, now).await?;
            Ok((joined, session))
        })
        .await?;
    joined.log();
    Ok(session.response())
}

/// Joins as the signed-in account, and replaces its session.
async fn join_as(app: &App, secret: &Secret, caller: Caller, device: &Device) -> Result<HttpResponse> {
    let now = app.clock.now();
    let (joined, session) = app
        .system(async |conn| {
            let joined = accept(conn, secret, Joining::Existing(caller.account), now).await?;
            access::hold(conn, &caller.claim(), now).await?;
            let session = signin::enter(conn, app, caller.account, Some(&joined.slug), device, now).await?;
            Ok((joined, session))
        })
        .await?;
    joined.log();
    end_replaced(app, caller).await?;
    Ok(session.response())
}

/// Ends the session that another one has replaced. This comes last, so that a failure in between leaves the client
/// signed in.
pub(super) async fn end_replaced(app: &App, caller: Caller) -> Result<()> {
    app.change(For::account(caller.gym, caller.account), async move |tx| {
        let now = tx.now;
        sessions::end(tx, &Owned::of(&caller), Reason::Ended, now).await?;
        tx.access_changed(caller.account);
        Ok(())
    })
    .await
}

/// The account whose password a link sets.
#[derive(Serialize, ToSchema)]
struct OpenedReset {
    /// Email with which the account signs in.
    email: String,
    /// Its name.
    name: String,
    /// The gym for which the link was made.
    gym: Gym,
}

/// Read whose password a link sets.
#[utoipa::path(
    tag = "auth",
    request_body = Opened,
    responses(
        (status = 200, body = OpenedReset),
        (status = 410, description = "link_invalid"),
        (status = 429, description = "too many requests from this address"),
    )
)]
#[post("/auth/reset/open")]
async fn open_reset(
    app: web::Data<App>,
    request: HttpRequest,
    body: Body<Opened, SMALL_BYTES>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let secret = Secret::parse(&body.0.secret)?;
    let now = app.clock.now();
    let opened = app
        .system(async |conn| {
            let (gym, account) = find_reset(conn, &secret, now).await?;
            let account = accounts::account(conn, account).await?;
            Ok(OpenedReset {
                email: account.email,
                name: account.name,
                gym: gyms::find_gym(conn, gym).await?,
            })
        })
        .await?;
    Ok(private(&opened))
}

async fn find_reset(conn: &mut AsyncPgConnection, secret: &Secret, now: DateTime<Utc>) -> Result<(GymId, AccountId)> {
    let found = resets::find(conn, secret, now).await?;
    found.ok_or_else(|| Error::new(Code::LinkInvalid))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reset {
    /// The text after the link's `#`.
    secret: String,
    /// 8 to 256 characters.
    #[schema(format = Password)]
    new_password: String,
}

/// Set a new password with a link. This ends all sessions of the account, in every gym. Works once; sign in afterwards.
#[utoipa::path(
    tag = "auth",
    request_body = Reset,
    responses(
        (status = 204, description = "set"),
        (status = 410, description = "link_invalid"),
        (status = 422, description = "the new password is too short or too long"),
        (status = 429, description = "too many requests from this address or with this link"),
    )
)]
#[post("/auth/reset")]
async fn reset_password(
    app: web::Data<App>,
    request: HttpRequest,
    body: Body<Reset, SMALL_BYTES>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let secret = Secret::parse(&body.0.secret)?;
    let now = app.clock.now();
    let (gym, account, about) = app
        .system(async |conn| {
            let (gym, account) = find_reset(conn, &secret, now).await?;
            let known = accounts::account(conn, account).await?;
            Ok((
                gym,
                account,
                [known.name, known.email, gyms::find_gym(conn, gym).await?.name],
            ))
        })
        .await?;
    let about = about.each_ref().map(String::as_str);
    password::check("new_password", &body.0.new_password, &about)?;
    app.limits.take(&format!("link:{account}"), PER_LINK, now)?;
    let hash = password::hash(body.0.new_password).await?;
    app.change(For::account(gym, account), async move |tx| {
        let now = tx.now;
        let gyms = db::as_system(tx, async |conn| {
            accounts::hold_account(conn, account).await?;
            if !resets::take(conn, &secret, now).await? {
                return Err(Error::new(Code::LinkInvalid));
            }
            accounts::reset_password(conn, account, &hash).await?;
            Ok(sessions::end_all(conn, account, None, Reason::Password, now).await?)
        })
        .await?;
        for gym in gyms {
            if gym == tx.gym {
                tx.access_changed(account);
            } else {
                tx.access_changed_in(gym, account);
            }
        }
        Ok(())
    })
    .await?;
    tracing::info!(gym.id = %gym, account.id = %account, "set a new password with a link");
    Ok(HttpResponse::NoContent().finish())
}

/// Makes a link to set a new password on the operator's behalf, for an account of any role. Returns its secret.
///
/// # Errors
/// 422 for a malformed email; 404 if there is no such gym, or no account with this email in it.
pub async fn reset_by_operator(app: &App, slug: &str, email: &str) -> Result<Secret> {
    let email = Email::parse(email)?;
    let (secret, now) = (Secret::random(), app.clock.now());
    let (gym, account) = app
        .system(async |conn| {
            let gym = gyms::gym_of_slug(conn, slug).await?;
            let gym = gym.ok_or_else(|| Error::not_found("gym"))?;
            let account = gyms::find_by_email(conn, gym, email.as_str()).await?;
            let account = account.ok_or_else(|| Error::not_found("member"))?;
            accounts::hold_account(conn, account).await?;
            resets::create(conn, (gym, account), None, &secret, now).await?;
            Ok((gym, account))
        })
        .await?;
    tracing::info!(gym.id = %gym, account.id = %account, by = "operator", "made a link to set a new password");
    Ok(secret)
}
