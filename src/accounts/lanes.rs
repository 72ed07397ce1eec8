//! The lanes in which passwords of sign-ins are verified. Strangers share one that is fair by address; known devices
//! have their own, so that no crowd of strangers keeps them waiting.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::auth::devices::Hash;
use crate::auth::password;
use crate::config::Config;
use crate::error::Result;
use crate::parts::Part;
use crate::turns::cores;
use crate::turns::lane::{Bounds, Lane};

/// Who waits for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// A stranger at an address.
    Stranger(Option<IpAddr>),
    /// A known device, by the hash of its secret.
    Device(Hash),
}

/// The lanes of a node. Together they use at most three quarters of the cores, but one each.
pub(super) struct Lanes {
    strangers: Arc<Lane<Option<IpAddr>>>,
    devices: Arc<Lane<Hash>>,
}

impl Part for Lanes {
    fn new(_: &Config) -> Self {
        // A verification takes some 20 ms, so a full lane takes about as long as its callers wait at most.
        let strangers = Bounds {
            waiting: 256,
            waiting_per_key: 64,
        };
        let devices = Bounds {
            waiting: 128,
            waiting_per_key: 2,
        };
        Self {
            strangers: Lane::new(cores() / 2, strangers),
            devices: Lane::new(cores() / 4, devices),
        }
    }
}

impl Lanes {
    /// Verifies a password, as [`password::matches`] does, when it is this caller's turn.
    ///
    /// # Errors
    /// 503 with the seconds to wait, if the lane is full.
    pub(super) async fn matches(&self, who: Waits, password: String, hash: Option<String>) -> Result<bool> {
        let work = move || password::matches(&password, hash.as_deref());
        match who {
            Waits::Stranger(address) => self.strangers.take(address.map(network), work).await?,
            Waits::Device(device) => self.devices.take(device, work).await?,
        }
    }
}

/// The network that shares a turn: an IPv4 address or an IPv6 /56, the least that a customer of a provider has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - 56)))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_share_a_turn() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:1::1"), of("2001:db8:1:ff:2::2"));
        assert_ne!(of("2001:db8:1:1::1"), of("2001:db8:1:100::1"));
        assert_eq!(of("::ffff:9.9.9.9"), of("9.9.9.9"));
        assert_ne!(of("9.9.9.9"), of("9.9.9.8"));
    }
}
