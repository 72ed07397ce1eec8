//! Admission control for commands: bounds the commands of a gym that were accepted and not answered yet, whether they
//! run in a batch or alone.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Semaphore;

use crate::ids::GymId;

/// The commands under way, by gym.
pub(super) struct Crowds {
    gyms: DashMap<GymId, Crowd>,
    most: usize,
    alone: usize,
}

/// The commands under way of one gym.
struct Crowd {
    count: usize,
    /// Permits for commands that run alone.
    alone: Arc<Semaphore>,
}

impl Crowds {
    /// Bounds per gym: at most `most` commands under way, of which at most `alone` run in their own transactions at a
    /// time.
    pub(super) fn new(most: usize, alone: usize) -> Arc<Self> {
        Arc::new(Self {
            gyms: DashMap::new(),
            most,
            alone,
        })
    }

    /// Admits a command; `None` if its gym has reached the bound.
    pub(super) fn enter(self: &Arc<Self>, gym: GymId) -> Option<Underway> {
        let mut crowd = self.gyms.entry(gym).or_insert_with(|| Crowd {
            count: 0,
            alone: Arc::new(Semaphore::new(self.alone)),
        });
        if crowd.count >= self.most {
            return None;
        }
        crowd.count += 1;
        Some(Underway {
            crowds: self.clone(),
            gym,
            alone: crowd.alone.clone(),
        })
    }
}

/// The place of an admitted command; dropping it frees the place.
pub(super) struct Underway {
    crowds: Arc<Crowds>,
    gym: GymId,
    /// The gym's permits for commands that run alone.
    pub alone: Arc<Semaphore>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Entry::Occupied(mut crowd) = self.crowds.gyms.entry(self.gym) {
            crowd.get_mut().count -= 1;
            if crowd.get().count == 0 {
                crowd.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_places_are_freed_and_a_gym_without_commands_has_no_entry() {
        let (crowds, gym) = (Crowds::new(2, 1), GymId::new());
        let places = [crowds.enter(gym), crowds.enter(gym)];
        assert!(places.iter().all(Option::is_some));
        assert!(crowds.enter(gym).is_none());
        assert!(crowds.enter(GymId::new()).is_some(), "another gym has its own bound");
        drop(places);
        assert!(crowds.gyms.is_empty());
        assert!(crowds.enter(gym).is_some());
    }
}
