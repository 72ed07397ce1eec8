//! An edit of a plan: lock its row, check the caller and the version, change the tree in memory, write the difference
//! and emit one event. An edit of a published plan makes exactly one new revision, however many things it changes; an
//! edit that changes nothing writes nothing.

use serde_json::json;

use super::model::{Plan, PlanSummary};
use super::words::{Status, Visibility};
use super::{access, history, live, rules, store, tree};
use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::events::{Channel, Tx, merge};
use crate::http::IfMatch;
use crate::ids::{AccountId, PlanId};

/// A plan being edited.
pub struct Edit {
    before: Plan,
    author: AccountId,
    /// The plan as it will be saved; callers change it in place.
    pub plan: Plan,
}

/// Locks a plan for a caller who may write it and whose `If-Match` names its current version.
///
/// # Errors
/// 404 if the caller's gym has no such plan, 403 if the caller may not write it, 428 without a version, 412 for an old
/// one.
pub async fn lock(tx: &mut Tx, caller: &Caller, plan: PlanId, version: &IfMatch) -> Result<PlanSummary> {
    let plan = store::lock(tx, caller.gym, plan)
        .await?
        .ok_or_else(|| Error::not_found("plan"))?;
    access::require_writer(caller, plan.author_id)?;
    version.check(plan.version)?;
    Ok(plan)
}

impl Edit {
    /// Locks the plan and begins an edit.
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

    /// Begins an edit of a plan that the transaction has locked already.
    pub async fn of(tx: &mut Tx, caller: &Caller, locked: PlanSummary) -> Result<Self> {
        let before = tree::current(tx, caller.gym, locked).await?;
        Ok(Self {
            author: caller.account,
            plan: before.clone(),
            before,
        })
    }

    /// Ends the edit: writes the difference and, unless the plan is a draft, emits one event of this kind.
    ///
    /// # Errors
    /// 422 if the plan exceeds a size limit.
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

/// Emits the change to the plan's channel. A plan has no channel before its publication, so that event holds all of it.
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
        // Trainers may have been watching only because the plan was visible to the gym: re-authorise them.
        let gym = tx.gym;
        for trainer in store::trainers(tx, gym).await? {
            tx.access_changed(trainer);
        }
    }
    Ok(())
}
