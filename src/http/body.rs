//! Bodies of requests: how many bytes they may have, how long they may take, and JSON whose errors are problems of ours.
//!
//! [`bounded`] takes a request's body away from actix, and only [`Body`] reads it. Actix's own extractors would decompress
//! it, and wait for it without end; here they find nothing.

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

use super::lang;
use crate::config::HttpLimits;
use crate::error::{Code, Error, Result};

/// Bytes that a JSON body may have: more than the longest text of a plan with each character escaped.
pub const LIMIT_BYTES: usize = 64 * 1024;
/// Bytes of a body that is read before anybody is known: names, a password, a token.
pub const SMALL_BYTES: usize = 4 * 1024;

/// A JSON body of at most so many bytes. Unlike `web::Json` it names the field that cannot be taken.
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

/// What can be said of a body before it comes.
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

/// How long a body of at most so many bytes may take to come.
fn time_for(bytes: usize, limits: &HttpLimits) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let rate = u64::from(limits.body_bytes_per_second.max(1));
    limits.body_within + Duration::from_millis(bytes.saturating_mul(1000) / rate)
}

/// A body that is on its way.
struct Incoming {
    payload: RefCell<Payload>,
    ended: Cell<bool>,
}

impl Incoming {
    /// Takes a request's body, where it has one, and leaves it where [`Body`] finds it.
    fn of(request: &mut ServiceRequest) -> Option<Rc<Self>> {
        let payload = match request.take_payload() {
            Payload::None => return None,
            payload => RefCell::new(payload),
        };
        let ended = Cell::new(false);
        let incoming = Rc::new(Self { payload, ended });
        request.extensions_mut().insert(incoming.clone());
        Some(incoming)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let next = Pin::new(&mut *self.payload.borrow_mut()).poll_next(cx);
        if let Poll::Ready(None | Some(Err(_))) = next {
            self.ended.set(true);
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

/// Refuses coded bodies by their head alone, whatever the route makes of its body, and ends the connection after an answer
/// that came before the body's end: nobody reads the rest. Around [`lang::problems`], which makes answers anew.
///
/// # Errors
/// Those of what it is around.
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

/// Whether a body is coded. Nothing here decodes: a few kilobytes could become gigabytes.
fn is_coded(headers: &HeaderMap) -> bool {
    let is_identity = |coding: &str| matches!(coding.trim(), "") || coding.trim().eq_ignore_ascii_case("identity");
    headers.get_all(header::CONTENT_ENCODING).any(|codings| {
        !codings
            .to_str()
            .is_ok_and(|codings| codings.split(',').all(is_identity))
    })
}

/// An answer to a request whose body is still coming. Actix closes the connection after it where somebody still has the
/// body; one that was dropped it would read on, chunked ones without end.
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

/// Settings of actix's extractors of queries and paths, so that they speak in problems too, and the bounds of bodies.
pub fn configure(limits: &HttpLimits) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
    let limits = web::Data::new(limits.clone());
    move |config| {
        config
            .app_data(limits)
            .app_data(web::QueryConfig::default().error_handler(|e, _| match e {
                QueryPayloadError::Deserialize(e) => Error::new(Code::Malformed).with("reason", e).into(),
                e => Error::new(Code::Malformed).with("reason", e).into(),
            }))
            // A path that cannot be read names nothing.
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
    fn a_body_has_the_time_that_its_limit_takes_a_slow_client() {
        let limits = HttpLimits::default();
        assert_eq!(time_for(SMALL_BYTES, &limits), Duration::from_millis(10_500));
        assert_eq!(time_for(LIMIT_BYTES, &limits), Duration::from_secs(18));
    }

    #[test]
    fn only_identity_is_no_coding() {
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
