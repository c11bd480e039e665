//! Staff of the centre: who they are, and what was granted to them. Source: DOMAIN §5.
//!
//! A [`Grant`] is a role in an area, if need be only at some hours and from some addresses. What a role may do is the hub's
//! table of permissions; which roles one *person* may hold together is decided here.

mod grant;
mod role;

pub use grant::{AddressRange, Area, Grant, Hours};
pub use role::{Role, conflict};

use crate::id::IdError;

/// Longest login name. Bytes.
pub const LOGIN_BYTES_MAX: usize = 32;
/// Longest display name. Bytes.
pub const STAFF_NAME_BYTES_MAX: usize = 60;
/// Most grants of one person.
pub const GRANTS_MAX: usize = 16;

/// Checks a login name: 3 to 32 of `a-z 0-9 . _ -`, a letter first. ASCII only: no two names look alike, and upper and
/// lower case cannot differ.
pub fn check_login(login: &str) -> Result<(), IdError> {
    let fits = (3..=LOGIN_BYTES_MAX).contains(&login.len());
    let letters =
        login.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte));
    match fits && letters && login.as_bytes()[0].is_ascii_lowercase() {
        true => Ok(()),
        false => Err(IdError::new("login name", login, "3 to 32 of a-z, 0-9, `.`, `_`, `-`, a letter first")),
    }
}

/// Checks a display name: 1 to 60 bytes, no control or direction characters that could make it read as another name.
pub fn check_name(name: &str) -> Result<(), IdError> {
    let hidden = |sign: char| {
        sign.is_control()
            || matches!(sign, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let fits = (1..=STAFF_NAME_BYTES_MAX).contains(&name.len()) && name.trim() == name;
    match fits && !name.chars().any(hidden) {
        true => Ok(()),
        false => {
            Err(IdError::new("name", name.escape_default(), "1 to 60 bytes, no hidden characters or outer spaces"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_names_are_plain_and_cannot_look_alike() {
        for good in ["abc", "li.wei", "a-1_2", "x23456789012345678901234567890ab"] {
            check_login(good).unwrap();
        }
        let bad = [
            "",
            "ab",
            "1abc",
            "Li",
            "liwei ",
            "li wei",
            "лі.веі",
            "li\u{200b}wei",
            "x234567890123456789012345678901ab",
            "a\nb",
        ];
        for bad in bad {
            assert!(check_login(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_hold_no_hidden_characters() {
        for good in ["李伟", "Li Wei", "O'Neil"] {
            check_name(good).unwrap();
        }
        for bad in ["", " 李", "李\u{202e}伟", "a\u{0}b", "a\r\nb", &"名".repeat(21)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
