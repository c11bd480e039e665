//! End-to-end tests of Jikai: the rules of the repository itself, and real processes under failure.

pub mod province;
