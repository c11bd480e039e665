//! Plans: which outlets move so that a node gets its share, or gives all away.

mod arrival;
mod plan;

pub use arrival::{never_came, outdated};
pub use plan::{Aim, NodeLoad, Plan};
