//! Commands about staff. Passwords were hashed, codes compared and tokens drawn by the proposer; what two requests could
//! race for (a one-time code, the count of failures, a name) is decided when the command is applied.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::staff::Grant;
use crate::time::TimeMs;

/// What is kept of a session token: its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionTag(pub [u8; 32]);

impl core::fmt::Debug for SessionTag {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SessionTag(…)")
    }
}

/// What is to be done about staff. The actor of the proposal is who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StaffCommand {
    /// Make the first account of a new hub, with its role. Refused once there is any.
    CreateFirst(NewStaff, Grant),
    /// Make an account without any right.
    Create(NewStaff),
    /// Change name or state. An account that is put out of use loses its sessions.
    Change {
        /// Whose.
        login: String,
        /// The person's name.
        name: String,
        /// Whether the person may log in.
        active: bool,
    },
    /// Replace what is granted to a person, who loses the open sessions.
    SetGrants {
        /// To whom.
        login: String,
        /// What the proposer saw, so that two changes at once do not overwrite each other.
        seen: Vec<Grant>,
        /// All that is granted from now on.
        grants: Vec<Grant>,
    },
    /// Set the own password, in place of the one that the proposer has compared.
    ChangePassword {
        /// Whose.
        login: String,
        /// The hash that was compared.
        seen_hash: String,
        /// The new one, argon2id in PHC form.
        password_hash: String,
    },
    /// Give a person a temporary password, and end the open sessions.
    ResetPassword {
        /// Whose.
        login: String,
        /// Argon2id in PHC form.
        password_hash: String,
    },
    /// Set up the own second factor, which the proposer has seen to work.
    SetSecondFactor {
        /// Whose.
        login: String,
        /// The secret, encrypted.
        sealed: Vec<u8>,
        /// Time step of the code that was shown.
        step: u64,
        /// SHA-256 of each recovery code.
        recovery: Vec<[u8; 32]>,
    },
    /// Take a lost second factor off, and end the open sessions.
    ClearSecondFactor {
        /// Whose.
        login: String,
    },
    /// Open a session for somebody whose password was right.
    OpenSession {
        /// Whose.
        login: String,
        /// The hash that was compared.
        seen_hash: String,
        /// Tag of the token.
        tag: SessionTag,
        /// From where.
        address: IpAddr,
        /// What was shown besides.
        factor: Factor,
    },
    /// The session was used: it stays open.
    TouchSession {
        /// Which.
        tag: SessionTag,
    },
    /// End a session.
    EndSession {
        /// Which.
        tag: SessionTag,
    },
    /// Note a login that failed.
    NoteFailure {
        /// The name that was given, shortened.
        given: String,
        /// From where.
        address: IpAddr,
    },
    /// Note that somebody asked for what the person may not.
    NoteRefusal {
        /// Such as `POST /v1/imports/batch`.
        request: String,
        /// What would have been needed.
        needed: String,
        /// From where.
        address: IpAddr,
    },
    /// Note that somebody reads something sensitive.
    NoteReading {
        /// Such as `GET /v1/nodes/3/events`.
        request: String,
        /// From where.
        address: IpAddr,
    },
    /// Make a person the first security administrator, who grants everything from then on. Refused once there is one.
    GrantFirstSecurity {
        /// Who.
        login: String,
    },
    /// Ask that an account of the vendor may be used for a while.
    AskSupport {
        /// The vendor's account.
        login: String,
        /// What for.
        reason: String,
        /// How long, from the approval. Minutes, 1 to 480.
        minutes: u16,
    },
    /// Open the access that another person asked for.
    ApproveSupport {
        /// Which.
        number: u32,
    },
    /// Refuse an access that waits, or end an open one before its time.
    EndSupport {
        /// Which.
        number: u32,
    },
    /// Hand a code to the person behind an account, who confirms it by showing the code. An earlier code is void.
    OfferConfirmation {
        /// Whose account.
        login: String,
        /// SHA-256 of the code.
        code_hash: [u8; 32],
        /// Until when it is good.
        expires_at_ms: TimeMs,
    },
    /// Show the code that was handed over for the own account.
    Confirm {
        /// Whose account.
        login: String,
        /// SHA-256 of the code.
        code_hash: [u8; 32],
    },
    /// Note a login that failed although the password was right: the code was wrong, used before, or not sent.
    NoteCodeFailure {
        /// Whose.
        login: String,
        /// From where.
        address: IpAddr,
    },
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewStaff {
    /// Its login name.
    pub login: String,
    /// The person's name.
    pub name: String,
    /// Of the temporary password; argon2id in PHC form.
    pub password_hash: String,
}

/// What was shown besides the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factor {
    /// Nothing.
    None,
    /// The one-time code of this time step.
    OneTimeCode {
        /// Each step is accepted once.
        step: u64,
    },
    /// A recovery code with this SHA-256.
    RecoveryCode {
        /// Its hash.
        hash: [u8; 32],
    },
}
