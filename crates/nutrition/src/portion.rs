//! The status of a completion, and the eaten portion that goes with it.

use serde::{Deserialize, Serialize};

use crate::Words;

/// A whole portion, in thousandths.
pub const WHOLE_PORTION: i32 = 1000;

/// What a member recorded for a meal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CompletionStatus {
    /// The whole meal was eaten.
    Eaten,
    /// A part of the meal was eaten.
    Partial,
    /// The meal was skipped.
    Skipped,
}

impl CompletionStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Eaten, Self::Partial, Self::Skipped];

    /// The name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eaten => "eaten",
            Self::Partial => "partial",
            Self::Skipped => "skipped",
        }
    }

    /// Parses a name; `None` if it is unknown.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Returns the portion for this status, in thousandths: 1000 for eaten, 0 for skipped, and the client's value for
    /// partial. `given` is the client's value; only partial requires one.
    ///
    /// # Errors
    /// The allowed values, if `given` does not agree with the status.
    pub fn portion(self, given: Option<i32>) -> Result<i32, Words> {
        match (self, given) {
            (Self::Eaten, None | Some(WHOLE_PORTION)) => Ok(WHOLE_PORTION),
            (Self::Partial, Some(part)) if (1..WHOLE_PORTION).contains(&part) => Ok(part),
            (Self::Skipped, None | Some(0)) => Ok(0),
            (Self::Eaten, _) => Err((
                "1000 or absent if the whole meal was eaten",
                "1000 o ausente si la comida se comió entera",
            )
                .into()),
            (Self::Partial, _) => Err((
                "1 to 999 if a part of the meal was eaten",
                "de 1 a 999 si se comió una parte de la comida",
            )
                .into()),
            (Self::Skipped, _) => Err((
                "0 or absent if the meal was skipped",
                "0 o ausente si la comida se omitió",
            )
                .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_agrees_with_its_status() {
        use CompletionStatus::{Eaten, Partial, Skipped};
        let cases = [
            (Eaten, None, Some(1000)),
            (Eaten, Some(1000), Some(1000)),
            (Eaten, Some(999), None),
            (Eaten, Some(1001), None),
            (Partial, None, None),
            (Partial, Some(0), None),
            (Partial, Some(1), Some(1)),
            (Partial, Some(999), Some(999)),
            (Partial, Some(1000), None),
            (Partial, Some(-5), None),
            (Skipped, None, Some(0)),
            (Skipped, Some(0), Some(0)),
            (Skipped, Some(1), None),
        ];
        for (status, given, portion) in cases {
            assert_eq!(status.portion(given).ok(), portion, "{status:?} {given:?}");
        }
    }

    #[test]
    fn names_match_json() {
        for status in CompletionStatus::ALL {
            assert_eq!(serde_json::to_value(status).expect("json"), status.name());
            assert_eq!(CompletionStatus::named(status.name()), Some(status));
        }
        assert_eq!(CompletionStatus::named("undone"), None);
    }
}
