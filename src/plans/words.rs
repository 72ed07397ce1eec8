//! The closed lists of the plan's vocabulary, the same words in JSON, in Postgres and in the filters of a list.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use liveplan_nutrition::calendar::Schedule;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Declares enums that are a word of a `text` column.
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
            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word.
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
    /// What a plan is for its followers.
    Kind as PlanKind {
        Template "template" "To be copied.",
        Plan "plan" "Each follower begins on a day of their own.",
        Live "live" "All followers are on the same day.",
    }
    /// What a plan is meant to reach.
    Goal as Goal {
        LoseFat "lose_fat" "Less fat.",
        Maintain "maintain" "The same weight.",
        GainMuscle "gain_muscle" "More muscle.",
        Recomposition "recomposition" "More muscle and less fat.",
        Performance "performance" "Performance in a sport.",
        Health "health" "Health in general.",
    }
    /// How a plan's days follow one another.
    Cycle as Cycle {
        Fixed "fixed" "Once, from the first to the last.",
        Weekly "weekly" "Again and again.",
        TrainingRest "training_rest" "Training days and rest days.",
    }
    /// Where a plan is in its life.
    Status as PlanStatus {
        Draft "draft" "Only its editors see it.",
        Published "published" "It can be followed, and an edit reaches its followers at once.",
        Archived "archived" "It can no longer be changed or begun.",
    }
    /// Whom a published plan is shown to, besides its followers.
    Visibility as Visibility {
        Gym "gym" "Everybody in the gym.",
        Trainer "trainer" "Its author.",
        Assigned "assigned" "Its author, and the trainers of those who follow it.",
    }
    /// Where a plan comes from.
    Source as PlanSource {
        Manual "manual" "A person wrote it.",
        Ai "ai" "It was generated.",
        Import "import" "It was imported.",
        Fallback "fallback" "It was generated from a template, since the generator could not be reached.",
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
    /// How so many days lie on the calendar. Only a fixed plan ends; plans for training and rest days go round like weekly
    /// ones until training days are known.
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
    fn the_words_of_json_are_those_of_the_database() {
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
