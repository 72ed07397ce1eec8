//! Conditional requests (RFC 9110 §13): reads without a body if nothing changed, and writes that name the version they
//! are based on.
//!
//! A read that supports `If-None-Match` has the strong tag `"<version>.<shape>.<epoch>"`:
//!
//! - the version of the row;
//! - the [`Shape`] of its JSON, so that a release that writes the same row differently has different tags;
//! - the [`Epoch`] of the gym's log, since after a restore a version may recur with other content.
//!
//! A compressed response has different bytes, so its strong tag must differ (§8.8.3.3): [`by_coding`] appends the
//! coding, as in `"12.be05….5f0c…-gzip"`. Weak tags would need no suffix, but `If-Match` uses strong comparison
//! (§13.1.1), so no client could write with one.
//!
//! `If-Match` compares the version only. It guards against lost updates, to which the representation does not matter,
//! and a client that read before a release, or read a compressed response, must still be able to write. Responses to
//! writes, and reads of parts of a plan, have the version alone as their tag; they do not support `If-None-Match`.

use std::fmt;
use std::future::{Ready, ready};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, Encoding, Header as _, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpRequest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::error::{Code, Error, Result};

/// The entity tag of a version, for `If-Match`.
#[must_use]
pub fn tag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The entity tag of a response without a version: a digest of its body. Send it as a weak tag (with the prefix `W/`),
/// since the same list may be sent compressed or not.
#[must_use]
pub fn of(body: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(body).into();
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]))
}

/// The JSON representation of a type in this build, as a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape(u64);

impl Shape {
    /// The shape of `T`: a digest of its schema, of all schemas it refers to, and of `number`, to be raised for changes
    /// that the schema does not show. The schema changes with the type, so developers need not maintain a version; the
    /// version of the build would change the tags of all plans with every release.
    #[must_use]
    pub fn of<T: ToSchema>(number: u32) -> Self {
        let mut schemas = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut schemas);
        let mut hash = Sha256::new();
        hash.update(number.to_be_bytes());
        for (name, schema) in schemas {
            hash.update(name);
            // Serialising a schema cannot fail: the test of the OpenAPI document covers all of them.
            hash.update(serde_json::to_string(&schema).unwrap_or_default());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self(u64::from_be_bytes(*first))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The history to which a version belongs: a digest of the epoch of the gym's log, which changes with a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// The digest of an epoch.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(text).into();
        let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 4], &[]));
        Self(u32::from_be_bytes(*first))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Identifies the bytes of a response before compression: equal stamps mean equal bytes. Caches use it as key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The row's version.
    pub version: i64,
    /// The JSON representation of the row.
    pub shape: Shape,
    /// The history to which the version belongs.
    pub epoch: Epoch,
}

impl Stamp {
    /// Whether this stamp has a lower version than `other`. Stamps with different shapes or epochs are not comparable.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        Self {
            version: other.version,
            ..*self
        } == *other
            && self.version < other.version
    }

    /// The strong tag of the response in a content coding.
    #[must_use]
    pub fn tag(&self, coding: Coding) -> String {
        format!("\"{self}{}\"", coding.suffix())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.version, self.shape, self.epoch)
    }
}

/// The content coding of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not compressed.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Deflate,
}

impl Coding {
    /// The coding for the response to `request`: the same choice as that of the `Compress` middleware.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        let offers = [Encoding::identity(), Encoding::gzip(), Encoding::deflate()];
        let chosen = header::AcceptEncoding::parse(request)
            .ok()
            .and_then(|accepted| accepted.negotiate(offers.iter()));
        match chosen {
            Some(chosen) if chosen == Encoding::gzip() => Self::Gzip,
            Some(chosen) if chosen == Encoding::deflate() => Self::Deflate,
            _ => Self::Identity,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => "-gzip",
            Self::Deflate => "-deflate",
        }
    }
}

/// Middleware. Appends the coding to the strong tag of a compressed response, and adds `Vary: accept-encoding` to every
/// response with a tag. It must wrap the middleware that compresses.
///
/// # Errors
/// Those of the wrapped service.
pub async fn by_coding<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else {
        return Ok(response);
    };
    let coding = headers
        .get(header::CONTENT_ENCODING)
        .and_then(|coding| coding.to_str().ok());
    let coded = match (tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')), coding) {
        (Some(opaque), Some(coding)) => HeaderValue::from_str(&format!("\"{opaque}-{coding}\"")).ok(),
        _ => None,
    };
    if let Some(coded) = coded {
        headers.insert(header::ETAG, coded);
    }
    let names = |value: &HeaderValue| {
        let fields = value.to_str().unwrap_or_default().split(',');
        fields
            .map(str::trim)
            .any(|field| field == "*" || field.eq_ignore_ascii_case("accept-encoding"))
    };
    if !headers.get_all(header::VARY).any(names) {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    Ok(response)
}

/// The `If-Match` header of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// Checks that the header names the current version, in any representation.
    ///
    /// # Errors
    /// 428 if the header is missing; 412 with the current tag if it names other versions only.
    pub fn check(&self, current: i64) -> Result<()> {
        let Some(given) = &self.0 else {
            return Err(Error::new(Code::VersionRequired));
        };
        if is_any(given) || given.split(',').any(|tag| version_of(tag) == Some(current)) {
            Ok(())
        } else {
            Err(Error::new(Code::VersionStale).with("etag", tag(current)))
        }
    }
}

/// The version in a strong tag of ours, with or without shape, epoch and coding. `None` for a weak tag, which never
/// matches in `If-Match`.
fn version_of(tag: &str) -> Option<i64> {
    let opaque = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
    let version = opaque.split(['.', '-']).next()?;
    let is_ours = version == "0" || (!version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit()));
    version.parse().ok().filter(|_| is_ours)
}

impl FromRequest for IfMatch {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(list(request.headers(), header::IF_MATCH))))
    }
}

/// Whether `If-None-Match` names this tag, so that the response is 304. Uses weak comparison (RFC 9110 §8.8.3.2).
#[must_use]
pub fn none_match(request: &HttpRequest, tag: &str) -> bool {
    let opaque = |tag: &str| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).to_owned()
    };
    list(request.headers(), header::IF_NONE_MATCH)
        .is_some_and(|given| is_any(&given) || given.split(',').any(|one| opaque(one) == opaque(tag)))
}

/// A header's value; the values of repeated headers are joined to one list. Our tags contain no commas.
fn list(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

fn is_any(given: &str) -> bool {
    given.trim() == "*"
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// A type in one release.
    #[derive(ToSchema)]
    #[schema(as = Thing)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Before {
        name: String,
        inner: Inner,
    }

    /// The same type in the next release.
    #[derive(ToSchema)]
    #[schema(as = Thing)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct After {
        name: String,
        inner: Inner,
        more: i32,
    }

    #[derive(ToSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inner {
        name: String,
    }

    fn stamp(version: i64) -> Stamp {
        Stamp {
            version,
            shape: Shape::of::<Before>(1),
            epoch: Epoch::of("e"),
        }
    }

    #[test]
    fn if_match_accepts_the_current_version_in_any_representation() {
        let passes = |given: &str| IfMatch(Some(given.into())).check(3).is_ok();
        assert_eq!(IfMatch(None).check(3).expect_err("missing").code, Code::VersionRequired);
        for current in [
            "\"3\"",
            "\"2\", \"3\"",
            " * ",
            "\"3.0123456789abcdef\"",
            "\"3.0123456789abcdef-gzip\"",
            "\"3-gzip\"",
            "\"x,y\", \"3.z\"",
        ] {
            assert!(passes(current), "{current}");
        }
        assert!(passes(&stamp(3).tag(Coding::Identity)) && passes(&stamp(3).tag(Coding::Gzip)));
        assert!(!passes(&stamp(2).tag(Coding::Identity)) && !passes(&stamp(33).tag(Coding::Gzip)));
        for stale in [
            "\"2\"",
            "W/\"3\"",
            "W/\"3.0123456789abcdef\"",
            "3",
            "",
            "\"03\"",
            "\"+3\"",
            "\"33.x\"",
            "\".3\"",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(
                IfMatch(Some(stale.into())).check(3).expect_err(stale).code,
                Code::VersionStale
            );
        }
    }

    #[test]
    fn a_type_with_another_schema_or_number_has_another_shape() {
        assert_eq!(Shape::of::<Before>(1), Shape::of::<Before>(1));
        assert_ne!(Shape::of::<Before>(1), Shape::of::<After>(1));
        assert_ne!(Shape::of::<Before>(1), Shape::of::<Before>(2));
        assert_ne!(stamp(1).tag(Coding::Identity), stamp(1).tag(Coding::Gzip));
    }

    #[test]
    fn only_stamps_of_one_shape_and_epoch_are_comparable() {
        let other = Stamp {
            shape: Shape::of::<After>(1),
            ..stamp(9)
        };
        assert!(stamp(1).is_before(&stamp(2)) && !stamp(2).is_before(&stamp(2)));
        assert!(!stamp(1).is_before(&other));
        let restored = Stamp {
            epoch: Epoch::of("f"),
            ..stamp(9)
        };
        assert!(!stamp(1).is_before(&restored));
        assert_ne!(stamp(9).tag(Coding::Identity), restored.tag(Coding::Identity));
    }

    #[test]
    fn if_none_match_compares_weakly_with_each_tag_of_a_list() {
        let matches = |lines: &[&str]| {
            let request = lines
                .iter()
                .fold(TestRequest::default(), |request, line| {
                    request.append_header((header::IF_NONE_MATCH, *line))
                })
                .to_http_request();
            none_match(&request, "\"a\"")
        };
        for same in [
            &["\"a\""][..],
            &["W/\"a\""],
            &["\"b\", W/\"a\""],
            &["\"b\"", "\"a\""],
            &["*"],
        ] {
            assert!(matches(same), "{same:?}");
        }
        for other in [&[][..], &["\"b\""], &["a"], &["W/W/\"a\""], &["\"a"], &["\"b\", *"]] {
            assert!(!matches(other), "{other:?}");
        }
    }

    #[test]
    fn the_coding_is_the_one_that_the_client_prefers() {
        let of = |accepts: &str| {
            let request = TestRequest::default().insert_header((header::ACCEPT_ENCODING, accepts));
            Coding::of(&request.to_http_request())
        };
        assert_eq!(Coding::of(&TestRequest::default().to_http_request()), Coding::Identity);
        assert_eq!(of("gzip, deflate, br"), Coding::Gzip);
        assert_eq!(of("deflate"), Coding::Deflate);
        assert_eq!(of("gzip;q=0, identity"), Coding::Identity);
        assert_eq!(of("br"), Coding::Identity);
    }
}
