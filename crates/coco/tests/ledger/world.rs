//! A ledger as a network of one node writes it, from seeds: with a constitution, a genesis that
//! holds, batches, a signed root behind each, snapshots and the files of a host.

#![allow(dead_code)] // each user takes its part

use std::fs;
use std::path::{Path, PathBuf};

use crypto::{Certificate, CertificateRequest, Entropy, SigningKey, Zeroizing, issue, sha256};
use governance::{
    Access, Actor, AdmitNode, Command, Constitution, Genesis, Listed, NetworkIdentity, NodeSlot,
    NodeTuple, Protocol, Role, Settings, Standing, State, Visibility, Voting,
};
use ledger::snapshot::{self, Digesting, Part, Sealing};
use ledger::{Content, Header, Kind, SealKeyring, Sealer, Tree, chunk, sign_root};
use tee::software::Statement;
use tee::{
    Accepted, CodeIdentity, CodeManifest, CodeState, Manifest, Platform, Purpose, Root, Strength,
};
use types::{Digest, Epoch, Height, Index, Millis, NodeId, Term};

const DAY: u64 = 86_400_000;
const NOW: Millis = Millis(50 * DAY);
const MEASUREMENT: [u8; 48] = [3; 48];

fn key(seed: u8) -> SigningKey {
    SigningKey::generate(&mut Entropy::new(&[seed; 32]))
}

fn holder(
    name: &str,
    seed: u8,
    parent: Option<(&SigningKey, &Certificate)>,
) -> (SigningKey, Certificate) {
    let key = key(seed);
    let request = CertificateRequest {
        common_name: name,
        dns_names: vec![],
        not_before: Millis(DAY),
        not_after: Millis(100 * DAY),
        authority: parent.is_none(),
        extensions: vec![],
        serial: [seed; 16],
    };
    let (signer, above) = parent.map_or((&key, None), |(key, above)| (key, Some(above)));
    let certificate = issue(key.public(), &request, signer, above);
    (key, certificate)
}

/// How much is written, and how.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub transactions: u64,
    /// Transactions of one entry.
    pub batch: u64,
    /// Bytes of the private part for each.
    pub bytes: usize,
    /// Entries between two snapshots; 0 for none.
    pub snapshot_every: u64,
    pub visibility: Visibility,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            transactions: 200,
            batch: 5,
            bytes: 40,
            snapshot_every: 30,
            visibility: Visibility::Public,
        }
    }
}

/// Writes a node's files, entry by entry.
pub struct Writer {
    directory: PathBuf,
    key: SigningKey,
    keyring: SealKeyring,
    sealer: Sealer,
    tree: Tree,
    header: Header,
    constitution: Constitution,
    /// The chunk that is written to.
    chunk: Vec<u8>,
    first: Index,
    pub snapshots: Vec<Index>,
}

impl Writer {
    /// Makes `directory` with a constitution and the genesis.
    pub fn new(directory: &Path, visibility: Visibility) -> Self {
        let (owner, certificate) = holder("ada", 1, None);
        let (root_key, root) = holder("platform root", 4, None);
        let (launcher, launched) = holder("launcher", 5, Some((&root_key, &root)));
        let (network, identity) = holder("network", 6, None);
        let constitution = Constitution {
            network: "generated".into(),
            genesis_time_ms: NOW,
            visibility,
            settings: Settings::default(),
            voting: Voting::default(),
            standing: Standing::default(),
            policies: Default::default(),
            succeeds: None,
            actors: vec![Actor {
                name: "ada".into(),
                roles: [Role::Member, Role::Participant].into(),
                auditor: false,
                certificates: vec![Listed(certificate.clone())],
                share_key: None,
            }],
            nodes: vec![NodeSlot {
                owner: "ada".into(),
                address: "ada.example:9000".into(),
            }],
            protocols: vec![Protocol {
                name: "kv".into(),
                version: 1,
                settings_digest: Digest([8; 32]),
                access: Access::Transparent,
                settings: Default::default(),
            }],
            code: CodeManifest {
                images: [("manager", MEASUREMENT), ("worker/kv", [4; 48])]
                    .map(|(name, measurement)| CodeIdentity {
                        name: name.into(),
                        version: "1".into(),
                        platform: Platform::Software,
                        measurement: measurement.to_vec(),
                        state: CodeState::Allowed,
                    })
                    .to_vec(),
            },
            tee: Manifest {
                strength_min: Strength::Software,
                accepted: vec![Accepted::strict(
                    Platform::Software,
                    vec![Root(root.der().to_vec())],
                )],
                evidence_age_max_ms: 60_000,
            },
        };
        let node_key = key(100);
        let tuple = NodeTuple {
            network: constitution.network_id(),
            owner: "ada".into(),
            address: "ada.example:9000".into(),
            key: *node_key.public(),
            constitution: constitution.digest(),
        };
        let statement = Statement {
            measurement: MEASUREMENT,
            report_data: tee::report_data(
                &tuple.network,
                Purpose::Genesis,
                &tuple.key.fingerprint(),
                b"",
            ),
            launch_data: vec![],
            instance: [7; 16],
            svn: 1,
            time: NOW,
            missing: vec![],
            shared_user: false,
        };
        let node = AdmitNode {
            id: State::FIRST_NODE,
            replaces: None,
            tuple: tuple.sign(&owner),
            chain: vec![Listed(certificate)],
            evidence: tee::software::sign(&launcher, &[launched], &statement),
            endorsements: vec![],
            challenge: vec![],
        };
        let genesis = Command::Genesis(Box::new(Genesis {
            constitution: constitution.clone(),
            identity: NetworkIdentity::new(identity, &network).expect("its own key"),
            node,
        }));
        fs::create_dir_all(directory.join("ledger")).expect("a directory of the test");
        fs::write(directory.join("constitution.cbor"), constitution.to_cbor()).expect("as above");
        let mut keyring = SealKeyring::new();
        keyring.insert(Epoch(1), Zeroizing::new([1; 32]));
        let mut writer = Self {
            directory: directory.to_owned(),
            sealer: Sealer::new(NodeId(1), node_key.public()),
            key: node_key,
            keyring,
            tree: Tree::default(),
            header: Header {
                kind: Kind::Genesis,
                restarts: 0,
                term: Term(1),
                index: Index(1),
                epoch: Epoch(1),
                time: NOW,
                sealer: NodeId(1),
                previous: Digest::ZERO,
            },
            constitution,
            chunk: chunk::begin(Index(1)).to_vec(),
            first: Index(1),
            snapshots: Vec::new(),
        };
        writer.put(Kind::Genesis, 0, &genesis.public(), &genesis.private());
        writer
    }

    fn put(&mut self, kind: Kind, units: u64, public: &[u8], private: &[u8]) {
        self.header.kind = kind;
        let index = self.header.index;
        let claims: Vec<Digest> = (0..units)
            .map(|unit| sha256(&(index.0 << 16 | unit).to_be_bytes()))
            .collect();
        let content = Content {
            claims: &claims,
            public: &[public],
            private: &[private],
        };
        let sealed = self
            .sealer
            .seal(&self.keyring, &self.header, content)
            .expect("the key is held");
        self.tree.append(index, sealed.leaves.iter().copied());
        self.tree.forget(index);
        chunk::append(&mut self.chunk, &sealed.bytes);
        self.header.index = index.next();
        self.header.time = self.header.time.plus(1);
        self.header.previous = sealed.digest;
        if self.chunk.len() as u64 >= chunk::CLOSE_BYTES || kind == Kind::Snapshot {
            self.cut(Some(index));
        }
    }

    fn cut(&mut self, last: Option<Index>) {
        let name = chunk::Name {
            first: self.first,
            last,
        };
        let open = chunk::Name { last: None, ..name }.to_string();
        let ledger = self.directory.join("ledger");
        let _ = fs::remove_file(ledger.join(open));
        fs::write(ledger.join(name.to_string()), &self.chunk).expect("a file of the test");
        if last.is_some() {
            self.first = self.header.index;
            self.chunk = chunk::begin(self.first).to_vec();
        }
    }

    fn snapshot(&mut self) {
        let index = self.header.index;
        self.put(Kind::Snapshot, 0, b"", b"");
        let state = vec![9; types::limits::SNAPSHOT_CHUNK_BYTES + 1000];
        let digesting = Digesting::new(&self.keyring, Epoch(1), index).expect("held");
        let statement = digesting.update(&state).finish();
        let mut sealing =
            Sealing::new(&self.keyring, Epoch(1), self.key.public(), index).expect("held");
        let (full, rest) = state.split_at(types::limits::SNAPSHOT_CHUNK_BYTES);
        let mut file = snapshot::begin(index).to_vec();
        for (part, piece) in [(Part::Inner, full), (Part::Last, rest)] {
            let chunk = snapshot::seal_chunk(&mut sealing, part, piece);
            file.extend_from_slice(&u32::try_from(chunk.len()).expect("a MiB").to_be_bytes());
            file.extend_from_slice(&chunk);
        }
        let snapshots = self.directory.join("snapshots");
        fs::create_dir_all(&snapshots).expect("a directory of the test");
        fs::write(snapshots.join(format!("{:020}", index.0)), file).expect("as above");
        self.put(Kind::SnapshotDigest, 0, &statement.to_cbor(), b"");
        self.snapshots.push(index);
    }

    /// Appends transactions, with a signed root behind each batch.
    pub fn run(&mut self, plan: &Plan) {
        let mut left = plan.transactions;
        let mut since = 0;
        while left > 0 {
            let units = plan.batch.min(left);
            left -= units;
            let index = self.header.index;
            let kind = Kind::Application {
                protocol: 0,
                height: Height(index.0),
            };
            let private = vec![index.0 as u8; plan.bytes * units as usize]; // any bytes, some
            self.put(kind, units, b"", &private);
            self.header.kind = Kind::Signature;
            let frontier = self.tree.frontier();
            let network = self.constitution.network_id();
            let body = sign_root(&self.key, network, &self.header, frontier);
            self.put(Kind::Signature, 0, &body, b"");
            since += 2;
            if plan.snapshot_every > 0 && since >= plan.snapshot_every && left > 0 {
                since = 0;
                self.snapshot();
            }
        }
        self.cut(None);
    }

    pub fn last(&self) -> Index {
        self.header.index.previous()
    }
}

/// A whole ledger below `directory`.
pub fn generate(directory: &Path, plan: &Plan) -> Writer {
    let mut writer = Writer::new(directory, plan.visibility);
    writer.run(plan);
    writer
}
