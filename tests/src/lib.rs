//! End-to-end tests of Jikai: the rules of the repository itself, and real processes under failure and attack.
//!
//! [`province`] a demo played by the simulator → [`process`] one running binary → [`https`] whatever bytes a test sends it →
//! [`machines`] a hub of several machines → [`running`] a hub and a node with outlets, staff and a terminal → [`hostile`] requests that must be refused →
//! [`stores`] databases of running processes, looked into and held from outside.

pub mod hostile;
pub mod https;
pub mod machines;
pub mod process;
pub mod province;
pub mod running;
pub mod stores;
