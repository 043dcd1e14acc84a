//! What keys cost a network of N actors, each with one node: `cargo run -p client --example keys`.
//!
//! The entries are real ones, replayed as every node replays them. Times are of the work on one machine, medians;
//! what a network adds is its round trips: a generation takes three rounds, an epoch change one entry, and
//! opening keys one entry and one message from each of M actors.

#![allow(clippy::disallowed_methods)] // A measurement needs a clock.

#[path = "../../coco/tests/ledger/world.rs"]
mod world;

use std::time::Instant;

use crypto::Entropy;
use governance::{
    Command, EpochCause, EpochKey, EpochKeys, EpochOpening, EpochSeal, KeyStep, Opening,
    ShareCache, State, Visibility, sign_key_message,
};
use threshold::{Awaiting, Deal, DealerSecret, Message, TransportKey};
use types::{Epoch, NodeId};
use world::Writer;

const ROUNDS: usize = 9;

fn main() {
    println!(
        "  N   M | entries   bytes  actor ms  replay ms | epoch: make  replay | open: part  combine ms"
    );
    for actors in [3_u8, 5, 10, 25] {
        measure(actors);
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The median of some runs, in ms, and the last result.
fn median<T>(mut run: impl FnMut() -> T) -> (f64, T) {
    let mut runs: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let since = Instant::now();
            let done = run();
            (ms(since), done)
        })
        .collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = runs[ROUNDS / 2].0;
    (middle, runs.pop().expect("there are rounds").1)
}

fn measure(actors: u8) {
    let threshold = u32::from(actors) / 2 + 1;
    let entropy = &mut Entropy::new(&[actors; 32]);
    let names: Vec<_> = (0..actors)
        .map(|place| format!("actor-{place:02}"))
        .collect();
    let owners = names
        .iter()
        .map(|name| (name.as_str(), Some(TransportKey::generate(entropy))))
        .collect();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut writer = Writer::of_actors(directory.path(), Visibility::Public, owners, threshold);
    writer.admit_others();

    let before = writer.state.to_cbor();
    // Where the generation begins names its session.
    let (index, time) = (writer.header.index, writer.header.time);
    let (commands, actor_ms) = generate(&mut writer, entropy);
    let parts: Vec<_> = commands.iter().map(Command::public).collect();
    let bytes: usize = parts.iter().map(Vec::len).sum();
    let (replay_ms, state) = median(|| {
        let mut state = State::from_cbor(&before).expect("own bytes");
        for (place, public) in (0..).zip(&parts) {
            let index = types::Index(index.0 + place);
            state.apply_public(index, time, public).expect("as it was");
        }
        state
    });
    assert!(state.keys().shared().is_some(), "the actors have a key");

    let network = writer.constitution.network_id();
    let former = EpochKeys::generate(entropy);
    let (make_ms, (opening, keys)) = median(|| {
        let shared = state.keys().shared().expect("made above");
        let keys = EpochKeys::generate(entropy);
        let mut encrypt = |key: &[u8; 32], which: EpochKey| {
            shared.key().encrypt(key, &which.label(Epoch(2)), entropy)
        };
        let seal = EpochSeal {
            key: shared.key().session(),
            session_key: encrypt(keys.session(), EpochKey::Session),
            history_key: encrypt(keys.history(), EpochKey::History),
        };
        let opening = EpochOpening {
            epoch: Epoch(2),
            cause: EpochCause::Timer,
            link: keys.seal_link(network, Epoch(2), &former),
            check: keys.check(Epoch(2)),
            seal: Some(seal),
            dealt: None,
        };
        (opening, keys)
    });
    let public = Command::OpenEpoch(Box::new(opening)).public();
    let with_key = state.to_cbor();
    let mut opened = State::from_cbor(&with_key).expect("own bytes");
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            opened = State::from_cbor(&with_key).expect("own bytes");
            let since = Instant::now();
            let index = types::Index(index.0 + 1000);
            opened.apply_public(index, time, &public).expect("the next");
            ms(since)
        })
        .collect();
    times.sort_by(f64::total_cmp);

    // A node that derives its share anew: afterwards it has it.
    let transport = |place: usize| {
        writer.owners[place]
            .transport
            .as_ref()
            .expect("all have one")
    };
    let records = opened.keys();
    let (part_ms, _) = median(|| {
        let mut share = ShareCache::default();
        share.parts(records, transport(0), Epoch(2), entropy)
    });
    let parts: Vec<_> = (0..threshold as usize)
        .map(|place| {
            let mut share = ShareCache::default();
            let parts = share.parts(records, transport(place), Epoch(2), entropy);
            parts.expect("it holds a share")
        })
        .collect();
    let (combine_ms, by) = median(|| {
        let mut opening = Opening::new(Epoch(2));
        let mut done = None;
        for parts in &parts {
            done = opening.add(records, parts.clone()).expect("good parts");
        }
        done.expect("M of them")
    });
    assert_eq!(by.keys.session(), keys.session());
    println!(
        "{actors:3} {threshold:3} | {:7} {bytes:7} {actor_ms:9.2} {replay_ms:10.2} | {make_ms:11.2} {:7.2} | {part_ms:10.2} {combine_ms:8.2}",
        commands.len(),
        times[ROUNDS / 2],
    );
}

/// The entries of a generation, and what the first actor's own part of the work took.
fn generate(writer: &mut Writer, entropy: &mut Entropy) -> (Vec<Command>, f64) {
    let mut commands = vec![Command::KeyStep(KeyStep::Begin)];
    writer.administrative(&commands[0]);
    let mut secrets: Vec<DealerSecret> = Vec::new();
    let mut own_ms = 0.0;
    while let Some(generation) = writer.state.keys().generation() {
        let session = generation.session();
        let mut messages = Vec::new();
        let since = Instant::now();
        match session.awaiting() {
            Awaiting::Deals(missing) if !missing.is_empty() => {
                for dealer in missing {
                    let (deal, secret) = Deal::make(session.setup(), dealer, entropy);
                    messages.push(Message::Deal(deal));
                    secrets.push(secret);
                }
            }
            Awaiting::Answers(missing) if !missing.is_empty() => {
                for owner in &writer.owners {
                    let key = owner.transport.as_ref().expect("all have one");
                    messages.extend(session.answer(key, entropy).expect("it holds a share"));
                }
            }
            Awaiting::KeyParts(_) => {
                for secret in &secrets {
                    messages.extend(session.key_part(secret, entropy));
                }
            }
            _ => {}
        }
        own_ms += ms(since);
        let mut steps = Vec::new();
        for message in &messages {
            let place = message.sender().number() - 1;
            let owner = &writer.owners[usize::from(place)];
            steps.push(Command::KeyStep(KeyStep::Message {
                node: NodeId(u64::from(place) + 1),
                signed: sign_key_message(&owner.node, message),
            }));
        }
        if steps.is_empty() {
            steps.push(Command::KeyStep(KeyStep::CloseRound));
        }
        for step in steps {
            writer.administrative(&step);
            commands.push(step);
        }
    }
    let actors = writer.owners.len() as f64; // at most 64
    (commands, own_ms / actors)
}
