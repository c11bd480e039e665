//! Lists about stock and money.

use jikai_schema::command::{COMMAND_BYTES_MAX, Command, Deposit};
use jikai_schema::event::{PackHold, SaleState};
use jikai_schema::id::{BatchNo, OutletId, PackId};

use super::catalog::Catalog;
use super::table::{Line, LineError};
use super::{Piece, Row};

/// Most packs in one consignment.
const SHIPMENT_PACKS_MAX: usize = COMMAND_BYTES_MAX / 32;

type Rows = Result<Vec<Row>, LineError>;

fn command(line: &Line, command: Command) -> Row {
    Row { line: line.number, piece: Piece::Command(Box::new(command)) }
}

/// Neighbouring lines of one consignment share a command: all of it goes out, or none.
pub(super) fn shipments(lines: &[Line], catalog: &Catalog) -> Rows {
    let mut rows: Vec<Row> = Vec::with_capacity(lines.len());
    for line in lines {
        let number: u64 = line.value("shipment_id")?;
        let to: OutletId = line.value("outlet_id")?;
        let range = packs_of(line, catalog.batch(line)?)?;
        if let Some(Row { piece: Piece::Command(last), .. }) = rows.last_mut()
            && let Command::ShipPacks { shipment, outlet, packs } = last.as_mut()
            && *shipment == number
        {
            if *outlet != to {
                return Err(line.refuse("outlet_id", format!("consignment {number} goes to outlet {outlet}")));
            }
            packs.extend(range);
            if packs.len() > SHIPMENT_PACKS_MAX {
                return Err(line.refuse("shipment_id", format!("more than {SHIPMENT_PACKS_MAX} packs")));
            }
            continue;
        }
        rows.push(command(line, Command::ShipPacks { shipment: number, outlet: to, packs: range }));
    }
    Ok(rows)
}

fn packs_of(line: &Line, batch: BatchNo) -> Result<Vec<PackId>, LineError> {
    let (first, last): (u32, u32) = (line.value("first_pack")?, line.value("last_pack")?);
    if last < first || (last - first) as usize >= SHIPMENT_PACKS_MAX {
        let problem = format!("must be first_pack or later, and at most {SHIPMENT_PACKS_MAX} packs in all");
        return Err(line.refuse("last_pack", problem));
    }
    let pack = |number| PackId::new(batch, number).map_err(|error| line.refuse("first_pack", error));
    (first..=last).map(pack).collect()
}

pub(super) fn deposits(lines: &[Line]) -> Rows {
    let row = |line: &Line| {
        let deposit = Deposit {
            deposit: line.value("deposit_id")?,
            outlet: line.value("outlet_id")?,
            amount: line.value("amount_yuan")?,
        };
        if !deposit.amount.is_positive() {
            return Err(line.refuse("amount_yuan", "a deposit is above 0"));
        }
        Ok(Row { line: line.number, piece: Piece::Deposit(deposit) })
    };
    lines.iter().map(row).collect()
}

pub(super) fn openings(lines: &[Line], catalog: &Catalog) -> Rows {
    let row = |line: &Line| {
        let approval = Some((line.text("approval_number")?.to_string(), line.value("notice_day")?));
        Ok(command(line, Command::ChangeSale { batch: catalog.batch(line)?, state: SaleState::Open, approval }))
    };
    lines.iter().map(row).collect()
}

pub(super) fn holds(lines: &[Line], catalog: &Catalog) -> Rows {
    let row = |line: &Line| {
        let hold = match line.text("hold")? {
            "none" => PackHold::None,
            "frozen" => PackHold::Frozen,
            "stolen" => PackHold::Stolen,
            "lost" => PackHold::Lost,
            "damaged" => PackHold::Damaged,
            _ => return Err(line.refuse("hold", "is none, frozen, stolen, lost or damaged")),
        };
        Ok(command(line, Command::HoldPack { pack: catalog.pack(line)?, hold }))
    };
    lines.iter().map(row).collect()
}

pub(super) fn redemption_ends(lines: &[Line], catalog: &Catalog) -> Rows {
    let row = |line: &Line| {
        let (batch, ends_at_ms) = (catalog.batch(line)?, line.value("ends_at")?);
        Ok(command(line, Command::AnnounceRedemptionEnd { batch, ends_at_ms }))
    };
    lines.iter().map(row).collect()
}
