//! What the nodes returned, back into the hub's log: every event at the position that it had.

use jikai_schema::codec;
use jikai_schema::command::Outcome;
use jikai_schema::event::{Actor, Audience, Event, EventBody, EventKey, HubEvent, MasterEvent, NodeEvent, PackEvent};
use jikai_schema::id::{MachineNo, NodeId};

use super::{NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState};
use crate::machine::error::Stop;
use crate::machine::{Machine, MachineRow, Stamp, StorageError, rule};

/// Most positions of one command.
const MERGED_EVENTS_MAX: u64 = 1_000;
/// Bytes of events after which a command ends.
const MERGED_BYTES_MAX: usize = 4 << 20;

/// What is taken for one position.
struct Chosen {
    bytes: Vec<u8>,
    /// Whether nodes had received different things.
    disputed: bool,
}

impl Machine<'_> {
    /// Checks: nobody is awaited any more; the command goes on where the log ends. It stops at a fact that rests on a node's log.
    pub(super) fn merge(&mut self, stamp: Stamp<'_>, row: &RecoveryRow, from_seq: u64) -> Result<Outcome, Stop> {
        if row.state != RecoveryState::Merging {
            return Err(rule("nodes_awaited", "nodes are still awaited").into());
        }
        if let Some(release) = row.release {
            return Err(rule("release_awaited", format!("the log of node {} is awaited", release.node)).into());
        }
        if from_seq != row.merged_seq + 1 {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        let last: i64 = self
            .tx
            .prepare_cached("SELECT coalesce(max(hub_seq), 0) FROM recovery_event")?
            .query_row([], |row| row.get(0))?;
        let last = (last as u64).max(row.merged_seq);
        // After this point the command must succeed.
        let mut merged = *row;
        let mut bytes_left = MERGED_BYTES_MAX;
        for seq in (from_seq..=last).take(MERGED_EVENTS_MAX as usize) {
            match self.chosen(seq)? {
                Some(Chosen { bytes, disputed }) => {
                    let event = codec::decode_event(&bytes).map_err(StorageError::from)?;
                    merged.release = self.rests_on(&event.body)?;
                    if merged.release.is_some() {
                        break;
                    }
                    bytes_left = bytes_left.saturating_sub(bytes.len());
                    let is_outvoted = self.is_outvoted(&event)?;
                    merged.conflicts += u64::from(disputed || is_outvoted);
                    if is_outvoted {
                        merged.lost += 1;
                        self.fill_gap(seq)?;
                    } else {
                        merged.recovered += 1;
                        self.put_back(&event, &bytes)?;
                    }
                }
                None => {
                    merged.lost += 1;
                    self.fill_gap(seq)?;
                }
            }
            merged.merged_seq = seq;
            if bytes_left == 0 {
                break;
            }
        }
        let done = "DELETE FROM recovery_event WHERE hub_seq <= ?1";
        self.tx.prepare_cached(done)?.execute([merged.merged_seq as i64])?;
        let update = "UPDATE recovery SET merged_seq = ?1, recovered = ?2, lost = ?3, conflicts = ?4, awaited_node = ?5, \
                      awaited_handoff = ?6";
        let (node, handoff) = merged.release.map(|release| (release.node.get(), release.handoff as i64)).unzip();
        let [merged_seq, recovered, lost, conflicts] =
            [merged.merged_seq, merged.recovered, merged.lost, merged.conflicts].map(|number| number as i64);
        self.tx.prepare_cached(update)?.execute((merged_seq, recovered, lost, conflicts, node, handoff))?;
        if merged.merged_seq >= last {
            self.end_recovery(stamp, &merged)?;
        }
        Ok(Outcome::Done { events: merged.merged_seq - row.merged_seq, existing: 0 })
    }

    /// What most nodes had received at a position; of two equally many the one that the lowest node had. What is for all nodes and
    /// missing at more of those whose feeds go on behind it than have it is taken for lost: one node's word does not make it.
    fn chosen(&self, seq: u64) -> Result<Option<Chosen>, StorageError> {
        let sql = "SELECT bytes, count(*), min(node) FROM recovery_event WHERE hub_seq = ?1 \
                   GROUP BY bytes ORDER BY count(*) DESC, min(node)";
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut rows = statement.query([seq as i64])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let bytes = row.get(0)?;
        Ok(Some(Chosen { bytes, disputed: rows.next()?.is_some() }))
    }

    /// Whether an event that is for all nodes is missing at more of them, of those whose feeds go on behind it, than have it.
    fn is_outvoted(&self, event: &Event) -> Result<bool, StorageError> {
        if event.body.audience() != Audience::All {
            return Ok(false);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM recovery_event WHERE node = ?1 AND hub_seq = ?2), \
                   EXISTS (SELECT 1 FROM recovery_event WHERE node = ?1 AND hub_seq > ?2)";
        let mut statement = self.tx.prepare_cached(sql)?;
        let (mut having, mut missing) = (0, 0);
        let seq = event.key.seq;
        let counts = |row: &&RecoveryNodeRow| row.state == NodeReturn::Returned || row.proven_seq >= seq;
        for row in RecoveryNodeRow::list(self.tx)?.iter().filter(counts) {
            let found = statement.query_row((row.node.get(), seq as i64), |row| Ok((row.get(0)?, row.get(1)?)))?;
            match found {
                (true, _) => having += 1,
                (false, true) => missing += 1,
                (false, false) => {}
            }
        }
        Ok(missing > having)
    }

    /// Puts an event back where it was, with the rows beside the tables that the command behind it had written. One that the
    /// tables refuse stands in the log all the same, and in quarantine.
    fn put_back(&mut self, event: &Event, bytes: &[u8]) -> Result<(), StorageError> {
        self.before_handoff(event)?;
        if let Some(reason) = self.project(event)? {
            let insert = "INSERT OR REPLACE INTO quarantine VALUES (0, ?1, ?2, ?3)";
            self.tx.prepare_cached(insert)?.execute((event.key.seq as i64, reason, bytes))?;
        } else {
            self.note_redefined(&event.body)?;
            self.follow_up(&event.body)?;
        }
        self.at_ms = self.at_ms.max(event.at_ms);
        self.append(event, bytes)
    }

    fn follow_up(&mut self, body: &EventBody) -> Result<(), StorageError> {
        match body {
            EventBody::Pack(PackEvent::Shipped { pack, outlet, shipment, .. }) => {
                self.tx.prepare_cached("DELETE FROM warehouse WHERE pack = ?1")?.execute([pack.key()])?;
                let insert = "INSERT OR IGNORE INTO shipment VALUES (?1, ?2)";
                self.tx.prepare_cached(insert)?.execute((*shipment as i64, outlet.get()))?;
            }
            EventBody::Master(MasterEvent::BatchDefined(facts)) => {
                let insert = "INSERT OR IGNORE INTO batch_reservation VALUES (?1, ?2, ?3)";
                let row = (facts.batch.get(), facts.game.packed(), facts.code.get());
                self.tx.prepare_cached(insert)?.execute(row)?;
            }
            EventBody::Node(NodeEvent::Retired { node, .. }) => self.feeds.retire(*node),
            // The code that enrolled it is used up.
            EventBody::Master(MasterEvent::TerminalDefined { terminal, .. }) => {
                let delete = "DELETE FROM enrolment WHERE terminal = ?1";
                self.tx.prepare_cached(delete)?.execute([terminal.get() as i64])?;
            }
            EventBody::Handoff(event) => self.follow_up_handoff(event)?,
            EventBody::Hub(HubEvent::MachineDefined { machine, voter_only, .. }) => {
                let insert = "INSERT OR IGNORE INTO machine_number (machine, voter_only) VALUES (?1, ?2)";
                self.tx.prepare_cached(insert)?.execute((machine.get(), *voter_only))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Fills the place of an event that nobody had.
    fn fill_gap(&mut self, seq: u64) -> Result<(), StorageError> {
        let next = "SELECT min(hub_seq) FROM recovery_event WHERE hub_seq > ?1";
        let next: Option<i64> = self.tx.prepare_cached(next)?.query_row([seq as i64], |row| row.get(0))?;
        let to_seq = next.map_or(seq, |next| next as u64 - 1);
        // With the stamp of the one before: the next one that came back is not earlier, but may share it.
        let at_ms = self.at_ms;
        let key = EventKey { origin: NodeId::HUB, seq };
        let body = EventBody::Hub(HubEvent::EventsLost { from_seq: seq, to_seq });
        let event = Event { key, at_ms, actor: Actor::System, request: None, body };
        let bytes = codec::encode_event(&event)?;
        self.at_ms = at_ms;
        self.append(&event, &bytes)
    }

    /// All came back that can: the log grows again.
    fn end_recovery(&mut self, stamp: Stamp<'_>, row: &RecoveryRow) -> Result<(), Stop> {
        let nodes = RecoveryNodeRow::list(self.tx)?;
        for node in nodes.iter().filter(|node| node.state == NodeReturn::Returned) {
            if !self.has_its_feed(node)? {
                RecoveryNodeRow { state: NodeReturn::Differs, ..*node }.save(self.tx)?;
            }
        }
        self.tx.execute("UPDATE recovery SET state = 3", [])?;
        self.revoked = true;
        let machine = MachineNo::new(row.machine)
            .map_err(|_| StorageError::Damaged { table: "recovery", key: i64::from(row.machine) })?;
        self.emit(stamp, EventBody::Hub(HubEvent::GenerationRaised { generation: row.generation, machine }))?;
        let others = MachineRow::list(self.tx)?;
        self.retire_others(stamp, machine, &others)?;
        self.tell_met_stores(stamp, &nodes)?;
        self.complete_handoffs(stamp)?;
        let left_out = nodes.iter().filter(|node| node.state == NodeReturn::LeftOut).map(|node| node.node).collect();
        let &RecoveryRow { began_at_ms, recovered, lost, conflicts, .. } = row;
        let event = HubEvent::FeedRecovered { began_at_ms, recovered, lost, conflicts, left_out };
        Ok(self.emit(stamp, EventBody::Hub(event))?)
    }

    /// Whether what a node has received is a part of its feed as it was merged. The head is not written yet, its rows are.
    fn has_its_feed(&self, node: &RecoveryNodeRow) -> Result<bool, StorageError> {
        Ok(self.feed_chain(node.node, node.next_seq)? == Some(node.hash))
    }
}
