//! Which key of a sequence is used, and which are accepted. Pure.
//!
//! A new key becomes active some time after it was stored, so that every node has loaded it before one uses it. The key
//! before is accepted for as long as what was made with it is valid.

use chrono::{DateTime, TimeDelta, Utc};

/// How much later than the succession a node may still use the key before: the interval between two loads, and what
/// delays one.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<K> {
    /// When nodes begin to use it.
    pub active_from: DateTime<Utc>,
    /// The key.
    pub key: K,
}

/// The keys by what they are good for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing<K> {
    /// The key to use: the latest active one.
    pub current: K,
    /// Other keys to accept: later ones, and earlier ones that were replaced recently. Newest first.
    pub accepted: Vec<K>,
    /// Earlier keys that are accepted no more.
    pub over: Vec<K>,
}

/// Sorts keys by their standing. A replaced key is accepted for `valid` after its succession, or for ever if that is
/// `None`. If no key is active yet, the one that will be first is used. Returns `None` if there are no keys.
pub fn standing<K: Ord>(mut keys: Vec<Stored<K>>, valid: Option<TimeDelta>, now: DateTime<Utc>) -> Option<Standing<K>> {
    keys.sort_by(|a, b| (b.active_from, &b.key).cmp(&(a.active_from, &a.key)));
    let active = keys.iter().position(|key| key.active_from <= now);
    let index = active.unwrap_or(keys.len().checked_sub(1)?);
    let (mut current, mut accepted, mut over) = (None, Vec::new(), Vec::new());
    let mut successor: Option<DateTime<Utc>> = None;
    for (n, Stored { active_from, key }) in keys.into_iter().enumerate() {
        let replaced_at = successor.replace(active_from);
        // An instant too late to be represented is in the future.
        let end = replaced_at
            .zip(valid)
            .and_then(|(at, valid)| at.checked_add_signed(valid)?.checked_add_signed(LATE));
        match n.cmp(&index) {
            std::cmp::Ordering::Equal => current = Some(key),
            std::cmp::Ordering::Greater if end.is_some_and(|end| end <= now) => over.push(key),
            _ => accepted.push(key),
        }
    }
    Some(Standing {
        current: current?,
        accepted,
        over,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("an instant")
    }

    fn stored(keys: &[(i64, u32)]) -> Vec<Stored<u32>> {
        let stored = |(from, key): &(i64, u32)| Stored {
            active_from: at(*from),
            key: *key,
        };
        keys.iter().map(stored).collect()
    }

    #[test]
    fn a_key_is_accepted_before_it_is_used_and_for_a_while_after_its_succession() {
        let keys = [(0, 1), (1000, 2)];
        let valid = Some(TimeDelta::seconds(900));
        for (now, current, accepted, over) in [
            (999, 1, vec![2], vec![]),
            (1000, 2, vec![1], vec![]),
            (1000 + 900 + 59, 2, vec![1], vec![]),
            (1000 + 900 + 60, 2, vec![], vec![1]),
        ] {
            let expected = Standing {
                current,
                accepted,
                over,
            };
            assert_eq!(standing(stored(&keys), valid, at(now)), Some(expected), "{now}");
        }
        let forever = standing(stored(&keys), None, at(1_000_000)).expect("keys");
        assert_eq!((forever.accepted, forever.over), (vec![1], vec![]));
        assert_eq!(standing(stored(&[(50, 1)]), valid, at(0)).map(|s| s.current), Some(1));
        assert_eq!(standing(stored(&[]), valid, at(0)), None);
    }

    proptest! {
        /// Nodes that load the keys at different moments understand each other.
        #[test]
        fn what_a_node_makes_any_node_accepts_while_it_is_valid(
            gaps in prop::collection::vec(0_i64..3_000, 1..6),
            made in 0_i64..12_000,
            valid in 1_i64..2_000,
            late in 0_i64..60,
            age in 0_i64..2_000,
            load in 0_i64..30,
        ) {
            let times = gaps.iter().scan(0, |time, gap| {
                *time += gap;
                Some(*time)
            });
            let keys: Vec<(i64, u32)> = times.zip(0..).collect();
            let valid_for = Some(TimeDelta::seconds(valid));
            // The maker loaded its keys a little before.
            let maker = standing(stored(&keys), valid_for, at(made - late)).expect("keys");
            // The reader knows the keys that were stored when it loaded; each was stored 30 s before it became active.
            let now = made + age.min(valid - 1);
            let known: Vec<_> = keys.iter().filter(|(from, _)| from - 30 <= now - load).copied().collect();
            prop_assume!(!known.is_empty());
            let reader = standing(stored(&known), valid_for, at(now - load)).expect("keys");
            let accepts = reader.current == maker.current || reader.accepted.contains(&maker.current);
            prop_assert!(accepts, "{:?} does not accept {}", reader, maker.current);
        }
    }
}
