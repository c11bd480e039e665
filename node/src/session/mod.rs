//! Terminal sessions: proof of key and password, tokens, limits.
//!
//! A session is a fact in the log (so that it survives restarts and moves with its outlet); the registry keeps the live
//! ones in memory, so that no request reads the store to know who asks.

mod challenges;
mod guesses;
mod hashing;
mod login;
mod registry;

pub use challenges::{Challenges, OwnChallenge};
pub use guesses::{Guess, Guesses};
pub use hashing::Hashing;
pub use login::{
    Credentials, Ground, LoginError, OperatorSecrets, load_secrets, prove_device, prove_person, signed_text,
};
pub use registry::{Ended, Session, Sessions, Stored};
