//! Authentication and access.
//!
//! - Every request uses [`tokens`] (with [`jwt`], their algorithms, and [`deployment`], their issuer), [`caller`], [`roles`], and [`access`], which
//!   checks that the session is open and the membership active.
//! - Sign-in uses [`sessions`], [`password`] and [`email`]; its routes are in [`crate::accounts`]. A session's refresh
//!   tokens are in [`refresh`], and [`uses`] records which of them a client has got. [`guesses`] counts wrong
//!   passwords, and [`devices`] has those that signed in before.
//! - [`store`] has the rows of accounts, [`status`] the status of a membership, [`seal`] the master key, and
//!   [`secrets`] the keys that it seals, which [`keyring`] holds.

pub mod access;
pub mod caller;
pub mod deployment;
pub mod devices;
pub mod email;
pub mod guesses;
pub mod jwt;
pub mod keyring;
pub mod password;
pub mod refresh;
pub mod roles;
pub mod seal;
pub mod secrets;
pub mod sessions;
pub mod status;
pub mod store;
pub mod tokens;
pub mod uses;

pub use caller::Caller;
pub use email::Email;
pub use roles::{Role, Roles};
pub use status::Status;
pub use tokens::{Tokens, Verified};
