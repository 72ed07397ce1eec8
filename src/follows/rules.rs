//! The states of a follow and the transitions between them. Pure.

use diesel::deserialize::FromSqlRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The status of a follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, FromSqlRow)]
#[serde(rename_all = "snake_case")]
#[schema(as = FollowStatus)]
pub enum Status {
    /// The member is following the plan.
    Active,
    /// The member has paused the plan.
    Paused,
    /// The plan has ended.
    Completed,
    /// The member has abandoned the plan.
    Abandoned,
    /// The follow was stopped for the member's safety.
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
    /// Names of the statuses of a running follow.
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

/// An action on a follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pause it.
    Pause,
    /// Resume it.
    Resume,
    /// Abandon it.
    Abandon,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Pause, Self::Resume, Self::Abandon];

    /// The verb, as in the path of its route.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abandon => "abandon",
        }
    }

    /// The kind of the event that publishes it.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Pause => "follow.paused",
            Self::Resume => "follow.resumed",
            Self::Abandon => "follow.abandoned",
        }
    }

    /// The status after the action; `None` if the action does not apply.
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
    fn only_the_listed_transitions_are_allowed() {
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
