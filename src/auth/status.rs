//! [`Status`] of a membership.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a membership stands. Only an active one gives access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MembershipStatus)]
pub enum Status {
    /// Somebody who had an account already was added; it becomes active when they sign in to the gym by its name.
    Invited,
    /// Belongs to the gym.
    Active,
    /// Kept out for the time being.
    Suspended,
    /// No longer belongs to the gym.
    Ended,
}

impl Status {
    /// The name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Ended => "ended",
        }
    }
}

impl From<String> for Status {
    /// From the database, whose CHECK admits no other names; an unknown one gives no access.
    fn from(name: String) -> Self {
        match name.as_str() {
            "invited" => Self::Invited,
            "active" => Self::Active,
            "suspended" => Self::Suspended,
            _ => Self::Ended,
        }
    }
}
