//! QUIC settings: everything bounded. The library's defaults would let one peer hold over 200 MB of buffers.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// Receive buffer of one stream; twice the session's window, so that a sender within its window never blocks.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Receive buffer of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Unacknowledged bytes a connection sends.
const SEND_WINDOW_BYTES: u64 = 4 << 20;
/// Streams that a peer may open at once: two for the session, the rest for requests.
const STREAMS_MAX: u32 = 8;
/// QUIC's own keep-alive; shorter than the idle limit of common NAT boxes.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A connection without any packet for so long is gone.
const IDLE_MS_MAX: u32 = 20_000;

pub(super) fn transport_config(segmentation_offload: bool) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS_MAX))))
        .enable_segmentation_offload(segmentation_offload);
    Arc::new(config)
}
