//! Lists of master data.

use std::collections::BTreeSet;

use ed25519_dalek::VerifyingKey;
use jikai_schema::event::{MasterEvent, OperatorRole, OutletStatus, TerminalKind};
use jikai_schema::id::{GameCode, NodeId, OperatorId, OutletId, PrefectureCode, TerminalId};
use jikai_schema::money::Money;

use super::table::{Line, LineError};
use super::{Piece, Row};
use crate::config::GameParameters;

type Rows = Result<Vec<Row>, LineError>;

fn define(line: &Line, definition: MasterEvent) -> Row {
    Row { line: line.number, piece: Piece::Master(Box::new(definition)) }
}

/// Counties, each with its prefecture; a prefecture is defined where it is met first.
pub(super) fn divisions(lines: &[Line]) -> Rows {
    let mut prefectures = BTreeSet::new();
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        let prefecture: PrefectureCode = line.value("prefecture_code")?;
        let parent = u32::from(prefecture.get());
        line.value::<u32>("townships")?;
        if prefectures.insert(prefecture) {
            let name = line.text("prefecture_name")?.to_string();
            rows.push(define(line, MasterEvent::DivisionDefined { code: parent, name, parent: 0 }));
        }
        let (code, name) = (line.value("code")?, line.text("name")?.to_string());
        rows.push(define(line, MasterEvent::DivisionDefined { code, name, parent }));
    }
    Ok(rows)
}

pub(super) fn townships(lines: &[Line]) -> Rows {
    let row = |line: &Line| {
        let (code, name) = (line.value("code")?, line.text("name")?.to_string());
        Ok(define(line, MasterEvent::DivisionDefined { code, name, parent: line.value("county_code")? }))
    };
    lines.iter().map(row).collect()
}

/// Games stand in several lines, one a prize level; their lines stand together.
pub(super) fn games(lines: &[Line], parameters: GameParameters) -> Rows {
    let mut seen: BTreeSet<GameCode> = BTreeSet::new();
    let mut rows = Vec::new();
    let code = |line: &Line| line.value::<GameCode>("game_code");
    let mut rest = lines;
    while let Some(first) = rest.first() {
        let game = code(first)?;
        if !seen.insert(game) {
            return Err(first.refuse("game_code", format!("the lines of {game} do not stand together")));
        }
        let mut count = 0;
        while count < rest.len() && code(&rest[count])? == game {
            count += 1;
        }
        let (group, tail) = rest.split_at(count);
        check_prize_list(group, parameters)?;
        rows.push(define(first, game_definition(first, game, parameters)?));
        rest = tail;
    }
    Ok(rows)
}

fn game_definition(line: &Line, game: GameCode, parameters: GameParameters) -> Result<MasterEvent, LineError> {
    let shares = parameters.shares().ok_or_else(|| line.refuse("game_code", "the shares in hub.toml do not fit"))?;
    let (outlet_limit, city_limit) = parameters.limits();
    let (name, price) = (line.text("game_name")?.to_string(), line.value("price_yuan")?);
    Ok(MasterEvent::GameDefined { game, name, price, shares, outlet_limit, city_limit })
}

/// The pool's prizes take exactly the prize fund's share; levels ascend from 1; the other columns do not change.
fn check_prize_list(group: &[Line], parameters: GameParameters) -> Result<(), LineError> {
    let Some(first) = group.first() else { return Ok(()) };
    let mut prizes = Money::ZERO;
    for (at, line) in group.iter().enumerate() {
        for column in ["game_name", "price_yuan", "tickets_per_pack", "packs_per_case", "tickets_per_pool"] {
            if line.text(column)? != first.text(column)? {
                return Err(line.refuse(column, "is not the same in all lines of the game"));
            }
        }
        if line.value::<usize>("prize_level")? != at + 1 {
            return Err(line.refuse("prize_level", "the levels of a game ascend from 1"));
        }
        let (prize, count): (Money, u32) = (line.value("prize_yuan")?, line.value("prize_count")?);
        let added = prize.checked_mul(i64::from(count)).and_then(|amount| prizes.checked_add(amount));
        prizes = added.map_err(|error| line.refuse("prize_count", error))?;
    }
    let (price, pool): (Money, u32) = (first.value("price_yuan")?, first.value("tickets_per_pool")?);
    let (per_pack, per_case): (u32, u32) = (first.value("tickets_per_pack")?, first.value("packs_per_case")?);
    if per_pack == 0 || per_case == 0 || pool % per_pack != 0 {
        return Err(first.refuse("tickets_per_pool", "a pool has whole packs"));
    }
    let share = parameters
        .shares()
        .and_then(|shares| price.checked_mul(i64::from(pool)).and_then(|sales| shares.prize_fund.half_up(sales)).ok());
    if share != Some(prizes) {
        let problem = format!("the prizes add up to {prizes} yuan, not to the prize fund's share");
        return Err(first.refuse("prize_yuan", problem));
    }
    Ok(())
}

pub(super) fn outlets(lines: &[Line]) -> Rows {
    let row = |line: &Line| {
        Ok(define(
            line,
            MasterEvent::OutletDefined {
                outlet: line.value("outlet_id")?,
                node: NodeId::HUB, // the machine finds the node that serves its prefecture
                township: line.value("township_code")?,
                name: line.text("name")?.to_string(),
                status: OutletStatus::Active,
            },
        ))
    };
    lines.iter().map(row).collect()
}

pub(super) fn terminals(lines: &[Line]) -> Rows {
    let row = |line: &Line| {
        let terminal: TerminalId = line.value("terminal_id")?;
        check_outlet(line, terminal.outlet())?;
        let kind = match line.text("kind")? {
            "dedicated" => TerminalKind::Dedicated,
            "gun" => TerminalKind::Gun,
            "phone" => TerminalKind::Phone,
            _ => return Err(line.refuse("kind", "is dedicated, gun or phone")),
        };
        let mut public_key = [0; 32];
        let decoded = hex::decode_to_slice(line.text("public_key_hex")?, &mut public_key);
        if decoded.is_err() || VerifyingKey::from_bytes(&public_key).is_err() {
            return Err(line.refuse("public_key_hex", "is not an Ed25519 public key, 32 bytes in hex"));
        }
        Ok(define(line, MasterEvent::TerminalDefined { terminal, node: NodeId::HUB, kind, public_key }))
    };
    lines.iter().map(row).collect()
}

pub(super) fn operators(lines: &[Line]) -> Rows {
    let row = |line: &Line| {
        let operator: OperatorId = line.value("operator_id")?;
        check_outlet(line, operator.outlet())?;
        let role = match line.text("role")? {
            "owner" => OperatorRole::Owner,
            "clerk" => OperatorRole::Clerk,
            _ => return Err(line.refuse("role", "is owner or clerk")),
        };
        let name = line.text("name")?.to_string();
        let password_hash = line.text("password_hash")?.to_string();
        if !password_hash.starts_with("$argon2id$") {
            return Err(line.refuse("password_hash", "is not an argon2id hash (a PHC string)"));
        }
        Ok(define(line, MasterEvent::OperatorDefined { operator, node: NodeId::HUB, name, role, password_hash }))
    };
    lines.iter().map(row).collect()
}

fn check_outlet(line: &Line, of_id: OutletId) -> Result<(), LineError> {
    let named: OutletId = line.value("outlet_id")?;
    if named == of_id { Ok(()) } else { Err(line.refuse("outlet_id", format!("the id belongs to outlet {of_id}"))) }
}
