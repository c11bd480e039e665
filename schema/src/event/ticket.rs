//! Tickets: only what happened to one, never what it holds.

use serde::{Deserialize, Serialize};

use crate::id::{OutletId, TicketId};
use crate::money::Money;

/// Facts about one ticket each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketEvent {
    /// The ticket was sold by scan.
    Sold {
        /// The ticket.
        ticket: TicketId,
        /// Where.
        outlet: OutletId,
        /// Its price. Fen, > 0.
        price: Money,
    },
    /// The prize was paid out in cash by the outlet, which is credited.
    Claimed {
        /// The ticket.
        ticket: TicketId,
        /// Who paid.
        outlet: OutletId,
        /// Prize level, from 1.
        level: u8,
        /// Prize. Fen, > 0.
        prize: Money,
    },
    /// A code that is not the ticket's was presented. The code itself is kept nowhere.
    WrongCodePresented {
        /// The ticket.
        ticket: TicketId,
        /// Where.
        outlet: OutletId,
        /// Whether this one locked the ticket.
        locks: bool,
    },
    /// It was asked what tickets won. The answers are kept nowhere: the log must not tell winners that are unclaimed.
    Inquired {
        /// Where.
        outlet: OutletId,
        /// Which; at most as many as a request may name.
        tickets: Vec<TicketId>,
    },
    /// The right code of a ticket was presented while no other of its pack was known to be sold, paid or scratched: from now on
    /// the pack is not untouched. Whether it won is not told.
    Scratched {
        /// The ticket, the first of its pack.
        ticket: TicketId,
        /// Where.
        outlet: OutletId,
    },
    /// A code of a known batch named a pack or ticket number that was not printed: forged, or misread.
    ImpossibleTicketPresented {
        /// The ticket as the code names it.
        ticket: TicketId,
        /// Where.
        outlet: OutletId,
    },
}
