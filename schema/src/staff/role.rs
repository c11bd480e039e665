//! Roles of the centre's staff, and which of them exclude each other in one person.

use serde::{Deserialize, Serialize};

/// A role. Append only: the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Accounts and upgrades (系统管理员).
    SystemAdministrator,
    /// Rights, policies and keys (安全管理员).
    SecurityAdministrator,
    /// Reads everything, changes nothing (审计管理员).
    AuditAdministrator,
    /// Games, prices, limits: proposes.
    ParameterMaker,
    /// Games, prices, limits: approves.
    ParameterChecker,
    /// Holds the first key of the prize data.
    PrizeDataA,
    /// Holds the second key of the prize data.
    PrizeDataB,
    /// Issue and allocation: opens sales, ships to outlets.
    IssueClerk,
    /// Bank, adjustments, settlement: proposes.
    FinanceMaker,
    /// Bank, adjustments, settlement: approves.
    FinanceChecker,
    /// Claims above the outlets' limit: records.
    RedemptionMaker,
    /// Claims above the outlets' limit: approves.
    RedemptionChecker,
    /// Claims above the outlets' limit: pays out.
    RedemptionPayer,
    /// Looks after outlets: delivers, visits, reports losses (市场管理员).
    MarketManager,
    /// Receives and ships.
    WarehouseKeeper,
    /// Picks orders.
    WarehousePicker,
    /// Checks what was picked.
    WarehouseChecker,
    /// Counts blind.
    WarehouseCounter,
    /// Orders for an outlet after verification.
    CallCentreAgent,
    /// Reads extracts: the ministry, the civil-affairs department.
    Supervisor,
    /// The vendor's support: health and patches, in approved and recorded hours only.
    VendorSupport,
}

use Role::*;

/// Roles that stand alone: who holds one holds no other.
const ALONE: [Role; 5] = [SystemAdministrator, SecurityAdministrator, AuditAdministrator, Supervisor, VendorSupport];

/// Pairs that one person never holds together. Source: DOMAIN §5.
const APART: [(Role, Role); 14] = [
    (ParameterMaker, RedemptionPayer),
    (ParameterChecker, RedemptionPayer),
    (PrizeDataA, PrizeDataB),
    (RedemptionMaker, RedemptionChecker),
    (RedemptionMaker, RedemptionPayer),
    (RedemptionChecker, RedemptionPayer),
    (WarehousePicker, WarehouseChecker),
    (WarehouseCounter, WarehouseKeeper),
    (MarketManager, WarehouseCounter),
    (FinanceMaker, WarehouseKeeper),
    (FinanceChecker, WarehouseKeeper),
    (FinanceMaker, IssueClerk),
    (FinanceChecker, IssueClerk),
    (MarketManager, RedemptionPayer),
];

impl Role {
    /// Every role, in the order of their numbers.
    pub const ALL: [Role; 21] = [
        SystemAdministrator,
        SecurityAdministrator,
        AuditAdministrator,
        ParameterMaker,
        ParameterChecker,
        PrizeDataA,
        PrizeDataB,
        IssueClerk,
        FinanceMaker,
        FinanceChecker,
        RedemptionMaker,
        RedemptionChecker,
        RedemptionPayer,
        MarketManager,
        WarehouseKeeper,
        WarehousePicker,
        WarehouseChecker,
        WarehouseCounter,
        CallCentreAgent,
        Supervisor,
        VendorSupport,
    ];

    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            SystemAdministrator => "system_administrator",
            SecurityAdministrator => "security_administrator",
            AuditAdministrator => "audit_administrator",
            ParameterMaker => "parameter_maker",
            ParameterChecker => "parameter_checker",
            PrizeDataA => "prize_data_a",
            PrizeDataB => "prize_data_b",
            IssueClerk => "issue_clerk",
            FinanceMaker => "finance_maker",
            FinanceChecker => "finance_checker",
            RedemptionMaker => "redemption_maker",
            RedemptionChecker => "redemption_checker",
            RedemptionPayer => "redemption_payer",
            MarketManager => "market_manager",
            WarehouseKeeper => "warehouse_keeper",
            WarehousePicker => "warehouse_picker",
            WarehouseChecker => "warehouse_checker",
            WarehouseCounter => "warehouse_counter",
            CallCentreAgent => "call_centre_agent",
            Supervisor => "supervisor",
            VendorSupport => "vendor_support",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether its holders prove themselves twice: roles that move money, change rights, see prize data, or
    /// put devices and persons of outlets in and out of use.
    pub const fn needs_second_factor(self) -> bool {
        !matches!(self, WarehouseKeeper | WarehousePicker | WarehouseChecker | WarehouseCounter | Supervisor)
    }
}

/// Two roles of these that one person must not hold together.
pub fn conflict(roles: &[Role]) -> Option<(Role, Role)> {
    let pairs = roles.iter().enumerate().flat_map(|(at, a)| roles[at + 1..].iter().map(move |b| (*a, *b)));
    pairs.into_iter().find(|(a, b)| {
        let apart = APART.contains(&(*a, *b)) || APART.contains(&(*b, *a));
        a != b && (apart || ALONE.contains(a) || ALONE.contains(b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_number_and_a_name_of_its_own() {
        for (number, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(role as usize, number, "{role:?}");
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
        assert_eq!(Role::from_name("root"), None);
    }

    #[test]
    fn administrators_hold_nothing_else_and_nobody_checks_what_the_same_role_pair_made() {
        for alone in ALONE {
            for other in Role::ALL.into_iter().filter(|other| *other != alone) {
                assert!(conflict(&[other, alone]).is_some(), "{alone:?} and {other:?}");
            }
            assert_eq!(conflict(&[alone]), None);
        }
        assert!(conflict(&[MarketManager, RedemptionMaker, RedemptionChecker]).is_some());
        assert!(conflict(&[WarehouseChecker, WarehousePicker]).is_some());
        // A person may make some parameters and check others: proposals compare persons.
        assert_eq!(conflict(&[ParameterMaker, ParameterChecker, MarketManager]), None);
        assert_eq!(conflict(&[WarehouseKeeper, WarehouseKeeper]), None, "in two areas");
    }
}
