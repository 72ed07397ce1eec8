//! Optimistic concurrency (RFC 9110 §13): a write names the version that it was made from.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Result};

/// The strong entity tag of a version.
#[must_use]
pub fn tag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The entity tag of an answer that no version names, made of the answer itself. It goes out as a weak one, since the same
/// list may be sent compressed or not.
#[must_use]
pub fn of(body: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(body).into();
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]))
}

/// The `If-Match` header of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// Passes where the header names the current version.
    ///
    /// # Errors
    /// 428 without the header, 412 with the current tag where it names another version.
    pub fn check(&self, current: i64) -> Result<()> {
        let Some(given) = &self.0 else {
            return Err(Error::new(Code::VersionRequired));
        };
        let current = tag(current);
        // Weak tags never match in If-Match.
        if given.trim() == "*" || given.split(',').any(|t| t.trim() == current) {
            Ok(())
        } else {
            Err(Error::new(Code::VersionStale).with("etag", current))
        }
    }
}

impl FromRequest for IfMatch {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let value = request.headers().get(header::IF_MATCH).and_then(|v| v.to_str().ok());
        ready(Ok(Self(value.map(str::to_owned))))
    }
}

/// Whether `If-None-Match` names this tag, so that 304 is the answer.
#[must_use]
pub fn none_match(request: &HttpRequest, tag: &str) -> bool {
    let header = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    header.is_some_and(|given| {
        given
            .split(',')
            .any(|t| t.trim().trim_start_matches("W/") == tag || t.trim() == "*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_names_the_current_version() {
        assert!(IfMatch(Some("\"3\"".into())).check(3).is_ok());
        assert!(IfMatch(Some("\"2\", \"3\"".into())).check(3).is_ok());
        assert_eq!(IfMatch(None).check(3).expect_err("missing").code, Code::VersionRequired);
        for stale in ["\"2\"", "W/\"3\"", "3", ""] {
            assert_eq!(
                IfMatch(Some(stale.into())).check(3).expect_err(stale).code,
                Code::VersionStale
            );
        }
    }
}
