//! The route that makes a one-time link with which a person sets a new password. Nobody sees or sets somebody else's
//! password: the maker passes the link on. The routes for whoever opens it are in [`crate::accounts`].

use actix_web::{post, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::link::{self, Page, Secret};
use crate::auth::store::hold_account;
use crate::auth::{Caller, resets};
use crate::db;
use crate::error::{Error, Result};
use crate::events::Tx;
use crate::gyms::rules::{self, RUNS};
use crate::gyms::store as gyms;
use crate::idempotency::{Answer, IdempotencyKey, once_with_secret};
use crate::ids::AccountId;

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(issue_reset_link);
}

/// A link that sets a new password.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ResetLink {
    /// The link, relative to this server's origin. It is in this answer only: the server does not store it, and a repeat
    /// with the same idempotency key gets an answer without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    link: Option<String>,
    /// When it stops working.
    expires_at: DateTime<Utc>,
}

/// Make a one-time link with which a person sets a new password; it works for seven days, and older links of the account
/// no longer work. Using it ends all sessions of the account. The person sees who made the link. Managers may do this
/// for accounts that are only members, owners also for other staff, and nobody for an owner or for an account that also
/// belongs to another gym: those need the server's operator.
#[utoipa::path(
    tag = "gym",
    params(
        ("account" = AccountId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response, without the link")
    ),
    responses(
        (status = 201, body = ResetLink),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the caller may not reset this account; or operator_only"),
        (status = 404, description = "the gym has no such person"),
    ),
    security(("bearer" = []))
)]
#[post("/memberships/{account}/reset-link")]
async fn issue_reset_link(
    app: web::Data<App>,
    caller: Caller,
    key: IdempotencyKey,
    path: web::Path<AccountId>,
) -> Result<Answer> {
    caller.require(&RUNS)?;
    let account = path.into_inner();
    let answer = app
        .change(&caller, async move |tx| {
            once_with_secret(tx, &key, "issue_reset_link", &account, 201, async |tx| {
                let secret = Secret::random();
                create(tx, &caller, account, &secret).await?;
                let expires_at = tx.now + link::LIFE;
                let with = |link| ResetLink { link, expires_at };
                Ok((with(None), with(Some(secret.link(Page::Reset)))))
            })
            .await
        })
        .await?;
    if !answer.replayed {
        tracing::info!(gym.id = %caller.gym, account.id = %account, by = %caller.account, "made a link to set a new password");
    }
    Ok(answer)
}

async fn create(tx: &mut Tx, caller: &Caller, account: AccountId, secret: &Secret) -> Result<()> {
    let (gym, now, maker) = (tx.gym, tx.now, *caller);
    db::as_system(tx, async move |conn| {
        // An invitation that the account accepts meanwhile waits for this lock, and then revokes the link.
        hold_account(conn, account).await?;
        let standing = gyms::lock_standing(conn, gym, account).await?;
        let standing = standing.ok_or_else(|| Error::not_found("member"))?;
        let elsewhere = gyms::belongs_elsewhere(conn, gym, account).await?;
        rules::may_reset(maker.roles, standing, elsewhere)?;
        Ok(resets::create(conn, (gym, account), Some(maker.account), secret, now).await?)
    })
    .await
}
