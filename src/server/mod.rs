//! The server: start-up, the actix app with its middleware in order, and shutdown.

pub mod boot;
pub mod connection;
pub mod docs;
pub mod epoch;
pub mod headers;
pub mod health;
pub mod housekeeping;
pub mod issuer;
pub mod keys;
pub mod listen;
pub mod metrics;
pub mod overview;
pub mod owner;
pub mod security;
pub mod trace;
pub mod upgrade;
pub mod web;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_cors::Cors;
use actix_server::ServerHandle;
use actix_web::App as ActixApp;
use actix_web::middleware::{Compress, from_fn};
use anyhow::Context as _;
use tokio::sync::oneshot;
use utoipa::OpenApi;
use utoipa_actix_web::AppExt as _;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::budget;
use crate::config::Config;
use crate::http::{body, etag, lang, private};
use crate::{accounts, channels, demo, follows, foods, gyms, meals, members, plans, rosters};
use connection::Connections;
use docs::Bearer;
use liveplan_hub::backend::Backend;
use upgrade::Sockets;

/// Deadline for changes in flight at shutdown.
const FINISH_CHANGES_WITHIN: Duration = Duration::from_secs(10);
/// Deadline for clients to close their sockets at shutdown.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// A server that listens.
pub struct Started {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The address of its metrics, if it has a listener for them.
    pub metrics: Option<SocketAddr>,
    /// The shared handle.
    pub app: App,
    /// The hub's backend.
    pub product: Arc<dyn Backend>,
    /// Drains and stops the server.
    pub stop: Stop,
}

/// A handle that stops a server.
pub struct Stop(oneshot::Sender<()>);

impl Stop {
    /// A handle, and the receiver on which the server waits.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (stop, stopped) = oneshot::channel();
        (Self(stop), stopped)
    }

    /// Asks the server to drain and stop.
    pub fn now(self) {
        let _ = self.0.send(());
    }
}

/// The URL at which a browser on this machine reaches a server that listens on `address`.
#[must_use]
pub fn page(address: SocketAddr) -> String {
    let here = address.ip().is_loopback() || address.ip().is_unspecified();
    if here {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

/// The OpenAPI document without its paths, which the routes add.
#[derive(OpenApi)]
#[openapi(
    info(title = "liveplan", description = "A real-time nutrition-plan hub for gyms."),
    modifiers(&Bearer),
    // Schemas that occur on the socket only.
    components(schemas(follows::live::MemberState, rosters::live::RosterState, plans::live::PlanState, meals::Undo)),
    security(("bearer" = []))
)]
struct Document;

/// Mounts everything under `/api/v1`. Actix tries patterns in order, so the most frequent ones come first.
pub fn routes(config: &mut ServiceConfig) {
    plans::routes(config);
    meals::routes(config);
    follows::routes(config);
    accounts::routes(config);
    gyms::routes(config);
    members::routes(config);
    rosters::routes(config);
    foods::routes(config);
    channels::routes(config);
    overview::routes(config);
    demo::routes(config);
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, document) = ActixApp::new()
        .into_utoipa_app()
        .openapi(Document::openapi())
        .service(utoipa_actix_web::scope("/api/v1").configure(routes))
        .split_for_parts();
    document
}

/// Runs a server on this thread until a signal or [`Stop`] ends it. Calls `started` when it listens.
///
/// # Errors
/// If it cannot start: the database fails, an address is in use, or `REDIS_URL` is malformed. An unreachable Redis is
/// no error.
pub fn run(config: Config, started: impl FnOnce(Started)) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let booted = runtime.block_on(boot::boot(&config))?;
    let (app, product) = (booted.app.clone(), booted.product.clone());
    let result = actix_web::rt::System::new().block_on(async move {
        if config.demo && demo::seed(&app).await.map_err(|e| anyhow::anyhow!("{e:?}"))? {
            tracing::info!("created the demo gym; every password is `{}`", demo::PASSWORD);
        }
        health::check(&app).await;
        let (server, address) = bind(&config, app.clone(), product.clone())?;
        let metrics = metrics::serve(config.metrics_bind.as_deref(), &app)?;
        let handle = server.handle();
        let running = actix_web::rt::spawn(server);
        actix_web::rt::spawn(health::tend(app.clone()));
        actix_web::rt::spawn(rosters::tend(app.clone()));
        actix_web::rt::spawn(follows::ending::tend(app.clone()));
        let (stop, stopped) = Stop::new();
        tracing::info!(address = %address, "listening");
        started(Started {
            address,
            metrics: metrics.as_ref().map(|m| m.address),
            app: app.clone(),
            product: product.clone(),
            stop,
        });
        let signal = wait_for_signal(stopped).await;
        tracing::info!(signal, "shutting down");
        shut_down(&app, &*product, &handle, Duration::from_secs(config.drain_seconds)).await;
        // Metrics stop last, so that operators can watch the drain.
        if let Some(metrics) = metrics {
            metrics.stop().await;
        }
        running.await?.context("the server failed")
    });
    runtime.block_on(booted.stop());
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

/// The runtime for pool, Redis, sequencers and jobs; actix's workers serve sockets and requests only.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    allow_open_files();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("liveplan")
        .build()
}

/// Raises the soft limit of open files (usually 1,024) to the hard limit, since each socket is an open file.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(error.cause = %error, "cannot raise the limit of open files");
    }
}

fn bind(config: &Config, app: App, product: Arc<dyn Backend>) -> anyhow::Result<(actix_server::Server, SocketAddr)> {
    let (origins, limits) = (config.allowed_origins.clone(), config.http.clone());
    let sockets = Sockets {
        hub: app.hub.clone(),
        backend: product,
        config: Arc::new(config.clone()),
    };
    let snapshots = channels::Snapshots::default();
    let connections = app.part::<Connections>();
    listen::serve(config, &connections.clone(), move || {
        let (actix, document) = ActixApp::new()
            .into_utoipa_app()
            .openapi(Document::openapi())
            .service(
                utoipa_actix_web::scope("/api/v1")
                    .configure(routes)
                    .map(|scope| scope.wrap(Compress::default()).wrap(from_fn(etag::by_coding))),
            )
            .split_for_parts();
        actix
            .app_data(actix_web::web::Data::new(app.clone()))
            .app_data(actix_web::web::Data::new(sockets.clone()))
            .app_data(actix_web::web::Data::from(sockets.config.clone()))
            .app_data(actix_web::web::Data::from(connections.clone()))
            .app_data(actix_web::web::Data::new(snapshots.clone()))
            .app_data(actix_web::web::Data::new(docs::Documents::new(&document)))
            .configure(body::configure(&limits))
            .configure(upgrade::routes)
            .configure(health::routes)
            .configure(docs::routes)
            .configure(web::routes)
            .default_service(actix_web::web::to(web::not_found))
            // The middleware that is wrapped last sees a request first.
            .wrap(from_fn(lang::problems))
            .wrap(from_fn(body::bounded))
            .wrap(from_fn(private::by_default))
            .wrap(from_fn(budget::tell))
            .wrap(cors(&origins))
            .wrap(from_fn(headers::protective))
            .wrap(from_fn(connection::recognise))
            .wrap(from_fn(trace::requests))
    })
}

fn cors(origins: &[String]) -> Cors {
    origins
        .iter()
        .fold(Cors::default(), |cors, origin| cors.allowed_origin(origin))
        .allow_any_method()
        .allow_any_header()
        .expose_headers([
            "ETag",
            "Retry-After",
            "Idempotency-Replayed",
            "RateLimit",
            "RateLimit-Policy",
        ])
        .max_age(3600)
}

pub(crate) async fn wait_for_signal(stopped: oneshot::Receiver<()>) -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = stopped.await;
        return "stop";
    };
    tokio::select! {
        // A dropped handle does not stop the server.
        () = async { if stopped.await.is_err() { std::future::pending().await } } => "stop",
        _ = tokio::signal::ctrl_c() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

/// Shuts down in this order: readiness off and no new sockets; close sockets in batches; finish commands and changes;
/// stop the listener. It accepts connections until then: a paused listener leaves clients waiting in the kernel's
/// queue, while a refused upgrade sends them to another node.
async fn shut_down(app: &App, product: &dyn Backend, handle: &ServerHandle, drain: Duration) {
    app.hub.drain(drain).await;
    let deadline = tokio::time::Instant::now() + FINISH_CHANGES_WITHIN;
    while app.changes_in_flight.load(Ordering::Acquire) > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    app.hub.record_last_seen(product).await;
    app.hub.sockets_gone(drain.min(LEAVE_WITHIN)).await;
    // Tests set the drain to zero and do not wait for requests.
    handle.stop(!drain.is_zero()).await;
}
