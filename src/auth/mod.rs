//! Who calls.
//!
//! - On every request: [`tokens`] (and [`jwt`], their algorithms), [`caller`], [`roles`], and [`access`], the check that a session still holds.
//! - Signing in and staying signed in: [`routes`], [`signin`], [`sessions`] (and [`devices`], what people do with their
//!   own), [`password`], [`email`].
//! - Accounts and where they belong: [`store`], [`status`].

pub mod access;
pub mod caller;
pub mod devices;
pub mod email;
pub mod jwt;
pub mod password;
pub mod roles;
pub mod routes;
pub mod seal;
pub mod sessions;
pub mod signin;
pub mod status;
pub mod store;
pub mod tokens;

pub use caller::Caller;
pub use email::Email;
pub use roles::{Role, Roles};
pub use status::Status;
pub use tokens::Tokens;
