//! Accounts and their sessions: sign-in, refresh and sign-out (`routes`, `signin`), whose passwords are verified in
//! `lanes`; the password and the list of sessions (`devices`); one-time links as their holders use them (`claims`); and
//! the account's memberships (`store`).

mod claims;
mod devices;
mod lanes;
mod routes;
mod signin;
mod store;

pub use claims::reset_by_operator;
pub use routes::routes;
pub use signin::{Me, Session};
