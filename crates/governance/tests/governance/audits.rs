//! Audits that a vote grants, and a network that goes on from another.

use expect_test::expect;
use governance::{
    AUDIT_RELEASES_MAX, AUDITS_MAX, AuditConsent, AuditRelease, AuditTerms, Change, Command,
    Constitution, Fact, Listed, State, Succeeds,
};
use types::{Digest, Epoch, Index, Millis, NetworkId, NodeId};

use crate::script::{HOUR, Script, harmless};
use crate::share_keys::share_key;
use crate::world::{NOW, World, holder};

fn terms(from: u64, to: u64, hours: u64) -> AuditTerms {
    AuditTerms {
        auditor: Listed(holder("auditor", 70, false, None, vec![]).certificate),
        key: [9; 32],
        from: Epoch(from),
        to: Epoch(to),
        expires: NOW.plus(hours * HOUR),
    }
}

fn grant(from: u64, to: u64, hours: u64) -> Change {
    Change::GrantAudit(terms(from, to, hours))
}

#[test]
fn a_vote_grants_epochs_until_a_time_and_another_takes_them_back() {
    let mut script = Script::new(2, |_| {});
    script.decide("ada", &[grant(2, 3, 1)], "ada=for bob=for");
    script.decide("ada", &[grant(5, 5, 9)], "ada=for bob=for");
    let open = |script: &Script, now: Millis| -> Vec<u64> {
        script.state.audits(now).map(|g| g.number).collect()
    };
    assert_eq!(open(&script, script.now), [1, 2]);
    let covers = |e| terms(2, 3, 1).covers(Epoch(e));
    assert_eq!([1, 2, 3, 4].map(covers), [false, true, true, false]);
    // Over at its time, and taken out with the next entry.
    script.now = NOW.plus(HOUR);
    assert_eq!(open(&script, script.now), [2]);
    script.decide("bob", &[harmless()], "ada=for bob=for");
    let _ = script.propose("ada", &[Change::RevokeAudit { grant: 1 }]);
    script.decide(
        "bob",
        &[Change::RevokeAudit { grant: 2 }],
        "ada=for bob=for",
    );
    assert_eq!(open(&script, NOW), [0; 0]);
    let _ = script.propose("ada", &[grant(3, 2, 9)]);
    let _ = script.propose("ada", &[grant(1, 5000, 9)]);
    expect![[r#"
        ada proposes 1, ada=for bob=for
            proposal 1: Accepted { rules: [] }
            AuditGranted { grant: 1, auditor: "auditor", from: Epoch(2), to: Epoch(3), expires: Millis(4323600000) }
        ada proposes 2, ada=for bob=for
            proposal 2: Accepted { rules: [] }
            AuditGranted { grant: 2, auditor: "auditor", from: Epoch(5), to: Epoch(5), expires: Millis(4352400000) }
        bob proposes 3, ada=for bob=for
            proposal 3: Accepted { rules: [] }
            constitution 2
        ada proposes
            refused: the changes cannot be made: there is no audit grant 1
        bob proposes 4, ada=for bob=for
            proposal 4: Accepted { rules: [] }
            AuditEnded { grant: 2 }
        ada proposes
            refused: the changes cannot be made: the audit cannot be granted: its epochs are not a range from 1 on
        ada proposes
            refused: the changes cannot be made: the audit cannot be granted: it has more than 4096 epochs
    "#]].assert_eq(&script.transcript);
    let bytes = script.state.to_cbor();
    assert_eq!(State::from_cbor(&bytes).as_ref(), Ok(&script.state));
}

/// `signer` hands in a consent in the name of `actor`.
fn consents(script: &mut Script, signer: &str, actor: &str, grant: u64, terms: &AuditTerms) {
    let consent = AuditConsent {
        network: script.state.network().expect("created"),
        grant,
        terms: terms.digest(),
        actor: actor.into(),
        window: script.window(),
    };
    let message = script.sign(signer, crypto::Context::AuditConsent, &consent.to_cbor());
    let command = script.state.consent(&message, script.now);
    let _ = script.step(&format!("{signer} consents to {grant} as {actor}"), command);
}

fn released(script: &mut Script, node: u64, grant: u64, from: u64, to: u64) {
    let release = AuditRelease {
        node: NodeId(node),
        grant,
        from: Epoch(from),
        to: Epoch(to),
    };
    let command = script.state.audit_release(&release, script.now);
    let _ = script.step(
        &format!("node {node} answers {grant} with {from}-{to}"),
        command,
    );
}

/// Members ada and bob hold shares; eve, a participant, does not. A grant of epochs 4 to 6.
fn granted() -> (Script, AuditTerms) {
    let mut script = Script::new(2, |constitution| {
        for (name, seed) in [("ada", 1), ("bob", 2)] {
            let mut actors = constitution.actors.iter_mut();
            let actor = actors.find(|a| a.name == name).expect("an actor");
            actor.share_key = Some(share_key(seed));
        }
    });
    script.decide("ada", &[grant(4, 6, 1)], "ada=for bob=for");
    script.transcript.clear();
    let terms = script.state.audits(NOW).next().expect("open").terms.clone();
    (script, terms)
}

#[test]
fn an_actor_consents_once_to_the_terms_that_it_read() {
    let (mut script, terms) = granted();
    let wider = AuditTerms {
        to: Epoch(7),
        ..terms.clone()
    };
    consents(&mut script, "ada", "ada", 1, &terms);
    consents(&mut script, "ada", "ada", 1, &terms);
    consents(&mut script, "ada", "bob", 1, &terms);
    consents(&mut script, "eve", "eve", 1, &terms);
    consents(&mut script, "bob", "bob", 2, &terms);
    consents(&mut script, "bob", "bob", 1, &wider);
    script.now = NOW.plus(HOUR);
    consents(&mut script, "bob", "bob", 1, &terms);
    expect![[r#"
        ada consents to 1 as ada
            AuditConsented { grant: 1, actor: "ada" }
        ada consents to 1 as ada
            refused: the message was handed in before and recorded; a new proposal has a new nonce, a new ballot a greater number
        ada consents to 1 as bob
            refused: the message says that it is from "bob", but "ada" signed it
        eve consents to 1 as eve
            refused: the constitution lists no share key of "eve": it has no part in opening keys
        bob consents to 2 as bob
            refused: no audit grant 2 is open; GET /v1/audits lists those that are
        bob consents to 1 as bob
            refused: the consent is to other terms than those of audit grant 1: read them and sign anew
        bob consents to 1 as bob
            refused: no audit grant 1 is open; GET /v1/audits lists those that are
    "#]].assert_eq(&script.transcript);
}

#[test]
fn a_node_answers_for_an_owner_that_consented_and_within_the_grant_only() {
    let (mut script, terms) = granted();
    consents(&mut script, "ada", "ada", 1, &terms);
    let node = |script: &Script, owner: &str| {
        let mut nodes = script.state.served();
        nodes.find(|n| n.owner == owner).expect("it runs").id.0
    };
    let (ada, bob) = (node(&script, "ada"), node(&script, "bob"));
    released(&mut script, ada, 1, 4, 6);
    released(&mut script, ada, 1, 5, 5);
    // The neighbours on both sides, alone and with what is granted.
    for (from, to) in [(3, 3), (3, 4), (7, 7), (6, 7), (6, 4), (0, u64::MAX)] {
        released(&mut script, ada, 1, from, to);
    }
    released(&mut script, bob, 1, 5, 5);
    released(&mut script, 99, 1, 5, 5);
    released(&mut script, ada, 2, 5, 5);
    script.now = NOW.plus(HOUR);
    released(&mut script, ada, 1, 5, 5);
    expect![[r#"
        ada consents to 1 as ada
            AuditConsented { grant: 1, actor: "ada" }
        node 1 answers 1 with 4-6
            AuditReleased(AuditRelease { node: NodeId(1), grant: 1, from: Epoch(4), to: Epoch(6) })
        node 1 answers 1 with 5-5
            AuditReleased(AuditRelease { node: NodeId(1), grant: 1, from: Epoch(5), to: Epoch(5) })
        node 1 answers 1 with 3-3
            refused: audit grant 1 is for epochs 4-6 and no other
        node 1 answers 1 with 3-4
            refused: audit grant 1 is for epochs 4-6 and no other
        node 1 answers 1 with 7-7
            refused: audit grant 1 is for epochs 4-6 and no other
        node 1 answers 1 with 6-7
            refused: audit grant 1 is for epochs 4-6 and no other
        node 1 answers 1 with 6-4
            refused: audit grant 1 is for epochs 4-6 and no other
        node 1 answers 1 with 0-18446744073709551615
            refused: audit grant 1 is for epochs 4-6 and no other
        node 2 answers 1 with 5-5
            refused: "bob" has not consented to audit grant 1; ask it, or a node of another actor
        node 99 answers 1 with 5-5
            refused: node 99 is not a node of this network
        node 1 answers 2 with 5-5
            refused: no audit grant 2 is open; GET /v1/audits lists those that are
        node 1 answers 1 with 5-5
            refused: no audit grant 1 is open; GET /v1/audits lists those that are
    "#]]
    .assert_eq(&script.transcript);
    let bytes = script.state.to_cbor();
    assert_eq!(State::from_cbor(&bytes).as_ref(), Ok(&script.state));
}

#[test]
fn a_node_that_is_asked_too_often_answers_after_an_hour() {
    let mut script = Script::new(2, |constitution| {
        constitution.actors[0].share_key = Some(share_key(1));
    });
    let terms = terms(4, 6, 9);
    script.decide(
        "ada",
        &[Change::GrantAudit(terms.clone())],
        "ada=for bob=for",
    );
    consents(&mut script, "ada", "ada", 1, &terms);
    let ada = script
        .state
        .served()
        .find(|n| n.owner == "ada")
        .expect("it runs")
        .id;
    let release = AuditRelease {
        node: ada,
        grant: 1,
        from: Epoch(4),
        to: Epoch(4),
    };
    for _ in 0..AUDIT_RELEASES_MAX {
        let facts = script.apply(&Command::AuditRelease(release));
        assert_eq!(facts, Ok(vec![Fact::AuditReleased(release)]));
    }
    let refused = script.state.audit_release(&release, script.now);
    let told = refused.expect_err("too often").to_string();
    assert!(told.contains("128 times an hour"), "{told}");
    assert!(
        script.apply(&Command::AuditRelease(release)).is_err(),
        "nor where it is applied"
    );
    script.now = script.now.plus(HOUR);
    assert!(script.state.audit_release(&release, script.now).is_ok());
}

#[test]
fn no_more_grants_are_open_than_the_limit() {
    let mut script = Script::new(2, |_| {});
    let many: Vec<_> = (1..=AUDITS_MAX as u64).map(|e| grant(e, e, 9)).collect();
    script.decide("ada", &many, "ada=for bob=for");
    assert_eq!(script.state.audits(NOW).count(), AUDITS_MAX);
    let refused = script.propose("ada", &[grant(70, 70, 9)]);
    let told = refused.expect_err("one too many").to_string();
    assert!(told.contains("64 grants are open"), "{told}");
}

#[test]
fn a_constitution_that_succeeds_none_is_encoded_as_before() {
    let without = World::new().constitution;
    let mut with = without.clone();
    with.succeeds = Some(Succeeds {
        network: NetworkId([1; 32]),
        index: Index(77),
        root: Digest([2; 32]),
    });
    let (old, new) = (without.to_cbor(), with.to_cbor());
    // An array of 12, and of 13 with one record more.
    assert_eq!((old[0], new[0]), (0x8c, 0x8d));
    assert_eq!(new[1..old.len()], old[1..]);
    assert_eq!(new[old.len()..old.len() + 3], [0x83, 0x58, 32]);
    let explicit = [&[0x8d], &old[1..], &[0xf6]].concat();
    assert!(Constitution::from_cbor(&explicit).is_err());
    assert_ne!(without.network_id(), with.network_id());
    assert_eq!(Constitution::from_cbor(&new), Ok(with.clone()));
    assert_eq!(Constitution::from_toml(&with.to_toml()), Ok(with.clone()));
    let line = "succeeds    0101010101010101010101010101010101010101010101010101010101010101, proven up to entry 77";
    assert!(with.summary().contains(line), "{}", with.summary());
    assert_eq!(without.diff(&with).len(), 1);
}
