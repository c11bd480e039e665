//! Which way to the hub: a book of routes with what was measured of each, and the choice among them.
//!
//! Sans-I/O: times and random numbers come in, so that the choice runs under a virtual clock and a seed. The driver in
//! [`crate::transport`] measures and obeys.
//!
//! [`Route`] what is known of a way → [`Routes`] the book: choice, ejection, slow readmission → [`Pulse`] whether a
//! connection still lives.

mod book;
mod pulse;
mod score;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

pub use book::Routes;
pub use pulse::{Pulse, TICK_MS};
pub use score::{EJECTED_MS_MAX, EJECTED_MS_MIN, Measurement};

/// One way to the hub: an address of one of its machines on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The machine, from 1; 0 where it is not known (an address out of the settings).
    pub machine: u16,
    /// Name of the link (the carrier); empty where it is not known.
    pub link: String,
    /// Where the machine listens on that link. Two routes never share one.
    pub address: SocketAddr,
    /// Share of the nodes that it should get, beside the other weights; 0: taken only when no route with a weight is live.
    pub weight: u32,
}

impl Route {
    /// A route of which only the address is known.
    pub fn to(address: SocketAddr, weight: u32) -> Self {
        Route { machine: 0, link: String::new(), address, weight }
    }

    /// Whether both are known to be of one machine.
    pub fn shares_machine(&self, other: &Route) -> bool {
        self.machine != 0 && self.machine == other.machine
    }

    /// Whether both are known to be on one link.
    pub fn shares_link(&self, other: &Route) -> bool {
        !self.link.is_empty() && self.link == other.link
    }
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.machine, self.link.as_str()) {
            (0, _) => write!(out, "{}", self.address),
            (machine, "") => write!(out, "machine {machine} at {}", self.address),
            (machine, link) => write!(out, "machine {machine} over {link} at {}", self.address),
        }
    }
}
