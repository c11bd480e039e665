//! Rules that whoever decides a claim follows, node or hub.

mod claim;

pub use claim::{BatchKeys, ClaimAnswer, Judgement, WRONG_CODES_MAX, judge};
