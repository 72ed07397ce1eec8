//! State that modules keep while a node runs, such as the queues of a noun: one instance per type, created on first
//! use. So `App` can hand out the state of modules that it does not know.

use std::any::{Any, TypeId};
use std::sync::Arc;

use dashmap::DashMap;

use crate::config::Config;

/// A type of which a node has one instance.
pub trait Part: Send + Sync + 'static {
    /// Creates the instance.
    fn new(config: &Config) -> Self;
}

/// The parts of a node.
#[derive(Default)]
pub struct Parts(DashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Parts {
    /// The instance of this type.
    #[must_use]
    pub fn get<T: Part>(&self, config: &Config) -> Arc<T> {
        let id = TypeId::of::<T>();
        let known = self.0.get(&id).map(|part| part.clone());
        let part = known.unwrap_or_else(|| self.0.entry(id).or_insert_with(|| Arc::new(T::new(config))).clone());
        part.downcast()
            .unwrap_or_else(|_| unreachable!("a part is stored under its own type"))
    }
}
