//! What several tests and the example share.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test uses a part of it")]

pub mod certificates;
pub mod machines;
pub mod relay;
pub mod table;
