//! Terminal sessions: proof of key and password, tokens, limits.
//!
//! A session is a fact in the log (so that it survives restarts and moves with its outlet); the registry keeps the live
//! ones in memory, so that no request reads the store to know who asks.

mod guesses;
mod login;
mod registry;

pub use guesses::Guesses;
pub use login::{
    Challenges, Credentials, LoginError, OperatorSecrets, load_secrets, prove_device, prove_person, signed_text,
};
pub use registry::{Session, Sessions};
