//! Personal data of outlets' owners: what each field may hold, and how it is shown to whom need not see it.
//!
//! The values themselves are encrypted before they are proposed; no event and no table holds one in the clear.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A field. Append only: numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PersonalField {
    /// Identity card (GB 11643): 17 digits and a check character.
    IdentityNumber = 1,
    /// Mobile phone: 11 digits.
    Phone = 2,
    /// Bank account: 12 to 30 digits.
    BankAccount = 3,
}

/// A value that a field cannot hold. The text never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .0 {
    PersonalField::IdentityNumber => "an identity number has 17 digits and a check character that fits them",
    PersonalField::Phone => "a mobile phone has 11 digits, beginning with 1",
    PersonalField::BankAccount => "a bank account has 12 to 30 digits",
})]
pub struct PersonalError(pub PersonalField);

impl PersonalField {
    /// All fields.
    pub const ALL: [PersonalField; 3] =
        [PersonalField::IdentityNumber, PersonalField::Phone, PersonalField::BankAccount];

    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            PersonalField::IdentityNumber => "identity_number",
            PersonalField::Phone => "phone",
            PersonalField::BankAccount => "bank_account",
        }
    }

    /// The field with this stored number.
    pub fn from_number(number: i64) -> Option<Self> {
        PersonalField::ALL.into_iter().find(|field| *field as i64 == number)
    }

    /// Checks a value. Errors: [`PersonalError`].
    pub fn check(self, value: &str) -> Result<(), PersonalError> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let good = match self {
            PersonalField::IdentityNumber => is_identity_number(value),
            PersonalField::Phone => value.len() == 11 && digits(value) && value.starts_with('1'),
            PersonalField::BankAccount => (12..=30).contains(&value.len()) && digits(value),
        };
        if good { Ok(()) } else { Err(PersonalError(self)) }
    }

    /// A checked value with all but a few characters hidden: enough to tell two apart at the counter, not to use one.
    pub fn mask(self, value: &str) -> String {
        let (first, last) = match self {
            PersonalField::IdentityNumber => (3, 4),
            PersonalField::Phone => (3, 4),
            PersonalField::BankAccount => (0, 4),
        };
        let count = value.chars().count();
        let shown = |at: usize| at < first || at + last >= count;
        value.chars().enumerate().map(|(at, letter)| if shown(at) { letter } else { '*' }).collect()
    }
}

/// GB 11643: the weighted sum of the first 17 digits determines the last character.
fn is_identity_number(value: &str) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    const CHECKS: [u8; 11] = *b"10X98765432";
    let bytes = value.as_bytes();
    if bytes.len() != 18 || !bytes[..17].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = bytes.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    CHECKS[(sum % 11) as usize] == bytes[17]
}

impl fmt::Display for PersonalField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PersonalField {
    type Err = UnknownField;
    fn from_str(text: &str) -> Result<Self, UnknownField> {
        PersonalField::ALL.into_iter().find(|field| field.name() == text).ok_or(UnknownField)
    }
}

/// A name of no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a field is identity_number, phone or bank_account")]
pub struct UnknownField;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_possible_values_are_taken_and_no_error_repeats_one() {
        use PersonalField::*;
        let good = [
            (IdentityNumber, "11010519491231002X"),
            (IdentityNumber, "440524188001010014"),
            (Phone, "13800138000"),
            (BankAccount, "6222020200112233445"),
        ];
        for (field, value) in good {
            assert_eq!(field.check(value), Ok(()), "{value}");
        }
        let bad = [
            (IdentityNumber, "110105194912310021"),
            (IdentityNumber, "11010519491231002x"),
            (IdentityNumber, "1101051949123100２X"),
            (IdentityNumber, ""),
            (Phone, "23800138000"),
            (Phone, "1380013800"),
            (Phone, "+8613800138000"),
            (BankAccount, "62220202001"),
            (BankAccount, "6222 0202 0011 2233 445"),
        ];
        for (field, value) in bad {
            let error = field.check(value).unwrap_err();
            assert_eq!(error, PersonalError(field), "{value}");
            assert!(value.is_empty() || !error.to_string().contains(value));
        }
    }

    #[test]
    fn a_mask_shows_the_ends_only_and_keeps_the_length() {
        use PersonalField::*;
        assert_eq!(IdentityNumber.mask("11010519491231002X"), "110***********002X");
        assert_eq!(Phone.mask("13800138000"), "138****8000");
        assert_eq!(BankAccount.mask("6222020200112233445"), "***************3445");
    }

    #[test]
    fn a_field_keeps_its_number_and_its_name() {
        for (field, number) in PersonalField::ALL.into_iter().zip(1..) {
            assert_eq!(PersonalField::from_number(number), Some(field));
            assert_eq!(field.name().parse(), Ok(field));
        }
        assert_eq!(PersonalField::from_number(4), None);
        assert_eq!("name".parse::<PersonalField>(), Err(UnknownField));
    }
}
