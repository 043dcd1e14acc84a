//! Standing votes: accepted without a ballot where the rule says so, and only there.

use expect_test::expect;
use governance::{Change, ChangeKind, Fact, Listed, Policy, Rule};

use crate::script::{Script, harmless, slot, slot_at};
use crate::world::holder;

fn rule(name: &str, accepts: &str, when: &str) -> Rule {
    let text = format!("name = {name:?}\naccepts = {accepts:?}\nwhen = {when:?}");
    toml::from_str(&text).expect("a rule")
}

#[test]
fn a_member_adds_a_second_node_on_endorsed_code_without_a_ballot() {
    let when =
        "proposer.member and proposer.owns and owner.nodes <= 2 and code.endorsements >= majority";
    let mut script = Script::new(3, |c| {
        c.standing.rules = vec![rule("second-node", "add-node", when)];
        c.voting.participants_propose = [ChangeKind::Node].into();
        c.voting.policies.insert(ChangeKind::Code, Policy::One);
    });
    let add =
        |owner: &str, port: u16| Change::AddNode(slot_at(owner, &format!("x.example:{port}")));
    script.propose("bob", &[add("bob", 1)]).expect("the second");
    script
        .propose("bob", &[add("bob", 2)])
        .expect("a third waits for ballots");
    script
        .propose("bob", &[add("ada", 3)])
        .expect("another's waits, too");
    script
        .propose("eve", &[add("eve", 4)])
        .expect("eve is no member");
    script
        .propose("ada", &[add("ada", 5), harmless()])
        .expect("more than the rule says");
    // Cat alone allows an image that runs: the others did not endorse it.
    let image = tee::CodeIdentity {
        name: "manager".into(),
        version: "2".into(),
        platform: tee::Platform::Software,
        measurement: vec![9; 48],
        state: tee::CodeState::Allowed,
    };
    let code = script
        .propose("cat", &[Change::AddCode(image)])
        .expect("a poll");
    script.votes(code, "cat=for");
    assert_eq!(script.state.code_endorsements(), 1);
    script
        .propose("cat", &[Change::AddNode(slot("cat"))])
        .expect("waits");
    expect![[r#"
        bob proposes 1
            proposal 1: Accepted { rules: ["second-node"] }
            constitution 2
        bob proposes 2
        bob proposes 3
        eve proposes 4
        ada proposes 5
        cat proposes 6
        cat=for on 6: 1 for, 0 against, 0 abstain; 1 of 3 needed
            proposal 6: Accepted { rules: [] }
            constitution 3
        cat proposes 7
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_participant_renews_a_certificate_under_its_intermediate() {
    let issuer = holder("eve issuer", 70, true, None, vec![]);
    let mut script = Script::new(3, |c| {
        c.standing.rules = vec![rule(
            "renewal",
            "set-certificates",
            "proposer.owns and certificates.issued",
        )];
        c.voting.participants_propose = [ChangeKind::Certificate].into();
        let eve = c.actors.iter_mut().find(|a| a.name == "eve").expect("eve");
        eve.certificates.push(Listed(issuer.certificate.clone()));
    });
    let old = Listed(script.holder("eve").certificate.clone());
    let set = |leaf: &governance::Listed| Change::SetCertificates {
        actor: "eve".into(),
        certificates: vec![Listed(issuer.certificate.clone()), leaf.clone()],
    };
    let foreign = Listed(holder("eve two", 71, false, None, vec![]).certificate);
    let issued = Listed(holder("eve three", 72, false, Some(&issuer), vec![]).certificate);
    let waits = script
        .propose("eve", &[set(&foreign)])
        .expect("waits for ballots");
    // As long as that is open, the rule rests: nobody runs away from a vote.
    let rests = script.propose("eve", &[set(&issued)]).expect("waits, too");
    script.withdraw("eve", waits).expect("its own");
    script.withdraw("eve", rests).expect("its own");
    script.propose("eve", &[set(&issued)]).expect("renewed");
    script
        .propose("ada", &[set(&old)])
        .expect("not ada's to renew");
    expect![[r#"
        eve proposes 1
        eve proposes 2
        eve withdraws 1
            proposal 1: Withdrawn
        eve withdraws 2
            proposal 2: Withdrawn
        eve proposes 3
            proposal 3: Accepted { rules: ["renewal"] }
            constitution 2
            sessions of eve end
        ada proposes 4
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn nobody_escapes_its_removal_by_a_faster_road() {
    let mut script = Script::new(3, |c| {
        c.standing.rules = vec![
            rule("move", "move-node", "proposer.owns"),
            rule("renewal", "set-certificates", "proposer.owns"),
        ];
    });
    let remove = Change::RemoveActor {
        actor: "bob".into(),
    };
    let remove = script.propose("ada", &[remove]).expect("a poll");
    let elsewhere = Change::MoveNode {
        owner: "bob".into(),
        from: slot("bob").address,
        to: "bob.example:1".into(),
    };
    script.propose("bob", &[elsewhere]).expect("waits");
    script.votes(remove, "ada=for cat=for");
    assert!(script.constitution().actor("bob").is_none());
    assert!(script.constitution().nodes.iter().all(|n| n.owner != "bob"));
    expect![[r#"
        ada proposes 1
        bob proposes 2
        ada=for on 1: 1 for, 0 against, 0 abstain; 2 of 3 needed
        cat=for on 1: 2 for, 0 against, 0 abstain; 2 of 3 needed
            proposal 1: Accepted { rules: [] }
            constitution 2
            actor bob is removed
            sessions of bob end
            NodeRemoved { owner: "bob", address: "bob.example:9000", node: Some(NodeId(2)) }
            Retiring { node: NodeId(2) }
            EpochDue { cause: Membership }
            proposal 2: Void { why: "there is no node bob.example:9000" }
    "#]]
    .assert_eq(&script.transcript);
}

#[test]
fn a_return_is_decided_by_a_rule_and_says_by_which() {
    let rules = |c: &mut governance::Constitution| {
        c.standing.listed_nodes_return = false;
        c.standing.rules = vec![rule("members-return", "return-node", "proposer.member")];
    };
    let mut script = Script::new(2, rules);
    let facts = script.join("bob", 120).expect("a member");
    let by = facts.iter().find_map(|f| match f {
        Fact::Returned { rule, .. } => Some(rule.as_str()),
        _ => None,
    });
    assert_eq!(by, Some("members-return"));
    let refused = script.join("eve", 121).expect_err("no member");
    assert_eq!(refused, governance::Refused::NoStandingVote);
}
