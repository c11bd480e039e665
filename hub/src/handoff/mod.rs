//! Plans: which outlets move so that a node gets its share, or gives all away.

mod plan;

pub use plan::{Aim, NodeLoad, Plan};
