//! Who calls: access tokens, roles, and the check that a session still holds. Passwords, sign-in and sessions are in
//! [`password`], [`routes`] and [`store`].

pub mod access;
pub mod caller;
pub mod password;
pub mod roles;
pub mod routes;
pub mod seal;
pub mod store;
pub mod tokens;

pub use caller::Caller;
pub use roles::{Role, Roles};
pub use tokens::Tokens;
