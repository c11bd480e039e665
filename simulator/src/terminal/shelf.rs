//! What an outlet knows of its own packs, tickets and money: enough to predict every answer.

use std::collections::{HashMap, HashSet};

use super::losses::{Change, Recent};
use super::turnover::Turnover;
use crate::printer::{Pools, Position};
use crate::world::Consigned;

/// Where a pack is, as far as the outlet knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackState {
    /// Sent, not checked in.
    InTransit,
    /// On sale.
    Active,
    /// Sent back.
    Returned,
    /// A request about it is on its way, or was never answered.
    Unsure,
}

/// One pack of the outlet.
#[derive(Debug)]
pub struct ShelfPack {
    /// Which pack.
    pub consigned: Consigned,
    /// Where it is.
    pub state: PackState,
    /// Tickets below are sold or being sold.
    pub next_ticket: u16,
    /// Sold, not scratched yet.
    pub open: Vec<u16>,
    /// Found to be winners by an inquiry, not paid yet.
    pub winners: Vec<u16>,
    /// Paid, and by which outlet.
    pub paid: HashMap<u16, usize>,
    /// Two outlets may be paying it at once, or a payment was never answered: any answer about payment is right.
    pub contested: HashSet<u16>,
    /// A right code of it may have been presented before anything was sold: it does not go back any more.
    pub is_scratched: bool,
    /// A wrong code was presented once; never again, for five lock the ticket.
    pub mistyped: HashSet<u16>,
}

/// The ticket of a shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Index of the pack on its shelf.
    pub pack: usize,
    /// Index of the game.
    pub game: usize,
    /// Where it was printed.
    pub at: Position,
}

/// The packs of one outlet and its money.
#[derive(Debug)]
pub struct Shelf {
    /// Index of the outlet.
    pub outlet: usize,
    /// All packs sent to it.
    pub packs: Vec<ShelfPack>,
    /// Fen. `None` once a request about money was never answered.
    pub balance_fen: Option<i64>,
    /// What was turned over. `None` once a request that counts was never answered.
    pub turnover: Option<Turnover>,
    /// Whether only one terminal works here, so that the balance is known at any moment.
    pub is_alone: bool,
    /// The last check-in was refused for lack of money.
    pub is_broke: bool,
    /// What acknowledgements changed lately.
    pub recent: Recent,
}

impl Shelf {
    /// The shelf before the day begins.
    pub fn new(outlet: usize, consigned: Vec<Consigned>, deposit_fen: i64, is_alone: bool) -> Self {
        let pack = |consigned| ShelfPack {
            consigned,
            state: PackState::InTransit,
            next_ticket: 0,
            open: Vec::new(),
            winners: Vec::new(),
            paid: HashMap::new(),
            contested: HashSet::new(),
            is_scratched: false,
            mistyped: HashSet::new(),
        };
        let packs = consigned.into_iter().map(pack).collect();
        let turnover = Some(Turnover::default());
        let recent = Recent::default();
        Shelf { outlet, packs, balance_fen: Some(deposit_fen), turnover, is_alone, is_broke: false, recent }
    }

    /// A ticket of a pack.
    pub fn ticket(&self, pack: usize, ticket: u16) -> Ticket {
        let consigned = self.packs[pack].consigned;
        Ticket { pack, game: consigned.game, at: Position { pack: consigned.pack, ticket } }
    }

    /// Packs in a state.
    pub fn count(&self, state: PackState) -> usize {
        self.packs.iter().filter(|pack| pack.state == state).count()
    }

    /// The balance, where it can be told exactly.
    pub fn certain_balance_fen(&self) -> Option<i64> {
        self.balance_fen.filter(|_| self.is_alone)
    }

    /// The turnover, where it can be told exactly.
    pub fn certain_turnover(&self) -> Option<Turnover> {
        self.turnover.filter(|_| self.is_alone)
    }

    /// Adds to the turnover, if it is still known.
    pub fn turn_over(&mut self, more: &Turnover) {
        if let Some(turnover) = &mut self.turnover {
            turnover.add(more);
        }
    }

    /// A request about money was never answered.
    pub fn lose_count(&mut self) {
        self.balance_fen = None;
        self.turnover = None;
    }

    /// The node lost its disk: what it acknowledged since then may be gone. Whatever it would answer about that is right from now on.
    pub fn doubt(&mut self, node: u16, since_ms: i64) {
        let changes = self.recent.take_since(node, since_ms);
        if changes.is_empty() {
            return;
        }
        self.lose_count();
        self.is_broke = false;
        for change in changes {
            match change {
                Change::Packs(packs) => self.settle(&packs, PackState::Unsure),
                Change::Paid { pack, ticket } => {
                    let pack = &mut self.packs[pack];
                    pack.paid.remove(&ticket);
                    pack.contested.insert(ticket);
                }
                Change::Turnover => {}
            }
        }
    }

    /// Moves money, if the balance is still known.
    pub fn post(&mut self, amount_fen: i64) {
        self.balance_fen = self.balance_fen.map(|balance_fen| balance_fen + amount_fen);
    }

    /// Begins to check in the first consignment that still travels. All its packs become unsure. The flag tells whether
    /// it is the whole consignment.
    pub fn begin_receive(&mut self) -> Option<(u64, Vec<usize>, bool)> {
        let shipment = self.packs.iter().find(|pack| pack.state == PackState::InTransit)?.consigned.shipment;
        let (mut taken, mut is_whole) = (Vec::new(), true);
        for (index, pack) in self.packs.iter_mut().enumerate().filter(|(_, pack)| pack.consigned.shipment == shipment) {
            if pack.state == PackState::InTransit {
                pack.state = PackState::Unsure;
                taken.push(index);
            } else {
                is_whole = false;
            }
        }
        Some((shipment, taken, is_whole))
    }

    /// Begins to send back a pack that nobody has touched.
    pub fn begin_return(&mut self) -> Option<usize> {
        let untouched = |pack: &ShelfPack| {
            pack.state == PackState::Active
                && pack.next_ticket == 0
                && !pack.is_scratched
                && pack.paid.is_empty()
                && pack.contested.is_empty()
        };
        let index = self.packs.iter().position(untouched)?;
        self.packs[index].state = PackState::Unsure;
        Some(index)
    }

    /// Puts packs into a state.
    pub fn settle(&mut self, packs: &[usize], state: PackState) {
        for &index in packs {
            self.packs[index].state = state;
        }
    }

    /// Takes up to `wanted` tickets off the pack on sale.
    pub fn begin_sale(&mut self, wanted: u16, pools: &Pools) -> Option<Vec<Ticket>> {
        let size = |pack: &ShelfPack| pools.0[pack.consigned.game].game.tickets_per_pack;
        let has_tickets = |pack: &ShelfPack| pack.state == PackState::Active && pack.next_ticket < size(pack);
        let index = self.packs.iter().position(has_tickets)?;
        let pack = &mut self.packs[index];
        let first = pack.next_ticket;
        pack.next_ticket = first.saturating_add(wanted).min(size(pack));
        Some((first..self.packs[index].next_ticket).map(|ticket| self.ticket(index, ticket)).collect())
    }

    /// The first ticket of a pack that still travels. The pack may be checked in before the question arrives, and is scratched then.
    pub fn take_travelling(&mut self) -> Option<Ticket> {
        let index = self.packs.iter().position(|pack| pack.state == PackState::InTransit)?;
        self.packs[index].is_scratched = true;
        Some(self.ticket(index, 0))
    }

    /// A sold ticket that is not scratched yet, the oldest first from the last pack that has one.
    pub fn take_open(&mut self) -> Option<Ticket> {
        let index = self.packs.iter().rposition(|pack| pack.state == PackState::Active && !pack.open.is_empty())?;
        let ticket = self.packs[index].open.swap_remove(0);
        Some(self.ticket(index, ticket))
    }

    /// A ticket known to have won.
    pub fn take_winner(&mut self) -> Option<Ticket> {
        let index = self.packs.iter().rposition(|pack| pack.state == PackState::Active && !pack.winners.is_empty())?;
        let ticket = self.packs[index].winners.pop()?;
        Some(self.ticket(index, ticket))
    }

    /// A ticket known to have won, left where it is: from now on two outlets fight for it.
    pub fn contest_winner(&mut self) -> Option<Ticket> {
        let index = self.packs.iter().rposition(|pack| pack.state == PackState::Active && !pack.winners.is_empty())?;
        let ticket = *self.packs[index].winners.last()?;
        self.packs[index].contested.insert(ticket);
        Some(self.ticket(index, ticket))
    }

    /// A ticket that was paid before.
    pub fn find_paid(&self) -> Option<Ticket> {
        let (index, pack) = self.packs.iter().enumerate().find(|(_, pack)| !pack.paid.is_empty())?;
        pack.paid.keys().min().map(|&ticket| self.ticket(index, ticket))
    }

    /// Answers about a ticket that agree with what the outlet knows, when `asking` asks; empty when any may be right.
    pub fn expected(&self, ticket: Ticket, asking: usize, pools: &Pools) -> Vec<&'static str> {
        let pack = &self.packs[ticket.pack];
        match pack.state {
            PackState::Unsure => return Vec::new(),
            PackState::InTransit => return vec!["pack_not_checked_in"],
            PackState::Returned => return vec!["pack_returned"],
            PackState::Active => {}
        }
        if pack.contested.contains(&ticket.at.ticket) {
            return vec!["won", "already_paid_here", "already_paid_elsewhere"];
        }
        match pack.paid.get(&ticket.at.ticket) {
            Some(&payer) if payer == asking => return vec!["already_paid_here"],
            Some(_) => return vec!["already_paid_elsewhere"],
            None => {}
        }
        vec![verdict_by_prize(pools.0[ticket.game].prize_fen(ticket.at))]
    }
}

/// The answer for a live ticket at an outlet, by its prize.
fn verdict_by_prize(prize_fen: i64) -> &'static str {
    const OUTLET_LIMIT_FEN: i64 = 1_000_000;
    const CITY_LIMIT_FEN: i64 = 5_000_000;
    match prize_fen {
        0 => "not_a_winner",
        prize if prize <= OUTLET_LIMIT_FEN => "won",
        prize if prize <= CITY_LIMIT_FEN => "go_to_city_centre",
        _ => "go_to_province_centre",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::tiny_game;
    use crate::seed::Seed;

    fn shelf() -> (Shelf, Pools) {
        let consigned = |pack, shipment| Consigned { game: 0, pack, shipment };
        let packs = vec![consigned(1, 1), consigned(2, 1), consigned(3, 2)];
        (Shelf::new(0, packs, 200_000, true), Pools::print(Seed(1), &[tiny_game()]).unwrap())
    }

    #[test]
    fn a_consignment_is_received_once() {
        let (mut shelf, _) = shelf();
        assert_eq!(shelf.begin_receive(), Some((1, vec![0, 1], true)));
        assert_eq!(shelf.begin_receive(), Some((2, vec![2], true)));
        assert_eq!(shelf.begin_receive(), None);
        shelf.settle(&[1], PackState::InTransit);
        assert_eq!(shelf.begin_receive(), Some((1, vec![1], false)));
    }

    #[test]
    fn tickets_are_sold_in_order_and_never_past_the_pack() {
        let (mut shelf, pools) = shelf();
        assert_eq!(shelf.begin_sale(5, &pools), None);
        shelf.settle(&[1], PackState::Active);
        let mut sold = Vec::new();
        while let Some(tickets) = shelf.begin_sale(4, &pools) {
            sold.extend(tickets.into_iter().map(|ticket| ticket.at.ticket));
        }
        assert_eq!(sold, (0..25).collect::<Vec<u16>>());
    }

    #[test]
    fn a_touched_pack_is_not_returned() {
        let (mut shelf, pools) = shelf();
        shelf.settle(&[0], PackState::Active);
        shelf.begin_sale(1, &pools);
        assert_eq!(shelf.begin_return(), None);
        assert_eq!(shelf.take_travelling().map(|ticket| ticket.pack), Some(1));
        shelf.settle(&[1], PackState::Active);
        assert_eq!(shelf.begin_return(), None, "its ticket was inquired");
        shelf.settle(&[2], PackState::Active);
        assert_eq!(shelf.begin_return(), Some(2));
    }

    #[test]
    fn every_answer_is_predicted() {
        let (mut shelf, pools) = shelf();
        let winner = (0..25).find(|&n| pools.0[0].level(Position { pack: 1, ticket: n }) > 0).unwrap();
        let loser = (0..25).find(|&n| pools.0[0].level(Position { pack: 1, ticket: n }) == 0).unwrap();
        let (winner, loser) = (shelf.ticket(0, winner), shelf.ticket(0, loser));
        assert_eq!(shelf.expected(winner, 0, &pools), ["pack_not_checked_in"]);
        shelf.settle(&[0], PackState::Active);
        assert_eq!(shelf.expected(winner, 0, &pools), ["won"]);
        assert_eq!(shelf.expected(loser, 0, &pools), ["not_a_winner"]);
        shelf.packs[0].paid.insert(winner.at.ticket, 0);
        assert_eq!(shelf.expected(winner, 0, &pools), ["already_paid_here"]);
        assert_eq!(shelf.expected(winner, 9, &pools), ["already_paid_elsewhere"]);
        shelf.settle(&[0], PackState::Returned);
        assert_eq!(shelf.expected(winner, 0, &pools), ["pack_returned"]);
        shelf.settle(&[0], PackState::Unsure);
        assert!(shelf.expected(winner, 0, &pools).is_empty());
    }

    #[test]
    fn what_a_node_alone_acknowledged_before_it_lost_its_disk_is_not_believed_and_the_rest_is() {
        let (mut shelf, pools) = shelf();
        let winner = (0..25).find(|&n| pools.0[0].level(Position { pack: 1, ticket: n }) > 0).unwrap();
        let ticket = shelf.ticket(0, winner);
        shelf.settle(&[0], PackState::Active);
        shelf.recent.note(10, 1, Change::Packs(vec![0]));
        shelf.settle(&[1], PackState::Active);
        shelf.recent.note(20, 1, Change::Packs(vec![1]));
        shelf.packs[0].paid.insert(winner, 0);
        shelf.recent.note(20, 1, Change::Paid { pack: 0, ticket: winner });
        shelf.doubt(2, 0);
        shelf.doubt(1, 30);
        assert_eq!((shelf.balance_fen, shelf.packs[1].state), (Some(200_000), PackState::Active));
        shelf.doubt(1, 20);
        assert_eq!(shelf.balance_fen, None);
        assert_eq!(shelf.packs[0].state, PackState::Active, "the hub had it before");
        assert_eq!(shelf.packs[1].state, PackState::Unsure);
        assert_eq!(shelf.expected(ticket, 0, &pools), ["won", "already_paid_here", "already_paid_elsewhere"]);
        assert_eq!(shelf.find_paid(), None, "whoever was paid does not come again");
    }

    #[test]
    fn prizes_above_the_limits_are_referred() {
        let verdicts = [0, 1_000_000, 1_000_100, 5_000_000, 5_000_100].map(verdict_by_prize);
        assert_eq!(
            verdicts,
            ["not_a_winner", "won", "go_to_city_centre", "go_to_city_centre", "go_to_province_centre"]
        );
    }
}
