//! Account ids: kind, node and subject in one integer.

use core::fmt;

use crate::id::{GameCode, IdError, NodeId, OutletId};

/// An account: kind (4 bits) ‖ node (12 bits) ‖ subject (32 bits). Accounts are kept per node, so that both legs of
/// every transfer lie in one slice; the province's figure is the sum over nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(i64);

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    /// An outlet's prepayment (预缴款). Subject: outlet. Never below zero: selling on credit is illegal.
    Outlet = 1,
    /// Prize fund of a game (奖金).
    PrizeFund = 2,
    /// Welfare fund of a game (公益金).
    WelfareFund = 3,
    /// Issue fee of a game (发行费); pays the outlets' commission.
    IssueFee = 4,
    /// Sales of a game on their way to the three funds; zero after every check-in.
    SalesClearing = 5,
    /// Deposits that the bank reported.
    BankClearing = 6,
    /// What broke a rule and waits for a person.
    Suspense = 7,
    /// Balances of outlets that moved to or from this node; over all nodes the sum is what is on its way.
    Handoff = 8,
}

impl AccountKind {
    /// All kinds, in the order of their codes.
    pub const ALL: [AccountKind; 8] = [
        AccountKind::Outlet,
        AccountKind::PrizeFund,
        AccountKind::WelfareFund,
        AccountKind::IssueFee,
        AccountKind::SalesClearing,
        AccountKind::BankClearing,
        AccountKind::Suspense,
        AccountKind::Handoff,
    ];

    /// The name in ids and reports.
    pub const fn name(self) -> &'static str {
        match self {
            AccountKind::Outlet => "outlet",
            AccountKind::PrizeFund => "prize_fund",
            AccountKind::WelfareFund => "welfare_fund",
            AccountKind::IssueFee => "issue_fee",
            AccountKind::SalesClearing => "sales_clearing",
            AccountKind::BankClearing => "bank_clearing",
            AccountKind::Suspense => "suspense",
            AccountKind::Handoff => "handoff",
        }
    }
}

impl AccountId {
    const fn pack(kind: AccountKind, node: NodeId, subject: u32) -> Self {
        AccountId((kind as i64) << 44 | (node.get() as i64) << 32 | subject as i64)
    }

    /// The prepaid account of an outlet served by this node.
    pub const fn outlet(node: NodeId, outlet: OutletId) -> Self {
        Self::pack(AccountKind::Outlet, node, outlet.get())
    }

    /// An account of a game's sales at this node. `kind` is one of the fund kinds.
    pub const fn game(kind: AccountKind, node: NodeId, game: GameCode) -> Self {
        Self::pack(kind, node, game.packed())
    }

    /// The deposits of the outlets of this node.
    pub const fn bank_clearing(node: NodeId) -> Self {
        Self::pack(AccountKind::BankClearing, node, 0)
    }

    /// What broke a rule at this node.
    pub const fn suspense(node: NodeId) -> Self {
        Self::pack(AccountKind::Suspense, node, 0)
    }

    /// The balances that came to this node and went from it with outlets.
    pub const fn handoff(node: NodeId) -> Self {
        Self::pack(AccountKind::Handoff, node, 0)
    }

    /// Reads the key of a row.
    pub fn from_key(key: i64) -> Result<Self, IdError> {
        let known = (1..=8).contains(&(key >> 44));
        if known {
            Ok(AccountId(key))
        } else {
            Err(IdError::new("account id", key, "kind, node and subject in 48 bits"))
        }
    }

    /// The key of its row.
    pub const fn key(self) -> i64 {
        self.0
    }

    /// What it is for.
    pub fn kind(self) -> AccountKind {
        AccountKind::ALL[(self.0 >> 44) as usize - 1]
    }

    /// The node in whose slice it lies.
    pub fn node(self) -> NodeId {
        NodeId::new((self.0 >> 32 & 0xfff) as u16).expect("12 bits are a node id")
    }

    /// The outlet or packed game it is kept for; 0 where there is none.
    pub const fn subject(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.kind().name(), self.node())?;
        match GameCode::from_packed(self.subject()) {
            Ok(game) if self.kind() != AccountKind::Outlet && self.subject() != 0 => write!(f, "{game}"),
            _ => write!(f, "{}", self.subject()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_key_gives_back_kind_node_and_subject() {
        let node = NodeId::new(4095).unwrap();
        let outlet = AccountId::outlet(node, OutletId::new(99_999_999).unwrap());
        assert_eq!(AccountId::from_key(outlet.key()), Ok(outlet));
        assert_eq!((outlet.kind(), outlet.node(), outlet.subject()), (AccountKind::Outlet, node, 99_999_999));
        assert_eq!(outlet.to_string(), "outlet/4095/99999999");
        let fund = AccountId::game(AccountKind::PrizeFund, NodeId::new(3).unwrap(), "J1001".parse().unwrap());
        assert_eq!(fund.to_string(), "prize_fund/3/J1001");
        assert_eq!(AccountId::bank_clearing(node).to_string(), "bank_clearing/4095/0");
        assert!(
            AccountId::from_key(0).is_err()
                && AccountId::from_key(9 << 44).is_err()
                && AccountId::from_key(-1).is_err()
        );
    }
}
