//! What `audit search` and `audit export` look for: each word is refused that could find nothing.

use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use jikai_schema::event::{KINDS, kinds_like};
use jikai_schema::id::{BatchCode, GameCode, OutletId, TerminalId};
use jikai_schema::money::Money;

use crate::audit::search::{Filter, search};
use crate::command::DataArg;
use crate::store::open_reader;

/// Kinds that are suggested for one that is none.
const SUGGESTIONS_MAX: usize = 6;

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    #[command(flatten)]
    pub(super) data: DataArg,
    /// Staff login or operator number: who did it, or whose account it is about.
    #[arg(long)]
    person: Option<String>,
    /// Outlet, 8 digits: where it happened, or whom a proposal concerns.
    #[arg(long)]
    outlet: Option<OutletId>,
    /// Terminal, 10 digits.
    #[arg(long)]
    terminal: Option<TerminalId>,
    /// Ticket or pack as printed, G0201-26001-0000123-045 or G0201-26001-0000123; a pack also stands for its tickets.
    #[arg(long, value_parser = item)]
    item: Option<String>,
    /// Least amount, yuan.
    #[arg(long)]
    amount_min: Option<Money>,
    /// Highest amount, yuan.
    #[arg(long)]
    amount_max: Option<Money>,
    /// Address that it was asked from.
    #[arg(long)]
    address: Option<std::net::IpAddr>,
    /// Request, 32 hex digits: the header X-Request-Id of its answer.
    #[arg(long, value_parser = request)]
    request: Option<String>,
    /// First business day, or instant such as 2026-11-01T08:00:00+08:00.
    #[arg(long)]
    from: Option<String>,
    /// Last business day, or instant.
    #[arg(long)]
    to: Option<String>,
    /// Kind of event, such as ticket_claimed; `audit kinds` lists them.
    #[arg(long, value_parser = kind)]
    kind: Option<String>,
    /// Only this log: 0 for the hub, else the node's number.
    #[arg(long)]
    log: Option<u16>,
}

impl FilterArgs {
    pub(super) fn filter(&self) -> anyhow::Result<Filter> {
        let mut filter = Filter {
            person: self.person.clone(),
            outlet: self.outlet.map(|outlet| outlet.to_string()),
            terminal: self.terminal.map(|terminal| terminal.to_string()),
            item: self.item.clone(),
            address: self.address.map(|address| address.to_canonical().to_string()),
            request: self.request.clone(),
            amount_min: self.amount_min,
            amount_max: self.amount_max,
            kind: self.kind.clone(),
            log: self.log,
            ..Filter::default()
        };
        if let Some(from) = &self.from {
            filter.since(from).context("read --from")?;
        }
        if let Some(to) = &self.to {
            filter.until(to).context("read --to")?;
        }
        self.check_log(&self.data.data)?;
        Ok(filter)
    }

    /// A log that is none.
    fn check_log(&self, data: &Path) -> anyhow::Result<()> {
        let Some(log) = self.log.filter(|log| *log != 0) else { return Ok(()) };
        let store = open_reader(data)?;
        let nodes =
            "SELECT node FROM node UNION SELECT node FROM node_cursor UNION SELECT node FROM node_retired ORDER BY 1";
        let mut statement = store.prepare(nodes)?;
        let nodes = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<u16>, _>>()?;
        if !nodes.contains(&log) {
            let known: String = nodes.iter().map(|node| format!(", {node}")).collect();
            bail!("there is no log {log}: it is 0 for the hub, else the number of a registered node (0{known})");
        }
        Ok(())
    }

    /// A line for who looked for a person that no event names; nothing where one does.
    pub(super) fn unknown_person(&self) -> anyhow::Result<Option<String>> {
        let Some(person) = &self.person else { return Ok(None) };
        let filter = Filter { person: Some(person.clone()), ..Filter::default() };
        let found = search(&self.data.data, &filter, |_| Ok(false))?;
        let shown = person.chars().take(60).collect::<String>().escape_debug().to_string();
        Ok((found == 0)
            .then(|| format!("no event names the person `{shown}`: a login or an operator's number is looked for")))
    }
}

/// A ticket or pack as printed, or as it is written while its batch is not known.
fn item(text: &str) -> Result<String, String> {
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_named = match text.split('-').collect::<Vec<_>>()[..] {
        [game, batch, pack] => is_batch(game, batch) && digits(pack, 7),
        [game, batch, pack, ticket] => is_batch(game, batch) && digits(pack, 7) && digits(ticket, 3),
        _ => false,
    };
    let is_bare = text.split_once('/').is_some_and(|(batch, rest)| {
        let (pack, ticket) = rest.split_once('-').unwrap_or((rest, "000"));
        batch.parse::<u32>().is_ok() && digits(pack, 7) && digits(ticket, 3)
    });
    match is_named || is_bare {
        true => Ok(text.to_string()),
        false => Err("a pack is written as G0201-26001-0000123, a ticket as G0201-26001-0000123-045".to_string()),
    }
}

fn is_batch(game: &str, batch: &str) -> bool {
    game.parse::<GameCode>().is_ok() && batch.parse::<BatchCode>().is_ok()
}

fn request(text: &str) -> Result<String, String> {
    let is_request = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let form = "a request is 32 hex digits, as the header X-Request-Id of its answer shows them";
    if is_request { Ok(text.to_ascii_lowercase()) } else { Err(form.to_string()) }
}

fn kind(text: &str) -> Result<String, String> {
    if KINDS.contains(&text) {
        return Ok(text.to_string());
    }
    let like: Vec<_> = kinds_like(text).into_iter().take(SUGGESTIONS_MAX).collect();
    let meant = if like.is_empty() { String::new() } else { format!(" Did you mean {}?", like.join(", ")) };
    Err(format!("no kind of event is called that.{meant} `jikai-hub audit kinds` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_requests_and_kinds_of_a_wrong_form_are_refused_with_the_right_one() {
        for good in ["G0201-26001-0000123", "G0201-26001-0000123-045", "3/0000123", "3/0000123-045"] {
            assert_eq!(item(good).as_deref(), Ok(good));
        }
        for bad in
            ["hello", "G0201-26001", "G0201-26001-123", "G0201-26001-0000123-45", "x-26001-0000123", "/0000123", ""]
        {
            assert!(item(bad).unwrap_err().contains("G0201-26001-0000123-045"), "{bad}");
        }
        assert_eq!(request(&"AB".repeat(16)), Ok("ab".repeat(16)));
        for bad in ["zz", "", "0123", &"zz".repeat(16)] {
            assert!(request(bad).unwrap_err().contains("32 hex digits"), "{bad}");
        }
        assert_eq!(kind("ticket_claimed").as_deref(), Ok("ticket_claimed"));
        assert!(kind("claimed").unwrap_err().contains("Did you mean ticket_claimed?"));
        assert!(kind("nonsense").unwrap_err().contains("audit kinds"));
    }
}
