//! The power fails everywhere at once, or at so many places that no quorum is left; machines come back
//! one by one. The network must go on by itself, with all that it acknowledged (DESIGN section 6).

use std::collections::BTreeSet;

use super::{LIVENESS_MS, World};


impl World {
    /// One power failure under load, from a healthy network to a healthy network.
    pub(super) fn black_out(&mut self) -> Result<(), String> {
        self.heal();
        self.dark = true;
        self.until(LIVENESS_MS, "every node votes, and the keys are sealed to the actors", |world| {
            world.all_vote() && world.positions().all(|p| p.sealed)
        })?;
        self.calm = false;
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        for id in clients {
            self.turn(1, id);
        }
        let load = self.random.between(100, 1_500);
        self.pass(load)?;

        // At least so many that the rest is no quorum.
        let nodes = self.nodes.len();
        let least = nodes - nodes / 2;
        let lost = if self.random.one_in(3) { least } else { nodes };
        let first = usize::try_from(self.random.below(nodes as u64)).expect("below a length");
        let places: BTreeSet<usize> = (0..lost).map(|n| (first + n) % nodes).collect();
        let before = self.restarts();
        self.lose_power(&places);
        self.until(LIVENESS_MS, "the network restarts by itself", |world| {
            world.restarts() > before && world.all_vote()
        })?;
        self.report.network_restarts += 1;
        self.dark = false;
        Ok(())
    }

    /// Machines go dark at the same moment.
    pub(super) fn lose_power(&mut self, places: &BTreeSet<usize>) {
        self.fault("power failure", &format!("nodes {places:?}"));
        for place in places {
            if self.nodes[*place].process.is_some() {
                let unsynced = self.nodes[*place].disk.unsynced_entries();
                let lucky = self.random.between(0, unsynced);
                self.end_process(*place, lucky);
            }
        }
    }

    fn restarts(&self) -> u32 {
        self.positions().map(|p| p.restarts).max().unwrap_or_default()
    }

    /// The world goes on for a while.
    pub(super) fn pass(&mut self, ms: u64) -> Result<(), String> {
        let end = self.now.plus(ms);
        self.until(ms + 1_000, "time passes", |world| world.now >= end)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Options, run};

    /// Runs seeds with power failures; gives how often a network restarted, and acknowledged writes.
    fn seeds(first: u64, last: u64, options: &Options) -> (u64, u64) {
        let (mut restarts, mut acknowledged) = (0, 0);
        for seed in first..last {
            let report = run(seed, options)
                .unwrap_or_else(|failure| panic!("{}\n{failure}", failure.trace.join("\n")));
            restarts += report.network_restarts;
            acknowledged += report.acknowledged;
        }
        println!("{restarts} restarts of networks, {acknowledged} acknowledged writes, all there");
        (restarts, acknowledged)
    }

    #[test]
    fn networks_without_power_go_on_with_all_they_acknowledged() {
        let options = Options {
            blackouts: 2,
            events_min: 300,
            ..Options::default()
        };
        let (restarts, acknowledged) = seeds(0, 12, &options);
        assert!(restarts == 24 && acknowledged > 100);
    }

    /// `COCO_SEED=7 cargo test -p sim --lib a_seed -- --ignored --nocapture` shows every event.
    #[test]
    #[ignore = "for whoever looks at one seed"]
    fn a_seed_of_power_failures() {
        let number = |name: &str, default: u64| {
            std::env::var(name).map_or(default, |s| s.parse().expect("a number"))
        };
        let options = Options {
            blackouts: number("COCO_BLACKOUTS", 2),
            events_min: 300,
            trace: true,
            ..Options::default()
        };
        let seed = number("COCO_SEED", 0);
        let last = number("COCO_LAST", seed + 1);
        seeds(seed, last, &options);
    }
}
