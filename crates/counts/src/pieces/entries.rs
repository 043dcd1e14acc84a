//! Entries of the ledger: sealed by a leader, opened by everybody.

use bytes::Bytes;
use crypto::{Entropy, SigningKey, Zeroizing, sha256};
use ledger::{Content, Header, Kind, SealKeyring, Sealer, Tree};
use types::{Digest, Epoch, Height, Index, Millis, NodeId, Term};

use super::Piece;

const CLAIMS: u64 = 100;
const PRIVATE_BYTES: usize = 32 << 10;

/// A leader seals one entry after the other.
pub struct Seal {
    key: SigningKey,
    keyring: SealKeyring,
    sealer: Sealer,
    tree: Tree,
    header: Header,
    claims: Vec<Digest>,
    private: Vec<u8>,
    sealed: Bytes,
}

impl Seal {
    pub fn new() -> Self {
        let key = SigningKey::generate(&mut Entropy::new(&[6; 32]));
        let mut keyring = SealKeyring::new();
        keyring.insert(Epoch(1), Zeroizing::new([1; 32]));
        Self {
            keyring,
            sealer: Sealer::new(NodeId(1), key.public()),
            tree: Tree::default(),
            header: Header {
                kind: Kind::Application {
                    protocol: 0,
                    height: Height(0),
                },
                restarts: 0,
                term: Term(1),
                index: Index(0),
                epoch: Epoch(1),
                time: Millis(1_700_000_000_000),
                sealer: NodeId(1),
                previous: Digest::ZERO,
            },
            claims: (0..CLAIMS).map(|n| sha256(&n.to_be_bytes())).collect(),
            private: vec![0x5a; PRIVATE_BYTES],
            sealed: Bytes::new(),
            key,
        }
    }
}

impl Piece for Seal {
    fn prepare(&mut self) {
        self.header.index = Index(self.header.index.0 + 1);
    }

    fn run(&mut self) {
        let content = Content {
            claims: &self.claims,
            public: &[],
            private: &[&self.private],
        };
        let sealed = self
            .sealer
            .seal(&self.keyring, &self.header, content)
            .expect("the key is held");
        self.header.previous = sealed.digest;
        self.tree.append(self.header.index, sealed.leaves);
        self.sealed = sealed.bytes;
    }
}

/// A follower opens them.
pub struct Open {
    leader: Seal,
}

impl Open {
    pub fn new() -> Self {
        Self {
            leader: Seal::new(),
        }
    }
}

impl Piece for Open {
    fn prepare(&mut self) {
        self.leader.prepare();
        self.leader.run();
    }

    fn run(&mut self) {
        let leader = &self.leader;
        let opened = leader.keyring.open(&leader.sealed, leader.key.public());
        assert_eq!(opened.expect("as sealed").private.len(), PRIVATE_BYTES);
    }
}
