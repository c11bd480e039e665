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

/// Whether a sign is not seen, or changes how its neighbours read: controls, line separators, joiners, directions, fillers,
/// tags. With one of them a text can be shown as another one. (Variants of Chinese characters are no such signs.)
pub fn is_hidden(sign: char) -> bool {
    sign.is_control()
        || matches!(sign,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Checks a display name: 1 to 60 bytes, nothing hidden that could make it read as another name.
pub fn check_name(name: &str) -> Result<(), IdError> {
    let fits = (1..=STAFF_NAME_BYTES_MAX).contains(&name.len()) && name.trim() == name;
    match fits && !name.chars().any(is_hidden) {
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
        for good in ["李伟", "Li Wei", "O'Neil", "葛\u{e0100}"] {
            check_name(good).unwrap();
        }
        let hidden =
            ["李\u{202e}伟", "李\u{200b}伟", "李\u{ad}伟", "李\u{61c}伟", "\u{3164}", "李\u{e0041}伟", "李\u{2028}伟"];
        for bad in ["", " 李", "a\u{0}b", "a\r\nb", &"名".repeat(21)].into_iter().chain(hidden) {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
