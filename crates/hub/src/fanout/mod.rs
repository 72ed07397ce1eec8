//! Fan-out of an ordered change to all subscribers on this node: [`registry`], [`subscription`], [`encoded`] and
//! `delivery`.

pub(crate) mod delivery;
pub mod encoded;
pub mod registry;
pub mod subscription;
