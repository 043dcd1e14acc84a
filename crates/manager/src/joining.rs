//! How a node becomes one of the network: founding it, or being admitted.
//!
//! Source: white paper, "Adding a VN"; DESIGN sections 6 and 7. Attestation is mutual: the joiner
//! appraises a node of the network before it sends or accepts anything, and is appraised with a
//! nonce of the node that proposes its admission.
//!
//! ```text
//! joiner                                    node of the network
//!   Hello{network, nonce_j}          ──►
//!                                    ◄──      Welcome{credentials over nonce_j, nonce_n}
//!   (appraises)  Join{credentials over nonce_n} ──►
//!                                    ◄──      Redirect | Refused | (after commit) Joined{keys, nodes}
//! ```

use boundary::{Evidence, TupleSigned};
use consensus::{Configuration, LogEntry, Raft, Start, Timing};
use crypto::{Certificate, PublicKey, SigningKey};
use governance::{AdmitNode, Command, Constitution, Genesis, Listed, NetworkIdentity, SignedTuple};
use ledger::Sealer;
use tee::{Attested, Purpose, report_data};
use types::limits::LEDGER_TIME_SKEW_MS;
use types::{Epoch, Millis, NodeId};

use crate::Output;
use crate::node::{EXIT_PLATFORM, EXIT_REFUSED, EvidenceFor, Node, Phase, log};
use crate::sessions::Who;
use crate::wire::{Credentials, Hello, Join, Joined, Known, PeerMessage, Standing, Welcome};

const RETRY_MS: u64 = 500;
const ATTEMPT_MS: u64 = 10_000;

/// Several election timeouts: a network that has a leader is heard by then.
const LEADERLESS_MS: u64 = 2_000;
const YEAR_MS: u64 = 365 * 86_400_000;
const DAY_MS: u64 = 86_400_000;

/// A joiner's attempts.
#[derive(Default)]
pub struct Joining {
    attempt: Option<Attempt>,
    /// Which of the configured peers comes next.
    next_peer: usize,
    /// A leader that a node named.
    redirect: Option<String>,
    retry_at: Millis,
    last_reason: String,
}

struct Attempt {
    connection: u64,
    nonce: [u8; 32],
    until: Millis,
}

impl Node {
    /// The owner's agent answered.
    pub fn tuple_signed(&mut self, signed: TupleSigned, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::ExpectTuple) {
            return;
        }
        if !signed.failure.is_empty() {
            return self.end(
                out,
                EXIT_REFUSED,
                &format!(
                    "the owner's agent did not sign this node's tuple: {}",
                    signed.failure
                ),
            );
        }
        let verdict = SignedTuple::verify(
            &signed.tuple,
            &self.setup.owner_chain,
            &self.setup.constitution,
            self.clock,
        );
        match verdict {
            Ok(tuple) if tuple.tuple().key == *self.key.public() => {}
            Ok(_) => {
                return self.end(
                    out,
                    EXIT_REFUSED,
                    "the owner's agent signed another node's tuple",
                );
            }
            Err(reason) => {
                return self.end(
                    out,
                    EXIT_REFUSED,
                    &format!(
                        "the owner's agent signed a tuple that the network would refuse: {reason}"
                    ),
                );
            }
        }
        self.tuple = signed.tuple.to_vec();
        if self.setup.create {
            self.phase = Phase::ExpectEvidence;
            let data = report_data(
                &self.setup.network,
                Purpose::Genesis,
                &self.key.public().fingerprint(),
                &[],
            );
            self.ask_evidence(EvidenceFor::Genesis, data, out);
        } else {
            self.phase = Phase::Joining;
            self.joining = Some(Joining::default());
            self.join_tick(out);
        }
    }

    pub fn evidence_made(&mut self, made: Evidence, out: &mut Vec<Output>) {
        let Some(why) = self.evidence.remove(&made.request) else {
            return;
        };
        if !made.failure.is_empty() {
            return self.end(
                out,
                EXIT_PLATFORM,
                &format!("the platform gives no evidence: {}", made.failure),
            );
        }
        let credentials = |node: &Self| Credentials {
            tuple: node.tuple.clone(),
            owner_chain: node
                .setup
                .owner_chain
                .iter()
                .map(|c| c.der().to_vec().into())
                .collect(),
            evidence: made.evidence.to_vec(),
            endorsements: made.endorsements.to_vec(),
        };
        match why {
            EvidenceFor::Genesis => self.found(&made, out),
            EvidenceFor::Welcome { connection, nonce } => {
                let welcome = Welcome {
                    credentials: credentials(self),
                    nonce,
                    constitution: self.setup.constitution.digest(),
                };
                self.answer(connection, &PeerMessage::Welcome(welcome));
            }
            EvidenceFor::Join { connection } => {
                let join = Join {
                    credentials: credentials(self),
                };
                self.answer(connection, &PeerMessage::Join(join));
            }
            EvidenceFor::Certificate => self.certify(&made, out),
        }
    }

    /// Makes the network: its identity, its first session key, and the entry that says so.
    fn found(&mut self, made: &Evidence, out: &mut Vec<Output>) {
        let key = SigningKey::generate(&mut self.entropy);
        let name = format!("{} network identity", self.setup.constitution.network);
        let (from, until) = (
            Millis(self.clock.0.saturating_sub(DAY_MS)),
            self.clock.plus(10 * YEAR_MS),
        );
        let certificate =
            channel::network_certificate(&key, &name, from, until, self.entropy.bytes());
        let node = AdmitNode {
            id: governance::State::FIRST_NODE,
            replaces: None,
            tuple: self.tuple.clone(),
            chain: Listed::all(&self.setup.owner_chain),
            evidence: made.evidence.to_vec(),
            endorsements: made.endorsements.to_vec(),
            challenge: Vec::new(),
        };
        let tuple = match node.verify_tuple(&self.setup.constitution, self.clock) {
            Ok(tuple) => tuple.tuple().clone(),
            Err(reason) => {
                return self.end(
                    out,
                    EXIT_REFUSED,
                    &format!("this node cannot found the network: {reason}"),
                );
            }
        };
        if let Err(reason) = node.appraise(
            &self.setup.constitution,
            &tuple,
            Purpose::Genesis,
            self.clock,
        ) {
            return self.end(
                out,
                EXIT_REFUSED,
                &format!("this node's evidence does not satisfy the constitution: {reason}"),
            );
        }
        let identity = NetworkIdentity::new(certificate, &key).expect("the key that was certified");
        self.keyring.generate(Epoch(1), &mut self.entropy);
        self.name(governance::State::FIRST_NODE);
        self.begin(
            Configuration::of([governance::State::FIRST_NODE]),
            Start::default(),
        );
        self.genesis = Some(Command::Genesis(Box::new(Genesis {
            constitution: self.setup.constitution.clone(),
            identity,
            node,
        })));
        self.phase = Phase::Admitted;
        let now = self.now;
        self.with_engine(|engine, effects| consensus::Engine::tick(engine, now, effects));
        log(out, 3, "manager", "founding the network");
    }

    /// This incarnation's number in the network.
    fn name(&mut self, id: NodeId) {
        self.id = id;
        self.order.sealer = Sealer::new(id, self.key.public());
    }

    /// Consensus begins, behind what this node has.
    pub fn begin(&mut self, configuration: Configuration, start: Start) {
        let seed = self.entropy.number();
        let engine = Raft::new(self.id, Timing::default(), seed, configuration, start);
        let engine = engine.refusing(in_time);
        #[cfg(feature = "mutations")]
        let engine = match self.mutation {
            Some(mutation) => engine.with_mutation(mutation),
            None => engine,
        };
        self.engine = Some(engine);
    }

    /// A joiner tries the next peer when nothing is under way.
    pub fn join_tick(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        self.ask_again(out);
        let Some(joining) = &mut self.joining else {
            return;
        };
        if let Some(attempt) = &joining.attempt {
            if now < attempt.until {
                return;
            }
            let connection = attempt.connection;
            joining.failed(now, "no answer in time");
            self.sessions.close(connection, out);
            return;
        }
        if now < joining.retry_at {
            return;
        }
        let address = joining.redirect.take().unwrap_or_else(|| {
            let peers = &self.setup.peers;
            joining.next_peer = (joining.next_peer + 1) % peers.len().max(1);
            peers.get(joining.next_peer).cloned().unwrap_or_default()
        });
        let connection = self.sessions.dial(&address, Who::ExpectNetwork, out);
        joining.attempt = Some(Attempt {
            connection,
            nonce: self.entropy.bytes(),
            until: now.plus(ATTEMPT_MS),
        });
    }

    /// A member that hears no leader for long asks any node who the others are: a leader that was
    /// admitted later is a stranger to it, and it would refuse the very messages that say so.
    fn ask_again(&mut self, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Admitted) || self.setup.peers.is_empty() {
            return;
        }
        if self.leader().is_some() {
            self.leader_heard = self.now;
            if let Some(Joining {
                attempt: Some(attempt),
                ..
            }) = self.joining.take()
            {
                self.sessions.close(attempt.connection, out);
            }
        } else if self.joining.is_none() && self.now.since(self.leader_heard) >= LEADERLESS_MS {
            self.leader_heard = self.now;
            self.joining = Some(Joining::default());
        }
    }

    /// The connection to a node of the network stands.
    pub fn greet(&mut self, connection: u64) {
        let Some(Joining {
            attempt: Some(attempt),
            ..
        }) = &self.joining
        else {
            return;
        };
        if attempt.connection == connection {
            let hello = Hello {
                network: self.setup.network,
                nonce: attempt.nonce,
            };
            self.answer(connection, &PeerMessage::Hello(hello));
        }
    }

    /// A joiner's connection ended.
    pub fn sponsor_lost(&mut self, connection: u64) {
        let now = self.now;
        if let Some(joining) = &mut self.joining
            && joining
                .attempt
                .as_ref()
                .is_some_and(|a| a.connection == connection)
        {
            joining.failed(now, "the connection ended");
        }
    }

    /// A message from the node that this one asked for admission.
    pub fn sponsored(
        &mut self,
        connection: u64,
        key: &PublicKey,
        message: PeerMessage,
        out: &mut Vec<Output>,
    ) {
        let now = self.now;
        let Some(joining) = &mut self.joining else {
            return;
        };
        let Some(attempt) = joining
            .attempt
            .as_ref()
            .filter(|a| a.connection == connection)
        else {
            return;
        };
        match message {
            PeerMessage::Welcome(welcome) => {
                let nonce = attempt.nonce;
                match self.appraise_sponsor(key, &welcome, &nonce) {
                    Ok(_) => {
                        let data = report_data(
                            &self.setup.network,
                            Purpose::Join,
                            &self.key.public().fingerprint(),
                            &welcome.nonce,
                        );
                        self.ask_evidence(EvidenceFor::Join { connection }, data, out);
                    }
                    Err(reason) => {
                        log(
                            out,
                            1,
                            "join",
                            &format!(
                                "the node this one wants to join through is refused: {reason}"
                            ),
                        );
                        self.abandon(connection, &reason, out);
                    }
                }
            }
            PeerMessage::Redirect { address } => {
                joining.redirect = Some(address);
                joining.attempt = None;
                joining.retry_at = now;
                self.sessions.close(connection, out);
                self.join_tick(out);
            }
            PeerMessage::Refused { reason, retry } => {
                if !retry && matches!(self.phase, Phase::Joining) {
                    return self.end(
                        out,
                        EXIT_REFUSED,
                        &format!("the network refuses this node: {reason}"),
                    );
                }
                if joining.last_reason != reason {
                    log(out, 2, "join", &format!("not yet: {reason}"));
                }
                self.abandon(connection, &reason, out);
            }
            PeerMessage::Joined(joined) => self.joined(connection, joined, out),
            _ => self.abandon(
                connection,
                "a message that does not belong into admission",
                out,
            ),
        }
    }

    fn abandon(&mut self, connection: u64, reason: &str, out: &mut Vec<Output>) {
        let now = self.now;
        self.sessions.close(connection, out);
        if let Some(joining) = &mut self.joining {
            joining.failed(now, reason);
        }
    }

    fn appraise_sponsor(
        &self,
        key: &PublicKey,
        welcome: &Welcome,
        nonce: &[u8],
    ) -> Result<Attested, String> {
        if welcome.constitution != self.setup.constitution.digest() {
            return Err(
                "it runs under another constitution than the one this node's owner approved".into(),
            );
        }
        let constitution = &self.setup.constitution;
        appraise(
            constitution,
            &welcome.credentials,
            key,
            Purpose::Interactive,
            nonce,
            self.clock,
        )
        .map(|(attested, _)| attested)
        .map_err(|unfit| unfit.text)
    }

    fn joined(&mut self, connection: u64, joined: Joined, out: &mut Vec<Output>) {
        for key in &joined.keys {
            self.keyring.insert(key);
        }
        for known in &joined.nodes {
            self.known.insert(known.key, known.clone());
        }
        self.leader_heard = self.now;
        if self.engine.is_some() {
            self.joining = None;
            self.sessions.close(connection, out);
            return log(
                out,
                4,
                "join",
                "heard again who the nodes of the network are",
            );
        }
        self.name(joined.node);
        match self.restore(joined.standing, out) {
            Ok(()) => {
                self.joining = None;
                self.sessions.close(connection, out);
                log(out, 3, "join", &format!("admitted as node {}", joined.node));
                self.report(out);
            }
            Err(reason) => self.abandon(connection, &reason, out),
        }
    }

    /// A VN that is not in the list speaks: only admission is open to it.
    pub fn stranger(
        &mut self,
        connection: u64,
        key: &PublicKey,
        nonce: Option<[u8; 32]>,
        message: PeerMessage,
        out: &mut Vec<Output>,
    ) {
        match message {
            PeerMessage::Hello(hello) if hello.network != self.setup.network => {
                self.refuse(connection, "this is another network", false, out);
            }
            PeerMessage::Hello(_) if !matches!(self.phase, Phase::Admitted) => {
                self.refuse(
                    connection,
                    "too early: this node is still joining",
                    true,
                    out,
                );
            }
            PeerMessage::Hello(hello) => {
                let mine: [u8; 32] = self.entropy.bytes();
                if let Some(session) = self.sessions.get(connection) {
                    session.who = Who::Stranger {
                        key: *key,
                        nonce: Some(mine),
                    };
                }
                let data = report_data(
                    &self.setup.network,
                    Purpose::Interactive,
                    &self.key.public().fingerprint(),
                    &hello.nonce,
                );
                self.ask_evidence(
                    EvidenceFor::Welcome {
                        connection,
                        nonce: mine,
                    },
                    data,
                    out,
                );
            }
            PeerMessage::Join(join) => match nonce {
                Some(nonce) => self.admit(connection, key, nonce, join, out),
                None => self.refuse(connection, "a join without a hello", false, out),
            },
            _ => self.refuse(
                connection,
                "this node is not in the VN list: it may only ask for admission",
                false,
                out,
            ),
        }
    }

    fn admit(
        &mut self,
        connection: u64,
        key: &PublicKey,
        nonce: [u8; 32],
        join: Join,
        out: &mut Vec<Output>,
    ) {
        // A nonce answers one join.
        if let Some(session) = self.sessions.get(connection) {
            session.who = Who::Stranger {
                key: *key,
                nonce: None,
            };
        }
        let Some(constitution) = self.state.constitution() else {
            return self.refuse(
                connection,
                "this node has not read the ledger yet",
                true,
                out,
            );
        };
        let now = self.order.time.max(self.clock);
        let (attested, tuple) = match appraise(
            constitution,
            &join.credentials,
            key,
            Purpose::Join,
            &nonce,
            now,
        ) {
            Ok(appraised) => appraised,
            Err(reason) => {
                log(
                    out,
                    2,
                    "join",
                    &format!("a node is refused: {}", reason.text),
                );
                return self.refuse(connection, &reason.text, reason.may_pass, out);
            }
        };
        if let Some(node) = self.node_of(key) {
            self.admitting.insert(node, connection);
            return self.tell_joined(node, out);
        }
        if !self.order.leading.as_ref().is_some_and(|l| l.opened) {
            return match self.leader().and_then(|leader| self.address_of(leader)) {
                Some(address) => self.answer(connection, &PeerMessage::Redirect { address }),
                None => self.refuse(
                    connection,
                    "the network has no leader at the moment",
                    true,
                    out,
                ),
            };
        }
        if self.order.leading.as_ref().is_some_and(|l| l.changing)
            || self.engine_is_joint()
            || !self.admitting.is_empty()
        {
            return self.refuse(
                connection,
                "another change of the network is under way",
                true,
                out,
            );
        }
        let Credentials {
            evidence,
            endorsements,
            ..
        } = join.credentials;
        let command = self.state.admit(&tuple).and_then(|admission| {
            admission.command(&attested, evidence, endorsements, nonce.to_vec())
        });
        match command {
            Ok(command) => self.propose_admission(connection, command, out),
            Err(refused) => {
                log(out, 2, "join", &format!("a node is refused: {refused}"));
                self.refuse(connection, &refused.to_string(), refused.may_pass(), out);
            }
        }
    }

    fn refuse(&mut self, connection: u64, reason: &str, retry: bool, out: &mut Vec<Output>) {
        self.answer(
            connection,
            &PeerMessage::Refused {
                reason: reason.into(),
                retry,
            },
        );
        log(out, 4, "join", reason);
        self.sessions.close(connection, out);
    }

    /// The admission of `node` is committed: give it what it needs to read the ledger.
    pub fn tell_joined(&mut self, node: NodeId, out: &mut Vec<Output>) {
        let Some(connection) = self.admitting.remove(&node) else {
            return;
        };
        let nodes = self
            .state
            .served()
            .map(|n| Known {
                node: n.id,
                address: n.address.clone(),
                key: n.key,
            })
            .collect();
        self.answer(
            connection,
            &PeerMessage::Joined(Joined {
                node,
                keys: self.keyring.released(),
                nodes,
                standing: self.standing(),
            }),
        );
        self.sessions.close(connection, out);
    }

    /// How far the network is, as far as this node knows.
    fn standing(&self) -> Standing {
        Standing {
            committed: self.order.committed,
            digest: self.order.last_digest(),
            runs: self.order.runs.as_slice().to_vec(),
            snapshots: self.snapshots.offered(),
        }
    }

    /// The network's key is known: ask for the evidence that clients see in this VN's certificate.
    pub fn ask_certificate(&mut self, out: &mut Vec<Output>) {
        let data = report_data(
            &self.setup.network,
            Purpose::Certificate,
            &self.key.public().fingerprint(),
            &[],
        );
        self.ask_evidence(EvidenceFor::Certificate, data, out);
    }

    fn certify(&mut self, made: &Evidence, out: &mut Vec<Output>) {
        let (Some(key), Some(network)) =
            (self.keyring.network_key(), self.state.network_certificate())
        else {
            return;
        };
        let host = self
            .setup
            .address
            .rsplit_once(':')
            .map_or(self.setup.address.as_str(), |(host, _)| host);
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        if !names.iter().any(|n| n == host) && host.is_ascii() {
            names.push(host.to_owned());
        }
        let statement = channel::NodeCertificate {
            network: self.setup.network,
            restarts: u64::from(self.order.restarts),
            common_name: &format!("{} of {}", self.setup.address, self.setup.owner),
            names: &names,
            evidence: &made.evidence,
            endorsements: &made.endorsements,
            not_before: Millis(self.clock.0.saturating_sub(DAY_MS)),
            not_after: self.clock.plus(YEAR_MS),
            serial: self.entropy.bytes(),
        };
        let certificate =
            match channel::node_certificate(&statement, self.key.public(), key, network) {
                Ok(certificate) => certificate,
                Err(reason) => {
                    return self.end(
                        out,
                        EXIT_PLATFORM,
                        &format!("this node gets no certificate: {reason}"),
                    );
                }
            };
        let protocols: Vec<String> = self.protocols.iter().map(|p| p.name.clone()).collect();
        self.sessions
            .serve(&self.key, &[certificate, network.clone()], &protocols);
        log(out, 3, "manager", "serving clients");
        self.report(out);
    }

    pub fn answer(&mut self, connection: u64, message: &PeerMessage) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.sessions.send(connection, &frame);
    }
}

impl Joining {
    fn failed(&mut self, now: Millis, reason: &str) {
        self.attempt = None;
        self.retry_at = now.plus(RETRY_MS);
        self.last_reason = reason.to_owned();
    }
}

/// Ledger time is consortium time: an entry that is ahead of this host's clock is not taken, and a
/// leader whose clock runs ahead is voted out (DESIGN section 4).
fn in_time(entry: &LogEntry, now: Millis) -> bool {
    ledger::Header::peek(&entry.payload)
        .is_some_and(|header| header.time.0 <= now.0.saturating_add(LEDGER_TIME_SKEW_MS))
}

/// Why a node is refused, and whether asking again can help.
struct Unfit {
    text: String,
    may_pass: bool,
}

impl Unfit {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            may_pass: false,
        }
    }
}

/// The verdict on a node's credentials, as far as governance's lists of nodes do not matter.
fn appraise(
    constitution: &Constitution,
    credentials: &Credentials,
    key: &PublicKey,
    purpose: Purpose,
    challenge: &[u8],
    now: Millis,
) -> Result<(Attested, SignedTuple), Unfit> {
    let chain = credentials
        .owner_chain
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Unfit::new(format!("its owner's certificates: {e}")))?;
    let tuple = SignedTuple::verify(&credentials.tuple, &chain, constitution, now)
        .map_err(|e| Unfit::new(e.to_string()))?;
    if tuple.tuple().key != *key {
        return Err(Unfit::new(
            "its owner signed for another key than the one that it speaks with",
        ));
    }
    let expected = report_data(
        &constitution.network_id(),
        purpose,
        &key.fingerprint(),
        challenge,
    );
    let attested = tee::appraise(
        &credentials.evidence,
        &credentials.endorsements,
        &constitution.tee,
        &constitution.code,
        &expected,
        now,
    )
    .map_err(|e| Unfit {
        // Clocks are apart: another leader's may be nearer.
        may_pass: matches!(e, tee::Refused::Age { .. }),
        text: format!("its evidence: {e}"),
    })?;
    if attested.code().name != "manager" {
        return Err(Unfit::new("its evidence is of an image that is no manager"));
    }
    Ok((attested, tuple))
}
