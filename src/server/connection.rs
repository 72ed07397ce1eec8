//! Plain connections: those that carry requests or WebSocket handshakes, before an upgrade. Their number is bounded per
//! node and per address, and an idle one is closed. The hub admits WebSockets and counts them separately.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::config::Config;

/// Plain connections use at most 1/4 of the files that the process may open; WebSockets and the database need the rest.
const PART_OF_FILES: usize = 4;

/// The bounds of plain connections, and counts of the open ones.
pub struct Connections {
    most: usize,
    most_per_address: usize,
    proxies: Vec<IpNet>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Connections {
    /// Bounds from the configuration, for a process that may open `files` files.
    #[must_use]
    pub fn new(config: &Config, files: usize) -> Arc<Self> {
        Arc::new(Self {
            most: config.http.connections.min((files / PART_OF_FILES).max(1)),
            most_per_address: config.http.connections_per_address,
            proxies: config.trusted_proxies.clone(),
            open: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection; `None` if a bound is reached. The bound per address does not apply to a trusted proxy,
    /// which carries the connections of many clients.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        let peer = peer.to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(&peer));
        let host = (!is_proxy).then(|| host(peer));
        let mut open = self.lock();
        if open.all >= self.most {
            return None;
        }
        if let Some(host) = host {
            let here = open.of.entry(host).or_default();
            if *here >= self.most_per_address {
                return None;
            }
            *here += 1;
        }
        open.all += 1;
        Some(Slot {
            connections: self.clone(),
            host,
        })
    }
}

/// The host behind an address: an IPv4 address, or the /64 prefix of an IPv6 address, since a host usually owns a whole
/// /64.
fn host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// The place of an admitted connection; dropping it frees the place.
pub struct Slot {
    connections: Arc<Connections>,
    host: Option<IpAddr>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.all -= 1;
        if let Some(host) = self.host
            && let Some(here) = open.of.get_mut(&host)
        {
            *here -= 1;
            if *here == 0 {
                open.of.remove(&host);
            }
        }
    }
}

/// Whether a connection is in use. Middleware finds it in the connection's data and marks each request on it.
#[derive(Default)]
pub struct Activity {
    answering: Cell<usize>,
    since_last_look: Cell<bool>,
}

impl Activity {
    /// Marks a request as under way until the guard is dropped.
    #[must_use]
    pub fn answering(self: &Rc<Self>) -> Answering {
        self.answering.set(self.answering.get() + 1);
        Answering(self.clone())
    }

    fn mark(&self) {
        self.since_last_look.set(true);
    }

    /// Whether there was activity since the last call, or a request is under way.
    fn look(&self) -> bool {
        self.since_last_look.replace(false) || self.answering.get() > 0
    }
}

/// The guard of [`Activity::answering`].
pub struct Answering(Rc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(self.0.answering.get() - 1);
        self.0.mark();
    }
}

/// The stream of a plain connection, with an idle timeout. Actix has timeouts for the head of the first request and for
/// the pause between two requests. It has none for the heads of later requests, nor for bytes that a client sends after
/// its response. This stream therefore checks in intervals: if no request was under way and no bytes were written in a
/// whole interval, the next read that would wait fails.
pub struct PlainStream {
    stream: TcpStream,
    activity: Rc<Activity>,
    every: Duration,
    look: Pin<Box<Sleep>>,
    _slot: Slot,
}

impl PlainStream {
    /// A stream that is checked for activity in intervals of `every`.
    pub fn new(stream: TcpStream, slot: Slot, every: Duration) -> Self {
        Self {
            stream,
            activity: Rc::default(),
            every,
            look: Box::pin(sleep(every)),
            _slot: slot,
        }
    }

    /// The connection's activity.
    #[must_use]
    pub fn activity(&self) -> &Rc<Activity> {
        &self.activity
    }

    /// The TCP stream.
    #[must_use]
    pub const fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Gives up the TCP stream for a WebSocket, and frees the connection's place.
    #[must_use]
    pub fn into_tcp(self) -> TcpStream {
        self.stream
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.look.as_mut().poll(cx).is_ready() {
            if !self.activity.look() {
                return true;
            }
            self.look.as_mut().reset(Instant::now() + self.every);
        }
        false
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(1..)) = written {
            self.activity.mark();
        }
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() && self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_address: usize) -> Arc<Connections> {
        Arc::new(Connections {
            most,
            most_per_address,
            proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            open: Mutex::default(),
        })
    }

    fn enter(connections: &Arc<Connections>, peer: &str) -> Option<Slot> {
        connections.enter(peer.parse().expect("an address"))
    }

    #[test]
    fn an_address_and_the_node_have_bounds_and_a_closed_connection_makes_room() {
        let connections = connections(4, 2);
        let mut slots: Vec<_> = (0..2).filter_map(|_| enter(&connections, "192.0.2.1")).collect();
        assert_eq!(slots.len(), 2);
        assert!(enter(&connections, "::ffff:192.0.2.1").is_none(), "the same address");
        slots.extend((0..2).filter_map(|_| enter(&connections, "192.0.2.2")));
        assert_eq!(slots.len(), 4);
        assert!(enter(&connections, "192.0.2.3").is_none(), "the node is full");
        slots.remove(0);
        assert!(enter(&connections, "192.0.2.1").is_some());
        drop(slots);
        let open = connections.lock();
        assert_eq!((open.all, open.of.len()), (0, 0));
    }

    #[test]
    fn the_bound_per_address_does_not_apply_to_a_proxy() {
        let connections = connections(3, 1);
        let slots: Vec<_> = (0..4).filter_map(|_| enter(&connections, "::ffff:10.1.2.3")).collect();
        assert_eq!((slots.len(), connections.lock().of.len()), (3, 0));
    }

    #[test]
    fn an_ipv6_host_is_its_64_bit_prefix() {
        let connections = connections(9, 1);
        let one = enter(&connections, "2001:db8:0:1::1");
        assert!(one.is_some() && enter(&connections, "2001:db8:0:1:ffff::2").is_none());
        assert!(enter(&connections, "2001:db8:0:2::1").is_some());
    }

    #[test]
    fn activity_is_a_request_under_way_or_a_mark_since_the_last_check() {
        let activity = Rc::<Activity>::default();
        assert!(!activity.look());
        let answering = activity.answering();
        assert!(activity.look() && activity.look());
        drop(answering);
        assert!(activity.look() && !activity.look());
        activity.mark();
        assert!(activity.look() && !activity.look());
    }
}
