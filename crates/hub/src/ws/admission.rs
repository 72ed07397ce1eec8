//! How many sockets this node lets in, and at once: who is refused here gets 503 before the upgrade, which is the cheapest
//! answer and the one after which SDKs wait longest. A place is given back when the connection's socket is gone, not before:
//! until then it costs a file and memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::limits::LiveLimits;
use crate::protocol::close::Close;

/// Bounds, and who is inside.
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
    /// Those that have not finished `connect`.
    connecting: HashMap<u64, Weak<dyn Newcomer>>,
}

/// Of one address.
#[derive(Default)]
struct Here {
    sockets: usize,
    connecting: usize,
}

/// A socket's place. Dropping it gives it back.
pub struct Place {
    door: Arc<Door>,
    number: u64,
    address: Option<IpAddr>,
}

/// Who has a place and has not finished `connect`.
pub trait Newcomer: Send + Sync {
    /// Closes it, once what it has asked is answered.
    fn send_away(&self, close: Close);
}

/// Whoever has a place that nobody has taken yet.
struct Vacant;

impl Newcomer for Vacant {
    fn send_away(&self, _: Close) {}
}

/// There is no room now. The client is told to come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Door {
    /// With the bounds of the configuration, and no more sockets than `files` that the process may open leave room for.
    #[must_use]
    pub fn new(limits: &LiveLimits, files: usize) -> Arc<Self> {
        // Postgres, Redis, requests and files of our own need some too.
        let sockets = limits.sockets.min(files.saturating_sub((files / 10).max(64)));
        if sockets < limits.sockets {
            tracing::warn!(
                sockets,
                configured = limits.sockets,
                "the limit of open files bounds the sockets"
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

    /// A place for a socket that is about to be upgraded.
    ///
    /// # Errors
    /// [`Full`] where there is none now.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Arc<Place>, Full> {
        let mut inside = self.lock();
        let here = address.map(|address| inside.by_address.entry(address).or_default());
        // One address that opens sockets and says nothing does not keep the others out.
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

    /// Sends those away that have not finished `connect`.
    pub fn send_away(&self, close: Close) {
        let newcomers: Vec<_> = self.lock().connecting.values().filter_map(Weak::upgrade).collect();
        for newcomer in newcomers {
            newcomer.send_away(close);
        }
    }

    /// Sockets inside, how many of them have not finished `connect`, and addresses that they come from.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let inside = self.lock();
        (inside.sockets, inside.connecting.len(), inside.by_address.len())
    }
}

impl Place {
    /// Says whose it is.
    pub fn taken_by(&self, newcomer: &Arc<dyn Newcomer>) {
        if let Some(of) = self.door.lock().connecting.get_mut(&self.number) {
            *of = Arc::downgrade(newcomer);
        }
    }

    /// `connect` is finished.
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
    fn each_bound_refuses_and_what_leaves_makes_room() {
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
    fn those_that_have_not_connected_are_bounded_on_their_own() {
        let door = door(100, 100, 2, 1000);
        let one = door.enter(A).expect("room");
        assert!(door.enter(A).is_err(), "an address has half of them");
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
    fn open_files_bound_the_sockets_too() {
        let door = door(10_000, 10_000, 10_000, 67);
        let places: Vec<_> = (0..3).map(|_| door.enter(None).expect("room")).collect();
        assert!(door.enter(None).is_err());
        drop(places);
    }
}
