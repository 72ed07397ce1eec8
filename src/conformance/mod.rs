//! `serve --conformance`: the hub as a server that the SDKs' own test suites can run against. It is the same engine,
//! broker and log, with another [`Table`]: any channel is open to anyone, and each is the log of a gym of its own.
//!
//! - `tokens`: what its tokens say; their key is public. `channels`: a channel's gym, and publishing. `echo`: an echo on the
//!   hub's WebSocket layer, for suites of RFC 6455.
//!
//! Nothing here is reachable from the product: the table is chosen once, when the server starts, and this one only by
//! [`serve`], which runs on an empty database of its own.

mod channels;
mod echo;
mod tokens;

use std::future::ready;
use std::path::PathBuf;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::access::Standing;
use crate::auth::{Caller, Roles};
use crate::config::Config;
use crate::error::Result;
use crate::events::Access;
use crate::ids::{AccountId, SessionId};
use crate::live::connection::Session;
use crate::live::table::{Offers, Table};
use crate::server::{self, Mode, Started};

const CONFORMANCE: Mode = Mode {
    table: Table {
        authenticate: |app, token| authenticate(app, token).boxed_local(),
        standing: |_, _, _| ready(Ok(Standing::Good)).boxed_local(),
        server_side: |session| match &*session.user {
            "" => Vec::new(),
            user => vec![channels::personal(user)],
        },
        place: |app, _, name| channels::place(app, name).boxed_local(),
        authorise: |_, _, _, _| ready(Ok(Access::OPEN)).boxed_local(),
        snapshot: |_, _, _, _| ready(Ok(None)).boxed_local(),
        offers: |name| Offers {
            presence: true,
            history: if name.starts_with("smallhistory:") { 2 } else { 100 },
        },
        presence: |_, _, _, _| ready(Ok(std::collections::HashMap::new())).boxed(),
        record_seen: |_, _, _| ready(Ok(())).boxed(),
        last_seen: |_, _, _| ready(Ok(std::collections::HashMap::new())).boxed_local(),
        call: None,
        publish: Some(|app, gym, name, data| channels::publish(app, gym, name, data).boxed_local()),
        subscription_token: Some(|app, session, channel, token| {
            tokens::subscription(token, &session.user, channel, app.clock.now())
        }),
    },
    routes: echo::routes,
};

/// Serves on a Postgres in a temporary directory, which is removed at the end.
///
/// # Errors
/// Where a database is configured: everything in it would be open to anyone.
pub fn serve(mut config: Config, started: impl FnOnce(Started)) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.database_url.is_none(),
        "the conformance mode lets anyone read and write every channel; it runs on a database of its own, so unset DATABASE_URL"
    );
    let directory = Temporary::make()?;
    config.data_dir.clone_from(&directory.0);
    config.throwaway = true;
    // Suites take it that of two clients the one that asks first is answered first.
    (config.workers, config.database_pool) = (1, 1);
    // They also ask faster than people do.
    (config.live.commands_per_second, config.live.bytes_per_second) = (1_000_000, u32::MAX);
    (config.live.commands_at_once, config.live.bytes_at_once) = (1_000_000, u32::MAX);
    tracing::warn!("conformance mode: every channel is open to anyone, and nothing is kept");
    let mut node = None;
    let result = server::run_as(CONFORMANCE, config, |server| {
        channels::stock(&server.app);
        node = Some(server.app.hub.node.clone());
        started(server);
    });
    if let Some(node) = node {
        channels::forget(&node);
    }
    result
}

/// Who has this token; without one, nobody in particular.
async fn authenticate(app: &App, token: &str) -> Result<Option<Session>> {
    let now = app.clock.now();
    let claims = match token {
        "" => tokens::Claims::default(),
        token => tokens::connection(token, now)?,
    };
    let left = claims.ends().map(|ends| (ends - now).to_std().unwrap_or_default());
    Ok(Some(Session {
        caller: Caller {
            account: AccountId(channels::id("account", &claims.sub)),
            gym: channels::gym(app, &channels::personal(&claims.sub)).await?,
            roles: Roles::default(),
            session: SessionId(uuid::Uuid::nil()),
            access_version: 0,
        },
        user: claims.sub.into(),
        expires_at: left.map(|left| Instant::now() + left),
    }))
}

/// A directory that is removed with its contents.
struct Temporary(PathBuf);

impl Temporary {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("liveplan-conformance-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(error.cause = %error, directory = %self.0.display(), "cannot remove");
        }
    }
}
