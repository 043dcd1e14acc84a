//! What keys cost a whole network, in messages and in time: docs/performance.md, "Keys".
//!
//! `cargo test -p sim --lib key_figures -- --ignored --nocapture`. Messages are counted where they come in,
//! and are the same in every run of a seed. "Network ms" is the time of the simulated world, with the delays
//! that it draws; "work ms" is what all nodes together took of one core of this machine.

#![allow(clippy::disallowed_methods)] // A measurement needs a clock.

use std::cell::RefCell;
use std::time::Instant;

use super::cheats::Reader;
use super::{Event, LIVENESS_MS, World};
use crate::Options;

/// A large network meets, makes keys and restarts within this.
const LONG_MS: u64 = 10 * LIVENESS_MS;

fn network(nodes: usize, epoch_ms: u64, life_ms: u64) -> World {
    let options = Options {
        nodes: Some(nodes),
        clients: 0,
        trace: true,
        ..Options::default()
    };
    let mut world = World::new(21, &options);
    world.consortium.constitution.settings.epoch_length_ms = epoch_ms;
    world.consortium.constitution.settings.session_key_ttl_ms = life_ms;
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

/// Of each fetch, from the asking to the opening: a node that asks again meanwhile goes on with that.
fn fetch_ms(told: &[String]) -> Vec<u64> {
    let mut asked = std::collections::BTreeMap::new();
    let mut took = Vec::new();
    for line in told {
        let mut words = line.split_whitespace();
        let (Some(at), Some("node"), Some(node)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(at) = at.parse::<u64>() else { continue };
        if line.contains("asks for the keys of epoch") {
            asked.entry(node).or_insert(at);
        } else if line.contains("were opened by member-")
            && let Some(since) = asked.remove(node)
        {
            took.push(at - since);
        }
    }
    took.sort_unstable();
    took
}

/// From the entry that opens an epoch, made when it is time, until every node has come to it and has its keys.
fn epoch_change(nodes: usize) -> (u64, u64) {
    let mut world = network(nodes, 60_000, 3_600_000);
    until(&mut world, "every node is a voter", |world| {
        world.all_vote() && world.positions().all(|p| p.sealed)
    });
    let timers = |world: &World| {
        let opening = |line: &&String| line.contains("opening epoch") && line.contains("Timer");
        world.told.lines().filter(opening).count()
    };
    let before = timers(&world);
    let messages = gauge(&world, "key_messages");
    until(&mut world, "an epoch is opened", |world| {
        timers(world) > before
    });
    let epoch = world
        .positions()
        .map(|p| p.epoch)
        .max()
        .expect("nodes run")
        .next();
    let came = |world: &World| world.positions().all(|p| p.epoch == epoch && p.keyed);
    let (network, _, after) = cost(&mut world, "key_messages", "all have come to it", came);
    // Those on their way when it was opened are counted with it.
    let during = gauge(&world, "key_messages") - messages;
    (network, during.max(after))
}

#[test]
#[ignore = "a measurement, of minutes"]
fn key_figures() {
    println!(
        "  N   M | key generation: network ms, messages | epoch change: network ms, messages | fetches in a minute, messages, per fetch, median network ms | cold start: network ms, work ms, messages"
    );
    for nodes in [3, 5, 10, 25] {
        let epoch = epoch_change(nodes);
        // One epoch for all that follows.
        let mut world = network(nodes, 3_600_000, 60_000);
        until(&mut world, "every node is a voter", World::all_vote);
        let reader = RefCell::new(Reader::default());
        let made = cost(
            &mut world,
            "key_messages",
            "the actors have made their key",
            |world| {
                let mut reader = reader.borrow_mut();
                reader.follow(world);
                reader.made().is_some()
            },
        );

        let before = world.told.lines().count();
        let end = world.now.plus(60_000);
        let fetched = cost(&mut world, "key_messages", "a minute passes", |world| {
            world.now >= end
        });
        let told: Vec<String> = world.told.lines().skip(before).cloned().collect();
        let took = fetch_ms(&told);

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
        let fetches = took.len();
        println!(
            "{nodes:3} {:3} | {:6} {:6} | {:6} {:6} | {fetches:4} {:6} {:6.1} {:6} | {:6} {:8.0} {:6}",
            nodes / 2 + 1,
            made.0,
            made.2,
            epoch.0,
            epoch.1,
            fetched.2,
            fetched.2 as f64 / fetches.max(1) as f64, // some thousands
            took.get(fetches / 2).copied().unwrap_or_default(),
            cold.0,
            cold.1,
            cold.2,
        );
    }
}
