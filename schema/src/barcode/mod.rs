//! What a scanner reads: fixed-width profiles, as data. Source: DOMAIN §4 (public material, to be replaced by
//! the official specification when it is given).

mod outer;

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{BatchCode, GameCode, digits};

pub use outer::{BOX_LENGTH, BoxBarcode, CASE_LENGTH, CaseBarcode};

/// A scanned text that no profile explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BarcodeError {
    /// No profile has this length: not our ticket.
    #[error("a code of {0} characters is not one of ours")]
    UnknownLength(usize),
    /// The length fits a profile, and the game is none of the kinds that we sell: not our ticket.
    #[error("a code of a game that begins with {0} is not one of ours")]
    ForeignGame(char),
    /// The length fits a profile, a field does not.
    #[error("the field `{0}` of the code cannot be read")]
    Field(&'static str),
}

impl BarcodeError {
    /// Whether the code is another issuer's, as far as can be told. A field that was misread or mistyped is none.
    pub fn is_foreign(&self) -> bool {
        matches!(self, BarcodeError::UnknownLength(_) | BarcodeError::ForeignGame(_))
    }
}

/// The pack that a code names, before the batch's number is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackRef {
    /// Game code, 5 characters.
    pub game: GameCode,
    /// Batch code, 5 digits.
    pub batch: BatchCode,
    /// Printed pack number, 7 digits.
    pub pack: u32,
}

impl fmt::Display for PackRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:07}", self.game, self.batch, self.pack)
    }
}

/// The ticket that a code names, before the batch's number is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketRef {
    /// Its pack.
    pub pack: PackRef,
    /// Printed ticket number, 3 digits.
    pub ticket: u16,
}

impl fmt::Display for TicketRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:03}", self.pack, self.ticket)
    }
}

/// The 16 letters under the latex (about 75 bits). Never stored, never logged: `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityCode([u8; 16]);

impl SecurityCode {
    /// Length in letters.
    pub const LENGTH: usize = 16;

    /// Accepts exactly 16 letters A–Z.
    pub fn new(letters: &str) -> Result<Self, BarcodeError> {
        let bytes: [u8; 16] = letters.as_bytes().try_into().map_err(|_| BarcodeError::Field("code"))?;
        if bytes.iter().all(u8::is_ascii_uppercase) {
            Ok(SecurityCode(bytes))
        } else {
            Err(BarcodeError::Field("code"))
        }
    }

    /// The letters, for the prize seal only.
    pub(crate) const fn letters(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for SecurityCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecurityCode(…)")
    }
}

/// The code under the latex: 41 characters = game5 batch5 pack7 ticket3 code16 mark5. The mark is printed in
/// clear and therefore never decides anything; it is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecurityBarcode {
    /// The ticket it stands on.
    pub ticket: TicketRef,
    /// The secret letters.
    pub code: SecurityCode,
}

/// Characters of a security code.
pub const SECURITY_LENGTH: usize = 5 + 5 + 7 + 3 + 16 + 5;
/// Characters of a logistics code.
pub const LOGISTICS_LENGTH: usize = 5 + 5 + 6 + 7 + 3 + 3;

impl SecurityBarcode {
    /// Reads the 41 characters under the latex.
    pub fn parse(text: &str) -> Result<Self, BarcodeError> {
        if text.len() != SECURITY_LENGTH || !text.is_ascii() {
            return Err(BarcodeError::UnknownLength(text.chars().count()));
        }
        let pack = PackRef { game: game(&text[..5])?, batch: batch(&text[5..10])?, pack: pack(&text[10..17])? };
        let ticket = TicketRef { pack, ticket: ticket(&text[17..20])? };
        let mark = &text[36..];
        if !mark.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(BarcodeError::Field("mark"));
        }
        Ok(SecurityBarcode { ticket, code: SecurityCode::new(&text[20..36])? })
    }
}

/// The code printed outside: 29 characters = game5 batch5 lot6 pack7 ticket3 tickets/pack3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogisticsBarcode {
    /// The ticket it stands on; ticket 000 on the label of a pack.
    pub ticket: TicketRef,
    /// Tickets in the pack as printed.
    pub tickets_per_pack: u16,
}

impl LogisticsBarcode {
    /// Reads the 29 characters printed outside.
    pub fn parse(text: &str) -> Result<Self, BarcodeError> {
        if text.len() != LOGISTICS_LENGTH || !text.is_ascii() {
            return Err(BarcodeError::UnknownLength(text.chars().count()));
        }
        digits(&text[10..16], 6).ok_or(BarcodeError::Field("lot"))?;
        let pack = PackRef { game: game(&text[..5])?, batch: batch(&text[5..10])?, pack: pack(&text[16..23])? };
        let tickets_per_pack = digits(&text[26..], 3).ok_or(BarcodeError::Field("tickets_per_pack"))? as u16;
        Ok(LogisticsBarcode { ticket: TicketRef { pack, ticket: ticket(&text[23..26])? }, tickets_per_pack })
    }
}

/// Reads a pack as people and programs write it, `G0201-26001-0000123`, or from a logistics code.
pub fn parse_pack(text: &str) -> Result<PackRef, BarcodeError> {
    if text.len() == LOGISTICS_LENGTH && !text.contains('-') {
        return LogisticsBarcode::parse(text).map(|code| code.ticket.pack);
    }
    let mut parts = text.split('-');
    let (Some(g), Some(b), Some(p), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(BarcodeError::UnknownLength(text.chars().count()));
    };
    Ok(PackRef { game: game(g)?, batch: batch(b)?, pack: pack(p)? })
}

/// Reads a ticket as people and programs write it, `G0201-26001-0000123-045`, or from a logistics code.
pub fn parse_ticket(text: &str) -> Result<TicketRef, BarcodeError> {
    if text.len() == LOGISTICS_LENGTH && !text.contains('-') {
        return LogisticsBarcode::parse(text).map(|code| code.ticket);
    }
    let (pack, number) = text.rsplit_once('-').ok_or(BarcodeError::UnknownLength(text.chars().count()))?;
    Ok(TicketRef { pack: parse_pack(pack)?, ticket: ticket(number)? })
}

fn game(text: &str) -> Result<GameCode, BarcodeError> {
    text.parse().map_err(|_| match text.as_bytes() {
        [letter @ b'A'..=b'Z', number @ ..] if number.len() == 4 && number.iter().all(u8::is_ascii_digit) => {
            BarcodeError::ForeignGame(char::from(*letter))
        }
        _ => BarcodeError::Field("game"),
    })
}

fn batch(text: &str) -> Result<BatchCode, BarcodeError> {
    text.parse().map_err(|_| BarcodeError::Field("batch"))
}

fn pack(text: &str) -> Result<u32, BarcodeError> {
    match digits(text, 7) {
        Some(number) if number > 0 => Ok(number as u32),
        _ => Err(BarcodeError::Field("pack")),
    }
}

fn ticket(text: &str) -> Result<u16, BarcodeError> {
    digits(text, 3).map(|number| number as u16).ok_or(BarcodeError::Field("ticket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_domain_text_is_read() {
        let code = SecurityBarcode::parse("J2015000020013842184DKTSANFUBVYUNAORAG016").unwrap();
        assert_eq!(code.ticket.to_string(), "J2015-00002-0013842-184");
        assert_eq!(code.code, SecurityCode::new("DKTSANFUBVYUNAOR").unwrap());
        assert!(!format!("{code:?}").contains("DKTS"));
    }

    #[test]
    fn a_logistics_code_names_pack_and_ticket() {
        let code = LogisticsBarcode::parse("G0201260010000010000123045300").unwrap();
        assert_eq!(code.ticket.to_string(), "G0201-26001-0000123-045");
        assert_eq!(code.tickets_per_pack, 300);
        assert_eq!(parse_pack("G0201260010000010000123000300"), parse_pack("G0201-26001-0000123"));
        assert_eq!(parse_ticket("G0201260010000010000123045300"), parse_ticket("G0201-26001-0000123-045"));
    }

    #[test]
    fn a_code_of_another_length_or_game_is_foreign_and_a_misread_field_is_not() {
        let good = "J2015000020013842184DKTSANFUBVYUNAORAG016";
        let is_foreign = |text: &str| SecurityBarcode::parse(text).unwrap_err().is_foreign();
        assert!(is_foreign(&good[..40]) && is_foreign("") && is_foreign(&good.replacen('J', "A", 1)));
        assert_eq!(SecurityBarcode::parse(&good.replacen('J', "A", 1)), Err(BarcodeError::ForeignGame('A')));
        assert!(!is_foreign(&good.replace("DKTS", "DKT5")) && !is_foreign(&good.to_lowercase()));
    }

    #[test]
    fn what_no_profile_explains_is_refused_with_the_field() {
        let good = "J2015000020013842184DKTSANFUBVYUNAORAG016";
        for (at, with, field) in [
            (0, "j", "game"),
            (6, "x", "batch"),
            (12, "-", "pack"),
            (18, "z", "ticket"),
            (25, "a", "code"),
            (38, "!", "mark"),
        ] {
            let mut bad = good.to_string();
            bad.replace_range(at..=at, with);
            assert_eq!(SecurityBarcode::parse(&bad), Err(BarcodeError::Field(field)));
        }
        assert_eq!(SecurityBarcode::parse(&good[1..]), Err(BarcodeError::UnknownLength(40)));
        assert!(SecurityBarcode::parse("戈2015000020013842184DKTSANFUBVYUNAORAG0").is_err());
        for bad in ["", "G0201", "G0201-26001", "G0201-26001-0000000", "G0201-26001-123", "G0201-26001-0000001-1-1"] {
            assert!(parse_pack(bad).is_err() && parse_ticket(bad).is_err(), "{bad}");
        }
    }
}
