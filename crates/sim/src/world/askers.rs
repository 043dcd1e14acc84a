//! A node that asks for keys and may not have them: refused, and the ledger says so.

use governance::{Change, Command, KeyRelease};
use ledger::Kind;
use manager::wire::{KeyAsk, PeerMessage};
use tee::Purpose;
use types::{Epoch, Millis, NodeId};

use super::guests::Rogue;
use super::{LIVENESS_MS, Options, World};

/// Two honest nodes whose keys are sealed to three actors, and a place at which a rogue is listed.
fn network(seed: u64, lease_ms: u64) -> World {
    let options = Options {
        nodes: Some(3),
        clients: 0,
        trace: true,
        ..Options::default()
    };
    let mut world = World::new(seed, &options);
    let constitution = &mut world.consortium.constitution;
    constitution.settings.lease_length_ms = lease_ms;
    constitution.settings.epoch_length_ms = 3_600_000;
    constitution.voting.policy = governance::Policy::One;
    for place in 0..2 {
        world.start(place, place == 0);
    }
    let ready = |world: &World| world.all_vote() && world.positions().all(|p| p.sealed);
    let there = world.until(LIVENESS_MS, "a network is there", ready);
    there.unwrap_or_else(|what| panic!("{}\n{what}", world.told.finish().1.join("\n")));
    world
}

fn leader(world: &World) -> usize {
    let leader = world.leader().expect("it has a leader");
    world.places[&leader.node]
}

/// A rogue that was admitted, and a connection of its to the leader.
fn listed(world: &mut World) -> (Rogue, NodeId, u64) {
    let rogue = Rogue::new(world, 2);
    let place = leader(world);
    let joined = rogue.joins(world, place);
    assert!(!joined.keys.is_empty(), "admitted, it is given the keys");
    let id = rogue.dials(world, place);
    // What belongs to that.
    while world.leaked(1_000).is_some() {}
    (rogue, joined.node, id)
}

/// What the ledger says of keys that were given to a node, or refused.
fn releases(world: &World, node: NodeId) -> Vec<KeyRelease> {
    let mut found = Vec::new();
    for bytes in world.entries(0) {
        let entry = ledger::inspect(&bytes).expect("its own");
        if entry.header.kind == Kind::Administrative
            && let Ok(Command::KeyRelease(release)) = Command::from_parts(&entry.public, &[])
            && release.node == node
        {
            found.push(release);
        }
    }
    found
}

fn refusals(world: &World, node: NodeId) -> Vec<(Epoch, String)> {
    let refused = |r: KeyRelease| Some((r.epoch, r.refused?));
    releases(world, node)
        .into_iter()
        .filter_map(refused)
        .collect()
}

/// No keys come, and one refusal with this reason is in the ledger of an honest node.
fn refused(world: &mut World, node: NodeId, reason: &str) -> Epoch {
    let leaked = world.leaked(1_000);
    assert!(leaked.is_none(), "keys came: {leaked:?}");
    let found = refusals(world, node);
    let [(epoch, found)] = &found[..] else {
        panic!("{found:?}\n{}", world.told.finish().1.join("\n"));
    };
    assert!(found.contains(reason), "{found}");
    *epoch
}

fn key_ask(rogue: &Rogue, world: &World, epoch: Epoch, number: u64, time: Millis) -> PeerMessage {
    PeerMessage::KeyAsk(KeyAsk {
        epoch,
        number,
        evidence: rogue.evidence(world, Purpose::Lease, &number.to_be_bytes(), time),
        endorsements: Vec::new(),
    })
}

#[test]
fn who_is_not_listed_is_refused_keys_and_recorded_once_a_minute() {
    let mut world = network(21, 3_600_000);
    let rogue = Rogue::new(&mut world, 2);
    for place in [0, 1, 0, 1, 0, 1] {
        for ask in [
            PeerMessage::KeysAsk,
            PeerMessage::PartialsAsk { epoch: Epoch(2) },
            key_ask(&rogue, &world, Epoch(2), 1, world.now),
        ] {
            let id = rogue.dials(&mut world, place);
            rogue.says(&mut world, id, &ask);
            let answer = world.heard(id, 1_000);
            assert!(
                matches!(&answer, Some(PeerMessage::Refused { reason, .. })
                    if reason.contains("not in the VN list")),
                "{answer:?}"
            );
        }
    }
    let found = refusals(&world, NodeId(0));
    assert_eq!(found.len(), 1, "eighteen times within a minute: {found:?}");
    assert!(
        found[0]
            .1
            .contains(&rogue.key.public().fingerprint().to_string()),
        "{found:?}"
    );

    world.pass(61_000).expect("nothing happens");
    let id = rogue.dials(&mut world, 0);
    rogue.says(&mut world, id, &PeerMessage::KeysAsk);
    world.pass(500).expect("it is recorded");
    let found = refusals(&world, NodeId(0));
    assert_eq!(found.len(), 2);
    assert!(found[1].1.contains("more were refused"), "{found:?}");
}

#[test]
fn who_has_no_valid_lease_is_refused_keys() {
    let mut world = network(22, 60_000);
    let (rogue, node, id) = listed(&mut world);
    rogue.says(&mut world, id, &PeerMessage::KeysAsk);
    assert!(world.given(1_000).is_some());
    world.pass(500).expect("it is recorded");
    assert_eq!(
        releases(&world, node).len(),
        1,
        "that is a grant, and recorded"
    );

    world.pass(61_000).expect("its lease expires");
    while world.leaked(100).is_some() {}
    rogue.says(&mut world, id, &PeerMessage::KeysAsk);
    refused(&mut world, node, "its lease has expired");
}

#[test]
fn whose_evidence_is_stale_is_refused_keys() {
    let mut world = network(23, 3_600_000);
    let (rogue, node, id) = listed(&mut world);
    let stale = Millis(world.now.0 - 120_000);
    // The first came with its admission.
    let number = 2;
    let ask = key_ask(&rogue, &world, Epoch(2), number, stale);
    rogue.says(&mut world, id, &ask);
    refused(&mut world, node, "too far from ledger time");
    // With fresh evidence for the same lease it is granted: that was all that was wrong.
    let ask = key_ask(&rogue, &world, Epoch(2), number, world.now);
    rogue.says(&mut world, id, &ask);
    world.pass(500).expect("it is recorded");
    assert_eq!(releases(&world, node).len(), 2);
}

#[test]
fn who_asks_for_keys_too_often_is_refused() {
    let mut world = network(24, 3_600_000);
    let (rogue, node, id) = listed(&mut world);
    for _ in 0..governance::GRANTS_MAX {
        rogue.says(&mut world, id, &PeerMessage::KeysAsk);
        assert!(world.given(1_000).is_some());
        world.pass(600).expect("nothing happens");
    }
    while world.leaked(1_000).is_some() {}
    rogue.says(&mut world, id, &PeerMessage::KeysAsk);
    refused(&mut world, node, "too often within an hour");
    let given = releases(&world, node).len() as u32 - 1; // one a question
    assert_eq!(given, governance::GRANTS_MAX);
}

#[test]
fn who_asks_without_pause_is_answered_once() {
    let mut world = network(25, 3_600_000);
    let (rogue, node, id) = listed(&mut world);
    for _ in 0..100 {
        rogue.says(&mut world, id, &PeerMessage::KeysAsk);
    }
    world.pass(400).expect("it is recorded");
    assert_eq!(releases(&world, node).len(), 1, "one hand-over, one entry");
}

#[test]
fn who_asks_for_parts_and_does_not_lead_is_refused() {
    let mut world = network(26, 3_600_000);
    let (rogue, node, _) = listed(&mut world);
    let follower = 1 - leader(&world);
    let id = rogue.dials(&mut world, follower);
    let epoch = Epoch(world.positions().map(|p| p.epoch.0).max().expect("two"));
    rogue.says(&mut world, id, &PeerMessage::PartialsAsk { epoch });
    refused(&mut world, node, "it does not lead");
}

#[test]
fn who_asks_for_an_epoch_that_is_not_there_is_refused() {
    let mut world = network(27, 3_600_000);
    let (rogue, node, id) = listed(&mut world);
    let ask = key_ask(&rogue, &world, Epoch(99), 2, world.now);
    rogue.says(&mut world, id, &ask);
    let epoch = refused(&mut world, node, "there is no such epoch yet");
    assert_eq!(epoch, Epoch(99));
}

#[test]
fn who_was_removed_is_refused_the_keys_of_what_came_after() {
    let mut world = network(28, 3_600_000);
    let (rogue, node, id) = listed(&mut world);
    rogue.says(&mut world, id, &PeerMessage::KeysAsk);
    let memory = world.given(1_000).expect("a listed node is given keys");
    let before = memory.iter().map(|key| key.epoch).max().expect("some");
    let actor = world.consortium.members[2].name.clone();
    world.propose(0, 0, Change::RemoveActor { actor });
    let moved = world.until(5_000, "an epoch begins without it", |world| {
        world.positions().all(|p| p.epoch > before && p.keyed)
    });
    moved.unwrap_or_else(|what| panic!("{}\n{what}", world.told.finish().1.join("\n")));

    while world.leaked(1_000).is_some() {}
    for place in [0, 1] {
        for ask in [
            PeerMessage::KeysAsk,
            PeerMessage::PartialsAsk {
                epoch: Epoch(before.0 + 1),
            },
            key_ask(&rogue, &world, Epoch(before.0 + 1), 1, world.now),
        ] {
            let id = rogue.dials(&mut world, place);
            rogue.says(&mut world, id, &ask);
            let answer = world.heard(id, 1_000);
            assert!(
                matches!(answer, Some(PeerMessage::Refused { .. }) | None),
                "{answer:?}"
            );
        }
    }
    refused(&mut world, node, "it was removed or replaced");
}
