//! Nodes that run, or come back, without what they need to go on by themselves: DESIGN section 6 by name,
//! where seeds found mistakes.

use std::collections::BTreeSet;

use super::cheats::{acknowledged, calm_network, sure, until};
use super::{Options, World};

/// Three places, of which those before `running` are started, and nothing that goes wrong by itself.
fn begun(seed: u64, running: usize) -> World {
    let options = Options {
        nodes: Some(3),
        clients: 2,
        trace: true,
        ..Options::default()
    };
    let mut world = World::new(seed, &options);
    world.dark = true;
    for place in 0..running {
        world.start(place, place == 0);
    }
    world
}

fn position(world: &World, place: usize) -> manager::Position {
    let process = world.nodes[place].process.as_ref();
    process.map_or_else(Default::default, |p| p.manager.position())
}

/// Nothing passes between these two.
fn cut(world: &mut World, one: usize, other: usize) {
    world.blocked.extend([(one, other), (other, one)]);
}

fn restarts_and_ends(world: &mut World) {
    until(world, "the network restarts", |world| {
        world.restarts() == 1 && world.all_vote()
    });
    world.calm = false;
    world.turn(1, 0);
    world.turn(1, 1);
    sure(world, World::end);
}

/// A node that is admitted and is sent nothing does not vote: when the leader is lost, those that have the
/// ledger are enough.
#[test]
fn a_node_that_was_sent_nothing_counts_in_no_quorum() {
    let mut world = begun(91, 3);
    until(&mut world, "the second is admitted", |world| {
        position(world, 1).node.0 != 0
    });
    cut(&mut world, 0, 1);
    cut(&mut world, 1, 2);
    until(
        &mut world,
        "the third votes, and the keys are sealed",
        |world| {
            let third = position(world, 2);
            third.voters.contains(&third.node) && third.sealed
        },
    );
    sure(&mut world, |world| world.pass(3_000));
    let second = position(&world, 1);
    assert_eq!(
        (second.last.0, second.committed.0),
        (0, 0),
        "it has nothing"
    );
    let leader = world.leader().expect("it leads");
    assert!(!leader.voters.contains(&second.node), "{:?}", leader.voters);

    // The first loses power: without it there is no quorum, and with it the two are enough.
    world.lose_power(&BTreeSet::from([0]));
    until(&mut world, "the two restart the network", |world| {
        world.restarts() == 1 && world.leader().is_some_and(|l| l.voters.len() == 2)
    });
    world.blocked.clear();
    restarts_and_ends(&mut world);
}

/// A ledger that was cut to a time before the others came knows a configuration of one, of which no number is
/// enough. It follows the foremost, which says that enough are here.
#[test]
fn a_node_whose_disk_is_from_before_the_others_came_follows_the_foremost() {
    let mut world = begun(92, 1);
    until(&mut world, "the founder has its second entry", |world| {
        position(world, 0).sealed && position(world, 0).committed.0 >= 4
    });
    sure(&mut world, |world| world.pass(200));
    assert_eq!(position(&world, 0).voters.len(), 1);
    let old = world.nodes[0].disk.clone();
    for place in [1, 2] {
        world.start(place, false);
    }
    until(&mut world, "three vote", World::all_vote);
    world.calm = false;
    world.turn(1, 0);
    world.turn(1, 1);
    sure(&mut world, |world| world.pass(3_000));
    assert!(acknowledged(&world) > 0);

    world.lose_power(&BTreeSet::from([0, 1, 2]));
    world.nodes[0].disk = old;
    world.nodes[0].disk.lose_power(u64::MAX);
    restarts_and_ends(&mut world);
}

/// Every node was alone for longer than keys live. They meet again and elect, and the actors that open the
/// keys all run: nobody starts again, and the network does not restart.
#[test]
fn a_leader_without_keys_waits_while_the_actors_that_open_them_run() {
    let mut world = calm_network(3, 3, 93, None, |settings| {
        settings.key_threshold = 2;
        settings.session_key_ttl_ms = 8_000;
    });
    sure(&mut world, |world| world.pass(1_000));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        cut(&mut world, one, other);
    }
    until(&mut world, "the keys are gone everywhere", |world| {
        world.positions().all(|p| !p.keyed)
    });
    sure(&mut world, |world| world.pass(5_000));
    let before = acknowledged(&world);
    world.blocked.clear();
    until(&mut world, "they are opened", |world| {
        world.positions().all(|p| p.keyed)
    });
    sure(&mut world, |world| world.pass(3_000));
    assert!(acknowledged(&world) > before);
    assert_eq!(world.restarts(), 0);
    assert!(world.nodes.iter().all(|node| node.incarnation == 1));
    sure(&mut world, World::end);
}

/// All keys die just after an epoch began, when one node has come to it and the others have not: what is before
/// it is sealed with keys that they do not have. Whoever leads then, the keys are opened.
#[test]
fn keys_of_an_epoch_that_one_node_alone_has_come_to_are_opened() {
    for seed in 95..99 {
        let mut world = calm_network(3, 3, seed, None, |settings| {
            settings.key_threshold = 2;
            settings.session_key_ttl_ms = 8_000;
            settings.epoch_length_ms = 60_000;
        });
        until(&mut world, "one has come to the next epoch", |world| {
            let newest = world.positions().map(|p| p.epoch).max();
            newest > Some(types::Epoch(2))
                && world
                    .positions()
                    .filter(|p| Some(p.epoch) == newest)
                    .count()
                    == 1
        });
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            cut(&mut world, one, other);
        }
        until(&mut world, "the keys are gone everywhere", |world| {
            world.positions().all(|p| !p.keyed)
        });
        let before = acknowledged(&world);
        world.blocked.clear();
        until(&mut world, "they are opened", |world| {
            world.positions().all(|p| p.keyed)
        });
        sure(&mut world, |world| world.pass(3_000));
        assert!(acknowledged(&world) > before);
        assert_eq!(world.restarts(), 0);
        sure(&mut world, World::end);
    }
}

/// A node that counts and has applied nothing of what it was sent, since its keys had died by then, has no part
/// to give and nobody to follow. It takes part in the restart all the same.
#[test]
fn a_voter_that_has_applied_nothing_starts_again_to_take_part() {
    let mut world = begun(94, 3);
    until(&mut world, "the second is admitted", |world| {
        position(world, 1).node.0 != 0
    });
    cut(&mut world, 0, 1);
    cut(&mut world, 1, 2);
    let second = position(&world, 1).node;
    until(&mut world, "its keys are gone", |world| {
        !position(world, 1).keyed
    });
    for link in [(0, 1), (1, 0)] {
        world.blocked.remove(&link);
    }
    until(&mut world, "it was sent the ledger", |world| {
        position(world, 1).last.0 > 20
    });
    // What it says is heard, and keys do not come.
    world.blocked.insert((0, 1));
    until(&mut world, "it counts", |world| {
        world.leader().is_some_and(|l| l.voters.contains(&second))
    });
    world.lose_power(&BTreeSet::from([0]));
    cut(&mut world, 0, 1);
    cut(&mut world, 0, 2);
    until(&mut world, "nobody has keys", |world| {
        !position(world, 2).keyed && world.nodes[0].process.is_some()
    });
    let bare = position(&world, 1);
    assert_eq!((bare.node, bare.committed.0), (second, 0));
    world.blocked.clear();
    restarts_and_ends(&mut world);
    assert_eq!(world.nodes[1].incarnation, 2);
}
