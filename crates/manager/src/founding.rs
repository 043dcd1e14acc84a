//! How an incarnation begins: the tuple that its owner signs, the evidence that the platform makes,
//! consensus, its certificate; and the first of all, which makes the network.
//!
//! Source: white paper, "Creating a network"; DESIGN sections 6 and 7.

use boundary::{Evidence, TupleSigned};
use consensus::{Configuration, LogEntry, Raft, Start, Timing};
use crypto::SigningKey;
use governance::{AdmitNode, Command, Genesis, Listed, NetworkIdentity, SignedTuple};
use ledger::Sealer;
use tee::{Purpose, report_data};
use types::limits::LEDGER_TIME_SKEW_MS;
use types::{Epoch, Millis, NodeId};

use crate::Output;
use crate::joining::Joining;
use crate::node::{EXIT_PLATFORM, EXIT_REFUSED, EvidenceFor, Node, Phase, log};
use crate::wire::{Credentials, Join, PeerMessage, Welcome};

const YEAR_MS: u64 = 365 * 86_400_000;
const DAY_MS: u64 = 86_400_000;

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
        self.ask_share(out);
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
                    keys: self.engine.is_none(),
                };
                self.answer(connection, &PeerMessage::Join(join));
            }
            EvidenceFor::Certificate => self.certify(&made, out),
            EvidenceFor::Greet { connection, nonce } => {
                self.cold_greet(connection, credentials(self), nonce);
            }
            EvidenceFor::Met { connection } => self.cold_meet(connection, credentials(self), out),
            EvidenceFor::Claim { challenge } => {
                let credentials = credentials(self);
                self.claimed(&challenge, credentials, &made, out);
            }
            EvidenceFor::Share => self.share_evidence(made.evidence, made.endorsements, out),
            EvidenceFor::Lease { number } => self.attested_anew(
                number,
                made.evidence.to_vec(),
                made.endorsements.to_vec(),
                out,
            ),
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
        let keys = crate::keyring::EpochKeys::generate(&mut self.entropy);
        self.keyring.insert(Epoch(1), keys);
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
    pub fn name(&mut self, id: NodeId) {
        self.id = id;
        self.order.sealer = Sealer::new(id, self.key.public());
    }

    /// Consensus begins, behind what this node has.
    pub fn begin(&mut self, configuration: Configuration, start: Start) {
        let seed = self.entropy.number();
        let engine = Raft::new(self.id, Timing::default(), seed, configuration, start);
        let engine = engine.refusing(in_time);
        let engine = match &self.restart {
            Some((term, _)) => engine.from_term(*term),
            None => engine,
        };
        #[cfg(feature = "mutations")]
        let engine = match self.mutation {
            Some(mutation) => engine.with_mutation(mutation),
            None => engine,
        };
        self.engine = Some(engine);
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
}

/// Ledger time is consortium time: an entry that is ahead of this host's clock is not taken, and a
/// leader whose clock runs ahead is voted out (DESIGN section 4).
fn in_time(entry: &LogEntry, now: Millis) -> bool {
    ledger::Header::peek(&entry.payload)
        .is_some_and(|header| header.time.0 <= now.0.saturating_add(LEDGER_TIME_SKEW_MS))
}
