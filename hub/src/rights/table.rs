//! Which role may do what. Source: DOMAIN §5.
//!
//! System, security and audit administration never hold each other's rights nor any business right; the auditor sees
//! everything and changes nothing; the vendor sees the machine only.

use jikai_schema::staff::Role;

use super::Permission;
use super::Resource::*;
use super::Verb::*;

/// What somebody may who holds the machine's token: bring a province in, and read. Whoever has it may read the data
/// directory anyway; but it grants nothing to anybody, and approves nothing.
pub const CONSOLE: &[Permission] = &[
    (Import, Lists),
    (Import, Batches),
    (Change, Nodes),
    (Revoke, Nodes),
    (See, Terminals),
    (Change, Terminals),
    (Revoke, Terminals),
    (See, Nodes),
    (See, Machines),
    (Change, Machines),
    // The keys of the hub for a machine that joins: whoever has the token may read them in the directory anyway.
    (Reveal, Machines),
    (See, Metrics),
    (See, Sales),
    (See, Stock),
    (See, Claims),
    (See, Deposits),
    (See, Ledger),
    (See, Trail),
    // Of the first security administrator only: the machine refuses it for anybody else.
    (Change, Confirmations),
];

const SYSTEM: &[Permission] = &[
    (See, Parameters),
    (See, StaffAccounts),
    (Change, StaffAccounts),
    (See, StaffSessions),
    (Revoke, StaffSessions),
    // The second person where there are just two security administrators and the change is about one of them.
    (See, Changes),
    (Approve, Changes),
    (Approve, StaffRights),
    (See, Support),
    (Ask, Support),
    (Revoke, Support),
    (See, Nodes),
    (See, Machines),
    (Change, Machines),
    (See, Metrics),
];

const SECURITY: &[Permission] = &[
    (See, Parameters),
    (See, Nodes),
    (See, Machines),
    (Revoke, Nodes),
    (See, Changes),
    (Ask, Changes),
    (Approve, Changes),
    (See, StaffAccounts),
    (See, StaffRights),
    (Change, StaffRights),
    (Ask, StaffRights),
    (Approve, StaffRights),
    (Change, Confirmations),
    (See, StaffSessions),
    (Revoke, StaffSessions),
    (See, Support),
    (Approve, Support),
    (Revoke, Support),
];

const AUDIT: &[Permission] = &[
    (See, Parameters),
    (See, Changes),
    (See, Terminals),
    (See, Personal),
    (See, Sales),
    (See, Stock),
    (See, Claims),
    (See, Deposits),
    (See, Ledger),
    (See, Trail),
    (See, Nodes),
    (See, Machines),
    (See, Metrics),
    (See, StaffAccounts),
    (See, StaffRights),
    (See, StaffSessions),
    (See, Support),
];

const PARAMETER_MAKER: &[Permission] = &[
    (See, Sales),
    (See, Stock),
    (See, Claims),
    (See, Parameters),
    (See, Changes),
    (Ask, Changes),
    (Ask, Parameters),
    (Ask, Games),
    (Ask, Batches),
];
const PARAMETER_CHECKER: &[Permission] = &[
    (See, Sales),
    (See, Stock),
    (See, Claims),
    (See, Parameters),
    (See, Changes),
    (Approve, Changes),
    (Approve, Parameters),
    (Approve, Games),
    (Approve, Batches),
];
const ISSUE: &[Permission] =
    &[(See, Sales), (See, Stock), (See, Changes), (Ask, Changes), (Ask, Batches), (Approve, Changes), (Approve, Holds)];
const PRIZE_DATA_A: &[Permission] = &[(See, Changes), (Ask, Changes), (Ask, PrizeData)];
const PRIZE_DATA_B: &[Permission] = &[(See, Changes), (Approve, Changes), (Approve, PrizeData)];
const FINANCE_MAKER: &[Permission] = &[
    (See, Sales),
    (See, Claims),
    (See, Deposits),
    (See, Ledger),
    (See, Changes),
    (Ask, Changes),
    (Ask, Deposits),
    (See, Personal),
    (Reveal, Personal),
];
const FINANCE_CHECKER: &[Permission] = &[
    (See, Sales),
    (See, Claims),
    (See, Deposits),
    (See, Ledger),
    (See, Changes),
    (Approve, Changes),
    (Approve, Deposits),
    (See, Personal),
    (Reveal, Personal),
];
const REDEMPTION: &[Permission] = &[(See, Claims)];
const MARKET: &[Permission] = &[
    (See, Sales),
    (See, Stock),
    (See, Claims),
    (See, Terminals),
    (Change, Terminals),
    (Revoke, Terminals),
    (Change, Operators),
    (Revoke, Operators),
    (See, Personal),
    (Change, Personal),
    (See, Changes),
    (Ask, Changes),
    (Ask, Holds),
];
const WAREHOUSE: &[Permission] = &[(See, Stock)];
const CALL_CENTRE: &[Permission] = &[(See, Stock), (See, Terminals), (Revoke, Terminals), (See, Personal)];
const SUPERVISION: &[Permission] = &[(See, Sales), (See, Stock), (See, Claims), (See, Deposits), (See, Ledger)];
const VENDOR: &[Permission] = &[(See, Nodes), (See, Machines), (See, Metrics)];

/// What a role may do, in the areas for which it is granted.
pub const fn permissions_of(role: Role) -> &'static [Permission] {
    match role {
        Role::SystemAdministrator => SYSTEM,
        Role::SecurityAdministrator => SECURITY,
        Role::AuditAdministrator => AUDIT,
        Role::ParameterMaker => PARAMETER_MAKER,
        Role::ParameterChecker => PARAMETER_CHECKER,
        Role::PrizeDataA => PRIZE_DATA_A,
        Role::PrizeDataB => PRIZE_DATA_B,
        Role::IssueClerk => ISSUE,
        Role::FinanceMaker => FINANCE_MAKER,
        Role::FinanceChecker => FINANCE_CHECKER,
        Role::RedemptionMaker | Role::RedemptionChecker | Role::RedemptionPayer => REDEMPTION,
        Role::MarketManager => MARKET,
        Role::WarehouseKeeper | Role::WarehousePicker | Role::WarehouseChecker | Role::WarehouseCounter => WAREHOUSE,
        Role::CallCentreAgent => CALL_CENTRE,
        Role::Supervisor => SUPERVISION,
        Role::VendorSupport => VENDOR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::Resource;

    #[test]
    fn who_only_reads_only_reads() {
        for role in [Role::AuditAdministrator, Role::Supervisor, Role::VendorSupport] {
            assert!(permissions_of(role).iter().all(|(verb, _)| *verb == See), "{role:?}");
        }
    }

    #[test]
    fn administrators_and_the_vendor_have_no_business_right_and_system_and_security_change_nothing_together() {
        let business = |resource: &Resource| {
            matches!(
                resource,
                Sales
                    | Stock
                    | Claims
                    | Deposits
                    | Ledger
                    | Lists
                    | Batches
                    | Terminals
                    | Operators
                    | Personal
                    | Games
                    | Holds
                    | PrizeData
            )
        };
        for role in [Role::SystemAdministrator, Role::SecurityAdministrator, Role::VendorSupport] {
            assert!(!permissions_of(role).iter().any(|(_, resource)| business(resource)), "{role:?}");
        }
        let both = |(verb, resource): &&Permission| *verb == Change && SECURITY.contains(&(*verb, *resource));
        assert_eq!(SYSTEM.iter().find(both), None);
        assert!(!SECURITY.contains(&(Ask, Support)) && !SYSTEM.contains(&(Approve, Support)));
    }

    #[test]
    fn who_decides_what_another_proposed_or_puts_devices_and_persons_in_use_proves_who_it_is_twice() {
        let weighty = |(verb, resource): &Permission| match resource {
            Terminals | Operators | Personal => matches!(verb, Change | Revoke | Reveal),
            _ => *verb == Approve,
        };
        for role in Role::ALL {
            assert!(!permissions_of(role).iter().any(weighty) || role.needs_second_factor(), "{role:?}");
        }
    }

    #[test]
    fn the_machines_token_reaches_no_account_no_right_and_no_approval() {
        for (verb, resource) in CONSOLE {
            assert!(!matches!(resource, StaffAccounts | StaffRights | StaffSessions | Support), "{resource:?}");
            assert!(!matches!(verb, Ask | Approve), "{verb:?}");
        }
    }
}
