//! How often a caller may ask, by address or by account, in a table that never grows beyond its size.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Callers that are remembered.
const CALLERS_MAX: usize = 10_000;
/// Remembered callers that are looked at to make room for a new one.
const LOOKED_AT: usize = 8;
/// Seconds' worth of requests that one caller may make at once.
const BURST_S: u32 = 10;

/// Who counts as one caller. An IPv6 network of 64 bits is one: a single device may take any address of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    V4(Ipv4Addr),
    V6Network(u64),
    Account(Arc<str>),
}

impl Caller {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Caller::V4(address),
            IpAddr::V6(address) => Caller::V6Network((address.to_bits() >> 64) as u64),
        }
    }
}

/// The allowances of callers of one kind. A request takes the same few steps however many callers are remembered.
pub struct Allowances {
    /// Time that one request uses up.
    cost: Duration,
    /// Time that a caller may be ahead.
    ahead_max: Duration,
    started: Instant,
    table: Mutex<Table>,
}

/// Each caller with the instant, since the start, up to which its allowance is used up. What is full is never emptied: a
/// newcomer takes the place of who has used the least of some.
#[derive(Default)]
struct Table {
    places: HashMap<Caller, usize>,
    callers: Vec<(Caller, Duration)>,
    /// Where the last look for room ended.
    hand: usize,
}

impl Allowances {
    /// So many requests a second in the long run, ten seconds' worth at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        let cost = Duration::from_secs(1) / per_second.get();
        let burst = per_second.get().saturating_mul(BURST_S);
        let ahead_max = cost.saturating_mul(burst - 1);
        Allowances { cost, ahead_max, started: Instant::now(), table: Mutex::default() }
    }

    /// Takes one request from the address's allowance; `false` when it is used up.
    pub fn allow(&self, address: IpAddr) -> bool {
        self.allow_at(Caller::of(address), self.started.elapsed())
    }

    /// Takes one request from the account's allowance, whatever sessions and addresses it has; `false` when it is used up.
    pub fn allow_account(&self, login: &str) -> bool {
        self.allow_at(Caller::Account(login.into()), self.started.elapsed())
    }

    fn allow_at(&self, caller: Caller, now: Duration) -> bool {
        let mut table = self.table.lock();
        let used_until = table.entry(caller, now);
        let ahead = used_until.saturating_sub(now);
        if ahead > self.ahead_max {
            return false;
        }
        *used_until = now + ahead + self.cost;
        true
    }
}

impl Table {
    fn entry(&mut self, caller: Caller, now: Duration) -> &mut Duration {
        let place = match self.places.get(&caller) {
            Some(place) => *place,
            None => self.take_in(caller, now),
        };
        &mut self.callers[place].1
    }

    fn take_in(&mut self, caller: Caller, now: Duration) -> usize {
        let place = self.callers.len();
        if place < CALLERS_MAX {
            self.callers.push((caller.clone(), now));
            self.places.insert(caller, place);
            return place;
        }
        let looked_at = (self.hand..self.hand + LOOKED_AT).map(|at| at % CALLERS_MAX);
        let place = looked_at.min_by_key(|place| self.callers[*place].1).unwrap_or(self.hand);
        self.hand = (self.hand + LOOKED_AT) % CALLERS_MAX;
        let (earlier, _) = std::mem::replace(&mut self.callers[place], (caller.clone(), now));
        self.places.remove(&earlier);
        self.places.insert(caller, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn strangers(per_second: u32) -> Allowances {
        Allowances::new(NonZeroU32::new(per_second).unwrap())
    }

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    /// Requests that are allowed at one instant.
    fn allowed(strangers: &Allowances, address: IpAddr, now: Duration) -> usize {
        (0..1_000).take_while(|_| strangers.allow_at(Caller::of(address), now)).count()
    }

    const START: Duration = Duration::ZERO;

    #[test]
    fn ten_seconds_worth_at_once_and_then_the_pace_of_one_caller_alone() {
        let strangers = strangers(5);
        assert_eq!(allowed(&strangers, v4(1), START), 50);
        assert_eq!(allowed(&strangers, v4(2), START), 50, "another caller");
        assert_eq!(allowed(&strangers, v4(1), Duration::from_secs(1)), 5);
        assert_eq!(allowed(&strangers, v4(1), Duration::from_millis(1_100)), 0);
        assert_eq!(allowed(&strangers, v4(1), Duration::from_secs(3_600)), 50, "no more is saved up");
    }

    #[test]
    fn accounts_have_their_own_allowance_each() {
        let accounts = strangers(1);
        assert_eq!((0..100).take_while(|_| accounts.allow_account("wei")).count(), 10);
        assert!(accounts.allow_account("ming"), "another account");
    }

    #[test]
    fn any_pace_can_be_set() {
        assert_eq!(allowed(&strangers(u32::MAX), v4(1), START), 1_000);
        assert_eq!(allowed(&strangers(1), v4(1), START), 10);
    }

    #[test]
    fn an_ipv6_network_is_one_caller_and_a_mapped_address_is_the_ipv4_one() {
        let strangers = strangers(5);
        let v6 = |text: &str| IpAddr::from(text.parse::<Ipv6Addr>().unwrap());
        assert_eq!(allowed(&strangers, v6("2001:db8:1:2::1"), START), 50);
        assert_eq!(allowed(&strangers, v6("2001:db8:1:2:ffff::9"), START), 0);
        assert_eq!(allowed(&strangers, v6("2001:db8:1:3::1"), START), 50);
        assert_eq!(allowed(&strangers, v6("::ffff:10.0.0.1"), START), 50);
        assert_eq!(allowed(&strangers, "10.0.0.1".parse().unwrap(), START), 0);
    }

    #[test]
    fn a_flood_of_addresses_grows_nothing_and_frees_no_busy_caller() {
        let strangers = strangers(5);
        let busy = v4(7);
        assert_eq!(allowed(&strangers, busy, START), 50);
        for number in 0..100_000 {
            assert!(strangers.allow_at(Caller::of(v4(1_000_000 + number)), START), "newcomers are served");
        }
        let table = strangers.table.lock();
        assert_eq!((table.callers.len(), table.places.len()), (CALLERS_MAX, CALLERS_MAX));
        assert!(table.callers.iter().enumerate().all(|(at, (caller, _))| table.places[caller] == at));
        drop(table);
        assert_eq!(allowed(&strangers, busy, START), 0, "who has used the most is remembered");
    }
}
