//! Keeps what the API answers out of caches.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;

/// Where all routes of the API are.
const API: &str = "/api/v1/";

/// Middleware. Forbids browsers and proxies to store the API's responses, problems included, unless a response says
/// itself how it may be stored. It must wrap [`super::lang::problems`], which replaces responses.
///
/// # Errors
/// Those of the wrapped service.
pub async fn by_default<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let of_api = request.path().starts_with(API);
    let mut response = next.call(request).await?;
    if of_api && !response.headers().contains_key(header::CACHE_CONTROL) {
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, never);
    }
    Ok(response)
}
