//! What is looked for.

use jikai_schema::event::{Actor, Event};
use jikai_schema::money::Money;
use jikai_schema::time::{BusinessDay, TimeMs};
use jikai_sync::machine_log::CLAIMED;
use serde_json::Value;

/// What is looked for; what is `None` fits everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Staff login or operator number: who did it, proposed or decided it, or whose account it is about.
    pub person: Option<String>,
    /// Outlet: where it happened or whom it concerns.
    pub outlet: Option<String>,
    /// Terminal.
    pub terminal: Option<String>,
    /// Ticket as printed, `G0201-26001-0000123-045`, or pack, `G0201-26001-0000123`: a pack also stands for its tickets.
    pub item: Option<String>,
    /// The request that it answers, hex.
    pub request: Option<String>,
    /// The address that it was asked from.
    pub address: Option<String>,
    /// Least amount.
    pub amount_min: Option<Money>,
    /// Highest amount.
    pub amount_max: Option<Money>,
    /// First instant.
    pub from: Option<TimeMs>,
    /// First business day.
    pub from_day: Option<BusinessDay>,
    /// Last instant.
    pub to: Option<TimeMs>,
    /// Last business day.
    pub to_day: Option<BusinessDay>,
    /// Kind of event, such as `ticket_claimed`.
    pub kind: Option<String>,
    /// Only this log: 0 for the hub, else the node.
    pub log: Option<u16>,
}

/// A period that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither a day such as 2026-11-23 nor an instant such as 2026-11-23T10:00:00+08:00")]
pub struct FilterError(String);

impl Filter {
    /// Begins the period at a day or instant.
    pub fn since(&mut self, text: &str) -> Result<(), FilterError> {
        (self.from_day, self.from) = day_or_instant(text)?;
        Ok(())
    }

    /// Ends the period with a day (whole) or instant.
    pub fn until(&mut self, text: &str) -> Result<(), FilterError> {
        (self.to_day, self.to) = day_or_instant(text)?;
        Ok(())
    }

    /// Whether a time lies before the period.
    pub(super) fn is_before(&self, at: TimeMs) -> bool {
        self.from.is_some_and(|from| at < from) || self.from_day.is_some_and(|day| at.business_day() < day)
    }

    /// Whether a time lies behind the period.
    pub(super) fn is_behind(&self, at: TimeMs) -> bool {
        self.to.is_some_and(|to| at > to) || self.to_day.is_some_and(|day| at.business_day() > day)
    }

    /// Whether an event fits; `view` is the event as other programs read it, by whose names new kinds are found too.
    pub(super) fn fits(&self, event: &Event, view: &Value) -> bool {
        let terminal = event.actor.terminal().map(|(terminal, _)| terminal);
        let claimed = view["address"].as_str().and_then(|address| address.strip_suffix(CLAIMED)).map(str::to_string);
        let is = |wanted: &Option<String>, names: &[&str], actual: Option<String>| match wanted {
            None => true,
            Some(wanted) => {
                let said = || parts(view).any(|part| names.iter().any(|name| part[name] == wanted.as_str()));
                actual.as_ref() == Some(wanted) || said()
            }
        };
        let kind = self.kind.as_ref().is_none_or(|wanted| view["kind"] == wanted.as_str());
        kind && is(&self.request, &[], event.request.map(|request| hex::encode(request.id)))
            && is(&self.address, &["address"], event.actor.address().map(|address| address.to_string()).or(claimed))
            && is(&self.person, &["login", "given", "operator", "maker", "checker"], person(&event.actor))
            && is(&self.terminal, &["terminal"], terminal.map(|terminal| terminal.to_string()))
            && is(&self.outlet, &["outlet"], terminal.map(|terminal| terminal.outlet().to_string()))
            && self.fits_item(view)
            && self.fits_amount(view)
    }

    fn fits_item(&self, view: &Value) -> bool {
        let Some(wanted) = &self.item else { return true };
        let is_it = |item: &Value| {
            let rest = item.as_str().and_then(|item| item.strip_prefix(wanted.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let listed = view["tickets"].as_array().is_some_and(|tickets| tickets.iter().any(is_it));
        listed || parts(view).any(|part| is_it(&part["pack"]) || is_it(&part["ticket"]))
    }

    /// Whether any amount of the event lies in the range.
    fn fits_amount(&self, view: &Value) -> bool {
        if self.amount_min.is_none() && self.amount_max.is_none() {
            return true;
        }
        let least = self.amount_min.map_or(i64::MIN, Money::fen);
        let most = self.amount_max.map_or(i64::MAX, Money::fen);
        amounts(view).any(|fen| (least..=most).contains(&fen))
    }
}

/// Who acted, by the name under which the person is looked for.
pub(super) fn person(actor: &Actor) -> Option<String> {
    match actor.terminal() {
        Some((_, operator)) => Some(operator.to_string()),
        None => actor.login().map(str::to_string),
    }
}

/// An event, and what it is about as it was and as it is to be.
pub(super) fn parts(view: &Value) -> impl Iterator<Item = &Value> {
    [view, &view["change"]].into_iter().flat_map(|said| [said, &said["after"], &said["before"]])
}

/// The amounts of an event, in fen.
pub(super) fn amounts(view: &Value) -> impl Iterator<Item = i64> {
    let fields = parts(view).filter_map(Value::as_object).flatten();
    fields.filter(|(name, _)| name.ends_with("_fen")).filter_map(|(_, amount)| amount.as_i64())
}

fn day_or_instant(text: &str) -> Result<(Option<BusinessDay>, Option<TimeMs>), FilterError> {
    match (text.parse(), text.parse()) {
        (Ok(day), _) => Ok((Some(day), None)),
        (_, Ok(instant)) => Ok((None, Some(instant))),
        _ => Err(FilterError(text.chars().take(40).collect())),
    }
}
