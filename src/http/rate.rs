//! The headers `RateLimit-Policy` (quota, window) and `RateLimit` (rest, seconds to its reset) of the IETF draft
//! (draft-ietf-httpapi-ratelimit-headers). Both are lists: a response may name several policies.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header of the policy.
pub const POLICY: &str = "ratelimit-policy";
/// The header of the rest.
pub const REST: &str = "ratelimit";

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The limit's name.
    pub name: &'static str,
    /// Number of times per window.
    pub times: i64,
    /// Length of the window in seconds.
    pub window: i64,
    /// The rest.
    pub left: i64,
    /// Seconds until it is whole again.
    pub seconds: i64,
}

impl Rest {
    /// The headers, as names and values.
    #[must_use]
    pub fn headers(self) -> [(&'static str, String); 2] {
        let Self {
            name,
            times,
            window,
            left,
            seconds,
        } = self;
        [
            (POLICY, format!("\"{name}\";q={times};w={window}")),
            (REST, format!("\"{name}\";r={left};t={seconds}")),
        ]
    }

    /// Adds the headers to those of a response, behind those of other limits.
    pub fn tell(self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
    }
}
