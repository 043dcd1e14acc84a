//! docs/formats.md says what the code does: its numbers and its test vectors.

mod support;

use bytes::Bytes;
use crypto::{Context, PublicKey, sha256};
use ledger::{
    Content, Frontier, HEADER_BYTES, Header, Kind, Leaf, Sealed, Sealer, Tree, chunk, inspect,
    leaves, receipt, sign_root, snapshot, verify_receipt, verify_root,
};
use support::{NETWORK, key, keyring};
use types::{Digest, Epoch, Height, Index, Millis, NodeId, Term, limits};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    std::fs::read_to_string(path).expect("docs/formats.md is part of the repository")
}

/// The bytes of the block "```hex NAME".
fn vector(name: &str) -> Vec<u8> {
    let text = document();
    let (_, block) = text
        .split_once(&format!("```hex {name}\n"))
        .expect("the page has this vector");
    let (block, _) = block.split_once("```").expect("a block ends");
    hex::decode(block.split_whitespace().collect::<String>()).expect("hexadecimal")
}

fn same(name: &str, bytes: &[u8]) {
    assert_eq!(
        hex::encode(vector(name)),
        hex::encode(bytes),
        "vector {name} of docs/formats.md"
    );
}

/// Rows "| offset | length | ..." of the table after this heading, summed up.
fn table_bytes(heading: &str) -> usize {
    let text = document();
    let (_, section) = text.split_once(heading).expect("the page has this heading");
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .skip(2);
    let mut end = 0;
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1].parse::<usize>().expect("an offset"), end, "{row}");
        end += cells[2].parse::<usize>().expect("a length");
    }
    end
}

fn header() -> Header {
    Header {
        kind: Kind::Application {
            protocol: 0,
            height: Height(3),
        },
        restarts: 0,
        term: Term(2),
        index: Index(5),
        epoch: Epoch(1),
        time: Millis(1_700_000_000_000),
        sealer: NodeId(1),
        previous: Digest([0x11; 32]),
    }
}

fn entry() -> Sealed {
    let content = Content {
        claims: &[sha256(b"claim")],
        public: &[b"public"],
        private: &[b"write set"],
    };
    Sealer::new(NodeId(1), key(1).public())
        .seal(&keyring(), &header(), content)
        .expect("held")
}

/// A tree of three leaves: two of entry 4, and that of the entry above.
fn tree() -> Tree {
    let mut tree = Tree::default();
    tree.append(Index(4), [Digest([0; 32]), Digest([1; 32])]);
    tree.append(Index(5), entry().leaves);
    tree
}

fn leaf() -> Leaf {
    keyring()
        .evidence(&header())
        .expect("held")
        .leaf(&header(), 0, sha256(b"claim"))
}

#[test]
fn the_entry_is_the_vector() {
    assert_eq!(table_bytes("### Header"), HEADER_BYTES);
    let sealed = entry();
    same("vn-public-key", key(1).public().as_sec1());
    same("header", &sealed.bytes[..HEADER_BYTES]);
    same("entry", &sealed.bytes);
    same("entry-digest", &sealed.digest.0);
    let bytes = Bytes::from(vector("entry"));
    let opened = keyring()
        .open(&bytes, key(1).public())
        .expect("the vector opens");
    assert_eq!(&*opened.private, b"write set");
}

#[test]
fn the_leaf_and_the_tree_are_the_vectors() {
    let leaf = leaf();
    same("internal", &leaf.internal().0);
    same("leaf", &leaf.digest().0);
    assert!(document().contains(&leaf.evidence), "{}", leaf.evidence);
    let evidence = keyring().evidence(&header()).expect("held");
    assert!(leaves(&evidence, &header(), &[sha256(b"claim")]).eq([leaf.digest()]));
    let mut frontier = Frontier::default();
    (0..3).for_each(|n| frontier.append(Digest([n; 32])));
    same("root", &frontier.root().0);
}

#[test]
fn the_chunk_is_the_vector() {
    assert_eq!(table_bytes("## Chunk files"), chunk::BEGIN_BYTES);
    let mut bytes = chunk::begin(Index(5)).to_vec();
    chunk::append(&mut bytes, &[0xee; HEADER_BYTES]);
    same("chunk", &bytes[..24]);
}

#[test]
fn the_snapshot_is_the_vector() {
    assert_eq!(table_bytes("## Snapshot files"), snapshot::BEGIN_BYTES);
    let head = table_bytes("The plaintext is cut into pieces of 1 MiB");
    assert_eq!(head, snapshot::HEADER_BYTES);
    let (index, plaintext) = (Index(5), b"the state");
    let digesting = snapshot::Digesting::new(&keyring(), Epoch(1), index).expect("held");
    let statement = digesting.update(plaintext).finish();
    same("snapshot-digest", &statement.to_cbor());
    let vector = vector("snapshot-digest");
    assert_eq!(
        snapshot::Statement::from_cbor(&vector, Index(6)),
        Ok(statement)
    );

    let mut sealing =
        snapshot::Sealing::new(&keyring(), Epoch(1), key(1).public(), index).expect("held");
    let chunk = snapshot::seal_chunk(&mut sealing, snapshot::Part::Last, plaintext);
    same("snapshot-chunk", &chunk);
    let opened = snapshot::open_chunk(&keyring(), index, 0, &self::vector("snapshot-chunk"));
    assert_eq!(opened, Ok((snapshot::Part::Last, plaintext.to_vec())));
}

#[test]
fn the_receipt_is_the_vector_but_for_the_signature() {
    let vector = vector("receipt");
    let public = PublicKey::from_sec1(&self::vector("vn-public-key")).expect("a point");
    let proved = verify_receipt(&vector, &public, sha256(b"claim")).expect("the vector verifies");
    assert_eq!((proved.leaf, proved.statement.network), (leaf(), NETWORK));

    // ECDSA draws a random number: a receipt made now differs in its last 64 bytes only.
    let tree = tree();
    let place = Header {
        kind: Kind::Signature,
        index: Index(6),
        previous: entry().digest,
        ..header()
    };
    let body = sign_root(&key(1), NETWORK, &place, tree.frontier());
    let root = verify_root(&public, &place, &body).expect("just signed");
    let path = tree.path(Index(5), 0, root.statement.size).expect("kept");
    let fresh = receipt(&root.cose, &leaf(), &path, None).expect("own object");
    let unsigned = fresh.len() - 64;
    assert_eq!(
        hex::encode(&fresh[..unsigned]),
        hex::encode(&vector[..unsigned]),
        "{}",
        hex::encode(&fresh)
    );
}

#[test]
fn the_numbers_of_the_page_are_the_code_s() {
    let page = document();
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    for (what, number) in [
        (
            "a chunk ends with the entry that brings it to",
            mebibytes(chunk::CLOSE_BYTES),
        ),
        (
            "an entry has at most",
            mebibytes(limits::ENTRY_BYTES_MAX as u64),
        ),
        (
            "at most",
            format!("{} transactions", limits::BATCH_UNITS_MAX),
        ),
        (
            "cut into pieces of",
            mebibytes(limits::SNAPSHOT_CHUNK_BYTES as u64),
        ),
        (
            "a receipt has at most",
            format!("{} KiB", ledger::RECEIPT_BYTES_MAX >> 10),
        ),
    ] {
        let sentence = format!("{what} {number}");
        assert!(page.contains(&sentence), "docs/formats.md says: {sentence}");
    }
    for context in [
        Context::LedgerSeal,
        Context::CommitEvidence,
        Context::EntryDigest,
        Context::LedgerLeaf,
        Context::LedgerRoot,
        Context::SnapshotSeal,
        Context::SnapshotDigest,
    ] {
        let text = std::str::from_utf8(context.bytes()).expect("ASCII");
        assert!(page.contains(&format!("`{text}`")), "{text}");
    }
    let entry = inspect(&entry().bytes).expect("just sealed");
    assert_eq!(entry.leaves.len(), 1);
}
