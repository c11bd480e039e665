//! The choice under a virtual clock and a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn address(machine: u16, link: &str) -> SocketAddr {
    let port = 1_000 * machine + link.bytes().map(u16::from).sum::<u16>();
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn route(machine: u16, link: &str, weight: u32) -> Route {
    Route { machine, link: link.into(), address: address(machine, link), weight }
}

fn book(routes: &[Route]) -> Routes {
    let mut book = Routes::default();
    book.replace(routes);
    book
}

/// Two machines, each on two links.
fn square() -> [Route; 4] {
    [route(1, "east", 1), route(1, "west", 1), route(2, "east", 1), route(2, "west", 1)]
}

/// How often each address is chosen in 4,000 draws.
fn draws(book: &Routes, left: Option<&Route>, now_ms: i64) -> BTreeMap<SocketAddr, u32> {
    let mut random = StdRng::seed_from_u64(7);
    let mut counts = BTreeMap::new();
    for _ in 0..4_000 {
        *counts.entry(book.choose(left, &[], now_ms, &mut random).unwrap().address).or_insert(0) += 1;
    }
    counts
}

fn random() -> StdRng {
    StdRng::seed_from_u64(11)
}

fn fast(rtt_ms: f64) -> Measurement {
    Measurement { rtt_ms, sent: 100, lost: 0 }
}

#[test]
fn nodes_spread_by_weight() {
    let book = book(&[route(1, "east", 3), route(2, "east", 1), route(2, "west", 4)]);
    let counts = draws(&book, None, 0);
    for (at, expected) in [(address(1, "east"), 1_500), (address(2, "east"), 500), (address(2, "west"), 2_000)] {
        assert!(counts[&at].abs_diff(expected) < 150, "{counts:?}");
    }
}

#[test]
fn slow_and_lossy_routes_get_less_but_not_nothing() {
    let mut book = book(&[route(1, "east", 1), route(2, "east", 1), route(3, "east", 1)]);
    book.measured(address(1, "east"), fast(10.0), 0);
    book.measured(address(2, "east"), fast(200.0), 0);
    for _ in 0..20 {
        book.measured(address(3, "east"), Measurement { rtt_ms: 10.0, sent: 100, lost: 30 }, 0);
    }
    let counts = draws(&book, None, 0);
    assert!(counts[&address(1, "east")] > 2 * counts[&address(2, "east")], "{counts:?}");
    assert!(counts[&address(1, "east")] > 2 * counts[&address(3, "east")], "{counts:?}");
    assert_eq!(counts.len(), 3);
    assert!((book.loss(address(3, "east")) - 0.3).abs() < 0.01);
}

#[test]
fn a_route_that_failed_is_ejected_and_the_others_take_over() {
    let mut book = book(&square());
    let failed = address(1, "east");
    book.failed(failed, 0, &mut random());
    assert_eq!(book.ejected_count(0), 1);
    let counts = draws(&book, None, 100);
    assert!(!counts.contains_key(&failed) && counts.len() == 3, "{counts:?}");
}

#[test]
fn another_link_of_another_machine_is_preferred_to_what_was_left() {
    let all = square();
    let book = book(&all);
    let taken = |left: &Route| draws(&book, Some(left), 0).into_keys().collect::<Vec<_>>();
    assert_eq!(taken(&all[0]), [address(2, "west")]);
    assert_eq!(taken(&all[3]), [address(1, "east")]);
    let mut random = random();
    // Where it was tried already, one that shares link or machine, and what was left comes last.
    let mut tried = vec![address(2, "west")];
    let next = book.choose(Some(&all[0]), &tried, 0, &mut random).unwrap();
    assert_ne!(next.address, all[0].address);
    tried.extend([address(1, "west"), address(2, "east")]);
    assert_eq!(book.choose(Some(&all[0]), &tried, 0, &mut random).unwrap(), all[0]);
    tried.push(all[0].address);
    assert_eq!(book.choose(Some(&all[0]), &tried, 0, &mut random), None);
}

#[test]
fn a_route_comes_back_slowly() {
    let mut book = book(&[route(1, "east", 1), route(2, "east", 1)]);
    let back = address(1, "east");
    book.failed(back, 0, &mut random());
    let mut earlier = 0;
    for successes in 0..5 {
        let count = draws(&book, None, EJECTED_MS_MIN + 1)[&back];
        assert!(count > earlier, "after {successes} successes {count}, before {earlier}");
        assert!(successes > 0 || count < 400, "it comes back with a small share: {count} of 4,000");
        earlier = count;
        book.succeeded(back, EJECTED_MS_MIN + 1);
    }
    assert!(earlier.abs_diff(2_000) < 200, "in the end it has its weight's share: {earlier}");
}

#[test]
fn ejections_grow_to_their_limit_are_jittered_and_are_forgotten_only_when_trust_is_whole() {
    let mut book = book(&[route(1, "east", 1), route(2, "east", 1)]);
    let (bad, mut random) = (address(1, "east"), random());
    let ends_after = |book: &Routes, now_ms: i64| (0..).find(|wait_ms| book.ejected_count(now_ms + wait_ms) == 0);
    let (mut now_ms, mut waits) = (0, Vec::new());
    for _ in 0..9 {
        book.failed(bad, now_ms, &mut random);
        let wait_ms = ends_after(&book, now_ms).unwrap();
        waits.push(wait_ms);
        now_ms += wait_ms;
        // One success does not make it good again.
        book.succeeded(bad, now_ms);
    }
    assert!((EJECTED_MS_MIN / 2..=EJECTED_MS_MIN).contains(&waits[0]), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= EJECTED_MS_MAX) && waits[8] >= EJECTED_MS_MAX / 2, "{waits:?}");
    assert!(waits.windows(2).take(5).all(|pair| pair[1] > pair[0]), "{waits:?}");
    for _ in 0..5 {
        book.succeeded(bad, now_ms);
    }
    book.failed(bad, now_ms, &mut random);
    assert!(ends_after(&book, now_ms).unwrap() <= EJECTED_MS_MIN);
}

#[test]
fn with_all_routes_dead_the_one_that_failed_longest_ago_is_tried() {
    let mut book = book(&square());
    let mut random = random();
    for (at_ms, route) in (0..).zip(square()) {
        for _ in 0..3 {
            book.failed(route.address, at_ms * 10_000, &mut random);
        }
    }
    assert!(!book.has_live(&[], 0));
    assert_eq!(book.choose(None, &[], 0, &mut random), Some(square()[0].clone()));
    assert_eq!(book.choose(None, &[square()[0].address], 0, &mut random), Some(square()[1].clone()));
}

#[test]
fn machines_that_all_serve_nobody_are_asked_in_turn() {
    let (mut book, mut random) = (book(&square()), random());
    let asked: Vec<u16> = (0..8)
        .map(|now_ms| {
            let route = book.choose(None, &[], now_ms, &mut random).unwrap();
            book.drained(&route, now_ms, &mut random);
            route.machine
        })
        .collect();
    assert!(asked.windows(2).all(|pair| pair[0] != pair[1]), "{asked:?}");
}

#[test]
fn all_routes_of_a_machine_that_is_taken_out_of_use_are_left_alone_and_stay_the_last_resort() {
    let mut book = book(&square());
    book.drained(&square()[0], 0, &mut random());
    let counts = draws(&book, None, 0);
    assert_eq!(counts.into_keys().collect::<Vec<_>>(), [address(2, "east"), address(2, "west")]);
    let tried = [address(2, "east"), address(2, "west")];
    assert_eq!(book.choose(None, &tried, 0, &mut random()).unwrap().machine, 1);
}

#[test]
fn a_route_without_weight_is_taken_only_when_no_other_is_live_and_left_when_one_is() {
    let (known, reserve) = (route(1, "east", 5), Route::to("127.0.0.1:9".parse().unwrap(), 0));
    let mut book = book(&[reserve.clone(), known.clone()]);
    assert_eq!(draws(&book, None, 0).len(), 1);
    book.failed(known.address, 0, &mut random());
    assert_eq!(draws(&book, None, 0).into_keys().next(), Some(reserve.address));
    assert_eq!(book.better(reserve.address, EJECTED_MS_MIN), None, "only what was seen to work");
    book.measured(known.address, fast(500.0), EJECTED_MS_MIN);
    assert_eq!(book.better(reserve.address, EJECTED_MS_MIN), Some(known));
}

#[test]
fn a_session_moves_for_much_better_only() {
    let mut book = book(&[route(1, "east", 1), route(1, "west", 1), route(2, "east", 1)]);
    let used = address(1, "east");
    book.measured(used, fast(60.0), 0);
    book.measured(address(1, "west"), fast(20.0), 0);
    assert_eq!(book.better(used, 0), None);
    for _ in 0..30 {
        book.measured(used, Measurement { rtt_ms: 60.0, sent: 100, lost: 30 }, 0);
    }
    assert_eq!(book.better(used, 0).unwrap().address, address(1, "west"));
}

#[test]
fn what_was_measured_stays_with_an_address_that_stays_and_a_removed_one_is_unknown() {
    let mut book = book(&square());
    let (stays, goes) = (address(1, "east"), address(1, "west"));
    book.measured(stays, fast(40.0), 0);
    book.failed(stays, 0, &mut random());
    book.replace(&[Route { weight: 9, ..square()[0].clone() }, square()[0].clone(), route(3, "east", 1)]);
    assert_eq!((book.len(), book.get(stays).unwrap().weight), (2, 9), "of two the first counts");
    assert_eq!((book.rtt_ms(stays), book.ejected_count(0)), (Some(40.0), 1));
    assert_eq!(book.get(goes), None);
    book.succeeded(goes, 0);
    assert_eq!(draws(&book, None, 0).into_keys().collect::<Vec<_>>(), [address(3, "east")]);
}

#[test]
fn every_live_route_is_looked_at_in_turn() {
    let mut book = book(&square());
    let mut seen = Vec::new();
    for now_ms in 0..6 {
        let probed = book.to_probe(address(1, "east"), now_ms).unwrap().address;
        book.measured(probed, fast(5.0), now_ms);
        seen.push(probed);
    }
    assert_eq!(seen[..3], seen[3..]);
    assert!(!seen.contains(&address(1, "east")));
    book.failed(seen[0], 10, &mut random());
    assert_ne!(book.to_probe(address(1, "east"), 10).unwrap().address, seen[0]);
    assert_eq!(Routes::default().to_probe(address(1, "east"), 0), None);
}

#[test]
fn a_path_is_dead_after_some_looks_without_a_datagram_and_lives_again_with_one() {
    for (rtt_ms, silent_from) in [(0, 3), (49, 3), (50, 4), (100, 5), (400, 11), (60_000, 15)] {
        let (mut pulse, rtt) = (Pulse::default(), Duration::from_millis(rtt_ms));
        assert!(!(1..100).any(|received| pulse.is_silent(received, rtt)));
        let looks: Vec<bool> = (1..=20).map(|_| pulse.is_silent(99, rtt)).collect();
        assert_eq!(looks, (1..=20).map(|look| look >= silent_from).collect::<Vec<_>>(), "rtt {rtt_ms} ms");
        assert!(!pulse.is_silent(100, rtt));
    }
}
