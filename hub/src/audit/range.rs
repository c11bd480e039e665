//! Which part of every chain is verified.

use core::str::FromStr;

use jikai_schema::time::{BusinessDay, TimeMs};

use super::AuditError;

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A position, the same number in every log.
    Seq(u64),
    /// A business day (Asia/Shanghai).
    Day(BusinessDay),
}

impl FromStr for Bound {
    type Err = AuditError;
    fn from_str(text: &str) -> Result<Self, AuditError> {
        match (text.parse::<u64>(), text.parse::<BusinessDay>()) {
            (Ok(seq @ 1..), _) if seq <= i64::MAX as u64 => Ok(Bound::Seq(seq)),
            (_, Ok(day)) => Ok(Bound::Day(day)),
            _ => Err(AuditError::Bound(text.chars().take(32).collect())),
        }
    }
}

/// The part between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// First event; `None` for the beginning.
    pub from: Option<Bound>,
    /// Last event; `None` for the end.
    pub to: Option<Bound>,
}

/// The positions that a range means in one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub first: u64,
    /// `None` for the end, whose head is then checked too.
    pub last: Option<u64>,
}

impl Range {
    /// The positions in a log of `end` events; `stamp` reads the time of one, `None` where the event cannot be read.
    /// Times do not go back within a log.
    pub(super) fn span<E>(&self, end: u64, mut stamp: impl FnMut(u64) -> Result<Option<TimeMs>, E>) -> Result<Span, E> {
        let first = match self.from {
            None => 1,
            Some(Bound::Seq(seq)) => seq,
            Some(Bound::Day(day)) => first_not(end, &mut stamp, |at| at.business_day() < day)?,
        };
        let last = match self.to {
            None => None,
            Some(Bound::Seq(seq)) => Some(seq),
            Some(Bound::Day(day)) => Some(first_not(end, &mut stamp, |at| at.business_day() <= day)? - 1),
        };
        Ok(Span { first, last: last.filter(|last| *last < end) })
    }
}

/// First position whose time is not `before`; behind the end when there is none.
pub(super) fn first_not<E>(
    end: u64,
    stamp: &mut impl FnMut(u64) -> Result<Option<TimeMs>, E>,
    before: impl Fn(TimeMs) -> bool,
) -> Result<u64, E> {
    let (mut low, mut high) = (1, end + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        // One that cannot be read counts as the next readable one.
        let (mut seq, mut at) = (middle, stamp(middle)?);
        while at.is_none() && seq + 1 < high {
            seq += 1;
            at = stamp(seq)?;
        }
        match at {
            Some(at) if before(at) => low = seq + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    /// Three events a day from 2000-01-01 on; every fifth cannot be read.
    fn span(from: &str, to: &str) -> Span {
        let bound = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let first_ms = 10_957 * DAY_MS;
        let stamp = |seq: u64| {
            let at = TimeMs::from_ms(first_ms + (seq as i64 - 1) * DAY_MS / 3);
            Ok::<_, ()>((!seq.is_multiple_of(5)).then_some(at))
        };
        Range { from: bound(from), to: bound(to) }.span(29, stamp).unwrap()
    }

    #[test]
    fn a_range_is_given_by_positions_or_by_days_and_the_last_day_is_whole() {
        assert_eq!(span("", ""), Span { first: 1, last: None });
        assert_eq!(span("4", "12"), Span { first: 4, last: Some(12) });
        // The day turns at 16:00 UTC: events 1 and 2 lie on the first day, 3 to 5 on the second; 5, which cannot be read,
        // counts with 6.
        assert_eq!(span("2000-01-02", "2000-01-02"), Span { first: 3, last: Some(4) });
        assert_eq!(span("2000-01-03", "2000-01-03"), Span { first: 5, last: Some(8) });
        assert_eq!(span("2030-01-01", ""), Span { first: 30, last: None });
        assert_eq!(span("", "2030-01-01"), Span { first: 1, last: None });
        assert_eq!(span("", "1000"), Span { first: 1, last: None });
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!("7".parse::<Bound>().ok(), Some(Bound::Seq(7)));
        for bad in ["0", "-1", "2026-1-1", "yesterday", "", "9223372036854775808"] {
            assert!(bad.parse::<Bound>().is_err(), "{bad}");
        }
    }
}
