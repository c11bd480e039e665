//! Golden bytes: a change of any variant's bytes fails here. Lines of `golden.txt` are added, never changed.

use super::*;
use crate::codec::{decode_event, encode_event};
use crate::id::*;
use crate::money::{Money, PackCharge, RatePpm, SaleShares};
use crate::parameter::ParameterScope;
use crate::personal::PersonalField;
use crate::staff::{AddressRange, Area, Grant, Hours, Role};
use crate::time::{BusinessDay, TimeMs};

const GOLDEN: &str = include_str!("golden.txt");

fn node() -> NodeId {
    NodeId::new(7).unwrap()
}

fn outlet() -> OutletId {
    OutletId::new(13_010_001).unwrap()
}

fn terminal() -> TerminalId {
    TerminalId::new(1_301_000_101).unwrap()
}

fn operator() -> OperatorId {
    OperatorId::new(1_301_000_102).unwrap()
}

fn pack() -> PackId {
    PackId::new(BatchNo::new(3).unwrap(), 123).unwrap()
}

fn fen(amount_fen: i64) -> Money {
    Money::from_fen(amount_fen)
}

fn masters() -> Vec<(&'static str, MasterEvent)> {
    let (game, batch) = ("G0201".parse().unwrap(), BatchNo::new(3).unwrap());
    let rate = |ppm| RatePpm::new(ppm).unwrap();
    let shares = SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap();
    let name = "名".to_string();
    let prefectures = vec!["1301".parse().unwrap()];
    let password_hash = "$argon2id$x".to_string();
    let facts = BatchFacts {
        batch,
        game,
        code: BatchCode::new(26_001).unwrap(),
        tickets_per_pack: 300,
        packs_per_case: 10,
        packs: 5_000,
        print_completed_on: BusinessDay::from_number(9_800),
        package_hash: [5; 32],
        levels: vec![PrizeLevel { level: 1, amount: fen(10_000_000), ticket_count: 1 }],
    };
    let (node, outlet, status) = (node(), outlet(), OutletStatus::Suspended);
    let (price, outlet_limit, city_limit) = (fen(200), fen(1_000_000), fen(5_000_000));
    vec![
        ("division", MasterEvent::DivisionDefined { code: 130_102, name: name.clone(), parent: 1301 }),
        ("node", MasterEvent::NodeDefined { node, name: name.clone(), prefectures }),
        ("outlet", MasterEvent::OutletDefined { outlet, node, township: 130_102_001, name: name.clone(), status }),
        (
            "terminal",
            MasterEvent::TerminalDefined { terminal: terminal(), node, kind: TerminalKind::Phone, public_key: [9; 32] },
        ),
        (
            "operator",
            MasterEvent::OperatorDefined {
                operator: operator(),
                node,
                name: name.clone(),
                role: OperatorRole::Clerk,
                password_hash,
            },
        ),
        ("game", MasterEvent::GameDefined { game, name, price, shares, outlet_limit, city_limit }),
        ("batch", MasterEvent::BatchDefined(facts)),
        ("sale", MasterEvent::BatchSaleChanged { batch, state: SaleState::Stopped }),
        (
            "redemption_end",
            MasterEvent::RedemptionEndAnnounced { batch, ends_at_ms: TimeMs::from_ms(1_900_000_000_000) },
        ),
    ]
}

fn bodies() -> Vec<(&'static str, EventBody)> {
    let (pack, outlet, node) = (pack(), outlet(), node());
    let ticket = pack.ticket(45).unwrap();
    let charge = PackCharge {
        face: fen(60_000),
        prize_fund: fen(39_000),
        welfare_fund: fen(12_000),
        issue_fee: fen(9_000),
        commission: fen(4_800),
    };
    let opened = SessionEvent::Opened {
        terminal: terminal(),
        operator: operator(),
        token: TokenTag([4; 16]),
        expires_at_ms: TimeMs::from_ms(5),
    };
    let mut bodies: Vec<_> = masters().into_iter().map(|(name, event)| (name, EventBody::Master(event))).collect();
    bodies.extend([
        ("shipped", EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment: 9, records: vec![1, 2, 3] })),
        ("hold", EventBody::Pack(PackEvent::HoldChanged { pack, node, hold: PackHold::Damaged })),
        ("checked_in", EventBody::Pack(PackEvent::CheckedIn { pack, outlet, charge })),
        ("returned", EventBody::Pack(PackEvent::Returned { pack, outlet, charge })),
        ("sold", EventBody::Ticket(TicketEvent::Sold { ticket, outlet, price: fen(200) })),
        ("claimed", EventBody::Ticket(TicketEvent::Claimed { ticket, outlet, level: 9, prize: fen(200) })),
        ("wrong_code", EventBody::Ticket(TicketEvent::WrongCodePresented { ticket, outlet, locks: true })),
        ("deposit", EventBody::Money(MoneyEvent::DepositCredited { deposit: 77, outlet, node, amount: fen(500_000) })),
        ("opened", EventBody::Session(opened)),
        ("closed", EventBody::Session(SessionEvent::Closed { terminal: terminal() })),
    ]);
    bodies.extend(staff().into_iter().map(|(name, event)| (name, EventBody::Staff(event))));
    bodies.extend(access().into_iter().map(|(name, event)| (name, EventBody::Access(event))));
    bodies.extend(changes().into_iter().map(|(name, event)| (name, EventBody::Change(event))));
    let (terminal, operator, request) = (terminal(), operator(), "/v1/x".to_string());
    let class = OutletClass::new(2).unwrap();
    let set = |scope, key: &str| {
        let (maker, checker, key) = ("li.wei".to_string(), "zhang".to_string(), key.to_string());
        let effective_from_ms = TimeMs::from_ms(1_790_000_000_000);
        EventBody::Change(ChangeEvent::ParameterSet { key, scope, value: 60, effective_from_ms, maker, checker })
    };
    bodies.extend([
        ("inquired", EventBody::Ticket(TicketEvent::Inquired { outlet, tickets: vec![ticket] })),
        ("login_failed", EventBody::Session(SessionEvent::LoginFailed { terminal, operator, failures: 3 })),
        ("right_refused", EventBody::Session(SessionEvent::RightRefused { terminal, operator, request })),
        ("outlet_classified", EventBody::Master(MasterEvent::OutletClassified { outlet, node, class })),
        ("parameter_of_class", set(ParameterScope::OutletClass(class), "outlet_claim_limit")),
        ("parameter_of_game", set(ParameterScope::Game("G0201".parse().unwrap()), "outlet_claim_limit")),
    ]);
    let resealed = SecretsEvent::Resealed { key_version: 2, batch_key_count: 300, factor_count: 4, personal_count: 5 };
    bodies.push(("secrets_resealed", EventBody::Secrets(resealed)));
    bodies.extend(personal().into_iter().map(|(name, event)| (name, EventBody::Personal(event))));
    let text = str::to_string;
    let run = CommandRun {
        id: 9,
        began_at_ms: 1_790_000_000_000,
        user: text("root (wei)"),
        address: text("10.0.0.7"),
        command: text("digest"),
        outcome: text("done"),
    };
    bodies.push(("run_at_hub", EventBody::Machine(MachineEvent::RunAtHub(run.clone()))));
    bodies.push(("run_at_node", EventBody::Machine(MachineEvent::RunAtNode(run))));
    let (login, expires_at_ms) = (text("li.wei"), TimeMs::from_ms(1_790_000_000_000));
    let offered = StaffEvent::ConfirmationOffered { login: login.clone(), expires_at_ms };
    bodies.push(("confirmation_offered", EventBody::Staff(offered)));
    bodies.push(("staff_confirmed", EventBody::Staff(StaffEvent::Confirmed { login })));
    bodies.extend(hub().into_iter().map(|(name, event)| (name, EventBody::Hub(event))));
    bodies.extend(met_tickets().into_iter().map(|(name, event)| (name, EventBody::Ticket(event))));
    bodies.extend(handoffs().into_iter().map(|(name, event)| (name, EventBody::Handoff(event))).chain(directory()));
    with_stores(bodies)
}

fn with_stores(mut bodies: Vec<(&'static str, EventBody)>) -> Vec<(&'static str, EventBody)> {
    bodies.extend(stores().into_iter().map(|(name, event)| (name, EventBody::Node(event))));
    bodies.extend(recovered().into_iter().map(|(name, event)| (name, EventBody::Hub(event))));
    bodies.extend(fleet().into_iter().map(|(name, event)| (name, EventBody::Node(event))));
    bodies
}

fn fleet() -> [(&'static str, NodeEvent); 2] {
    let (node, hash) = (node(), crate::chain::ChainHash::from_bytes([4; 32]));
    let retired = NodeEvent::Retired { node, next_seq: 300, hash, reason: "shut".into() };
    [("node_invited", NodeEvent::Invited { node }), ("node_retired", retired)]
}

fn recovered() -> [(&'static str, HubEvent); 2] {
    let (began_at_ms, left_out) = (TimeMs::from_ms(1_790_000_000_000), vec![node()]);
    let recovered = HubEvent::FeedRecovered { began_at_ms, recovered: 9, lost: 2, conflicts: 1, left_out };
    [("hub_events_lost", HubEvent::EventsLost { from_seq: 7, to_seq: 8 }), ("hub_feed_recovered", recovered)]
}

fn stores() -> [(&'static str, NodeEvent); 2] {
    let (node, hash) = (node(), crate::chain::ChainHash::from_bytes([4; 32]));
    let replaced = NodeEvent::Replaced { node, epoch: 2, next_seq: 300, hash, reason: "disk".into() };
    [("node_replaced", replaced), ("node_clone_refused", NodeEvent::CloneRefused { node })]
}

fn met_tickets() -> [(&'static str, TicketEvent); 2] {
    let (ticket, outlet) = (pack().ticket(45).unwrap(), outlet());
    let impossible = TicketEvent::ImpossibleTicketPresented { ticket, outlet };
    [("scratched", TicketEvent::Scratched { ticket, outlet }), ("impossible_ticket", impossible)]
}

fn handoffs() -> [(&'static str, HandoffEvent); 9] {
    let (handoff, outlet, from, to, balance) = (300, outlet(), node(), NodeId::new(12).unwrap(), fen(4_200));
    let requests = || vec![MovedRequest { index: -5, origin: from, seq: 77 }];
    let rows = vec![crate::outlet_rows::RowSet::example()];
    [
        ("handoff_ordered", HandoffEvent::Ordered { handoff, outlet, from, to }),
        ("handoff_cancelled", HandoffEvent::Cancelled { handoff, outlet, from }),
        ("outlet_requests_listed", HandoffEvent::RequestsListed { handoff, outlet, requests: requests() }),
        ("outlet_released", HandoffEvent::Released { handoff, outlet, to }),
        ("outlet_rows_moved", HandoffEvent::RowsMoved { handoff, outlet, to, rows }),
        ("outlet_requests_moved", HandoffEvent::RequestsMoved { handoff, outlet, to, requests: requests() }),
        ("outlet_arrived", HandoffEvent::Arrived { handoff, outlet, from, to, balance }),
        ("outlet_left", HandoffEvent::Left { handoff, outlet, from, to, balance }),
        ("outlet_taken_back", HandoffEvent::Returned { handoff, outlet, node: from }),
    ]
}

fn directory() -> [(&'static str, EventBody); 2] {
    let (node, addresses) = (node(), vec!["node7.example:8443".to_string()]);
    let (bytes, signature) = (b"{}".to_vec(), vec![9; 2]);
    let published = DirectoryEvent::DirectoryPublished { version: 300, bytes, signature };
    let reached = EventBody::Directory(DirectoryEvent::NodeReached { node, addresses });
    [("node_reached", reached), ("directory_published", EventBody::Directory(published))]
}

fn hub() -> Vec<(&'static str, HubEvent)> {
    let machine = MachineNo::new(2).unwrap();
    let address = "10.0.0.2:7400".parse().unwrap();
    let links = vec![HubLink { name: "telecom".to_string(), address, weight: 100 }];
    let state = |state| HubEvent::MachineStateChanged { machine, state };
    vec![
        ("hub_machine_invited", HubEvent::MachineInvited { machine, voter_only: true }),
        ("hub_machine_defined", HubEvent::MachineDefined { machine, http: Some(address), voter_only: false, links }),
        ("hub_machine_serving", state(MachineState::Serving)),
        ("hub_machine_draining", state(MachineState::Draining)),
        ("hub_machine_retired", state(MachineState::Retired)),
        ("hub_lease_taken", HubEvent::LeaseTaken { machine }),
        ("hub_machine_lost", HubEvent::MachineLost { machine }),
        ("hub_machine_returned", HubEvent::MachineReturned { machine }),
        ("hub_generation_raised", HubEvent::GenerationRaised { generation: 2, machine }),
    ]
}

fn personal() -> Vec<(&'static str, PersonalEvent)> {
    let (outlet, field, reason) = (outlet(), PersonalField::Phone, "call back".to_string());
    let (before, after) = (Some("138****8000".to_string()), "139****8000".to_string());
    let (fields, address) = (vec![field, PersonalField::BankAccount], [10, 0, 0, 1].into());
    vec![
        ("personal_kept", PersonalEvent::Kept { outlet, field, before, after }),
        ("personal_cleared", PersonalEvent::Cleared { outlet, field }),
        ("personal_read", PersonalEvent::Read { outlet, fields, reason, address }),
    ]
}

fn changes() -> Vec<(&'static str, ChangeEvent)> {
    let (scope, at_ms) = (ParameterScope::Prefecture("1301".parse().unwrap()), TimeMs::from_ms(1_790_000_000_000));
    let text = str::to_string;
    let (number, kind, before, after, reason) = (7, text("hold"), text("{}"), text("{1}"), text("why"));
    let (maker, checker, key) = (text("li.wei"), text("zhang"), text("terminal_session"));
    vec![
        (
            "change_proposed",
            ChangeEvent::Proposed { number, kind, before, after, reason: reason.clone(), expires_at_ms: at_ms },
        ),
        ("change_approved", ChangeEvent::Approved { number, maker: maker.clone() }),
        ("change_refused", ChangeEvent::Refused { number, maker: maker.clone(), reason }),
        ("change_withdrawn", ChangeEvent::Withdrawn { number }),
        (
            "parameter_set",
            ChangeEvent::ParameterSet { key, scope, value: 60, effective_from_ms: at_ms, maker, checker },
        ),
    ]
}

fn access() -> Vec<(&'static str, AccessEvent)> {
    let (terminal, operator, node, kind) = (terminal(), operator(), node(), TerminalKind::Phone);
    let (at_ms, serial, reason) = (TimeMs::from_ms(1_790_000_000_000), "0a1b".to_string(), "lost".to_string());
    let other = "77".to_string();
    vec![
        ("enrolment_offered", AccessEvent::EnrolmentOffered { terminal, node, kind, expires_at_ms: at_ms }),
        ("enrolment_failed", AccessEvent::EnrolmentFailed { terminal, node }),
        ("terminal_revoked", AccessEvent::TerminalRevoked { terminal, node, reason: reason.clone() }),
        ("operator_disabled", AccessEvent::OperatorDisabled { operator, node }),
        ("certificate_issued", AccessEvent::CertificateIssued { node, serial: serial.clone(), not_after_ms: at_ms }),
        (
            "certificate_revoked",
            AccessEvent::CertificateRevoked { node, serial: serial.clone(), reason: reason.clone() },
        ),
        (
            "certificate_renewed",
            AccessEvent::CertificateRenewed {
                node,
                serial: serial.clone(),
                not_after_ms: at_ms,
                renews: other.clone(),
            },
        ),
        ("certificate_superseded", AccessEvent::CertificateSuperseded { node, serial: other, by: serial }),
        ("node_certificates_revoked", AccessEvent::NodeCertificatesRevoked { node, count: 300, reason }),
    ]
}

fn staff() -> Vec<(&'static str, StaffEvent)> {
    let text = |text: &str| text.to_string();
    let (login, name, request) = (text("li.wei"), text("李伟"), text("GET /v1/x"));
    let address = [10, 0, 0, 1].into();
    let session = SessionNo([3; 8]);
    let county = Grant {
        role: Role::MarketManager,
        area: Area::County(130_102),
        hours: Some(Hours { from_minute: 480, until_minute: 1_080 }),
        addresses: vec![AddressRange { network: "2001:db8::".parse().unwrap(), prefix_bits: 32 }],
    };
    let outlets = Grant { area: Area::Outlets(vec![outlet()]), ..Grant::everywhere(Role::VendorSupport) };
    let prefecture = Grant { area: Area::Prefecture("1301".parse().unwrap()), ..outlets.clone() };
    let after = vec![county, outlets, prefecture];
    let before = vec![Grant::everywhere(Role::SystemAdministrator)];
    let until_ms = TimeMs::from_ms(1_790_000_000_000);
    let opened = |proof| StaffEvent::SessionOpened { login: text("li.wei"), session, address, proof };
    vec![
        ("staff_created", StaffEvent::AccountCreated { login: login.clone(), name: name.clone() }),
        ("staff_changed", StaffEvent::AccountChanged { login: login.clone(), name, active: false }),
        ("staff_grants", StaffEvent::GrantsChanged { login: login.clone(), before, after }),
        ("staff_password", StaffEvent::PasswordSet { login: login.clone(), temporary: true }),
        ("staff_factor_set", StaffEvent::SecondFactorSet { login: login.clone() }),
        ("staff_factor_cleared", StaffEvent::SecondFactorCleared { login: login.clone() }),
        ("staff_opened_by_password", opened(Proof::Password)),
        ("staff_opened_by_code", opened(Proof::OneTimeCode)),
        ("staff_opened_by_recovery", opened(Proof::RecoveryCode)),
        ("staff_ended", StaffEvent::SessionEnded { login, session, revoked: true }),
        ("staff_failed", StaffEvent::LoginFailed { given: text("x"), address, failures: 3 }),
        ("staff_refused", StaffEvent::AccessRefused { request: request.clone(), needed: text("see ledger"), address }),
        ("staff_read", StaffEvent::SensitiveRead { request, address }),
        (
            "support_asked",
            StaffEvent::SupportAsked { number: 3, login: text("vendor"), reason: text("why"), minutes: 60 },
        ),
        ("support_opened", StaffEvent::SupportOpened { number: 3, login: text("vendor"), until_ms }),
        ("support_ended", StaffEvent::SupportEnded { number: 3, login: text("vendor") }),
    ]
}

fn event(body: EventBody) -> Event {
    let request = Some(RequestKey { id: [1; 16], body_hash: [2; 8] });
    let actor = Actor::Terminal { terminal: terminal(), operator: operator() };
    Event {
        key: EventKey { origin: node(), seq: 300 },
        at_ms: TimeMs::from_ms(1_790_000_000_000),
        actor,
        request,
        body,
    }
}

#[test]
fn no_variants_bytes_have_changed() {
    let written: Vec<String> = bodies()
        .into_iter()
        .map(|(name, body)| format!("{name} {}", hex::encode(encode_event(&event(body)).unwrap())))
        .collect();
    for (written, golden) in written.iter().zip(GOLDEN.lines()) {
        assert_eq!(written, golden, "events are append only: a changed fact is a new variant");
    }
    assert!(written.len() >= GOLDEN.lines().count(), "a variant of golden.txt is not written any more");
    let missing = written.get(GOLDEN.lines().count()..).unwrap_or_default();
    assert!(missing.is_empty(), "a new variant's bytes are pinned: add to golden.txt\n{}\n", missing.join("\n"));
}

/// Variants of the first release, in the order of `golden.txt`: their bytes carry version 1 for ever. A variant behind them
/// declares the release that brought it, in `EventBody::since`.
#[test]
fn only_variants_of_the_first_release_carry_its_version() {
    const FIRST_RELEASE: usize = 61;
    for (at, line) in GOLDEN.lines().enumerate() {
        let (name, bytes) = line.split_once(' ').unwrap();
        assert_eq!(bytes.starts_with("01"), at < FIRST_RELEASE, "{name}");
    }
}

#[test]
fn the_list_of_kinds_is_what_the_views_of_all_golden_events_are_called() {
    let kind = |(_, body): (&str, EventBody)| {
        let view = EventView::new(&event(body), &[], crate::chain::ChainHash::GENESIS, &BatchNames::default());
        view.event["kind"].as_str().unwrap().to_string()
    };
    let mut written: Vec<String> = bodies().into_iter().map(kind).collect();
    written.sort();
    written.dedup();
    assert_eq!(written, KINDS);
}

#[test]
fn every_golden_line_still_reads_as_its_event() {
    for ((name, body), line) in bodies().into_iter().zip(GOLDEN.lines()) {
        let (golden_name, bytes) = line.split_once(' ').unwrap();
        assert_eq!(golden_name, name);
        assert_eq!(decode_event(&hex::decode(bytes).unwrap()), Ok(event(body)));
    }
}

#[test]
fn actors_and_a_missing_request_keep_their_bytes() {
    let written = |actor, request| {
        let event =
            Event { actor, request, ..event(EventBody::Session(SessionEvent::Closed { terminal: terminal() })) };
        hex::encode(encode_event(&event).unwrap())
    };
    assert_eq!(written(Actor::System, None), "0107ac0280b083c5986800000401a5dfaeec04");
    assert_eq!(written(Actor::Staff("a".into()), None), "0107ac0280b083c59868010161000401a5dfaeec04");
    let (terminal, operator) = (terminal(), operator());
    let at = Actor::TerminalAt { terminal, operator, address: [10, 0, 0, 1].into() };
    assert_eq!(written(at, None), "0207ac0280b083c5986804a5dfaeec04a6dfaeec04000a000001000401a5dfaeec04");
    let at = Actor::StaffAt { login: "a".into(), address: [10, 0, 0, 1].into() };
    assert_eq!(written(at, None), "0207ac0280b083c59868030161000a000001000401a5dfaeec04");
}

#[test]
fn ids_that_no_constructor_makes_do_not_decode() {
    let bytes = encode_event(&event(EventBody::Session(SessionEvent::Closed { terminal: terminal() }))).unwrap();
    let mut bad_node = bytes.clone();
    bad_node.splice(1..2, [0xff, 0xff, 0x03]);
    assert_eq!(decode_event(&bad_node), Err(crate::codec::CodecError::Malformed));
    let mut bad_terminal = bytes.clone();
    let tail = bad_terminal.len() - 5;
    bad_terminal.splice(tail.., [0x05]);
    assert_eq!(decode_event(&bad_terminal), Err(crate::codec::CodecError::Malformed));
}
