//! What modules keep for as long as a node runs, such as the queue of a noun: one of each type, made when it is first asked
//! for, so that who hands it out need not know it.

use std::any::{Any, TypeId};
use std::sync::Arc;

use dashmap::DashMap;

use crate::config::Config;

/// Something of which a node has one.
pub trait Part: Send + Sync + 'static {
    /// Makes it.
    fn new(config: &Config) -> Self;
}

/// The parts of a node.
#[derive(Default)]
pub struct Parts(DashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Parts {
    /// The one of this type.
    #[must_use]
    pub fn get<T: Part>(&self, config: &Config) -> Arc<T> {
        let id = TypeId::of::<T>();
        let known = self.0.get(&id).map(|part| part.clone());
        let part = known.unwrap_or_else(|| self.0.entry(id).or_insert_with(|| Arc::new(T::new(config))).clone());
        part.downcast()
            .unwrap_or_else(|_| unreachable!("a part is kept under its own type"))
    }
}
