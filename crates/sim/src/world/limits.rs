//! A node whose keys do not come keeps a bounded number of reads, and a bounded number of bytes, for when they
//! do.

use manager::Limits;
use manager::wire::PeerMessage;
use types::Index;

use super::World;
use super::cheats::{acknowledged, calm_network, leader, sure, told, until};
use super::guests::Rogue;
use crate::node::Fraud;

const READ_REFUSED: &str = "a read of the ledger is refused";

fn network(nodes: usize, seed: u64, limits: Limits) -> World {
    calm_network(nodes, 3, seed, Some(limits), |settings| {
        settings.key_threshold = 2;
        settings.session_key_ttl_ms = 8_000;
        settings.lease_length_ms = 60_000;
    })
}

/// The platform of a node that follows makes evidence that is too old. When its lease has ended nobody gives
/// it keys, and it goes on receiving what the others commit.
fn keyless(world: &mut World) -> usize {
    let place = (0..3).find(|p| *p != leader(world)).expect("two follow");
    let process = world.nodes[place].process.as_mut().expect("it runs");
    process.fraud = Some(Fraud::StaleEvidence);
    sure(world, |world| world.pass(62_000));
    until(world, "its keys are gone", |world| {
        let process = world.nodes[place].process.as_ref();
        process.is_some_and(|p| !p.manager.position().keyed)
    });
    place
}

#[test]
fn a_node_without_keys_keeps_256_reads_for_later_and_refuses_more() {
    let limits = Limits::default();
    assert_eq!(limits.reads, 256);
    let mut world = network(4, 81, limits);
    let rogue = Rogue::new(&mut world, 3);
    let lead = leader(&world);
    rogue.joins(&mut world, lead);
    let place = keyless(&mut world);
    let link = rogue.dials(&mut world, place);
    let ask = PeerMessage::EntriesAsk {
        first: Index(5),
        last: Index(5),
    };
    for _ in 0..limits.reads + 44 {
        rogue.says(&mut world, link, &ask);
    }
    sure(&mut world, |world| world.pass(2_000));
    assert_eq!(told(&world, READ_REFUSED), 44);
    let answered = |message: &PeerMessage| matches!(message, PeerMessage::Entries { .. });
    let heard = world.all_heard();
    assert!(!heard.iter().any(answered));

    // Its evidence is good again: M actors open the keys, and what waited is answered.
    let process = world.nodes[place].process.as_mut().expect("it runs");
    process.fraud = None;
    until(&mut world, "the keys are opened", |world| {
        let process = world.nodes[place].process.as_ref();
        process.is_some_and(|p| p.manager.position().keyed)
    });
    sure(&mut world, |world| world.pass(2_000));
    let answers = world.all_heard().into_iter().filter(|message| {
        matches!(message, PeerMessage::Entries { first: Index(5), entries } if entries.len() == 1)
    });
    assert_eq!(answers.count(), limits.reads);
    assert_eq!(told(&world, READ_REFUSED), 44);
}

#[test]
fn a_node_that_keeps_too_many_entries_without_their_keys_starts_again() {
    let limits = Limits {
        unapplied_bytes: 24 << 10,
        ..Limits::default()
    };
    assert_eq!(Limits::default().unapplied_bytes, 64 << 20);
    let mut world = network(3, 82, limits);
    let place = keyless(&mut world);
    let (incarnation, before) = (world.nodes[place].incarnation, acknowledged(&world));
    assert_eq!(told(&world, "ended with code"), 0, "little waits as yet");
    until(&mut world, "it starts again", |world| {
        world.nodes[place].incarnation > incarnation
    });
    let ended = format!("node {place} ended with code 6");
    assert_eq!(told(&world, &ended), 1);
    assert!(acknowledged(&world) > before, "the others served meanwhile");
    sure(&mut world, World::end);
}
