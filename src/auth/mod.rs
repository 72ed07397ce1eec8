//! Authentication and access.
//!
//! - Every request uses [`tokens`] (with [`jwt`], their algorithms, and [`deployment`], their issuer), [`caller`], [`roles`], and [`access`], which
//!   checks that the session is open and the membership active.
//! - Sign-in uses [`sessions`], [`password`] and [`email`]; its routes are in [`crate::accounts`]. A session's refresh
//!   tokens are in [`refresh`], and [`uses`] records which of them a client has got. [`guesses`] counts wrong
//!   passwords, and [`devices`] has those that signed in before.
//! - [`link`] is the secret of a one-time link, and [`resets`] has the rows of those that set a new password.
//! - [`store`] has the rows of accounts, [`status`] the status of a membership.
//! - [`seal`] has the master key, which seals the signing keys and the shared [`secrets`]; [`keyring`] holds these,
//!   [`rotation`] replaces them, and [`succession`] says which are in use.

pub mod access;
pub mod caller;
pub mod deployment;
pub mod devices;
pub mod email;
pub mod guesses;
pub mod jwt;
pub mod keyring;
pub mod link;
pub mod password;
pub mod refresh;
pub mod resets;
pub mod roles;
pub mod rotation;
pub mod seal;
pub mod secrets;
pub mod sessions;
pub mod status;
pub mod store;
pub mod succession;
pub mod tokens;
pub mod uses;

pub use caller::Caller;
pub use email::Email;
pub use roles::{Role, Roles};
pub use status::Status;
pub use tokens::{Tokens, Verified};
