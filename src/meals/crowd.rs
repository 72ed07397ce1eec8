//! How many commands of a gym are under way: accepted, and not answered. However they are carried out, they count.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Semaphore;

use crate::ids::GymId;

/// The commands that are under way, by gym.
pub(super) struct Crowds {
    gyms: DashMap<GymId, Crowd>,
    most: usize,
    alone: usize,
}

/// Those of one gym.
struct Crowd {
    count: usize,
    /// For transactions of single commands.
    alone: Arc<Semaphore>,
}

impl Crowds {
    /// With the number of commands of a gym that may be under way, and of those the number that may have a transaction of
    /// their own at a time.
    pub(super) fn new(most: usize, alone: usize) -> Arc<Self> {
        Arc::new(Self {
            gyms: DashMap::new(),
            most,
            alone,
        })
    }

    /// A place for a command; none where as many are under way as may.
    pub(super) fn enter(self: &Arc<Self>, gym: GymId) -> Option<Place> {
        let mut crowd = self.gyms.entry(gym).or_insert_with(|| Crowd {
            count: 0,
            alone: Arc::new(Semaphore::new(self.alone)),
        });
        if crowd.count >= self.most {
            return None;
        }
        crowd.count += 1;
        Some(Place {
            crowds: self.clone(),
            gym,
            alone: crowd.alone.clone(),
        })
    }
}

/// A command's place, until it is dropped.
pub(super) struct Place {
    crowds: Arc<Crowds>,
    gym: GymId,
    /// The gym's permits for transactions of single commands.
    pub alone: Arc<Semaphore>,
}

impl Drop for Place {
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
    fn places_are_given_back_and_a_gym_without_commands_is_forgotten() {
        let (crowds, gym) = (Crowds::new(2, 1), GymId::new());
        let places = [crowds.enter(gym), crowds.enter(gym)];
        assert!(places.iter().all(Option::is_some));
        assert!(crowds.enter(gym).is_none());
        assert!(crowds.enter(GymId::new()).is_some(), "another gym has its own");
        drop(places);
        assert!(crowds.gyms.is_empty());
        assert!(crowds.enter(gym).is_some());
    }
}
