//! A role in an area, at some hours, from some addresses.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Role;
use crate::id::{OutletId, PrefectureCode};

/// Most outlets that one grant names.
const OUTLETS_MAX: usize = 500;
/// Most address ranges of one grant.
const ADDRESSES_MAX: usize = 8;
/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// Where a grant holds. Rows outside are not shown, not even counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Everywhere.
    Province,
    /// One prefecture.
    Prefecture(PrefectureCode),
    /// One county-level division, 6 digits of GB/T 2260.
    County(u32),
    /// These outlets.
    Outlets(Vec<OutletId>),
}

/// Minutes of the business day between which a grant holds; `until` before `from` runs over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// First minute, 0 to 1439.
    pub from_minute: u16,
    /// First minute after, 0 to 1440.
    pub until_minute: u16,
}

/// A network from which a grant may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    /// Any address of it.
    pub network: IpAddr,
    /// Leading bits that must agree.
    pub prefix_bits: u8,
}

/// A role in an area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Where it holds.
    pub area: Area,
    /// When; always without.
    pub hours: Option<Hours>,
    /// From where; from everywhere if empty.
    pub addresses: Vec<AddressRange>,
}

impl Hours {
    /// Whether a minute of the day lies within.
    pub const fn contains(&self, minute: u16) -> bool {
        if self.from_minute <= self.until_minute {
            self.from_minute <= minute && minute < self.until_minute
        } else {
            self.from_minute <= minute || minute < self.until_minute
        }
    }
}

impl AddressRange {
    /// Whether an address lies within. An IPv4 address that was mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (network, address) = (self.network.to_canonical(), address.to_canonical());
        match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                agree(u32::from(network).into(), u32::from(address).into(), self.prefix_bits, 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => agree(network.into(), address.into(), self.prefix_bits, 128),
            _ => false,
        }
    }
}

fn agree(a: u128, b: u128, prefix_bits: u8, width: u8) -> bool {
    let differing = width.saturating_sub(prefix_bits);
    differing >= 128 || (a >> differing) == (b >> differing)
}

impl Grant {
    /// A role everywhere, always, from anywhere.
    pub fn everywhere(role: Role) -> Self {
        Grant { role, area: Area::Province, hours: None, addresses: Vec::new() }
    }

    /// Whether it may be used at this minute of the day from this address.
    pub fn holds(&self, minute: u16, address: IpAddr) -> bool {
        let timely = self.hours.is_none_or(|hours| hours.contains(minute));
        timely && (self.addresses.is_empty() || self.addresses.iter().any(|range| range.contains(address)))
    }

    /// What is wrong with it, in a sentence.
    pub fn fault(&self) -> Option<&'static str> {
        let hours = self.hours.unwrap_or(Hours { from_minute: 0, until_minute: DAY_MINUTES });
        let wide = |range: &AddressRange| range.prefix_bits > if range.network.is_ipv4() { 32 } else { 128 };
        match &self.area {
            Area::Outlets(outlets) if outlets.is_empty() || outlets.len() > OUTLETS_MAX => {
                Some("a grant names 1 to 500 outlets")
            }
            Area::County(code) if !(100_000..=999_999).contains(code) => Some("a county has 6 digits of GB/T 2260"),
            _ if hours.from_minute >= DAY_MINUTES || hours.until_minute > DAY_MINUTES => {
                Some("hours lie between 00:00 and 24:00")
            }
            _ if hours.from_minute == hours.until_minute => Some("hours that begin when they end never hold"),
            _ if self.addresses.len() > ADDRESSES_MAX => Some("a grant names at most 8 address ranges"),
            _ if self.addresses.iter().any(wide) => Some("a prefix is longer than its address"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_may_run_over_midnight() {
        let day = Hours { from_minute: 480, until_minute: 1_020 };
        assert!(day.contains(480) && day.contains(1_019) && !day.contains(479) && !day.contains(1_020));
        let night = Hours { from_minute: 1_320, until_minute: 360 };
        assert!(night.contains(1_320) && night.contains(0) && night.contains(359));
        assert!(!night.contains(360) && !night.contains(1_319));
    }

    #[test]
    fn addresses_agree_in_their_leading_bits() {
        let range = |text: &str, prefix_bits| AddressRange { network: text.parse().unwrap(), prefix_bits };
        let at = |text: &str| text.parse().unwrap();
        let office = range("10.13.4.0", 22);
        assert!(office.contains(at("10.13.7.255")) && office.contains(at("::ffff:10.13.4.1")));
        assert!(!office.contains(at("10.13.8.0")) && !office.contains(at("::1")));
        assert!(range("0.0.0.0", 0).contains(at("203.0.113.9")));
        assert!(range("::", 0).contains(at("2001:db8::1")) && !range("::", 0).contains(at("10.0.0.1")));
        assert!(
            range("2001:db8::", 32).contains(at("2001:db8:1::1"))
                && !range("2001:db8::", 32).contains(at("2001:db9::"))
        );
    }

    #[test]
    fn a_grant_that_could_never_hold_or_is_too_wide_has_a_fault() {
        let grant = Grant::everywhere(Role::MarketManager);
        assert_eq!(grant.fault(), None);
        let hours = |from_minute, until_minute| Some(Hours { from_minute, until_minute });
        for faulty in [
            Grant { area: Area::Outlets(Vec::new()), ..grant.clone() },
            Grant { area: Area::County(1301), ..grant.clone() },
            Grant { hours: hours(600, 600), ..grant.clone() },
            Grant { hours: hours(1_440, 10), ..grant.clone() },
            Grant {
                addresses: vec![AddressRange { network: "10.0.0.0".parse().unwrap(), prefix_bits: 33 }],
                ..grant.clone()
            },
        ] {
            assert!(faulty.fault().is_some(), "{faulty:?}");
        }
        let at_night = Grant { hours: hours(1_320, 360), ..grant };
        assert!(at_night.holds(10, "10.0.0.1".parse().unwrap()) && !at_night.holds(600, "10.0.0.1".parse().unwrap()));
    }
}
