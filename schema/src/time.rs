//! Time: UTC milliseconds inside, business days of Asia/Shanghai in reports.

use core::fmt;
use core::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A UTC instant in milliseconds since the Unix epoch. Stamped by whoever decides, never read in a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TimeMs(i64);

/// Asia/Shanghai has had no summer time since 1991: UTC+8.
const SHANGHAI_OFFSET_MS: i64 = 8 * 60 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl TimeMs {
    /// Wraps Unix milliseconds.
    pub const fn from_ms(at_ms: i64) -> Self {
        TimeMs(at_ms)
    }

    /// The wall clock of this machine. For deciders only.
    pub fn now() -> Self {
        TimeMs(jiff::Timestamp::now().as_millisecond())
    }

    /// Unix milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// The stamp of a node's next event: the clock, or one millisecond after the last event where the clock
    /// stands still or went back.
    #[must_use]
    pub fn clamp_after(self, last: TimeMs) -> TimeMs {
        TimeMs(self.0.max(last.0.saturating_add(1)))
    }

    /// The stamp of the hub's next event: the clock, or that of the last event where the clock went back. Facts that were decided
    /// together share one: their order is that of their positions. So many of them do not push the log ahead of the clock.
    #[must_use]
    pub fn clamp_to(self, last: TimeMs) -> TimeMs {
        TimeMs(self.0.max(last.0))
    }

    /// The minute of its business day, 0 to 1439.
    pub fn minute_of_business_day(self) -> u16 {
        (self.0.saturating_add(SHANGHAI_OFFSET_MS).rem_euclid(DAY_MS) / 60_000) as u16
    }

    /// The business day it falls in.
    pub fn business_day(self) -> BusinessDay {
        let days = self.0.saturating_add(SHANGHAI_OFFSET_MS).div_euclid(DAY_MS) - BusinessDay::EPOCH_UNIX_DAYS;
        BusinessDay(days.clamp(0, i64::from(u16::MAX)) as u16)
    }
}

/// The wall clock of a process that decides, held against its monotonic clock: a jump (a wrong time server, a hand on the
/// clock) would stamp facts with another business day, and the stamps of a log never go back. A jump is not followed and is
/// told once; the small corrections of a time service are.
#[derive(Debug)]
pub struct SteadyClock {
    /// What both clocks said last.
    last: Mutex<(Instant, TimeMs)>,
    ignored: AtomicBool,
}

/// Largest difference between the clocks, since they were read last, that is followed. Milliseconds.
const JUMP_MS: i64 = 60_000;

impl SteadyClock {
    /// What an operator is told of a jump.
    pub const JUMPED: &str = "this machine's clock has jumped; facts go on being stamped by the count before the jump";

    /// Begins with what the wall clock says now.
    pub fn start() -> Self {
        SteadyClock { last: Mutex::new((Instant::now(), TimeMs::now())), ignored: AtomicBool::new(false) }
    }

    /// The time now.
    pub fn now(&self) -> TimeMs {
        self.read(Instant::now(), TimeMs::now())
    }

    /// Whether the wall clock has jumped since the start: the machine's time is to be set right and the process started anew.
    pub fn has_jumped(&self) -> bool {
        self.ignored.load(Ordering::Relaxed)
    }

    fn read(&self, tick: Instant, wall: TimeMs) -> TimeMs {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let passed_ms = i64::try_from(tick.saturating_duration_since(last.0).as_millis()).unwrap_or(i64::MAX);
        let steady = TimeMs(last.1.0.saturating_add(passed_ms));
        let jumped = (wall.0.saturating_sub(steady.0)).saturating_abs() > JUMP_MS;
        self.ignored.fetch_or(jumped, Ordering::Relaxed);
        *last = (tick.max(last.0), if jumped { steady } else { wall });
        last.1
    }
}

/// A text that is not an RFC 3339 instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an instant such as 2027-03-03T00:00:00+08:00")]
pub struct TimeError(String);

impl FromStr for TimeMs {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let instant: Result<jiff::Timestamp, _> = text.parse();
        let refuse = |_| TimeError(text.chars().take(40).collect());
        instant.map(|instant| TimeMs(instant.as_millisecond())).map_err(refuse)
    }
}

/// A business day (营业日) in Asia/Shanghai, counted from 2000-01-01. 16 bits: to 2179.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BusinessDay(u16);

/// A text that is not a day between 2000 and 2179.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day such as 2026-11-23")]
pub struct DayError(String);

impl BusinessDay {
    const EPOCH: Date = jiff::civil::date(2000, 1, 1);
    /// Days from 1970-01-01 to 2000-01-01.
    const EPOCH_UNIX_DAYS: i64 = 10_957;

    /// The day with this number, 0 = 2000-01-01.
    pub const fn from_number(number: u16) -> Self {
        BusinessDay(number)
    }

    /// Days since 2000-01-01.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// So many days later (negative: earlier), held within the range.
    #[must_use]
    pub fn plus_days(self, days: i32) -> Self {
        BusinessDay((i32::from(self.0).saturating_add(days)).clamp(0, i32::from(u16::MAX)) as u16)
    }

    /// The same day so many calendar months later (negative: earlier), or that month's last day where it has no such day; held
    /// within the range.
    #[must_use]
    pub fn plus_months(self, months: i32) -> Self {
        let bounded = jiff::Span::new().months(months.clamp(-12_000, 12_000));
        let days = self.date().saturating_add(bounded).duration_since(Self::EPOCH).as_hours() / 24;
        BusinessDay(days.clamp(0, i64::from(u16::MAX)) as u16)
    }

    fn date(self) -> Date {
        Self::EPOCH.saturating_add(jiff::Span::new().days(i64::from(self.0)))
    }
}

impl fmt::Display for BusinessDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date())
    }
}

impl FromStr for BusinessDay {
    type Err = DayError;
    fn from_str(text: &str) -> Result<Self, DayError> {
        let refuse = || DayError(text.chars().take(32).collect());
        if text.len() != 10 {
            return Err(refuse());
        }
        let date: Date = text.parse().map_err(|_| refuse())?;
        let days = date.duration_since(Self::EPOCH).as_hours() / 24;
        u16::try_from(days).map(BusinessDay).map_err(|_| refuse())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> TimeMs {
        TimeMs::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn the_business_day_turns_at_midnight_in_shanghai() {
        assert_eq!(at("2026-11-22T15:59:59.999Z").business_day().to_string(), "2026-11-22");
        assert_eq!(at("2026-11-22T16:00:00Z").business_day().to_string(), "2026-11-23");
    }

    #[test]
    fn a_day_survives_its_text_form() {
        for text in ["2000-01-01", "2024-02-29", "2026-11-23", "2179-06-06"] {
            assert_eq!(text.parse::<BusinessDay>().map(|day| day.to_string()), Ok(text.to_string()));
        }
        for bad in ["1999-12-31", "2023-02-29", "2026-1-1", "20261123", "2180-01-01", "2026-11-23T00"] {
            assert!(bad.parse::<BusinessDay>().is_err(), "{bad}");
        }
    }

    #[test]
    fn months_are_those_of_the_calendar_and_end_with_their_last_day() {
        for (day, months, then) in [
            ("2021-11-23", 60, "2026-11-23"),
            ("2024-02-29", 60, "2029-02-28"),
            ("2023-03-01", 60, "2028-03-01"),
            ("2026-01-31", 1, "2026-02-28"),
            ("2026-03-31", -1, "2026-02-28"),
            ("2000-01-01", i32::MIN, "2000-01-01"),
            ("2000-01-01", i32::MAX, "2179-06-06"),
        ] {
            assert_eq!(day.parse::<BusinessDay>().unwrap().plus_months(months).to_string(), then);
        }
    }

    #[test]
    fn an_instant_is_read_with_its_offset_and_never_without() {
        let day_end: TimeMs = "2027-03-03T00:00:00+08:00".parse().unwrap();
        assert_eq!(day_end, at("2027-03-02T16:00:00Z"));
        for bad in ["2027-03-03", "2027-03-03T00:00:00", "tomorrow", ""] {
            assert!(bad.parse::<TimeMs>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_jump_of_the_wall_clock_is_not_followed_and_small_corrections_are() {
        let (start, wall) = (Instant::now(), TimeMs::from_ms(1_000_000_000));
        let clock = SteadyClock { last: Mutex::new((start, wall)), ignored: AtomicBool::new(false) };
        let after = |ms: u64| start + std::time::Duration::from_millis(ms);
        let at = |ms: i64| TimeMs::from_ms(wall.ms() + ms);
        assert_eq!(clock.read(after(1_000), at(1_400)), at(1_400), "slewed forward");
        assert_eq!(clock.read(after(2_000), at(1_900)), at(1_900), "slewed back");
        assert!(!clock.has_jumped());
        const DAY: i64 = 86_400_000;
        assert_eq!(clock.read(after(3_000), at(3_000 + DAY)), at(2_900), "a day ahead");
        assert_eq!(clock.read(after(4_000), at(4_000 - DAY)), at(3_900), "a day behind");
        assert!(clock.has_jumped());
        assert_eq!(clock.read(after(5_000), at(5_000)), at(5_000), "set right again");
    }

    #[test]
    fn event_times_do_not_go_back_with_the_clock_and_those_of_a_node_grow() {
        let last = TimeMs::from_ms(1_000);
        assert_eq!(TimeMs::from_ms(400).clamp_after(last), TimeMs::from_ms(1_001));
        assert_eq!(TimeMs::from_ms(5_000).clamp_after(last), TimeMs::from_ms(5_000));
        assert_eq!(TimeMs::from_ms(400).clamp_to(last), last);
        assert_eq!(TimeMs::from_ms(5_000).clamp_to(last), TimeMs::from_ms(5_000));
    }
}
