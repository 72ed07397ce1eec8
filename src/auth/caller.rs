//! [`Caller`]: an authenticated account in a gym. Handlers get it from [`crate::app`].

use super::access::AccessClaim;
use super::{Role, Roles};
use crate::error::{Error, Result};
use crate::ids::{AccountId, GymId, SessionId};

/// The authenticated account that makes a request, and its gym.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// The gym in the token: the tenant of everything that the request does.
    pub gym: GymId,
    /// The roles in that gym.
    pub roles: Roles,
    /// The session in the token.
    pub session: SessionId,
    /// See [`AccessClaim`].
    pub access_version: i64,
}

impl Caller {
    /// Returns the claim that the request's transaction must check.
    #[must_use]
    pub fn claim(&self) -> AccessClaim {
        AccessClaim {
            account: self.account,
            session: self.session,
            access_version: self.access_version,
        }
    }

    /// Refuses a caller who has none of the roles (403).
    pub fn require(&self, roles: &[Role]) -> Result<()> {
        if self.roles.any(roles) {
            Ok(())
        } else {
            Err(Error::forbidden())
        }
    }
}
