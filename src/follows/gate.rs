//! Where it is decided whether a plan is safe for a person.

use crate::error::Result;
use crate::events::Tx;
use crate::ids::{AccountId, PlanId};

/// Whether this member may follow this plan, for the member's safety; asked inside the transaction that starts the follow,
/// so that what it looked at still holds when the follow is there.
///
/// This is the one place that screening, consent and the plan's gates stand in. Until they are there, everybody may.
///
/// # Errors
/// What keeps the member from it.
#[expect(clippy::unused_async, reason = "screening reads the database")]
pub async fn check(_tx: &mut Tx, _member: AccountId, _plan: PlanId) -> Result<()> {
    Ok(())
}
