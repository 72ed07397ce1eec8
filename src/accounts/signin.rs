//! Sign-in to a gym, and the response bodies: [`Session`] with tokens, [`Me`] without.

use actix_web::HttpResponse;
use actix_web::http::header;
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::store::{self, Belonging};
use crate::app::App;
use crate::auth::refresh::FIRST;
use crate::auth::resets::{self, ResetNotice};
use crate::auth::sessions::{self, Device, Life, Owned};
use crate::auth::store::{Account, account as find_account};
use crate::auth::{Caller, Role, Roles, Status};
use crate::error::{Code, Error, Result};
use crate::events::Channel;
use crate::gyms::Gym;
use crate::ids::{AccountId, SessionId};

/// A signed-in account and gym.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The session: one signed-in device.
    pub session_id: SessionId,
    /// The signed-in account.
    pub account: Account,
    /// The gym of the session.
    pub gym: Gym,
    /// The account's roles in the gym.
    pub roles: Roles,
    /// Names of the account's own live channels.
    pub channels: Vec<String>,
    /// The last link that anybody made to set a new password for the account, whether used or not, until 30 days after
    /// its expiry; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reset_link: Option<ResetNotice>,
}

/// A signed-in account and gym, with tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Access token for `Authorization: Bearer` and for connecting the socket.
    pub access_token: String,
    /// Refresh token. The refresh returns the next one. It works once, and again with the same answer for up to 24 hours
    /// while neither token of that answer has been used. Store the next one before you use its access token.
    pub refresh_token: String,
    /// Secret of this device, only in the answer to a sign-in without one. Send it with the account's next sign-ins
    /// from this device, which wrong passwords of others then cannot lock out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub device_secret: Option<String>,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Lifetime of the access token in seconds.
    pub expires_in: i64,
    /// The signed-in account and gym.
    #[serde(flatten)]
    pub me: Me,
}

impl Session {
    /// Builds the response, with the session in its extensions. No cache may store it.
    pub(super) fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(self);
        response.extensions_mut().insert(Owned {
            gym: self.me.gym.id,
            account: self.me.account.id,
            session: self.me.session_id,
        });
        response
    }
}

/// Chooses the gym to sign in to: the named gym, or else the only gym with an active membership.
///
/// # Errors
/// [`Code::GymRequired`] with the slugs to choose from; [`Code::NoMembership`] if there is nothing to choose, or no
/// active membership of the named gym.
fn choose<'a>(belongings: &'a [Belonging], named: Option<&str>) -> Result<&'a Belonging> {
    let mut active = belongings
        .iter()
        .filter(|b| b.status == Status::Active)
        .filter(|b| named.is_none_or(|slug| b.gym.slug == slug));
    let (first, more) = (active.next(), active.next().is_some());
    match first {
        None => Err(Error::new(Code::NoMembership)),
        Some(only) if !more => Ok(only),
        Some(_) => {
            let active = belongings.iter().filter(|b| b.status == Status::Active);
            let slugs: Vec<&str> = active.map(|b| b.gym.slug.as_str()).collect();
            Err(Error::new(Code::GymRequired)
                .with("gyms", slugs.join(", "))
                .extra("gyms", json!(slugs)))
        }
    }
}

/// Opens a session for an account in a gym. Needs the system role.
pub(super) async fn enter(
    conn: &mut AsyncPgConnection,
    app: &App,
    account: AccountId,
    named: Option<&str>,
    device: &Device,
    now: DateTime<Utc>,
) -> Result<Session> {
    let belongings = store::belongings(conn, account, app.config.demo).await?;
    let belonging = choose(&belongings, named)?;
    let gym = belonging.gym.id;
    let session = sessions::open(conn, (gym, account), device, Life::of(&app.config), now).await?;
    let owned = Owned { gym, account, session };
    with_tokens(conn, app, owned, belonging.clone(), FIRST, now).await
}

/// Issues the tokens of a session's generation, and builds the response.
pub(super) async fn with_tokens(
    conn: &mut AsyncPgConnection,
    app: &App,
    owned: Owned,
    belonging: Belonging,
    generation: i64,
    now: DateTime<Utc>,
) -> Result<Session> {
    let caller = Caller {
        account: owned.account,
        gym: owned.gym,
        roles: belonging.roles,
        session: owned.session,
        access_version: belonging.access_version,
    };
    Ok(Session {
        access_token: app.tokens.issue(&caller, generation, now)?,
        refresh_token: app.refresh_tokens.issue(owned.session, generation),
        device_secret: None,
        token_type: "Bearer",
        expires_in: app.tokens.life_seconds(),
        me: me(conn, owned, belonging).await?,
    })
}

/// Reads account, gym, roles and channels of a session. Needs the system role, since a link may be another gym's.
pub(super) async fn me(conn: &mut AsyncPgConnection, owned: Owned, belonging: Belonging) -> Result<Me> {
    Ok(Me {
        session_id: owned.session,
        account: find_account(conn, owned.account).await?,
        gym: belonging.gym,
        roles: belonging.roles,
        channels: own_channels(owned.account, belonging.roles),
        reset_link: resets::last(conn, owned.account).await?,
    })
}

fn own_channels(account: AccountId, roles: Roles) -> Vec<String> {
    [
        (Role::Member, Channel::Member(account)),
        (Role::Trainer, Channel::Roster(account)),
    ]
    .into_iter()
    .filter(|(role, _)| roles.has(*role))
    .map(|(_, channel)| channel.to_string())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GymId;

    fn belonging(slug: &str, status: Status) -> Belonging {
        let gym = Gym {
            id: GymId::new(),
            slug: slug.into(),
            name: slug.into(),
            time_zone: "Europe/Madrid".into(),
            locale: "es".into(),
            day_start: 0,
        };
        Belonging {
            gym,
            roles: [Role::Member].into_iter().collect(),
            status,
            access_version: 1,
        }
    }

    fn chosen(belongings: &[Belonging], named: Option<&str>) -> Result<String, Code> {
        choose(belongings, named)
            .map(|b| b.gym.slug.clone())
            .map_err(|e| e.code)
    }

    #[test]
    fn the_only_active_gym_needs_no_name() {
        let gyms = [belonging("norte", Status::Active), belonging("sur", Status::Suspended)];
        assert_eq!(chosen(&gyms, None), Ok("norte".into()));
        assert_eq!(chosen(&gyms, Some("sur")), Err(Code::NoMembership));
        assert_eq!(chosen(&gyms, Some("este")), Err(Code::NoMembership));
        assert_eq!(chosen(&gyms[1..], None), Err(Code::NoMembership));
    }

    #[test]
    fn an_account_with_several_gyms_must_name_one() {
        let gyms = [belonging("norte", Status::Active), belonging("sur", Status::Active)];
        let error = choose(&gyms, None).expect_err("a name is required");
        assert_eq!(error.code, Code::GymRequired);
        assert_eq!(error.problem(crate::error::Lang::En)["gyms"], json!(["norte", "sur"]));
        assert_eq!(chosen(&gyms, Some("sur")), Ok("sur".into()));
    }

    #[test]
    fn an_accounts_own_channels_depend_on_its_roles() {
        let id = AccountId::new();
        assert_eq!(
            own_channels(id, [Role::Owner, Role::Trainer].into_iter().collect()),
            [format!("roster:{id}")]
        );
        assert!(own_channels(id, [Role::Manager].into_iter().collect()).is_empty());
    }
}
