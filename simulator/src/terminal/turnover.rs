//! What an outlet has turned over today, as its terminal may ask the node.

use serde_json::Value;

use crate::amount::yuan_field;

/// Milliseconds that Shanghai is ahead of UTC; business days turn at its midnight.
const SHANGHAI_OFFSET_MS: i64 = 8 * 3_600_000;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Packs, tickets and money of an outlet since its day began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Packs checked in.
    pub packs_checked_in: i64,
    /// Packs sent back.
    pub packs_returned: i64,
    /// Tickets sold by scan.
    pub tickets_sold: i64,
    /// Face value of packs checked in.
    pub charge_fen: i64,
    /// Commission on them, less what returns took back.
    pub commission_fen: i64,
    /// Face value of packs sent back.
    pub return_fen: i64,
    /// Tickets paid.
    pub claims: i64,
    /// Prizes paid.
    pub prize_fen: i64,
}

impl Turnover {
    /// Reads a row of the node's answer, or its totals.
    pub fn read(row: &Value) -> Option<Turnover> {
        Some(Turnover {
            packs_checked_in: row["packs_checked_in"].as_i64()?,
            packs_returned: row["packs_returned"].as_i64()?,
            tickets_sold: row["tickets_sold"].as_i64()?,
            charge_fen: yuan_field(row, "charge_yuan")?,
            commission_fen: yuan_field(row, "commission_yuan")?,
            return_fen: yuan_field(row, "return_yuan")?,
            claims: row["claims"].as_i64()?,
            prize_fen: yuan_field(row, "prize_yuan")?,
        })
    }

    /// Adds another.
    pub fn add(&mut self, other: &Turnover) {
        self.packs_checked_in += other.packs_checked_in;
        self.packs_returned += other.packs_returned;
        self.tickets_sold += other.tickets_sold;
        self.charge_fen += other.charge_fen;
        self.commission_fen += other.commission_fen;
        self.return_fen += other.return_fen;
        self.claims += other.claims;
        self.prize_fen += other.prize_fen;
    }
}

/// The business day of an instant, as the APIs write it.
pub fn business_day(at_ms: i64) -> String {
    let days = (at_ms + SHANGHAI_OFFSET_MS).div_euclid(DAY_MS);
    // Civil date by the era of 400 years that begins on 1 March 0000; all in whole days.
    let from_march_0 = days + 719_468;
    let (era, day_of_era) = (from_march_0.div_euclid(146_097), from_march_0.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A span of business days that holds all of a run, also one over midnight or with clocks that differ.
pub fn days_around(at_ms: i64) -> (String, String) {
    (business_day(at_ms - DAY_MS), business_day(at_ms + DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn business_days_turn_at_midnight_in_shanghai() {
        // 2026-11-22T16:00:00Z is midnight of the 23rd in Shanghai.
        let midnight_ms = 1_795_363_200_000;
        assert_eq!(
            (business_day(midnight_ms - 1), business_day(midnight_ms)),
            ("2026-11-22".into(), "2026-11-23".into())
        );
        assert_eq!(business_day(0), "1970-01-01");
        assert_eq!(business_day(951_782_400_000), "2000-02-29");
        assert_eq!(business_day(1_709_222_400_000), "2024-03-01");
    }

    #[test]
    fn a_row_without_a_figure_is_refused() {
        let mut row = serde_json::json!({ "packs_checked_in": 1, "packs_returned": 0, "tickets_sold": 3,
            "charge_yuan": "600.00", "commission_yuan": "48.00", "return_yuan": "0.00", "claims": 1, "prize_yuan": "5.00" });
        let read = Turnover::read(&row).unwrap();
        assert_eq!((read.tickets_sold, read.charge_fen, read.prize_fen), (3, 60_000, 500));
        row["commission_yuan"] = serde_json::json!(48);
        assert_eq!(Turnover::read(&row), None);
    }
}
