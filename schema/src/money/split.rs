//! How the price of a pack divides among prize fund, welfare fund, issue fee and the outlet.

use serde::{Deserialize, Serialize};

use super::{Money, MoneyError, RatePpm};

/// The shares of sales, as set for a game. Issue fee is what remains, so the parts always add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SaleShares {
    /// Share of the prize fund (奖金). Demo province: 65 %.
    pub prize_fund: RatePpm,
    /// Share of the welfare fund (公益金). Demo province: 20 %.
    pub welfare_fund: RatePpm,
    /// The outlet's commission (代销费), paid out of the issue fee. Demo province: 8 %.
    pub commission: RatePpm,
}

impl SaleShares {
    /// Shares that leave an issue fee large enough to pay the commission; `None` otherwise.
    pub fn new(prize_fund: RatePpm, welfare_fund: RatePpm, commission: RatePpm) -> Option<Self> {
        let issue_fee = 1_000_000u32.checked_sub(prize_fund.get())?.checked_sub(welfare_fund.get())?;
        (commission.get() <= issue_fee).then_some(SaleShares { prize_fund, welfare_fund, commission })
    }

    /// The money of one pack with this face value. Funds round half up to the fen, the welfare fund at most to what the prize
    /// fund left; the commission is truncated and at most the issue fee, which is the remainder. Source: DOMAIN §3.
    pub fn charge(&self, face: Money) -> Result<PackCharge, MoneyError> {
        let prize_fund = self.prize_fund.half_up(face)?;
        let rest = face.checked_sub(prize_fund)?;
        let welfare_fund = self.welfare_fund.half_up(face)?.min(rest);
        let issue_fee = rest.checked_sub(welfare_fund)?;
        let commission = self.commission.truncated(face)?.min(issue_fee);
        Ok(PackCharge { face, prize_fund, welfare_fund, issue_fee, commission })
    }
}

/// What checking in one pack moves, decided once and carried by the event, so that nobody computes it again
/// under other rates. `face = prize_fund + welfare_fund + issue_fee`; `commission ≤ issue_fee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PackCharge {
    /// Price × tickets; the outlet's account must hold all of it, so that no line of a statement is negative. Fen, > 0.
    pub face: Money,
    /// To the game's prize fund. Fen, ≥ 0.
    pub prize_fund: Money,
    /// To the welfare fund. Fen, ≥ 0.
    pub welfare_fund: Money,
    /// To the issue fee. Fen, ≥ 0.
    pub issue_fee: Money,
    /// From the issue fee back to the outlet. Fen, ≥ 0.
    pub commission: Money,
}

impl PackCharge {
    /// Whether the parts are what the type promises. False only for an event that no node would have made.
    pub fn adds_up(&self) -> bool {
        let parts = self.prize_fund.checked_add(self.welfare_fund).and_then(|sum| sum.checked_add(self.issue_fee));
        let none_negative = [self.prize_fund, self.welfare_fund, self.issue_fee, self.commission]
            .iter()
            .all(|part| *part >= Money::ZERO);
        parts == Ok(self.face) && none_negative && self.face.is_positive() && self.commission <= self.issue_fee
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn demo_shares() -> SaleShares {
        let rate = |ppm| RatePpm::new(ppm).unwrap();
        SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap()
    }

    #[test]
    fn a_pack_of_500_yuan_splits_as_the_worked_example() {
        let charge = demo_shares().charge("500.00".parse().unwrap()).unwrap();
        let yuan = |money: Money| money.to_string();
        assert_eq!(yuan(charge.prize_fund), "325.00");
        assert_eq!(yuan(charge.welfare_fund), "100.00");
        assert_eq!(yuan(charge.issue_fee), "75.00");
        assert_eq!(yuan(charge.commission), "40.00");
        assert!(charge.adds_up());
    }

    #[test]
    fn the_parts_add_up_for_every_small_face_value() {
        for fen in 1..5_000 {
            assert!(demo_shares().charge(Money::from_fen(fen)).unwrap().adds_up(), "{fen}");
        }
    }

    #[test]
    fn the_parts_add_up_under_all_shares_that_are_allowed() {
        let rates = [0, 1, 80_000, 333_333, 499_999, 500_000, 500_001, 650_000, 999_999, 1_000_000];
        let rate = |ppm| RatePpm::new(ppm).unwrap();
        let of = |index: usize| rate(rates[index % rates.len()]);
        let mut tried = 0;
        for index in 0..rates.len().pow(3) {
            let (prize, welfare, commission) = (of(index), of(index / 10), of(index / 100));
            let Some(shares) = SaleShares::new(prize, welfare, commission) else { continue };
            for fen in [1, 2, 3, 7, 99, 101, 60_001, i64::from(u32::MAX)] {
                let charge = shares.charge(Money::from_fen(fen)).unwrap();
                assert!(charge.adds_up(), "{shares:?} of {fen}: {charge:?}");
                tried += 1;
            }
        }
        assert!(tried > 1_000, "{tried}");
    }

    #[test]
    fn shares_that_leave_too_little_for_the_commission_are_refused() {
        let rate = |ppm| RatePpm::new(ppm).unwrap();
        assert!(SaleShares::new(rate(700_000), rate(250_000), rate(80_000)).is_none());
        assert!(SaleShares::new(rate(900_000), rate(250_000), rate(0)).is_none());
    }
}
