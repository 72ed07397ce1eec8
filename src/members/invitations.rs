//! Routes with which owners and managers invite people. An invitation is a one-time link that the inviter passes on, and
//! its answers have only what the inviter wrote. The routes for whoever opens the link are in [`crate::accounts`].

use actix_web::{HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::link::{Page as Opens, Secret};
use crate::auth::{Caller, Email, Roles};
use crate::error::{Code, Error, Lang, Result};
use crate::events::Tx;
use crate::gyms::rules::{self, RUNS, Standing};
use crate::gyms::store as gyms;
use crate::gyms::store::invitations::{self, Invitation, NewInvitation};
use crate::http::{Body, Page, PageQuery};
use crate::idempotency::{Answer, IdempotencyKey, once_with_secret};
use crate::ids::{AccountId, InvitationId};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list_invitations)
        .service(create_invitation)
        .service(renew_invitation)
        .service(revoke_invitation);
}

/// An invitation with its link.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct InvitationLink {
    #[serde(flatten)]
    invitation: Invitation,
    /// The link, relative to this server's origin. It is in this answer only: the server does not store it, and a repeat
    /// with the same idempotency key gets an answer without it. Renew the invitation to get another link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    link: Option<String>,
}

impl InvitationLink {
    /// The answer without the link, and the answer with it.
    fn both(invitation: Invitation, secret: &Secret) -> (Self, Self) {
        let link = Some(secret.link(Opens::Invitation));
        let without = Self {
            invitation: invitation.clone(),
            link: None,
        };
        (without, Self { invitation, link })
    }
}

/// List the gym's open invitations, oldest first: those that nobody has accepted or revoked, expired ones included. For
/// owners and managers.
#[utoipa::path(
    tag = "gym",
    params(PageQuery),
    responses(
        (status = 200, body = Page<Invitation>),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not an owner or manager"),
    ),
    security(("bearer" = []))
)]
#[get("/invitations")]
async fn list_invitations(
    app: web::Data<App>,
    caller: Caller,
    page: web::Query<PageQuery>,
) -> Result<web::Json<Page<Invitation>>> {
    caller.require(&RUNS)?;
    let (limit, after) = (page.limit()?, InvitationId(page.after()));
    let open = app
        .read(&caller, async |conn| {
            Ok(invitations::list(conn, caller.gym, after, limit + 1).await?)
        })
        .await?;
    Ok(web::Json(Page::cut(open, limit, |i| i.id.0)))
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationRequest {
    email: String,
    name: String,
    roles: Roles,
    /// Language of the invited person; the gym's language by default.
    locale: Option<Lang>,
}

/// Invite a person by a one-time link, which works for seven days. Pass it on to the person: whoever opens it becomes a
/// member with these roles, with an account that they have or with a new one. The answer is the same whether or not the
/// email has an account. For owners and managers; only owners invite owners, managers, nutritionists and auditors.
#[utoipa::path(
    tag = "gym",
    request_body = InvitationRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response, without the link")),
    responses(
        (status = 201, body = InvitationLink),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the caller may not invite with these roles"),
        (status = 409, description = "already_member: a person of the gym has this email; or already_invited"),
        (status = 422, description = "a field is invalid"),
    ),
    security(("bearer" = []))
)]
#[post("/invitations")]
async fn create_invitation(
    app: web::Data<App>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<InvitationRequest>,
) -> Result<Answer> {
    caller.require(&RUNS)?;
    let email = Email::parse(&body.0.email)?;
    rules::check_name("name", &body.0.name)?;
    rules::may_invite(caller.roles, body.0.roles)?;
    let request = InvitationRequest {
        email: email.as_str().to_owned(),
        name: body.0.name.trim().to_owned(),
        ..body.0
    };
    app.change(&caller, async move |tx| {
        once_with_secret(tx, &key, "create_invitation", &request, 201, async |tx| {
            let secret = Secret::random();
            let invitation = create(tx, &caller, &request, &secret).await?;
            Ok(InvitationLink::both(invitation, &secret))
        })
        .await
    })
    .await
}

async fn create(tx: &mut Tx, caller: &Caller, request: &InvitationRequest, secret: &Secret) -> Result<Invitation> {
    let (gym, now) = (tx.gym, tx.now);
    // The list of memberships shows this email to the caller, so the refusal tells nothing new.
    if gyms::find_by_email(tx, gym, &request.email).await?.is_some() {
        return Err(Error::new(Code::AlreadyMember));
    }
    let locale = match request.locale {
        Some(locale) => locale,
        None if gyms::find_gym(tx, gym).await?.locale == Lang::Es.tag() => Lang::Es,
        None => Lang::En,
    };
    let new = NewInvitation {
        email: request.email.clone(),
        name: request.name.clone(),
        locale,
        roles: request.roles,
        invited_by: Some(caller.account),
    };
    invitations::create(tx, gym, &new, secret, now)
        .await?
        .ok_or_else(|| Error::new(Code::AlreadyInvited))
}

/// Give an open invitation, expired or not, a new link for seven days. Its old link no longer works. For those who may
/// invite with its roles.
#[utoipa::path(
    tag = "gym",
    params(
        ("invitation" = InvitationId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response, without the link")
    ),
    responses(
        (status = 200, body = InvitationLink),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the caller may not invite with these roles"),
        (status = 404, description = "the gym has no such open invitation"),
    ),
    security(("bearer" = []))
)]
#[post("/invitations/{invitation}/renew")]
async fn renew_invitation(
    app: web::Data<App>,
    caller: Caller,
    key: IdempotencyKey,
    path: web::Path<InvitationId>,
) -> Result<Answer> {
    caller.require(&RUNS)?;
    let id = path.into_inner();
    app.change(&caller, async move |tx| {
        once_with_secret(tx, &key, "renew_invitation", &id, 200, async |tx| {
            let (gym, now, secret) = (tx.gym, tx.now, Secret::random());
            lock(tx, &caller, id).await?;
            let invitation = invitations::renew(tx, gym, id, caller.account, &secret, now).await?;
            Ok(InvitationLink::both(invitation, &secret))
        })
        .await
    })
    .await
}

/// Revoke an open invitation. Its link no longer works. For those who may invite with its roles.
#[utoipa::path(
    tag = "gym",
    params(("invitation" = InvitationId, Path)),
    responses(
        (status = 204, description = "revoked"),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the caller may not invite with these roles"),
        (status = 404, description = "the gym has no such open invitation"),
    ),
    security(("bearer" = []))
)]
#[delete("/invitations/{invitation}")]
async fn revoke_invitation(app: web::Data<App>, caller: Caller, path: web::Path<InvitationId>) -> Result<HttpResponse> {
    caller.require(&RUNS)?;
    let id = path.into_inner();
    app.change(&caller, async move |tx| {
        let (gym, now) = (tx.gym, tx.now);
        lock(tx, &caller, id).await?;
        invitations::revoke(tx, gym, &[id], now).await?;
        Ok(())
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Locks an open invitation of the gym that the caller may renew and revoke.
async fn lock(tx: &mut Tx, caller: &Caller, id: InvitationId) -> Result<()> {
    let gym = tx.gym;
    let invitation = invitations::lock(tx, gym, id).await?;
    let invitation = invitation.ok_or_else(|| Error::not_found("invitation"))?;
    rules::may_invite(caller.roles, invitation.roles)
}

/// Revokes those open invitations of an account that it may no longer make, so that nobody comes back by an invitation
/// from before their roles ended.
pub(super) async fn revoke_without_right(tx: &mut Tx, account: AccountId, after: Standing) -> Result<()> {
    let (gym, now) = (tx.gym, tx.now);
    let made = invitations::lock_made_by(tx, gym, account).await?;
    let void: Vec<_> = made
        .iter()
        .filter(|i| rules::may_invite(after.in_effect(), i.roles).is_err())
        .map(|i| i.id)
        .collect();
    invitations::revoke(tx, gym, &void, now).await?;
    Ok(())
}
