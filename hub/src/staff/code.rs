//! Codes that a person types: recovery codes, and the code that confirms an account.

use jikai_schema::crypto::{Suite, hash};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::spoken;

/// Letters of a code, of 32 each: 80 bits, so that whoever steals the hashes finds none by trying.
const LETTERS: usize = 16;
/// Letters that stand together.
const GROUP: usize = 4;
/// Length with the dashes between the groups.
pub(super) const CODE_CHARS: usize = LETTERS + LETTERS / GROUP - 1;

/// Draws a code such as `abcd-efgh-jkmn-2345`; `None` when the system gives no random numbers.
pub(super) fn draw() -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; LETTERS]);
    SysRng.try_fill_bytes(bytes.as_mut()).ok()?;
    let letters = Zeroizing::new(spoken(bytes.as_slice()));
    let mut code = Zeroizing::new(String::with_capacity(CODE_CHARS));
    for (at, letter) in letters.chars().enumerate() {
        if at > 0 && at % GROUP == 0 {
            code.push('-');
        }
        code.push(letter);
    }
    Some(code)
}

/// What is kept of a code, as people type it; `what` tells codes of different uses apart.
pub fn kept(what: &str, code: &str) -> [u8; 32] {
    let typed = Zeroizing::new(code.trim().to_lowercase());
    hash(Suite::configured(), &[b"jikai ", what.as_bytes(), b"\n", typed.as_bytes()])
}

/// The code that somebody who grants rights hands to the person behind an account.
pub struct ConfirmationCode;

impl ConfirmationCode {
    /// Draws one; `None` when the system gives no random numbers.
    pub fn draw() -> Option<Zeroizing<String>> {
        draw()
    }

    /// What is kept of it, for one account.
    pub fn hash(login: &str, code: &str) -> [u8; 32] {
        kept(&format!("confirmation of {login}"), code)
    }
}

/// The code that opens the invitation of a machine.
pub struct InvitationCode;

impl InvitationCode {
    /// Draws one; `None` when the system gives no random numbers.
    pub fn draw() -> Option<Zeroizing<String>> {
        draw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it_and_is_of_one_account_and_use() {
        let (code, other) = (draw().unwrap(), draw().unwrap());
        assert_eq!(code.len(), CODE_CHARS);
        assert_ne!(code, other);
        let typed = format!(" {} ", code.to_uppercase());
        assert_eq!(ConfirmationCode::hash("wei", &typed), ConfirmationCode::hash("wei", &code));
        assert_ne!(ConfirmationCode::hash("wei", &code), ConfirmationCode::hash("ming", &code));
        assert_ne!(ConfirmationCode::hash("wei", &code), kept("recovery", &code));
    }
}
