//! `serve --conformance`: a server for the SDKs' own test suites. It runs the product's hub over another backend, with
//! logs in memory, one per channel. Every channel is open to anyone, and nothing is stored.
//!
//! - `memory`: the backend. `tokens`: its tokens, whose key is public. `echo`: an echo server on the hub's WebSocket
//!   layer, for test suites of RFC 6455.
//!
//! The product never mounts these endpoints: this is a separate server, without a database.

mod echo;
pub mod memory;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App as ActixApp, web};
use anyhow::Context as _;

use crate::clock::Clock;
use crate::config::Config;
use crate::http::{body, lang};
use crate::server::connection::{self, Connections};
use crate::server::upgrade::{self, Sockets};
use crate::server::{self, Stop, boot, headers, health, listen, trace};
use liveplan_hub::backend::Backend;
use liveplan_hub::open_files;
use memory::Memory;

/// A server that listens.
pub struct Started {
    /// The address it listens on.
    pub address: SocketAddr,
    /// Drains and stops the server.
    pub stop: Stop,
}

/// Serves until a signal or [`Stop`] ends it.
///
/// # Errors
/// If a database is configured, since whoever configures one expects to see its data.
pub fn serve(mut config: Config, started: impl FnOnce(Started)) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.database_url.is_none(),
        "the conformance mode lets anyone read and write every channel, and keeps them in memory; unset DATABASE_URL"
    );
    config.redis_url = None;
    // The suites assume that requests of two clients are answered in their order of arrival.
    config.workers = 1;
    // The suites also send commands faster than the product's rate limits allow.
    (config.live.commands_per_second, config.live.bytes_per_second) = (1_000_000, u32::MAX);
    (config.live.commands_at_once, config.live.bytes_at_once) = (1_000_000, u32::MAX);
    tracing::warn!("conformance mode: every channel is open to anyone, and nothing is stored");
    let runtime = server::runtime()?;
    let clock = Clock::default();
    let hub = {
        let _runtime = runtime.enter();
        boot::hub(&config, &clock, None)
    };
    let backend: Arc<dyn Backend> = Arc::new(Memory::new(hub.clone(), clock));
    hub.run(&backend);
    let sockets = Sockets {
        hub: hub.clone(),
        backend,
        config: Arc::new(config.clone()),
    };
    let connections = Arc::new(Connections::bounded(&config, open_files()));
    let result = actix_web::rt::System::new().block_on(async move {
        let (server, address) = listen::serve(&config, &connections.clone(), move || {
            ActixApp::new()
                .app_data(web::Data::new(sockets.clone()))
                .app_data(web::Data::from(sockets.config.clone()))
                .app_data(web::Data::from(connections.clone()))
                .configure(upgrade::routes)
                .configure(echo::routes)
                .configure(health::routes_alone)
                .wrap(from_fn(lang::problems))
                .wrap(from_fn(body::bounded))
                .wrap(from_fn(headers::protective))
                .wrap(from_fn(connection::recognise))
                .wrap(from_fn(trace::requests))
        })?;
        let handle = server.handle();
        let running = actix_web::rt::spawn(server);
        let (stop, stopped) = Stop::new();
        tracing::info!(address = %address, "listening");
        started(Started { address, stop });
        let signal = server::wait_for_signal(stopped).await;
        tracing::info!(signal, "shutting down");
        hub.drain(Duration::from_secs(config.drain_seconds)).await;
        handle.stop(false).await;
        running.await?.context("the server failed")
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}
