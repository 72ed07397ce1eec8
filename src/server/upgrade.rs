//! The WebSocket endpoint `/connection/websocket`: answers the handshake like a request, then hands the stream to the
//! hub.

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

/// Range of the seconds in `Retry-After` on refused upgrades. Random, so that the clients do not all come back at once.
const RETRY_AFTER: std::ops::RangeInclusive<u32> = 1..=5;

/// Everything that serving sockets needs.
#[derive(Clone)]
pub struct Sockets {
    /// The hub that serves them.
    pub hub: Hub,
    /// The hub's backend.
    pub backend: Arc<dyn Backend>,
    /// The configuration, for allowed origins and trusted proxies.
    pub config: Arc<Config>,
}

/// Mounts the endpoint, which needs [`Sockets`] in the app's data.
pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/connection/websocket", web::get().to(open_websocket));
}

async fn open_websocket(request: HttpRequest, sockets: web::Data<Sockets>) -> Result<HttpResponse> {
    if sockets.hub.is_draining() {
        return Err(busy());
    }
    check_origin(&request, &sockets.config.allowed_origins)?;
    let address = peer::address(&request, &sockets.config).map(peer::host);
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

/// 503 with `Retry-After`: this node has no room for the socket now.
fn busy() -> Error {
    Error::new(Code::Busy).with("seconds", rand::random_range(RETRY_AFTER))
}

/// Takes over a TCP stream after its handshake, with the bytes that the client sent right behind the handshake.
pub struct Handover(Box<dyn FnOnce(TcpStream, Bytes) -> LocalBoxFuture<'static, ()>>);

impl Handover {
    /// Starts serving the stream; `first` are the bytes that were already read from it.
    pub fn take(self, stream: TcpStream, first: Bytes) -> LocalBoxFuture<'static, ()> {
        (self.0)(stream, first)
    }
}

/// Marks a request whose stream can be handed over, in its extensions.
pub struct Upgradable;

/// Answers a WebSocket handshake (RFC 6455 §4.2). After the response is sent, `take` gets the stream.
pub fn upgrade(
    request: &HttpRequest,
    protocols: &[&str],
    take: impl FnOnce(TcpStream, Bytes) -> LocalBoxFuture<'static, ()> + 'static,
) -> Result<HttpResponse> {
    let malformed = |e: actix_web::Error| Error::new(Code::Malformed).with("reason", e);
    // actix-ws only checks the handshake: it gets an empty payload, and its response body is dropped.
    let nothing = web::Payload::from_request(request, &mut dev::Payload::None)
        .into_inner()
        .map_err(malformed)?;
    let (response, ..) = actix_ws::handle_with_protocols(request, nothing, protocols).map_err(malformed)?;
    if request.extensions_mut().remove::<Upgradable>().is_none() {
        return Err(Error::new(Code::Malformed).with("reason", "a WebSocket handshake must have no body"));
    }
    // The log lines of the socket's start belong to the span of its request.
    let span = tracing::Span::current();
    let take = move |stream, first| span.in_scope(|| take(stream, first));
    request.extensions_mut().insert(Handover(Box::new(take)));
    Ok(response.drop_body().map_into_boxed_body())
}

/// The codec of the first offered subprotocol that the server supports.
fn agree_on_codec(request: &HttpRequest) -> Option<Codec> {
    request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|offers| offers.to_str().ok())
        .flat_map(|offers| offers.split(','))
        .find_map(|offer| Codec::ALL.into_iter().find(|codec| codec.subprotocol() == offer.trim()))
}

/// The codec in the query parameter `cf_protocol`, for clients that cannot offer a subprotocol.
fn codec_of_query(request: &HttpRequest) -> Codec {
    if request.query_string().split('&').any(|p| p == "cf_protocol=protobuf") {
        Codec::Protobuf
    } else {
        Codec::Json
    }
}

/// Refuses pages of other sites: browsers apply no same-origin policy to WebSockets, but send `Origin` with each
/// upgrade.
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
