//! The double-entry ledger: accounts, and which transfers each fact makes.
//!
//! A transfer debits one account and credits another by the same amount above zero. A balance is credits less
//! debits, so the sum over all accounts is always zero. History is never edited: a correction is a reversing
//! transfer. Charges are posted gross (charge, then commission), so that a return reverses exactly.

mod account;
mod posting;

pub use account::{AccountId, AccountKind};
pub use posting::{
    Posting, TransferCode, TransferId, check_in, deposit, from_suspense, handoff_in, handoff_out, pack_return, prize,
};
