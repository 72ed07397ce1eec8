//! Serde functions for payloads in JSON: embedded verbatim, never parsed and re-encoded. An empty payload is an absent
//! field.

use bytes::Bytes;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
use serde_json::value::RawValue;

pub(crate) fn serialize<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let text = std::str::from_utf8(payload).map_err(serde::ser::Error::custom)?;
    let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(raw.map_or_else(Bytes::new, |raw| Bytes::from(Box::<str>::from(raw).into_string())))
}
