//! From an ordered change to every subscriber of this node: [`registry`], [`subscription`], [`encoded`] and `delivery`.

pub(crate) mod delivery;
pub mod encoded;
pub mod registry;
pub mod subscription;
