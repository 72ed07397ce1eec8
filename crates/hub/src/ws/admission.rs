//! Admission control: whether this node has room for one more socket. A refused client gets 503 before the upgrade,
//! which is the cheapest answer and makes SDKs back off longest. A place is freed only when the socket's file
//! descriptor is closed, because until then the socket still uses that descriptor and memory.
//!
//! A socket without a valid token may be anybody's. Where such sockets take all the room for unfinished connects, the
//! oldest of the address that has most gives way to the newcomer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::metrics::counter::Counter;

use crate::limits::LiveLimits;
use crate::protocol::close::Close;
use crate::ws::crowd::Crowd;

/// The node's bounds on sockets, and the sockets that have a place.
pub struct Door {
    sockets: usize,
    sockets_per_address: usize,
    connecting: usize,
    inside: Mutex<Inside>,
    /// Sockets that gave way to newcomers.
    pub gave_way: Counter,
}

#[derive(Default)]
struct Inside {
    next: u64,
    sockets: usize,
    by_address: HashMap<IpAddr, Here>,
    /// Sockets that have not finished `connect`, by the number of their place.
    connecting: HashMap<u64, Weak<dyn Newcomer>>,
    /// Those of them that have not sent a valid token.
    unknown: Crowd<Option<IpAddr>, ()>,
}

/// Counts for one IP address.
#[derive(Default)]
struct Here {
    sockets: usize,
    connecting: usize,
}

/// A socket's place; dropping it makes room for another socket.
pub struct Place {
    door: Arc<Door>,
    number: u64,
    address: Option<IpAddr>,
}

/// A socket that has a place and has not finished `connect`.
pub trait Newcomer: Send + Sync {
    /// Closes the socket after the commands that it has sent are answered.
    fn send_away(&self, close: Close);

    /// Closes the socket at once and frees its file descriptor, without waiting for the client.
    fn give_way(&self);
}

/// A placeholder, in a place to which no socket is assigned yet.
struct Vacant;

impl Newcomer for Vacant {
    fn send_away(&self, _: Close) {}
    fn give_way(&self) {}
}

/// Admission was refused: there is no room now, and the client should come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Door {
    /// Creates a door with the configured bounds. If the process may not open enough `files`, the bound on sockets is
    /// lowered.
    #[must_use]
    pub fn new(limits: &LiveLimits, files: usize) -> Arc<Self> {
        // At least 64 files, or a tenth if that is more, are kept for Postgres, Redis, HTTP and the node's own files.
        let sockets = limits.sockets.min(files.saturating_sub((files / 10).max(64)));
        if sockets < limits.sockets {
            tracing::warn!(
                sockets,
                configured = limits.sockets,
                "the limit of open files is too low for the configured number of sockets"
            );
        }
        Arc::new(Self {
            sockets,
            sockets_per_address: limits.sockets_per_address,
            connecting: limits.connecting,
            inside: Mutex::default(),
            gave_way: Counter::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for a socket that is about to be upgraded. `address` is the client's; sockets without one have
    /// no bounds per address.
    ///
    /// # Errors
    /// [`Full`] if there is no room now, and none that a socket without a valid token could make.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Arc<Place>, Full> {
        let mut inside = self.lock();
        let (sockets, connecting) = address
            .and_then(|address| inside.by_address.get(&address))
            .map_or((0, 0), |here| (here.sockets, here.connecting));
        if sockets >= self.sockets_per_address || inside.sockets >= self.sockets {
            return Err(Full);
        }
        // One address may hold at most half of the unfinished connects.
        let gives_way = if connecting >= self.connecting.div_ceil(2) {
            Some(inside.unknown.find_of(address, |()| true).ok_or(Full)?)
        } else if inside.connecting.len() >= self.connecting {
            Some(inside.unknown.find(|()| true).ok_or(Full)?)
        } else {
            None
        };
        let newcomer = gives_way.and_then(|(address, number)| inside.arrived(address, number));
        let number = inside.next;
        inside.next += 1;
        inside.sockets += 1;
        inside.connecting.insert(number, Weak::<Vacant>::new());
        inside.unknown.enter(address, number, ());
        if let Some(address) = address {
            let here = inside.by_address.entry(address).or_default();
            here.sockets += 1;
            here.connecting += 1;
        }
        drop(inside);
        if gives_way.is_some() {
            self.gave_way.inc();
        }
        // If its place is not assigned to it yet, it learns of this when it is.
        if let Some(newcomer) = newcomer.and_then(|newcomer| newcomer.upgrade()) {
            newcomer.give_way();
        }
        Ok(Arc::new(Place {
            door: self.clone(),
            number,
            address,
        }))
    }

    /// Closes all sockets that have not finished `connect`.
    pub fn send_away(&self, close: Close) {
        let newcomers: Vec<_> = self.lock().connecting.values().filter_map(Weak::upgrade).collect();
        for newcomer in newcomers {
            newcomer.send_away(close);
        }
    }

    /// Returns the number of sockets, of those that have not finished `connect`, and of distinct IP addresses.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let inside = self.lock();
        (inside.sockets, inside.connecting.len(), inside.by_address.len())
    }
}

impl Place {
    /// Assigns the place to its socket.
    pub fn taken_by(&self, newcomer: &Arc<dyn Newcomer>) {
        let mut inside = self.door.lock();
        if let Some(of) = inside.connecting.get_mut(&self.number) {
            *of = Arc::downgrade(newcomer);
        } else {
            // It gave way during its handshake.
            drop(inside);
            newcomer.give_way();
        }
    }

    /// Records that the socket has sent a valid token: it no longer gives way.
    pub fn identified(&self) {
        self.door.lock().unknown.leave(self.address, self.number);
    }

    /// Records that the socket has finished `connect`.
    pub fn connected(&self) {
        self.door.lock().arrived(self.address, self.number);
    }
}

impl Inside {
    /// Removes a socket from the unfinished connects, and returns it if it was one.
    fn arrived(&mut self, address: Option<IpAddr>, number: u64) -> Option<Weak<dyn Newcomer>> {
        let newcomer = self.connecting.remove(&number)?;
        self.unknown.leave(address, number);
        if let Some(here) = address.and_then(|address| self.by_address.get_mut(&address)) {
            here.connecting -= 1;
        }
        Some(newcomer)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.lock();
        inside.arrived(self.address, self.number);
        inside.sockets -= 1;
        if let Some(here) = self.address.and_then(|address| inside.by_address.get_mut(&address)) {
            here.sockets -= 1;
        }
        forget_if_empty(&mut inside, self.address);
    }
}

fn forget_if_empty(inside: &mut Inside, address: Option<IpAddr>) {
    if let Some(address) = address
        && inside.by_address.get(&address).is_some_and(|here| here.sockets == 0)
    {
        inside.by_address.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(sockets: usize, per_address: usize, connecting: usize, files: usize) -> Arc<Door> {
        let limits = LiveLimits {
            sockets,
            sockets_per_address: per_address,
            connecting,
            ..LiveLimits::default()
        };
        Door::new(&limits, files)
    }

    const A: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const B: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn each_bound_refuses_sockets_and_a_closed_socket_makes_room() {
        let door = door(3, 2, 100, 1000);
        let mut places: Vec<_> = (0..2).map(|_| door.enter(A).expect("room")).collect();
        assert_eq!(door.enter(A).map(drop).expect_err("full"), Full);
        places.push(door.enter(B).expect("room"));
        assert!(door.enter(B).is_err(), "the node is full");
        assert_eq!(door.counts(), (3, 3, 2));
        places.remove(0);
        assert!(door.enter(A).is_ok());
        places.clear();
        assert_eq!(door.counts(), (0, 0, 0));
    }

    /// A socket that records whether it gave way.
    #[derive(Default)]
    struct Guest(std::sync::atomic::AtomicBool);

    impl Newcomer for Guest {
        fn send_away(&self, _: Close) {}
        fn give_way(&self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    impl Guest {
        fn enter(door: &Arc<Door>, address: Option<IpAddr>) -> (Arc<Self>, Arc<Place>) {
            let (guest, place) = (Arc::new(Self::default()), door.enter(address).expect("room"));
            let newcomer: Arc<dyn Newcomer> = guest.clone();
            place.taken_by(&newcomer);
            (guest, place)
        }

        fn gave_way(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::SeqCst)
        }
    }

    #[test]
    fn sockets_with_a_valid_token_hold_the_bound_of_unfinished_connects() {
        let door = door(100, 100, 2, 1000);
        let one = door.enter(A).expect("room");
        one.identified();
        assert!(door.enter(A).is_err(), "one address may hold at most half");
        let two = door.enter(B).expect("room");
        two.identified();
        assert!(door.enter(None).is_err());
        one.connected();
        one.connected();
        assert_eq!(door.counts(), (2, 1, 2));
        assert!(door.enter(A).is_ok());
        drop((one, two));
        assert_eq!((door.counts(), door.gave_way.get()), ((0, 0, 0), 0));
    }

    #[test]
    fn at_a_full_door_the_oldest_without_a_token_of_the_address_that_has_most_gives_way() {
        let door = door(500, 500, 6, 1000);
        let c = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3)));
        let mut of_a: Vec<_> = (0..3).map(|_| Guest::enter(&door, A)).collect();
        of_a[0].1.identified();
        // A holds its half: its own oldest gives way, but not the one that is known.
        of_a.push(Guest::enter(&door, A));
        let away =
            |guests: &[(Arc<Guest>, Arc<Place>)]| -> Vec<bool> { guests.iter().map(|g| g.0.gave_way()).collect() };
        assert_eq!(away(&of_a), [false, true, false, false]);
        let of_b: Vec<_> = (0..3).map(|_| Guest::enter(&door, B)).collect();
        // The node is full. B has three without a token, A has two.
        let mut of_c = vec![Guest::enter(&door, c), Guest::enter(&door, c)];
        assert_eq!(away(&of_b), [true, false, false]);
        assert_eq!(away(&of_a), [false, true, true, false]);
        of_c.extend((0..100).map(|_| Guest::enter(&door, c)));
        assert_eq!(
            (away(&of_b)[2], away(&of_a)[3]),
            (false, false),
            "a flood displaces only itself"
        );
        assert_eq!(door.gave_way.get(), 103);
        // A place counts until the file is closed.
        assert_eq!(door.counts(), (109, 6, 3));
        drop((of_a, of_b, of_c));
        assert_eq!(door.counts(), (0, 0, 0));
    }

    #[test]
    fn a_socket_that_gives_way_during_its_handshake_learns_of_it() {
        let door = door(100, 100, 2, 1000);
        let place = door.enter(A).expect("room");
        let _next = door.enter(A).expect("room");
        let guest = Arc::new(Guest::default());
        let newcomer: Arc<dyn Newcomer> = guest.clone();
        place.taken_by(&newcomer);
        assert!(guest.gave_way());
    }

    #[test]
    fn the_limit_of_open_files_bounds_the_sockets() {
        let door = door(10_000, 10_000, 10_000, 67);
        let places: Vec<_> = (0..3).map(|_| door.enter(None).expect("room")).collect();
        assert!(door.enter(None).is_err());
        drop(places);
    }
}
