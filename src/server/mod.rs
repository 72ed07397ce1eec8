//! The server: what [`App`] is built from, the actix app with its middleware in order, and shutdown.

pub mod boot;
pub mod connection;
pub mod docs;
pub mod epoch;
pub mod health;
pub mod housekeeping;
pub mod listen;
pub mod metrics;
pub mod overview;
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
use crate::config::Config;
use crate::http::{body, etag, lang};
use crate::{accounts, channels, demo, follows, foods, gyms, meals, members, plans, rosters};
use docs::Bearer;
use liveplan_hub::backend::Backend;
use upgrade::Sockets;

/// How long shutdown waits for changes that have begun.
const FINISH_CHANGES_WITHIN: Duration = Duration::from_secs(10);
/// How long shutdown waits for clients to take notice of it.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// A server that has begun to listen.
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it shows its metrics, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// The shared handle.
    pub app: App,
    /// What the hub asks.
    pub product: Arc<dyn Backend>,
    /// Stops it, draining first.
    pub stop: Stop,
}

/// Stops a server.
pub struct Stop(oneshot::Sender<()>);

impl Stop {
    /// A way to stop a server, and what it waits for.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (stop, stopped) = oneshot::channel();
        (Self(stop), stopped)
    }

    /// Asks it to drain and end.
    pub fn now(self) {
        let _ = self.0.send(());
    }
}

/// Where a browser on this machine finds a server that listens there.
#[must_use]
pub fn page(address: SocketAddr) -> String {
    let here = address.ip().is_loopback() || address.ip().is_unspecified();
    if here {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

/// The head of the OpenAPI document; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(title = "liveplan", description = "A real-time nutrition-plan hub for gyms."),
    modifiers(&Bearer),
    // What only the socket carries.
    components(schemas(follows::live::MemberState, rosters::live::RosterState, plans::live::PlanState, meals::Undo)),
    security(("bearer" = []))
)]
struct Document;

/// Everything under `/api/v1`. Patterns are tried one after the other, so what is asked for most comes first.
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

/// Runs a server on this thread until it is stopped, by signal or by [`Stop`]; `started` hears when it listens.
///
/// # Errors
/// What keeps it from starting: the database, the address, a `REDIS_URL` that is none. A Redis that is away does not.
pub fn run(config: Config, started: impl FnOnce(Started)) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let booted = runtime.block_on(boot::boot(&config))?;
    let (app, product) = (booted.app.clone(), booted.product.clone());
    let result = actix_web::rt::System::new().block_on(async move {
        if config.demo && demo::seed(&app).await.map_err(|e| anyhow::anyhow!("{e:?}"))? {
            tracing::info!("the demo gym was made; every password is `{}`", demo::PASSWORD);
        }
        let (server, address) = bind(&config, app.clone(), product.clone())?;
        let metrics = metrics::serve(config.metrics_bind.as_deref(), &app)?;
        let handle = server.handle();
        let running = actix_web::rt::spawn(server);
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
        // To the end, so that the drain can be watched.
        if let Some(metrics) = metrics {
            metrics.stop().await;
        }
        running.await?.context("the server failed")
    });
    runtime.block_on(booted.stop());
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

/// The runtime of pool, Redis and sequencers; actix's workers only serve sockets and requests.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    allow_open_files();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("liveplan")
        .build()
}

/// Each socket is an open file: as many as the system lets this process have, instead of the usual 1,024.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(error.cause = %error, "the limit of open files stays as it is");
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
    listen::serve(config, move || {
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
            .app_data(actix_web::web::Data::new(snapshots.clone()))
            .app_data(actix_web::web::Data::new(docs::Documents::new(&document)))
            .configure(body::configure(&limits))
            .configure(upgrade::routes)
            .configure(health::routes)
            .configure(docs::routes)
            .configure(web::routes)
            .default_service(actix_web::web::to(web::not_found))
            // The last wrapped is the first to see a request.
            .wrap(from_fn(lang::problems))
            .wrap(from_fn(body::bounded))
            .wrap(cors(&origins))
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

/// Readiness off and no new sockets, sockets closed a few at a time, commands and changes finished, end. Requests are taken until
/// then: a listener that only pauses leaves clients hanging in the kernel's queue, while a refusal sends them elsewhere.
async fn shut_down(app: &App, product: &dyn Backend, handle: &ServerHandle, drain: Duration) {
    app.hub.drain(drain).await;
    let deadline = tokio::time::Instant::now() + FINISH_CHANGES_WITHIN;
    while app.changes_in_flight.load(Ordering::Acquire) > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    app.hub.record_last_seen(product).await;
    app.hub.sockets_gone(drain.min(LEAVE_WITHIN)).await;
    // In tests nobody waits for requests.
    handle.stop(!drain.is_zero()).await;
}
