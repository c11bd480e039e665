//! Where things are: prefecture, node, outlet, and what stands in an outlet.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdError, digits};

/// A regional node, 1..=4095; 0 is the hub. Part of packed keys, hence the 12 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct NodeId(u16);

impl NodeId {
    /// The hub as the origin of events and as the owner of what lies at the centre.
    pub const HUB: NodeId = NodeId(0);
    /// The largest number a node can have: 12 bits.
    pub const MAX: u16 = (1 << 12) - 1;

    /// Accepts 0 (the hub) to 4095.
    pub fn new(number: u16) -> Result<Self, IdError> {
        if number <= Self::MAX {
            Ok(NodeId(number))
        } else {
            Err(IdError::new("node id", number, "a number from 0 to 4095"))
        }
    }

    /// The plain number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether this is the hub rather than a regional node.
    pub const fn is_hub(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u16> for NodeId {
    type Error = IdError;
    fn try_from(value: u16) -> Result<Self, IdError> {
        NodeId::new(value)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The class (站点类别) of an outlet, 1..=9, by which parameters may differ; 1 while none was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct OutletClass(u8);

impl OutletClass {
    /// The class of an outlet that was given none.
    pub const FIRST: OutletClass = OutletClass(1);

    /// Accepts 1..=9.
    pub fn new(class: u8) -> Result<Self, IdError> {
        if (1..=9).contains(&class) {
            Ok(OutletClass(class))
        } else {
            Err(IdError::new("outlet class", class, "1 to 9"))
        }
    }

    /// The plain number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for OutletClass {
    type Error = IdError;
    fn try_from(value: u8) -> Result<Self, IdError> {
        OutletClass::new(value)
    }
}

/// A prefecture by its GB/T 2260 code: 4 digits, province and prefecture, e.g. 1301 Shijiazhuang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct PrefectureCode(u16);

impl PrefectureCode {
    /// Accepts 1000..=9999.
    pub fn new(code: u16) -> Result<Self, IdError> {
        if (1000..=9999).contains(&code) {
            Ok(PrefectureCode(code))
        } else {
            Err(IdError::new("prefecture code", code, "4 digits of GB/T 2260"))
        }
    }

    /// The plain number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for PrefectureCode {
    type Error = IdError;
    fn try_from(value: u16) -> Result<Self, IdError> {
        PrefectureCode::new(value)
    }
}

impl fmt::Display for PrefectureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

impl FromStr for PrefectureCode {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let code = digits(text, 4).and_then(|code| u16::try_from(code).ok());
        PrefectureCode::new(code.ok_or_else(|| IdError::new("prefecture code", text, "4 digits of GB/T 2260"))?)
    }
}

/// A sales outlet: 8 decimal digits, the first four its prefecture. Fits 27 bits of a packed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct OutletId(u32);

impl OutletId {
    /// Accepts 10_000_000..=99_999_999.
    pub fn new(id: u32) -> Result<Self, IdError> {
        if (10_000_000..=99_999_999).contains(&id) {
            Ok(OutletId(id))
        } else {
            Err(IdError::new("outlet id", id, "8 digits, the first four a prefecture code"))
        }
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The prefecture that the first four digits name.
    pub const fn prefecture(self) -> PrefectureCode {
        PrefectureCode((self.0 / 10_000) as u16)
    }
}

impl TryFrom<u32> for OutletId {
    type Error = IdError;
    fn try_from(value: u32) -> Result<Self, IdError> {
        OutletId::new(value)
    }
}

impl fmt::Display for OutletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OutletId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = digits(text, 8).and_then(|id| u32::try_from(id).ok());
        OutletId::new(id.ok_or_else(|| IdError::new("outlet id", text, "8 digits, the first four a prefecture code"))?)
    }
}

macro_rules! outlet_member {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64")]
        pub struct $name(u64);

        impl $name {
            /// Accepts an outlet id followed by two digits.
            pub fn new(id: u64) -> Result<Self, IdError> {
                let outlet = u32::try_from(id / 100).map_err(|_| IdError::new($kind, id, "an outlet id and 2 digits"))?;
                OutletId::new(outlet).map_err(|_| IdError::new($kind, id, "an outlet id and 2 digits"))?;
                Ok($name(id))
            }

            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The outlet it belongs to.
            pub const fn outlet(self) -> OutletId {
                OutletId((self.0 / 100) as u32)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = IdError;
            fn try_from(value: u64) -> Result<Self, IdError> {
                $name::new(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                $name::new(digits(text, 10).ok_or_else(|| IdError::new($kind, text, "an outlet id and 2 digits"))?)
            }
        }
    };
}

outlet_member!(
    /// A device of an outlet (terminal, scan gun or phone app): the outlet id and two digits.
    TerminalId,
    "terminal id"
);
outlet_member!(
    /// A person who works a terminal of an outlet: the outlet id and two digits.
    OperatorId,
    "operator id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlet_id_needs_eight_ascii_digits() {
        assert_eq!("13010001".parse::<OutletId>().map(OutletId::get), Ok(13_010_001));
        for bad in ["1301001", "130100011", "03010001", "1301000a", "+3010001", "１３０１０００１", ""] {
            assert!(bad.parse::<OutletId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn members_know_their_outlet_and_outlets_their_prefecture() {
        let terminal: TerminalId = "1301000107".parse().unwrap();
        assert_eq!(terminal.outlet().to_string(), "13010001");
        assert_eq!(terminal.outlet().prefecture().to_string(), "1301");
        assert!("0101000107".parse::<OperatorId>().is_err());
    }

    #[test]
    fn a_node_number_fits_twelve_bits() {
        assert!(NodeId::new(4095).is_ok());
        assert!(NodeId::new(4096).is_err());
        assert!(NodeId::HUB.is_hub());
    }
}
