//! What became of a meal, and how much of it was eaten.

use serde::{Deserialize, Serialize};

use crate::Words;

/// Thousandths of a whole portion.
pub const WHOLE_PORTION: i32 = 1000;

/// What became of a meal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CompletionStatus {
    /// It was eaten.
    Eaten,
    /// A part of it was eaten.
    Partial,
    /// It was left out.
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

    /// The status of a name; none for another word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The portion, in thousandths, that this status means, where the client's agrees with it: a part must be named, what
    /// was eaten is the whole, what was skipped nothing.
    ///
    /// # Errors
    /// What the portion may be.
    pub fn portion(self, given: Option<i32>) -> Result<i32, Words> {
        match (self, given) {
            (Self::Eaten, None | Some(WHOLE_PORTION)) => Ok(WHOLE_PORTION),
            (Self::Partial, Some(part)) if (1..WHOLE_PORTION).contains(&part) => Ok(part),
            (Self::Skipped, None | Some(0)) => Ok(0),
            (Self::Eaten, _) => Err((
                "1000 or absent where the meal was eaten",
                "1000 o ausente si la comida se tomó entera",
            )
                .into()),
            (Self::Partial, _) => Err((
                "1 to 999 where a part of the meal was eaten",
                "de 1 a 999 si se tomó una parte de la comida",
            )
                .into()),
            (Self::Skipped, _) => Err((
                "0 or absent where the meal was skipped",
                "0 o ausente si la comida se saltó",
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
    fn names_are_those_of_json() {
        for status in CompletionStatus::ALL {
            assert_eq!(serde_json::to_value(status).expect("json"), status.name());
            assert_eq!(CompletionStatus::named(status.name()), Some(status));
        }
        assert_eq!(CompletionStatus::named("undone"), None);
    }
}
