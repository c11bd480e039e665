//! A terminal that lives a believable day and checks every answer against what it knows.

mod claims;
mod line;
mod lookups;
mod losses;
mod mix;
mod moves;
mod packs;
mod patience;
mod sales;
mod shelf;
mod street;
mod tally;
#[cfg(test)]
mod tests;
mod turnover;
mod way;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use line::{Answer, Credentials, Line, text};
pub use losses::{Change, Losses};
pub use mix::{Doing, Mix, Pace};
pub use shelf::{PackState, Shelf, Ticket};
pub use street::Street;
pub use tally::{Outcome, Tally, latencies, locked};
pub use turnover::Turnover;
pub use way::Way;

use crate::client::{Call, Reply};
use crate::journal::{Entry, Item, Journal, Verb, request_hex};
use crate::seed::Dice;
use crate::world::Role;

/// Everything that one terminal is made of.
pub struct Actor {
    /// Its line to the node.
    pub line: Line,
    /// The outlets of this process, its own among them.
    pub street: Arc<Street>,
    /// Index of its outlet.
    pub outlet: usize,
    /// Its node.
    pub node: u16,
    /// Who works here.
    pub role: Role,
    /// Where acknowledged mutations are written down.
    pub journal: Journal,
    /// Where operations are counted.
    pub tally: Arc<Tally>,
    /// What it does how often.
    pub mix: Arc<Mix>,
    /// Its own luck.
    pub dice: Dice,
    /// Makes keys of this run different from those of any other.
    pub run_id: Arc<str>,
    /// Mutations so far.
    pub serial: u64,
    /// A mutation that was acknowledged and shall be sent again.
    pub echo: Option<Acked>,
    /// The newest acknowledged mutation.
    pub newest: Option<Acked>,
}

/// An acknowledged mutation, to be sent again.
#[derive(Debug, Clone)]
pub struct Acked {
    /// Outages that the line had seen by then.
    outages: u64,
    /// When. Unix ms.
    at_ms: i64,
    /// By which node.
    node: u16,
    call: Call,
    reply: Reply,
}

/// When and how fast a terminal works.
#[derive(Debug, Clone, Copy)]
pub struct Shift {
    /// Begin of the load.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
    /// Overall pace.
    pub pace: Pace,
    /// Terminals that share the pace.
    pub terminal_count: usize,
}

impl Actor {
    /// Works until the shift ends or `stop` is cancelled.
    pub async fn work(mut self, shift: Shift, stop: CancellationToken) {
        let gap_us = shift.pace.mean_gap(shift.terminal_count).as_micros() as f64;
        let mut intended = shift.from;
        loop {
            intended += Duration::from_micros(self.dice.exponential_us(gap_us));
            if shift.pace == Pace::Max {
                intended = Instant::now().max(shift.from);
            }
            let waited = tokio::select! {
                () = tokio::time::sleep_until(intended.min(shift.to)) => true,
                () = stop.cancelled() => false,
            };
            if !waited || Instant::now() >= shift.to {
                return;
            }
            if self.dice.chance(self.mix.drop_connection) {
                self.line.drop_connection();
            }
            let doing = self.mix.draw(&mut self.dice);
            let began_ms = now_ms();
            let outcome = self.perform(doing).await;
            let outcome = self.excuse(outcome, began_ms);
            self.tally.count(outcome, intended.elapsed());
            self.repeat_on_purpose().await;
        }
    }

    /// Does one thing; what is impossible now is replaced by the next best.
    pub async fn perform(&mut self, doing: Doing) -> Outcome {
        let done = match doing {
            Doing::Receive => self.receive().await,
            Doing::Return => self.give_back().await,
            Doing::Sell => self.sell().await,
            Doing::Inquire => self.inquire().await,
            Doing::Pay => self.pay().await,
            Doing::Mistype => self.mistype().await,
            Doing::Stock => Some(self.look_at_stock().await),
            Doing::Packs => Some(self.list_packs().await),
            Doing::Account => Some(self.look_at_account().await),
            // The statement is the owner's: it shows deposits.
            Doing::Entries if self.role == Role::Owner => Some(self.read_statement().await),
            Doing::Entries => Some(self.look_at_account().await),
            Doing::Sales => Some(self.look_at_sales().await),
        };
        match done {
            Some(outcome) => outcome,
            None => self.do_next_best(doing).await,
        }
    }

    /// Without tickets: check in. Without a customer: sell. Without anything: look.
    async fn do_next_best(&mut self, instead_of: Doing) -> Outcome {
        if !matches!(instead_of, Doing::Receive | Doing::Return | Doing::Sell)
            && let Some(outcome) = self.sell().await
        {
            return outcome;
        }
        let is_broke = self.street.shelf(self.outlet).is_broke;
        if instead_of != Doing::Receive
            && !is_broke
            && let Some(outcome) = self.receive().await
        {
            return outcome;
        }
        self.list_packs().await
    }

    /// Sends one mutation. `Err` is a failure that nobody can resolve.
    async fn mutate(&mut self, path: &str, body: &Value) -> Result<(Call, Answer)> {
        self.serial += 1;
        let key = format!("{}-{}-{:06}", self.run_id, self.line.credentials().terminal_id, self.serial);
        let call = Call::mutation(path, body, key);
        let answer = self.line.ask(&call).await?;
        Ok((call, answer))
    }

    /// Writes an acknowledged mutation down; plans to send it again now and then, and always when a try was lost.
    async fn acknowledge(&mut self, verb: Verb, call: Call, answer: Answer, items: Vec<Item>) -> Outcome {
        let Answer { reply, was_in_doubt, perhaps_done_at } = answer;
        let credentials = self.line.credentials();
        let key = call.key.clone().unwrap_or_default();
        let (at_ms, node, outages) = (now_ms(), self.line.node(), self.line.outages());
        let entry = Entry {
            at_ms,
            node,
            perhaps_done_at,
            terminal: credentials.terminal_id.clone(),
            outlet: credentials.outlet_id.clone(),
            verb,
            request: request_hex(&credentials.terminal_id, &key),
            key,
            status: reply.status,
            items,
        };
        if let Err(error) = self.journal.record(entry).await {
            return Outcome::Failed(format!("{error:#}"));
        }
        let acked = Acked { outages, at_ms, node, call, reply };
        if self.dice.chance(self.mix.resend) || was_in_doubt {
            self.echo = Some(acked.clone());
        }
        // One from before an outage stays until it was confirmed.
        if self.newest.as_ref().is_none_or(|newest| newest.outages == outages) {
            self.newest = Some(acked);
        }
        Outcome::Acked
    }

    /// Sends a planned repeat.
    async fn repeat_on_purpose(&mut self) {
        if let Some(acked) = self.echo.take() {
            self.repeat(acked).await;
        }
        self.confirm_newest().await;
    }

    /// Behind an outage the newest mutation that was acknowledged before it is sent again: the node may have been killed in
    /// between, and must answer as before.
    async fn confirm_newest(&mut self) {
        let outages = self.line.outages();
        if let Some(acked) = self.newest.take_if(|newest| newest.outages != outages) {
            self.tally.confirmed.fetch_add(1, Ordering::Relaxed);
            self.repeat(acked).await;
        }
    }

    /// Sends a mutation again and demands the identical reply, unless the node that gave it lost its disk: then it does it anew or refuses,
    /// by what it still knows.
    async fn repeat(&mut self, acked: Acked) {
        let Acked { at_ms, node, call, reply: first, .. } = acked;
        let started = Instant::now();
        let outcome = match self.line.ask(&call).await {
            Ok(Answer { reply, .. }) if reply.status == first.status && reply.json() == first.json() => return,
            Ok(Answer { reply, .. }) if reply.status < 500 && self.street.losses.doubt(node, at_ms) => return,
            Ok(Answer { reply, .. }) => {
                self.contradiction(&format!("repeat of {}: {} instead of {}", call.path, text(&reply), text(&first)))
            }
            Err(error) => Outcome::Failed(format!("repeat of {}: {error:#}", call.path)),
        };
        self.tally.count(outcome, started.elapsed());
    }

    /// An answer that contradicts what was known is right where the node lost its disk meanwhile. No answer at all is not.
    fn excuse(&self, outcome: Outcome, began_ms: i64) -> Outcome {
        let is_crossed =
            || self.line.was_answered() && self.street.losses.crossed(self.line.node(), began_ms, now_ms());
        match outcome {
            Outcome::Failed(_) if is_crossed() => {
                self.street.shelf(self.outlet).lose_count();
                Outcome::Refused("store_replaced".to_owned())
            }
            outcome => outcome,
        }
    }

    /// A failure, with who met it.
    fn contradiction(&self, what: &str) -> Outcome {
        Outcome::Failed(format!("{} at node {}: {what}", self.line.credentials().terminal_id, self.line.node()))
    }

    /// A refusal, if its code is one of `allowed`; otherwise a failure.
    fn refusal(&self, doing: &str, reply: &Reply, allowed: &[&str]) -> Outcome {
        let problem = reply.json();
        match problem["code"].as_str() {
            Some(code) if (400..500).contains(&reply.status) && allowed.contains(&code) => {
                Outcome::Refused(code.to_owned())
            }
            _ => self.contradiction(&format!("{doing} was answered with {}: {}", reply.status, text(reply))),
        }
    }
}

/// Now. Unix ms.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
