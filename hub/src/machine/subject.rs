//! What is defined now: each subject as the event that would define it, so that equal definitions are seen.

use jikai_schema::event::{MasterEvent, OperatorRole, OutletStatus, TerminalKind};
use jikai_schema::id::{GameCode, NodeId, OperatorId, OutletId, PrefectureCode, TerminalId};
use rusqlite::{Connection, OptionalExtension};

use super::{Machine, StorageError};

/// What a definition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Division(u32),
    Node(NodeId),
    Outlet(OutletId),
    Terminal(TerminalId),
    Operator(OperatorId),
    Game(GameCode),
}

impl Subject {
    /// The subject of a definition; `None` for facts about batches and classes, which have commands of their own.
    pub(super) fn of(definition: &MasterEvent) -> Option<Self> {
        match definition {
            MasterEvent::DivisionDefined { code, .. } => Some(Subject::Division(*code)),
            MasterEvent::NodeDefined { node, .. } => Some(Subject::Node(*node)),
            MasterEvent::OutletDefined { outlet, .. } => Some(Subject::Outlet(*outlet)),
            MasterEvent::TerminalDefined { terminal, .. } => Some(Subject::Terminal(*terminal)),
            MasterEvent::OperatorDefined { operator, .. } => Some(Subject::Operator(*operator)),
            MasterEvent::GameDefined { game, .. } => Some(Subject::Game(*game)),
            MasterEvent::BatchDefined(_)
            | MasterEvent::BatchSaleChanged { .. }
            | MasterEvent::RedemptionEndAnnounced { .. }
            | MasterEvent::OutletClassified { .. } => None,
        }
    }

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Subject::Division(_) => "division",
            Subject::Node(_) => "node",
            Subject::Outlet(_) => "outlet",
            Subject::Terminal(_) => "terminal",
            Subject::Operator(_) => "operator",
            Subject::Game(_) => "game",
        }
    }

    pub(super) fn id(self) -> String {
        match self {
            Subject::Division(code) => code.to_string(),
            Subject::Node(node) => node.to_string(),
            Subject::Outlet(outlet) => outlet.to_string(),
            Subject::Terminal(terminal) => terminal.to_string(),
            Subject::Operator(operator) => operator.to_string(),
            Subject::Game(game) => game.to_string(),
        }
    }
}

impl Machine<'_> {
    /// The definition in force; `None` where there is none.
    pub(super) fn defined(&mut self, subject: Subject) -> Result<Option<MasterEvent>, StorageError> {
        match subject {
            Subject::Division(code) => Ok(division(self.tx, code)?),
            Subject::Node(node) => Ok(nodes(self.tx)?
                .into_iter()
                .find(|defined| matches!(defined, MasterEvent::NodeDefined { node: defined, .. } if *defined == node))),
            Subject::Outlet(id) => outlet(self.tx, id),
            Subject::Terminal(id) => terminal(self.tx, id),
            Subject::Operator(id) => operator(self.tx, id),
            Subject::Game(game) => Ok(self.projection.game(game)?.map(|row| MasterEvent::GameDefined {
                game,
                name: row.name.clone(),
                price: row.price,
                shares: row.shares,
                outlet_limit: row.outlet_limit,
                city_limit: row.city_limit,
            })),
        }
    }
}

fn division(store: &Connection, code: u32) -> Result<Option<MasterEvent>, rusqlite::Error> {
    store
        .prepare_cached("SELECT name, parent FROM division WHERE code = ?1")?
        .query_row([code], |row| Ok(MasterEvent::DivisionDefined { code, name: row.get(0)?, parent: row.get(1)? }))
        .optional()
}

/// All nodes with the prefectures that they serve, ascending.
pub(super) fn nodes(store: &Connection) -> Result<Vec<MasterEvent>, StorageError> {
    let mut statement = store.prepare_cached("SELECT node, name, prefectures FROM node ORDER BY node")?;
    let mut rows = statement.query([])?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, name, codes): (u16, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let damaged = || StorageError::Damaged { table: "node", key: i64::from(number) };
        let node = NodeId::new(number).map_err(|_| damaged())?;
        // A node without prefectures gets its outlets by handoff.
        let codes = codes.split(',').filter(|code| !code.is_empty());
        let prefectures = codes.map(str::parse).collect::<Result<Vec<PrefectureCode>, _>>();
        nodes.push(MasterEvent::NodeDefined { node, name, prefectures: prefectures.map_err(|_| damaged())? });
    }
    Ok(nodes)
}

fn outlet(store: &Connection, outlet: OutletId) -> Result<Option<MasterEvent>, StorageError> {
    let row: Option<(u16, u32, String, i64)> = store
        .prepare_cached("SELECT node, township, name, status FROM outlet WHERE outlet = ?1")?
        .query_row([outlet.get()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((node, township, name, status)) = row else { return Ok(None) };
    let status = if status == 0 { OutletStatus::Active } else { OutletStatus::Suspended };
    let node = read_node(node, "outlet", i64::from(outlet.get()))?;
    Ok(Some(MasterEvent::OutletDefined { outlet, node, township, name, status }))
}

fn terminal(store: &Connection, terminal: TerminalId) -> Result<Option<MasterEvent>, StorageError> {
    let row: Option<(u16, i64, [u8; 32])> = store
        .prepare_cached("SELECT node, kind, public_key FROM terminal WHERE terminal = ?1")?
        .query_row([terminal.get() as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((node, kind, public_key)) = row else { return Ok(None) };
    let kind = match kind {
        0 => TerminalKind::Dedicated,
        1 => TerminalKind::Gun,
        _ => TerminalKind::Phone,
    };
    let node = read_node(node, "terminal", terminal.get() as i64)?;
    Ok(Some(MasterEvent::TerminalDefined { terminal, node, kind, public_key }))
}

fn operator(store: &Connection, operator: OperatorId) -> Result<Option<MasterEvent>, StorageError> {
    let row: Option<(u16, String, i64, String)> = store
        .prepare_cached("SELECT node, name, role, password_hash FROM operator WHERE operator = ?1")?
        .query_row([operator.get() as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((node, name, role, password_hash)) = row else { return Ok(None) };
    let role = if role == 0 { OperatorRole::Owner } else { OperatorRole::Clerk };
    let node = read_node(node, "operator", operator.get() as i64)?;
    Ok(Some(MasterEvent::OperatorDefined { operator, node, name, role, password_hash }))
}

fn read_node(number: u16, table: &'static str, key: i64) -> Result<NodeId, StorageError> {
    NodeId::new(number).map_err(|_| StorageError::Damaged { table, key })
}
