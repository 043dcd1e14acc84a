//! A checker that was never seen to fail proves nothing: a known mistake of consensus is put back, and
//! some seed must find it. (The consensus crate does the same for twelve more, message by message.) Run with `cargo test -p sim --features mutations`.
#![cfg(feature = "mutations")]

use manager::Mutation;
use sim::{Options, run};

/// The mistake shows within a few seeds; this many is far beyond.
const SEEDS_MAX: u64 = 100;

fn caught(mutation: Mutation) {
    for seed in 0..SEEDS_MAX {
        let options = Options {
            mutation: Some(mutation),
            ..Options::default()
        };
        if let Err(failure) = run(seed, &options) {
            let what = failure.what.lines().next().unwrap_or_default().to_owned();
            println!(
                "{mutation:?} is caught by seed {seed} at event {}: {what}",
                failure.event
            );
            return;
        }
    }
    panic!("{mutation:?} is not caught by {SEEDS_MAX} seeds");
}

#[test]
fn a_quorum_of_one_less_is_caught() {
    caught(Mutation::QuorumMinusOne);
}
