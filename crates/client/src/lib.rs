//! A client of a running liveplan server that uses only its public interface: a [`Device`] signs in and makes requests,
//! a [`Session`] is a device with a socket. `liveplan simulate` and the load tool are built on them.

mod device;
mod session;

pub use device::Device;
pub use reqwest::StatusCode;
pub use session::Session;
