//! [`Status`] of a membership.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The status of a membership. Only an active membership gives access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MembershipStatus)]
pub enum Status {
    /// The account belongs to the gym.
    Active,
    /// The gym has suspended the account's access for a time.
    Suspended,
    /// The account no longer belongs to the gym.
    Ended,
}

impl Status {
    /// The name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Ended => "ended",
        }
    }
}

impl From<String> for Status {
    /// Reads the name in the database, whose CHECK constraint allows only these three. An unknown name gives no access.
    fn from(name: String) -> Self {
        match name.as_str() {
            "active" => Self::Active,
            "suspended" => Self::Suspended,
            _ => Self::Ended,
        }
    }
}
