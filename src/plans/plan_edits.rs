//! Edits of the plan itself: create, copy and change its own fields.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::edit::Edit;
use super::meal_edits::{self, NewMeal};
use super::model::{Day, Plan, PlanSummary, Target};
use super::words::{Cycle, Goal, Kind, Source, Status, Visibility};
use super::{history, ingredients, rules, store};
use crate::auth::Caller;
use crate::error::Result;
use crate::events::Tx;
use crate::http::Patch;
use crate::ids::{AccountId, DayId, ItemId, MealId, PlanId};
use liveplan_nutrition::nutrients::Nutrients;

/// A new plan. It starts as a draft with empty days.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPlan {
    /// `plan` by default.
    pub kind: Option<Kind>,
    /// The goal of the plan.
    pub goal: Goal,
    /// 1 to 200 characters.
    pub name: String,
    /// Up to 4,000 characters.
    #[serde(default)]
    pub description: String,
    /// The nutrient target of a day.
    #[serde(default)]
    pub target: NewTarget,
    /// Number of days, 1 to 84.
    #[schema(minimum = 1, maximum = 84)]
    pub duration_days: i32,
    /// `fixed` by default.
    pub cycle: Option<Cycle>,
    /// `gym` by default.
    pub visibility: Option<Visibility>,
    /// The first day; required for a live plan and only allowed for one, at most five years from today.
    pub start_date: Option<NaiveDate>,
}

/// The nutrient target of a day in a new plan.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPlanTarget)]
pub struct NewTarget {
    /// Energy in thousandths of a kilocalorie.
    pub energy_mkcal: Option<i64>,
    /// Protein in milligrams.
    pub protein_mg: Option<i64>,
    /// Carbohydrate in milligrams.
    pub carbohydrate_mg: Option<i64>,
    /// Fat in milligrams.
    pub fat_mg: Option<i64>,
}

/// Changes to a plan; absent fields stay.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanPatch {
    /// 1 to 200 characters.
    pub name: Option<String>,
    /// Up to 4,000 characters.
    pub description: Option<String>,
    /// The goal of the plan.
    pub goal: Option<Goal>,
    /// Changes to the target; null removes all of it.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<TargetPatch>)]
    pub target: Patch<TargetPatch>,
    /// Who may see it besides its followers.
    pub visibility: Option<Visibility>,
}

/// Changes to a target; null removes an amount, absent amounts stay.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlanTargetPatch)]
pub struct TargetPatch {
    /// Energy in thousandths of a kilocalorie.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<i64>)]
    pub energy_mkcal: Patch<i64>,
    /// Protein in milligrams.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<i64>)]
    pub protein_mg: Patch<i64>,
    /// Carbohydrate in milligrams.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<i64>)]
    pub carbohydrate_mg: Patch<i64>,
    /// Fat in milligrams.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<i64>)]
    pub fat_mg: Patch<i64>,
}

impl NewPlan {
    /// Builds the draft.
    ///
    /// # Errors
    /// 422 with the invalid field.
    pub fn make(self, author: AccountId, now: DateTime<Utc>) -> Result<Plan> {
        let kind = self.kind.unwrap_or(Kind::Plan);
        let NewTarget {
            energy_mkcal,
            protein_mg,
            carbohydrate_mg,
            fat_mg,
        } = self.target;
        let target = Target {
            energy_mkcal,
            protein_mg,
            carbohydrate_mg,
            fat_mg,
        };
        rules::target(&target)?;
        let summary = PlanSummary {
            id: PlanId::new(),
            kind,
            goal: self.goal,
            name: rules::title("name", &self.name)?,
            description: rules::text("description", &self.description)?,
            target,
            duration_days: rules::duration(self.duration_days)?,
            cycle: self.cycle.unwrap_or(Cycle::Fixed),
            status: Status::Draft,
            visibility: self.visibility.unwrap_or(Visibility::Gym),
            source: Source::Manual,
            author_id: author,
            start_date: rules::start_date(kind, self.start_date, now.date_naive())?,
            version: 1,
            revision: 0,
            created_at: now,
            updated_at: now,
        };
        let day = |number| Day {
            id: DayId::new(),
            number,
            title: String::new(),
            nutrients: Nutrients::default(),
            meals: Vec::new(),
        };
        let days = (1..=summary.duration_days).map(day).collect();
        Ok(Plan {
            summary,
            nutrients: Nutrients::default(),
            days,
        })
    }
}

impl PlanPatch {
    /// Applies the patch to a plan.
    ///
    /// # Errors
    /// 422 with the invalid field.
    pub fn apply(self, plan: &mut Plan) -> Result<()> {
        let plan = &mut plan.summary;
        if let Some(name) = &self.name {
            plan.name = rules::title("name", name)?;
        }
        if let Some(description) = &self.description {
            plan.description = rules::text("description", description)?;
        }
        plan.goal = self.goal.unwrap_or(plan.goal);
        plan.visibility = self.visibility.unwrap_or(plan.visibility);
        match self.target {
            Patch::Keep => {}
            Patch::Clear => plan.target = Target::default(),
            Patch::Set(patch) => {
                plan.target.energy_mkcal = patch.energy_mkcal.or(plan.target.energy_mkcal);
                plan.target.protein_mg = patch.protein_mg.or(plan.target.protein_mg);
                plan.target.carbohydrate_mg = patch.carbohydrate_mg.or(plan.target.carbohydrate_mg);
                plan.target.fat_mg = patch.fat_mg.or(plan.target.fat_mg);
            }
        }
        rules::target(&plan.target)
    }
}

impl Plan {
    /// A draft with the same content and new identifiers.
    #[must_use]
    pub fn copy(mut self, author: AccountId, now: DateTime<Utc>) -> Self {
        for day in &mut self.days {
            day.id = DayId::new();
            for meal in &mut day.meals {
                meal.id = MealId::new();
                for item in &mut meal.items {
                    item.id = ItemId::new();
                }
            }
        }
        self.summary = PlanSummary {
            id: PlanId::new(),
            status: Status::Draft,
            author_id: author,
            version: 1,
            revision: 0,
            created_at: now,
            updated_at: now,
            ..self.summary
        };
        self
    }
}

/// Stores a new draft.
///
/// # Errors
/// 422 if the plan exceeds a size limit.
pub async fn insert(tx: &mut Tx, plan: &Plan) -> Result<()> {
    rules::size(plan)?;
    let gym = tx.gym;
    store::insert(tx, gym, &plan.summary).await?;
    history::save(tx, gym, None, plan, history::DRAFT).await?;
    Ok(())
}

/// Stores a new plan with meals on its days, and publishes it.
///
/// # Errors
/// 422 with the invalid field.
pub async fn insert_published(tx: &mut Tx, author: &Caller, new: NewPlan, meals: &[(i32, NewMeal)]) -> Result<Plan> {
    let mut plan = new.make(author.account, tx.now)?;
    let foods = meals
        .iter()
        .flat_map(|(_, meal)| meal_edits::foods(&meal.items))
        .collect();
    let gym = tx.gym;
    let pantry = ingredients::stock(tx, gym, foods).await?;
    for (day, meal) in meals {
        plan.add_meal(*day, meal, &pantry)?;
    }
    plan.settle();
    insert(tx, &plan).await?;
    let mut edit = Edit::of(tx, author, plan.summary).await?;
    edit.plan.summary.status = Status::Published;
    edit.save(tx, "plan.published").await
}
