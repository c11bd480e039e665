//! Facts about the centre's staff: accounts, sessions, refusals, and what was only read. Kept by the hub alone.
//!
//! No event holds a password, a hash of one, a second factor or a session token.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::staff::Grant;
use crate::time::TimeMs;

/// First bytes of a session's tag: tells sessions apart in a list and in the trail, and opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionNo(pub [u8; 8]);

/// Facts about staff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StaffEvent {
    /// An account was made.
    AccountCreated {
        /// Its login name; never given again.
        login: String,
        /// The person's name.
        name: String,
    },
    /// An account was changed; an earlier event of the account tells what was before.
    AccountChanged {
        /// Whose.
        login: String,
        /// The person's name.
        name: String,
        /// Whether the person may log in.
        active: bool,
    },
    /// What was granted to a person was changed.
    GrantsChanged {
        /// To whom.
        login: String,
        /// Before.
        before: Vec<Grant>,
        /// After.
        after: Vec<Grant>,
    },
    /// A password was set.
    PasswordSet {
        /// Whose.
        login: String,
        /// Whether it must be changed at the next login.
        temporary: bool,
    },
    /// A second factor was set up. Earlier recovery codes are void.
    SecondFactorSet {
        /// Whose.
        login: String,
    },
    /// A second factor was taken off, to be set up anew.
    SecondFactorCleared {
        /// Whose.
        login: String,
    },
    /// A session was opened.
    SessionOpened {
        /// Whose.
        login: String,
        /// Which.
        session: SessionNo,
        /// From where.
        address: IpAddr,
        /// How the person proved to be the one.
        proof: Proof,
    },
    /// A session has ended.
    SessionEnded {
        /// Whose.
        login: String,
        /// Which.
        session: SessionNo,
        /// Whether somebody else ended it.
        revoked: bool,
    },
    /// A login failed. The name is as it was given, shortened.
    LoginFailed {
        /// The name that was given.
        given: String,
        /// From where.
        address: IpAddr,
        /// Failures in a row of that account; 0 for a name that has none.
        failures: u32,
    },
    /// A request was refused because the person may not make it.
    AccessRefused {
        /// What was asked for, such as `POST /v1/imports/batch`.
        request: String,
        /// What would have been needed, such as `see ledger`.
        needed: String,
        /// From where.
        address: IpAddr,
    },
    /// Something sensitive was read or taken out.
    SensitiveRead {
        /// What, such as `GET /v1/nodes/3/events`.
        request: String,
        /// From where.
        address: IpAddr,
    },
    /// Somebody asked that an account of the vendor may be used for a while.
    SupportAsked {
        /// Number of the access.
        number: u32,
        /// The vendor's account.
        login: String,
        /// What for.
        reason: String,
        /// How long, from the approval. Minutes.
        minutes: u16,
    },
    /// A second person opened the vendor's access.
    SupportOpened {
        /// Which.
        number: u32,
        /// The vendor's account.
        login: String,
        /// When it ends by itself.
        until_ms: TimeMs,
    },
    /// The vendor's access was refused, or ended before its time.
    SupportEnded {
        /// Which.
        number: u32,
        /// The vendor's account.
        login: String,
    },
    /// A code was handed to the person behind an account.
    ConfirmationOffered {
        /// Whose account.
        login: String,
        /// Until when it is good.
        expires_at_ms: TimeMs,
    },
    /// The person behind an account has shown the code: its rights work from now on, until the second factor is taken off.
    Confirmed {
        /// Whose account.
        login: String,
    },
}

/// How a person proved to be the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// The password alone.
    Password,
    /// Password and one-time code.
    OneTimeCode,
    /// Password and a recovery code, which is used up.
    RecoveryCode,
}

impl StaffEvent {
    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        use serde_json::json;
        match self {
            StaffEvent::AccountCreated { login, name } => {
                json!({ "kind": "staff_created", "login": login, "name": name })
            }
            StaffEvent::AccountChanged { login, name, active } => {
                json!({ "kind": "staff_changed", "login": login, "name": name, "active": active })
            }
            StaffEvent::GrantsChanged { login, before, after } => {
                json!({ "kind": "staff_grants_changed", "login": login, "before": before, "after": after })
            }
            StaffEvent::PasswordSet { login, temporary } => {
                json!({ "kind": "staff_password_set", "login": login, "temporary": temporary })
            }
            StaffEvent::SecondFactorSet { login } => json!({ "kind": "staff_second_factor_set", "login": login }),
            StaffEvent::SecondFactorCleared { login } => {
                json!({ "kind": "staff_second_factor_cleared", "login": login })
            }
            StaffEvent::SessionOpened { login, session, address, proof } => json!({
                "kind": "staff_session_opened", "login": login, "session": hex::encode(session.0), "address": address,
                "proof": match proof {
                    Proof::Password => "password",
                    Proof::OneTimeCode => "one_time_code",
                    Proof::RecoveryCode => "recovery_code",
                },
            }),
            StaffEvent::SessionEnded { login, session, revoked } => json!({
                "kind": "staff_session_ended", "login": login, "session": hex::encode(session.0), "revoked": revoked,
            }),
            StaffEvent::LoginFailed { given, address, failures } => {
                json!({ "kind": "staff_login_failed", "given": given, "address": address, "failures": failures })
            }
            StaffEvent::AccessRefused { request, needed, address } => {
                json!({ "kind": "access_refused", "request": request, "needed": needed, "address": address })
            }
            StaffEvent::SensitiveRead { request, address } => {
                json!({ "kind": "sensitive_read", "request": request, "address": address })
            }
            StaffEvent::SupportAsked { number, login, reason, minutes } => json!({
                "kind": "support_asked", "number": number, "login": login, "reason": reason, "minutes": minutes,
            }),
            StaffEvent::SupportOpened { number, login, until_ms } => {
                json!({ "kind": "support_opened", "number": number, "login": login, "until_ms": until_ms })
            }
            StaffEvent::SupportEnded { number, login } => {
                json!({ "kind": "support_ended", "number": number, "login": login })
            }
            StaffEvent::ConfirmationOffered { login, expires_at_ms } => {
                json!({ "kind": "confirmation_offered", "login": login, "expires_at_ms": expires_at_ms.ms() })
            }
            StaffEvent::Confirmed { login } => json!({ "kind": "staff_confirmed", "login": login }),
        }
    }
}
