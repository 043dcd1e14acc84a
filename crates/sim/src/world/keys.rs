//! The life of keys, and who is left out of them: with real managers, and with what they have in memory and
//! on disk.

use std::collections::BTreeSet;

use crypto::Entropy;
use governance::{Change, Opening, ShareCache, State};
use ledger::Kind;
use types::{Epoch, Index};

use super::{Event, LIVENESS_MS, Options, World};
use crate::node::Process;

/// A network whose keys are sealed to its actors, of whom `threshold` open them.
fn network(nodes: usize, threshold: u32, seed: u64) -> World {
    network_of_life(nodes, threshold, seed, 8_000)
}

fn network_of_life(nodes: usize, threshold: u32, seed: u64, ttl_ms: u64) -> World {
    let options = Options {
        nodes: Some(nodes),
        clients: 2,
        trace: true,
        ..Options::default()
    };
    let mut world = World::new(seed, &options);
    let constitution = &mut world.consortium.constitution;
    constitution.settings.key_threshold = threshold;
    constitution.settings.session_key_ttl_ms = ttl_ms;
    constitution.voting.policy = governance::Policy::One;
    world.dark = true;
    for place in 0..nodes {
        world.start(place, place == 0);
    }
    sure(&mut world, |world| {
        world.until(LIVENESS_MS, "a network is there", |world| {
            world.all_vote() && world.positions().all(|p| p.sealed)
        })
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

fn told(world: &World, what: &str) -> usize {
    world.told.lines().filter(|l| l.contains(what)).count()
}

fn acknowledged(world: &World) -> usize {
    world.clients.values().map(|c| c.acknowledged.len()).sum()
}

/// Nobody starts these machines again.
fn stay_dark(world: &mut World, dark: &[usize]) {
    world.lose_power(&dark.iter().copied().collect());
    world
        .queue
        .retain(|_, event| !matches!(event, Event::Start { place } if dark.contains(place)));
}

/// Every connection between nodes is cut; they make others.
fn meet_again(world: &mut World) {
    let wires: Vec<u64> = world.wires.keys().copied().collect();
    for wire in wires {
        if let Some(link) = world.wires.get_mut(&wire) {
            link.broken = true;
        }
        for to_dialler in [true, false] {
            world.schedule(1, Event::Closed { wire, to_dialler });
        }
    }
}

/// All five actors open the keys, and one of them is gone. The four others have a quorum, so they elect,
/// restart, are admitted again and give one another keys; and still the keys die with the life that the five
/// gave them last.
#[test]
fn keys_die_without_m_actors_however_often_nodes_meet_again() {
    let mut world = network(5, 5, 41);
    sure(&mut world, |world| world.pass(2_000));
    stay_dark(&mut world, &[4]);
    let ttl = world.consortium.constitution.settings.session_key_ttl_ms;
    let gone = world.now;
    let mut returned = 0;
    for place in (0..4).cycle().take(16) {
        stay_dark(&mut world, &[place]);
        world.schedule(10, Event::Start { place });
        let before = returned;
        for _ in 0..40 {
            sure(&mut world, |world| world.pass(100));
            let back = world.nodes[place].process.as_ref();
            if back.is_some_and(|p| p.manager.position().keyed && !world.nodes[place].joining) {
                returned += 1;
                break;
            }
        }
        meet_again(&mut world);
        if world.now.since(gone) > 3 * ttl && returned == before {
            break;
        }
    }
    assert!(returned >= 2, "some came back while the keys lived");
    assert!(world.now.since(gone) > ttl);
    assert!(
        world.positions().all(|p| !p.keyed),
        "nobody has the keys any more{}",
        world.scene()
    );
    let before = acknowledged(&world);
    meet_again(&mut world);
    sure(&mut world, |world| world.pass(10_000));
    assert!(world.positions().all(|p| !p.keyed), "{}", world.scene());
    assert_eq!(acknowledged(&world), before, "and nothing is written");

    // The fifth comes back: five actors open them, and everything that was acknowledged is there.
    world.schedule(1, Event::Start { place: 4 });
    sure(&mut world, |world| {
        world.until(2 * LIVENESS_MS, "it goes on", |world| {
            world.all_vote() && world.positions().all(|p| p.keyed)
        })?;
        world.end()
    });
}

/// A new epoch begins no new life: an old key is not kept by making others after it.
#[test]
fn an_epoch_that_begins_lengthens_no_life() {
    let ttl = 150_000;
    let mut world = network_of_life(5, 5, 42, ttl);
    // Nobody writes, so that this is over soon.
    world.calm = true;
    stay_dark(&mut world, &[4]);
    let gone = world.now;
    let epoch = world.positions().map(|p| p.epoch).max().expect("four");
    sure(&mut world, |world| {
        world.until(2 * ttl, "the keys die", |world| {
            world.positions().all(|p| !p.keyed)
        })
    });
    assert!(world.now.since(gone) <= ttl + 1_000);
    let last = world.positions().map(|p| p.epoch).max().expect("four");
    assert!(
        last.0 >= epoch.0 + 2,
        "epochs began meanwhile: {epoch} to {last}"
    );
}

/// Everything that a node of an actor that leaves has in memory and on disk, its share-transport key, and
/// M - 1 of the actors that stay, open nothing of what follows.
#[test]
fn whoever_was_removed_opens_nothing_that_came_after() {
    let mut world = network(4, 3, 43);
    sure(&mut world, |world| world.pass(2_000));
    let epoch = world.positions().map(|p| p.epoch).max().expect("four");
    let actor = world.consortium.members[3].name.clone();
    world.nodes[3].removed = true;
    world.propose(
        0,
        0,
        Change::RemoveActor {
            actor: actor.clone(),
        },
    );
    let stay = |world: &World, place: usize| {
        let process = world.nodes[place].process.as_ref();
        process.map(|p| p.manager.position())
    };
    sure(&mut world, |world| {
        world.until(10_000, "epochs begin without it", |world| {
            (0..3).all(|p| stay(world, p).is_some_and(|p| p.epoch.0 > epoch.0 && p.keyed))
        })
    });
    let first = world.positions().map(|p| p.epoch).max().expect("three");
    // Written in the very first epoch without it, before the actors have a key of their own, and after.
    sure(&mut world, |world| world.pass(10_000));

    let (state, sealers) = replayed(&world, 0);
    let memory = world.nodes[3].memory.as_ref();
    let memory: &Process = memory
        .or(world.nodes[3].process.as_ref())
        .expect("its memory was kept");
    let (mut before, mut after) = (0, 0);
    for bytes in world.entries(0) {
        let header = ledger::inspect(&bytes).expect("its own").header;
        let sealer = &sealers[&header.sealer];
        let opens = memory.manager.opens(&bytes, sealer);
        let control = world.nodes[0].process.as_ref().expect("it runs");
        assert!(
            control.manager.opens(&bytes, sealer),
            "who stayed opens {}",
            header.index
        );
        if header.epoch <= epoch {
            assert!(opens, "entry {} is of its time", header.index);
            before += 1;
        } else {
            assert!(!opens, "entry {} is not for it", header.index);
            after += 1;
        }
    }
    assert!(before > 20 && after > 20, "{before} before, {after} after");
    assert!(
        memory.manager.position().epoch <= first,
        "it heard of the end of its time, and of nothing more"
    );

    // Its share-transport key and two of the three that stay.
    let entropy = &mut Entropy::new(&[9; 32]);
    let records = state.keys();
    let mut tried = BTreeSet::new();
    for record in records.epochs() {
        let now = record.opening.epoch;
        if now <= epoch {
            continue;
        }
        let seal = record.opening.seal.as_ref().expect("sealed to the actors");
        let key = records.shared_by(seal.key).expect("it is in the ledger");
        tried.insert(key.is_dealt());
        assert!(!key.actors().iter().any(|(name, _)| *name == actor));
        let mut opening = Opening::new(now);
        let mut parts = |member: usize| {
            let share = &world.consortium.members[member].share;
            ShareCache::default().parts(records, share, now, entropy)
        };
        assert!(
            parts(3).is_none(),
            "it has no share of the key of epoch {now}"
        );
        for member in [0, 1] {
            let added = opening.add(records, parts(member).expect("a holder"));
            assert!(added.expect("a good part").is_none(), "two open nothing");
        }
        let opened = opening.add(records, parts(2).expect("a holder"));
        assert!(
            opened.expect("a good part").is_some(),
            "the three that stay do"
        );
    }
    assert_eq!(
        tried,
        BTreeSet::from([true, false]),
        "under the key that the leader dealt, and under the actors' own"
    );
}

/// What anybody reads from the files of a node, and whose key sealed what.
fn replayed(
    world: &World,
    place: usize,
) -> (
    State,
    std::collections::BTreeMap<types::NodeId, crypto::PublicKey>,
) {
    let mut state = State::new();
    for bytes in world.entries(place) {
        let entry = ledger::inspect(&bytes).expect("its own");
        let header = entry.header;
        if matches!(header.kind, Kind::Genesis | Kind::Administrative) {
            let done = state.apply_public(header.index, header.time, &entry.public);
            assert!(done.is_ok(), "entry {}: {done:?}", header.index);
        }
    }
    let sealers = state.nodes().map(|node| (node.id, node.key)).collect();
    (state, sealers)
}

/// Power fails everywhere between the opening of an epoch and the end of the generation that follows.
#[test]
fn power_that_fails_before_the_actors_have_made_their_key_loses_nothing() {
    for seed in 50..54 {
        let options = Options {
            nodes: Some(3),
            clients: 2,
            trace: true,
            ..Options::default()
        };
        let mut world = World::new(seed, &options);
        world.dark = true;
        for place in 0..3 {
            world.start(place, place == 0);
        }
        world.calm = false;
        world.turn(1, 0);
        world.turn(1, 1);
        sure(&mut world, |world| {
            world.until(LIVENESS_MS, "three vote", |world| {
                world.all_vote() && world.positions().all(|p| p.sealed)
            })
        });
        assert_eq!(
            told(&world, "ThresholdKey"),
            0,
            "the generation is under way"
        );
        world.lose_power(&BTreeSet::from([0, 1, 2]));
        sure(&mut world, |world| {
            world.until(LIVENESS_MS, "the network restarts", |world| {
                world.positions().any(|p| p.restarts == 1) && world.all_vote()
            })?;
            world.end()
        });
    }
}

/// The leader dies before the entry that opens an epoch is committed, and right after.
#[test]
fn a_leader_that_crashes_while_an_epoch_begins_leaves_one_to_the_next() {
    for (seed, wait) in [
        (60, 0),
        (61, 1),
        (62, 2),
        (63, 3),
        (64, 5),
        (65, 8),
        (66, 13),
        (67, 30),
    ] {
        let mut world = network(3, 2, seed);
        let epoch = world.positions().map(|p| p.epoch).max().expect("three");
        world.propose(
            0,
            0,
            Change::SetSetting {
                name: "key_threshold".into(),
                value: 3,
            },
        );
        sure(&mut world, |world| {
            let opening = format!("opening epoch {}: Threshold", epoch.0 + 1);
            world.until(5_000, "an epoch is being opened", |world| {
                told(world, &opening) > 0
            })?;
            world.pass(wait)
        });
        let leader = world.leader().map(|l| world.places[&l.node]);
        if let Some(place) = leader {
            world.lose_power(&BTreeSet::from([place]));
        }
        sure(&mut world, |world| {
            world.until(LIVENESS_MS, "the next leader goes on", |world| {
                world.all_vote() && world.positions().all(|p| p.epoch.0 > epoch.0 && p.keyed)
            })?;
            world.end()
        });
        let openings = opened(&world);
        let numbers: Vec<u64> = openings.iter().map(|e| e.0).collect();
        let expected: Vec<u64> = (2..2 + numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "each epoch begins once");
    }
}

fn opened(world: &World) -> Vec<Epoch> {
    let (state, _) = replayed(world, 0);
    let records = state.keys().epochs();
    assert!(records.iter().all(|r| r.entry > Index::ZERO));
    records.iter().map(|r| r.opening.epoch).collect()
}
