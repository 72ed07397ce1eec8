//! One tracing span per request, and its log lines. The response carries the request's id in `X-Request-Id`.

use std::rc::Rc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::Instrument as _;

use crate::http::activity::Activity;

/// Middleware. Runs a request in its span, and marks its connection as active until the response is ready.
pub async fn requests<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let _answering = request.conn_data::<Rc<Activity>>().map(Activity::answering);
    let id = uuid::Uuid::now_v7().simple();
    let span = tracing::info_span!("request", request.id = %id, http.method = %request.method());
    async move {
        let began = std::time::Instant::now();
        let mut response = next.call(request).await?;
        super::security::log(&response);
        // Only at debug level, since actix must match the route again to name it.
        if tracing::enabled!(tracing::Level::DEBUG) {
            let status = response.status().as_u16();
            let route = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
            let duration_ms = began.elapsed().as_secs_f64() * 1000.0;
            // Queries and bodies are never logged, because they may contain personal data.
            tracing::debug!(http.route = route, http.status = status, duration_ms, "request");
        }
        if let Ok(value) = HeaderValue::from_str(id.encode_lower(&mut [0; 32])) {
            response
                .headers_mut()
                .insert(HeaderName::from_static("x-request-id"), value);
        }
        Ok(response)
    }
    .instrument(span)
    .await
}
