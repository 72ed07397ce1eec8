//! The Postgres that liveplan runs itself where `DATABASE_URL` is unset: what its supervisor is told of this product.

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

/// A durable cluster; `LIVEPLAN_PG_FETCHED` names the Postgres that `make` fetched where the system has none.
#[must_use]
pub fn options() -> Options {
    Options {
        fetched: std::env::var_os("LIVEPLAN_PG_FETCHED").map(PathBuf::from),
        ..Options::new(HOST)
    }
}
