//! The upgrade at `/connection/websocket`.

use actix_web::http::header;
use actix_web::rt::net::TcpStream;
use actix_web::{FromRequest as _, HttpMessage as _, HttpRequest, HttpResponse, dev, web};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

use super::connection::Connection;
use super::door;
use super::outbox::Outbox;
use super::pace::Pace;
use super::protocol::Codec;
use super::reader::Reader;
use super::socket;
use super::stream::Incoming;
use crate::app::App;
use crate::error::{Code, Error, Result};
use crate::http::{lang, peer};

/// Mounts the endpoint.
pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/connection/websocket", web::get().to(open_websocket));
}

async fn open_websocket(request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse> {
    if app.hub.is_draining() {
        return Err(door::busy());
    }
    check_origin(&request, &app.config.allowed_origins)?;
    let place = app.hub.door().enter(peer::address(&request, &app.config))?;
    let agreed = agree_on_codec(&request);
    let codec = agreed.unwrap_or_else(|| codec_of_query(&request));
    let lang = lang::of(&request);
    let app = app.get_ref().clone();
    let protocol = agreed.map(Codec::subprotocol);
    upgrade(&request, protocol.as_slice(), move |stream, first| {
        let limits = app.hub.limits();
        let outbox = Outbox::counted(limits.outbox_bytes, stream, app.hub.counters.clone(), place.clone());
        let incoming = Incoming::new(outbox.clone(), first);
        let connection = Connection::new(app.hub.clone(), codec, lang, outbox, &place);
        app.hub.opened(&connection);
        let pace = Pace::new(limits.bytes_per_second, limits.bytes_at_once);
        let reader = Reader::new(incoming, limits.frame_bytes).paced(pace);
        Box::pin(socket::read(app, connection, reader))
    })
}

/// What goes on with a stream whose handshake is answered. Its first bytes may have come with the handshake.
pub struct Handover(Box<dyn FnOnce(TcpStream, Bytes) -> LocalBoxFuture<'static, ()>>);

impl Handover {
    /// Goes on.
    pub fn take(self, stream: TcpStream, first: Bytes) -> LocalBoxFuture<'static, ()> {
        (self.0)(stream, first)
    }
}

/// What a request carries whose stream can be handed over.
pub struct Upgradable;

/// The answer to a WebSocket handshake (RFC 6455 §4.2). Once it is sent, `take` has the stream.
pub fn upgrade(
    request: &HttpRequest,
    protocols: &[&str],
    take: impl FnOnce(TcpStream, Bytes) -> LocalBoxFuture<'static, ()> + 'static,
) -> Result<HttpResponse> {
    let malformed = |e: actix_web::Error| Error::new(Code::Malformed).with("reason", e);
    // actix-ws shakes hands only: it gets no bytes to read, and its body gives way to the stream.
    let nothing = web::Payload::from_request(request, &mut dev::Payload::None)
        .into_inner()
        .map_err(malformed)?;
    let (response, ..) = actix_ws::handle_with_protocols(request, nothing, protocols).map_err(malformed)?;
    if request.extensions_mut().remove::<Upgradable>().is_none() {
        return Err(Error::new(Code::Malformed).with("reason", "a handshake has no body"));
    }
    // What is logged about the socket's beginning belongs to its request.
    let span = tracing::Span::current();
    let take = move |stream, first| span.in_scope(|| take(stream, first));
    request.extensions_mut().insert(Handover(Box::new(take)));
    Ok(response.drop_body().map_into_boxed_body())
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
