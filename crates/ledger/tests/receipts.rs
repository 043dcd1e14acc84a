//! Receipts end to end: from a sealed batch to what an outsider can check.

mod support;

use crypto::{CertificateRequest, issue};
use ledger::{
    BadReceipt, BadRoot, Kind, Tree, inspect, receipt, verify_receipt, verify_receipt_of_network,
    verify_root,
};
use proptest::prelude::*;
use support::{Writer, claim, key};
use types::{Index, Millis};

/// A signed ledger, its receipt for transaction 5 (entry 3, position 2), and its claim.
fn signed() -> (Writer, Vec<u8>) {
    let mut writer = Writer::new(1);
    writer.batch(2);
    writer.batch(4);
    writer.batch(3);
    let signature = writer.sign();
    let entry = inspect(&signature.bytes).expect("just sealed");
    assert_eq!(entry.header.kind, Kind::Signature);
    let root = verify_root(writer.key.public(), &entry.header, &entry.public).expect("just signed");
    assert_eq!(root.frontier.len(), 10);

    let batch = writer
        .keyring
        .open(&writer.entries[2], writer.key.public())
        .expect("just sealed");
    let leaf = writer.keyring.evidence(&batch.header).expect("held").leaf(
        &batch.header,
        2,
        batch.claims[2],
    );
    assert_eq!(leaf.digest(), batch.leaves.to_vec()[2]);
    let path = writer
        .tree
        .path(Index(3), 2, root.statement.size)
        .expect("kept");
    let bytes = receipt(&root.cose, &leaf, &path, None).expect("own object");
    (writer, bytes)
}

#[test]
fn a_receipt_proves_claim_place_and_time() {
    let (writer, bytes) = signed();
    let proved = verify_receipt(&bytes, writer.key.public(), claim(5)).expect("own receipt");
    assert_eq!(
        (proved.leaf.header.index, proved.leaf.position),
        (Index(3), 2)
    );
    assert_eq!(proved.leaf.header.time, Millis(1_700_000_000_010));
    assert_eq!(
        (proved.statement.index, proved.statement.size),
        (Index(5), 10)
    );
    assert_eq!(proved.statement.network, support::NETWORK);
    assert_eq!(
        verify_receipt(&bytes, writer.key.public(), claim(4)),
        Err(BadReceipt::Claim)
    );
    assert!(verify_receipt(&bytes, key(2).public(), claim(5)).is_err());
}

#[test]
fn any_flipped_bit_of_a_receipt_is_refused_or_changes_nothing() {
    let (writer, bytes) = signed();
    let proved = verify_receipt(&bytes, writer.key.public(), claim(5)).expect("own receipt");
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = verify_receipt(&changed, writer.key.public(), claim(5)) {
            assert_eq!(other, proved, "bit {bit} changed what is proved");
        }
    }
}

#[test]
fn any_flipped_bit_of_a_signature_entry_s_body_is_refused() {
    let (writer, _) = signed();
    let entry = inspect(writer.entries.last().expect("signed")).expect("sealed");
    for bit in 0..entry.public.len() * 8 {
        let mut body = entry.public.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        assert!(
            verify_root(writer.key.public(), &entry.header, &body).is_err(),
            "bit {bit}"
        );
    }
    let elsewhere = ledger::Header {
        index: Index(6),
        ..entry.header
    };
    assert_eq!(
        verify_root(writer.key.public(), &elsewhere, &entry.public),
        Err(BadRoot::Header("the index"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_verifier_panic(bytes: Vec<u8>, at in 0usize..600, cut in 0usize..600) {
        let (writer, mut receipt) = signed();
        let entry = inspect(writer.entries.last().expect("signed")).expect("sealed");
        let mut body = entry.public.to_vec();
        for hostile in [&mut receipt, &mut body] {
            let (at, cut) = (at.min(hostile.len()), cut.min(hostile.len()));
            hostile.splice(at.min(cut)..at.max(cut), bytes.iter().copied());
        }
        let _ = verify_receipt(&receipt, writer.key.public(), claim(5));
        let _ = verify_receipt(&bytes, writer.key.public(), claim(5));
        let _ = verify_root(writer.key.public(), &entry.header, &body);
        let _ = verify_root(writer.key.public(), &entry.header, &bytes);
    }
}

#[test]
fn a_receipt_from_files_needs_only_the_entries_between_two_signatures() {
    let (mut writer, _) = signed();
    let first = inspect(writer.entries.last().expect("signed")).expect("sealed");
    let first = verify_root(writer.key.public(), &first.header, &first.public).expect("signed");
    writer.batch(7);
    writer.batch(1);
    let second = inspect(&writer.sign().bytes).expect("sealed");
    let second = verify_root(writer.key.public(), &second.header, &second.public).expect("signed");

    let mut tree = Tree::new(first.frontier);
    for entry in &writer.entries[5..7] {
        let entry = inspect(entry).expect("sealed");
        tree.append(entry.header.index, entry.leaves.iter());
    }
    assert_eq!(tree.frontier(), &second.frontier);
    let batch = inspect(&writer.entries[5]).expect("sealed");
    let evidence = writer.keyring.evidence(&batch.header).expect("held");
    let leaf = evidence.leaf(&batch.header, 6, claim(16));
    let path = tree.path(Index(6), 6, second.statement.size).expect("kept");
    let bytes = receipt(&second.cose, &leaf, &path, None).expect("own object");
    verify_receipt(&bytes, writer.key.public(), claim(16)).expect("a good receipt");
}

#[test]
fn who_knows_only_the_network_needs_its_endorsement_of_the_signer() {
    let (writer, bare) = signed();
    let time = |ms: u64| Millis(1_700_000_000_000 + ms);
    let request = |name, from, to, authority| CertificateRequest {
        common_name: name,
        dns_names: Vec::new(),
        not_before: time(from),
        not_after: time(to),
        authority,
        extensions: Vec::new(),
        serial: [1; 16],
    };
    let network_key = key(9);
    let network = issue(
        network_key.public(),
        &request("network", 0, 9_000_000, true),
        &network_key,
        None,
    );
    let node = request("vn", 0, 9_000_000, false);
    let endorsed = issue(writer.key.public(), &node, &network_key, Some(&network));
    let foreign_key = key(10);
    let foreign = issue(
        foreign_key.public(),
        &request("network", 0, 9_000_000, true),
        &foreign_key,
        None,
    );
    let with = |der: Option<&[u8]>| {
        let entry = inspect(&writer.entries[4]).expect("sealed");
        let root = verify_root(writer.key.public(), &entry.header, &entry.public).expect("signed");
        let batch = inspect(&writer.entries[2]).expect("sealed");
        let leaf =
            writer
                .keyring
                .evidence(&batch.header)
                .expect("held")
                .leaf(&batch.header, 2, claim(5));
        let path = writer.tree.path(Index(3), 2, 10).expect("kept");
        receipt(&root.cose, &leaf, &path, der).expect("own object")
    };
    let good = with(Some(endorsed.der()));
    verify_receipt_of_network(&good, &network, claim(5)).expect("endorsed");
    assert!(verify_receipt_of_network(&good, &foreign, claim(5)).is_err());
    assert!(matches!(
        verify_receipt_of_network(&bare, &network, claim(5)),
        Err(BadReceipt::Shape(_))
    ));
    let early = issue(
        writer.key.public(),
        &request("vn", 5_000_000, 9_000_000, false),
        &network_key,
        Some(&network),
    );
    assert!(matches!(
        verify_receipt_of_network(&with(Some(early.der())), &network, claim(5)),
        Err(BadReceipt::Endorsement(_))
    ));
}
