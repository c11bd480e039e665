//! What a terminal does and how often.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::seed::Dice;

/// One thing that a terminal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doing {
    /// Check in a consignment.
    Receive,
    /// Send an untouched pack back.
    Return,
    /// Sell a few tickets by scan.
    Sell,
    /// Ask whether tickets have won.
    Inquire,
    /// Pay prizes.
    Pay,
    /// Ask with a wrong letter in the code.
    Mistype,
    /// Look at the stock.
    Stock,
    /// List the packs.
    Packs,
    /// Look at the balance.
    Account,
    /// Read the statement.
    Entries,
    /// Look at the sales.
    Sales,
}

/// Weights per mille; together 1000.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Mix {
    /// Check in a consignment (owners only)
    #[arg(long, default_value_t = 60, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_receive: u32,
    /// Send an untouched pack back (owners only)
    #[arg(long, default_value_t = 4, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_return: u32,
    /// Sell one to five tickets by scan
    #[arg(long, default_value_t = 430, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_sell: u32,
    /// Inquire one to four tickets
    #[arg(long, default_value_t = 170, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_inquire: u32,
    /// Pay up to three prizes at once
    #[arg(long, default_value_t = 190, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_pay: u32,
    /// Mistype a code
    #[arg(long, default_value_t = 6, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_mistype: u32,
    /// Look at the stock
    #[arg(long, default_value_t = 30, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_stock: u32,
    /// List packs
    #[arg(long, default_value_t = 30, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_packs: u32,
    /// Look at the balance
    #[arg(long, default_value_t = 40, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_account: u32,
    /// Read the statement
    #[arg(long, default_value_t = 20, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_entries: u32,
    /// Look at the sales of the day
    #[arg(long, default_value_t = 20, value_name = "PER_MILLE", help_heading = "Mix (per mille, together 1000)")]
    pub mix_sales: u32,
    /// Of the acknowledged mutations, how many are sent again on purpose
    #[arg(long, default_value_t = 10, value_name = "PER_MILLE", help_heading = "Faults (per mille)")]
    pub resend: u32,
    /// Before how many operations the connection is dropped
    #[arg(long, default_value_t = 3, value_name = "PER_MILLE", help_heading = "Faults (per mille)")]
    pub drop_connection: u32,
}

impl Mix {
    fn weights(&self) -> [(Doing, u32); 11] {
        [
            (Doing::Receive, self.mix_receive),
            (Doing::Return, self.mix_return),
            (Doing::Sell, self.mix_sell),
            (Doing::Inquire, self.mix_inquire),
            (Doing::Pay, self.mix_pay),
            (Doing::Mistype, self.mix_mistype),
            (Doing::Stock, self.mix_stock),
            (Doing::Packs, self.mix_packs),
            (Doing::Account, self.mix_account),
            (Doing::Entries, self.mix_entries),
            (Doing::Sales, self.mix_sales),
        ]
    }

    /// The options that make this mix again.
    pub fn to_options(&self) -> Vec<String> {
        let options = [
            ("--mix-receive", self.mix_receive),
            ("--mix-return", self.mix_return),
            ("--mix-sell", self.mix_sell),
            ("--mix-inquire", self.mix_inquire),
            ("--mix-pay", self.mix_pay),
            ("--mix-mistype", self.mix_mistype),
            ("--mix-stock", self.mix_stock),
            ("--mix-packs", self.mix_packs),
            ("--mix-account", self.mix_account),
            ("--mix-entries", self.mix_entries),
            ("--mix-sales", self.mix_sales),
            ("--resend", self.resend),
            ("--drop-connection", self.drop_connection),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]).collect()
    }

    /// Refuses weights that do not add up.
    pub fn verify(&self) -> Result<()> {
        let sum: u64 = self.weights().iter().map(|(_, weight)| u64::from(*weight)).sum();
        ensure!(
            sum == 1000,
            "the --mix-… weights add up to {sum}, not to 1000 per mille; change one of them by the difference"
        );
        ensure!(
            self.resend <= 1000 && self.drop_connection <= 1000,
            "--resend and --drop-connection are at most 1000 per mille"
        );
        Ok(())
    }

    /// Draws what comes next.
    pub fn draw(&self, dice: &mut Dice) -> Doing {
        let mut left = dice.below(1000) as u32;
        for (doing, weight) in self.weights() {
            if left < weight {
                return doing;
            }
            left -= weight;
        }
        Doing::Stock
    }
}

/// How fast the terminals work together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// An open loop: each operation has an intended start; latency counts from there. Operations a second, overall.
    PerSecond(f64),
    /// A closed loop: each terminal goes on as soon as it was answered.
    Max,
}

impl Pace {
    /// Mean time between two operations of one of `terminal_count` terminals.
    pub fn mean_gap(self, terminal_count: usize) -> Duration {
        match self {
            Pace::PerSecond(rate) if rate > 0.0 => {
                Duration::from_secs_f64((terminal_count as f64 / rate).min(86_400.0))
            }
            _ => Duration::ZERO,
        }
    }
}

impl std::str::FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Pace::Max);
        }
        match text.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Pace::PerSecond(rate)),
            _ => Err(format!("{text:?} is neither `max` nor a number of operations a second above 0")),
        }
    }
}

impl std::fmt::Display for Pace {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pace::PerSecond(rate) => write!(to, "{rate}"),
            Pace::Max => to.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;
    use crate::seed::Seed;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        mix: Mix,
    }

    fn usual() -> Mix {
        Line::parse_from(["test"]).mix
    }

    #[test]
    fn the_usual_mix_adds_up_and_another_sum_is_refused() {
        usual().verify().unwrap();
        let refusal = Mix { mix_sell: 431, ..usual() }.verify().unwrap_err().to_string();
        assert!(refusal.contains("1001"), "{refusal}");
    }

    #[test]
    fn a_mix_is_made_again_from_its_options() {
        let mix = Mix { mix_sell: 400, mix_pay: 220, resend: 77, ..usual() };
        let words = [vec!["test".to_owned()], mix.to_options()].concat();
        assert_eq!(Line::parse_from(words).mix, mix);
    }

    #[test]
    fn what_is_drawn_follows_the_weights() {
        let (mix, mut dice) = (usual(), Seed(11).dice("mix", ""));
        let mut counts: BTreeMap<Doing, u32> = BTreeMap::new();
        for _ in 0..100_000 {
            *counts.entry(mix.draw(&mut dice)).or_default() += 1;
        }
        for (doing, weight) in mix.weights() {
            let (got, wanted) = (f64::from(counts[&doing]), f64::from(weight) * 100.0);
            assert!((got - wanted).abs() < wanted.sqrt() * 5.0, "seed 11: {doing:?} drawn {got}, wanted {wanted}");
        }
    }

    #[test]
    fn a_pace_is_a_rate_or_max() {
        assert_eq!("max".parse(), Ok(Pace::Max));
        assert_eq!("2000".parse(), Ok(Pace::PerSecond(2000.0)));
        assert_eq!(Pace::PerSecond(2000.0).mean_gap(20_000), Duration::from_secs(10));
        for nonsense in ["", "0", "-1", "inf", "fast"] {
            assert!(nonsense.parse::<Pace>().is_err(), "{nonsense}");
        }
    }
}
