//! The connection to other nodes: [`broker`] carries changes as [`wire`] messages, and [`presence`] tracks who is
//! online on any node. [`client`] connects to Redis, [`keyring`] authenticates all that nodes write there, and
//! `freshness` detects replays.

pub mod broker;
pub mod client;
pub(crate) mod freshness;
pub mod keyring;
pub mod presence;
pub mod wire;

/// How a node reaches the others: the servers that all of them use, and the keys that all of them have.
#[derive(Clone)]
pub struct OtherNodes {
    /// The servers in `REDIS_URL`.
    pub servers: client::Servers,
    /// The keys of what nodes exchange there.
    pub keyring: keyring::Keyring,
}
