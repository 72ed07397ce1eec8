//! Valid payloads: one JSON value without a raw newline, because newlines separate messages in the JSON codec.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// Returns a client's payload if it is JSON, with newlines between its tokens replaced by spaces.
#[must_use]
pub fn checked(payload: Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(&payload).ok()?;
    let _: IgnoredAny = serde_json::from_str(text).ok()?;
    // JSON strings cannot contain a raw newline, so every newline is between tokens.
    if text.contains('\n') {
        return Some(text.replace('\n', " ").into());
    }
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_must_be_json_and_only_its_newlines_change() {
        let kept = |text: &'static str| checked(Bytes::from_static(text.as_bytes()));
        assert_eq!(kept("{\"a\": 1.50}").as_deref(), Some(&b"{\"a\": 1.50}"[..]));
        assert_eq!(kept("{\n\"a\\n\":1}").as_deref(), Some(&b"{ \"a\\n\":1}"[..]));
        for bad in ["", "{", "{} {}", "\"\n\""] {
            assert_eq!(kept(bad), None, "{bad}");
        }
        assert_eq!(checked(Bytes::from_static(b"\"\xff\"")), None);
    }
}
