//! The audit finds each kind of tampering, names the place, and stays quiet about what is sound.

mod support;

use bytes::Bytes;
use crypto::PublicKey;
use expect_test::{Expect, expect};
use ledger::snapshot::Statement;
use ledger::{AuditFact, Auditor, Before, Entry, Fault, Header, Kind, Prepared, Sealer, Verdict};
use proptest::prelude::*;
use support::{Writer, file, keyring};
use types::{Digest, Epoch, Index, Millis, NodeId, Term};

/// Twenty entries: three signatures, two terms, two epochs. The last signature is entry 20.
fn ledger(seed: u8) -> Vec<Bytes> {
    let mut writer = Writer::new(seed);
    writer.open_term(); // 2
    writer.batch(3);
    writer.batch(1);
    writer.sign(); // 5
    writer.batch(5);
    writer.put(Kind::Administrative, 1, b"", b"vote");
    writer.batch(2);
    writer.batch(2);
    writer.sign(); // 10
    writer.header.epoch = Epoch(2);
    writer.open_term(); // 11
    (12..20).for_each(|n| drop(writer.batch(n)));
    writer.sign(); // 20
    writer.entries
}

fn facts(entry: &Entry, _: Before) -> Vec<AuditFact> {
    let key = PublicKey::from_sec1(&entry.public).ok();
    key.map(|key| AuditFact::NodeKey {
        node: NodeId(1),
        key,
    })
    .into_iter()
    .collect()
}

fn audit<'a>(files: impl IntoIterator<Item = (&'a str, Bytes)>, keys: bool) -> Verdict {
    let mut auditor = Auditor::new(facts).cutting_at(2000);
    if keys {
        auditor = auditor.with_keys(keyring());
    }
    files
        .into_iter()
        .for_each(|(name, bytes)| auditor.chunk(name, bytes));
    auditor.finish()
}

const FIRST: &str = "00000000000000000001-00000000000000000007";
const SECOND: &str = "00000000000000000008-open";

/// Two files, of which the second is open.
fn files(entries: &[Bytes]) -> [(&'static str, Bytes); 2] {
    [
        (FIRST, file(Index(1), &entries[..7])),
        (SECOND, file(Index(8), &entries[7..])),
    ]
}

fn check(entries: &[Bytes], expect: Expect) {
    let mut lines: String = audit(files(entries), false)
        .problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    if lines.is_empty() {
        lines = "sound\n".to_owned();
    }
    expect.assert_eq(&lines);
}

fn flipped(entry: &Bytes, bit: usize) -> Bytes {
    let mut bytes = entry.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

#[test]
fn a_sound_ledger_is_sound() {
    let verdict = audit(files(&ledger(1)), false);
    expect![[r#"
        Verdict {
            entries: 20,
            transactions: 139,
            last: Index(20),
            signed_upto: Index(19),
            problems: [],
            missing: [],
            snapshots: {},
            notes: [],
            unchecked: [
                "entries 20-20 are not yet covered by a checked root signature",
                "contents: no session keys were given",
            ],
        }
    "#]]
    .assert_debug_eq(&verdict);
    let opened = audit(files(&ledger(1)), true);
    assert!(opened.is_sound());
    assert_eq!(opened.unchecked.len(), 1);
}

#[test]
fn what_cannot_be_checked_is_said() {
    let entries = ledger(1);
    let mut part = support::keyring();
    part.forget(Epoch(2));
    let mut auditor = Auditor::new(facts).cutting_at(2000).with_keys(part);
    let key = support::key(1);
    auditor.learn(NodeId(1), *key.public());
    auditor.chunk(SECOND, file(Index(8), &entries[7..19]));
    expect![[r#"
        Verdict {
            entries: 12,
            transactions: 128,
            last: Index(19),
            signed_upto: Index(9),
            problems: [],
            missing: [
                (
                    Index(1),
                    Index(7),
                ),
            ],
            snapshots: {},
            notes: [],
            unchecked: [
                "entries 1-7: the files begin behind them",
                "entries 10-19 are not yet covered by a checked root signature",
                "contents of epoch 2: its session key was not given",
            ],
        }
    "#]]
    .assert_debug_eq(&auditor.finish());
}

#[test]
fn swapped_dropped_and_doubled_entries_are_named() {
    let mut entries = ledger(1);
    entries.swap(3, 4);
    check(
        &entries,
        expect![[r#"
            00000000000000000001-00000000000000000007 at byte 731 (entry 5): entry 4 belongs here
            00000000000000000001-00000000000000000007 at byte 1472 (entry 6): entry 5 belongs here
        "#]],
    );
    let mut entries = ledger(1);
    entries.swap(12, 15);
    check(
        &entries,
        expect![[r#"
            00000000000000000008-open at byte 2177 (entry 16): entry 13 belongs here
            00000000000000000008-open at byte 5459 (entry 13): entry 16 belongs here
        "#]],
    );
    let mut entries = ledger(1);
    entries.remove(11);
    check(
        &entries,
        expect![[r#"
            00000000000000000008-open at byte 1275 (entry 13): entry 12 belongs here
        "#]],
    );
    let mut entries = ledger(1);
    drop(entries.drain(9..12));
    check(
        &entries,
        expect![[r#"
            00000000000000000008-open at byte 540 (entry 13): entry 10 belongs here
        "#]],
    );
    let mut entries = ledger(1);
    entries.insert(10, entries[9].clone());
    check(
        &entries,
        expect![[r#"
            00000000000000000008-open at byte 1151 (entry 10): entry 11 belongs here
        "#]],
    );
    let mut entries = ledger(1);
    entries.insert(15, entries[2].clone());
    check(
        &entries,
        expect![[r#"
            00000000000000000008-open at byte 5267 (entry 3): entry 16 belongs here
        "#]],
    );
}

#[test]
fn an_entry_of_another_ledger_is_named() {
    for at in [1, 2, 5, 8, 12, 18] {
        let mut entries = ledger(1);
        entries[at] = ledger(2)[at].clone();
        let verdict = audit(files(&entries), false);
        let places: Vec<_> = verdict
            .problems
            .iter()
            .map(|p| p.index.0 as usize)
            .collect();
        assert_eq!(places, [at + 1]);
    }
}

#[test]
fn a_tail_signed_by_another_key_is_refused() {
    let mut entries = ledger(1);
    entries.truncate(10);
    entries.extend(ledger(2).drain(10..));
    check(
        &entries,
        expect![[r#"
            00000000000000000008-open at byte 540 (entry 10): the chain breaks here: this entry was changed since the next one named its digest
            00000000000000000008-open at byte 10283 (entry 20): not the body of a signature entry: the protected header is not that of this key
        "#]],
    );
}

#[test]
fn files_out_of_place_are_named() {
    let entries = ledger(1);
    let [first, second] = files(&entries);
    let show = |files: Vec<(&str, Bytes)>, expect: Expect| {
        let verdict = audit(files, false);
        let lines: String = verdict.problems.iter().map(|p| format!("{p}\n")).collect();
        expect.assert_eq(&lines);
    };
    show(
        vec![
            ("00000000000000000001-00000000000000000008", first.1.clone()),
            second.clone(),
        ],
        expect![[r#"
            00000000000000000001-00000000000000000008 at byte 0 (entry 7): the file's name is not that of a chunk with these entries
        "#]],
    );
    show(
        vec![
            ("00000000000000000001-open", first.1.clone()),
            (
                "00000000000000000008-00000000000000000020",
                second.1.clone(),
            ),
        ],
        expect![[r#"
            00000000000000000008-00000000000000000020 at byte 0 (entry 8): a closed chunk does not come after an open one
            00000000000000000008-00000000000000000020 at byte 10283 (entry 20): a chunk ends with a snapshot entry or the one that brings it to the size of a chunk, and nowhere else
        "#]],
    );
    show(
        vec![
            ("00000000000000000001-open", first.1.clone()),
            second.clone(),
        ],
        expect![[""]],
    );
    show(
        vec![
            first.clone(),
            ("00000000000000000009-open", second.1.clone()),
        ],
        expect![[r#"
            00000000000000000009-open at byte 0 (entry 8): the file's name is not that of a chunk with these entries
        "#]],
    );
    let third = ("00000000000000000013-open", file(Index(13), &entries[12..]));
    show(
        vec![first.clone(), third],
        expect![[r#"
            00000000000000000013-open at byte 0 (entry 13): entries 8-12 are missing before this file
        "#]],
    );
    show(
        vec![
            first.clone(),
            (SECOND, Bytes::from_static(b"COCOLDG2........")),
        ],
        expect![[r#"
            00000000000000000008-open at byte 0 (entry 8): does not begin as a chunk file
        "#]],
    );
}

#[test]
fn a_torn_tail_is_reported_as_such() {
    let [first, (name, whole)] = files(&ledger(1));
    let last = ledger(1)[19].len() + 4;
    for kept in [1, 4, 5, 100, last - 1] {
        let torn = whole.slice(..whole.len() - last + kept);
        let verdict = audit([first.clone(), (name, torn)], false);
        assert!(verdict.is_incomplete_only(), "{kept}: {verdict:?}");
        assert_eq!(
            (verdict.last, verdict.problems[0].index),
            (Index(19), Index(20))
        );
        assert_eq!(verdict.problems[0].offset, (whole.len() - last) as u64);
    }
    let mut zeros = whole.to_vec();
    let end = zeros.len();
    zeros[end - last..].fill(0);
    assert!(audit([first.clone(), (name, zeros.into())], false).is_incomplete_only());
    let shortest = audit([first, (name, whole.slice(..9))], false);
    assert!(shortest.is_incomplete_only());
}

#[test]
fn leaves_that_are_not_of_the_claims_are_found_with_keys() {
    // A leader that seals with a changed evidence key makes leaves that nobody can prove.
    let mut writer = Writer::new(1);
    let mut other = Writer::new(1);
    other
        .keyring
        .insert(Epoch(1), crypto::Zeroizing::new([9; 32]));
    writer.batch(2);
    let sealed = other.batch(2);
    writer.entries[1] = sealed.bytes;
    let verdict = audit(
        [("00000000000000000001-open", file(Index(1), &writer.entries))],
        true,
    );
    assert_eq!(verdict.problems.len(), 1);
    assert!(matches!(verdict.problems[0].what, Fault::Entry(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_is_blamed_on_its_entry(at in 0usize..20, spot in 0.0..1.0f64, keys: bool) {
        let mut entries = ledger(1);
        let bits = entries[at].len() * 8;
        let bit = ((bits as f64) * spot) as usize;
        entries[at] = flipped(&entries[at], bit);
        let verdict = audit(files(&entries), keys);
        // Without keys, the seal of the last entry is what only the next entry would attest.
        if at < 19 || keys {
            prop_assert!(!verdict.is_sound(), "bit {bit} of entry {}", at + 1);
        }
        let place = Index(at as u64 + 1);
        for problem in &verdict.problems {
            // A changed index is reported where the entry lies; without the genesis, no key is known.
            let displaced = problem.what == Fault::Order { expected: place };
            let keyless = at == 0 && problem.what == Fault::UnknownSigner(NodeId(1));
            prop_assert!(
                problem.index == place || displaced || keyless,
                "bit {bit} of entry {place}: {problem}"
            );
        }
    }
}

#[test]
fn headers_that_make_no_sense_are_named() {
    let check = |change: fn(&mut Header), kind, expect: Expect| {
        let mut writer = Writer::new(1);
        writer.header.restarts = 1;
        writer.header.term = Term(2);
        writer.put(Kind::Administrative, 0, b"", b"");
        writer.header.epoch = Epoch(2);
        writer.batch(1);
        // Another sealer: what this leader would never seal itself.
        writer.sealer = Sealer::new(NodeId(1), writer.key.public());
        change(&mut writer.header);
        if writer.header.sealer != NodeId(1) {
            writer.sealer = Sealer::new(writer.header.sealer, writer.key.public());
        }
        writer.put(kind, 1, b"", b"");
        let file = file(Index(1), &writer.entries);
        let verdict = audit([("00000000000000000001-open", file)], false);
        let lines: String = verdict
            .problems
            .iter()
            .map(|p| format!("{}: {}\n", p.index, p.what))
            .collect();
        expect.assert_eq(&lines);
    };
    let administrative = Kind::Administrative;
    check(|_| (), administrative, expect![[""]]);
    check(
        |header| header.restarts = 0,
        administrative,
        expect![[r#"
        4: the restart count decreases
    "#]],
    );
    check(
        |header| header.term = Term(1),
        administrative,
        expect![[r#"
            4: the term decreases
        "#]],
    );
    check(
        |header| header.epoch = Epoch(1),
        administrative,
        expect![[r#"
            4: the epoch decreases
        "#]],
    );
    check(
        |header| header.time = Millis(1),
        administrative,
        expect![[r#"
            4: the time decreases
        "#]],
    );
    check(
        |header| header.sealer = NodeId(2),
        administrative,
        expect![[r#"
            4: one term has one sealer
        "#]],
    );
    check(
        |header| header.term = Term(9),
        administrative,
        expect![[r#"
            4: a term begins with the entry that opens it
        "#]],
    );
    check(
        |_| (),
        Kind::Genesis,
        expect![[r#"
        4: the genesis is the first entry
    "#]],
    );
    check(
        |_| (),
        Kind::TermOpened,
        expect![[r#"
        4: an entry of this kind has no transactions
    "#]],
    );
    check(
        |header| header.restarts += 1,
        Kind::Signature,
        expect![[r#"
            4: the restart count changes without the entry that restarts the network
            4: an entry of this kind has no transactions
            4: not the body of a signature entry: not a frontier and a COSE object
        "#]],
    );
    let restart = |header: &mut Header| {
        header.restarts += 1;
        header.term = Term(9);
        header.sealer = NodeId(2);
    };
    check(restart, administrative, expect![[""]]);
}

#[test]
fn what_breaks_the_network_s_rules_is_named() {
    let mut seen = 0;
    let mut auditor = Auditor::new(|entry: &Entry, before: Before| {
        if entry.header.kind == Kind::TermOpened {
            return Vec::new();
        }
        seen += 1;
        if entry.header.kind == Kind::Genesis {
            return facts(entry, before);
        }
        let why = format!("fact {seen}");
        vec![AuditFact::Refused { why }]
    });
    auditor.chunk("00000000000000000001-open", file(Index(1), &ledger(1)));
    let problems = auditor.finish().problems;
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].index, &problems[0].what),
        (Index(7), &Fault::Rules("fact 2".into()))
    );
}

#[test]
fn chunks_are_cut_by_the_rule() {
    let entries = ledger(1);
    for (cut, sound) in [(6, false), (7, true), (8, false)] {
        let second = format!("{:020}-open", cut + 1);
        let files = [
            ("00000000000000000001-open", file(Index(1), &entries[..cut])),
            (&*second, file(Index(cut as u64 + 1), &entries[cut..])),
        ];
        assert_eq!(audit(files, false).is_sound(), sound, "{cut}");
    }
}

/// Entries 1-3, a snapshot entry 4, a batch, its digest in 6, and another entry with a digest.
fn with_snapshot(index: u64, digest: u8) -> Vec<Bytes> {
    let mut writer = Writer::new(1);
    writer.batch(2);
    writer.sign();
    writer.put(Kind::Snapshot, 0, b"", b"");
    writer.batch(2);
    let body = |index, digest| {
        let digest = Digest([digest; 32]);
        let index = Index(index);
        Statement { index, digest }.to_cbor()
    };
    writer.put(Kind::SnapshotDigest, 0, &body(4, 1), b"");
    writer.put(Kind::SnapshotDigest, 0, &body(index, digest), b"");
    writer.entries
}

#[test]
fn a_chunk_ends_with_a_snapshot_entry() {
    let entries = with_snapshot(4, 1);
    for (cut, expected) in [
        (4, vec![]),
        (3, vec![(3, Fault::Cut), (4, Fault::Cut)]),
        (5, vec![(4, Fault::Cut), (5, Fault::Cut)]),
    ] {
        let second = format!("{:020}-open", cut + 1);
        let files = [
            ("00000000000000000001-open", file(Index(1), &entries[..cut])),
            (&*second, file(Index(cut as u64 + 1), &entries[cut..])),
        ];
        let found: Vec<_> = audit(files, true)
            .problems
            .into_iter()
            .map(|problem| (problem.index.0, problem.what))
            .collect();
        assert_eq!(found, expected, "{cut}");
    }
}

#[test]
fn a_digest_is_of_a_snapshot_entry_and_no_two_differ() {
    let last = |entries: Vec<Bytes>| {
        let files = [
            ("00000000000000000001-open", file(Index(1), &entries[..4])),
            ("00000000000000000005-open", file(Index(5), &entries[4..])),
        ];
        let mut problems = audit(files, true).problems;
        assert!(problems.len() < 2, "{problems:?}");
        problems.pop().map(|problem| (problem.index, problem.what))
    };
    assert_eq!(last(with_snapshot(4, 1)), None);
    let differs = Fault::SnapshotDiffers(Index(4));
    assert_eq!(last(with_snapshot(4, 2)), Some((Index(7), differs)));
    let none = Fault::NoSnapshot(Index(3));
    assert_eq!(last(with_snapshot(3, 1)), Some((Index(7), none)));
    let (at, what) = last(with_snapshot(7, 1)).expect("of itself");
    assert!(at == Index(7) && matches!(what, Fault::Entry(_)));
}

#[test]
fn entries_that_a_snapshot_stood_for_may_come_later_and_no_others() {
    let entries = with_snapshot(4, 1);
    let lower = |upto: usize| {
        (
            "00000000000000000001-open",
            file(Index(1), &entries[..upto]),
        )
    };
    let upper = ("00000000000000000005-open", file(Index(5), &entries[4..]));
    let verdict = audit([lower(2), upper.clone()], true);
    assert!(verdict.is_sound() && verdict.is_incomplete_only() && !verdict.is_complete());
    assert_eq!(verdict.missing, [(Index(3), Index(4))]);
    let sentence = "entries 3-4: a snapshot stood for them, and the node has not fetched them yet";
    assert!(verdict.unchecked.contains(&sentence.to_owned()));

    let only = audit([upper.clone()], false);
    assert!(only.is_sound() && only.is_incomplete_only());
    // A lower run that a crash tore is fetched again, too.
    let (name, whole) = lower(2);
    let torn = (name, whole.slice(..whole.len() - 1));
    let verdict = audit([torn, upper], true);
    assert!(!verdict.is_sound() && verdict.is_incomplete_only());

    // No snapshot was where this gap ends.
    let other = ("00000000000000000006-open", file(Index(6), &entries[5..]));
    let verdict = audit([lower(2), other], true);
    assert!(!verdict.is_sound() && !verdict.is_incomplete_only());
    let missing = Fault::Missing {
        first: Index(3),
        last: Index(5),
    };
    assert_eq!(verdict.problems[0].what, missing);
}

#[test]
fn an_epoch_that_no_entry_opened_is_named() {
    let mut auditor = Auditor::new(|entry: &Entry, before: Before| {
        assert_eq!(before, Before::Whole);
        let mut told = facts(entry, before);
        told.push(AuditFact::Epoch(Epoch(1)));
        told
    });
    auditor.chunk("00000000000000000001-open", file(Index(1), &ledger(1)));
    let first = &auditor.finish().problems[0];
    let what = Fault::Header("sealed under an epoch that no entry before opened");
    assert_eq!((first.index, &first.what), (Index(11), &what));
}

#[test]
fn what_was_prepared_before_a_key_was_known_is_checked_again() {
    let [first, second] = files(&ledger(1));
    let mut auditor = Auditor::new(facts).cutting_at(2000).with_keys(keyring());
    let known = auditor.known();
    let early = [&first, &second].map(|(name, bytes)| Prepared::new(name, bytes.clone(), &known));
    early.into_iter().for_each(|file| auditor.take(file));
    let verdict = auditor.finish();
    assert_eq!(verdict, audit([first, second], true));
}
