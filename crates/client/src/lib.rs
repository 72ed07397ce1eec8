//! A client of a running liveplan server, which it knows only through the public interface: [`Device`] is signed in and makes
//! requests, [`Session`] is a device with a socket. `liveplan simulate` and the load tool act with them.

mod device;
mod session;

pub use device::Device;
pub use reqwest::StatusCode;
pub use session::Session;
