//! Printed batches: number, facts and key, sealed packs into the warehouse, sale, end of redemption.

use jikai_schema::command::{Outcome, Refusal};
use jikai_schema::event::{BatchFacts, EventBody, MasterEvent, SaleState};
use jikai_schema::id::{BatchCode, BatchNo, GameCode, PackId};
use jikai_schema::money::Money;
use jikai_schema::seal::RECORD_BYTES;
use jikai_schema::staff::Role;
use jikai_schema::time::{BusinessDay, TimeMs};
use rusqlite::OptionalExtension;

use super::error::Stop;
use super::{Machine, Stamp, exists_with_other, rule, unknown};

/// A wrapped key: nonce, 32 bytes, authentication tag.
pub(super) const WRAPPED_KEY_BYTES: usize = 12 + 32 + 16;
/// Days between the public notice and the first sale.
const NOTICE_DAYS_MIN: i32 = 10;
/// Longest approval number. Bytes.
const APPROVAL_BYTES_MAX: usize = 64;
/// Most tickets in a pack.
const TICKETS_PER_PACK_MAX: u16 = 1_000;

impl Machine<'_> {
    /// Checks: the game is known. Asked again for the same game and code, gives the same number.
    pub(super) fn reserve_batch(&mut self, game: GameCode, code: BatchCode) -> Result<Outcome, Stop> {
        if self.projection.game(game)?.is_none() {
            return Err(unknown("game", game).into());
        }
        if let Some(batch) = self.reserved(game, code)? {
            return Ok(Outcome::Batch { batch });
        }
        let sql = "SELECT coalesce(max(batch), 0) + 1 FROM batch_reservation";
        let number: u32 = self.tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let batch = BatchNo::new(number).map_err(|_| rule("batches_exhausted", "all batch numbers are given"))?;
        // After this point the command must succeed.
        self.tx.prepare_cached("INSERT INTO batch_reservation VALUES (?1, ?2, ?3)")?.execute((
            number,
            game.packed(),
            code.get(),
        ))?;
        Ok(Outcome::Batch { batch })
    }

    fn reserved(&self, game: GameCode, code: BatchCode) -> Result<Option<BatchNo>, Stop> {
        let number: Option<u32> = self
            .tx
            .prepare_cached("SELECT batch FROM batch_reservation WHERE game = ?1 AND code = ?2")?
            .query_row((game.packed(), code.get()), |row| row.get(0))
            .optional()?;
        Ok(number.and_then(|number| BatchNo::new(number).ok()))
    }

    /// Checks: the game is known; the number is the reserved one; not imported with other facts; released by two persons, once
    /// there are two for prize data; the facts are possible; the prize list takes exactly the prize fund's share; the key has its length.
    pub(super) fn import_batch(
        &mut self,
        stamp: Stamp<'_>,
        facts: &BatchFacts,
        wrapped_key: &[u8],
    ) -> Result<Outcome, Stop> {
        let game = self.projection.game(facts.game)?.ok_or_else(|| unknown("game", facts.game))?;
        let (price, shares) = (game.price, game.shares);
        if self.reserved(facts.game, facts.code)? != Some(facts.batch) {
            return Err(rule("batch_not_reserved", "reserve the number of the batch first").into());
        }
        if let Some(existing) = self.batch_facts(facts.batch)? {
            return match existing == *facts {
                true => self.keep_key_if_lost(facts.batch, wrapped_key),
                false => Err(exists_with_other("batch", format!("{}-{}", facts.game, facts.code)).into()),
            };
        }
        if !self.is_released(facts.game, facts.code, &facts.package_hash)?
            && self.two_hold(Role::PrizeDataA, Role::PrizeDataB)?
        {
            let text = "this package was not released: one person for prize data proposes it, the other one approves";
            return Err(rule("prize_data_not_released", text).into());
        }
        check_sizes(facts)?;
        let tickets = i64::from(facts.packs) * i64::from(facts.tickets_per_pack);
        let sales = price.checked_mul(tickets);
        let share = sales.and_then(|sales| shares.prize_fund.half_up(sales));
        let share = share.map_err(|_| rule("batch_too_large", "the sales of the batch do not fit"))?;
        check_prizes(facts, tickets, share)?;
        if wrapped_key.len() != WRAPPED_KEY_BYTES {
            return Err(rule("invalid_batch_key", "the batch key is not wrapped").into());
        }
        // After this point the command must succeed.
        // A key that a node returned for a batch that never came back opens nothing.
        let insert = "INSERT OR REPLACE INTO batch_key VALUES (?1, ?2)";
        self.tx.prepare_cached(insert)?.execute((facts.batch.get(), wrapped_key))?;
        self.emit(stamp, EventBody::Master(MasterEvent::BatchDefined(facts.clone())))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    /// A batch of which a recovery brought the facts back and not the key gets the one of the import that is repeated.
    fn keep_key_if_lost(&mut self, batch: BatchNo, wrapped_key: &[u8]) -> Result<Outcome, Stop> {
        if wrapped_key.len() == WRAPPED_KEY_BYTES {
            let insert = "INSERT OR IGNORE INTO batch_key VALUES (?1, ?2)";
            self.tx.prepare_cached(insert)?.execute((batch.get(), wrapped_key))?;
        }
        Ok(Outcome::Done { events: 0, existing: 1 })
    }

    /// Whether two persons have released a package for import.
    pub(super) fn is_released(&self, game: GameCode, code: BatchCode, package_hash: &[u8; 32]) -> Result<bool, Stop> {
        let sql = "SELECT EXISTS (SELECT 1 FROM prize_release WHERE game = ?1 AND code = ?2 AND package_hash = ?3)";
        let key = (game.packed(), code.get(), package_hash);
        Ok(self.tx.prepare_cached(sql)?.query_row(key, |row| row.get(0))?)
    }

    /// The facts as imported.
    fn batch_facts(&mut self, batch: BatchNo) -> Result<Option<BatchFacts>, Stop> {
        let Some(row) = self.projection.batch(batch)? else { return Ok(None) };
        let (packs_per_case, package_hash) = self
            .tx
            .prepare_cached("SELECT packs_per_case, package_hash FROM batch WHERE batch = ?1")?
            .query_row([batch.get()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Some(BatchFacts {
            batch,
            game: row.game,
            code: row.code,
            tickets_per_pack: row.tickets_per_pack,
            packs_per_case,
            packs: row.packs,
            print_completed_on: row.print_completed_on,
            package_hash,
            levels: row.levels.clone(),
        }))
    }

    /// Checks: the batch is imported; every pack is one of it, named once, with a record a ticket; none exists with
    /// other records.
    pub(super) fn stock_packs(&mut self, batch: BatchNo, packs: &[(u32, Vec<u8>)]) -> Result<Outcome, Stop> {
        let row = self.projection.batch(batch)?.ok_or_else(|| unknown("batch", batch))?;
        let (pack_count, record_bytes) = (row.packs, usize::from(row.tickets_per_pack) * RECORD_BYTES);
        let mut fresh = Vec::with_capacity(packs.len());
        let mut last_number = 0;
        for (number, records) in packs {
            if *number <= last_number || *number > pack_count {
                let text = format!("pack {number}: numbers ascend from 1 to {pack_count}");
                return Err(rule("invalid_pack_number", text).into());
            }
            if records.len() != record_bytes {
                return Err(
                    rule("invalid_records", format!("pack {number} needs {record_bytes} bytes of records")).into()
                );
            }
            last_number = *number;
            let pack = PackId::new(batch, *number).map_err(|error| rule("invalid_pack_number", error.to_string()))?;
            match self.records_of(pack)? {
                None => fresh.push((pack, records)),
                Some(existing) if existing == *records => {}
                Some(_) => return Err(exists_with_other("pack", pack).into()),
            }
        }
        // After this point the command must succeed.
        let existing = (packs.len() - fresh.len()) as u64;
        let mut insert = self.tx.prepare_cached("INSERT INTO warehouse VALUES (?1, ?2)")?;
        for (pack, records) in fresh {
            insert.execute((pack.key(), records))?;
        }
        Ok(Outcome::Done { events: 0, existing })
    }

    /// The sealed records of a pack, wherever it is now.
    fn records_of(&self, pack: PackId) -> Result<Option<Vec<u8>>, Stop> {
        let sql =
            "SELECT records FROM warehouse WHERE pack = ?1 UNION ALL SELECT records FROM pack_seal WHERE pack = ?1";
        Ok(self.tx.prepare_cached(sql)?.query_row([pack.key()], |row| row.get(0)).optional()?)
    }

    /// Checks: the batch is known; the life cycle allows the change; opening has an approval and an old enough notice.
    pub(super) fn change_sale(
        &mut self,
        stamp: Stamp<'_>,
        batch: BatchNo,
        state: SaleState,
        approval: Option<(&str, BusinessDay)>,
    ) -> Result<Outcome, Stop> {
        use SaleState::{Imported, Open, Paused, Stopped};
        let current = self.projection.batch(batch)?.ok_or_else(|| unknown("batch", batch))?.sale_state;
        if current == state {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        if !matches!((current, state), (Imported, Open) | (Open, Paused) | (Paused, Open) | (Open | Paused, Stopped)) {
            let text = format!("a batch that is {} cannot become {}", current.name(), state.name());
            return Err(rule("sale_transition", text).into());
        }
        if state == Open {
            self.check_approval(stamp, batch, approval)?;
        }
        // After this point the command must succeed.
        if let (Open, Some((number, notice_day))) = (state, approval) {
            self.tx
                .prepare_cached(
                    "INSERT INTO sale_approval VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO UPDATE SET number = excluded.number, notice_day = excluded.notice_day",
                )?
                .execute((batch.get(), number, notice_day.number()))?;
        }
        self.emit(stamp, EventBody::Master(MasterEvent::BatchSaleChanged { batch, state }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    fn check_approval(
        &self,
        stamp: Stamp<'_>,
        batch: BatchNo,
        approval: Option<(&str, BusinessDay)>,
    ) -> Result<(), Stop> {
        let Some((number, notice_day)) = approval else {
            let sql = "SELECT EXISTS (SELECT 1 FROM sale_approval WHERE batch = ?1)";
            let approved: bool = self.tx.prepare_cached(sql)?.query_row([batch.get()], |row| row.get(0))?;
            let missing = || rule("approval_missing", "sales open only with an approval number and a public notice");
            return if approved { Ok(()) } else { Err(missing().into()) };
        };
        if number.trim().is_empty() || number.len() > APPROVAL_BYTES_MAX {
            return Err(rule("approval_missing", "an approval number has 1 to 64 bytes").into());
        }
        let opens_on = stamp.at_ms.business_day();
        if notice_day.plus_days(NOTICE_DAYS_MIN) > opens_on {
            let text = format!("the notice of {notice_day} is not {NOTICE_DAYS_MIN} days old on {opens_on}");
            return Err(rule("notice_too_recent", text).into());
        }
        Ok(())
    }

    /// Checks: the batch is known; the instant is to come; an announced end is only ever moved back.
    pub(super) fn announce_redemption_end(
        &mut self,
        stamp: Stamp<'_>,
        batch: BatchNo,
        ends_at_ms: TimeMs,
    ) -> Result<Outcome, Stop> {
        let row = self.projection.batch(batch)?.ok_or_else(|| unknown("batch", batch))?;
        match row.redemption_ends_at_ms {
            Some(announced) if announced == ends_at_ms => return Ok(Outcome::Done { events: 0, existing: 1 }),
            Some(announced) if announced > ends_at_ms => {
                return Err(rule("redemption_end_earlier", "an announced end is never moved forward").into());
            }
            _ if ends_at_ms <= stamp.at_ms => {
                return Err(rule("redemption_end_past", "the end of redemption is announced before it comes").into());
            }
            _ => {}
        }
        // After this point the command must succeed.
        self.emit(stamp, EventBody::Master(MasterEvent::RedemptionEndAnnounced { batch, ends_at_ms }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }
}

fn check_sizes(facts: &BatchFacts) -> Result<(), Refusal> {
    let possible = (1..=TICKETS_PER_PACK_MAX).contains(&facts.tickets_per_pack)
        && facts.packs_per_case > 0
        && (1..=PackId::NUMBER_MAX).contains(&facts.packs);
    if possible {
        Ok(())
    } else {
        Err(rule("invalid_batch_size", "tickets, packs or cases of the batch are impossible"))
    }
}

fn check_prizes(facts: &BatchFacts, tickets: i64, share: Money) -> Result<(), Refusal> {
    let mut sum = Money::ZERO;
    let mut winners = 0;
    for (at, line) in facts.levels.iter().enumerate() {
        if usize::from(line.level) != at + 1 || !line.amount.is_positive() || line.ticket_count == 0 {
            return Err(rule("invalid_prize_list", "levels ascend from 1, with amounts and counts above 0"));
        }
        winners += i64::from(line.ticket_count);
        let prizes = line.amount.checked_mul(i64::from(line.ticket_count));
        let added = prizes.and_then(|prizes| sum.checked_add(prizes));
        sum = added.map_err(|_| rule("invalid_prize_list", "the prizes do not fit"))?;
    }
    if sum != share || winners > tickets {
        return Err(rule(
            "prize_fund_mismatch",
            format!("the prizes add up to {sum} yuan, the prize fund gives {share}"),
        ));
    }
    Ok(())
}
