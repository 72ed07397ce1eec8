//! The short way to a client: bytes go to its socket at once, from whichever thread has them, without waking the worker that
//! owns the connection. For plain TCP only; where the kernel takes no more, the rest goes the long way, through the
//! response body, and so does everything after it until the body has nothing left.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

/// A handle of a connection's socket, besides the server's own. The kernel closes the socket when both are gone.
#[derive(Debug)]
pub struct Direct(OwnedFd);

impl Direct {
    /// Notes the socket of a new connection, where it is plain TCP and a handle is to be had.
    pub fn note(connection: &dyn std::any::Any, data: &mut Extensions) {
        if let Some(stream) = connection.downcast_ref::<TcpStream>()
            && let Ok(handle) = stream.as_fd().try_clone_to_owned()
        {
            data.insert(Arc::new(Self(handle)));
        }
    }

    /// Sends what the kernel takes without waiting, and returns how much that was. What is wrong with the socket is found
    /// by those who read and write it the long way.
    pub(super) fn send(&self, bytes: &[u8]) -> usize {
        send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0)
    }

    /// Says that nothing more comes, once all is written. A client that closes waits for this before it takes the connection
    /// as closed (RFC 6455 §7.1.1), and the server by itself would listen for a second first.
    pub(super) fn finish(&self) {
        let _ = shutdown(&self.0, Shutdown::Write);
    }
}
