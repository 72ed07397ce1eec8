//! The WebSocket layer (RFC 6455) over a stream whose handshake was answered.
//!
//! - [`frame`], [`reader`], [`stream`]: bytes in both directions. [`outbox`]: the bounded queue of what is to be written.
//! - [`admission`], [`pace`]: how many sockets are let in, and how fast they may send. [`socket`]: a socket's life.

pub mod admission;
pub mod frame;
pub mod outbox;
pub mod pace;
pub mod reader;
pub mod socket;
pub mod stream;
