//! What the channels `member:` and `roster:` show.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Follow;
use crate::ids::{AccountId, MealId};
use crate::meals::CompletionState;
use crate::meals::progress::ProgressState;

/// What the channel `member:{account}` shows: the running follow, with its ticks and sums of the last days.
#[derive(Serialize, ToSchema)]
pub struct MemberState<'a> {
    /// The running follow; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) follow: Option<&'a Follow>,
    /// By date, then by meal.
    #[schema(value_type = BTreeMap<String, BTreeMap<MealId, CompletionState>>)]
    pub(super) completions: Value,
    /// By date.
    #[schema(value_type = BTreeMap<String, ProgressState>)]
    pub(super) progress: Value,
}

/// What the channel `roster:{trainer}` shows.
#[derive(Serialize, ToSchema)]
pub struct RosterState<'a> {
    /// By account.
    pub(super) members: BTreeMap<AccountId, RosterMember<'a>>,
}

/// A member on a trainer's roster.
#[derive(Serialize, ToSchema)]
pub struct RosterMember<'a> {
    /// Name.
    pub(super) name: &'a str,
    /// Since when they are assigned.
    pub(super) since: DateTime<Utc>,
    /// The running follow; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) follow: Option<&'a Follow>,
    /// The last days, by date.
    #[schema(value_type = BTreeMap<String, ProgressState>)]
    pub(super) progress: Value,
}
