//! The upgrade at `/connection/websocket`.

use actix_web::http::header;
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, web};

use super::connection::{self, Connection};
use super::frame::Guarded;
use super::outbox::Body;
use super::protocol::Codec;
use crate::app::App;
use crate::error::{Code, Error, Result};
use crate::http::lang;

/// Mounts the endpoint.
pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/connection/websocket", web::get().to(open_websocket));
}

async fn open_websocket(request: HttpRequest, payload: web::Payload, app: web::Data<App>) -> Result<HttpResponse> {
    if app.hub.is_draining() {
        return Err(Error::new(Code::Unavailable));
    }
    check_origin(&request, &app.config.allowed_origins)?;
    let limits = app.hub.limits();
    let (guarded, too_big) = Guarded::new(payload, limits.frame_bytes as u64);
    let mut raw: actix_web::dev::Payload = actix_web::dev::Payload::Stream {
        payload: Box::pin(guarded),
    };
    let payload = web::Payload::from_request(&request, &mut raw)
        .await
        .map_err(|e| Error::new(Code::Malformed).with("reason", e))?;
    let subprotocols = [Codec::Json, Codec::Protobuf].map(Codec::subprotocol);
    let (response, session, stream) = actix_ws::handle_with_protocols(&request, payload, &subprotocols)
        .map_err(|e| Error::new(Code::Malformed).with("reason", e))?;
    let codec = codec(&request, response.headers());
    let connection = Connection::new(app.hub.clone(), codec, lang::of(&request));
    let stream = stream
        .max_frame_size(limits.frame_bytes)
        .aggregate_continuations()
        .max_continuation_size(limits.frame_bytes);
    app.hub.opened();
    let outbox = connection.outbox.clone();
    actix_web::rt::spawn(connection::read(
        app.get_ref().clone(),
        connection,
        stream,
        session,
        too_big,
    ));
    Ok(response.map_body(|_, inner| actix_web::body::BoxBody::new(Body::new(inner, outbox))))
}

/// The codec of the subprotocol that was agreed on, or of the query, or JSON.
fn codec(request: &HttpRequest, answered: &header::HeaderMap) -> Codec {
    let is_protobuf = match answered.get(header::SEC_WEBSOCKET_PROTOCOL) {
        Some(agreed) => agreed == Codec::Protobuf.subprotocol(),
        None => request.query_string().split('&').any(|p| p == "cf_protocol=protobuf"),
    };
    if is_protobuf { Codec::Protobuf } else { Codec::Json }
}

/// Browsers send an Origin with every upgrade and no same-origin rule stops them: other sites' pages are refused here.
fn check_origin(request: &HttpRequest, allowed: &[String]) -> Result<()> {
    let Some(origin) = request.headers().get(header::ORIGIN).and_then(|o| o.to_str().ok()) else {
        return Ok(());
    };
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let own = origin
        .split_once("://")
        .is_some_and(|(_, o)| o.eq_ignore_ascii_case(host));
    if own || allowed.iter().any(|a| a.eq_ignore_ascii_case(origin)) {
        Ok(())
    } else {
        Err(Error::forbidden())
    }
}
