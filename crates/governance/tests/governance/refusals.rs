//! Proposals that are refused, each with its reason and without a trace.

use expect_test::expect;
use governance::{BadChange, Change, ChangeKind, Policy, Refused, Role};

use crate::script::{Script, add_actor, harmless, measured, rule, setting, slot, slot_at};
use crate::world::MEASUREMENT;

#[test]
fn nobody_can_vote_into_a_state_that_cannot_govern_itself() {
    let mut script = Script::new(3, |c| {
        c.voting
            .policies
            .insert(ChangeKind::Code, Policy::AtLeast(3));
        c.settings.key_threshold = 3;
    });
    let remove = |actor: &str| Change::RemoveActor {
        actor: actor.into(),
    };
    let role = |actor: &str| Change::SetRoles {
        actor: actor.into(),
        roles: [Role::Participant].into(),
        auditor: false,
    };
    for changes in [
        vec![role("ada"), role("bob"), role("cat")],
        vec![remove("cat")],
        vec![remove("eve")],
        vec![
            setting("key_threshold", 1),
            Change::RemoveNode(slot("ada")),
            Change::RemoveNode(slot("bob")),
            Change::RemoveNode(slot("eve")),
        ],
        // A place where nobody runs yet is no node that could go on.
        vec![
            setting("key_threshold", 1),
            Change::RemoveNode(slot("ada")),
            Change::RemoveNode(slot("bob")),
            Change::RemoveNode(slot("eve")),
            Change::AddNode(slot("cat")),
        ],
        vec![Change::RemoveCode(measured(MEASUREMENT))],
        vec![Change::SetVotingPolicy {
            kind: None,
            policy: Policy::AtLeast(4),
        }],
        vec![setting("key_threshold", 4)],
        vec![setting("key_threshold", 1 << 40)],
        vec![Change::SetPolicy {
            name: "quantum".into(),
            value: "yes".into(),
        }],
        vec![Change::SetRule(rule(
            "listed-nodes-return",
            "add-node",
            "true",
        ))],
        vec![Change::SetRule(rule(
            "r",
            "add-node",
            "certificates.issued",
        ))],
        vec![Change::SetRule(rule("r", "retire-code", "proposer.owns"))],
        vec![Change::SetRule(rule(
            "r",
            "set-certificates",
            "owner.nodes < 3",
        ))],
    ] {
        let _ = script.propose("ada", &changes);
    }
    expect![[r#"
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        actors: no actor is a member, so nobody could govern; give at least one actor the role "member"
        voting.policies.code: "at least 3" cannot decide among 0 members; give a number from 1 to 0
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        voting.policies.code: "at least 3" cannot decide among 2 members; give a number from 1 to 2
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        settings.key_threshold: 3 of 2 actors that own a node is impossible; give a number from 1 to 2, or list more nodes
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        nodes: no validating node is listed; list at least the one that starts the network
        ada proposes
            refused: the changes cannot be made: no node would be left that votes in consensus; add one and let it join first
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        code.images: no image "manager" is allowed, so no node could run it; add its measurement
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        voting.policy: "at least 4" cannot decide among 3 members; give a number from 1 to 3
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        settings.key_threshold: 4 of 3 actors that own a node is impossible; give a number from 1 to 3, or list more nodes
        ada proposes
            refused: the changes cannot be made: 1099511627776 is too large for setting key_threshold
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        policies.quantum: this version does not support the policy; it supports leader-verifies-signatures
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        standing.rules.listed-nodes-return: is the name of another rule, too; give each a name of its own
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        standing.rules.r.when: asks for certificates.issued, which only set-certificates has
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        standing.rules.r.when: asks for proposer.owns, but what it accepts belongs to nobody
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        standing.rules.r.when: asks for owner.nodes, but it accepts no change of a node
    "#]].assert_eq(&script.transcript);
}

#[test]
fn contradictory_and_empty_changes_are_refused() {
    let mut script = Script::new(3, |_| ());
    let cat = add_actor(script.holder("cat"), "cat", &[Role::Member]);
    let dan = add_actor(script.holder("dan"), "dan", &[Role::Member]);
    for changes in [
        vec![],
        vec![harmless(), setting("batch_units_max", 200)],
        vec![setting("batch_units_max", 1024)],
        vec![setting("batch_unit_max", 1)],
        vec![cat],
        vec![dan.clone(), dan],
        vec![Change::RemoveActor {
            actor: "dan".into(),
        }],
        vec![
            Change::RemoveActor {
                actor: "eve".into(),
            },
            Change::RemoveNode(slot("eve")),
        ],
        vec![
            Change::RemoveActor {
                actor: "eve".into(),
            },
            Change::AddNode(slot_at("eve", "e:1")),
        ],
        vec![Change::AddNode(slot("bob"))],
        vec![Change::AddNode(slot_at("ada", "bob.example:9000"))],
        vec![Change::AddNode(slot_at("ada", "nowhere"))],
        vec![Change::RemoveNode(slot("cat"))],
        vec![Change::TransferLeadership(slot("cat"))],
        vec![Change::ReadmitNode(slot("ada"))],
        vec![Change::RevokeSessions {
            actor: "dan".into(),
        }],
        vec![Change::RemoveVotingPolicy {
            kind: ChangeKind::Node,
        }],
        vec![Change::RemovePolicy { name: "x".into() }],
        vec![Change::RemoveRule { rule: "x".into() }],
        vec![Change::RetireCode(measured([77; 48]))],
        vec![Change::SetProtocolVersion {
            protocol: "x".into(),
            version: 2,
        }],
        vec![Change::SetProtocolVersion {
            protocol: "kv".into(),
            version: 3,
        }],
        vec![Change::SetProtocolSetting {
            protocol: "kv".into(),
            name: "chainId".into(),
            value: Some("5".into()),
        }],
        vec![harmless(); 129],
    ] {
        let before = script.state.to_cbor();
        script.propose("ada", &changes).expect_err("refused");
        assert_eq!(*script.state.to_cbor(), *before);
    }
    expect![[r#"
        ada proposes
            refused: the changes cannot be made: a proposal has 1 to 128 changes, found 0
        ada proposes
            refused: the changes cannot be made: two changes are about setting batch_units_max; say once what it becomes
        ada proposes
            refused: the changes cannot be made: setting batch_units_max stays as it is; leave the change out
        ada proposes
            refused: the changes cannot be made: the constitution has no setting "batch_unit_max"; `coco constitution show` lists them
        ada proposes
            refused: the changes cannot be made: there is actor cat already
        ada proposes
            refused: the changes cannot be made: two changes are about actor dan; say once what it becomes
        ada proposes
            refused: the changes cannot be made: there is no actor dan
        ada proposes
            refused: the changes cannot be made: two changes are about node eve.example:9000; say once what it becomes
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        nodes.e:1: its owner "eve" is not listed among the actors; add the actor or correct the name
        ada proposes
            refused: the changes cannot be made: there is node bob.example:9000 already
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        nodes.bob.example:9000: is listed twice; each node has an address of its own
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        nodes.nowhere: is not an address; give `host:port` with a port from 1 to 65535, and an IPv6 address in brackets
        ada proposes
            refused: the changes cannot be made: there is no node cat.example:9000
        ada proposes
            refused: the changes cannot be made: there is no node cat.example:9000
        ada proposes
            refused: the changes cannot be made: the node of "ada" at "ada.example:9000" may join without this vote
        ada proposes
            refused: the changes cannot be made: there is no actor dan
        ada proposes
            refused: the changes cannot be made: there is no voting policy of node
        ada proposes
            refused: the changes cannot be made: there is no policy x
        ada proposes
            refused: the changes cannot be made: there is no rule x
        ada proposes
            refused: the changes cannot be made: there is no code 4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d on software
        ada proposes
            refused: the changes cannot be made: there is no protocol x
        ada proposes
            refused: the changes cannot be made: the data of kv has format 1: a vote takes it to the next number, one at a time and never back
        ada proposes
            refused: the changes cannot be made: the constitution that it leads to cannot be used:
        protocols.kv.settings: "chainId" cannot be set: this version's adapters have no setting that a vote may change, and what the genesis settings say (rules, chain id) stays for the life of the network
        ada proposes
            refused: the changes cannot be made: a proposal has 1 to 128 changes, found 129
    "#]].assert_eq(&script.transcript);
}

#[test]
fn bad_changes_are_told_apart() {
    // Kept apart from their text, for programs.
    let script = Script::new(3, |_| ());
    assert!(matches!(
        script.state.preview(&[harmless(), harmless()]),
        Err(Refused::Change(BadChange::Contradictory(_)))
    ));
}

#[test]
fn one_actor_cannot_flood_the_others() {
    let mut script = Script::new(2, |_| ());
    let mut refused = 0;
    for value in 1..=12 {
        refused += usize::from(
            script
                .propose("ada", &[setting("batch_units_max", value)])
                .is_err(),
        );
    }
    assert_eq!(refused, 4);
    script
        .propose("bob", &[harmless()])
        .expect("bob is not ada");
    // Nor by taking them back at once.
    for value in 100..300 {
        let Ok(number) = script.propose("bob", &[setting("batch_units_max", value)]) else {
            assert_eq!(value, 163);
            return;
        };
        script.withdraw("bob", number).expect("its own");
    }
    unreachable!("there is no limit");
}
