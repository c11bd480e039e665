//! Defining divisions, nodes, outlets, terminals, operators, games. A later definition replaces the earlier one where
//! nothing that has happened depends on what it changes.

use std::collections::BTreeMap;

use jikai_schema::command::{Outcome, Refusal};
use jikai_schema::event::{EventBody, MasterEvent};
use jikai_schema::id::{GameCode, NodeId, OutletId, PrefectureCode};
use jikai_schema::money::{Money, SaleShares};
use jikai_schema::rules::OUTLET_PRIZE_FEN_MAX;
use jikai_schema::staff::is_hidden;

use super::error::Stop;
use super::subject::{Subject, nodes};
use super::{Machine, NAME_BYTES_MAX, Stamp, exists_with_other, rule, unknown};

/// Dearest ticket: 10,000 yuan, far from any overflow of a pack's face value.
const PRICE_FEN_MAX: i64 = 1_000_000;
/// Longest password hash.
const PASSWORD_HASH_BYTES_MAX: usize = 512;
/// Most prefectures of one node.
const PREFECTURES_MAX: usize = 64;

/// Definitions of the same command that were checked already: later ones may refer to them.
#[derive(Default)]
struct Checked {
    definitions: BTreeMap<Subject, MasterEvent>,
    changed: Vec<Subject>,
    existing: u64,
}

impl Machine<'_> {
    /// Checks every definition, in order, against the state and those before it: its values, then what it refers to,
    /// then whether it may replace the one in force. All are written, or none.
    pub(super) fn define_master(&mut self, stamp: Stamp<'_>, definitions: &[MasterEvent]) -> Result<Outcome, Stop> {
        let mut checked = Checked::default();
        for definition in definitions {
            let Some(subject) = Subject::of(definition) else {
                return Err(
                    rule("not_master_data", "batches are imported, opened and closed by their own commands").into()
                );
            };
            let definition = self.check_definition(&checked, definition)?;
            if let Some(before) = checked.definitions.get(&subject) {
                if *before != definition {
                    return Err(exists_with_other(subject.kind(), subject.id()).into());
                }
                checked.existing += 1;
                continue;
            }
            match self.defined(subject)? {
                Some(current) if current == definition => checked.existing += 1,
                Some(current) => {
                    self.check_replacing(&current, &definition)?;
                    checked.changed.push(subject);
                }
                None => checked.changed.push(subject),
            }
            checked.definitions.insert(subject, definition);
        }
        // After this point the command must succeed.
        let events = checked.changed.len() as u64;
        for subject in checked.changed {
            if let Some(definition) = checked.definitions.remove(&subject) {
                self.emit(stamp, EventBody::Master(definition))?;
            }
        }
        Ok(Outcome::Done { events, existing: checked.existing })
    }

    /// The definition as it will be written: the node that serves an outlet follows from its prefecture.
    fn check_definition(&mut self, checked: &Checked, definition: &MasterEvent) -> Result<MasterEvent, Stop> {
        let mut definition = definition.clone();
        match &mut definition {
            MasterEvent::DivisionDefined { code, name, parent } => {
                self.check_division(checked, *code, name, *parent)?
            }
            MasterEvent::NodeDefined { node, name, prefectures } => {
                prefectures.sort_unstable();
                self.check_node(checked, *node, name, prefectures)?;
            }
            MasterEvent::OutletDefined { outlet, node, township, name, .. } => {
                check_name("outlet", name)?;
                self.check_township(checked, *outlet, *township)?;
                // One that is there stays where it is: only a handoff moves it.
                *node = match self.projection.outlet(*outlet)? {
                    Some(row) => row.node,
                    None => self.node_serving(checked, outlet.prefecture())?,
                };
            }
            MasterEvent::TerminalDefined { terminal, node, .. } => {
                *node = self.node_of_outlet(checked, terminal.outlet())?;
            }
            MasterEvent::OperatorDefined { operator, node, name, password_hash, .. } => {
                check_operator(name, password_hash)?;
                *node = self.node_of_outlet(checked, operator.outlet())?;
            }
            MasterEvent::GameDefined { .. } => check_game(&definition)?,
            MasterEvent::BatchDefined(_)
            | MasterEvent::BatchSaleChanged { .. }
            | MasterEvent::RedemptionEndAnnounced { .. }
            | MasterEvent::OutletClassified { .. } => {}
        }
        Ok(definition)
    }

    fn check_division(&mut self, checked: &Checked, code: u32, name: &str, parent: u32) -> Result<(), Stop> {
        check_name("division", name)?;
        let expected = match code {
            1000..=9999 => 0,
            100_000..=999_999 => code / 100,
            100_000_000..=999_999_999 => code / 1000,
            _ => return Err(rule("invalid_division", format!("{code} has neither 4, 6 nor 9 digits")).into()),
        };
        if parent != expected {
            return Err(rule("invalid_division", format!("division {code} lies in {expected}, not in {parent}")).into());
        }
        if parent != 0 {
            self.check_division_known(checked, parent)?;
        }
        Ok(())
    }

    fn check_division_known(&mut self, checked: &Checked, code: u32) -> Result<(), Stop> {
        let subject = Subject::Division(code);
        if checked.definitions.contains_key(&subject) || self.defined(subject)?.is_some() {
            return Ok(());
        }
        Err(unknown("division", code).into())
    }

    fn check_township(&mut self, checked: &Checked, outlet: OutletId, township: u32) -> Result<(), Stop> {
        if !(100_000_000..=999_999_999).contains(&township) {
            return Err(rule("invalid_township", format!("township {township} does not have 9 digits")).into());
        }
        self.check_division_known(checked, township)?;
        if township / 100_000 != u32::from(outlet.prefecture().get()) {
            let text = format!("outlet {outlet} cannot lie in township {township} of another prefecture");
            return Err(rule("outlet_outside_prefecture", text).into());
        }
        Ok(())
    }

    fn check_node(
        &mut self,
        checked: &Checked,
        node: NodeId,
        name: &str,
        prefectures: &[PrefectureCode],
    ) -> Result<(), Stop> {
        check_name("node", name)?;
        if node.is_hub() {
            return Err(rule("invalid_node", "node 0 is the hub").into());
        }
        self.check_not_retired(node)?;
        let distinct = prefectures.windows(2).all(|pair| pair[0] != pair[1]);
        if prefectures.len() > PREFECTURES_MAX || !distinct {
            return Err(rule("invalid_prefectures", "a node serves at most 64 prefectures, each named once").into());
        }
        for prefecture in prefectures {
            if let Some(other) = self.find_node(checked, *prefecture)?
                && other != node
            {
                let text = format!("prefecture {prefecture} is served by node {other}");
                return Err(rule("prefecture_taken", text).into());
            }
        }
        Ok(())
    }

    fn find_node(&mut self, checked: &Checked, prefecture: PrefectureCode) -> Result<Option<NodeId>, Stop> {
        let serves = |definition: &MasterEvent| match definition {
            MasterEvent::NodeDefined { node, prefectures, .. } if prefectures.contains(&prefecture) => Some(*node),
            _ => None,
        };
        if let Some(node) = checked.definitions.values().find_map(serves) {
            return Ok(Some(node));
        }
        Ok(nodes(self.tx)?.iter().find_map(serves))
    }

    fn node_serving(&mut self, checked: &Checked, prefecture: PrefectureCode) -> Result<NodeId, Stop> {
        let none = rule("prefecture_unserved", format!("no node serves prefecture {prefecture}: register it first"));
        self.find_node(checked, prefecture)?.ok_or_else(|| none.into())
    }

    fn node_of_outlet(&mut self, checked: &Checked, outlet: OutletId) -> Result<NodeId, Stop> {
        if let Some(MasterEvent::OutletDefined { node, .. }) = checked.definitions.get(&Subject::Outlet(outlet)) {
            return Ok(*node);
        }
        let row = self.projection.outlet(outlet)?.ok_or_else(|| unknown("outlet", outlet))?;
        Ok(row.node)
    }

    /// What happened already rests on a game's money and on the prefectures of a node with outlets.
    fn check_replacing(&mut self, current: &MasterEvent, new: &MasterEvent) -> Result<(), Stop> {
        match (current, new) {
            (
                MasterEvent::GameDefined { game, price, shares, .. },
                MasterEvent::GameDefined { price: new_price, shares: new_shares, .. },
            ) if (price, shares) != (new_price, new_shares) && self.has_batches(*game)? => {
                Err(exists_with_other("game", game).into())
            }
            (
                MasterEvent::NodeDefined { node, prefectures, .. },
                MasterEvent::NodeDefined { prefectures: new_prefectures, .. },
            ) => {
                for left in prefectures.iter().filter(|code| !new_prefectures.contains(code)) {
                    if self.has_outlets(*left)? {
                        return Err(exists_with_other("node", node).into());
                    }
                }
                Ok(())
            }
            // A device's key and a person's password are not replaced by a list: an old one would let in whom it kept out.
            (
                MasterEvent::TerminalDefined { terminal, public_key, .. },
                MasterEvent::TerminalDefined { public_key: other, .. },
            ) if public_key != other => Err(exists_with_other("terminal", terminal).into()),
            (
                MasterEvent::OperatorDefined { operator, password_hash, .. },
                MasterEvent::OperatorDefined { password_hash: other, .. },
            ) if password_hash != other || self.projection.is_disabled(*operator)? => {
                Err(exists_with_other("operator", operator).into())
            }
            _ => Ok(()),
        }
    }

    fn has_batches(&self, game: GameCode) -> Result<bool, Stop> {
        let sql = "SELECT EXISTS (SELECT 1 FROM batch WHERE game = ?1)";
        Ok(self.tx.prepare_cached(sql)?.query_row([game.packed()], |row| row.get(0))?)
    }

    fn has_outlets(&self, prefecture: PrefectureCode) -> Result<bool, Stop> {
        let first = u32::from(prefecture.get()) * 10_000;
        let sql = "SELECT EXISTS (SELECT 1 FROM outlet WHERE outlet BETWEEN ?1 AND ?2)";
        Ok(self.tx.prepare_cached(sql)?.query_row((first, first + 9_999), |row| row.get(0))?)
    }
}

/// Checks what is kept of a person of an outlet.
pub(super) fn check_operator(name: &str, password_hash: &str) -> Result<(), Refusal> {
    check_name("operator", name)?;
    if !password_hash.starts_with("$argon2id$") || password_hash.len() > PASSWORD_HASH_BYTES_MAX {
        return Err(rule("invalid_password_hash", "a password hash is an argon2id PHC string"));
    }
    Ok(())
}

fn check_name(kind: &str, name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(is_hidden) {
        return Err(rule(
            "invalid_name",
            format!("the name of a {kind} has 1 to {NAME_BYTES_MAX} bytes on one line, nothing hidden"),
        ));
    }
    Ok(())
}

/// Refuses a game that nobody could sell. Anything else than a game passes.
pub(super) fn check_game(definition: &MasterEvent) -> Result<(), Refusal> {
    let MasterEvent::GameDefined { name, price, shares, outlet_limit, city_limit, .. } = definition else {
        return Ok(());
    };
    check_name("game", name)?;
    if !price.is_positive() || price.fen() > PRICE_FEN_MAX {
        return Err(rule("invalid_price", "the price of a ticket is above 0 and at most 10000 yuan"));
    }
    if SaleShares::new(shares.prize_fund, shares.welfare_fund, shares.commission).is_none() {
        return Err(rule("invalid_shares", "the shares leave an issue fee that does not pay the commission"));
    }
    // Above it tax is due, which only the centre withholds.
    if *outlet_limit < Money::ZERO || city_limit < outlet_limit || outlet_limit.fen() > OUTLET_PRIZE_FEN_MAX {
        return Err(rule("invalid_limits", "0 ≤ limit of an outlet ≤ 10000.00 yuan and the limit of a city centre"));
    }
    Ok(())
}
