//! QUIC settings: everything bounded. The library's defaults would let one peer hold over 200 MB of buffers.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// Receive buffer of one stream; twice the session's window, so that a sender within its window never blocks.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Receive buffer of one connection: the session's window on one stream, acknowledgements on the other, and six requests
/// at their limit are 2 MiB and a few frames; requests are read by tasks of their own, so a session never waits for long.
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Unacknowledged bytes a connection sends.
const SEND_WINDOW_BYTES: u64 = 2 << 20;
/// Streams that a peer may open at once: two for the session, the rest for requests.
const STREAMS_MAX: u32 = 8;
/// How long a node hears nothing before it asks for a sign of life. A dead path must be seen well within a second; a dozen nodes
/// ask a hub for 150 tiny packets a second at most, and only while they are quiet.
pub(super) const NODE_KEEP_ALIVE: Duration = Duration::from_millis(80);
/// The same at the hub, which hears its nodes ask and has nothing to look for.
pub(super) const HUB_KEEP_ALIVE: Duration = Duration::from_secs(1);
/// A connection without any packet for so long is gone.
const IDLE_MS_MAX: u32 = 10_000;

/// Round trip assumed before one is measured: a province is not 333 ms wide, and a lost first packet is sent again sooner.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How long TLS and the streams of a session may take to open.
pub(super) const OPENING_WAIT: Duration = Duration::from_secs(5);

pub(super) fn transport_config(segmentation_offload: bool, keep_alive: Duration) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(Some(keep_alive))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS_MAX))))
        .enable_segmentation_offload(segmentation_offload);
    Arc::new(config)
}
