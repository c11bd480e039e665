//! What is known of one route: how fast, how lossy, whether it may be used now, and how far it is trusted again.

use rand::{Rng, RngExt};

/// Shortest ejection. Milliseconds.
pub const EJECTED_MS_MIN: i64 = 1_000;
/// Longest ejection: a line that was repaired is found within it. Milliseconds.
pub const EJECTED_MS_MAX: i64 = 60_000;
/// Share of a route that was never ejected, or has earned its trust back.
const SHARE_FULL: u32 = 16;
/// Round trip assumed of a route that was not measured; also the one at which a route counts half.
const RTT_MS_TYPICAL: f64 = 50.0;
/// How much the newest round trip moves the smoothed one.
const RTT_GAIN: f64 = 0.25;
/// How much the newest loss moves the smoothed one: single losses say little.
const LOSS_GAIN: f64 = 0.2;
/// A loss of one part in so many halves a route.
const LOSS_HALVING: f64 = 20.0;
/// Fewer packets say nothing about loss.
const PACKETS_MIN: u64 = 5;

/// What a connection showed since the last measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measurement {
    /// Round trip. Milliseconds, ≥ 0.
    pub rtt_ms: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets of them, or of earlier ones, that were found lost.
    pub lost: u64,
}

/// The score of one route.
#[derive(Debug, Clone)]
pub(super) struct Score {
    rtt_ms: Option<f64>,
    /// Share of packets lost, 0 to 1.
    loss: f64,
    /// Failures since it was fully trusted.
    failures: u32,
    ejected_until_ms: i64,
    /// When it was ejected last.
    ejected_at_ms: i64,
    /// Parts of [`SHARE_FULL`] of its weight that count.
    share: u32,
    /// When it was measured last.
    measured_at_ms: Option<i64>,
}

impl Default for Score {
    fn default() -> Self {
        let share = SHARE_FULL;
        let (ejected_until_ms, ejected_at_ms) = (i64::MIN, i64::MIN);
        Score { rtt_ms: None, loss: 0.0, failures: 0, ejected_until_ms, ejected_at_ms, share, measured_at_ms: None }
    }
}

impl Score {
    pub(super) fn is_live(&self, now_ms: i64) -> bool {
        self.ejected_until_ms <= now_ms
    }

    pub(super) fn ejected_at_ms(&self) -> i64 {
        self.ejected_at_ms
    }

    pub(super) fn measured_at_ms(&self) -> Option<i64> {
        self.measured_at_ms
    }

    pub(super) fn rtt_ms(&self) -> Option<f64> {
        self.rtt_ms
    }

    pub(super) fn loss(&self) -> f64 {
        self.loss
    }

    /// Leaves the choice for longer each time, until it is fully trusted again; jittered, so that nodes do not come back in
    /// step.
    pub(super) fn eject(&mut self, now_ms: i64, random: &mut impl Rng) {
        let whole_ms = EJECTED_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(EJECTED_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.eject_for(random.random_range(whole_ms / 2..=whole_ms), now_ms);
    }

    /// Leaves the choice for so long, and comes back with a small share.
    pub(super) fn eject_for(&mut self, wait_ms: i64, now_ms: i64) {
        self.ejected_until_ms = self.ejected_until_ms.max(now_ms.saturating_add(wait_ms));
        self.ejected_at_ms = now_ms;
        self.share = 1;
    }

    /// It worked: back from its ejection, and twice the share, until it is the whole. Only then are its failures forgotten: a
    /// line that comes and goes stays away longer each time.
    pub(super) fn succeed(&mut self, now_ms: i64) {
        self.ejected_until_ms = self.ejected_until_ms.min(now_ms);
        self.share = (self.share * 2).min(SHARE_FULL);
        if self.share == SHARE_FULL {
            self.failures = 0;
        }
    }

    pub(super) fn measure(&mut self, measured: Measurement, now_ms: i64) {
        self.measured_at_ms = Some(now_ms);
        let rtt_ms = measured.rtt_ms.max(0.0);
        self.rtt_ms = Some(self.rtt_ms.map_or(rtt_ms, |known| known + RTT_GAIN * (rtt_ms - known)));
        if measured.sent >= PACKETS_MIN {
            let loss = (measured.lost as f64 / measured.sent as f64).min(1.0);
            self.loss += LOSS_GAIN * (loss - self.loss);
        }
    }

    /// What its weight is multiplied with: 0 to 1, never 0.
    pub(super) fn quality(&self) -> f64 {
        let speed = RTT_MS_TYPICAL / (RTT_MS_TYPICAL + self.rtt_ms.unwrap_or(RTT_MS_TYPICAL));
        let soundness = 1.0 / (1.0 + LOSS_HALVING * self.loss);
        speed * soundness * f64::from(self.share) / f64::from(SHARE_FULL)
    }

    /// The quality without what is held against it for its past.
    pub(super) fn quality_when_trusted(&self) -> f64 {
        Score { share: SHARE_FULL, ..self.clone() }.quality()
    }
}
