//! Identifiers: newtypes over packed integers, each with a checked constructor and one text form.
//!
//! Packed integers are the keys of every table (a random 16-byte key costs four times the page writes), and
//! the text forms are what people and other programs read. Decoding runs the same checks as the constructors, so a
//! value of these types is valid wherever it came from. Sources: DOMAIN §1 (digits), GB/T 2260 (divisions).

mod batch;
mod game;
mod machine;
mod place;
mod ticket;

pub use batch::{BatchCode, BatchNo};
pub use game::GameCode;
pub use machine::MachineNo;
pub use place::{NodeId, OperatorId, OutletClass, OutletId, PrefectureCode, TerminalId};
pub use ticket::{PackId, TicketId};

/// An identifier that its constructor refused. The text names the kind, the value and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {kind}: {rule}")]
pub struct IdError {
    /// Which identifier was expected, e.g. `outlet id`.
    pub kind: &'static str,
    /// What was given, shortened to 64 characters.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl IdError {
    pub(crate) fn new(kind: &'static str, value: impl core::fmt::Display, rule: &'static str) -> Self {
        let value = value.to_string().chars().take(64).collect();
        IdError { kind, value, rule }
    }
}

/// Parses exactly `width` ASCII digits; `None` for anything else (signs, spaces, other digits).
pub(crate) fn digits(text: &str, width: usize) -> Option<u64> {
    let whole = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole { text.parse().ok() } else { None }
}
