//! Replaying the administrative entries of any run gives the same state, from memory or from bytes.

use std::collections::BTreeSet;

use governance::{Command, Configuration, Departure, EpochCause, State, Status};
use proptest::prelude::*;
use types::{Index, Millis, NodeId};

use crate::world::{NOW, World, key, open_epoch};

/// Something that somebody tries; most of it is refused.
#[derive(Debug, Clone)]
enum Attempt {
    Genesis,
    Join {
        owner: usize,
        key: u8,
    },
    /// An admission that was made earlier arrives (again).
    Late {
        pick: prop::sample::Index,
    },
    Remove {
        node: u64,
    },
    Configure {
        voters: BTreeSet<u64>,
        incoming: Option<BTreeSet<u64>>,
        learners: BTreeSet<u64>,
    },
    Lease {
        node: u64,
        number: u64,
        days: u64,
    },
    Epoch {
        epoch: u64,
    },
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let ids = || proptest::collection::btree_set(1..6u64, 0..4);
    prop_oneof![
        1 => Just(Attempt::Genesis),
        6 => (0..3usize, 101..116u8).prop_map(|(owner, key)| Attempt::Join { owner, key }),
        2 => any::<prop::sample::Index>().prop_map(|pick| Attempt::Late { pick }),
        2 => (0..8u64).prop_map(|node| Attempt::Remove { node }),
        5 => (ids(), proptest::option::of(ids()), ids()).prop_map(|(voters, incoming, learners)| Attempt::Configure { voters, incoming, learners }),
        2 => (0..8u64, 1..4u64, 50..54u64).prop_map(|(node, number, days)| Attempt::Lease { node, number, days }),
        1 => (0..4u64).prop_map(|epoch| Attempt::Epoch { epoch }),
    ]
}

fn nodes(ids: &BTreeSet<u64>) -> BTreeSet<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn command(world: &World, state: &State, made: &[Vec<u8>], attempt: &Attempt) -> Option<Command> {
    Some(match attempt {
        Attempt::Genesis => world.genesis(),
        Attempt::Join { owner, key: seed } => {
            let owner = ["ada", "bob", "eve"][*owner];
            world.admission(state, owner, key(*seed).public()).ok()?
        }
        Attempt::Late { pick } => {
            if made.is_empty() {
                return None;
            }
            Command::from_parts(&made[pick.index(made.len())], b"").expect("made by us")
        }
        Attempt::Remove { node } => Command::RemoveNode {
            node: NodeId(*node),
            departure: Departure::Left,
        },
        Attempt::Configure {
            voters,
            incoming,
            learners,
        } => Command::Configure(Configuration {
            voters: nodes(voters),
            incoming: incoming.as_ref().map(nodes),
            learners: nodes(learners),
        }),
        Attempt::Lease { node, number, days } => Command::RenewLease {
            node: NodeId(*node),
            number: *number,
            expires: Millis(days * crate::world::DAY),
        },
        Attempt::Epoch { epoch } => open_epoch(*epoch, EpochCause::Timer),
    })
}

/// What holds after every entry.
fn check(state: &State) {
    let mut slots = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for node in state.nodes() {
        assert!(keys.insert(node.key), "a key is used once");
        assert!(node.id < state.next_node(), "numbers are not used again");
        if node.is_served() {
            assert!(
                slots.insert((&node.owner, &node.address)),
                "one incarnation fills a slot"
            );
        }
        let counts = state.configuration().counts(node.id);
        assert_eq!(
            counts,
            matches!(node.status, Status::Voter | Status::Retiring),
            "node {}",
            node.id
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replay_gives_the_same_state(attempts in proptest::collection::vec(attempt(), 0..40)) {
        thread_local!(static WORLD: World = World::new());
        WORLD.with(|world| {
            let mut live = State::new();
            let mut entries = Vec::new();
            let mut made = Vec::new();
            live.apply(Index(1), NOW, &world.genesis()).expect("a genesis");
            let mut last = Index(1);
            let mut accepted = State::new();
            accepted.apply(Index(1), NOW, &world.genesis()).expect("a genesis");
            entries.push((Index(1), { let g = world.genesis(); (g.public(), g.private()) }));
            for attempt in &attempts {
                let Some(command) = command(world, &live, &made, attempt) else { continue };
                if matches!(command, Command::AdmitNode(_)) {
                    made.push(command.public());
                }
                last = last.next();
                let version = live.version();
                entries.push((last, (command.public(), command.private())));
                match live.apply(last, NOW, &command) {
                    Ok(_) => {
                        assert_eq!(live.version(), version + 1);
                        accepted.apply(last, NOW, &command).expect("accepted alike");
                    }
                    Err(_) => assert_eq!(live.version(), version),
                }
                // Equal to a state that never saw what was refused: a refusal leaves no trace.
                assert_eq!(live, accepted);
                check(&live);
            }
            let mut replayed = State::new();
            for (index, (public, private)) in &entries {
                let command = Command::from_parts(public, private).expect("written by us");
                let _ = replayed.apply(*index, NOW, &command);
            }
            assert_eq!(replayed, live);
            // And so does an auditor who can open nothing.
            let mut audited = State::new();
            for (index, (public, _)) in &entries {
                let _ = audited.apply_public(*index, NOW, public);
            }
            assert!(audited.identity().is_none());
            assert_eq!(audited.network_certificate(), live.network_certificate());
            assert_eq!(audited.configuration(), live.configuration());
            assert_eq!(audited.nodes().collect::<Vec<_>>(), live.nodes().collect::<Vec<_>>());
            assert_eq!((audited.version(), audited.epoch()), (live.version(), live.epoch()));
        });
    }
}
