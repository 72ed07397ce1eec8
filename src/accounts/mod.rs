//! People and their own accounts: signing in and staying signed in ([`routes`], [`signin`]), the devices they are signed in
//! on, and where they belong ([`store`]).

mod devices;
mod routes;
mod signin;
mod store;

pub use routes::routes;
pub use signin::{Me, Session};
