//! One span and one line a request. A request's id is given back in `X-Request-Id`.

use std::rc::Rc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::Instrument as _;

use super::connection::Activity;

/// Wraps a request in its span, and keeps its connection for as long as it is answered.
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
        // To name the route is to find it once more.
        if tracing::enabled!(tracing::Level::DEBUG) {
            let status = response.status().as_u16();
            let route = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
            let duration_ms = began.elapsed().as_secs_f64() * 1000.0;
            // Queries and bodies never reach the log: they may hold what is nobody's business.
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
