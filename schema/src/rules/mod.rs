//! Rules that whoever decides a claim follows, node or hub.

mod claim;

pub use claim::{BatchKeys, ClaimAnswer, Judgement, OUTLET_PRIZE_FEN_MAX, WRONG_CODES_MAX, judge};
