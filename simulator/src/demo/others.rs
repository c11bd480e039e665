//! What else the computer does: a second in which other programs take a core says little of this one.

use std::fs;

/// The time that the cores of the computer have spent on programs, as the kernel counts it. Ticks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Spent {
    /// In all, also on nothing.
    all: u64,
    /// On programs themselves, and on other computers that share the cores; not on the kernel's work, most of which is done for somebody.
    on_programs: u64,
    /// On programs of the demo: this one, its children, and theirs that have ended.
    on_own: u64,
}

/// Follows what other programs take.
pub struct Others {
    last: Spent,
}

impl Others {
    /// From now on.
    pub fn new() -> Self {
        Others { last: Spent::now() }
    }

    /// The part of the cores' time since the last call that went to programs outside of the demo, 0 to 1; 0 where the kernel does not tell.
    pub fn share(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.last, Spent::now());
        self.last.others_since(&before)
    }
}

impl Spent {
    fn now() -> Self {
        let own = std::process::id();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let on_own = processes.filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (parent, ticks) = of_process(&stat)?;
            (pid == own || parent == own).then_some(ticks)
        });
        let (all, on_programs) = of_computer(&fs::read_to_string("/proc/stat").unwrap_or_default());
        Spent { all, on_programs, on_own: on_own.sum() }
    }

    fn others_since(&self, before: &Spent) -> f64 {
        let own = self.on_own.saturating_sub(before.on_own);
        let others = self.on_programs.saturating_sub(before.on_programs).saturating_sub(own);
        let all = self.all.saturating_sub(before.all);
        if all == 0 { 0.0 } else { (others as f64 / all as f64).min(1.0) }
    }
}

/// Parent of a process, and the ticks that it and its children that have ended spent outside of the kernel: fields 4, 14 and 16 of
/// /proc/PID/stat. What a child spent passes to its parent when it has ended, so nothing gets lost.
fn of_process(stat: &str) -> Option<(u32, u64)> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_whitespace().take(14).collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, ticks(11)? + ticks(13)?))
}

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; what guests took is in the first two.
fn of_computer(stat: &str) -> (u64, u64) {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
    let at = |place: usize| fields.get(place).copied().unwrap_or_default();
    (fields.iter().sum(), at(0) + at(1) + at(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        assert_eq!(of_computer("cpu  10 20 30 40 50 60 70 80 5 5\ncpu0 1 2 3\n"), (360, 110));
        let stat = "7 (a ) b) S 3 7 7 0 -1 4194560 100 0 0 0 42 9 5 4 20 0 1 0 5";
        assert_eq!(of_process(stat), Some((3, 47)));
        assert_eq!(of_process("7 (cut off"), None);
        assert_eq!(of_computer(""), (0, 0));
    }

    #[test]
    fn only_what_others_took_is_counted() {
        let spent = |all, on_programs, on_own| Spent { all, on_programs, on_own };
        let (before, after) = (spent(1_000, 500, 150), spent(1_200, 620, 230));
        assert_eq!(after.others_since(&before), 0.2);
        assert_eq!(after.others_since(&after), 0.0);
        assert_eq!(before.others_since(&after), 0.0, "a count that went back is none");
    }

    #[test]
    fn this_computer_tells() {
        let spent = Spent::now();
        assert!(spent.all > 0 && spent.on_programs > 0);
        assert!(spent.on_programs >= spent.on_own);
    }
}
