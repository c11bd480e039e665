//! What to do about a refusal of the machine, by its code.

use jikai_schema::command::Refusal;

use crate::machine::RECOVERING;

/// What to do about a refused request that is no import.
pub(super) fn hint(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown { kind, .. } => unknown(kind),
        Refusal::ExistsWithOther { kind, .. } if kind == "staff" => {
            "This login name is taken, and is never given again: choose another one."
        }
        Refusal::ExistsWithOther { .. } => "What exists is never overwritten: correct the contents, or use a new id.",
        Refusal::PackNotInWarehouse { .. } => "Import the batch whole, and ship only packs that were not shipped.",
        Refusal::Rule { code, .. } => rule(code),
        Refusal::Gap { .. } | Refusal::Fork { .. } | Refusal::Incarnation { .. } => {
            "Look at /v1/nodes: this node's store and the hub's copy of it differ."
        }
    }
}

/// What to do about a refused part of an import: the rest of the file may be there already.
pub(super) fn import_hint(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown { .. } => "Define it first, or correct its id.",
        Refusal::ExistsWithOther { .. } => "What exists is never overwritten: correct the contents, or use a new id.",
        Refusal::PackNotInWarehouse { .. } => "Import the batch whole, and ship only packs that were not shipped.",
        Refusal::Rule { code, .. } if code == RECOVERING => rule(code),
        _ => "Correct what breaks the rule, then import again; equal parts are skipped.",
    }
}

/// What to do where the machines of the hub stand against a change.
pub(super) fn machines_hint(code: &str) -> &'static str {
    match code {
        "machine_not_invited" => {
            "`jikai-hub cluster status` lists the machines; another one is invited first: `jikai-hub cluster invite`."
        }
        "machine_retired" => "Invite it anew, under another number: `jikai-hub cluster invite`, then `jikai-hub join`.",
        "no_peer_address" => {
            "Set `peer_listen` to an address with a port in hub.toml of each machine, and start it again."
        }
        "taking_in_another" => "Wait until it has caught up; `jikai-hub cluster status` shows how far it is.",
        "taking_out_another" => {
            "Wait until it is out, a minute at most; `jikai-hub cluster status` shows the machines."
        }
        "not_taking_out" => "Begin: `jikai-hub cluster remove`; it goes on with what another machine was asked for.",
        "not_taking_in" => "Begin: `jikai-hub cluster add`; it goes on where it stopped.",
        "machine_silent" => "Start it first; `jikai-hub cluster status` shows who answers.",
        "no_majority_left" => "Start the machines that do not answer, or remove those first.",
        "votes_only" => "Name a machine that serves.",
        "belongs_to_no_hub" => {
            "Ask a machine of the hub; to have this one taken in, ask it there: `jikai-hub cluster add`."
        }
        "clock_apart" => "Set its clock right (NTP), then ask again.",
        "last_machine" => "Add another machine first, or let one serve again: `jikai-hub cluster drain --undo`.",
        "no_successor" => "Start another voter; `jikai-hub cluster status` shows them.",
        _ => "`jikai-hub cluster status` shows the machines.",
    }
}

fn unknown(kind: &str) -> &'static str {
    match kind {
        "certificate" => "`jikai-hub ca list` shows them.",
        "change" => "GET /v1/changes lists them.",
        "staff" => "GET /v1/staff lists the accounts.",
        "machine" => "GET /v1/cluster lists them.",
        "node" => "GET /v1/nodes lists them; `jikai-hub node add` adds one.",
        "parameter" => "GET /v1/parameters lists them.",
        "support" => "GET /v1/support lists them.",
        "terminal" => "GET /v1/terminals lists them; a device is known once it was enrolled or imported.",
        _ => "Define it first, or correct its id.",
    }
}

/// By the codes that the machine's rules carry.
fn rule(code: &str) -> &'static str {
    match code {
        "same_person" => "Ask a colleague who may decide this.",
        "own_account" => "Ask a colleague: nobody alters the own account.",
        "not_own_account" => "Only the person does this, in the own session.",
        "not_own_change" => "Ask its maker to take it back, or refuse it.",
        "not_a_person" => "Log in as a person: POST /v1/session.",
        "not_vendor" => "Name an account that holds vendor_support and is in use.",
        "change_closed" => "It was decided, taken back or has expired: propose it anew if it is still wanted.",
        "changed_meanwhile" => "Read it again, and decide on what it says now.",
        "nothing_changes" => "Nothing is to be done.",
        "too_many_changes" => "Take back what is not wanted any more, or wait for decisions.",
        "maker_out_of_use" => "Refuse it (POST /v1/changes/{number}/refusal), and have a colleague propose it anew.",
        "two_persons_required" => "Propose it (POST /v1/changes); another person decides.",
        "prize_data_not_released" => "Propose the package (POST /v1/changes, kind prize_data); the other key decides.",
        "security_administrator_exists" => "Ask a security administrator.",
        "security_administrator_decides" => "Ask another security administrator to decide.",
        "confirmation_refused" => "Check the code, or have a new one drawn: the newest alone is good, for 72 hours.",
        "account_out_of_use" => "Put the account in use first (PUT /v1/staff/{login}).",
        "machine_retired" | "last_machine" => machines_hint(code),
        "machine_not_announced" => "Start it first: `jikai-hub run`.",
        "second_factor_missing" => "PUT /v1/own/second-factor, then log in with a code.",
        "second_factor_exists" => {
            "A security administrator takes a lost one off (DELETE /v1/staff/{login}/second-factor)."
        }
        "code_used" => "Each code works once: wait for the next one.",
        "not_without_rights" => "Ask a security administrator: the account, or what it holds, stands in the way.",
        "roles_conflict" => "Give the second role to another person; README lists the roles.",
        "terminal_in_use" => "Choose another number, or put the device out of use first (`jikai-hub terminal revoke`).",
        "enrolment_refused" => {
            "Have a new code drawn (`jikai-hub terminal enrol`), and use it once, at the outlet's node."
        }
        "not_waiting" => "Ask anew (POST /v1/support).",
        "certificates_revoked" => "Have the node make a new request (`jikai-node request`), and sign that.",
        "certificate_not_good" => "`jikai-hub ca list` shows which are good.",
        "node_exists" => {
            "Choose another number (`GET /v1/nodes` shows them); a store that is lost is replaced: `jikai-hub node replace`."
        }
        "node_retired" => "Choose a number that was never given; `GET /v1/nodes` lists those that are out of use.",
        "node_serves_outlets" => {
            "Move them first: `jikai-hub node remove --drain`, or `jikai-hub handoff plan --empty NODE`, then `handoff start`. A dead node is replaced, not removed."
        }
        "node_in_handoff" => {
            "Wait until they have arrived (`jikai-hub handoff status`), or take back what waits: `jikai-hub handoff cancel`."
        }
        RECOVERING => {
            "Wait until its nodes have returned the rest: `jikai-hub restore --status` shows whom it awaits, and `--finish --without` goes on without them."
        }
        "no_epoch" | "same_store" => "Ask again: another store is drawn each time.",
        "outlet_suspended" => "Put the outlet in use first, or choose another one.",
        "batch_stopped" | "sale_transition" => "Propose the sale of the batch first (POST /v1/changes, kind sale).",
        "approval_missing" | "notice_too_recent" => "Give the approval's number and the day of the public notice.",
        "prefecture_unserved" | "prefecture_taken" => "GET /v1/nodes shows which node serves which prefecture.",
        _ => "Correct what breaks the rule, then send it again.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refusals that a person meets at the API, not in a file.
    const PERSONAL: [&str; 20] = [
        RECOVERING,
        "node_exists",
        "node_retired",
        "node_serves_outlets",
        "node_in_handoff",
        "same_person",
        "own_account",
        "not_own_account",
        "not_own_change",
        "change_closed",
        "changed_meanwhile",
        "security_administrator_exists",
        "security_administrator_decides",
        "terminal_in_use",
        "two_persons_required",
        "maker_out_of_use",
        "confirmation_refused",
        "second_factor_missing",
        "nothing_changes",
        "not_a_person",
    ];

    fn refused(code: &str) -> Refusal {
        Refusal::Rule { code: code.to_string(), rule: "a rule".to_string() }
    }

    #[test]
    fn who_meets_a_rule_is_told_what_to_do_about_this_one_and_nothing_of_files() {
        let general = hint(&refused("another_rule"));
        for code in PERSONAL {
            let hint = hint(&refused(code));
            assert!(hint != general && !hint.contains("equal parts"), "{code}: {hint}");
        }
        assert!(!general.contains("equal parts"));
        assert!(import_hint(&refused("same_person")).contains("equal parts are skipped"));
    }

    #[test]
    fn what_is_not_known_is_told_with_where_it_is_listed() {
        let unknown = |kind: &str| hint(&Refusal::Unknown { kind: kind.to_string(), id: "7".to_string() });
        assert_eq!(unknown("certificate"), "`jikai-hub ca list` shows them.");
        assert!(unknown("change").contains("/v1/changes"));
        assert!(unknown("outlet").contains("Define it first"));
        let taken = Refusal::ExistsWithOther { kind: "staff".to_string(), id: "wei".to_string() };
        assert!(hint(&taken).contains("login name is taken"));
    }
}
