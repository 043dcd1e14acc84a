//! The power fails everywhere at once, or at so many places that no quorum is left; machines come back
//! one by one. The network must go on by itself, with all that it acknowledged (DESIGN section 6).

use std::collections::BTreeSet;

use super::{LIVENESS_MS, World};

impl World {
    /// One power failure under load, from a healthy network to a healthy network.
    pub(super) fn black_out(&mut self) -> Result<(), String> {
        self.heal();
        self.dark = true;
        self.until(
            LIVENESS_MS,
            "every node votes, and the keys are sealed to the actors",
            |world| world.all_vote() && world.positions().all(|p| p.sealed),
        )?;
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
        if self.random.one_in(3) {
            // And again, while the network restarts, or just did.
            let wait = self.random.between(2_500, 8_000);
            self.pass(wait)?;
            self.lose_power(&(0..nodes).collect());
        }
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

    pub(super) fn restarts(&self) -> u32 {
        self.positions()
            .map(|p| p.restarts)
            .max()
            .unwrap_or_default()
    }

    /// The world goes on for a while.
    pub(super) fn pass(&mut self, ms: u64) -> Result<(), String> {
        let end = self.now.plus(ms);
        self.until(ms + 1_000, "time passes", |world| world.now >= end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::world::{Event, LIVENESS_MS, World};
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
        let (restarts, acknowledged) = seeds(7, 19, &options);
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

    /// A network of so many nodes, all of them voters, whose keys are sealed to the actors.
    fn network(nodes: usize, seed: u64, faults_max: u32) -> World {
        let options = Options {
            nodes: Some(nodes),
            clients: 2,
            trace: true,
            ..Options::default()
        };
        let mut world = World::new(seed, &options);
        world.consortium.constitution.settings.restart_faults_max = faults_max;
        world.dark = true;
        for place in 0..nodes {
            world.start(place, place == 0);
        }
        let ready = |world: &World| world.all_vote() && world.positions().all(|p| p.sealed);
        sure(&mut world, |world| {
            world.until(LIVENESS_MS, "a network is there", ready)
        });
        world.calm = false;
        world.turn(1, 0);
        world.turn(1, 1);
        world
    }

    fn sure(world: &mut World, act: impl FnOnce(&mut World) -> Result<(), String>) {
        if let Err(what) = act(world) {
            panic!("{}\n{what}", world.told.finish().1.join("\n"));
        }
    }

    fn acknowledged(world: &World) -> usize {
        world.clients.values().map(|c| c.acknowledged.len()).sum()
    }

    /// Nothing passes between these places and the others.
    fn cut_off(world: &mut World, lone: &[usize]) {
        for place in 0..world.nodes.len() {
            for other in lone.iter().filter(|_| !lone.contains(&place)) {
                world.blocked.extend([(place, *other), (*other, place)]);
            }
        }
    }

    /// Nobody restarts the network for half a minute.
    fn nobody_restarts(world: &mut World) {
        sure(world, |world| world.pass(30_000));
        assert_eq!(world.restarts(), 0);
    }

    fn restarts_with_everything(world: &mut World) {
        sure(world, |world| {
            world.until(LIVENESS_MS, "the network restarts", |world| {
                world.restarts() == 1 && world.all_vote()
            })?;
            world.end()
        });
    }

    /// What was acknowledged is on A and B; power fails; A's host presents an old disk, C never had it, and
    /// B does not come yet.
    fn old_disk_without_b(faults_max: u32) -> World {
        let mut world = network(3, 11, faults_max);
        let old = world.nodes[0].disk.clone();
        cut_off(&mut world, &[2]);
        let before = acknowledged(&world);
        sure(&mut world, |world| world.pass(6_000));
        assert!(acknowledged(&world) > before, "A and B acknowledged more");

        world.lose_power(&BTreeSet::from([0, 1, 2]));
        world.nodes[0].disk = old;
        world.nodes[0].disk.lose_power(u64::MAX);
        world.blocked.clear();
        world
            .queue
            .retain(|_, event| !matches!(event, Event::Start { place: 1 }));
        world
    }

    /// DESIGN section 6, the first attack.
    #[test]
    fn an_old_disk_does_not_stand_in_for_the_one_that_is_missing() {
        let mut world = old_disk_without_b(1);
        nobody_restarts(&mut world);
        assert_eq!(world.leader(), None, "A and C alone do not go on");

        world.schedule(1, Event::Start { place: 1 });
        restarts_with_everything(&mut world);
    }

    /// The same where the constitution trusts every disk: then it is lost, and this simulator sees it.
    #[test]
    fn where_no_disk_may_be_old_an_old_one_loses_what_was_acknowledged() {
        let mut world = old_disk_without_b(0);
        let went_on = world.until(LIVENESS_MS, "A and C restart", |world| {
            world.restarts() == 1
        });
        let ended = went_on.and_then(|()| {
            world.schedule(1, Event::Start { place: 1 });
            world.until(LIVENESS_MS, "all vote", World::all_vote)?;
            world.end()
        });
        let what = ended.expect_err("a write is lost");
        assert!(
            what.contains("committed another entry") || what.contains("an acknowledged write"),
            "{what}"
        );
    }

    /// The second: two survivors run behind a partition while three others try to restart.
    #[test]
    fn two_survivors_behind_a_partition_and_three_others_both_wait() {
        let mut world = network(5, 12, 1);
        sure(&mut world, |world| world.pass(1_000));
        cut_off(&mut world, &[0, 1]);
        world.lose_power(&BTreeSet::from([2, 3, 4]));
        // What was on its way is acknowledged, or not.
        sure(&mut world, |world| world.pass(500));
        let before = acknowledged(&world);
        nobody_restarts(&mut world);
        assert_eq!(acknowledged(&world), before, "the survivors are no quorum");
        assert!(
            [0, 1]
                .iter()
                .all(|place| world.nodes[*place].incarnation == 1),
            "and they see no others, for whom they would end"
        );

        world.blocked.clear();
        restarts_with_everything(&mut world);
    }

    /// Nobody starts these machines again.
    fn stay_dark(world: &mut World, dark: &[usize]) {
        world.lose_power(&dark.iter().copied().collect());
        world
            .queue
            .retain(|_, event| !matches!(event, Event::Start { place } if dark.contains(place)));
    }

    /// Five actors, of whom three open the keys: without two of them the network goes on, also when keys
    /// have to be opened again; without three nothing is written; with them again it is whole.
    #[test]
    fn two_of_five_actors_are_spared_and_three_are_not() {
        let mut world = network(5, 13, 1);
        sure(&mut world, |world| world.pass(1_000));
        stay_dark(&mut world, &[3, 4]);
        sure(&mut world, |world| world.pass(20_000));
        let before = acknowledged(&world);
        sure(&mut world, |world| world.pass(5_000));
        assert!(acknowledged(&world) > before, "three of five go on");

        stay_dark(&mut world, &[2]);
        sure(&mut world, |world| world.pass(500));
        let before = acknowledged(&world);
        nobody_restarts(&mut world);
        assert_eq!(acknowledged(&world), before, "two of five write nothing");

        for place in 2..5 {
            world.schedule(1, Event::Start { place });
        }
        restarts_with_everything(&mut world);
    }
}
