//! Which transfers each fact makes.

use super::{AccountId, AccountKind};
use crate::event::EventKey;
use crate::id::{GameCode, NodeId, OutletId};
use crate::money::{Money, PackCharge};

/// Key of a transfer: origin (12 bits) ‖ sequence (43 bits) ‖ index within its event (8 bits). Rows of one log are
/// appended in order, whatever order the logs arrive in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(i64);

impl TransferId {
    /// The transfer with this index (0..=255) of this event.
    pub const fn new(event: EventKey, index: u8) -> Self {
        TransferId((event.origin.get() as i64) << 51 | (event.seq as i64 & ((1 << 43) - 1)) << 8 | index as i64)
    }

    /// Reads the key of a row.
    pub const fn from_key(key: i64) -> Self {
        TransferId(key)
    }

    /// The key of its row.
    pub const fn key(self) -> i64 {
        self.0
    }

    /// The event that made it.
    pub fn event(self) -> EventKey {
        let origin = NodeId::new((self.0 >> 51) as u16 & NodeId::MAX).expect("12 bits are a node id");
        EventKey { origin, seq: (self.0 >> 8 & ((1 << 43) - 1)) as u64 }
    }
}

macro_rules! transfer_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a transfer was made. Numbers are stored: never change one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum TransferCode { $($(#[$doc])* $variant = $number,)+ }

        impl TransferCode {
            /// The name that statements and reports show.
            pub const fn name(self) -> &'static str {
                match self { $(TransferCode::$variant => $name,)+ }
            }

            /// Reads a stored number; `None` for one that this build does not know.
            pub const fn from_number(number: i64) -> Option<Self> {
                match number { $($number => Some(TransferCode::$variant),)+ _ => None }
            }
        }
    };
}

transfer_codes! {
    /// Face value of a pack, charged at check-in.
    Charge = 1, "charge";
    /// Sales to the prize fund.
    PrizeFundShare = 2, "prize_fund_share";
    /// Sales to the welfare fund.
    WelfareFundShare = 3, "welfare_fund_share";
    /// Sales to the issue fee.
    IssueFeeShare = 4, "issue_fee_share";
    /// Commission to the outlet.
    Commission = 5, "commission";
    /// Prize that the outlet paid in cash.
    Prize = 6, "prize";
    /// Deposit.
    Deposit = 7, "deposit";
    /// Reversal of a charge.
    Return = 8, "return";
    /// Reversal of the prize fund's share.
    PrizeFundReturn = 9, "prize_fund_return";
    /// Reversal of the welfare fund's share.
    WelfareFundReturn = 10, "welfare_fund_return";
    /// Reversal of the issue fee's share.
    IssueFeeReturn = 11, "issue_fee_return";
    /// Reversal of a commission.
    CommissionReturn = 12, "commission_return";
    /// Excess of a fact that broke a rule, until a person decides.
    Suspense = 13, "suspense";
    /// Balance of an outlet that leaves for another node.
    HandoffOut = 14, "handoff_out";
    /// Balance that an outlet brought along from another node.
    HandoffIn = 15, "handoff_in";
}

/// One transfer before it is written. `amount` is above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// Account whose balance falls.
    pub debit: AccountId,
    /// Account whose balance grows.
    pub credit: AccountId,
    /// Fen, > 0.
    pub amount: Money,
    /// Why.
    pub code: TransferCode,
}

fn posting(debit: AccountId, credit: AccountId, amount: Money, code: TransferCode) -> Posting {
    Posting { debit, credit, amount, code }
}

/// Check-in of a pack: charge, the three shares, commission. Source: DOMAIN §3.
pub fn check_in(node: NodeId, outlet: OutletId, game: GameCode, charge: &PackCharge) -> Vec<Posting> {
    let outlet = AccountId::outlet(node, outlet);
    let of_game = |kind| AccountId::game(kind, node, game);
    let sales = of_game(AccountKind::SalesClearing);
    let issue_fee = of_game(AccountKind::IssueFee);
    positive([
        posting(outlet, sales, charge.face, TransferCode::Charge),
        posting(sales, of_game(AccountKind::PrizeFund), charge.prize_fund, TransferCode::PrizeFundShare),
        posting(sales, of_game(AccountKind::WelfareFund), charge.welfare_fund, TransferCode::WelfareFundShare),
        posting(sales, issue_fee, charge.issue_fee, TransferCode::IssueFeeShare),
        posting(issue_fee, outlet, charge.commission, TransferCode::Commission),
    ])
}

/// Return of a pack: every transfer of its check-in, reversed; the charge first, so that no line of the outlet's
/// statement falls below zero even where less than the commission is left.
pub fn pack_return(node: NodeId, outlet: OutletId, game: GameCode, charge: &PackCharge) -> Vec<Posting> {
    let reversal = |code| match code {
        TransferCode::Charge => TransferCode::Return,
        TransferCode::PrizeFundShare => TransferCode::PrizeFundReturn,
        TransferCode::WelfareFundShare => TransferCode::WelfareFundReturn,
        TransferCode::IssueFeeShare => TransferCode::IssueFeeReturn,
        TransferCode::Commission => TransferCode::CommissionReturn,
        other => other,
    };
    let postings = check_in(node, outlet, game, charge);
    postings.iter().map(|p| posting(p.credit, p.debit, p.amount, reversal(p.code))).collect()
}

/// A prize that the outlet paid in cash: the prize fund credits it at once.
pub fn prize(node: NodeId, outlet: OutletId, game: GameCode, amount: Money) -> Posting {
    let fund = AccountId::game(AccountKind::PrizeFund, node, game);
    posting(fund, AccountId::outlet(node, outlet), amount, TransferCode::Prize)
}

/// A deposit that arrived at the bank.
pub fn deposit(node: NodeId, outlet: OutletId, amount: Money) -> Posting {
    posting(AccountId::bank_clearing(node), AccountId::outlet(node, outlet), amount, TransferCode::Deposit)
}

/// Money for an outlet that no rule explains, taken from suspense.
pub fn from_suspense(node: NodeId, outlet: OutletId, amount: Money) -> Posting {
    posting(AccountId::suspense(node), AccountId::outlet(node, outlet), amount, TransferCode::Suspense)
}

/// The balance of an outlet that leaves this node.
pub fn handoff_out(node: NodeId, outlet: OutletId, balance: Money) -> Posting {
    posting(AccountId::outlet(node, outlet), AccountId::handoff(node), balance, TransferCode::HandoffOut)
}

/// The balance of an outlet that comes to this node.
pub fn handoff_in(node: NodeId, outlet: OutletId, balance: Money) -> Posting {
    posting(AccountId::handoff(node), AccountId::outlet(node, outlet), balance, TransferCode::HandoffIn)
}

fn positive(postings: [Posting; 5]) -> Vec<Posting> {
    postings.into_iter().filter(|posting| posting.amount.is_positive()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_key_gives_back_its_event_and_grows_with_it() {
        let event = EventKey { origin: NodeId::new(4095).unwrap(), seq: (1 << 43) - 1 };
        let id = TransferId::new(event, 255);
        assert!(id.key() > 0);
        assert_eq!(TransferId::from_key(id.key()).event(), event);
        let earlier = TransferId::new(EventKey { seq: event.seq - 1, ..event }, 255);
        assert!(earlier < TransferId::new(event, 0));
    }

    #[test]
    fn neither_check_in_nor_return_takes_more_from_the_outlet_than_it_holds_at_that_line() {
        use crate::money::RatePpm;
        let (node, outlet) = (NodeId::new(1).unwrap(), OutletId::new(13_010_001).unwrap());
        let rate = |ppm| RatePpm::new(ppm).unwrap();
        let shares = crate::money::SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap();
        let charge = shares.charge(Money::from_fen(60_000)).unwrap();
        let game = "G0201".parse().unwrap();
        let lowest = |start: i64, postings: Vec<Posting>| {
            let account = AccountId::outlet(node, outlet);
            let mut balance = start;
            let mut lowest = start;
            for posting in postings {
                balance += if posting.credit == account { posting.amount.fen() } else { 0 };
                balance -= if posting.debit == account { posting.amount.fen() } else { 0 };
                lowest = lowest.min(balance);
            }
            lowest
        };
        assert_eq!(lowest(60_000, check_in(node, outlet, game, &charge)), 0);
        assert_eq!(lowest(0, pack_return(node, outlet, game, &charge)), 0);
    }

    #[test]
    fn every_transfer_code_survives_its_number() {
        for number in 1..=15 {
            assert_eq!(TransferCode::from_number(number).map(|code| code as i64), Some(number));
        }
        assert_eq!(TransferCode::from_number(16), None);
    }
}
