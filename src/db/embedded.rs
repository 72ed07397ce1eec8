//! The embedded Postgres, which liveplan runs itself if `DATABASE_URL` is unset: this product's settings for it.

use std::path::PathBuf;

pub use embedded_postgres::{EmbeddedPostgres, Options};

const HOST: embedded_postgres::Host = embedded_postgres::Host {
    name: "liveplan",
    data_dir_setting: "DATA_DIR",
    bindir_setting: "PG_BINDIR",
    database_setting: "DATABASE_URL",
    fetch_hint: "let `make` fetch one",
    backup_command: "liveplan backup",
    restore_command: "liveplan restore",
};

/// Options for a durable cluster. `LIVEPLAN_PG_FETCHED` names the Postgres that `make` downloads if the system has
/// none.
#[must_use]
pub fn options() -> Options {
    Options {
        fetched: std::env::var_os("LIVEPLAN_PG_FETCHED").map(PathBuf::from),
        ..Options::new(HOST)
    }
}
