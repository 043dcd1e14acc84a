//! How ballots decide: policies, changed minds, members that come and go, expiry.

use expect_test::{Expect, expect};
use governance::{Change, ChangeKind, Choice, Policy, Refused, Role};

use crate::script::{HOUR, Script, add_actor, harmless, slot};
use crate::world::DAY;

/// A harmless proposal of ada's among so many members under a policy, and votes on it.
fn check(policy: Policy, members: usize, votes: &str, expected: Expect) {
    let mut script = Script::new(members, |c| c.voting.policy = policy);
    let number = script.propose("ada", &[harmless()]).expect("may propose");
    script.transcript.clear();
    script.votes(number, votes);
    expected.assert_eq(&script.transcript);
}

#[test]
fn two_of_three_are_a_majority() {
    check(
        Policy::Majority,
        3,
        "ada=for bob=for cat=for",
        expect![[r#"
            ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
            bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
                proposal 1: Accepted { rules: [] }
                constitution 2
            cat=for on 1
                refused: proposal 1 is closed
        "#]],
    );
}

#[test]
fn one_against_defeats_unanimity() {
    check(
        Policy::Unanimous,
        3,
        "ada=for bob=against cat=for",
        expect![[r#"
            ada=for on 1: 1 for, 0 against, 0 abstain; 3 of 3 needed
            bob=against on 1: 1 for, 1 against, 0 abstain; 3 of 3 needed
                proposal 1: Rejected
            cat=for on 1
                refused: proposal 1 is closed
        "#]],
    );
}

#[test]
fn who_abstains_can_be_won_over() {
    check(
        Policy::Unanimous,
        2,
        "ada=for bob=abstain bob=for",
        expect![[r#"
            ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 2 needed
            bob=abstain on 1: 1 for, 0 against, 1 abstain; 2 of 2 needed
            bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 2 needed
                proposal 1: Accepted { rules: [] }
                constitution 2
        "#]],
    );
}

#[test]
fn a_ballot_is_changed_while_the_proposal_is_open() {
    check(
        Policy::AtLeast(3),
        5,
        "ada=for bob=for ada=against cat=for dan=for",
        expect![[r#"
            ada=for on 1: 1 for, 0 against, 0 abstain; 3 of 5 needed
            bob=for on 1: 2 for, 0 against, 0 abstain; 3 of 5 needed
            ada=against on 1: 1 for, 1 against, 0 abstain; 3 of 5 needed
            cat=for on 1: 2 for, 1 against, 0 abstain; 3 of 5 needed
            dan=for on 1: 3 for, 1 against, 0 abstain; 3 of 5 needed
                proposal 1: Accepted { rules: [] }
                constitution 2
        "#]],
    );
}

#[test]
fn one_of_many_is_enough_where_the_policy_says_so() {
    check(
        Policy::One,
        3,
        "bob=against cat=for",
        expect![[r#"
            bob=against on 1: 0 for, 1 against, 0 abstain; 1 of 3 needed
            cat=for on 1: 1 for, 1 against, 0 abstain; 1 of 3 needed
                proposal 1: Accepted { rules: [] }
                constitution 2
        "#]],
    );
}

#[test]
fn a_proposal_with_several_changes_needs_the_strictest_policy() {
    let mut script = Script::new(3, |c| {
        c.voting.policy = Policy::One;
        c.voting
            .policies
            .insert(ChangeKind::Code, Policy::Unanimous);
    });
    let retire = Change::AddCode(tee::CodeIdentity {
        name: "manager".into(),
        version: "2".into(),
        platform: tee::Platform::Software,
        measurement: vec![9; 48],
        state: tee::CodeState::Allowed,
    });
    let both = script.propose("ada", &[harmless(), retire]).expect("both");
    script.votes(both, "ada=for bob=for");
    let alone = script.propose("ada", &[harmless()]).expect("alone");
    script.votes(alone, "ada=for cat=for");
    expect![[r#"
        ada proposes 1
        ada=for on 1: 1 for, 0 against, 0 abstain; 3 of 3 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 3 of 3 needed
        ada proposes 2
        ada=for on 2: 1 for, 0 against, 0 abstain; 1 of 3 needed
            proposal 2: Accepted { rules: [] }
            constitution 2
            proposal 1: Void { why: "setting batch_units_max has changed meanwhile" }
        cat=for on 2
            refused: proposal 2 is closed
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_change_of_voting_policy_is_decided_under_the_old_one() {
    let mut script = Script::new(3, |_| ());
    let unanimous = script
        .propose(
            "ada",
            &[Change::SetVotingPolicy {
                kind: None,
                policy: Policy::Unanimous,
            }],
        )
        .expect("may propose");
    script.votes(unanimous, "ada=for bob=for");
    // Now everybody is needed, also to go back.
    let back = script
        .propose(
            "ada",
            &[Change::SetVotingPolicy {
                kind: None,
                policy: Policy::One,
            }],
        )
        .expect("may propose");
    script.votes(back, "ada=for bob=for cat=for");
    expect![[r#"
        ada proposes 1
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
        ada proposes 2
        ada=for on 2: 1 for, 0 against, 0 abstain; 3 of 3 needed
        bob=for on 2: 2 for, 0 against, 0 abstain; 3 of 3 needed
        cat=for on 2: 3 for, 0 against, 0 abstain; 3 of 3 needed
            proposal 2: Accepted { rules: [] }
            constitution 3
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_member_that_joins_during_a_poll_counts() {
    let mut script = Script::new(2, |_| ());
    let poll = script.propose("ada", &[harmless()]).expect("a poll");
    let cat = script.holder("cat");
    let join = [add_actor(cat, "cat", &[Role::Member])];
    let join = script.propose("bob", &join).expect("a second poll");
    script.votes(join, "ada=for bob=for");
    // Two of three are enough, and cat is one of them.
    script.votes(poll, "ada=for cat=for");
    expect![[r#"
        ada proposes 1
        bob proposes 2
        ada=for on 2: 1 for, 0 against, 0 abstain; 2 of 2 needed
        bob=for on 2: 2 for, 0 against, 0 abstain; 2 of 2 needed
            proposal 2: Accepted { rules: [] }
            constitution 2
            EpochDue { cause: Membership }
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        cat=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 1: Accepted { rules: [] }
            constitution 3
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_member_that_is_removed_during_a_poll_counts_no_more() {
    let mut script = Script::new(5, |_| ());
    let carried = script.propose("ada", &[harmless()]).expect("a poll");
    let voided = script
        .propose(
            "bob",
            &[Change::RevokeSessions {
                actor: "fay".into(),
            }],
        )
        .expect("a poll");
    let other = Change::SetSetting {
        name: "batch_units_max".into(),
        value: 200,
    };
    let same = script.propose("cat", &[other]).expect("a poll");
    script.votes(carried, "ada=for bob=for fay=against dan=abstain");
    // Fay goes: 2 of 4 in favour. Dan goes, too: 2 of 3, which carries, and another proposal about
    // the same setting is void.
    for name in ["fay", "dan"] {
        let remove = script
            .propose("ada", &[Change::RemoveActor { actor: name.into() }])
            .expect("may propose");
        script.votes(remove, "ada=for bob=for cat=for");
        assert!(matches!(
            script.vote(name, voided.min(same), Choice::For),
            Err(Refused::UnknownActor(_) | Refused::Closed { .. })
        ));
    }
    expect![[r#"
        ada proposes 1
        bob proposes 2
        cat proposes 3
        ada=for on 1: 1 for, 0 against, 0 abstain; 3 of 5 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 3 of 5 needed
        fay=against on 1: 2 for, 1 against, 0 abstain; 3 of 5 needed
        dan=abstain on 1: 2 for, 1 against, 1 abstain; 3 of 5 needed
        ada proposes 4
        ada=for on 4: 1 for, 0 against, 0 abstain; 3 of 5 needed
        bob=for on 4: 2 for, 0 against, 0 abstain; 3 of 5 needed
        cat=for on 4: 3 for, 0 against, 0 abstain; 3 of 5 needed
            proposal 4: Accepted { rules: [] }
            constitution 2
            actor fay is removed
            sessions of fay end
            EpochDue { cause: Membership }
            proposal 2: Void { why: "there is no actor fay" }
        fay=for on 2
            refused: the certificate belongs to no actor of the constitution: the chain does not lead to a certificate that is listed
        ada proposes 5
        ada=for on 5: 1 for, 0 against, 0 abstain; 3 of 4 needed
        bob=for on 5: 2 for, 0 against, 0 abstain; 3 of 4 needed
        cat=for on 5: 3 for, 0 against, 0 abstain; 3 of 4 needed
            proposal 5: Accepted { rules: [] }
            constitution 3
            actor dan is removed
            sessions of dan end
            EpochDue { cause: Membership }
            proposal 1: Accepted { rules: [] }
            constitution 4
            proposal 3: Void { why: "setting batch_units_max has changed meanwhile" }
        dan=for on 2
            refused: the certificate belongs to no actor of the constitution: the chain does not lead to a certificate that is listed
    "#]].assert_eq(&script.transcript);
}

#[test]
fn who_was_removed_and_comes_back_votes_again() {
    let mut script = Script::new(3, |_| ());
    let poll = script.propose("ada", &[harmless()]).expect("a poll");
    let id = script.state.proposal(poll).expect("open").id;
    let ballot = script.ballot("cat", id, Choice::For, 7);
    let ballot = script.sign("cat", crypto::Context::Ballot, &ballot.to_cbor());
    let command = script.state.ballot(&ballot, script.now).expect("a member");
    script.apply(&command).expect("a member");
    let remove = Change::RemoveActor {
        actor: "cat".into(),
    };
    let remove = script.propose("ada", &[remove]).expect("a poll");
    script.votes(remove, "ada=for bob=for");
    let back = [add_actor(script.holder("cat"), "cat", &[Role::Member])];
    let back = script.propose("ada", &back).expect("a poll");
    script.votes(back, "ada=for bob=for");
    // Had the ballot of before counted still, one more would carry it; nor can another hand it in.
    let again = script.state.ballot(&ballot, script.now);
    assert!(
        matches!(again, Err(Refused::OldBallot { last: 7, .. })),
        "{again:?}"
    );
    script.transcript.clear();
    script.votes(poll, "ada=for");
    expect![[r#"
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn time_ends_a_poll() {
    let mut script = Script::new(3, |c| c.voting.open_ms = DAY);
    let first = script.propose("ada", &[harmless()]).expect("a poll");
    script.now = script.now.plus(HOUR);
    let second = script
        .propose(
            "bob",
            &[Change::RevokeSessions {
                actor: "eve".into(),
            }],
        )
        .expect("a poll");
    script.votes(first, "ada=for");
    script.due();
    script.now = script.now.plus(DAY - HOUR);
    // Over, though nobody closed it yet.
    assert!(script.vote("bob", first, Choice::For).is_err());
    assert_eq!(script.state.next_due(), Some(script.now));
    script.due();
    script.due();
    script.votes(second, "ada=for bob=for");
    script.now = script.now.plus(DAY);
    script.due();
    // Nor can it be closed before its time, or twice.
    for proposals in [vec![], vec![first], vec![second], vec![9]] {
        let refused = script.apply(&governance::Command::Expire { proposals });
        assert_eq!(refused, Err(Refused::NotDue));
    }
    expect![[r#"
        ada proposes 1
        bob proposes 2
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        nothing is due
        bob=for on 1
            refused: the vote on proposal 1 was over at 4406400000 ms of ledger time
        time is over
            proposal 1: Expired
        nothing is due
        ada=for on 2: 1 for, 0 against, 0 abstain; 2 of 3 needed
        bob=for on 2: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 2: Accepted { rules: [] }
            sessions of eve end
        nothing is due
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_proposer_takes_its_proposal_back() {
    let mut script = Script::new(3, |_| ());
    let number = script.propose("ada", &[harmless()]).expect("a poll");
    assert!(script.withdraw("bob", number).is_err());
    script.withdraw("ada", number).expect("its own");
    script.votes(number, "bob=for");
    assert!(script.withdraw("ada", number).is_err());
    expect![[r#"
        ada proposes 1
        bob withdraws 1
            refused: only "ada" can withdraw its proposal
        ada withdraws 1
            proposal 1: Withdrawn
        bob=for on 1
            refused: proposal 1 is closed
        ada withdraws 1
            refused: proposal 1 is closed
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn what_depends_on_a_changed_thing_is_void() {
    let mut script = Script::new(3, |_| ());
    let add = script
        .propose("ada", &[Change::AddNode(slot("cat"))])
        .expect("a poll");
    let mut again = slot("bob");
    again.address = "cat.example:9000".into();
    let taken = script
        .propose("bob", &[Change::AddNode(again)])
        .expect("a poll");
    let m = |value| Change::SetSetting {
        name: "key_threshold".into(),
        value,
    };
    let threshold = script.propose("cat", &[m(3)]).expect("three owners");
    script.votes(taken, "ada=for");
    script.votes(add, "ada=for bob=for");
    // Eve's node goes, and with it the third owner; cat's own came, so it is three still.
    let remove = |owner| Change::RemoveNode(slot(owner));
    let gone = script.propose("ada", &[remove("eve")]).expect("a poll");
    script.votes(gone, "ada=for bob=for");
    let gone = script.propose("ada", &[remove("cat")]).expect("a poll");
    script.votes(gone, "ada=for bob=for");
    assert!(!script.state.proposal(threshold).expect("kept").is_open());
    expect![[r#"
        ada proposes 1
        bob proposes 2
        cat proposes 3
        ada=for on 2: 1 for, 0 against, 0 abstain; 2 of 3 needed
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        bob=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
            proposal 2: Void { why: "the constitution that it leads to cannot be used:\nnodes.cat.example:9000: is listed twice; each node has an address of its own" }
        ada proposes 4
        ada=for on 4: 1 for, 0 against, 0 abstain; 2 of 3 needed
        bob=for on 4: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 4: Accepted { rules: [] }
            constitution 3
            NodeRemoved { owner: "eve", address: "eve.example:9000", node: Some(NodeId(3)) }
            Retiring { node: NodeId(3) }
            EpochDue { cause: Membership }
        ada proposes 5
        ada=for on 5: 1 for, 0 against, 0 abstain; 2 of 3 needed
        bob=for on 5: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 5: Accepted { rules: [] }
            constitution 4
            NodeRemoved { owner: "cat", address: "cat.example:9000", node: None }
            proposal 3: Void { why: "the constitution that it leads to cannot be used:\nsettings.key_threshold: 3 of 2 actors that own a node is impossible; give a number from 1 to 2, or list more nodes" }
    "#]].assert_eq(&script.transcript);
}
