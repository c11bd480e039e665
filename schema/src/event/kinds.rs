//! Names of all kinds of events, as views call them.

/// Every kind that [`EventView`](super::EventView) writes, in alphabetical order.
pub const KINDS: [&str; 84] = [
    "access_refused",
    "batch_defined",
    "batch_sale_changed",
    "certificate_issued",
    "certificate_renewed",
    "certificate_revoked",
    "certificate_superseded",
    "change_approved",
    "change_proposed",
    "change_refused",
    "change_withdrawn",
    "confirmation_offered",
    "deposit_credited",
    "directory_published",
    "division_defined",
    "enrolment_failed",
    "enrolment_offered",
    "game_defined",
    "handoff_cancelled",
    "handoff_ordered",
    "hub_events_lost",
    "hub_feed_recovered",
    "hub_generation_raised",
    "hub_lease_taken",
    "hub_machine_defined",
    "hub_machine_invited",
    "hub_machine_lost",
    "hub_machine_returned",
    "hub_machine_state_changed",
    "impossible_ticket_presented",
    "login_failed",
    "machine_command_run",
    "node_certificates_revoked",
    "node_clone_refused",
    "node_defined",
    "node_invited",
    "node_reached",
    "node_replaced",
    "node_retired",
    "operator_defined",
    "operator_disabled",
    "outlet_arrived",
    "outlet_classified",
    "outlet_defined",
    "outlet_left",
    "outlet_released",
    "outlet_requests_listed",
    "outlet_requests_moved",
    "outlet_rows_moved",
    "outlet_taken_back",
    "pack_checked_in",
    "pack_hold_changed",
    "pack_returned",
    "pack_shipped",
    "parameter_set",
    "personal_data_cleared",
    "personal_data_kept",
    "personal_data_read",
    "redemption_end_announced",
    "right_refused",
    "secrets_resealed",
    "sensitive_read",
    "session_closed",
    "session_opened",
    "staff_changed",
    "staff_confirmed",
    "staff_created",
    "staff_grants_changed",
    "staff_login_failed",
    "staff_password_set",
    "staff_second_factor_cleared",
    "staff_second_factor_set",
    "staff_session_ended",
    "staff_session_opened",
    "support_asked",
    "support_ended",
    "support_opened",
    "terminal_defined",
    "terminal_revoked",
    "ticket_claimed",
    "ticket_scratched",
    "ticket_sold",
    "tickets_inquired",
    "wrong_code_presented",
];

/// The kinds that somebody may have meant by a name: they hold it, or a word of it.
pub fn kinds_like(name: &str) -> Vec<&'static str> {
    let holds = |part: &str| KINDS.into_iter().filter(|kind| kind.contains(part)).collect::<Vec<_>>();
    let name = name.trim().to_lowercase().replace([' ', '-'], "_");
    let whole = if name.is_empty() { Vec::new() } else { holds(&name) };
    if !whole.is_empty() {
        return whole;
    }
    let words = name.split('_').filter(|word| word.len() >= 4);
    let mut found: Vec<_> = words.flat_map(|word| holds(&word[..word.floor_char_boundary(5)])).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_suggested_by_what_their_names_hold() {
        assert_eq!(kinds_like("claimed"), ["ticket_claimed"]);
        let of_tickets =
            ["impossible_ticket_presented", "ticket_claimed", "ticket_scratched", "ticket_sold", "tickets_inquired"];
        assert_eq!(kinds_like("Ticket-Claims"), of_tickets);
        assert_eq!(kinds_like("deposits"), ["deposit_credited"]);
        assert_eq!(kinds_like("nonsense"), [""; 0]);
        assert_eq!(kinds_like(""), [""; 0]);
    }
}
