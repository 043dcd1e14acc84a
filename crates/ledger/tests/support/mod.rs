//! A ledger from a script, for the tests: seals entries, signs roots, writes chunks.

#![allow(dead_code)] // each test binary uses its part

use bytes::Bytes;
use crypto::{Entropy, SigningKey, Zeroizing, sha256};
use ledger::{Content, Header, Kind, SealKeyring, Sealed, Sealer, Tree, chunk, sign_root};
use types::{Digest, Epoch, Height, Index, Millis, NetworkId, NodeId, Term};

pub const NETWORK: NetworkId = NetworkId([7; 32]);

pub fn key(seed: u8) -> SigningKey {
    SigningKey::generate(&mut Entropy::new(&[seed; 32]))
}

pub fn keyring() -> SealKeyring {
    let mut keyring = SealKeyring::new();
    keyring.insert(Epoch(1), Zeroizing::new([1; 32]));
    keyring.insert(Epoch(2), Zeroizing::new([2; 32]));
    keyring
}

pub fn claim(n: u64) -> Digest {
    sha256(&n.to_be_bytes())
}

/// Writes what a leader would. Node 1 seals; its key is in the public body of the genesis.
pub struct Writer {
    pub key: SigningKey,
    pub keyring: SealKeyring,
    pub sealer: Sealer,
    pub tree: Tree,
    pub header: Header,
    pub entries: Vec<Bytes>,
    pub claims: u64,
}

impl Writer {
    pub fn new(seed: u8) -> Self {
        let key = key(seed);
        let mut writer = Self {
            keyring: keyring(),
            sealer: Sealer::new(NodeId(1), key.public()),
            tree: Tree::default(),
            header: Header {
                kind: Kind::Genesis,
                restarts: 0,
                term: Term(1),
                index: Index(1),
                epoch: Epoch(1),
                time: Millis(1_700_000_000_000),
                sealer: NodeId(1),
                previous: Digest::ZERO,
            },
            entries: Vec::new(),
            claims: 0,
            key,
        };
        let point = *writer.key.public().as_sec1();
        writer.put(Kind::Genesis, 1, &point, b"constitution");
        writer
    }

    /// Appends an entry of `units` transactions.
    pub fn put(&mut self, kind: Kind, units: u64, public: &[u8], private: &[u8]) -> Sealed {
        self.header.kind = kind;
        let claims: Vec<_> = (self.claims..self.claims + units).map(claim).collect();
        self.claims += units;
        let content = Content {
            claims: &claims,
            public: &[public],
            private: &[private],
        };
        let sealed = self
            .sealer
            .seal(&self.keyring, &self.header, content)
            .expect("the key is held");
        self.tree
            .append(self.header.index, sealed.leaves.iter().copied());
        self.entries.push(sealed.bytes.clone());
        self.header.index = self.header.index.next();
        self.header.time = self.header.time.plus(5);
        self.header.previous = sealed.digest;
        sealed
    }

    pub fn batch(&mut self, units: u64) -> Sealed {
        let height = Height(self.header.index.0);
        self.put(
            Kind::Application {
                protocol: 0,
                height,
            },
            units,
            b"",
            b"write sets",
        )
    }

    pub fn sign(&mut self) -> Sealed {
        self.header.kind = Kind::Signature;
        let body = sign_root(&self.key, NETWORK, &self.header, self.tree.frontier());
        self.put(Kind::Signature, 0, &body, b"")
    }

    pub fn open_term(&mut self) {
        self.header.term = self.header.term.next();
        self.put(Kind::TermOpened, 0, b"", b"");
    }
}

/// One chunk file of entries that begin at `first`.
pub fn file(first: Index, entries: &[Bytes]) -> Bytes {
    let mut bytes = chunk::begin(first).to_vec();
    for entry in entries {
        chunk::append(&mut bytes, entry);
    }
    bytes.into()
}
