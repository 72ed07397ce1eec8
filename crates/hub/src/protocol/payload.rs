//! What may be a payload: one JSON value without a raw newline, since a newline separates messages in the JSON codec.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// A payload as a client sent it, where it is JSON. Only newlines between its parts are changed, to spaces.
#[must_use]
pub fn checked(payload: Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(&payload).ok()?;
    let _: IgnoredAny = serde_json::from_str(text).ok()?;
    // Inside a string a newline is always escaped.
    if text.contains('\n') {
        return Some(text.replace('\n', " ").into());
    }
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_and_loses_nothing_but_newlines() {
        let kept = |text: &'static str| checked(Bytes::from_static(text.as_bytes()));
        assert_eq!(kept("{\"a\": 1.50}").as_deref(), Some(&b"{\"a\": 1.50}"[..]));
        assert_eq!(kept("{\n\"a\\n\":1}").as_deref(), Some(&b"{ \"a\\n\":1}"[..]));
        for bad in ["", "{", "{} {}", "\"\n\""] {
            assert_eq!(kept(bad), None, "{bad}");
        }
        assert_eq!(checked(Bytes::from_static(b"\"\xff\"")), None);
    }
}
