//! Which versions of the wire this build speaks: the present one, and the one before it.
//!
//! The node offers what it speaks in the TLS handshake (ALPN), the hub takes the highest that both know. Where there is none, the
//! handshake fails, and both ends tell the operator why.

use jikai_schema::codec::EVENT_VERSION;

/// A version of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireVersion {
    /// Before nodes told how new the events are that they can read.
    V1,
    /// The node greets with [`Frame::Greeting`](super::Frame::Greeting).
    V2,
}

/// Newest event that a node of the first wire version can read: that of the last release that spoke no other.
const V1_EVENT_VERSION: u8 = 3;

impl WireVersion {
    /// The present one.
    pub const NEWEST: WireVersion = WireVersion::V2;
    /// All that this build speaks, the one to be preferred first.
    pub const ALL: [WireVersion; 2] = [WireVersion::V2, WireVersion::V1];

    /// The application protocol of a connection.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            WireVersion::V1 => b"jikai-sync/1",
            WireVersion::V2 => b"jikai-sync/2",
        }
    }

    /// The version of an application protocol.
    pub fn of_alpn(protocol: &[u8]) -> Option<Self> {
        WireVersion::ALL.into_iter().find(|version| version.alpn() == protocol)
    }

    /// Version byte of every frame.
    pub(super) const fn byte(self) -> u8 {
        match self {
            WireVersion::V1 => 1,
            WireVersion::V2 => 2,
        }
    }

    /// Newest event that a node can read which greets in this version without telling.
    pub const fn event_version(self) -> u8 {
        match self {
            WireVersion::V1 => V1_EVENT_VERSION,
            WireVersion::V2 => EVENT_VERSION,
        }
    }
}
