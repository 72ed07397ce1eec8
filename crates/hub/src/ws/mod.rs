//! The WebSocket layer (RFC 6455), over a TCP stream after the handshake.
//!
//! - [`frame`], [`reader`], [`stream`]: encoding, decoding and raw bytes. [`outbox`]: the bounded queue of frames to
//!   write.
//! - [`admission`], [`pace`]: admission control of sockets, and rate limits of their input. [`socket`]: a socket's
//!   life.

pub mod admission;
pub mod frame;
pub mod outbox;
pub mod pace;
pub mod reader;
pub mod socket;
pub mod stream;
