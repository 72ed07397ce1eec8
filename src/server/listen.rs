//! The HTTP listener. It does what actix-web's `HttpServer` does, and two things more: after the response to a
//! WebSocket handshake it hands the TCP stream over to the hub (see [`Handover`]), and it bounds plain connections in
//! number and idle time (see [`PlainStream`]).

use std::future::ready;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::body::{MessageBody, to_bytes};
use actix_http::error::DispatchError;
use actix_http::h1::{Codec, SendResponse};
use actix_http::{
    ConnectionType, HttpMessage as _, HttpService, Protocol as HttpVersion, Request, Response, StatusCode,
};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::error::ErrorInternalServerError;
use actix_web::rt::net::TcpStream;
use anyhow::Context as _;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::time::timeout;

use super::connection::{Connections, PlainStream};
use super::upgrade::{Handover, Upgradable};
use crate::config::Config;

/// Length of the kernel's queue of connections that wait to be accepted.
const BACKLOG: i32 = 2048;
/// Deadline for a client to close its connection.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Seconds that shutdown waits for requests to finish.
const SHUTDOWN_SECONDS: u64 = 2;

/// Serves the service that `app` builds, on the configured number of workers. Returns the server and the first address
/// it listens on.
///
/// # Errors
/// If it cannot listen on a configured address.
pub fn serve<F, I, S, B>(
    config: &Config,
    connections: &Arc<Connections>,
    app: F,
) -> anyhow::Result<(Server, SocketAddr)>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    S::Future: 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let workers = match config.workers {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        n => n,
    };
    let mut server = Server::build()
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(SHUTDOWN_SECONDS)
        // Twice the node's bound per worker, so that excess connections are accepted and closed by `admit`; otherwise
        // they would wait in the kernel's queue.
        .max_concurrent_connections(config.http.connections.saturating_mul(2));
    let stopping = server.graceful_shutdown_signal();
    let mut first = None;
    for address in config.bind.to_socket_addrs().with_context(|| cannot_listen(config))? {
        let listener = listen(address).with_context(|| cannot_listen(config))?;
        let address = listener.local_addr()?;
        first = first.or(Some(address));
        let (app, stopping) = (app.clone(), stopping.clone());
        let (send_buffer_bytes, write_within) = (config.live.send_buffer_bytes, config.live.write_within);
        let (head_within, connections) = (config.http.head_within, connections.clone());
        server = server.listen(format!("http-{address}"), listener, move || {
            let (service, handshakes, stopping) = (app.clone(), app.clone(), stopping.clone());
            let connections = connections.clone();
            let service = map_config(service().into_factory(), |()| AppConfig::default());
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(head_within)
                .client_request_timeout(head_within)
                .client_disconnect_timeout(CLOSE_WITHIN)
                .h1_allow_half_closed(false)
                .local_addr(address)
                .on_connect_ext(move |stream: &PlainStream, data| {
                    prepare(stream.tcp(), send_buffer_bytes, write_within);
                    data.insert(stream.activity().clone());
                })
                .upgrade(fn_factory(move || {
                    let service = map_config(handshakes().into_factory(), |()| AppConfig::default());
                    async move {
                        let service = Rc::new(service.new_service(()).await?);
                        Ok::<_, ()>(fn_service(move |(request, framed)| {
                            handshake(service.clone(), request, framed, write_within)
                        }))
                    }
                }))
                .finish(service.map_err(|error| error.error_response()));
            fn_service(move |stream| ready(admit(stream, &connections, head_within * 2))).and_then(http)
        })?;
    }
    Ok((server.run(), first.context("no address")?))
}

fn cannot_listen(config: &Config) -> String {
    format!(
        "cannot listen on {}; is something else running there? set BIND to use another address",
        config.bind
    )
}

fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Admits a connection if a place is free, else closes it, the cheapest refusal. Activity is checked in intervals of
/// `every`, so a client has at least that long for the pause before a request and the request's head together.
fn admit(
    stream: TcpStream,
    connections: &Arc<Connections>,
    every: Duration,
) -> Result<(PlainStream, HttpVersion, Option<SocketAddr>), DispatchError> {
    let peer = stream.peer_addr()?;
    let Some(slot) = connections.enter(peer.ip()) else {
        return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
    };
    Ok((PlainStream::new(stream, slot, every), HttpVersion::Http1, Some(peer)))
}

/// Sets socket options. Failures are ignored: without the options, delivery is slower and slow clients cost more
/// memory.
fn prepare(stream: &TcpStream, send_buffer_bytes: usize, write_within: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_send_buffer_size(send_buffer_bytes);
    // This timeout also ends a connection whose client keeps its receive window closed, and frees its memory.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(write_within));
}

/// Runs a handshake through the app and its middleware like any request, and hands the stream over if the response is
/// 101. Drops a client that does not read the response in time.
async fn handshake<S, B>(
    app: Rc<S>,
    request: Request,
    framed: Framed<PlainStream, Codec>,
    within: Duration,
) -> Result<(), actix_web::Error>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    request.extensions_mut().insert(Upgradable);
    let (response, handover) = match app.call(request).await {
        Ok(answered) => {
            let handover = answered.request().extensions_mut().remove::<Handover>();
            (answered.map_into_boxed_body().into_parts().1, handover)
        }
        Err(error) => (error.error_response(), None),
    };
    let mut response = Response::from(response);
    match handover.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        Some(handover) => {
            let answer = SendResponse::new(framed, response.drop_body());
            let Ok(sent) = timeout(within, answer).await else {
                return Ok(());
            };
            let parts = sent?.into_parts();
            // A new task, so that this one ends and frees the memory it used for HTTP.
            actix_web::rt::spawn(handover.take(parts.io.into_tcp(), parts.read_buf.freeze()));
        }
        None => {
            response.head_mut().set_connection_type(ConnectionType::Close);
            let (head, body) = response.into_parts();
            let body = to_bytes(body).await.map_err(ErrorInternalServerError)?;
            let answer = SendResponse::new(framed, head.set_body(body));
            if let Ok(sent) = timeout(within, answer).await {
                sent?;
            }
        }
    }
    Ok(())
}
