//! Request bodies: bounds on size and time, and a JSON extractor whose errors are our problems (RFC 9457).
//!
//! [`bounded`] takes a request's body away from actix, and only [`Body`] reads it. Actix's own extractors would
//! decompress it and wait for it without a deadline; after `bounded` they find an empty body.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::{PathError, PayloadError, QueryPayloadError};
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::Stream as _;
use serde::de::DeserializeOwned;

use super::activity::{Activity, Receiving};
use super::lang;
use crate::config::HttpLimits;
use crate::error::{Code, Error, Result};

/// Maximum bytes of a JSON body: more than the longest text of a plan with each character escaped.
pub const LIMIT_BYTES: usize = 64 * 1024;
/// Maximum bytes of a body that is read before the client is authenticated: names, a password, a token.
pub const SMALL_BYTES: usize = 4 * 1024;

/// A JSON body of at most `LIMIT` bytes. Unlike `web::Json` its errors name the invalid field.
pub struct Body<T, const LIMIT: usize = LIMIT_BYTES>(pub T);

impl<T: DeserializeOwned + 'static, const LIMIT: usize> FromRequest for Body<T, LIMIT> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let acceptable = check_head(request, LIMIT);
        let incoming = request.extensions().get::<Rc<Incoming>>().cloned();
        let limits = request.app_data::<web::Data<HttpLimits>>();
        let within = limits.map_or_else(|| time_for(LIMIT, &HttpLimits::default()), |l| time_for(LIMIT, l));
        Box::pin(async move {
            acceptable?;
            let body = match incoming {
                Some(incoming) => tokio::time::timeout(within, incoming.read(LIMIT))
                    .await
                    .unwrap_or_else(|_| Err(Error::new(Code::RequestTimeout)))?,
                None => BytesMut::new(),
            };
            serde_json::from_slice(&body)
                .map(Self)
                .map_err(|e| Error::new(Code::Malformed).with("reason", e))
        })
    }
}

/// Checks media type and length of a body by the request's headers, before it arrives.
fn check_head(request: &HttpRequest, limit: usize) -> Result<()> {
    let is_json = request.mime_type().ok().flatten().is_some_and(|kind| {
        kind.subtype().as_str() == "json" || kind.suffix().is_some_and(|suffix| suffix.as_str() == "json")
    });
    if !is_json {
        return Err(Error::new(Code::UnsupportedMediaType));
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.trim().parse::<u64>().ok());
    match length {
        Some(length) if usize::try_from(length).map_or(true, |length| length > limit) => Err(too_large(limit)),
        _ => Ok(()),
    }
}

fn too_large(limit: usize) -> Error {
    Error::new(Code::TooLarge).with("limit", limit)
}

/// Deadline for a body of at most `bytes` bytes.
fn time_for(bytes: usize, limits: &HttpLimits) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let rate = u64::from(limits.body_bytes_per_second.max(1));
    limits.body_within + Duration::from_millis(bytes.saturating_mul(1000) / rate)
}

/// A body that has not arrived completely.
struct Incoming {
    payload: RefCell<Payload>,
    ended: Cell<bool>,
    receiving: RefCell<Option<Receiving>>,
}

impl Incoming {
    /// Takes a request's body, if it has one, and stores it in the request's extensions for [`Body`].
    fn of(request: &mut ServiceRequest) -> Option<Rc<Self>> {
        let payload = match request.take_payload() {
            Payload::None => return None,
            payload => RefCell::new(payload),
        };
        let activity = request.conn_data::<Rc<Activity>>();
        let incoming = Rc::new(Self {
            payload,
            ended: Cell::new(false),
            receiving: RefCell::new(activity.map(Activity::receiving)),
        });
        request.extensions_mut().insert(incoming.clone());
        Some(incoming)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let next = Pin::new(&mut *self.payload.borrow_mut()).poll_next(cx);
        if let Poll::Ready(None | Some(Err(_))) = next {
            self.ended.set(true);
            self.receiving.take();
        }
        next
    }

    async fn read(&self, limit: usize) -> Result<BytesMut> {
        let mut body = BytesMut::new();
        while let Some(part) = poll_fn(|cx| self.poll(cx)).await {
            let part = part.map_err(|e| Error::new(Code::Malformed).with("reason", e))?;
            if part.len() > limit - body.len() {
                return Err(too_large(limit));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

/// Middleware. Refuses a request with a content coding by its headers alone, whether or not the route reads the body.
/// Closes the connection after a response that was sent before the body ended, because nothing reads the rest. It must
/// wrap [`lang::problems`], which replaces responses.
///
/// # Errors
/// Those of the wrapped service.
pub async fn bounded<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let incoming = Incoming::of(&mut request);
    let response = if is_coded(request.headers()) {
        let refused = Error::new(Code::UnsupportedMediaType).header(header::ACCEPT_ENCODING.as_str(), "identity");
        let problem = refused.response(lang::of(request.request()));
        request.into_response(problem)
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    Ok(match incoming.filter(|incoming| !incoming.ended.get()) {
        Some(unread) => response.map_body(|_, body| BoxBody::new(Unread { body, _rest: unread })),
        None => response,
    })
}

/// Whether a body has a content coding. The server decompresses nothing: a few kilobytes could become gigabytes.
fn is_coded(headers: &HeaderMap) -> bool {
    let is_identity = |coding: &str| matches!(coding.trim(), "") || coding.trim().eq_ignore_ascii_case("identity");
    headers.get_all(header::CONTENT_ENCODING).any(|codings| {
        !codings
            .to_str()
            .is_ok_and(|codings| codings.split(',').all(is_identity))
    })
}

/// A response to a request whose body has not ended. Actix closes the connection after such a response only while the
/// payload is alive; it would read the rest of a dropped payload, a chunked one without end.
struct Unread {
    body: BoxBody,
    _rest: Rc<Incoming>,
}

impl MessageBody for Unread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Configures the bounds of bodies, and problems as the errors of actix's extractors for queries and paths.
pub fn configure(limits: &HttpLimits) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
    let limits = web::Data::new(limits.clone());
    move |config| {
        config
            .app_data(limits)
            .app_data(web::QueryConfig::default().error_handler(|e, _| match e {
                QueryPayloadError::Deserialize(e) => Error::new(Code::Malformed).with("reason", e).into(),
                e => Error::new(Code::Malformed).with("reason", e).into(),
            }))
            // A path with a malformed id cannot name an existing thing.
            .app_data(web::PathConfig::default().error_handler(|e, _| match e {
                PathError::Deserialize(_) => Error::not_found("page").into(),
                e => Error::new(Code::Malformed).with("reason", e).into(),
            }));
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_deadline_of_a_body_grows_with_its_limit() {
        let limits = HttpLimits::default();
        assert_eq!(time_for(SMALL_BYTES, &limits), Duration::from_millis(10_500));
        assert_eq!(time_for(LIMIT_BYTES, &limits), Duration::from_secs(18));
    }

    #[test]
    fn every_coding_but_identity_is_refused() {
        let coded = |lines: &[&str]| {
            let request = lines.iter().fold(TestRequest::default(), |request, line| {
                request.append_header((header::CONTENT_ENCODING, *line))
            });
            is_coded(request.to_http_request().headers())
        };
        for plain in [&[][..], &["identity"], &[" Identity , identity"], &[""]] {
            assert!(!coded(plain), "{plain:?}");
        }
        for refused in [
            &["gzip"][..],
            &["identity, br"],
            &["identity", "deflate"],
            &["x\u{e9}"],
            &["none"],
        ] {
            assert!(coded(refused), "{refused:?}");
        }
    }
}
