//! The headers that tell browsers how to treat a response. Every response of the app has them, errors and documents
//! included.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web;

use crate::config::{Config, Hsts};
use crate::http::peer;

/// The content security policy of a response that sets none of its own: nothing that it contains may be loaded, run or
/// framed. JSON needs no more, and if a browser were made to show it as a page, that page could do nothing.
const NOTHING: HeaderValue =
    HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");
const REFERRER: HeaderValue = HeaderValue::from_static("same-origin");
/// One year, for the host and those below it.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Middleware. Adds the headers that the response does not have yet. It must wrap all middleware that replaces
/// responses, and needs the [`Config`] in the app's data.
///
/// # Errors
/// Those of the wrapped service.
pub async fn protective<B: MessageBody>(
    config: web::Data<Config>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let by_tls = match config.hsts {
        Hsts::Auto => peer::came_by_tls(request.request(), &config),
        Hsts::Always => true,
        Hsts::Never => false,
    };
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    add(headers, header::CONTENT_SECURITY_POLICY, NOTHING);
    add(headers, header::X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
    add(headers, header::REFERRER_POLICY, REFERRER);
    if by_tls {
        add(headers, header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    Ok(response)
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, value);
    }
}
