//! Admission control: whether this node has room for one more socket. A refused client gets 503 before the upgrade,
//! which is the cheapest answer and makes SDKs back off longest. A place is freed only when the socket's file
//! descriptor is closed, because until then the socket still uses that descriptor and memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::limits::LiveLimits;
use crate::protocol::close::Close;

/// The node's bounds on sockets, and the sockets that have a place.
pub struct Door {
    sockets: usize,
    sockets_per_address: usize,
    connecting: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    sockets: usize,
    by_address: HashMap<IpAddr, Here>,
    /// Sockets that have not finished `connect`, by the number of their place.
    connecting: HashMap<u64, Weak<dyn Newcomer>>,
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
}

/// A placeholder, in a place to which no socket is assigned yet.
struct Vacant;

impl Newcomer for Vacant {
    fn send_away(&self, _: Close) {}
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
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for a socket that is about to be upgraded.
    ///
    /// # Errors
    /// [`Full`] if there is no room now.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Arc<Place>, Full> {
        let mut inside = self.lock();
        let here = address.map(|address| inside.by_address.entry(address).or_default());
        // One address may hold at most half of the unfinished connects, so that it cannot keep other addresses out.
        let full_here = here.is_some_and(|here| {
            here.sockets >= self.sockets_per_address || here.connecting >= self.connecting.div_ceil(2)
        });
        if full_here || inside.sockets >= self.sockets || inside.connecting.len() >= self.connecting {
            forget_if_empty(&mut inside, address);
            return Err(Full);
        }
        let number = inside.next;
        inside.next += 1;
        inside.sockets += 1;
        inside.connecting.insert(number, Weak::<Vacant>::new());
        if let Some(address) = address {
            let here = inside.by_address.entry(address).or_default();
            here.sockets += 1;
            here.connecting += 1;
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
        if let Some(of) = self.door.lock().connecting.get_mut(&self.number) {
            *of = Arc::downgrade(newcomer);
        }
    }

    /// Records that the socket has finished `connect`.
    pub fn connected(&self) {
        self.arrived(&mut self.door.lock());
    }

    fn arrived(&self, inside: &mut Inside) {
        if inside.connecting.remove(&self.number).is_some()
            && let Some(here) = self.address.and_then(|address| inside.by_address.get_mut(&address))
        {
            here.connecting -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.lock();
        self.arrived(&mut inside);
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

    #[test]
    fn unfinished_connects_have_a_bound_of_their_own() {
        let door = door(100, 100, 2, 1000);
        let one = door.enter(A).expect("room");
        assert!(door.enter(A).is_err(), "one address may hold at most half");
        let two = door.enter(B).expect("room");
        assert!(door.enter(None).is_err());
        one.connected();
        one.connected();
        assert_eq!(door.counts(), (2, 1, 2));
        assert!(door.enter(A).is_ok());
        drop((one, two));
        assert_eq!(door.counts(), (0, 0, 0));
    }

    #[test]
    fn the_limit_of_open_files_bounds_the_sockets() {
        let door = door(10_000, 10_000, 10_000, 67);
        let places: Vec<_> = (0..3).map(|_| door.enter(None).expect("room")).collect();
        assert!(door.enter(None).is_err());
        drop(places);
    }
}
