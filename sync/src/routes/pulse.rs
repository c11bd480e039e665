//! Whether a connection still lives, by what arrives on it.

/// How often a connection is looked at. Milliseconds.
pub const TICK_MS: u64 = 100;
/// Looks in a row that found nothing new. While it is quiet, a node asks for a sign of life every 150 ms.
const SILENT_TICKS_MAX: u32 = 5;

/// Counts looks, not time: a process that stood still itself sees nothing arrive, and looks as seldom.
#[derive(Debug, Default)]
pub struct Pulse {
    received: u64,
    silent_ticks: u32,
}

impl Pulse {
    /// One look, every [`TICK_MS`], with how many datagrams have arrived so far. `true` when the path must be taken for dead.
    pub fn is_silent(&mut self, received: u64) -> bool {
        if received == self.received {
            self.silent_ticks = self.silent_ticks.saturating_add(1);
        } else {
            *self = Pulse { received, silent_ticks: 0 };
        }
        self.silent_ticks >= SILENT_TICKS_MAX
    }
}
