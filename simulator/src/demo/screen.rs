//! What the demo shows while it runs: bars on a terminal, lines with `--plain`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::health::Pulse;
use super::workers::Sums;
use crate::terminal::locked;
use crate::world::Node;

/// Time between two lines of the same sort without bars.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Bars, or lines.
pub struct Screen {
    bars: Option<MultiProgress>,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    terminals: Option<ProgressBar>,
    numbers: Option<ProgressBar>,
    nodes: BTreeMap<u16, ProgressBar>,
    heads: BTreeMap<u16, u64>,
    last_operations: u64,
    last_live: Option<Instant>,
    last_line: Option<Instant>,
}

/// The figures of one moment under load.
pub struct Live<'a> {
    /// Sums over all terminals.
    pub sums: &'a Sums,
    /// What the nodes say.
    pub pulses: &'a BTreeMap<u16, Pulse>,
    /// Median of the last two seconds.
    pub p50_ms: f64,
    /// 99 of 100 of the last two seconds.
    pub p99_ms: f64,
    /// Time of load left.
    pub left: Duration,
}

/// Lines with the time since the begin of the run.
#[derive(Clone, Copy)]
pub struct Chronicle<'a> {
    /// Where they go.
    pub screen: &'a Screen,
    /// Begin of the run.
    pub began: Instant,
}

impl Chronicle<'_> {
    /// One line that stays.
    pub fn step(&self, line: &str) {
        self.screen.say(&format!("[{:6.1} s] {line}", self.began.elapsed().as_secs_f64()));
    }
}

impl Screen {
    /// Bars where there is a terminal and they are wanted.
    pub fn new(plain: bool) -> Self {
        let wants_bars = !plain && std::io::stderr().is_terminal();
        let bars = wants_bars.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));
        Screen { bars, shown: Mutex::default() }
    }

    /// One line that stays.
    pub fn say(&self, line: &str) {
        match &self.bars {
            // A failure to draw is no failure of the run.
            Some(bars) => drop(bars.println(line)),
            None => println!("{line}"),
        }
    }

    /// Takes all bars off.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            drop(bars.clear());
        }
    }

    /// Terminals connected so far.
    pub fn ramp(&self, connected: u64, configured: u64) {
        let mut shown = locked(&self.shown);
        if let Some(bars) = &self.bars {
            let bar = shown.terminals.get_or_insert_with(|| {
                bars.add(
                    ProgressBar::new(configured)
                        .with_style(style("terminals   {bar:40} {pos}/{len} connected  {elapsed}")),
                )
            });
            bar.set_position(connected);
        } else if shown.may_print() {
            println!("  {connected}/{configured} terminals connected");
        }
    }

    /// The figures of a moment.
    pub fn live(&self, live: &Live<'_>, nodes: &[Node]) {
        let mut shown = locked(&self.shown);
        let elapsed_s = shown.last_live.map_or(0.0, |last| last.elapsed().as_secs_f64());
        if self.bars.is_some() && elapsed_s < 0.5 && shown.last_live.is_some() {
            return;
        }
        if self.bars.is_none() && !shown.may_print() {
            return;
        }
        let per_second = |count: u64| if elapsed_s > 0.0 { count as f64 / elapsed_s } else { 0.0 };
        let operations = live.sums.operations();
        let lag_ms = live.pulses.values().map(|pulse| pulse.lag_ms).max().unwrap_or(0);
        let text = format!(
            "{} terminals · {:.0} operations/s · p50 {:.1} ms · p99 {:.1} ms · sync lag {lag_ms} ms · {} failed · {} s left",
            live.sums.connected,
            per_second(operations - shown.last_operations.min(operations)),
            live.p50_ms,
            live.p99_ms,
            live.sums.failed,
            live.left.as_secs(),
        );
        match &self.bars {
            Some(bars) => {
                shown.draw_numbers(bars, text);
                shown.draw_nodes(bars, live.pulses, nodes, elapsed_s);
            }
            None => println!("  {text}"),
        }
        shown.last_operations = operations;
        shown.last_live = Some(Instant::now());
    }
}

impl Shown {
    /// Whether it is time for the next line.
    fn may_print(&mut self) -> bool {
        let is_time = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if is_time {
            self.last_line = Some(Instant::now());
        }
        is_time
    }

    fn draw_numbers(&mut self, bars: &MultiProgress, text: String) {
        let bar =
            self.numbers.get_or_insert_with(|| bars.add(ProgressBar::new(1).with_style(style("load        {msg}"))));
        bar.set_message(text);
    }

    /// One bar a node: its events a second, beside the fastest node's.
    fn draw_nodes(&mut self, bars: &MultiProgress, pulses: &BTreeMap<u16, Pulse>, nodes: &[Node], elapsed_s: f64) {
        let rate = |node: u16, pulse: &Pulse| {
            let before = self.heads.get(&node).copied().unwrap_or(pulse.head_seq);
            if elapsed_s > 0.0 { (pulse.head_seq.saturating_sub(before) as f64 / elapsed_s) as u64 } else { 0 }
        };
        let rates: BTreeMap<u16, u64> = pulses.iter().map(|(&node, pulse)| (node, rate(node, pulse))).collect();
        let fastest = rates.values().copied().max().unwrap_or(0).max(1);
        for node in nodes {
            let Some(pulse) = pulses.get(&node.id) else { continue };
            let bar = self
                .nodes
                .entry(node.id)
                .or_insert_with(|| bars.add(ProgressBar::new(fastest).with_style(style("{prefix} {bar:30} {msg}"))));
            let title = format!("node {:<2} {}", node.id, node.name);
            let padding = " ".repeat(24usize.saturating_sub(super::table::width(&title)));
            bar.set_prefix(format!("{title}{padding}"));
            bar.set_length(fastest);
            bar.set_position(rates[&node.id]);
            let behind = pulse.head_seq.saturating_sub(pulse.acked_seq);
            bar.set_message(match pulse.is_known {
                true => format!(
                    "{} events/s, {} sessions, lag {} ms ({behind} events)",
                    rates[&node.id], pulse.sessions, pulse.lag_ms
                ),
                false => "does not answer".to_owned(),
            });
        }
        self.heads = pulses.iter().map(|(&node, pulse)| (node, pulse.head_seq)).collect();
    }
}

/// A template; a mistake in it shows the default bar.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("█▌░")
}
