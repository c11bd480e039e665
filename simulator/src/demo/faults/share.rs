//! The leader's part of the hub's CPU time, measured while nothing is struck.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::demo::Family;
use crate::demo::cluster::Cluster;
use crate::demo::machines::process_name;

/// Time between two looks: each asks a machine who leads.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// CPU time between looks that saw the same machine lead.
#[derive(Debug, Default)]
pub(in crate::demo) struct LeaderShare {
    leader_s: f64,
    all_s: f64,
    last: Option<Sample>,
    looked: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    leader: u16,
    /// CPU time of each machine so far. Seconds.
    cpu_s: BTreeMap<u16, f64>,
}

impl LeaderShare {
    /// Looks, if it is time. With one machine there is nothing to share.
    pub async fn look(&mut self, cluster: &Cluster, family: &Family) {
        let numbers = cluster.machines.numbers();
        if numbers.len() < 2 || self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        // Nobody leads, or nobody says so: what was used until now cannot be told apart.
        let Ok(leader) = cluster.machines.leader(Duration::ZERO).await else { return self.pause() };
        let cpu_s = numbers.iter().map(|&number| (number, family.cpu_seconds(&process_name(number)))).collect();
        self.note(Sample { leader, cpu_s });
    }

    fn note(&mut self, sample: Sample) {
        if let Some(last) = &self.last
            && last.leader == sample.leader
        {
            for (number, now_s) in &sample.cpu_s {
                let used_s = (now_s - last.cpu_s.get(number).copied().unwrap_or(*now_s)).max(0.0);
                self.all_s += used_s;
                self.leader_s += if *number == sample.leader { used_s } else { 0.0 };
            }
        }
        self.last = Some(sample);
    }

    /// What happens until the next look does not count.
    pub fn pause(&mut self) {
        (self.last, self.looked) = (None, None);
    }

    /// The share, 0 to 1 with three digits; `None` when nothing was measured.
    pub fn share(&self) -> Option<f64> {
        (self.all_s > 0.0).then(|| (self.leader_s / self.all_s * 1_000.0).round() / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(leader: u16, cpu_s: [f64; 3]) -> Sample {
        Sample { leader, cpu_s: (1..).zip(cpu_s).collect() }
    }

    #[test]
    fn only_time_between_looks_that_saw_the_same_leader_counts() {
        let mut share = LeaderShare::default();
        assert_eq!(share.share(), None);
        share.note(sample(1, [10.0, 1.0, 1.0]));
        share.note(sample(1, [12.0, 1.5, 1.5]));
        assert_eq!(share.share(), Some(0.667));
        share.note(sample(2, [19.0, 9.0, 1.5]));
        assert_eq!(share.share(), Some(0.667), "the leader changed meanwhile");
        share.note(sample(2, [19.0, 12.0, 1.5]));
        assert_eq!(share.share(), Some(0.833));
        share.pause();
        share.note(sample(2, [50.0, 50.0, 50.0]));
        assert_eq!(share.share(), Some(0.833), "a pause lay in between");
    }
}
