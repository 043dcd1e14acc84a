//! What follows from a vote for nodes, sessions and whoever wants to join.

use expect_test::expect;
use governance::{Change, ChangeKind, Departure, Listed, Refused, Role, Status};
use types::NodeId;

use crate::script::{Script, add_actor, harmless, image, measured, slot, slot_at};
use crate::world::{MEASUREMENT, holder, voters};

#[test]
fn a_new_member_and_its_first_node_come_in_one_proposal() {
    let mut script = Script::new(2, |_| ());
    let cat = add_actor(script.holder("cat"), "cat", &[Role::Member]);
    assert!(matches!(
        script.join("cat", 110),
        Err(Refused::UnknownOwner { .. })
    ));
    let number = script
        .propose("ada", &[cat, Change::AddNode(slot("cat"))])
        .expect("both");
    script.votes(number, "ada=for");
    assert!(matches!(
        script.join("cat", 110),
        Err(Refused::UnknownOwner { .. })
    ));
    script.votes(number, "bob=for");
    // Not a return: the vote that listed it admits it, whatever the standing votes say.
    script.join("cat", 110).expect("voted in");
    script.decide(
        "ada",
        &[Change::SetListedNodesReturn { value: false }],
        "ada=for cat=for",
    );
    assert!(matches!(
        script.join("cat", 111),
        Err(Refused::NoStandingVote)
    ));
    script.decide(
        "ada",
        &[Change::ReadmitNode(slot("cat"))],
        "ada=for cat=for",
    );
    script.join("cat", 111).expect("readmitted");
    assert!(matches!(
        script.join("cat", 112),
        Err(Refused::NoStandingVote)
    ));
    expect![[r#"
        ada proposes 1
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
            EpochDue { cause: Membership }
        ada proposes 2, ada=for cat=for
            proposal 2: Accepted { rules: [] }
            constitution 3
        ada proposes 3, ada=for cat=for
            proposal 3: Accepted { rules: [] }
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn removal_takes_effect_with_the_vote_and_not_before() {
    let mut script = Script::new(3, |_| ());
    let number = script
        .propose(
            "ada",
            &[Change::RemoveActor {
                actor: "eve".into(),
            }],
        )
        .expect("a poll");
    script.votes(number, "ada=for");
    let eve = NodeId(3);
    let status = |script: &Script| script.state.node(eve).map(|n| n.status);
    assert_eq!(status(&script), Some(Status::Voter));
    let chain = [script.holder("eve").certificate.clone()];
    assert!(script.state.actor_of(&chain, script.now).is_ok());
    script.votes(number, "bob=for");
    assert_eq!(status(&script), Some(Status::Retiring));
    assert!(!script.state.node(eve).expect("kept").is_served());
    assert!(script.state.actor_of(&chain, script.now).is_err());
    assert!(script.join("eve", 120).is_err());
    let facts = script
        .apply(&governance::Command::Configure(voters(&[1, 2])))
        .expect("without it");
    assert!(
        facts.contains(&governance::Fact::Left { node: eve }),
        "{facts:?}"
    );
    expect![[r#"
        ada proposes 1
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
            actor eve is removed
            sessions of eve end
            NodeRemoved { owner: "eve", address: "eve.example:9000", node: Some(NodeId(3)) }
            Retiring { node: NodeId(3) }
            EpochDue { cause: Membership }
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_node_moves_with_its_past_and_returns_after_an_ejection_by_vote() {
    let mut script = Script::new(3, |_| ());
    script
        .apply(&governance::Command::RemoveNode {
            node: NodeId(2),
            departure: Departure::Ejected,
        })
        .expect("served");
    assert!(matches!(
        script.join("bob", 120),
        Err(Refused::Ejected { .. })
    ));
    let away = Change::MoveNode {
        owner: "bob".into(),
        from: slot("bob").address,
        to: "bob.example:1".into(),
    };
    script.decide("bob", &[away], "ada=for cat=for");
    let back = Change::MoveNode {
        owner: "bob".into(),
        from: "bob.example:1".into(),
        to: slot("bob").address,
    };
    script.decide("bob", &[back], "ada=for cat=for");
    assert!(matches!(
        script.join("bob", 120),
        Err(Refused::Ejected { .. })
    ));
    script.decide(
        "bob",
        &[Change::ReadmitNode(slot("bob"))],
        "ada=for cat=for",
    );
    script.join("bob", 120).expect("readmitted");
    // A node that runs keeps its number where it goes.
    let away = Change::MoveNode {
        owner: "eve".into(),
        from: slot("eve").address,
        to: "eve.example:1".into(),
    };
    script.decide("bob", &[away], "ada=for cat=for");
    assert_eq!(
        script.state.node_at("eve", "eve.example:1").map(|n| n.id),
        Some(NodeId(3))
    );
    expect![[r#"
        bob proposes 1, ada=for cat=for
            proposal 1: Accepted { rules: [] }
            constitution 2
            NodeMoved { owner: "bob", from: "bob.example:9000", to: "bob.example:1", node: None }
        bob proposes 2, ada=for cat=for
            proposal 2: Accepted { rules: [] }
            constitution 3
            NodeMoved { owner: "bob", from: "bob.example:1", to: "bob.example:9000", node: None }
        bob proposes 3, ada=for cat=for
            proposal 3: Accepted { rules: [] }
        bob proposes 4, ada=for cat=for
            proposal 4: Accepted { rules: [] }
            constitution 4
            NodeMoved { owner: "eve", from: "eve.example:9000", to: "eve.example:1", node: Some(NodeId(3)) }
    "#]].assert_eq(&script.transcript);
}

#[test]
fn whoever_loses_a_role_or_a_certificate_loses_its_sessions() {
    let mut script = Script::new(3, |_| ());
    let new = Listed(holder("cat two", 45, false, None, vec![]).certificate);
    let old = Listed(script.holder("cat").certificate.clone());
    let set = |certificates: &[&Listed]| Change::SetCertificates {
        actor: "cat".into(),
        certificates: certificates.iter().map(|c| (*c).clone()).collect(),
    };
    script.decide("ada", &[set(&[&old, &new])], "ada=for bob=for");
    script.decide("ada", &[set(&[&new])], "ada=for bob=for");
    expect![[r#"
        ada proposes 1, ada=for bob=for
            proposal 1: Accepted { rules: [] }
            constitution 2
        ada proposes 2, ada=for bob=for
            proposal 2: Accepted { rules: [] }
            constitution 3
            sessions of cat end
    "#]]
    .assert_eq(&script.transcript);
    assert!(matches!(
        script.propose("cat", &[harmless()]),
        Err(Refused::UnknownActor(_))
    ));
}

#[test]
fn participants_propose_what_the_policy_lets_them() {
    let mut script = Script::new(2, |c| {
        c.voting.participants_propose = [ChangeKind::Node].into();
    });
    let node = Change::AddNode(slot_at("eve", "eve.example:9001"));
    assert!(script.propose("eve", &[node.clone(), harmless()]).is_err());
    script.decide("eve", &[node], "eve=for ada=for bob=for");
    expect![[r#"
        eve proposes
            refused: "eve" is no member, and participants may not propose changes of kind settings; ask a member
        eve proposes 1, eve=for ada=for bob=for
            proposal 1: Accepted { rules: [] }
            constitution 2
    "#]].assert_eq(&script.transcript);
}

#[test]
fn a_newcomers_owner_approved_what_is_in_force_and_one_that_returns_what_was() {
    let mut script = Script::new(3, |_| {});
    let decide = |script: &mut Script, change| {
        let number = script.propose("ada", &[change]).expect("a poll");
        script.votes(number, "ada=for bob=for");
    };
    let wrong = |verdict| match verdict {
        Err(refused @ Refused::WrongConstitution { .. }) => refused,
        other => panic!("{other:?}"),
    };
    let first = script.state.constitution_digest();
    decide(&mut script, Change::AddNode(slot("cat")));
    let second = script.state.constitution_digest();
    // Approved before the vote that lists it: not what is in force. Asking again may help.
    let refused = wrong(script.join_approving("cat", 110, first));
    assert!(refused.may_pass(), "{refused}");
    script
        .join_approving("cat", 110, second)
        .expect("approved what is in force");
    decide(&mut script, harmless());
    script
        .join_approving("cat", 111, second)
        .expect("its owner approved what was in force");
    script
        .join_approving("bob", 112, first)
        .expect("and bob's that of the genesis");
    wrong(script.join_approving("cat", 113, types::Digest([7; 32])));
    // Who needs a vote to return is a newcomer.
    decide(&mut script, Change::SetListedNodesReturn { value: false });
    decide(&mut script, Change::ReadmitNode(slot("cat")));
    wrong(script.join_approving("cat", 114, second));
    script.join("cat", 114).expect("readmitted");
}

#[test]
fn code_that_a_node_runs_is_removed_only_with_the_node() {
    let mut script = Script::new(3, |c| c.code.images.push(image(50)));
    let remove = Change::RemoveCode(measured(MEASUREMENT));
    script
        .propose("ada", std::slice::from_ref(&remove))
        .expect_err("three nodes run it");
    let digest = script.state.constitution_digest();
    for (owner, seed) in [("ada", 120), ("bob", 121)] {
        script
            .join_running(owner, seed, digest, [50; 48])
            .expect("a listed node returns, with new code");
    }
    script
        .apply(&governance::Command::Configure(voters(&[3, 4, 5])))
        .expect("they came");
    // The former incarnations are not served any more; eve's still is.
    script
        .propose("ada", std::slice::from_ref(&remove))
        .expect_err("eve's node runs it");
    let away = Change::MoveNode {
        owner: "eve".into(),
        from: slot("eve").address,
        to: "eve.example:1".into(),
    };
    script
        .propose("ada", &[remove.clone(), away])
        .expect_err("it runs at another address, too");
    let number = script
        .propose("ada", &[remove.clone(), Change::RemoveNode(slot("eve"))])
        .expect("with the node");
    script.votes(number, "bob=for");
    // One more came with it while members voted: its owner was faster than they.
    let digest = script.state.constitution_digest();
    script.join("ada", 122).expect("still allowed");
    assert_eq!(digest, script.state.constitution_digest());
    script.votes(number, "ada=for");
    script
        .join_running("ada", 123, digest, [50; 48])
        .expect("back");
    let changes = [remove, Change::RemoveNode(slot("eve"))];
    script.decide("ada", &changes, "ada=for bob=for");
    expect![[r#"
        ada proposes
            refused: the changes cannot be made: code 030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303 on software is what the node of "ada" at ada.example:9000, the node of "bob" at bob.example:9000, the node of "eve" at eve.example:9000 runs; start it with other code, or remove it with the same proposal
        ada proposes
            refused: the changes cannot be made: code 030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303 on software is what the node of "eve" at eve.example:9000 runs; start it with other code, or remove it with the same proposal
        ada proposes
            refused: the changes cannot be made: code 030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303 on software is what the node of "eve" at eve.example:9000 runs; start it with other code, or remove it with the same proposal
        ada proposes 1
        bob=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        ada=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 1: Void { why: "code 030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303 on software is what the node of \"ada\" at ada.example:9000 runs; start it with other code, or remove it with the same proposal" }
        ada proposes 2, ada=for bob=for
            proposal 2: Accepted { rules: [] }
            constitution 2
            NodeRemoved { owner: "eve", address: "eve.example:9000", node: Some(NodeId(3)) }
            Retiring { node: NodeId(3) }
            EpochDue { cause: Membership }
    "#]].assert_eq(&script.transcript);
}
