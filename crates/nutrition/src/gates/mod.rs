//! Gates compare one plan with one person, whatever the questionnaire's score. Their limits and words are data,
//! `gates-v1.ini`. A plan's facts and a person are each worked out once; [`check`] then compares integers.

mod check;
mod decision;
mod finding;
mod limits;
mod person;
mod plan;
#[cfg(test)]
mod tests;
mod trainer;

use std::sync::LazyLock;

pub use self::check::{check, restrictive, worst_severity};
pub use self::decision::{Clearance, Refusal, Standing, decide};
pub use self::finding::{Compared, Finding, Gate, Place, Severity, Unit};
pub use self::limits::{About, Limits};
pub use self::person::{Fact, Needs, Person};
pub use self::plan::{Choice, Day, Item, Meal, Plan, PlanFacts};
pub use self::trainer::{Constraint, Told, for_trainer};
use crate::screening::Fault;

/// The version by which plans are compared now.
pub const LATEST: u32 = 1;

static V1: LazyLock<Result<Limits, Fault>> = LazyLock::new(|| Limits::read(1, include_str!("gates-v1.ini")));

/// The limits of a version, also of an earlier one. `None` if there is no such version; whoever asks then lets nobody
/// follow. A test shows that every version can be read.
#[must_use]
pub fn limits(version: u32) -> Option<&'static Limits> {
    match version {
        1 => V1.as_ref().ok(),
        _ => None,
    }
}
