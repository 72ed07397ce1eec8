//! `serve --conformance`: the hub as a server that the SDKs' own test suites can run against. It is the same hub over
//! another backend: logs in memory, one for each channel. Any channel is open to anyone, and nothing is kept.
//!
//! - `memory`: the backend. `tokens`: what its tokens say; their key is public. `echo`: an echo on the hub's WebSocket layer, for
//!   suites of RFC 6455.
//!
//! Nothing here is reachable from the product: it is another server, without a database.

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
use crate::server::upgrade::{self, Sockets};
use crate::server::{self, Stop, boot, health, listen, trace};
use liveplan_hub::backend::Backend;
use memory::Memory;

/// A server that has begun to listen.
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// Stops it, draining first.
    pub stop: Stop,
}

/// Serves until it is stopped.
///
/// # Errors
/// Where a database is configured: who sets one expects to see its data.
pub fn serve(mut config: Config, started: impl FnOnce(Started)) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.database_url.is_none(),
        "the conformance mode lets anyone read and write every channel, and keeps them in memory; unset DATABASE_URL"
    );
    config.redis_url = None;
    // Suites take it that of two clients the one that asks first is answered first.
    config.workers = 1;
    // They also ask faster than people do.
    (config.live.commands_per_second, config.live.bytes_per_second) = (1_000_000, u32::MAX);
    (config.live.commands_at_once, config.live.bytes_at_once) = (1_000_000, u32::MAX);
    tracing::warn!("conformance mode: every channel is open to anyone, and nothing is kept");
    let runtime = server::runtime()?;
    let clock = Clock::default();
    let hub = {
        let _runtime = runtime.enter();
        boot::hub(&config, &clock)?
    };
    let backend: Arc<dyn Backend> = Arc::new(Memory::new(hub.clone(), clock));
    hub.run(&backend);
    let sockets = Sockets {
        hub: hub.clone(),
        backend,
        config: Arc::new(config.clone()),
    };
    let result = actix_web::rt::System::new().block_on(async move {
        let (server, address) = listen::serve(&config, move || {
            ActixApp::new()
                .app_data(web::Data::new(sockets.clone()))
                .configure(upgrade::routes)
                .configure(echo::routes)
                .configure(health::routes_alone)
                .wrap(from_fn(lang::problems))
                .wrap(from_fn(body::bounded))
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
