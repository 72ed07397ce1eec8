//! Fields of a PATCH: absent leaves as it is, null clears, a value sets.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A field of a PATCH that may be cleared. Give it `#[serde(default, skip_serializing_if = "Patch::is_keep")]` and
/// `#[schema(value_type = Option<T>)]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Absent.
    #[default]
    Keep,
    /// null.
    Clear,
    /// A value.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field was absent.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// What diesel's changesets take: none leaves, `Some(None)` clears.
    #[must_use]
    pub fn into_change(self) -> Option<Option<T>> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }

    /// The value after this patch.
    #[must_use]
    pub fn or(self, current: Option<T>) -> Option<T> {
        self.into_change().unwrap_or(current)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(value) => value.serialize(serializer),
            Self::Keep | Self::Clear => serializer.serialize_none(),
        }
    }
}
