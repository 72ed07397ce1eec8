//! The upgrade at `/connection/websocket`: the handshake is answered as a request is, and then the hub has the stream.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::rt::net::TcpStream;
use actix_web::{FromRequest as _, HttpMessage as _, HttpRequest, HttpResponse, dev, web};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::http::{lang, peer};
use liveplan_hub::Hub;
use liveplan_hub::backend::{Backend, Language};
use liveplan_hub::protocol::Codec;
use liveplan_hub::ws::socket::{self, Accepted};

/// Seconds that the refused are told to wait: at random in this range, so that they do not all come back together.
const RETRY_AFTER: std::ops::RangeInclusive<u32> = 1..=5;

/// What sockets are served with.
#[derive(Clone)]
pub struct Sockets {
    /// Serves them.
    pub hub: Hub,
    /// What the hub asks.
    pub backend: Arc<dyn Backend>,
    /// Whose pages may open them, and which proxies are believed.
    pub config: Arc<Config>,
}

/// Mounts the endpoint. It finds [`Sockets`] in the app's data.
pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/connection/websocket", web::get().to(open_websocket));
}

async fn open_websocket(request: HttpRequest, sockets: web::Data<Sockets>) -> Result<HttpResponse> {
    if sockets.hub.is_draining() {
        return Err(busy());
    }
    check_origin(&request, &sockets.config.allowed_origins)?;
    let address = peer::address(&request, &sockets.config);
    let place = sockets.hub.door().enter(address).map_err(|_| busy())?;
    let agreed = agree_on_codec(&request);
    let accepted = Accepted {
        codec: agreed.unwrap_or_else(|| codec_of_query(&request)),
        language: Language(lang::of(&request).tag()),
        place,
    };
    let protocol = agreed.map(Codec::subprotocol);
    let Sockets { hub, backend, .. } = sockets.get_ref().clone();
    upgrade(&request, protocol.as_slice(), move |stream, first| {
        Box::pin(socket::serve(hub, backend, accepted, stream, first))
    })
}

/// 503 with a moment to wait, for what this node has no room for now.
fn busy() -> Error {
    Error::new(Code::Busy).with("seconds", rand::random_range(RETRY_AFTER))
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
