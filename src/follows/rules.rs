//! What may become of a follow. Pure.

use diesel::deserialize::FromSqlRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a follow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, FromSqlRow)]
#[serde(rename_all = "snake_case")]
#[schema(as = FollowStatus)]
pub enum Status {
    /// The member is following the plan.
    Active,
    /// The member has stopped for a while.
    Paused,
    /// The plan came to its end.
    Completed,
    /// The member gave it up.
    Abandoned,
    /// It was stopped for the member's safety.
    Blocked,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Active,
        Self::Paused,
        Self::Completed,
        Self::Abandoned,
        Self::Blocked,
    ];
    /// Those of a member's one running follow.
    pub const RUNNING: [&'static str; 2] = [Self::Active.name(), Self::Paused.name()];

    /// The name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Abandoned => "abandoned",
            Self::Blocked => "blocked",
        }
    }
}

/// What can be done to a follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop for a while.
    Pause,
    /// Go on.
    Resume,
    /// Give it up.
    Abandon,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Pause, Self::Resume, Self::Abandon];

    /// The verb, as in the path of its request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abandon => "abandon",
        }
    }

    /// The event that tells of it.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Pause => "follow.paused",
            Self::Resume => "follow.resumed",
            Self::Abandon => "follow.abandoned",
        }
    }

    /// What a follow becomes by it; none where it does not apply.
    #[must_use]
    pub const fn after(self, status: Status) -> Option<Status> {
        match (self, status) {
            (Self::Pause, Status::Active) => Some(Status::Paused),
            (Self::Resume, Status::Paused) => Some(Status::Active),
            (Self::Abandon, Status::Active | Status::Paused) => Some(Status::Abandoned),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follow_goes_only_where_the_table_says() {
        let allowed: Vec<_> = Status::ALL
            .into_iter()
            .flat_map(|from| Action::ALL.map(|action| (from, action, action.after(from))))
            .filter_map(|(from, action, to)| Some((from, action, to?)))
            .collect();
        assert_eq!(
            allowed,
            [
                (Status::Active, Action::Pause, Status::Paused),
                (Status::Active, Action::Abandon, Status::Abandoned),
                (Status::Paused, Action::Resume, Status::Active),
                (Status::Paused, Action::Abandon, Status::Abandoned),
            ]
        );
    }
}
