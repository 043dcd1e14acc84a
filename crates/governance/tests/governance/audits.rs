//! Audits that a vote grants, and a network that goes on from another.

use expect_test::expect;
use governance::{AUDITS_MAX, AuditTerms, Change, Constitution, Listed, State, Succeeds};
use types::{Digest, Epoch, Index, Millis, NetworkId};

use crate::script::{HOUR, Script, harmless};
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
