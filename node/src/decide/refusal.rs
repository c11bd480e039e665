//! Refusals: a stable code, a sentence, and what to do next.

use jikai_schema::event::SaleState;
use jikai_schema::id::NodeId;
use jikai_schema::money::Money;
use jikai_schema::rules::{ClaimAnswer, Judgement};

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only the owner may do this.
    #[error("only the owner of the outlet may do this")]
    OwnerRequired,
    /// The outlet may not trade.
    #[error("the outlet is suspended")]
    OutletSuspended,
    /// No pack of the consignment is on its way here.
    #[error("shipment {0} has no pack on its way to this outlet")]
    ShipmentUnknown(u64),
    /// The pack was not shipped to this outlet.
    #[error("pack {0} was not shipped to this outlet")]
    PackNotYours(String),
    /// It was checked in before.
    #[error("pack {0} was already checked in")]
    PackAlreadyCheckedIn(String),
    /// It is not on sale here.
    #[error("pack {0} is not checked in")]
    PackNotCheckedIn(String),
    /// It was sent back.
    #[error("pack {0} was sent back")]
    PackReturned(String),
    /// Every ticket of it was sold by scan.
    #[error("every ticket of pack {0} was sold")]
    PackSoldOut(String),
    /// A hold lies on it.
    #[error("pack {pack} is {hold}")]
    PackHeld {
        /// Which pack.
        pack: String,
        /// Which hold.
        hold: &'static str,
    },
    /// A ticket of it was sold or paid, or scratched and inquired with its right code.
    #[error("pack {0} is not untouched: a ticket of it was sold, paid or scratched")]
    PackTouched(String),
    /// Named twice in one request.
    #[error("{0} is named twice")]
    NamedTwice(String),
    /// The batch is not open for sale.
    #[error("the batch of {pack} is {}", .state.name())]
    BatchNotOnSale {
        /// Which pack.
        pack: String,
        /// State of its batch.
        state: SaleState,
    },
    /// Printed more than 60 months ago.
    #[error("the batch of pack {0} was printed more than 60 months ago")]
    BatchTooOld(String),
    /// The money is not there: selling on credit is illegal.
    #[error("the account holds {available} yuan, {needed} yuan are needed")]
    InsufficientBalance {
        /// What the account holds.
        available: Money,
        /// Face value of all packs.
        needed: Money,
    },
    /// The ticket does not exist in its pack.
    #[error("pack {pack} has no ticket {ticket}")]
    TicketUnknown {
        /// Which pack.
        pack: String,
        /// Printed ticket number.
        ticket: u16,
    },
    /// It was sold by scan before.
    #[error("ticket {0} was already sold")]
    TicketAlreadySold(String),
    /// It was paid.
    #[error("ticket {0} was already paid")]
    TicketAlreadyPaid(String),
    /// At least one ticket cannot be paid; all answers are told.
    #[error("ticket {} of {} cannot be paid: {}", .at + 1, .answers.len(), .answers[*.at].answer.code())]
    ClaimRefused {
        /// Index of the first that cannot be paid.
        at: usize,
        /// The answer to each, in the order of the request.
        answers: Vec<Judgement>,
    },
    /// The same key came with another body.
    #[error("the Idempotency-Key was used for another request")]
    IdempotencyKeyReused,
    /// The device was put out of use.
    #[error("this terminal was put out of use")]
    TerminalRevoked,
    /// The person was put out of use.
    #[error("this operator does not work at the outlet any more")]
    OperatorDisabled,
    /// Key, password or role changed between the proof and the session.
    #[error("the device's key, the password or the role was changed just now")]
    LoginOutdated,
    /// The outlet is not served by this node.
    #[error("this outlet is not served by this node")]
    OutletElsewhere,
    /// The outlet moved to another node, or is on its way there.
    #[error("this outlet is served by node {0} now")]
    OutletMoved(NodeId),
    /// Rows of the outlet are here, and it has not arrived yet.
    #[error("this outlet is on its way to this node")]
    OutletArriving,
}

impl Refusal {
    /// The stable code in interfaces.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::OwnerRequired => "owner_required",
            Refusal::OutletSuspended => "outlet_suspended",
            Refusal::ShipmentUnknown(_) => "shipment_unknown",
            Refusal::PackNotYours(_) => "pack_not_yours",
            Refusal::PackAlreadyCheckedIn(_) => "pack_already_checked_in",
            Refusal::PackNotCheckedIn(_) => "pack_not_checked_in",
            Refusal::PackReturned(_) => "pack_returned",
            Refusal::PackSoldOut(_) => "pack_sold_out",
            Refusal::PackHeld { .. } => "pack_held",
            Refusal::PackTouched(_) => "pack_touched",
            Refusal::NamedTwice(_) => "named_twice",
            Refusal::BatchNotOnSale { .. } => "batch_not_on_sale",
            Refusal::BatchTooOld(_) => "batch_too_old",
            Refusal::InsufficientBalance { .. } => "insufficient_balance",
            Refusal::TicketUnknown { .. } => "ticket_unknown",
            Refusal::TicketAlreadySold(_) => "ticket_already_sold",
            Refusal::TicketAlreadyPaid(_) => "ticket_already_paid",
            Refusal::ClaimRefused { at, answers } => answers[*at].answer.code(),
            Refusal::IdempotencyKeyReused => "idempotency_key_reused",
            Refusal::TerminalRevoked => "terminal_revoked",
            Refusal::OperatorDisabled => "operator_disabled",
            Refusal::LoginOutdated => "login_outdated",
            Refusal::OutletElsewhere => "outlet_elsewhere",
            Refusal::OutletMoved(_) => "outlet_moved",
            Refusal::OutletArriving => "outlet_arriving",
        }
    }

    /// What to do next, in a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::OwnerRequired => "Ask the owner to log in at this terminal.",
            Refusal::OutletSuspended => "Call your market manager.",
            Refusal::ShipmentUnknown(_) => "Check the number on the delivery note, or scan the packs one by one.",
            Refusal::PackNotYours(_) => "Do not sell it. Tell your market manager which pack you hold.",
            Refusal::PackAlreadyCheckedIn(_) => "It is on sale already; look it up in your packs.",
            Refusal::PackNotCheckedIn(_) => {
                "Check the pack in first; one scan of the delivery note checks in all of it."
            }
            Refusal::PackReturned(_) => {
                "Sell nothing from it: its tickets are void. If you still hold it, call your market manager."
            }
            Refusal::PackSoldOut(_) => "It is sold and paid for; look it up in your packs.",
            Refusal::PackHeld { .. } => "Put it aside and call your market manager.",
            Refusal::PackTouched(_) => "Only packs of which no ticket was sold, paid or scratched can be sent back.",
            Refusal::NamedTwice(_) => "Scan each item once.",
            Refusal::BatchNotOnSale { .. } => "Keep it unsold until the centre announces the sale.",
            Refusal::BatchTooOld(_) => "Send the pack back.",
            Refusal::InsufficientBalance { .. } => "Deposit money first, or check in fewer packs.",
            Refusal::TicketUnknown { .. } => "Scan the ticket again.",
            Refusal::TicketAlreadySold(_) | Refusal::TicketAlreadyPaid(_) => "Take another ticket.",
            Refusal::ClaimRefused { at, answers } => claim_hint(&answers[*at].answer),
            Refusal::IdempotencyKeyReused => "Use a new key for every new request.",
            Refusal::TerminalRevoked => "Ask your market manager for a new enrolment code.",
            Refusal::OperatorDisabled => "Ask the owner of the outlet.",
            Refusal::LoginOutdated => "Log in again with a new challenge.",
            Refusal::OutletElsewhere => "Connect to the node that serves this outlet.",
            Refusal::OutletArriving => "Try again in a moment (`retry_after_ms`) with the same Idempotency-Key.",
            Refusal::OutletMoved(_) => {
                "Send the request with the same Idempotency-Key and session to that node; wait a moment if it does not know the outlet yet."
            }
        }
    }
}

/// What to do about an answer to a presented ticket, in a sentence.
pub fn claim_hint(answer: &ClaimAnswer) -> &'static str {
    match answer {
        ClaimAnswer::Won { .. } => "Pay the prize.",
        ClaimAnswer::NotAWinner => "Tell the customer that the ticket did not win.",
        ClaimAnswer::GoToCityCentre { .. } => {
            "Send the customer to the city's redemption centre with ticket and identity card."
        }
        ClaimAnswer::GoToProvinceCentre { .. } => {
            "Send the customer to the province centre with ticket and identity card."
        }
        ClaimAnswer::AlreadyPaidHere { .. } | ClaimAnswer::AlreadyPaidElsewhere { .. } => "Do not pay again.",
        ClaimAnswer::PackNotCheckedIn => "Check in the pack the ticket comes from, then pay.",
        ClaimAnswer::ForeignTicket => "Do not pay: the ticket was not issued to this province.",
        ClaimAnswer::WrongCode => "Scan or type the code again; a ticket with five wrong codes is locked.",
        ClaimAnswer::Locked => "Do not pay. Send the customer to the city's redemption centre.",
        ClaimAnswer::PackHeld(_) => "Do not pay. Keep the ticket's number and call your market manager.",
        ClaimAnswer::PackReturned => "Do not pay: the ticket's pack was sent back.",
        ClaimAnswer::RedemptionClosed => "Do not pay: the announced end of redemption has passed.",
        ClaimAnswer::TryLater => "Try again later; the data of the ticket's batch is still on its way.",
        ClaimAnswer::ImpossibleTicket => {
            "Do not pay: no such ticket was printed. Scan it again; if the answer stays, call your market manager."
        }
        ClaimAnswer::NotDecidableHere => {
            "Do not pay: the ticket's pack is not of this region. Send the customer to the city's or the province's \
             redemption centre."
        }
        ClaimAnswer::ManualReview => {
            "Do not pay. Send the customer to the city's redemption centre with the ticket: it is looked at there."
        }
    }
}
