//! A ledger as a network of one node writes it, from seeds: with a constitution, a genesis that
//! holds, batches, a signed root behind each, snapshots and the files of a host.

#![allow(dead_code)] // each user takes its part

use std::fs;
use std::path::{Path, PathBuf};

use crypto::{
    Certificate, CertificateRequest, Context, Entropy, SigningKey, Zeroizing, issue, sha256,
};
use governance::{
    Access, Actor, AdmitNode, Ballot, Change, Choice, Command, Constitution, Draft, Genesis,
    Listed, NetworkIdentity, NodeSlot, NodeTuple, Protocol, Recorded, Role, Settings,
    SignedMessage, Standing, State, Visibility, Voting, Window,
};
use ledger::snapshot::{self, Digesting, Part, Sealing};
use ledger::{Content, Header, Kind, SealKeyring, Sealer, Tree, chunk, sign_root};
use tee::software::Statement;
use tee::{
    Accepted, CodeIdentity, CodeManifest, CodeState, Manifest, Platform, Purpose, Root, Strength,
};
use threshold::TransportKey;
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
        // Commands that sign look at today's clock.
        not_after: Millis(50_000 * DAY),
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

/// An actor of a written network.
pub struct Owner {
    pub name: String,
    key: SigningKey,
    certificate: Certificate,
    pub node: SigningKey,
    /// Its share-transport key.
    pub transport: Option<TransportKey>,
}

impl Owner {
    fn new(place: u8, name: &str, transport: Option<TransportKey>) -> Self {
        // The first is the one of the ledgers of one actor.
        let seed = if place == 0 { 1 } else { 30 + place };
        let (key, certificate) = holder(name, seed, None);
        Self {
            name: name.into(),
            key,
            certificate,
            node: self::key(100 + place),
            transport,
        }
    }

    #[allow(dead_code)] // Not each test that has this file signs as an actor.
    pub fn identity(&self) -> client::Identity {
        let key = SigningKey::of_scalar(&self.key.to_scalar());
        client::Identity {
            key: key.expect("its own"),
            chain: vec![self.certificate.clone()],
        }
    }

    pub fn address(&self) -> String {
        format!("{}.example:9000", self.name)
    }
}

/// Signs evidence.
struct Launcher {
    key: SigningKey,
    certificate: Certificate,
}

/// Writes a node's files, entry by entry.
pub struct Writer {
    pub owners: Vec<Owner>,
    launcher: Launcher,
    /// What governance comes to.
    pub state: State,
    directory: PathBuf,
    key: SigningKey,
    pub keyring: SealKeyring,
    sealer: Sealer,
    tree: Tree,
    pub header: Header,
    pub constitution: Constitution,
    /// The chunk that is written to.
    chunk: Vec<u8>,
    first: Index,
    pub snapshots: Vec<Index>,
}

impl Writer {
    /// Makes `directory` with a constitution and the genesis.
    pub fn new(directory: &Path, visibility: Visibility) -> Self {
        Self::of_actors(directory, visibility, vec![("ada", None)], 1)
    }

    /// The same with these actors, each with a node in the list, of whom so many open a session key.
    pub fn of_actors(
        directory: &Path,
        visibility: Visibility,
        actors: Vec<(&str, Option<TransportKey>)>,
        threshold: u32,
    ) -> Self {
        let owners: Vec<Owner> = (0..)
            .zip(actors)
            .map(|(place, (name, transport))| Owner::new(place, name, transport))
            .collect();
        let (root_key, root) = holder("platform root", 4, None);
        let (launcher, launched) = holder("launcher", 5, Some((&root_key, &root)));
        let (network, identity) = holder("network", 6, None);
        let constitution = Constitution {
            network: "generated".into(),
            genesis_time_ms: NOW,
            visibility,
            settings: Settings {
                key_threshold: threshold,
                ..Settings::default()
            },
            voting: Voting::default(),
            standing: Standing::default(),
            policies: Default::default(),
            succeeds: None,
            actors: owners
                .iter()
                .map(|owner| Actor {
                    name: owner.name.clone(),
                    roles: [Role::Member, Role::Participant].into(),
                    auditor: false,
                    certificates: vec![Listed(owner.certificate.clone())],
                    share_key: owner.transport.as_ref().map(TransportKey::public),
                })
                .collect(),
            nodes: owners
                .iter()
                .map(|owner| NodeSlot {
                    owner: owner.name.clone(),
                    address: owner.address(),
                })
                .collect(),
            protocols: vec![Protocol {
                name: "kv".into(),
                version: 1,
                settings_digest: Digest([8; 32]),
                access: Access::Transparent,
                settings: Default::default(),
                endpoints: Vec::new(),
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
        let launcher = Launcher {
            key: launcher,
            certificate: launched,
        };
        let node = admission(
            &constitution,
            &owners[0],
            &launcher,
            NodeId(1),
            Purpose::Genesis,
        );
        let node_key = key(100);
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
            owners,
            launcher,
            state: State::new(),
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
        writer.command(Kind::Genesis, &genesis);
        writer
    }

    /// Appends an administrative command, which has its effect.
    pub fn administrative(&mut self, command: &Command) {
        self.command(Kind::Administrative, command);
    }

    fn command(&mut self, kind: Kind, command: &Command) {
        let (index, time) = (self.header.index, self.header.time);
        let applied = self.state.apply(index, time, command);
        applied.expect("what the test writes applies");
        self.put(kind, 0, &command.public(), &command.private());
    }

    /// Admits the nodes of all owners but the first.
    pub fn admit_others(&mut self) {
        for place in 1..self.owners.len() {
            let owner = &self.owners[place];
            let id = NodeId(place as u64 + 1); // few
            let node = admission(&self.constitution, owner, &self.launcher, id, Purpose::Join);
            self.administrative(&Command::AdmitNode(Box::new(node)));
        }
    }

    /// A vote of all owners carries these changes.
    pub fn vote(&mut self, nonce: u8, changes: Vec<Change>) {
        let network = self.constitution.network_id();
        let window = Window {
            from: self.header.time,
            until: self.header.time.plus(DAY),
        };
        let draft = Draft {
            title: "of a test".into(),
            changes,
        };
        let version = self.state.constitution_version();
        let proposed = draft.proposed(network, version, &self.owners[0].name, window, [nonce; 16]);
        let signed = |owner: &Owner, context, payload: &[u8]| {
            let object = crypto::sign1(&owner.key, context, payload);
            Box::new(Recorded {
                visibility: self.constitution.visibility,
                message: SignedMessage::new(object, std::slice::from_ref(&owner.certificate)),
            })
        };
        let cbor = proposed.to_cbor();
        let mut commands = vec![Command::Propose(signed(
            &self.owners[0],
            Context::Proposal,
            &cbor,
        ))];
        for owner in &self.owners {
            let ballot = Ballot {
                network,
                proposal: proposed.id(),
                voter: owner.name.clone(),
                choice: Choice::For,
                window,
                number: 1,
            };
            commands.push(Command::Vote(signed(
                owner,
                Context::Ballot,
                &ballot.to_cbor(),
            )));
        }
        for command in commands {
            let found = self.state.proposal_by_id(&proposed.id());
            // The votes of some may be enough.
            if found.is_none_or(|proposal| proposal.is_open()) {
                self.administrative(&command);
            }
        }
    }

    /// A signed root over all so far.
    pub fn sign(&mut self) {
        self.header.kind = Kind::Signature;
        let frontier = self.tree.frontier();
        let network = self.constitution.network_id();
        let body = sign_root(&self.key, network, &self.header, frontier);
        self.put(Kind::Signature, 0, &body, b"");
    }

    /// One batch of one transaction with this private part, without a signed root.
    pub fn batch(&mut self, private: &[u8]) {
        let height = Height(self.header.index.0);
        self.put(
            Kind::Application {
                protocol: 0,
                height,
            },
            1,
            b"",
            private,
        );
    }

    /// Writes what there is so far.
    pub fn flush(&mut self) {
        self.cut(None);
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
            self.sign();
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

/// What admits the node of an owner.
fn admission(
    constitution: &Constitution,
    owner: &Owner,
    launcher: &Launcher,
    id: NodeId,
    purpose: Purpose,
) -> AdmitNode {
    let tuple = NodeTuple {
        network: constitution.network_id(),
        owner: owner.name.clone(),
        address: owner.address(),
        key: *owner.node.public(),
        constitution: constitution.digest(),
    };
    let fingerprint = tuple.key.fingerprint();
    let statement = Statement {
        measurement: MEASUREMENT,
        report_data: tee::report_data(&tuple.network, purpose, &fingerprint, b""),
        launch_data: vec![],
        instance: [7; 16],
        svn: 1,
        time: NOW,
        missing: vec![],
        shared_user: false,
    };
    let launched = [launcher.certificate.clone()];
    AdmitNode {
        id,
        replaces: None,
        tuple: tuple.sign(&owner.key),
        chain: vec![Listed(owner.certificate.clone())],
        evidence: tee::software::sign(&launcher.key, &launched, &statement),
        endorsements: vec![],
        challenge: vec![],
    }
}

/// A whole ledger below `directory`.
pub fn generate(directory: &Path, plan: &Plan) -> Writer {
    let mut writer = Writer::new(directory, plan.visibility);
    writer.run(plan);
    writer
}
