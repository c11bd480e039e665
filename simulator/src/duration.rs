//! Durations on the command line.

use std::time::Duration;

/// `500ms`, `60s`, `2m`; a bare number counts seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits_end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let number: u64 =
        digits.parse().map_err(|_| format!("{text:?} is no duration; write for example 500ms, 60s or 2m"))?;
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit of time; use ms, s, m or h")),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_nonsense_is_refused() {
        for (text, ms) in [("500ms", 500), ("60s", 60_000), ("2m", 120_000), ("7", 7_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
        }
        for nonsense in ["", "s", "1d", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(nonsense).is_err(), "{nonsense}");
        }
    }
}
