//! Fields of a PATCH: an absent field keeps the value, null clears it, a value replaces it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A field of a PATCH that may be cleared. Give it `#[serde(default, skip_serializing_if = "Patch::is_keep")]` and
/// `#[schema(value_type = Option<T>)]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is absent: keep the value.
    #[default]
    Keep,
    /// The field is null: clear the value.
    Clear,
    /// The field has a value: replace the old one.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field was absent.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The value for a diesel changeset: `None` keeps the column, `Some(None)` sets it to NULL.
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
