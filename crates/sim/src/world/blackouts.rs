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
        let (restarts, acknowledged) = seeds(1, 13, &options);
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
            events_min: number("COCO_EVENTS", 300),
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
        // Whoever did not hear of its write asks again, and is told if it was committed by then.
        sure(&mut world, |world| world.pass(2_000));
        let before = acknowledged(&world);
        nobody_restarts(&mut world);
        assert_eq!(acknowledged(&world), before, "two of five write nothing");

        for place in 2..5 {
            world.schedule(1, Event::Start { place });
        }
        restarts_with_everything(&mut world);
    }
    /// The order of these members' actors that the nodes at these places go on, with a ledger that reaches an
    /// entry of this index and term.
    fn order(world: &World, signers: &[usize], survivors: &[usize], reach: (u64, u64)) -> Vec<u8> {
        use governance::{NodeSlot, RestartOrder, SignedMessage, Window, orders_to_cbor};
        use types::{Index, Millis, Term};
        let sign = |place: &usize| {
            let member = &world.consortium.members[*place];
            let order = RestartOrder {
                network: world.consortium.constitution.network_id(),
                restarts: 0,
                survivors: survivors
                    .iter()
                    .map(|place| NodeSlot {
                        owner: world.consortium.members[*place].name.clone(),
                        address: crate::network::address(*place),
                    })
                    .collect(),
                term: Term(reach.0),
                last: Index(reach.1),
                actor: member.name.clone(),
                window: Window {
                    from: Millis(world.now.0 - 60_000),
                    until: Millis(world.now.0 + 86_400_000),
                },
            };
            let chain = std::slice::from_ref(&member.certificate);
            SignedMessage::new(order.sign(&member.key), chain)
        };
        let signed: Vec<_> = signers.iter().map(sign).collect();
        orders_to_cbor(&signed)
    }

    /// A machine is gone with its disk, and power failed everywhere: the two others are too few by the rule.
    fn two_of_three_are_left() -> (World, (u64, u64)) {
        let mut world = network(3, 14, 1);
        sure(&mut world, |world| world.pass(2_000));
        let reach = world
            .leader()
            .map(|l| (l.term.0, l.committed.0))
            .expect("it leads");
        world.lose_power(&BTreeSet::from([0, 1, 2]));
        world
            .queue
            .retain(|_, event| !matches!(event, Event::Start { .. }));
        (world, reach)
    }

    fn start_two(world: &mut World, order: Vec<u8>) {
        world.consortium.restart_order = order.into();
        for place in [0, 1] {
            world.schedule(1, Event::Start { place });
        }
    }

    /// DESIGN section 6: an explicit act of M actors.
    #[test]
    fn m_actors_order_that_two_of_three_go_on_and_all_they_held_is_there() {
        let (mut world, reach) = two_of_three_are_left();
        let order = order(&world, &[0, 2], &[0, 1], reach);
        start_two(&mut world, order);
        let two_vote = |world: &World| {
            let leader = world.leader();
            world.restarts() == 1 && leader.is_some_and(|l| l.voters.len() >= 2)
        };
        sure(&mut world, |world| {
            world.until(LIVENESS_MS, "the two go on", two_vote)
        });
        let before = acknowledged(&world);
        sure(&mut world, |world| world.pass(5_000));
        assert!(acknowledged(&world) > before, "and they serve");
        let log: Vec<_> = world
            .told
            .lines()
            .filter(|l| l.contains("ordered it"))
            .collect();
        assert!(log[0].contains("member-0, member-2 ordered it"), "{log:?}");
        assert!(log[0].contains("of member-2 held"), "{log:?}");
        // The third comes back with an empty disk, as any node that joins.
        world.nodes[2].disk = Default::default();
        world.schedule(1, Event::Start { place: 2 });
        restarts_with_everything(&mut world);
    }

    #[test]
    fn an_order_that_does_not_count_changes_nothing() {
        type Make = fn(&World, (u64, u64)) -> Vec<u8>;
        let made: [(Make, &str); 4] = [
            (
                |w, reach| order(w, &[0], &[0, 1], reach),
                "1 more actors must sign",
            ),
            (
                |w, reach| order(w, &[0, 0], &[0, 1], reach),
                "signed it twice",
            ),
            (
                |w, (term, index)| order(w, &[0, 2], &[0, 1], (term, index + 1_000_000)),
                "from entry",
            ),
            (|w, reach| order(w, &[0, 2], &[0, 2], reach), "alone"),
        ];
        for (make, told) in made {
            let (mut world, reach) = two_of_three_are_left();
            let order = make(&world, reach);
            start_two(&mut world, order);
            nobody_restarts(&mut world);
            assert!(world.told.lines().any(|l| l.contains(told)), "{told}");
        }
    }
}
