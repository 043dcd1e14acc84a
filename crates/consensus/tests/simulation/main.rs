//! A network of engines in one thread from one seed: messages dropped, delayed, reordered, doubled;
//! partitions, also of one direction; slow disks; nodes that crash for good and are replaced by new
//! ones through membership changes; transfers and reads. `properties.rs` is checked at every effect.
//!
//! A failing seed prints itself; `CONSENSUS_SEED=7 cargo test -p consensus --test simulation one_seed`
//! replays it with its trace. `CONSENSUS_SEEDS=10000` runs more of them.

mod faults;
mod properties;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use consensus::Mutation;

use crate::world::{Summary, World};

/// A number from the environment.
#[allow(
    clippy::disallowed_methods,
    reason = "who runs a test chooses what it replays; the engine reads nothing"
)]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One run: 8 s of trouble, then everything heals and must work again.
fn run(seed: u64, mutation: Mutation, trace: bool) -> Result<Summary, String> {
    let mut world = World::new(seed, mutation, trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        world.trouble(8_000)?;
        world.heal_and_converge()
    }));
    let failure = match outcome {
        Ok(Ok(())) => return Ok(world.summary()),
        Ok(Err(broken)) => broken,
        Err(panic) => match panic.downcast::<String>() {
            Ok(text) => format!("the engine's own assertion: {text}"),
            Err(panic) => format!(
                "the engine's own assertion: {:?}",
                panic.downcast_ref::<&str>()
            ),
        },
    };
    Err(format!(
        "seed {seed} at {} ms: {failure}\nreplay: CONSENSUS_SEED={seed} cargo test -p consensus --test simulation one_seed",
        world.now
    ))
}

#[test]
fn no_seed_breaks_a_property() {
    let mut sum = Summary::default();
    let seeds = setting("CONSENSUS_SEEDS").unwrap_or(600);
    for seed in 0..seeds {
        sum += run(seed, Mutation::None, false).unwrap_or_else(|failure| panic!("{failure}"));
    }
    println!("{sum:?}");
    // The simulation is worth something only if what it is to try does happen.
    let each = [
        sum.terms,
        sum.committed,
        sum.crashes,
        sum.configurations,
        sum.reads,
        sum.loads,
        sum.truncations,
    ];
    assert!(each.iter().all(|count| *count >= 300), "too quiet: {sum:?}");
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    for seed in 1_000..1_005 {
        assert_eq!(
            run(seed, Mutation::None, false),
            run(seed, Mutation::None, false)
        );
    }
}

#[test]
fn one_seed() {
    if let Some(seed) = setting("CONSENSUS_SEED") {
        println!(
            "{:?}",
            run(seed, Mutation::None, true).unwrap_or_else(|failure| panic!("{failure}"))
        );
    }
}

/// Runs seeds with a mistake until one breaks a property, and returns what it said.
fn caught(mutation: Mutation) -> String {
    let failure = (0..4_000).find_map(|seed| run(seed, mutation, false).err());
    let failure = failure.unwrap_or_else(|| panic!("{mutation:?} was not caught by 4,000 seeds"));
    println!("{mutation:?}: {failure}");
    failure
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
    a_quorum_one_too_small_is_caught: QuorumMinusOne,
    a_quorum_over_the_union_is_caught: UnionQuorum,
    acknowledging_by_refusal_is_caught: NackAdvancesMatch,
    truncation_by_a_late_append_is_caught: TruncateOnAppend,
    acknowledging_the_unreceived_is_caught: AcknowledgeUnreceived,
    acknowledging_the_unpersisted_is_caught: AcknowledgeUnpersisted,
    counting_an_unpersisted_own_copy_is_caught: LeaderCountsUnpersisted,
    voting_twice_is_caught: VoteTwice,
    voting_for_a_shorter_log_is_caught: VoteForShorterLog,
    reading_without_a_round_is_caught: ReadWithoutRound,
    committing_an_earlier_term_is_caught: CommitEarlierTerm,
    retiring_early_is_caught: RetireEarly,
}
