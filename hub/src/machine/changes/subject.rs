//! What changes do: as people see it before and after, and how it is done.

use jikai_schema::command::{ChangeSubject, Deposit, Outcome};
use jikai_schema::event::{ChangeEvent, EventBody, MasterEvent};
use jikai_schema::id::OutletClass;
use jikai_schema::parameter::{Parameter, ParameterScope};
use jikai_schema::staff::Grant;
use jikai_schema::time::TimeMs;
use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::ChangeRow;
use crate::machine::error::Stop;
use crate::machine::master::check_game;
use crate::machine::money::check_deposit;
use crate::machine::staff::check_grants;
use crate::machine::subject::Subject;
use crate::machine::{Machine, Stamp, rule, unknown};

impl Machine<'_> {
    /// The subject as it is and as it would be, as JSON. Two equal texts mean the same state.
    pub(super) fn describe(&mut self, subject: &ChangeSubject) -> Result<(String, String), Stop> {
        let (before, after) = match subject {
            ChangeSubject::Parameter { key, scope, value, effective_from_ms } => {
                self.describe_parameter(key, *scope, *value, *effective_from_ms)?
            }
            ChangeSubject::Game(definition) => {
                let MasterEvent::GameDefined { game, .. } = definition else {
                    return Err(rule("not_a_game", "this change defines a game").into());
                };
                check_game(definition)?;
                let current = self.defined(Subject::Game(*game))?;
                (game_view(current.as_ref()), game_view(Some(definition)))
            }
            ChangeSubject::Sale { batch, state, approval } => {
                let current = self.projection.batch(*batch)?.ok_or_else(|| unknown("batch", batch))?.sale_state;
                let number = approval.as_ref().map(|(number, _)| number.clone());
                let day = approval.as_ref().map(|(_, day)| day.to_string());
                (
                    json!({ "batch": batch.get(), "sale": current.name() }),
                    json!({ "batch": batch.get(), "sale": state.name(), "approval": number, "notice_day": day }),
                )
            }
            ChangeSubject::RedemptionEnd { batch, ends_at_ms } => {
                let current = self.projection.batch(*batch)?.ok_or_else(|| unknown("batch", batch))?;
                let view = |at_ms: Option<i64>| json!({ "batch": batch.get(), "redemption_ends_at_ms": at_ms });
                (view(current.redemption_ends_at_ms.map(|at_ms| at_ms.ms())), view(Some(ends_at_ms.ms())))
            }
            ChangeSubject::Hold { pack, hold } => {
                let current = self.projection.pack(*pack)?.ok_or_else(|| unknown("pack", pack))?.hold;
                let view = |hold: Option<&'static str>| json!({ "pack": pack.key(), "hold": hold.unwrap_or("none") });
                (view(current.name()), view(hold.name()))
            }
            ChangeSubject::Deposit(deposit) => self.describe_deposit(deposit)?,
            ChangeSubject::Grants { login, grants } => {
                check_grants(grants)?;
                let current = self.staff_row(login)?.grants;
                let view = |grants: &[Grant]| json!({ "login": login, "grants": grants });
                (view(&current), view(grants))
            }
            ChangeSubject::PrizeData { game, code, package_hash } => {
                self.projection.game(*game)?.ok_or_else(|| unknown("game", game))?;
                let released = self.is_released(*game, *code, package_hash)?;
                let (game, code, hash) = (game.to_string(), code.to_string(), hex::encode(package_hash));
                let view = |released: bool| json!({ "game": game, "code": code, "package_sha256": hash, "released": released });
                (view(released), view(true))
            }
            ChangeSubject::OutletClass { outlet, class } => {
                let current = self.projection.outlet(*outlet)?.ok_or_else(|| unknown("outlet", outlet))?.class;
                let view = |class: OutletClass| json!({ "outlet": outlet.to_string(), "class": class.get() });
                (view(current), view(*class))
            }
        };
        Ok((before.to_string(), after.to_string()))
    }

    fn describe_parameter(
        &self,
        key: &str,
        scope: ParameterScope,
        value: i64,
        effective_from_ms: TimeMs,
    ) -> Result<(Value, Value), Stop> {
        let parameter = Parameter::from_key(key).ok_or_else(|| unknown("parameter", key.escape_default()))?;
        if let Some(fault) = parameter.fault(scope, value) {
            return Err(rule("invalid_value", fault).into());
        }
        let newest = "SELECT value, effective_from_ms FROM parameter WHERE key = ?1 AND scope = ?2 \
                      ORDER BY effective_from_ms DESC, seq DESC LIMIT 1";
        let mut statement = self.tx.prepare_cached(newest)?;
        let newest = statement.query_row((key, scope.number()), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let view = |set: Option<(i64, i64)>| {
            let (value, from) = set.unzip();
            json!({ "parameter": key, "scope": scope.number(), "value": value, "effective_from_ms": from })
        };
        Ok((view(newest), view(Some((value, effective_from_ms.ms())))))
    }

    fn describe_deposit(&mut self, deposit: &Deposit) -> Result<(Value, Value), Stop> {
        check_deposit(deposit)?;
        self.projection.outlet(deposit.outlet)?.ok_or_else(|| unknown("outlet", deposit.outlet))?;
        let known = "SELECT EXISTS (SELECT 1 FROM deposit WHERE deposit = ?1)";
        let known: bool = self.tx.prepare_cached(known)?.query_row([deposit.deposit as i64], |row| row.get(0))?;
        let view = |credited: bool| {
            let (outlet, amount_fen) = (deposit.outlet.to_string(), deposit.amount.fen());
            json!({ "deposit": deposit.deposit, "outlet": outlet, "amount_fen": amount_fen, "credited": credited })
        };
        Ok((view(known), view(true)))
    }

    /// Does what was approved; gives the number of its events. A refusal has changed nothing.
    pub(super) fn perform(&mut self, stamp: Stamp<'_>, row: &ChangeRow, checker: &str) -> Result<u64, Stop> {
        let outcome = match &row.subject {
            ChangeSubject::Parameter { key, scope, value, effective_from_ms } => {
                let set = ChangeEvent::ParameterSet {
                    key: key.clone(),
                    scope: *scope,
                    value: *value,
                    // Nothing holds before it was approved.
                    effective_from_ms: (*effective_from_ms).max(stamp.at_ms),
                    maker: row.maker.clone(),
                    checker: checker.to_string(),
                };
                self.emit(stamp, EventBody::Change(set))?;
                Outcome::Done { events: 1, existing: 0 }
            }
            ChangeSubject::Game(definition) => self.define_master(stamp, std::slice::from_ref(definition))?,
            ChangeSubject::Sale { batch, state, approval } => {
                let approval = approval.as_ref().map(|(number, day)| (number.as_str(), *day));
                self.change_sale(stamp, *batch, *state, approval)?
            }
            ChangeSubject::RedemptionEnd { batch, ends_at_ms } => {
                self.announce_redemption_end(stamp, *batch, *ends_at_ms)?
            }
            ChangeSubject::Hold { pack, hold } => self.hold_pack(stamp, *pack, *hold)?,
            ChangeSubject::Deposit(deposit) => self.credit_deposits(stamp, std::slice::from_ref(deposit))?,
            ChangeSubject::Grants { login, grants } => self.replace_grants(stamp, login, grants)?,
            ChangeSubject::PrizeData { game, code, package_hash } => {
                let insert = "INSERT INTO prize_release VALUES (?1, ?2, ?3, ?4, ?5)";
                let release = (game.packed(), code.get(), package_hash, &row.maker, checker);
                self.tx.prepare_cached(insert)?.execute(release)?;
                Outcome::Done { events: 0, existing: 0 }
            }
            ChangeSubject::OutletClass { outlet, class } => {
                let (outlet, class) = (*outlet, *class);
                let node = self.projection.outlet(outlet)?.ok_or_else(|| unknown("outlet", outlet))?.node;
                self.emit(stamp, EventBody::Master(MasterEvent::OutletClassified { outlet, node, class }))?;
                Outcome::Done { events: 1, existing: 0 }
            }
        };
        match outcome {
            Outcome::Done { events, .. } => Ok(events),
            Outcome::Refused(refusal) => Err(refusal.into()),
            _ => Ok(0),
        }
    }
}

fn game_view(definition: Option<&MasterEvent>) -> Value {
    let Some(MasterEvent::GameDefined { game, name, price, shares, outlet_limit, city_limit }) = definition else {
        return Value::Null;
    };
    json!({
        "game": game.to_string(), "name": name, "price_fen": price.fen(), "prize_fund_ppm": shares.prize_fund.get(),
        "welfare_fund_ppm": shares.welfare_fund.get(), "commission_ppm": shares.commission.get(),
        "outlet_limit_fen": outlet_limit.fen(), "city_limit_fen": city_limit.fen(),
    })
}
