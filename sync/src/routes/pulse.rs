//! Whether a connection still lives, by what arrives on it.

use std::time::Duration;

/// How often a connection is looked at. Milliseconds.
pub const TICK_MS: u64 = 100;
/// Looks in a row that found nothing new, over a short path. While it is quiet, a node asks for a sign of life every 80 ms, so that
/// three answers are missing by then.
const SILENT_TICKS_MAX: u32 = 3;
/// The same over any path: a smoothed round trip far above a second is a path to leave.
const SILENT_TICKS_LIMIT: u32 = 15;

/// Counts looks, not time: a process that stood still itself sees nothing arrive, and looks as seldom.
#[derive(Debug, Default)]
pub struct Pulse {
    received: u64,
    silent_ticks: u32,
}

impl Pulse {
    /// One look, every [`TICK_MS`], with how many datagrams have arrived so far, and the path's smoothed round trip. `true` when the
    /// path must be taken for dead: two round trips and the looks of a short path.
    pub fn is_silent(&mut self, received: u64, rtt: Duration) -> bool {
        if received == self.received {
            self.silent_ticks = self.silent_ticks.saturating_add(1);
        } else {
            *self = Pulse { received, silent_ticks: 0 };
        }
        let slow_ticks = u32::try_from(2 * rtt.as_millis() / u128::from(TICK_MS)).unwrap_or(u32::MAX);
        self.silent_ticks >= SILENT_TICKS_MAX.saturating_add(slow_ticks).min(SILENT_TICKS_LIMIT)
    }
}
