//! Accounts and their sessions: sign-in, refresh and sign-out (`routes`, `signin`), whose passwords are verified in
//! `lanes`; the password and the list of sessions (`devices`); and the account's memberships (`store`).

mod devices;
mod lanes;
mod routes;
mod signin;
mod store;

pub use routes::routes;
pub use signin::{Me, Session};
