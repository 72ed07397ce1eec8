//! Who calls.
//!
//! - On every request: [`tokens`] (and [`jwt`], their algorithms), [`caller`], [`roles`], and [`access`], the check that a session still holds.
//! - What signing in needs: [`sessions`], [`password`], [`email`]; what people do with it is above, in [`crate::accounts`].
//! - Accounts ([`store`]), and how a membership stands ([`status`]).

pub mod access;
pub mod caller;
pub mod email;
pub mod jwt;
pub mod password;
pub mod roles;
pub mod seal;
pub mod sessions;
pub mod status;
pub mod store;
pub mod tokens;

pub use caller::Caller;
pub use email::Email;
pub use roles::{Role, Roles};
pub use status::Status;
pub use tokens::Tokens;
