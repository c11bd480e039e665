//! Addresses for servers that must come back at the same one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Ports that are tried, all below those that the system gives to outgoing connections (32768 and up on Linux): a server that
/// was killed finds none of its ports taken by somebody's connection.
const FIRST: u32 = 10_000;
/// Ports from [`FIRST`] on.
const COUNT: u32 = 22_000;
/// Ports that other demos of this machine are unlikely to begin with.
const STRIDE: u32 = 61;

/// Handed out so far: a port that was found free is not looked at again before all others were.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// An address of this machine that is free for TCP and UDP now.
pub fn free_address() -> Result<SocketAddr> {
    let first = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let port = FIRST + first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap_or(0)));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port of 127.0.0.1 from {FIRST} on is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_different_and_not_those_of_outgoing_connections() {
        let addresses: std::collections::BTreeSet<SocketAddr> = (0..50).map(|_| free_address().unwrap()).collect();
        assert_eq!(addresses.len(), 50);
        // Not bound here: they were free, which another program may have changed by now.
        assert!(addresses.iter().all(|address| (10_000..32_000).contains(&address.port())));
    }
}
