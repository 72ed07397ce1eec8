//! An answer to a question that a person may leave out, or prefer not to answer.

use serde::{Deserialize, Serialize};

/// What a person said to one question. In JSON: the value, the text `prefer_not_to_say`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Answer<T> {
    /// The person prefers not to say, which staff review; it is no answer of zero.
    Refused(PreferNotToSay),
    /// The answer.
    Given(T),
    /// The question was left out, or not asked. It counts as the answer that adds no points, where there is one.
    #[default]
    #[serde(skip)]
    Omitted,
}

/// The text `prefer_not_to_say`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum PreferNotToSay {
    /// The only text.
    #[default]
    #[serde(rename = "prefer_not_to_say")]
    PreferNotToSay,
}

/// An answer that prefers not to say.
#[must_use]
pub const fn refused<T>() -> Answer<T> {
    Answer::Refused(PreferNotToSay::PreferNotToSay)
}

impl<T> From<T> for Answer<T> {
    fn from(value: T) -> Self {
        Self::Given(value)
    }
}

impl<T> Answer<T> {
    /// The value, if it was given.
    #[must_use]
    pub const fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Refused(_) | Self::Omitted => None,
        }
    }

    /// Whether the question was left out. For serde.
    #[must_use]
    pub const fn is_omitted(&self) -> bool {
        matches!(self, Self::Omitted)
    }

    /// Whether the person prefers not to say.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl Answer<bool> {
    /// Whether the answer is yes.
    #[must_use]
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Given(true))
    }
}

impl Answer<u32> {
    /// The number, if it was given.
    #[must_use]
    pub const fn number(&self) -> Option<u32> {
        match self {
            Self::Given(number) => Some(*number),
            Self::Refused(_) | Self::Omitted => None,
        }
    }
}
