//! Rights: one table of permissions (verb × resource × area) drives the guard of every address, the rows that a query
//! shows, and the buttons that a screen offers. Source: DOMAIN §5.
//!
//! A route names what it needs ([`routes`]), a role what it may ([`table`]), a person's grants where and when. What is
//! not declared is refused.

mod routes;
mod scope;
mod table;

use std::net::IpAddr;

use jikai_schema::staff::{Grant, Role};
use jikai_schema::time::TimeMs;

pub use routes::{Needs, ROUTES, Reach, Route, route_of};
pub use scope::Scope;
pub use table::{CONSOLE, permissions_of};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read.
    See,
    /// Make or alter.
    Change,
    /// Bring in from files.
    Import,
    /// Ask for what a second person must allow.
    Ask,
    /// Allow what another person asked for.
    Approve,
    /// Read in the clear what is masked otherwise, with a reason.
    Reveal,
    /// End.
    Revoke,
}

/// What it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Sums of sales.
    Sales,
    /// Packs by state and place.
    Stock,
    /// Sums of claims.
    Claims,
    /// Sums of deposits.
    Deposits,
    /// What moved the outlets' money; balances of all accounts.
    Ledger,
    /// The logs of hub and nodes.
    Trail,
    /// Devices of outlets.
    Terminals,
    /// Persons of outlets.
    Operators,
    /// Identity number, phone and bank account of outlets' owners.
    Personal,
    /// Nodes and their links.
    Nodes,
    /// The machines of the hub.
    Machines,
    /// Figures of the machine.
    Metrics,
    /// Divisions, games, outlets, shipments and the like, from files.
    Lists,
    /// Printed batches, their sale and end of redemption.
    Batches,
    /// Games: price, shares, limits.
    Games,
    /// Holds on packs.
    Holds,
    /// Printers' packages: what they hold stays sealed, and nobody queries single codes.
    PrizeData,
    /// Parameters.
    Parameters,
    /// What waits for a second person.
    Changes,
    /// Accounts of staff, without their rights.
    StaffAccounts,
    /// What is granted to staff.
    StaffRights,
    /// That the person behind an account is the one it was made for.
    Confirmations,
    /// Open sessions of staff.
    StaffSessions,
    /// The vendor's access.
    Support,
}

/// A verb and what it is done to.
pub type Permission = (Verb, Resource);

impl Verb {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::See => "see",
            Verb::Change => "change",
            Verb::Import => "import",
            Verb::Ask => "ask",
            Verb::Approve => "approve",
            Verb::Revoke => "revoke",
            Verb::Reveal => "reveal",
        }
    }
}

impl Resource {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Sales => "sales",
            Resource::Stock => "stock",
            Resource::Claims => "claims",
            Resource::Deposits => "deposits",
            Resource::Ledger => "ledger",
            Resource::Trail => "trail",
            Resource::Terminals => "terminals",
            Resource::Operators => "operators",
            Resource::Personal => "personal_data",
            Resource::Nodes => "nodes",
            Resource::Machines => "machines",
            Resource::Metrics => "metrics",
            Resource::Lists => "lists",
            Resource::Batches => "batches",
            Resource::Games => "games",
            Resource::Holds => "holds",
            Resource::PrizeData => "prize_data",
            Resource::Parameters => "parameters",
            Resource::Changes => "changes",
            Resource::StaffAccounts => "staff_accounts",
            Resource::StaffRights => "staff_rights",
            Resource::Confirmations => "confirmations",
            Resource::StaffSessions => "staff_sessions",
            Resource::Support => "support",
        }
    }
}

/// Where a person may do something now; `None` if nowhere. Grants that do not hold at this minute or from this address do
/// not count, nor do the vendor's while no access is open.
pub fn scope_of(
    grants: &[Grant],
    permission: Permission,
    at_ms: TimeMs,
    address: IpAddr,
    support_is_open: bool,
) -> Option<Scope> {
    let minute = at_ms.minute_of_business_day();
    let counts = |grant: &&Grant| {
        let open = grant.role != Role::VendorSupport || support_is_open;
        open && grant.holds(minute, address) && permissions_of(grant.role).contains(&permission)
    };
    Scope::of(grants.iter().filter(counts).map(|grant| &grant.area))
}

/// All that a person may do now in the whole province.
pub fn whole_permissions(grants: &[Grant], at_ms: TimeMs, address: IpAddr, support_is_open: bool) -> Vec<Permission> {
    let mut known: Vec<Permission> = grants.iter().flat_map(|grant| permissions_of(grant.role)).copied().collect();
    known.sort_unstable();
    known.dedup();
    let whole = |permission: &Permission| {
        scope_of(grants, *permission, at_ms, address, support_is_open).is_some_and(|scope| scope.is_everywhere())
    };
    known.into_iter().filter(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jikai_schema::staff::{Area, Hours};

    const NOON_MS: i64 = 1_790_000_000_000 - 1_790_000_000_000 % 86_400_000 + 4 * 3_600_000;

    fn scope(grants: &[Grant], support_is_open: bool) -> Option<Scope> {
        let at_ms = TimeMs::from_ms(NOON_MS);
        scope_of(grants, (Verb::See, Resource::Metrics), at_ms, [10, 0, 0, 1].into(), support_is_open)
    }

    #[test]
    fn noon_in_shanghai_is_minute_720() {
        assert_eq!(TimeMs::from_ms(NOON_MS).minute_of_business_day(), 720);
    }

    #[test]
    fn a_grant_counts_in_its_hours_from_its_addresses_and_for_what_its_role_may() {
        let system = Grant::everywhere(Role::SystemAdministrator);
        let hours = |from_minute, until_minute| Some(Hours { from_minute, until_minute });
        let office = |network: &str| {
            vec![jikai_schema::staff::AddressRange { network: network.parse().unwrap(), prefix_bits: 8 }]
        };
        assert!(scope(std::slice::from_ref(&system), false).is_some());
        assert!(scope(&[Grant { hours: hours(700, 721), ..system.clone() }], false).is_some());
        assert!(scope(&[Grant { hours: hours(721, 800), ..system.clone() }], false).is_none());
        assert!(scope(&[Grant { addresses: office("10.0.0.0"), ..system.clone() }], false).is_some());
        assert!(scope(&[Grant { addresses: office("11.0.0.0"), ..system }], false).is_none());
        assert!(scope(&[Grant::everywhere(Role::MarketManager)], false).is_none());
        assert!(scope(&[], false).is_none());
    }

    #[test]
    fn the_vendor_may_nothing_while_no_access_is_open() {
        let vendor = [Grant::everywhere(Role::VendorSupport)];
        assert!(scope(&vendor, false).is_none());
        assert!(scope(&vendor, true).is_some());
    }

    #[test]
    fn areas_of_several_grants_add_up_only_where_both_give_the_permission() {
        let at = |role, area| Grant { area, ..Grant::everywhere(role) };
        let prefecture = |code| Area::Prefecture(jikai_schema::id::PrefectureCode::new(code).unwrap());
        let grants = [at(Role::MarketManager, prefecture(1301)), at(Role::WarehouseKeeper, prefecture(1302))];
        let scope = |resource| {
            scope_of(&grants, (Verb::See, resource), TimeMs::from_ms(NOON_MS), [10, 0, 0, 1].into(), false).unwrap()
        };
        assert_eq!(
            scope(Resource::Stock).filter_json().unwrap(),
            r#"{"prefectures":[1301,1302],"counties":[],"outlets":[]}"#
        );
        assert_eq!(
            scope(Resource::Sales).filter_json().unwrap(),
            r#"{"prefectures":[1301],"counties":[],"outlets":[]}"#
        );
    }
}
