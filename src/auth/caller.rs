//! [`Caller`]: an authenticated account in a gym. Handlers get it from [`crate::app`].

use super::access::AccessClaim;
use super::{Role, Roles};
use crate::error::{Error, Result};
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
