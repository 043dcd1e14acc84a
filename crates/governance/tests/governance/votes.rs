//! Properties of any run of proposals, ballots and withdrawals.

use std::collections::BTreeMap;

use crypto::Context;
use governance::{
    Change, ChangeKind, Choice, Command, Fact, Policy, ProposalStatus, ReplayEntry, Role, State,
    replay,
};
use proptest::prelude::*;

use crate::script::{HOUR, Script, add_actor, slot, slot_at};

const NAMES: [&str; 6] = ["ada", "bob", "cat", "dan", "fay", "eve"];

/// One step that somebody tries.
#[derive(Debug, Clone)]
enum Act {
    Propose {
        by: usize,
        changes: Vec<usize>,
    },
    Vote {
        by: usize,
        proposal: u64,
        choice: u8,
        number: u64,
    },
    Withdraw {
        by: usize,
        proposal: u64,
    },
    /// An earlier entry again, as it is or with a bit turned.
    Again {
        pick: prop::sample::Index,
        flip: Option<prop::sample::Index>,
    },
    Wait {
        hours: u64,
    },
    Join {
        owner: usize,
    },
}

fn act(actors: &'static [usize]) -> impl Strategy<Value = Act> {
    let by = || prop::sample::select(actors);
    prop_oneof![
        4 => (by(), prop::collection::vec(0..CHANGES, 1..3)).prop_map(|(by, changes)| Act::Propose { by, changes }),
        12 => (by(), 1..8u64, 0..3u8, 0..6u64).prop_map(|(by, proposal, choice, number)| Act::Vote { by, proposal, choice, number }),
        1 => (by(), 1..8u64).prop_map(|(by, proposal)| Act::Withdraw { by, proposal }),
        2 => (any::<prop::sample::Index>(), any::<Option<prop::sample::Index>>()).prop_map(|(pick, flip)| Act::Again { pick, flip }),
        1 => (0..60u64).prop_map(|hours| Act::Wait { hours }),
        1 => (0..6usize).prop_map(|owner| Act::Join { owner }),
    ]
}

const CHANGES: usize = 14;

fn change(script: &Script, which: usize) -> Change {
    let remove = |actor: &str| Change::RemoveActor {
        actor: actor.into(),
    };
    let policy = |kind, policy| Change::SetVotingPolicy { kind, policy };
    let setting = |value| Change::SetSetting {
        name: "batch_units_max".into(),
        value,
    };
    match which {
        0 => remove("cat"),
        1 => remove("dan"),
        2 => remove("eve"),
        3 => policy(None, Policy::One),
        4 => policy(None, Policy::Unanimous),
        5 => policy(Some(ChangeKind::Member), Policy::AtLeast(2)),
        6 => setting(7),
        7 => setting(8),
        8 => add_actor(
            script.holder("cat"),
            "cat",
            &[Role::Member, Role::Participant],
        ),
        9 => Change::SetRoles {
            actor: "eve".into(),
            roles: [Role::Member].into(),
            auditor: false,
        },
        10 => Change::AddNode(slot_at("bob", "bob.example:1")),
        11 => Change::RemoveNode(slot("eve")),
        12 => Change::TransferLeadership(slot("bob")),
        _ => Change::ReadmitNode(slot("bob")),
    }
}

fn perform(script: &mut Script, seed: &mut u8, act: &Act) {
    match act {
        Act::Propose { by, changes } => {
            let changes: Vec<_> = changes.iter().map(|c| change(script, *c)).collect();
            let _ = script.propose(NAMES[*by], &changes);
        }
        Act::Vote {
            by,
            proposal,
            choice,
            number,
        } => {
            let Some(id) = script.state.proposal(*proposal).map(|p| p.id) else {
                return;
            };
            let choice = [Choice::For, Choice::Against, Choice::Abstain][*choice as usize];
            let ballot = script.ballot(NAMES[*by], id, choice, *number);
            let message = script.sign(NAMES[*by], Context::Ballot, &ballot.to_cbor());
            if let Ok(command) = script.state.ballot(&message, script.now) {
                script.apply(&command).expect("what was accepted applies");
            }
        }
        Act::Withdraw { by, proposal } => {
            if script.state.proposal(*proposal).is_some() {
                let _ = script.withdraw(NAMES[*by], *proposal);
            }
        }
        Act::Again { pick, flip } => {
            let (_, _, mut public, private) =
                script.entries[pick.index(script.entries.len())].clone();
            if let Some(flip) = flip {
                let at = flip.index(public.len());
                public[at] ^= 1;
            }
            let Ok(command) = Command::from_parts(&public, &private) else {
                return;
            };
            // Only messages: other commands come from managers, not from members.
            if matches!(
                command,
                Command::Propose(_) | Command::Vote(_) | Command::Withdraw(_)
            ) {
                let before = script.state.to_cbor();
                script
                    .apply(&command)
                    .expect_err("nothing counts twice, or changed");
                assert_eq!(
                    *script.state.to_cbor(),
                    *before,
                    "a refusal leaves no trace"
                );
            }
        }
        Act::Wait { hours } => {
            script.now = script.now.plus(hours * HOUR);
            if script.state.due(script.now).is_some() {
                script.due();
            }
        }
        Act::Join { owner } => {
            *seed += 1;
            let _ = script.join(NAMES[*owner], *seed);
        }
    }
}

/// What holds after every step.
fn check(state: &State) {
    let constitution = state.constitution().expect("created");
    assert_eq!(constitution.validate(), Ok(()), "it can govern itself");
    assert_eq!(constitution.digest(), state.constitution_digest());
    assert_eq!(state.versions().len() as u64, state.constitution_version());
    for proposal in state.proposals().filter(|p| p.is_open()) {
        let tally = state.tally(proposal);
        assert!(tally.in_favour < tally.needed, "it would be accepted");
        assert!(
            tally.members - tally.against >= tally.needed,
            "it would be rejected"
        );
        for voter in proposal.ballots.keys() {
            assert!(
                constitution
                    .actor(voter)
                    .is_some_and(governance::Actor::is_member)
            );
        }
    }
    let numbers: Vec<u64> = state.events_since(0).map(|e| e.sequence).collect();
    assert_eq!(numbers, (1..=state.last_event()).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Source: issue of governance: "replaying the administrative entries of any run gives the same
    /// constitution on every VN".
    #[test]
    fn any_run_is_replayed_from_its_entries(acts in prop::collection::vec(act(&[0, 1, 2, 3, 4, 5]), 0..60)) {
        let mut script = Script::new(5, |c| c.voting.policy = Policy::AtLeast(2));
        let mut seed = 120;
        for act in &acts {
            perform(&mut script, &mut seed, act);
            check(&script.state);
        }
        let entries = |private: bool| {
            let script = &script;
            script.entries.iter().map(move |(index, time, public, secret)| ReplayEntry {
                index: *index,
                time: *time,
                public,
                private: private.then_some(secret),
            })
        };
        let node = replay(entries(true)).expect("own entries");
        prop_assert_eq!(&node.state, &script.state);
        let auditor = replay(entries(false)).expect("public entries");
        prop_assert_eq!(auditor.state.constitution(), script.state.constitution());
        prop_assert_eq!(auditor.facts, node.facts);
        prop_assert_eq!(
            auditor.state.proposals().collect::<Vec<_>>(),
            script.state.proposals().collect::<Vec<_>>()
        );
        let stored = script.state.to_cbor();
        prop_assert_eq!(State::from_cbor(&stored), Ok(node.state));
    }

    /// Source: the same issue: "no sequence of valid messages by fewer than the policy's voters
    /// changes the constitution".
    #[test]
    fn too_few_voters_change_nothing(acts in prop::collection::vec(act(&[0, 1, 5]), 0..60), needed in 3u32..=5) {
        let mut script = Script::new(5, |c| {
            c.voting.policy = match needed {
                3 => Policy::Majority,
                4 => Policy::AtLeast(4),
                _ => Policy::Unanimous,
            };
            c.voting.participants_propose = [ChangeKind::Node, ChangeKind::Member].into();
        });
        let before = script.constitution().clone();
        let mut seed = 120;
        for act in &acts {
            perform(&mut script, &mut seed, act);
        }
        prop_assert_eq!(script.constitution(), &before);
        let accepted = |e: &&governance::Event| matches!(
            &e.fact,
            Fact::ProposalClosed { status: ProposalStatus::Accepted { .. }, .. } | Fact::TransferLeadership { .. }
        );
        prop_assert_eq!(script.state.events_since(0).find(accepted), None);
    }

    /// One ballot each: whatever their order, the outcome is the same.
    #[test]
    fn ballots_of_different_members_commute(
        order in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle(),
        choices in prop::collection::vec(0..3usize, 5),
        policy in prop::sample::select(vec![Policy::One, Policy::Majority, Policy::Unanimous, Policy::AtLeast(4)]),
    ) {
        let outcome = |order: &[usize]| {
            let mut script = Script::new(5, |c| c.voting.policy = policy);
            let number = script.propose("ada", &[crate::script::harmless()]).expect("a poll");
            for voter in order {
                let choice = [Choice::For, Choice::Against, Choice::Abstain][choices[*voter]];
                let _ = script.vote(NAMES[*voter], number, choice);
            }
            (script.state.proposal(number).expect("kept").status.clone(), script.state.constitution_version())
        };
        prop_assert_eq!(outcome(&order), outcome(&[0, 1, 2, 3, 4]));
    }

    /// Several ballots of each member, while the proposal is open: the greatest number counts,
    /// whatever the order in which they arrive.
    #[test]
    fn the_last_ballot_counts_in_whatever_order_they_arrive(
        ballots in prop::collection::btree_map((0..4usize, 0..5u64), 0..2u8, 1..12).prop_map(|b| b.into_iter().collect::<Vec<_>>()).prop_shuffle(),
    ) {
        // The fifth member is missing, so that nothing closes.
        let mut script = Script::new(5, |c| c.voting.policy = Policy::Unanimous);
        let number = script.propose("ada", &[crate::script::harmless()]).expect("a poll");
        let id = script.state.proposal(number).expect("open").id;
        let mut last = BTreeMap::new();
        for ((voter, place), choice) in &ballots {
            let choice = [Choice::For, Choice::Abstain][*choice as usize];
            let ballot = script.ballot(NAMES[*voter], id, choice, *place);
            let message = script.sign(NAMES[*voter], Context::Ballot, &ballot.to_cbor());
            if let Ok(command) = script.state.ballot(&message, script.now) {
                script.apply(&command).expect("accepted");
            }
            let counts = last.entry(NAMES[*voter].to_owned()).or_insert((*place, choice));
            *counts = (*counts).max((*place, choice));
        }
        let cast: BTreeMap<_, _> = script.state.proposal(number).expect("open").ballots.iter()
            .map(|(voter, cast)| (voter.clone(), (cast.number, cast.choice)))
            .collect();
        prop_assert_eq!(cast, last);
    }
}

#[test]
fn a_stored_state_that_is_not_one_is_refused() {
    let script = Script::new(3, |_| ());
    let stored = script.state.to_cbor();
    assert_eq!(State::from_cbor(&stored).as_ref(), Ok(&script.state));
    assert!(State::from_cbor(&stored[..stored.len() - 1]).is_err());
    assert!(State::from_cbor(b"").is_err());
    for at in (0..stored.len()).step_by(7) {
        let mut damaged = stored.to_vec();
        damaged[at] ^= 1;
        let read = State::from_cbor(&damaged);
        assert_ne!(read.as_ref().ok(), Some(&script.state), "byte {at}");
    }
}

#[test]
fn readers_resume_where_they_were() {
    let mut script = Script::new(3, |_| ());
    let number = script
        .propose("ada", &[crate::script::harmless()])
        .expect("a poll");
    let seen = script.state.last_event();
    script.votes(number, "ada=for bob=for");
    let missed: Vec<String> = script
        .state
        .events_since(seen)
        .map(|e| serde_json::to_string(e).expect("JSON"))
        .map(|text| text.replace(&script.state.constitution_digest().to_string(), "DIGEST"))
        .collect();
    expect_test::expect![[r#"
        {"sequence":7,"entry":6,"time":4320000000,"fact":"balloted","number":1,"voter":"ada","choice":"for","tally":{"in_favour":1,"against":0,"abstained":0,"members":3,"needed":2}}
        {"sequence":8,"entry":7,"time":4320000000,"fact":"balloted","number":1,"voter":"bob","choice":"for","tally":{"in_favour":2,"against":0,"abstained":0,"members":3,"needed":2}}
        {"sequence":9,"entry":7,"time":4320000000,"fact":"proposal-closed","number":1,"status":"accepted","rules":[]}
        {"sequence":10,"entry":7,"time":4320000000,"fact":"constitution","version":2,"digest":"DIGEST"}"#]].assert_eq(&missed.join("\n"));
    let proposal = script.state.proposal(number).expect("kept");
    let text = serde_json::to_string_pretty(&script.state.view(proposal)).expect("JSON");
    let text = text.replace(&proposal.id.to_string(), "ID");
    expect_test::expect![[r#"
        {
          "number": 1,
          "id": "ID",
          "proposer": "ada",
          "title": "proposal of ada",
          "changes": [
            {
              "change": "set-setting",
              "name": "batch_units_max",
              "value": 100
            }
          ],
          "constitution": 1,
          "opened": {
            "entry": 5,
            "time": 4320000000
          },
          "closes": 4924800000,
          "ballots": {
            "ada": {
              "choice": "for",
              "number": 5,
              "entry": 6
            },
            "bob": {
              "choice": "for",
              "number": 6,
              "entry": 7
            }
          },
          "status": "accepted",
          "rules": [],
          "closed": {
            "entry": 7,
            "time": 4320000000
          },
          "tally": {
            "in_favour": 2,
            "against": 0,
            "abstained": 0,
            "members": 3,
            "needed": 2
          },
          "effect": []
        }"#]]
    .assert_eq(&text);
    assert_eq!(script.state.events_since(u64::MAX).count(), 0);
    // What is too old is left out, and its numbers say so.
    for _ in 0..600 {
        let number = script.propose(
            "ada",
            &[Change::RevokeSessions {
                actor: "eve".into(),
            }],
        );
        let Ok(number) = number else {
            script.now = script.now.plus(48 * HOUR);
            continue;
        };
        script.withdraw("ada", number).expect("its own");
    }
    let first = script.state.events_since(0).next().expect("some").sequence;
    assert_eq!(script.state.last_event() - first + 1, 1024);
}
