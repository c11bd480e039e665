//! Master data: a later definition of the same subject replaces the earlier one.

use rusqlite::params;

use super::{Projection, ProjectionError};
use crate::event::{BatchFacts, MasterEvent, SaleState};
use crate::id::{GameCode, NodeId, OperatorId, OutletClass, OutletId, PrefectureCode, TerminalId};
use crate::money::{Money, SaleShares};

impl Projection<'_> {
    pub(super) fn apply_master(&mut self, event: &MasterEvent) -> Result<(), ProjectionError> {
        match event {
            MasterEvent::DivisionDefined { code, name, parent } => self.write(
                "INSERT INTO division VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET name = excluded.name, parent = excluded.parent",
                params![code, name, parent],
            ),
            MasterEvent::NodeDefined { node, name, prefectures } => self.define_node(*node, name, prefectures),
            MasterEvent::OutletDefined { outlet, node, township, name, status } => {
                self.forget_catalog();
                self.write(
                    "INSERT INTO outlet VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET node = excluded.node, \
                 township = excluded.township, name = excluded.name, status = excluded.status",
                    params![outlet.get(), node.get(), township, name, *status as i64],
                )
            }
            MasterEvent::TerminalDefined { terminal, node, kind, public_key } => {
                self.define_terminal(*terminal, *node, *kind as i64, public_key)
            }
            MasterEvent::OperatorDefined { operator, node, name, role, password_hash } => {
                self.define_operator(*operator, *node, name, *role as i64, password_hash)
            }
            MasterEvent::GameDefined { game, name, price, shares, outlet_limit, city_limit } => {
                self.define_game(*game, name, *price, shares, [*outlet_limit, *city_limit])
            }
            MasterEvent::BatchDefined(facts) => self.define_batch(facts),
            MasterEvent::BatchSaleChanged { batch, state } => {
                self.game_of(*batch)?;
                self.forget_catalog();
                self.write("UPDATE batch SET sale_state = ?2 WHERE batch = ?1", params![batch.get(), *state as i64])
            }
            MasterEvent::OutletClassified { outlet, class, .. } => self.classify(*outlet, *class),
            MasterEvent::RedemptionEndAnnounced { batch, ends_at_ms } => {
                self.game_of(*batch)?;
                self.forget_catalog();
                self.write(
                    "UPDATE batch SET redemption_ends_at_ms = ?2 WHERE batch = ?1",
                    params![batch.get(), ends_at_ms.ms()],
                )
            }
        }
    }

    fn classify(&mut self, outlet: OutletId, class: OutletClass) -> Result<(), ProjectionError> {
        self.outlet_known(outlet)?;
        self.forget_catalog();
        self.write(
            "INSERT INTO outlet_class VALUES (?1, ?2) ON CONFLICT DO UPDATE SET class = excluded.class",
            params![outlet.get(), class.get()],
        )
    }

    fn define_node(&mut self, node: NodeId, name: &str, prefectures: &[PrefectureCode]) -> Result<(), ProjectionError> {
        let mut codes: Vec<String> = prefectures.iter().map(PrefectureCode::to_string).collect();
        codes.sort_unstable();
        self.write(
            "INSERT INTO node VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET name = excluded.name, prefectures = excluded.prefectures",
            params![node.get(), name, codes.join(",")],
        )
    }

    fn define_terminal(
        &mut self,
        id: TerminalId,
        node: NodeId,
        kind: i64,
        key: &[u8; 32],
    ) -> Result<(), ProjectionError> {
        self.outlet_known(id.outlet())?;
        // A device that was put out of use comes back only by another key.
        self.write(
            "DELETE FROM terminal_revoked WHERE terminal = ?1 AND NOT EXISTS \
             (SELECT 1 FROM terminal WHERE terminal = ?1 AND public_key = ?2)",
            params![id.get() as i64, key],
        )?;
        self.write(
            "INSERT INTO terminal VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET node = excluded.node, \
             kind = excluded.kind, public_key = excluded.public_key",
            params![id.get() as i64, id.outlet().get(), node.get(), kind, key],
        )
    }

    fn define_operator(
        &mut self,
        id: OperatorId,
        node: NodeId,
        name: &str,
        role: i64,
        password_hash: &str,
    ) -> Result<(), ProjectionError> {
        self.outlet_known(id.outlet())?;
        self.write("DELETE FROM operator_disabled WHERE operator = ?1", [id.get() as i64])?;
        self.write(
            "INSERT INTO operator VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET node = excluded.node, \
             name = excluded.name, role = excluded.role, password_hash = excluded.password_hash",
            params![id.get() as i64, id.outlet().get(), node.get(), name, role, password_hash],
        )
    }

    fn define_game(
        &mut self,
        game: GameCode,
        name: &str,
        price: Money,
        shares: &SaleShares,
        [outlet_limit, city_limit]: [Money; 2],
    ) -> Result<(), ProjectionError> {
        self.forget_catalog();
        self.write(
            "INSERT INTO game VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET name = excluded.name, \
             price_fen = excluded.price_fen, prize_fund_ppm = excluded.prize_fund_ppm, \
             welfare_fund_ppm = excluded.welfare_fund_ppm, commission_ppm = excluded.commission_ppm, \
             outlet_limit_fen = excluded.outlet_limit_fen, city_limit_fen = excluded.city_limit_fen",
            params![
                game.packed(),
                name,
                price.fen(),
                shares.prize_fund.get(),
                shares.welfare_fund.get(),
                shares.commission.get(),
                outlet_limit.fen(),
                city_limit.fen()
            ],
        )
    }

    fn define_batch(&mut self, facts: &BatchFacts) -> Result<(), ProjectionError> {
        if self.game(facts.game)?.is_none() {
            return Err(ProjectionError::Unknown { kind: "game", key: i64::from(facts.game.packed()) });
        }
        if self.batch(facts.batch)?.is_some() {
            return Err(ProjectionError::Contradiction("the batch is already defined"));
        }
        self.forget_catalog();
        self.write(
            "INSERT INTO batch VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL)",
            params![
                facts.batch.get(),
                facts.game.packed(),
                facts.code.get(),
                facts.tickets_per_pack,
                facts.packs_per_case,
                facts.packs,
                facts.print_completed_on.number(),
                facts.package_hash,
                SaleState::Imported as i64
            ],
        )?;
        for line in &facts.levels {
            self.write(
                "INSERT INTO prize_level VALUES (?1, ?2, ?3, ?4)",
                params![facts.batch.get(), line.level, line.amount.fen(), line.ticket_count],
            )?;
        }
        Ok(())
    }

    pub(super) fn outlet_known(&mut self, outlet: OutletId) -> Result<super::OutletRow, ProjectionError> {
        let unknown = ProjectionError::Unknown { kind: "outlet", key: i64::from(outlet.get()) };
        self.outlet(outlet)?.ok_or(unknown)
    }

    pub(super) fn write(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), ProjectionError> {
        self.store.prepare_cached(sql)?.execute(params)?;
        Ok(())
    }
}
