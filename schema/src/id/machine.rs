//! Machines of the hub.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::IdError;

/// Number of a machine of the hub: 1 to 9999. Never used again, not even after the machine was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct MachineNo(u16);

impl MachineNo {
    /// The machine that made the hub.
    pub const FIRST: MachineNo = MachineNo(1);

    /// Checks the range.
    pub fn new(number: u16) -> Result<Self, IdError> {
        match number {
            1..=9_999 => Ok(MachineNo(number)),
            _ => Err(IdError::new("machine number", number, "1 to 9999")),
        }
    }

    /// The plain number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for MachineNo {
    type Error = IdError;

    fn try_from(value: u16) -> Result<Self, IdError> {
        MachineNo::new(value)
    }
}

impl From<MachineNo> for u16 {
    fn from(machine: MachineNo) -> u16 {
        machine.0
    }
}

impl fmt::Display for MachineNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_1_to_9999() {
        assert!(MachineNo::new(1).is_ok() && MachineNo::new(9_999).is_ok());
        assert!(MachineNo::new(0).is_err() && MachineNo::new(10_000).is_err());
    }
}
