//! A checker that was never seen to fail proves nothing: known mistakes of consensus are put back into
//! whole nodes, and some seed must find each. Those that need rarer circumstances are scripts in `traps`,
//! and random runs of engines in the consensus crate. Run with `cargo test -p sim --features mutations`.
#![cfg(feature = "mutations")]

use manager::Mutation;
use sim::{Options, run};

/// Each mistake shows within the first fifteen seeds; this many is far beyond.
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

macro_rules! catches {
    ($($name:ident: $mutation:ident,)*) => { $(
        #[test]
        fn $name() {
            caught(Mutation::$mutation);
        }
    )* };
}

catches! {
    a_quorum_of_one_less_is_caught: QuorumMinusOne,
    acknowledging_by_refusal_is_caught: NackAdvancesMatch,
    truncation_by_a_late_append_is_caught: TruncateOnAppend,
    truncation_by_a_stale_refusal_is_caught: StaleNackTruncates,
    acknowledging_the_unreceived_is_caught: AcknowledgeUnreceived,
    voting_twice_is_caught: VoteTwice,
    voting_for_a_shorter_log_is_caught: VoteForShorterLog,
}
