//! The WebSocket layer (RFC 6455), from the end of the handshake on.
//!
//! - [`frame`], [`reader`], [`stream`]: encoding, decoding and raw bytes. [`outbox`]: the bounded queue of frames to
//!   write.
//! - [`admission`], [`pace`]: admission control of sockets, and rate limits on their input. [`crowd`]: who gives way at
//!   a full door. [`socket`]: the lifecycle of a socket.

pub mod admission;
pub mod crowd;
pub mod frame;
pub mod outbox;
pub mod pace;
pub mod reader;
pub mod socket;
pub mod stream;
