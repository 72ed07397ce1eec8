//! The safety gate: decides whether a plan is safe for a member.

use crate::error::Result;
use crate::events::Tx;
use crate::ids::{AccountId, PlanId};

/// Checks whether it is safe for this member to follow this plan. It runs in the transaction that starts the follow, so
/// that the data it reads still holds when the follow commits.
///
/// Screening, consent and a plan's own conditions belong here and nowhere else. They do not exist yet, so every member
/// passes.
///
/// # Errors
/// The reason why the member may not follow the plan.
#[expect(clippy::unused_async, reason = "screening reads the database")]
pub async fn check(_tx: &mut Tx, _member: AccountId, _plan: PlanId) -> Result<()> {
    Ok(())
}
