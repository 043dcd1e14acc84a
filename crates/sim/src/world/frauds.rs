//! Nodes that must not get in: each is refused with the reason, and gets nothing of the ledger.

use super::{Options, World};
use crate::node::Fraud;

/// Runs a network of two honest nodes and a fraud; says how the fraud ended, or what the others logged.
fn attempt(fraud: Fraud) -> (World, Result<(), String>) {
    let mut world = World::new(
        1,
        &Options {
            nodes: Some(3),
            trace: true,
            ..Options::default()
        },
    );
    world.nodes[2].fraud = Some(fraud);
    for place in 0..3 {
        world.start(place, place == 0);
    }
    let outcome = world.until(5_000, "three nodes vote", World::all_vote);
    (world, outcome)
}

fn refused(fraud: Fraud, reason: &str) {
    let (mut world, outcome) = attempt(fraud);
    let what = outcome.expect_err("a fraud is never a voter");
    let log = world.told.finish().1.join("\n");
    assert!(
        what.contains(reason) || log.contains(reason),
        "expected {reason:?} in {what}\n{log}"
    );
    assert!(
        world.nodes[2].disk.is_empty(),
        "nothing of the ledger was sent"
    );
}

#[test]
fn an_image_that_nobody_endorsed_is_refused() {
    refused(
        Fraud::Image,
        "the code manifest does not list the measurement",
    );
}

#[test]
fn evidence_made_for_something_else_is_refused() {
    refused(
        Fraud::ReplayedEvidence,
        "not for this network, purpose, key and challenge",
    );
}

#[test]
fn old_evidence_is_refused_until_it_is_fresh() {
    refused(Fraud::StaleEvidence, "too far from ledger time");
}

#[test]
fn a_tuple_by_another_than_the_owner_is_refused() {
    refused(Fraud::ForeignTuple, "does not match");
}

#[test]
fn a_platform_that_the_manifest_does_not_name_is_refused() {
    refused(
        Fraud::ForeignPlatform,
        "do not lead to a root of the TEE manifest",
    );
}

#[test]
fn a_joiner_appraises_the_network_before_it_sends_its_own_evidence() {
    let mut world = World::new(
        2,
        &Options {
            nodes: Some(3),
            trace: true,
            ..Options::default()
        },
    );
    world.start(0, true);
    let founded = |world: &World| {
        world.nodes[0]
            .process
            .as_ref()
            .is_some_and(|p| p.manager.position().leading)
    };
    world
        .until(5_000, "the network is founded", founded)
        .expect("nothing is in the way");
    let process = world.nodes[0].process.as_mut().expect("it runs");
    process.fraud = Some(Fraud::Image);
    world.start(1, false);
    world
        .until(3_000, "the joiner votes", World::all_vote)
        .expect_err("it must not join that network");
    let log = world.told.finish().1.join("\n");
    assert!(
        log.contains("the node this one wants to join through is refused: its evidence"),
        "{log}"
    );
    assert!(world.nodes[1].disk.is_empty());
}
