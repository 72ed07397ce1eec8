//! An edit of a plan: its row is locked, the caller and the version are checked, the tree is changed in memory, and what
//! differs is written with one event. However many things an edit changes, a published plan gets one new revision; one
//! that changes nothing writes nothing.

use serde_json::json;

use super::model::{Plan, PlanSummary};
use super::words::{Status, Visibility};
use super::{access, history, live, rules, store, tree};
use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::events::{Channel, Tx, merge};
use crate::http::IfMatch;
use crate::ids::{AccountId, PlanId};

/// A plan that is being edited.
pub struct Edit {
    before: Plan,
    author: AccountId,
    /// The plan as it shall be.
    pub plan: Plan,
}

/// Locks a plan for a caller who may write it and has read its current version.
///
/// # Errors
/// 404 where the caller's gym has no such plan, 403 where the caller may not write it, 428 and 412 for the version.
pub async fn lock(tx: &mut Tx, caller: &Caller, plan: PlanId, version: &IfMatch) -> Result<PlanSummary> {
    let plan = store::lock(tx, caller.gym, plan)
        .await?
        .ok_or_else(|| Error::not_found("plan"))?;
    access::require_writer(caller, plan.author_id)?;
    version.check(plan.version)?;
    Ok(plan)
}

impl Edit {
    /// Begins an edit under the plan's lock.
    ///
    /// # Errors
    /// Those of [`lock`]; 409 for an archived plan.
    pub async fn begin(tx: &mut Tx, caller: &Caller, plan: PlanId, version: &IfMatch) -> Result<Self> {
        let summary = lock(tx, caller, plan, version).await?;
        if summary.status == Status::Archived {
            return Err(Error::new(Code::PlanArchived));
        }
        Self::of(tx, caller, summary).await
    }

    /// Begins an edit of a plan that is locked already.
    pub async fn of(tx: &mut Tx, caller: &Caller, locked: PlanSummary) -> Result<Self> {
        let before = tree::current(tx, caller.gym, locked).await?;
        Ok(Self {
            author: caller.account,
            plan: before.clone(),
            before,
        })
    }

    /// Ends it: writes what differs and emits one event of this kind, where anything differs and someone may watch.
    ///
    /// # Errors
    /// 422 where the plan would hold too much.
    pub async fn save(self, tx: &mut Tx, kind: &'static str) -> Result<Plan> {
        let Self {
            before,
            author,
            mut plan,
        } = self;
        rules::size(&plan)?;
        plan.settle();
        if plan == before {
            return Ok(plan);
        }
        let gym = tx.gym;
        plan.summary.version += 1;
        plan.summary.updated_at = tx.now;
        let makes_revision = plan.status == Status::Published;
        if makes_revision {
            plan.summary.revision += 1;
        }
        let revision = if plan.status == Status::Draft {
            history::DRAFT
        } else {
            plan.revision
        };
        history::save(tx, gym, Some(&before), &plan, revision).await?;
        store::update(tx, gym, &plan.summary).await?;
        if makes_revision {
            store::insert_revision(tx, gym, &plan.summary, author).await?;
        }
        if plan.status != Status::Draft {
            emit(tx, kind, &before, &plan).await?;
        }
        Ok(plan)
    }
}

/// Tells who watches. The first they see of a plan is all of it.
async fn emit(tx: &mut Tx, kind: &'static str, before: &Plan, after: &Plan) -> Result<()> {
    let shown = if before.status == Status::Draft {
        json!({})
    } else {
        live::snapshot_of(before)
    };
    tx.emit(
        Channel::Plan(after.id),
        kind,
        merge::diff(&shown, &live::snapshot_of(after)),
    );
    if before.status != Status::Draft && before.visibility == Visibility::Gym && after.visibility != Visibility::Gym {
        // A trainer may have been watching only because everybody might.
        let gym = tx.gym;
        for trainer in store::trainers(tx, gym).await? {
            tx.access_changed(trainer);
        }
    }
    Ok(())
}
