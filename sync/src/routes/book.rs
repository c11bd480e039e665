//! The book of routes, and the choice among them.

use std::net::SocketAddr;

use rand::{Rng, RngExt};

use super::score::Score;
use super::{Measurement, Route};

/// How long a machine that is being taken out of use is left alone. Milliseconds.
const DRAINED_MS: i64 = 30_000;
/// A session moves only to a route that counts for so many times its own: measurements differ a little all the time.
const BETTER_TIMES: f64 = 4.0;
/// Most routes that are kept; more are left out.
const ROUTES_MAX: usize = 64;

/// All routes that are known, with their scores.
#[derive(Debug, Default)]
pub struct Routes {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    route: Route,
    score: Score,
}

impl Entry {
    /// What it counts for in a choice. A route without a weight counts as 1 among its like.
    fn pull(&self) -> f64 {
        f64::from(self.route.weight.max(1)) * self.score.quality()
    }
}

impl Routes {
    /// Takes these routes for those that are known from now on. The score of an address that stays is kept; of several routes to
    /// one address the first counts.
    pub fn replace(&mut self, routes: &[Route]) {
        let mut older = std::mem::take(&mut self.entries);
        for route in routes.iter().take(ROUTES_MAX) {
            if self.entry(route.address).is_some() {
                continue;
            }
            let known = older.iter().position(|entry| entry.route.address == route.address);
            let score = known.map(|at| older.swap_remove(at).score).unwrap_or_default();
            self.entries.push(Entry { route: route.clone(), score });
        }
    }

    /// How many routes are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no route is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The route to this address as it is known now; `None` for one that was removed.
    pub fn get(&self, address: SocketAddr) -> Option<&Route> {
        self.entry(address).map(|entry| &entry.route)
    }

    /// The next route to try: by weight and quality among those that are live, of another link and another machine than `left`
    /// where there are such, else of another link or machine. Where no route with a weight is live, one without; where none is
    /// live at all, the one that was ejected longest ago, so that all have their turn. Routes of `tried` are not given; `None` when no other is known.
    pub fn choose(
        &self,
        left: Option<&Route>,
        tried: &[SocketAddr],
        now_ms: i64,
        random: &mut impl Rng,
    ) -> Option<Route> {
        let open: Vec<&Entry> = self.entries.iter().filter(|entry| !tried.contains(&entry.route.address)).collect();
        let live = |entry: &&&Entry| entry.score.is_live(now_ms);
        let mut among: Vec<&Entry> = open.iter().filter(live).filter(|entry| entry.route.weight > 0).copied().collect();
        if among.is_empty() {
            among = open.iter().filter(live).copied().collect();
        }
        if among.is_empty() {
            return open.iter().min_by_key(|entry| entry.score.ejected_at_ms()).map(|entry| entry.route.clone());
        }
        if let Some(left) = left {
            let nearness = |entry: &&Entry| nearness(&entry.route, left);
            let least = among.iter().map(nearness).min().unwrap_or(0);
            among.retain(|entry| nearness(entry) == least);
        }
        draw(&among, random).map(|entry| entry.route.clone())
    }

    /// Whether the route is known, and not left alone now.
    pub fn is_live(&self, address: SocketAddr, now_ms: i64) -> bool {
        self.entry(address).is_some_and(|entry| entry.score.is_live(now_ms))
    }

    /// Whether some route is live beside those of `tried`.
    pub fn has_live(&self, tried: &[SocketAddr], now_ms: i64) -> bool {
        self.entries.iter().any(|entry| !tried.contains(&entry.route.address) && entry.score.is_live(now_ms))
    }

    /// The route failed: it is left alone for a while.
    pub fn failed(&mut self, address: SocketAddr, now_ms: i64, random: &mut impl Rng) {
        if let Some(entry) = self.entry_mut(address) {
            entry.score.eject(now_ms, random);
        }
    }

    /// The machine behind the route said that it is being taken out of use: all routes to it are left alone for a while.
    pub fn drained(&mut self, route: &Route, now_ms: i64, random: &mut impl Rng) {
        for entry in &mut self.entries {
            if entry.route.address == route.address || entry.route.shares_machine(route) {
                entry.score.eject_for(random.random_range(DRAINED_MS / 2..=DRAINED_MS), now_ms);
            }
        }
    }

    /// The route worked. One that was ejected counts for a little, and for more with each call.
    pub fn succeeded(&mut self, address: SocketAddr, now_ms: i64) {
        if let Some(entry) = self.entry_mut(address) {
            entry.score.succeed(now_ms);
        }
    }

    /// The route was measured.
    pub fn measured(&mut self, address: SocketAddr, measurement: Measurement, now_ms: i64) {
        if let Some(entry) = self.entry_mut(address) {
            entry.score.measure(measurement, now_ms);
        }
    }

    /// The smoothed round trip of a route. Milliseconds; `None` before it is measured.
    pub fn rtt_ms(&self, address: SocketAddr) -> Option<f64> {
        self.entry(address)?.score.rtt_ms()
    }

    /// The smoothed share of packets that a route loses, 0 to 1.
    pub fn loss(&self, address: SocketAddr) -> f64 {
        self.entry(address).map_or(0.0, |entry| entry.score.loss())
    }

    /// How many routes are ejected now.
    pub fn ejected_count(&self, now_ms: i64) -> usize {
        self.entries.iter().filter(|entry| !entry.score.is_live(now_ms)).count()
    }

    /// The route to look at beside the one in use: the live one that was measured longest ago, or never.
    pub fn to_probe(&self, used: SocketAddr, now_ms: i64) -> Option<Route> {
        let others = self.entries.iter().filter(|entry| entry.route.address != used && entry.score.is_live(now_ms));
        others.min_by_key(|entry| entry.score.measured_at_ms()).map(|entry| entry.route.clone())
    }

    /// A route so much better than the one in use that moving pays: one with a weight where that in use has none, or one that
    /// was measured and counts for four times as much. A small share held against either for its past does not count.
    pub fn better(&self, used: SocketAddr, now_ms: i64) -> Option<Route> {
        let used = self.entry(used)?;
        let worth = |entry: &Entry| f64::from(entry.route.weight) * entry.score.quality_when_trusted();
        let others = self.entries.iter().filter(|entry| {
            entry.route.weight > 0 && entry.score.is_live(now_ms) && entry.score.measured_at_ms().is_some()
        });
        let best = others.max_by(|one, other| one.pull().total_cmp(&other.pull()))?;
        (worth(best) > BETTER_TIMES * worth(used)).then(|| best.route.clone())
    }

    fn entry(&self, address: SocketAddr) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.route.address == address)
    }

    fn entry_mut(&mut self, address: SocketAddr) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.route.address == address)
    }
}

/// What two routes share that may have failed: nothing 0, machine or link 1, both 2, the very address 3.
fn nearness(route: &Route, left: &Route) -> u8 {
    match route.address == left.address {
        true => 3,
        false => u8::from(route.shares_machine(left)) + u8::from(route.shares_link(left)),
    }
}

/// Draws one, each by what it counts for.
fn draw<'book>(among: &[&'book Entry], random: &mut impl Rng) -> Option<&'book Entry> {
    let total: f64 = among.iter().map(|entry| entry.pull()).sum();
    let mut rest = random.random_range(0.0..1.0) * total;
    for entry in among {
        rest -= entry.pull();
        if rest < 0.0 {
            return Some(entry);
        }
    }
    among.last().copied()
}
