//! What keys cost a whole network, in messages and in time: docs/performance.md, "Keys".
//!
//! `cargo test -p sim --lib key_figures -- --ignored --nocapture`. Messages are counted where they come in,
//! and are the same in every run of a seed. "Network ms" is the time of the simulated world, with the delays
//! that it draws; "work ms" is what all nodes together took of one core of this machine.

#![allow(clippy::disallowed_methods)] // A measurement needs a clock.

use std::time::Instant;

use super::{Event, LIVENESS_MS, World};
use crate::Options;

/// A large network meets, makes keys and restarts within this.
const LONG_MS: u64 = 10 * LIVENESS_MS;

fn network(nodes: usize) -> World {
    let options = Options {
        nodes: Some(nodes),
        clients: 0,
        trace: true,
        ..Options::default()
    };
    let mut world = World::new(21, &options);
    // One epoch for all that follows, and keys that live as long as by default but for the fetches.
    world.consortium.constitution.settings.epoch_length_ms = 3_600_000;
    world.consortium.constitution.settings.session_key_ttl_ms = 60_000;
    world.dark = true;
    for place in 0..nodes {
        world.start(place, place == 0);
    }
    world
}

fn until(world: &mut World, what: &str, done: impl Fn(&World) -> bool) {
    if let Err(why) = world.until(LONG_MS, what, done) {
        panic!("{}\n{why}", world.told.finish().1.join("\n"));
    }
}

fn gauge(world: &World, name: &str) -> u64 {
    let values = world.nodes.iter().map(|n| n.gauges.get(name).copied());
    values.map(Option::unwrap_or_default).sum()
}

/// Simulated ms, real ms, and messages that `name` counts, until it is done.
fn cost(
    world: &mut World,
    name: &str,
    what: &str,
    done: impl Fn(&World) -> bool,
) -> (u64, f64, u64) {
    let (before, began, since) = (gauge(world, name), world.now, Instant::now());
    until(world, what, done);
    let (network, work) = (world.now.since(began), since.elapsed().as_secs_f64() * 1e3);
    // What is counted is told a little later.
    let end = world.now.plus(1_500);
    until(world, "the gauges are told", |world| world.now >= end);
    (network, work, gauge(world, name).saturating_sub(before))
}

#[test]
#[ignore = "a measurement, of minutes"]
fn key_figures() {
    println!(
        "  N   M | key generation: network ms, messages | fetches in a minute, messages, per fetch | cold start: network ms, work ms, messages"
    );
    for nodes in [3, 5, 10, 25] {
        let mut world = network(nodes);
        until(&mut world, "every node is a voter", World::all_vote);
        let sealed = |world: &World| world.positions().all(|p| p.sealed);
        let made = cost(
            &mut world,
            "key_messages",
            "keys are sealed to the actors",
            sealed,
        );

        let opened = "were opened by member-";
        let before = world.told.lines().filter(|l| l.contains(opened)).count();
        let end = world.now.plus(60_000);
        let fetched = cost(&mut world, "key_messages", "a minute passes", |world| {
            world.now >= end
        });
        let after = world.told.lines().filter(|l| l.contains(opened)).count();

        let all = (0..nodes).collect();
        world.lose_power(&all);
        world
            .queue
            .retain(|_, event| !matches!(event, Event::Start { .. }));
        for place in 0..nodes {
            world.schedule(1, Event::Start { place });
        }
        let restarted = |world: &World| world.restarts() == 1 && world.all_vote();
        let cold = cost(
            &mut world,
            "cold_messages",
            "the network restarts",
            restarted,
        );
        let fetches = after - before;
        println!(
            "{nodes:3} {:3} | {:6} {:6} | {fetches:4} {:6} {:6.1} | {:6} {:8.0} {:6}",
            nodes / 2 + 1,
            made.0,
            made.2,
            fetched.2,
            fetched.2 as f64 / fetches.max(1) as f64, // some thousands
            cold.0,
            cold.1,
            cold.2,
        );
    }
}
