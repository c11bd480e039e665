//! What may be answered to a presented ticket.

use rusqlite::OptionalExtension;

use crate::barcode::SecurityBarcode;
use crate::event::PackHold;
use crate::id::{OutletClass, OutletId, TicketId};
use crate::ledger::TransferId;
use crate::money::Money;
use crate::parameter::{Parameter, Place};
use crate::projection::{BatchRow, PackRow, PackState, Projection, ProjectionError};
use crate::seal::{self, BatchKey, SealError};
use crate::time::TimeMs;

/// So many different wrong codes lock a ticket. Source: DOMAIN §2.
pub const WRONG_CODES_MAX: u32 = 5;

/// Highest prize that an outlet may pay, whatever a game's limit says: above it tax is due, which only the centre withholds.
/// Source: DOMAIN §3. Fen.
pub const OUTLET_PRIZE_FEN_MAX: i64 = 1_000_000;

/// Where the decrypted batch keys are.
pub trait BatchKeys {
    /// The key of a batch; `None` until it was received.
    fn batch_key(&self, batch: crate::id::BatchNo) -> Option<BatchKey>;
}

/// The answers that an outlet must be able to tell apart (DOMAIN §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// Won; the outlet may pay.
    Won {
        /// Prize level, from 1.
        level: u8,
        /// Prize.
        prize: Money,
    },
    /// Not a winner.
    NotAWinner,
    /// Won more than an outlet pays: the city centre.
    GoToCityCentre {
        /// Prize level.
        level: u8,
        /// Prize.
        prize: Money,
    },
    /// Won more than a city centre pays: the province centre.
    GoToProvinceCentre {
        /// Prize level.
        level: u8,
        /// Prize.
        prize: Money,
    },
    /// Paid before at this outlet.
    AlreadyPaidHere {
        /// When.
        paid_at_ms: TimeMs,
    },
    /// Paid before at another outlet.
    AlreadyPaidElsewhere {
        /// When.
        paid_at_ms: TimeMs,
        /// Where; shown masked.
        outlet: OutletId,
    },
    /// Its pack was not checked in: check in first.
    PackNotCheckedIn,
    /// Not issued to this province.
    ForeignTicket,
    /// The code does not belong to the ticket: mistyped or forged.
    WrongCode,
    /// Too many wrong codes; the centre decides.
    Locked,
    /// A hold on the pack: frozen, stolen, lost or damaged.
    PackHeld(PackHold),
    /// The pack went back; its tickets are void.
    PackReturned,
    /// The announced end of redemption has passed.
    RedemptionClosed,
    /// Not decidable here now: the batch's key is still on its way.
    TryLater,
    /// Of a known batch, but no such pack or ticket was printed: forged, or misread.
    ImpossibleTicket,
    /// Its pack is not in this node's slice: it went to another region, or never left the warehouse.
    NotDecidableHere,
    /// What is kept of the ticket cannot be read: a person at the centre decides.
    ManualReview,
}

impl ClaimAnswer {
    /// The stable code in interfaces.
    pub const fn code(&self) -> &'static str {
        match self {
            ClaimAnswer::Won { .. } => "won",
            ClaimAnswer::NotAWinner => "not_a_winner",
            ClaimAnswer::GoToCityCentre { .. } => "go_to_city_centre",
            ClaimAnswer::GoToProvinceCentre { .. } => "go_to_province_centre",
            ClaimAnswer::AlreadyPaidHere { .. } => "already_paid_here",
            ClaimAnswer::AlreadyPaidElsewhere { .. } => "already_paid_elsewhere",
            ClaimAnswer::PackNotCheckedIn => "pack_not_checked_in",
            ClaimAnswer::ForeignTicket => "foreign_ticket",
            ClaimAnswer::WrongCode => "wrong_code",
            ClaimAnswer::Locked => "locked",
            ClaimAnswer::PackHeld(PackHold::Stolen) => "pack_stolen",
            ClaimAnswer::PackHeld(PackHold::Lost) => "pack_lost",
            ClaimAnswer::PackHeld(PackHold::Damaged) => "pack_damaged",
            ClaimAnswer::PackHeld(_) => "pack_frozen",
            ClaimAnswer::PackReturned => "pack_returned",
            ClaimAnswer::RedemptionClosed => "redemption_closed",
            ClaimAnswer::TryLater => "try_later",
            ClaimAnswer::ImpossibleTicket => "impossible_ticket",
            ClaimAnswer::NotDecidableHere => "not_decidable_here",
            ClaimAnswer::ManualReview => "manual_review",
        }
    }

    /// Whether it is told only to who showed the ticket's right code: the ticket is scratched.
    pub const fn is_of_right_code(&self) -> bool {
        match self {
            ClaimAnswer::Won { .. } | ClaimAnswer::NotAWinner | ClaimAnswer::RedemptionClosed => true,
            ClaimAnswer::GoToCityCentre { .. } | ClaimAnswer::GoToProvinceCentre { .. } => true,
            ClaimAnswer::AlreadyPaidHere { .. } | ClaimAnswer::AlreadyPaidElsewhere { .. } => true,
            // The tag may be right and the rest damaged, or nothing can be read: the pack had better stay.
            ClaimAnswer::ManualReview => true,
            ClaimAnswer::PackNotCheckedIn | ClaimAnswer::PackHeld(_) | ClaimAnswer::PackReturned => false,
            ClaimAnswer::ForeignTicket | ClaimAnswer::ImpossibleTicket | ClaimAnswer::NotDecidableHere => false,
            ClaimAnswer::WrongCode | ClaimAnswer::Locked | ClaimAnswer::TryLater => false,
        }
    }
}

/// The answer to one code, with what is needed to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The ticket, once its batch is known here.
    pub ticket: Option<TicketId>,
    /// The answer.
    pub answer: ClaimAnswer,
    /// Set for a wrong code: its tag, so that the same mistake twice counts once.
    pub wrong_code_tag: Option<[u8; 16]>,
}

impl Judgement {
    fn of(ticket: TicketId, answer: ClaimAnswer) -> Self {
        Judgement { ticket: Some(ticket), answer, wrong_code_tag: None }
    }
}

/// Judges a presented code for a claim at `here`. Changes nothing. The checks run in this order, and the first that
/// fails is the answer: batch known → ticket printed → pack here → key here → not locked → no hold → checked in, not returned →
/// record whole, code right → not paid → redemption open → winner → within the limits. Damage of one ticket's record is an
/// answer, never an error: it must not fail the requests beside it.
pub fn judge(
    projection: &mut Projection<'_>,
    keys: &dyn BatchKeys,
    here: OutletId,
    code: &SecurityBarcode,
    now_ms: TimeMs,
) -> Result<Judgement, ProjectionError> {
    let foreign = Judgement { ticket: None, answer: ClaimAnswer::ForeignTicket, wrong_code_tag: None };
    let printed = code.ticket.pack;
    let Some(number) = projection.batch_no(printed.game, printed.batch)? else { return Ok(foreign) };
    let Some(batch) = projection.batch(number)? else { return Ok(foreign) };
    let ticket = crate::id::PackId::new(number, printed.pack).and_then(|pack| pack.ticket(code.ticket.ticket));
    let Ok(ticket) = ticket else { return Ok(foreign) };
    if printed.pack > batch.packs || code.ticket.ticket >= batch.tickets_per_pack {
        return Ok(Judgement::of(ticket, ClaimAnswer::ImpossibleTicket));
    }
    if projection.pack(ticket.pack())?.is_none() {
        return Ok(Judgement::of(ticket, ClaimAnswer::NotDecidableHere));
    }
    let sealed = projection.sealed(ticket)?;
    let Some(key) = keys.batch_key(number) else { return Ok(Judgement::of(ticket, ClaimAnswer::TryLater)) };
    if sealed.is_some_and(|sealed| sealed.locked) {
        return Ok(Judgement::of(ticket, ClaimAnswer::Locked));
    }
    let Some(pack) = projection.pack(ticket.pack())? else {
        return Ok(Judgement::of(ticket, ClaimAnswer::NotDecidableHere));
    };
    let (of_outlet, custody) = (pack.outlet, custody_answer(pack));
    // Its outlet was let go of: whether the ticket was paid, the node decides to which it goes.
    if projection.handoff(of_outlet)?.is_some_and(|way| way.released) {
        return Ok(Judgement::of(ticket, ClaimAnswer::TryLater));
    }
    if let Some(answer) = custody {
        return Ok(Judgement::of(ticket, answer));
    }
    let Some(sealed) = sealed else { return Ok(Judgement::of(ticket, ClaimAnswer::ManualReview)) };
    let level = match seal::open(&key, ticket, &code.code, &sealed.record) {
        Ok(level) => level,
        Err(SealError::WrongCode) => {
            let wrong_code_tag = Some(seal::presented_tag(&key, ticket, &code.code));
            return Ok(Judgement { ticket: Some(ticket), answer: ClaimAnswer::WrongCode, wrong_code_tag });
        }
        Err(SealError::Damaged) => return Ok(Judgement::of(ticket, ClaimAnswer::ManualReview)),
    };
    let claim = projection.pack(ticket.pack())?.and_then(|pack| pack.claim_of(ticket.number()));
    if let Some(claim) = claim {
        return Ok(Judgement::of(ticket, paid_answer(projection, (ticket, TransferId::new(claim.event, 0)), here)?));
    }
    Ok(Judgement::of(ticket, prize_answer(projection, &batch, level, here, now_ms)?))
}

fn custody_answer(pack: &PackRow) -> Option<ClaimAnswer> {
    match (pack.hold, pack.state) {
        (PackHold::None, PackState::InTransit) => Some(ClaimAnswer::PackNotCheckedIn),
        (PackHold::None, PackState::Returned) => Some(ClaimAnswer::PackReturned),
        (PackHold::None, PackState::Active | PackState::SoldOut) => None,
        (hold, _) => Some(ClaimAnswer::PackHeld(hold)),
    }
}

/// By the transfer, or by what the pack brought along from the node where it was paid.
fn paid_answer(
    projection: &Projection<'_>,
    (ticket, transfer): (TicketId, TransferId),
    here: OutletId,
) -> Result<ClaimAnswer, ProjectionError> {
    let find = |sql: &str, key: i64| -> Result<Option<(i64, i64)>, rusqlite::Error> {
        let mut statement = projection.store().prepare_cached(sql)?;
        statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    };
    let paid = match find("SELECT credit, at_ms FROM transfer WHERE transfer = ?1", transfer.key())? {
        Some(paid) => Some(paid),
        None => find("SELECT outlet, paid_at_ms FROM claim_history WHERE ticket = ?1", ticket.key())?,
    };
    let damaged = || ProjectionError::Damaged { table: "transfer", key: transfer.key() };
    let (credit, at_ms) = paid.ok_or_else(damaged)?;
    let paid_at_ms = TimeMs::from_ms(at_ms);
    let outlet = OutletId::new(credit as u32).map_err(|_| damaged())?;
    if outlet == here {
        Ok(ClaimAnswer::AlreadyPaidHere { paid_at_ms })
    } else {
        Ok(ClaimAnswer::AlreadyPaidElsewhere { paid_at_ms, outlet })
    }
}

fn prize_answer(
    projection: &mut Projection<'_>,
    batch: &BatchRow,
    level: u8,
    here: OutletId,
    now_ms: TimeMs,
) -> Result<ClaimAnswer, ProjectionError> {
    if batch.redemption_ends_at_ms.is_some_and(|end| now_ms >= end) {
        return Ok(ClaimAnswer::RedemptionClosed);
    }
    if level == 0 {
        return Ok(ClaimAnswer::NotAWinner);
    }
    // A level outside the signed list is never paid, whatever the record says.
    let Some(prize) = batch.prize(level) else { return Ok(ClaimAnswer::ManualReview) };
    let unknown = ProjectionError::Unknown { kind: "game", key: i64::from(batch.game.packed()) };
    let game = projection.game(batch.game)?.ok_or(unknown)?;
    let (of_game, city_limit) = (game.outlet_limit, game.city_limit);
    let class = projection.outlet(here)?.map_or(OutletClass::FIRST, |row| row.class);
    let place = Place::outlet(here, class).with_game(batch.game);
    let of_outlet = projection.parameter(Parameter::OutletClaimLimit, &place, now_ms)?;
    let outlet_limit_fen = of_game.fen().min(of_outlet).min(OUTLET_PRIZE_FEN_MAX);
    Ok(if prize.fen() <= outlet_limit_fen {
        ClaimAnswer::Won { level, prize }
    } else if prize <= city_limit {
        ClaimAnswer::GoToCityCentre { level, prize }
    } else {
        ClaimAnswer::GoToProvinceCentre { level, prize }
    })
}
