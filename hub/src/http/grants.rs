//! Grants and permissions as JSON shows them.

use std::net::IpAddr;

use jikai_schema::id::{OutletId, PrefectureCode};
use jikai_schema::staff::{AddressRange, Area, Grant, Hours, Role};
use jikai_schema::time::TimeMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::problem::Problem;
use crate::rights::{Permission, permissions_of, scope_of};

/// A role in an area, if need be only at some hours and from some addresses.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantView {
    /// What may be done; the table of roles in README says what each may.
    #[schema(schema_with = role_schema)]
    role: String,
    area: AreaView,
    /// Such as `08:00-18:00` of the business day; always without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hours: Option<String>,
    /// Such as `10.13.0.0/16`; from everywhere if empty.
    #[serde(default)]
    addresses: Vec<String>,
}

/// The names of all roles.
fn role_schema() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(Role::ALL.map(Role::name))).build()
}

/// Where a grant holds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum AreaView {
    /// Everywhere.
    Province {},
    /// One prefecture, 4 digits.
    Prefecture {
        /// GB/T 2260.
        code: u16,
    },
    /// One county, 6 digits.
    County {
        /// GB/T 2260.
        code: u32,
    },
    /// These outlets, 8 digits each.
    Outlets {
        /// At most 500.
        outlets: Vec<String>,
    },
}

/// Something that may be done now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PermissionView {
    verb: &'static str,
    resource: &'static str,
    /// Whether in the whole province, or only in the area of the grants.
    everywhere: bool,
}

impl From<&Grant> for GrantView {
    fn from(grant: &Grant) -> Self {
        let area = match &grant.area {
            Area::Province => AreaView::Province {},
            Area::Prefecture(code) => AreaView::Prefecture { code: code.get() },
            Area::County(code) => AreaView::County { code: *code },
            Area::Outlets(outlets) => AreaView::Outlets { outlets: outlets.iter().map(ToString::to_string).collect() },
        };
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        GrantView {
            role: grant.role.name().to_string(),
            area,
            hours: grant.hours.map(|hours| format!("{}-{}", clock(hours.from_minute), clock(hours.until_minute))),
            addresses: grant.addresses.iter().map(|range| format!("{}/{}", range.network, range.prefix_bits)).collect(),
        }
    }
}

impl GrantView {
    /// Reads a list of grants; what they may be together the machine decides. Errors: 422 `invalid_grant`.
    pub(super) fn read_all(views: &[GrantView]) -> Result<Vec<Grant>, Problem> {
        views.iter().map(GrantView::read).collect()
    }

    fn read(&self) -> Result<Grant, Problem> {
        let invalid = |detail: String| Problem::invalid("grant", detail);
        let short = |text: &str| text.chars().take(60).collect::<String>();
        let no_role =
            || format!("`{}` is no role. Roles are: {}.", short(&self.role), Role::ALL.map(Role::name).join(", "));
        let role = Role::from_name(&self.role).ok_or_else(|| invalid(no_role()))?;
        let area = match &self.area {
            AreaView::Province {} => Area::Province,
            AreaView::Prefecture { code } => {
                Area::Prefecture(PrefectureCode::new(*code).map_err(|error| invalid(error.to_string()))?)
            }
            AreaView::County { code } => Area::County(*code),
            AreaView::Outlets { outlets } => {
                let read = |id: &String| id.parse::<OutletId>().map_err(|error| invalid(error.to_string()));
                Area::Outlets(outlets.iter().map(read).collect::<Result<_, _>>()?)
            }
        };
        let hours = self.hours.as_deref().map(|text| {
            read_hours(text).ok_or_else(|| invalid(format!("`{}` is no span such as 08:00-18:00.", short(text))))
        });
        let range = |text: &String| {
            read_range(text).ok_or_else(|| invalid(format!("`{}` is no range such as 10.13.0.0/16.", short(text))))
        };
        let addresses = self.addresses.iter().map(range).collect::<Result<_, _>>()?;
        Ok(Grant { role, area, hours: hours.transpose()?, addresses })
    }
}

fn read_hours(text: &str) -> Option<Hours> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let plain = hour.len() == 2 && minute.len() == 2;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (plain && hour <= 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let (from, until) = text.split_once('-')?;
    Some(Hours { from_minute: minute(from)?, until_minute: minute(until)? })
}

fn read_range(text: &str) -> Option<AddressRange> {
    let (network, bits) = text.split_once('/')?;
    Some(AddressRange { network: network.parse().ok()?, prefix_bits: bits.parse().ok()? })
}

/// All that may be done now with these grants.
pub(super) fn permissions_now(
    grants: &[Grant],
    now_ms: TimeMs,
    address: IpAddr,
    support_is_open: bool,
) -> Vec<PermissionView> {
    let mut known: Vec<Permission> = grants.iter().flat_map(|grant| permissions_of(grant.role)).copied().collect();
    known.sort_unstable();
    known.dedup();
    let view = |(verb, resource): Permission| {
        let scope = scope_of(grants, (verb, resource), now_ms, address, support_is_open)?;
        Some(PermissionView { verb: verb.name(), resource: resource.name(), everywhere: scope.is_everywhere() })
    };
    known.into_iter().filter_map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_comes_back_from_its_json_and_nonsense_is_refused() {
        let outlets = vec![OutletId::new(13_010_001).unwrap()];
        let hours = Some(Hours { from_minute: 480, until_minute: 1_440 });
        let addresses = vec![AddressRange { network: "10.13.0.0".parse().unwrap(), prefix_bits: 16 }];
        let grant = Grant { role: Role::MarketManager, area: Area::Outlets(outlets), hours, addresses };
        let text = serde_json::to_string(&GrantView::from(&grant)).unwrap();
        assert!(text.contains(r#""hours":"08:00-24:00""#), "{text}");
        let back: GrantView = serde_json::from_str(&text).unwrap();
        assert_eq!(GrantView::read_all(&[back]).ok().unwrap(), [grant]);
        for bad in [
            r#"{"role":"root","area":{"kind":"province"}}"#,
            r#"{"role":"supervisor","area":{"kind":"prefecture","code":7}}"#,
            r#"{"role":"supervisor","area":{"kind":"outlets","outlets":["x"]}}"#,
            r#"{"role":"supervisor","area":{"kind":"province"},"hours":"8-18"}"#,
            r#"{"role":"supervisor","area":{"kind":"province"},"addresses":["10.0.0.0"]}"#,
        ] {
            let view: GrantView = serde_json::from_str(bad).unwrap();
            assert_eq!(GrantView::read_all(&[view]).unwrap_err().code, "invalid_grant", "{bad}");
        }
    }

    #[test]
    fn an_unknown_role_is_refused_with_all_that_there_are_and_the_document_names_them() {
        let view: GrantView = serde_json::from_str(r#"{"role":"admin","area":{"kind":"province"}}"#).unwrap();
        let problem = GrantView::read_all(&[view]).unwrap_err();
        let document = serde_json::to_value(<GrantView as utoipa::PartialSchema>::schema()).unwrap();
        let names = document["properties"]["role"]["enum"].as_array().unwrap();
        assert_eq!(names.len(), Role::ALL.len());
        for role in Role::ALL {
            assert!(problem.detail.contains(role.name()), "{}", problem.detail);
            assert!(names.iter().any(|name| name == role.name()), "{document}");
        }
    }
}
