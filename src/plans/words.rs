//! The closed enumerations of a plan, with the same names in JSON, in Postgres and in list filters.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use liveplan_nutrition::calendar::Schedule;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Declares enums that are stored in a `text` column.
macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident as $schema:ident { $($variant:ident $word:literal $meaning:literal,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow,
        )]
        #[diesel(sql_type = Text)]
        #[serde(rename_all = "snake_case")]
        #[schema(as = $schema)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)+
        }

        impl $name {
            /// All variants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in JSON and in Postgres.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl ToSql<Text, Pg> for $name {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                <str as ToSql<Text, Pg>>::to_sql(self.word(), out)
            }
        }

        impl FromSql<Text, Pg> for $name {
            fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
                let text = <String as FromSql<Text, Pg>>::from_sql(bytes)?;
                let word = Self::ALL.iter().copied().find(|word| word.word() == text);
                word.ok_or_else(|| format!("{text} is no {}", stringify!($name)).into())
            }
        }
    )+};
}

words! {
    /// How followers start a plan.
    Kind as PlanKind {
        Template "template" "Meant to be copied, not followed.",
        Plan "plan" "Each follower starts it on a day of their own.",
        Live "live" "All followers are on the same day.",
    }
    /// The goal of a plan.
    Goal as Goal {
        LoseFat "lose_fat" "Lose fat.",
        Maintain "maintain" "Keep the weight.",
        GainMuscle "gain_muscle" "Gain muscle.",
        Recomposition "recomposition" "Gain muscle and lose fat.",
        Performance "performance" "Perform in a sport.",
        Health "health" "General health.",
    }
    /// How a plan's days repeat.
    Cycle as Cycle {
        Fixed "fixed" "They run once, from the first to the last.",
        Weekly "weekly" "They repeat.",
        TrainingRest "training_rest" "Training days and rest days; they repeat.",
    }
    /// The status of a plan.
    Status as PlanStatus {
        Draft "draft" "Only its author and the gym's owners, managers and nutritionists see it.",
        Published "published" "Members can follow it, and an edit reaches its followers at once.",
        Archived "archived" "Nobody can change it or start following it any more.",
    }
    /// Who may see a published plan besides its followers.
    Visibility as Visibility {
        Gym "gym" "Everyone in the gym.",
        Trainer "trainer" "Its author.",
        Assigned "assigned" "Its author, and the trainers of those who follow it.",
    }
    /// How a plan was created.
    Source as PlanSource {
        Manual "manual" "A person wrote it.",
        Ai "ai" "A model generated it.",
        Import "import" "It was imported.",
        Fallback "fallback" "A template was used because the generator could not be reached.",
    }
    /// The place of a meal in the day.
    Slot as Slot {
        Breakfast "breakfast" "Breakfast.",
        MidMorning "mid_morning" "Mid-morning.",
        Lunch "lunch" "Lunch.",
        Snack "snack" "Afternoon snack.",
        Dinner "dinner" "Dinner.",
        Late "late" "Late at night.",
        PreWorkout "pre_workout" "Before training.",
        PostWorkout "post_workout" "After training.",
        Custom "custom" "None of these.",
    }
}

impl Cycle {
    /// The calendar of a plan with this many days. Only a fixed plan ends. Plans for training and rest days repeat like
    /// weekly ones, as long as the server does not know training days.
    #[must_use]
    pub fn schedule(self, duration_days: i32) -> Schedule {
        Schedule {
            duration_days,
            repeats: self != Self::Fixed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_json_equal_those_in_the_database() {
        fn check<T: Serialize>(all: &[T], word: impl Fn(&T) -> &'static str) {
            for one in all {
                assert_eq!(serde_json::to_value(one).expect("json"), word(one));
            }
        }
        check(Kind::ALL, |w| w.word());
        check(Goal::ALL, |w| w.word());
        check(Cycle::ALL, |w| w.word());
        check(Status::ALL, |w| w.word());
        check(Visibility::ALL, |w| w.word());
        check(Source::ALL, |w| w.word());
        check(Slot::ALL, |w| w.word());
    }
}
