//! The questionnaire that decides whether a person may follow a plan or use AI generation. Rules are data with a version;
//! [`evaluate`] is a pure function of answers and rules. It refers people to a professional and does not diagnose.

mod answer;
mod answers;
mod evaluate;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use chrono::{DateTime, TimeDelta, Utc};

pub use self::answer::{Answer, PreferNotToSay, refused};
pub use self::answers::{
    Answers, Condition, Diet, OTHER_ALLERGIES, OTHER_ALLERGY_CHARS, OtherAllergy, POSTPARTUM_WEEKS,
};
pub use self::evaluate::{Evaluation, Level, Spoken, evaluate};
pub use self::rules::{Levels, Rule, Rules};
pub use crate::sections::Fault;

/// The version that new questionnaires are evaluated by.
pub const LATEST: u32 = 1;

/// How long a screening allows new follows and AI generation.
const VALID: TimeDelta = TimeDelta::hours(24);
/// For how long a drop from a level that may not proceed is held for staff.
const HELD: TimeDelta = TimeDelta::days(30);

static V1: LazyLock<Result<Rules, Fault>> = LazyLock::new(|| Rules::read(1, include_str!("rules-v1.ini")));

/// The rules of a version, also of an earlier one, so that a stored screening can be evaluated again. `None` if there is
/// no such version; whoever asks then lets nobody proceed. A test shows that every version can be read.
#[must_use]
pub fn rules(version: u32) -> Option<&'static Rules> {
    match version {
        1 => V1.as_ref().ok(),
        _ => None,
    }
}

/// When a screening that was made at `made` ends: 24 hours later.
#[must_use]
pub fn expires_at(made: DateTime<Utc>) -> DateTime<Utc> {
    made.checked_add_signed(VALID).unwrap_or(made)
}

/// Whether a new level is held for staff review: the person was HIGH or CRITICAL within the 30 days before `now`, and
/// now is neither. `earlier` are the instants and levels of earlier screenings, in any order.
#[must_use]
pub fn drop_is_held(
    earlier: impl IntoIterator<Item = (DateTime<Utc>, Level)>,
    level: Level,
    now: DateTime<Utc>,
) -> bool {
    let recent = |made: DateTime<Utc>| made <= now && now - made <= HELD;
    level.can_proceed()
        && earlier
            .into_iter()
            .any(|(made, was)| recent(made) && !was.can_proceed())
}
