//! Plain connections: those that carry requests or WebSocket handshakes, before an upgrade. Their number is bounded per
//! node and per address, and an idle one is closed. The hub admits WebSockets and counts them separately.
//!
//! Where a bound is reached, the oldest connection of the address that has most gives way to the newcomer, unless the
//! server works on its request. So nobody can keep others out with connections that ask for nothing.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::web;
use ipnet::IpNet;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::config::Config;
use crate::http::activity::{Activity, Seat};
use crate::http::peer::{self, ForgottenProxies};
use crate::parts::Part;
use liveplan_hub::open_files;
use liveplan_hub::ws::crowd::Crowd;

/// Plain connections use at most 1/4 of the files that the process may open; WebSockets and the database need the rest.
const PART_OF_FILES: usize = 4;
/// Connections that have given way and are not closed yet are at most 1/16 of the node's bound, and come on top of it.
const PART_LEAVING: usize = 16;

/// The bounds of plain connections, and the open ones.
pub struct Connections {
    most: usize,
    most_per_address: usize,
    proxies: Vec<IpNet>,
    forgotten: ForgottenProxies,
    open: Mutex<Open>,
    /// Connections that gave way to newcomers.
    pub gave_way: Counter,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// Connections that have a place, those of trusted proxies included.
    all: usize,
    /// Connections that have given way and are not closed yet.
    leaving: usize,
    /// Connections by host, without those of trusted proxies.
    of: Crowd<IpAddr, Arc<Seat>>,
}

impl Part for Connections {
    fn new(config: &Config) -> Self {
        Self::bounded(config, open_files())
    }
}

impl Connections {
    /// Bounds from the configuration, for a process that may open `files` files.
    #[must_use]
    pub fn bounded(config: &Config, files: usize) -> Self {
        Self {
            most: config.http.connections.min((files / PART_OF_FILES).max(1)),
            most_per_address: config.http.connections_per_address,
            proxies: config.trusted_proxies.clone(),
            forgotten: ForgottenProxies::default(),
            open: Mutex::default(),
            gave_way: Counter::default(),
        }
    }

    /// The proxies that somebody forgot to configure.
    #[must_use]
    pub const fn forgotten(&self) -> &ForgottenProxies {
        &self.forgotten
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection; `None` if a bound is reached and none gives way. The bound per address does not apply to a
    /// proxy, which carries the connections of many clients; connections of a trusted one never give way.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        let peer = peer.to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(&peer));
        let host = (!is_proxy).then(|| peer::host(peer));
        let mut open = self.lock();
        let full = host.filter(|host| open.of.of(*host) >= self.most_per_address && !self.forgotten.knows(*host));
        let gives_way = match full {
            Some(host) => Some(open.of.find_of(host, |seat| seat.may_give_way())?),
            None if open.all >= self.most => Some(open.of.find(|seat| seat.may_give_way())?),
            None => None,
        };
        if let Some((host, number)) = gives_way {
            if open.leaving > self.most / PART_LEAVING {
                return None;
            }
            open.of.leave(host, number)?.give_way();
            open.all -= 1;
            open.leaving += 1;
            self.gave_way.inc();
        }
        let (number, seat) = (open.next, Arc::<Seat>::default());
        open.next += 1;
        open.all += 1;
        if let Some(host) = host {
            open.of.enter(host, number, seat.clone());
        }
        Some(Slot {
            connections: self.clone(),
            number,
            host,
            seat,
        })
    }
}

/// Middleware. Recognises the proxies that somebody forgot to configure, by their requests. Needs the [`Config`] and the
/// [`Connections`] in the app's data.
///
/// # Errors
/// Those of the wrapped service.
pub async fn recognise<B: MessageBody>(
    config: web::Data<Config>,
    connections: web::Data<Connections>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    connections.forgotten.look(request.request(), &config);
    next.call(request).await
}

/// The place of an admitted connection; dropping it frees the place.
pub struct Slot {
    connections: Arc<Connections>,
    number: u64,
    host: Option<IpAddr>,
    seat: Arc<Seat>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if self.host.is_none_or(|host| open.of.leave(host, self.number).is_some()) {
            open.all -= 1;
        } else {
            open.leaving -= 1;
        }
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
            activity: Activity::of(slot.seat.clone()),
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

    /// Why the connection ends before the client ends it: it has given way, or it is idle.
    fn end(&mut self, cx: &mut Context<'_>) -> Option<io::ErrorKind> {
        if self.activity.seat().has_given_way(cx.waker()) {
            return Some(io::ErrorKind::ConnectionAborted);
        }
        while self.look.as_mut().poll(cx).is_ready() {
            if !self.activity.look() {
                return Some(io::ErrorKind::TimedOut);
            }
            self.look.as_mut().reset(Instant::now() + self.every);
        }
        None
    }

    fn wrote(&self, cx: &Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(1..)) => self.activity.mark(),
            Poll::Pending if self.activity.seat().has_given_way(cx.waker()) => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            _ => {}
        }
        written
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match read {
            Poll::Pending => self.end(cx).map_or(Poll::Pending, |end| Poll::Ready(Err(end.into()))),
            read @ Poll::Ready(_) => read,
        }
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(cx, written)
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
    use std::task::Waker;

    use super::*;

    fn connections(most: usize, most_per_address: usize) -> Arc<Connections> {
        Arc::new(Connections {
            most,
            most_per_address,
            proxies: vec!["192.0.2.128/25".parse().expect("a network")],
            forgotten: ForgottenProxies::default(),
            open: Mutex::default(),
            gave_way: Counter::default(),
        })
    }

    fn enter(connections: &Arc<Connections>, peer: &str) -> Option<Slot> {
        connections.enter(peer.parse().expect("an address"))
    }

    /// A connection on whose request the server works.
    fn busy(connections: &Arc<Connections>, peer: &str) -> Option<(Slot, crate::http::activity::Answering)> {
        let slot = enter(connections, peer)?;
        let answering = Activity::of(slot.seat.clone()).answering();
        Some((slot, answering))
    }

    fn gave_way(slot: &Slot) -> bool {
        slot.seat.has_given_way(Waker::noop())
    }

    #[test]
    fn an_address_and_the_node_have_bounds_and_a_closed_connection_makes_room() {
        let connections = connections(4, 2);
        let mut slots: Vec<_> = (0..2).filter_map(|_| busy(&connections, "192.0.2.1")).collect();
        assert_eq!(slots.len(), 2);
        assert!(enter(&connections, "::ffff:192.0.2.1").is_none(), "the same address");
        slots.extend((0..2).filter_map(|_| busy(&connections, "192.0.2.2")));
        assert_eq!(slots.len(), 4);
        assert!(enter(&connections, "192.0.2.3").is_none(), "the node is full");
        slots.remove(0);
        assert!(enter(&connections, "192.0.2.1").is_some());
        drop(slots);
        let open = connections.lock();
        assert_eq!((open.all, open.leaving, open.of.find(|_| true)), (0, 0, None));
    }

    #[test]
    fn the_oldest_without_a_request_of_the_address_that_has_most_gives_way() {
        let connections = connections(64, 40);
        let (_works, _answering) = busy(&connections, "192.0.2.1").expect("room");
        let of_one: Vec<_> = (0..39).filter_map(|_| enter(&connections, "192.0.2.1")).collect();
        let newer = enter(&connections, "192.0.2.1").expect("its own oldest gives way");
        assert!(gave_way(&of_one[0]) && !gave_way(&of_one[1]) && !gave_way(&newer));
        let of_two: Vec<_> = (0..24).filter_map(|_| enter(&connections, "192.0.2.2")).collect();
        assert_eq!(of_two.len(), 24);
        let other = enter(&connections, "192.0.2.3").expect("the other's oldest gives way");
        assert!(gave_way(&of_one[1]) && !of_two.iter().any(gave_way) && !gave_way(&other));
        // Connections that are not closed yet are bounded.
        let more: Vec<_> = (0..9).filter_map(|_| enter(&connections, "192.0.2.4")).collect();
        assert_eq!((more.len(), connections.lock().leaving), (3, 5));
        drop(of_one);
        assert_eq!(connections.lock().leaving, 0);
        assert!(enter(&connections, "192.0.2.4").is_some());
        assert_eq!(connections.gave_way.get(), 5);
    }

    #[test]
    fn the_bound_per_address_does_not_apply_to_a_proxy_which_never_gives_way() {
        let connections = connections(3, 1);
        let slots: Vec<_> = (0..4)
            .filter_map(|_| enter(&connections, "::ffff:192.0.2.129"))
            .collect();
        assert_eq!((slots.len(), slots.iter().any(gave_way)), (3, false));
        assert!(enter(&connections, "192.0.2.1").is_none());
    }

    #[test]
    fn an_ipv6_host_is_one_address() {
        let connections = connections(9, 1);
        let one = busy(&connections, "2001:db8:0:1::1");
        assert!(one.is_some() && enter(&connections, "2001:db8:0:1:ffff::2").is_none());
        assert!(enter(&connections, "2001:db8:0:2::1").is_some());
    }
}
