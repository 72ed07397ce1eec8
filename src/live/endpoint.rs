//! The upgrade at `/connection/websocket`.

use std::sync::Arc;

use actix_web::body::MessageBody as _;
use actix_web::http::header;
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, dev, web};

use super::connection::Connection;
use super::direct::Direct;
use super::door::{self, Place};
use super::outbox::{Body, Outbox};
use super::pace::Pace;
use super::protocol::Codec;
use super::reader::Reader;
use super::socket;
use crate::app::App;
use crate::error::{Code, Error, Result};
use crate::http::{lang, peer};

/// Mounts the endpoint.
pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/connection/websocket", web::get().to(open_websocket));
}

async fn open_websocket(request: HttpRequest, payload: web::Payload, app: web::Data<App>) -> Result<HttpResponse> {
    if app.hub.is_draining() {
        return Err(door::busy());
    }
    check_origin(&request, &app.config.allowed_origins)?;
    let limits = app.hub.limits();
    let place = app.hub.door().enter(peer::address(&request, &app.config))?;
    let agreed = agree_on_codec(&request);
    let codec = agreed.unwrap_or_else(|| codec_of_query(&request));
    let outbox = Outbox::counted(limits.outbox_bytes, app.hub.counters.clone());
    if let Some(direct) = request.conn_data::<Arc<Direct>>() {
        outbox.open_direct(direct.clone());
    }
    let response = upgrade(
        &request,
        agreed.map(Codec::subprotocol).as_slice(),
        &outbox,
        Some(place.clone()),
    )?;
    let connection = Connection::new(app.hub.clone(), codec, lang::of(&request), outbox, &place);
    app.hub.opened(&connection);
    let pace = Pace::new(limits.bytes_per_second, limits.bytes_at_once);
    let reader = Reader::new(payload, limits.frame_bytes).paced(pace);
    actix_web::rt::spawn(socket::read(app.get_ref().clone(), connection, reader));
    Ok(response)
}

/// The answer to a WebSocket handshake (RFC 6455 §4.2), whose body writes what waits in the outbox.
pub fn upgrade(
    request: &HttpRequest,
    protocols: &[&str],
    outbox: &Arc<Outbox>,
    place: Option<Arc<Place>>,
) -> Result<HttpResponse> {
    let malformed = |e: actix_web::Error| Error::new(Code::Malformed).with("reason", e);
    // actix-ws shakes hands only: it gets no bytes to read, and its body gives way to ours.
    let nothing = web::Payload::from_request(request, &mut dev::Payload::None)
        .into_inner()
        .map_err(malformed)?;
    let (response, ..) = actix_ws::handle_with_protocols(request, nothing, protocols).map_err(malformed)?;
    Ok(response.map_body(|_, _| Body::new(outbox.clone(), place).boxed()))
}

/// The codec of the first subprotocol of the client that we speak.
fn agree_on_codec(request: &HttpRequest) -> Option<Codec> {
    request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|offers| offers.to_str().ok())
        .flat_map(|offers| offers.split(','))
        .find_map(|offer| Codec::ALL.into_iter().find(|codec| codec.subprotocol() == offer.trim()))
}

/// The codec of `?cf_protocol=`, for clients that cannot name a subprotocol.
fn codec_of_query(request: &HttpRequest) -> Codec {
    if request.query_string().split('&').any(|p| p == "cf_protocol=protobuf") {
        Codec::Protobuf
    } else {
        Codec::Json
    }
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
