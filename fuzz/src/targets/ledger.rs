//! What lies in the files of a ledger.

use std::cell::OnceCell;

use bytes::Bytes;
use crypto::{Certificate, CertificateRequest, Entropy, SigningKey, Zeroizing, issue};
use ledger::{
    AuditFact, Auditor, Content, Entry, Frontier, HEADER_BYTES, Header, Kind, SealKeyring, Sealed,
    Sealer, Tree, chunk, inspect, sign_root, snapshot, verify_receipt, verify_receipt_of_network,
    verify_root,
};
use types::{Digest, Epoch, Height, Index, Millis, NetworkId, NodeId, Term};

use crate::Pieces;

/// A node's key, a session key, and a certificate of the network for the key.
struct Known {
    key: SigningKey,
    keyring: SealKeyring,
    network: Certificate,
    endorsement: Certificate,
}

thread_local! {
    static KNOWN: OnceCell<Known> = const { OnceCell::new() };
}

fn with<R>(f: impl FnOnce(&Known) -> R) -> R {
    KNOWN.with(|known| f(known.get_or_init(known_keys)))
}

fn known_keys() -> Known {
    let mut entropy = Entropy::new(&[1; 32]);
    let (network_key, key) = (
        SigningKey::generate(&mut entropy),
        SigningKey::generate(&mut entropy),
    );
    let request = |common_name, authority| CertificateRequest {
        common_name,
        dns_names: vec![],
        not_before: Millis(0),
        not_after: Millis(4_000_000_000_000),
        authority,
        extensions: vec![],
        serial: [7; 16],
    };
    let network = issue(
        network_key.public(),
        &request("network", true),
        &network_key,
        None,
    );
    let endorsement = issue(
        key.public(),
        &request("node", false),
        &network_key,
        Some(&network),
    );
    let mut keyring = SealKeyring::new();
    keyring.insert(Epoch(0), Zeroizing::new([5; 32]));
    Known {
        key,
        keyring,
        network,
        endorsement,
    }
}

const NETWORK: NetworkId = NetworkId([3; 32]);
const NODE: NodeId = NodeId(1);

fn header(kind: Kind, index: u64, previous: Digest) -> Header {
    Header {
        kind,
        restarts: 0,
        term: Term(1),
        index: Index(index),
        epoch: Epoch(0),
        time: Millis(1_800_000_000_000 + index),
        sealer: NODE,
        previous,
    }
}

/// A short ledger, and the tree that its last entry signs.
fn ledger(known: &Known) -> (Vec<Sealed>, Tree) {
    let mut sealer = Sealer::new(NODE, known.key.public());
    let mut tree = Tree::new(Frontier::default());
    let mut all = Vec::new();
    let mut previous = Digest::ZERO;
    let kinds = [
        Kind::Genesis,
        Kind::TermOpened,
        Kind::Application {
            protocol: 0,
            height: Height(1),
        },
        Kind::Application {
            protocol: 0,
            height: Height(2),
        },
    ];
    for (number, kind) in (1u8..).zip(kinds) {
        let header = header(kind, u64::from(number), previous);
        let claims = [Digest([number; 32]), Digest([number + 100; 32])];
        let claims = if number < 3 { &[][..] } else { &claims[..] };
        let content = Content {
            claims,
            public: &[b"public"],
            private: &[b"private"],
        };
        let sealed = sealer
            .seal(&known.keyring, &header, content)
            .expect("the key is held");
        tree.append(header.index, sealed.leaves.iter().copied());
        previous = sealed.digest;
        all.push(sealed);
    }
    let header = header(Kind::Signature, 5, previous);
    let root = sign_root(&known.key, NETWORK, &header, tree.frontier());
    let content = Content {
        public: &[&root],
        ..Content::default()
    };
    all.push(
        sealer
            .seal(&known.keyring, &header, content)
            .expect("the key is held"),
    );
    (all, tree)
}

/// A header has one encoding; an entry that is read is the length that it says.
pub fn entry(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let peeked = Header::peek(data);
    let Ok(entry) = inspect(&bytes) else {
        return;
    };
    assert_eq!(peeked, Some(entry.header), "two readings of one header");
    let place = entry.header.place();
    assert_eq!(place, data[..place.len()], "two encodings of one header");
    assert!(HEADER_BYTES + 32 * entry.leaves.len() + entry.public.len() < data.len());
    let opened = with(|known| known.keyring.open(&bytes, known.key.public()).is_ok());
    // A root signature draws a random number, so the last entry is another one in every process.
    assert!(
        !opened || entry.header.kind == Kind::Signature || entries().iter().any(|e| e == data),
        "a forged entry opens"
    );
}

pub fn entries() -> Vec<Vec<u8>> {
    with(|known| {
        ledger(known)
            .0
            .iter()
            .map(|sealed| sealed.bytes.to_vec())
            .collect()
    })
}

/// What is sealed comes out again; with any bit of it changed, nothing does.
pub fn open(data: &[u8]) {
    let mut pieces = Pieces(data);
    let (at, mask, count) = (pieces.number(), pieces.byte(), pieces.byte() % 8);
    let claims: Vec<_> = (0..count).map(|n| Digest([n; 32])).collect();
    let public = pieces.piece();
    let private = pieces.0;
    with(|known| {
        let header = header(
            Kind::Application {
                protocol: 0,
                height: Height(1),
            },
            9,
            Digest([4; 32]),
        );
        let content = Content {
            claims: &claims,
            public: &[public],
            private: &[private],
        };
        let sealed = Sealer::new(NODE, known.key.public())
            .seal(&known.keyring, &header, content)
            .expect("short enough");
        let opened = known
            .keyring
            .open(&sealed.bytes, known.key.public())
            .expect("just sealed");
        assert_eq!((&opened.public[..], &opened.private[..]), (public, private));
        assert_eq!(opened.claims, claims);
        let mut changed = sealed.bytes.to_vec();
        let at = usize::try_from(at % changed.len() as u64).expect("below a length");
        if mask != 0 {
            changed[at] ^= mask;
            let opened = known.keyring.open(&changed.into(), known.key.public());
            assert!(opened.is_err(), "byte {at} may be changed by {mask:#x}");
        }
    });
}

pub fn contents() -> Vec<Vec<u8>> {
    vec![
        [&[0; 7][..], &[100, 1, 2, 0, 6], b"publicprivate"].concat(),
        vec![0; 12],
    ]
}

/// Entries lie behind one another and cover the file, up to the place that is complained of.
pub fn chunk(data: &[u8]) {
    let mut pieces = Pieces(data);
    if let Ok(text) = std::str::from_utf8(pieces.piece())
        && let Some(name) = chunk::Name::parse(text)
    {
        assert_eq!(name.to_string(), text, "two names of one chunk");
    }
    let file = Bytes::copy_from_slice(pieces.0);
    let Ok(reader) = chunk::Reader::new(file.clone()) else {
        return;
    };
    let mut again = chunk::begin(reader.first()).to_vec();
    for item in reader {
        match item {
            Ok((offset, entry)) => {
                assert_eq!(offset, again.len() as u64, "a gap between entries");
                chunk::append(&mut again, &entry);
            }
            Err(bad) => {
                assert_eq!(bad.offset, again.len() as u64, "complains of another place");
                return;
            }
        }
    }
    assert!(again == file, "read otherwise than it lies");
}

pub fn chunks() -> Vec<Vec<u8>> {
    let file = with(|known| {
        let mut file = chunk::begin(Index(1)).to_vec();
        for sealed in ledger(known).0 {
            chunk::append(&mut file, &sealed.bytes);
        }
        file
    });
    let prefix = |name: String| crate::pieces(&[name.as_bytes()]);
    let open = prefix(format!("{:020}-open", 1));
    let closed = prefix(format!("{:020}-{:020}", 1, 5));
    vec![
        [&open[..], &file].concat(),
        [&closed[..], &file].concat(),
        [&open[..], &file[..file.len() - 9]].concat(),
    ]
}

/// The audit of a file that anybody made ends with a verdict, with and without keys.
pub fn audit(data: &[u8]) {
    let mut pieces = Pieces(data);
    let name = String::from_utf8_lossy(pieces.piece()).into_owned();
    let file = Bytes::copy_from_slice(pieces.0);
    with(|known| {
        let facts = |entry: &Entry, _| {
            let _ = governance::facts_from_public(&entry.public);
            let key = *known.key.public();
            vec![AuditFact::NodeKey { node: NODE, key }]
        };
        let mut auditor = Auditor::new(facts).of_network(NETWORK);
        auditor.chunk(&name, file.clone());
        let blind = auditor.finish();
        let mut keyring = SealKeyring::new();
        keyring.insert(Epoch(0), Zeroizing::new([5; 32]));
        let mut auditor = Auditor::new(facts).of_network(NETWORK).with_keys(keyring);
        auditor.chunk(&name, file);
        let seeing = auditor.finish();
        assert!(
            seeing.problems.len() >= blind.problems.len(),
            "keys hide a problem"
        );
    });
}

/// Only what the node itself signed for this place is good.
pub fn root(data: &[u8]) {
    with(|known| {
        let header = header(Kind::Signature, 5, Digest([9; 32]));
        if let Ok(found) = verify_root(known.key.public(), &header, data) {
            assert_eq!(found.statement.index, header.index);
            assert_eq!(found.statement.previous, header.previous);
            assert_eq!(found.statement.size, found.frontier.len());
        }
    });
}

pub fn roots() -> Vec<Vec<u8>> {
    with(|known| {
        let header = header(Kind::Signature, 5, Digest([9; 32]));
        let frontier = ledger(known).1.frontier().clone();
        vec![sign_root(&known.key, NETWORK, &header, &frontier)]
    })
}

const CLAIM: Digest = Digest([103; 32]);

/// Only a receipt over this claim, of this node's key, is good.
pub fn receipt(data: &[u8]) {
    with(|known| {
        let own = verify_receipt(data, known.key.public(), CLAIM);
        let endorsed = verify_receipt_of_network(data, &known.network, CLAIM);
        for found in own.iter().chain(&endorsed) {
            assert_eq!(
                (found.statement.network, found.leaf.claim),
                (NETWORK, CLAIM)
            );
        }
        let other = verify_receipt(data, known.key.public(), Digest([77; 32]));
        assert!(own.is_err() || other.is_err(), "good for two claims");
    });
}

pub fn receipts() -> Vec<Vec<u8>> {
    with(|known| {
        let (entries, tree) = ledger(known);
        let last = inspect(&entries[4].bytes).expect("sealed here");
        let root = verify_root(known.key.public(), &last.header, &last.public).expect("own");
        let header = inspect(&entries[2].bytes).expect("sealed here").header;
        let evidence = known.keyring.evidence(&header).expect("the key is held");
        let leaf = evidence.leaf(&header, 0, CLAIM);
        let path = tree.path(Index(3), 0, root.statement.size).expect("kept");
        [None, Some(known.endorsement.der())]
            .map(|endorsement| {
                ledger::receipt(&root.cose, &leaf, &path, endorsement).expect("own signature")
            })
            .to_vec()
    })
}

/// A snapshot file is read up to what is wrong with it; a chunk opens only as it was sealed.
pub fn snapshot_file(data: &[u8]) {
    let mut pieces = Pieces(data);
    let statement = pieces.piece();
    if let Ok(read) = snapshot::Statement::from_cbor(statement, Index(9)) {
        assert_eq!(read.to_cbor(), statement, "two encodings of one statement");
    }
    let mut file = Pieces(pieces.0);
    let mut begin = [0; snapshot::BEGIN_BYTES];
    let taken = file.take(begin.len());
    begin[..taken.len()].copy_from_slice(taken);
    let Ok(mut framing) = snapshot::Framing::new(Index(5), &begin) else {
        return;
    };
    assert_eq!(begin, snapshot::begin(Index(5)));
    let mut chunks = 0;
    while let Some(four) = file.take(4).first_chunk::<4>() {
        let Ok(length) = framing.length(*four) else {
            return;
        };
        let chunk = file.take(length);
        if framing.chunk(chunk).is_err() {
            return;
        }
        if let Ok((_, plaintext)) =
            with(|known| snapshot::open_chunk(&known.keyring, Index(5), chunks, chunk))
        {
            assert!(
                snapshot_files().iter().any(|f| f.ends_with(chunk)),
                "a forged chunk opens"
            );
            assert!(plaintext.len() < chunk.len());
        }
        chunks += 1;
    }
    if let Ok(count) = framing.finish() {
        assert_eq!(count, chunks);
    }
}

pub fn snapshot_files() -> Vec<Vec<u8>> {
    with(|known| {
        let digesting = snapshot::Digesting::new(&known.keyring, Epoch(0), Index(5)).expect("held");
        let statement = digesting.update(b"the state").finish().to_cbor();
        let mut sealing =
            snapshot::Sealing::new(&known.keyring, Epoch(0), known.key.public(), Index(5))
                .expect("held");
        let chunk = snapshot::seal_chunk(&mut sealing, snapshot::Part::Last, b"the state");
        let length = u32::try_from(chunk.len()).expect("short").to_be_bytes();
        let file = [&snapshot::begin(Index(5))[..], &length, &chunk].concat();
        vec![[&crate::pieces(&[&statement])[..], &file].concat()]
    })
}
