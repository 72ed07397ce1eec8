//! [`Caller`]: an authenticated account in a gym, extracted from `Authorization: Bearer`. Extraction verifies the token
//! only; that its session still holds is checked in the transaction that the handler opens for it.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};

use super::access::AccessClaim;
use super::{Role, Roles};
use crate::app::App;
use crate::error::{Code, Error, Result};
use crate::ids::{AccountId, GymId, SessionId};

/// Who makes a request, in which gym.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// The gym of the token; the tenant of all that the request does.
    pub gym: GymId,
    /// The roles in that gym.
    pub roles: Roles,
    /// The signed-in device.
    pub session: SessionId,
    /// See [`AccessClaim`].
    pub access_version: i64,
}

impl Caller {
    /// What to check in the transaction.
    #[must_use]
    pub fn claim(&self) -> AccessClaim {
        AccessClaim {
            account: self.account,
            session: self.session,
            access_version: self.access_version,
        }
    }

    /// Refuses callers with none of the roles.
    pub fn require(&self, roles: &[Role]) -> Result<()> {
        if self.roles.any(roles) {
            Ok(())
        } else {
            Err(Error::forbidden())
        }
    }
}

impl FromRequest for Caller {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(from_header(request))
    }
}

fn from_header(request: &HttpRequest) -> Result<Caller> {
    let app = request
        .app_data::<web::Data<App>>()
        .ok_or_else(|| Error::new(Code::Internal))?;
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Error::new(Code::Unauthenticated))?;
    app.tokens
        .verify(token, app.clock.now())
        .map(|verified| verified.caller)
}
