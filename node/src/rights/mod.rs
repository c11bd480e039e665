//! Rights at a node: one table of permissions (verb × resource, always at the caller's own outlet) drives the guard of every
//! address, the decisions, and the buttons that a terminal offers. Source: DOMAIN §5.
//!
//! A route names what it needs ([`ROUTES`]), a role what it may ([`permissions_of`]). What is not declared is refused.

mod routes;

use jikai_schema::event::OperatorRole;

pub use routes::{Needs, ROUTES, Route, route_of};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read.
    See,
    /// Sign for and check in.
    Receive,
    /// Send back.
    Return,
    /// Sell by scan.
    Sell,
    /// Ask what a ticket won.
    Inquire,
    /// Pay out.
    Pay,
}

/// What it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Packs on their way or at the outlet.
    Packs,
    /// Packs and tickets by game.
    Stock,
    /// Single tickets.
    Tickets,
    /// What tickets won.
    Claims,
    /// Sums of sales.
    Sales,
    /// The prepaid account's balance.
    Account,
    /// The prepaid account's lines, deposits among them.
    Statement,
}

/// A verb and what it is done to.
pub type Permission = (Verb, Resource);

impl Verb {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::See => "see",
            Verb::Receive => "receive",
            Verb::Return => "return",
            Verb::Sell => "sell",
            Verb::Inquire => "inquire",
            Verb::Pay => "pay",
        }
    }
}

impl Resource {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Packs => "packs",
            Resource::Stock => "stock",
            Resource::Tickets => "tickets",
            Resource::Claims => "claims",
            Resource::Sales => "sales",
            Resource::Account => "account",
            Resource::Statement => "statement",
        }
    }
}

/// Its words in the trail, such as `receive packs`.
pub fn words((verb, resource): Permission) -> String {
    format!("{} {}", verb.name(), resource.name())
}

/// The counter's work: what everybody at the outlet may.
const COUNTER: &[Permission] = &[
    (Verb::Sell, Resource::Tickets),
    (Verb::Inquire, Resource::Claims),
    (Verb::Pay, Resource::Claims),
    (Verb::See, Resource::Packs),
    (Verb::See, Resource::Stock),
    (Verb::See, Resource::Sales),
    (Verb::See, Resource::Account),
];

/// What moves the owner's money and custody of packs, besides the counter's work.
const OWNER: &[Permission] =
    &[(Verb::Receive, Resource::Packs), (Verb::Return, Resource::Packs), (Verb::See, Resource::Statement)];

/// What a role may at its own outlet.
pub fn permissions_of(role: OperatorRole) -> impl Iterator<Item = Permission> {
    let more = match role {
        OperatorRole::Owner => OWNER,
        OperatorRole::Clerk => &[],
    };
    COUNTER.iter().chain(more).copied()
}

/// Whether a role may do this at its own outlet.
pub fn may(role: OperatorRole, permission: Permission) -> bool {
    permissions_of(role).any(|known| known == permission)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clerk_serves_customers_and_only_the_owner_moves_packs_and_reads_the_statement() {
        for permission in COUNTER {
            assert!(may(OperatorRole::Clerk, *permission) && may(OperatorRole::Owner, *permission));
        }
        for permission in OWNER {
            assert!(!may(OperatorRole::Clerk, *permission), "{}", words(*permission));
            assert!(may(OperatorRole::Owner, *permission), "{}", words(*permission));
        }
        assert!(!may(OperatorRole::Owner, (Verb::Pay, Resource::Statement)), "what the table lacks nobody may");
    }
}
