//! Problems in the language that the request asks for, and one log line per failed request.

use actix_web::HttpRequest;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;

use crate::error::{Code, Error, Lang};

/// The language that a request asks for in `Accept-Language`.
#[must_use]
pub fn of(request: &HttpRequest) -> Lang {
    Lang::accepted(
        request
            .headers()
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|v| v.to_str().ok()),
    )
}

/// Middleware. Renders errors, including those of actix itself, as problems in the request's language.
pub async fn problems<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let lang = of(request.request());
    let response = next.call(request).await?.map_into_boxed_body();
    let ours = match response.response().error().map(|e| (e, e.as_error::<Error>())) {
        Some((_, Some(error))) => {
            error.log();
            Some(error.response(lang))
        }
        Some((error, None)) => Some(from_status(error.as_response_error().status_code()).response(lang)),
        // Actix answers a method that a route does not support with 405 and no error.
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            Some(Error::new(Code::MethodNotAllowed).response(lang))
        }
        None => None,
    };
    Ok(match ours {
        Some(problem) => ServiceResponse::new(response.into_parts().0, problem),
        None => response,
    })
}

fn from_status(status: StatusCode) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::not_found("page"),
        StatusCode::METHOD_NOT_ALLOWED => Error::new(Code::MethodNotAllowed),
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(Code::TooLarge).with("limit", super::body::LIMIT_BYTES),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Error::new(Code::UnsupportedMediaType),
        status if status.is_client_error() => {
            Error::new(Code::Malformed).with("reason", status.canonical_reason().unwrap_or("bad request"))
        }
        _ => Error::new(Code::Internal),
    }
}
