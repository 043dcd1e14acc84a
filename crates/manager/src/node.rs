//! One validating node from its start to its end: what it holds, and who handles which message.

use std::collections::{BTreeMap, BTreeSet};

use boundary::{
    HostToManager, ManagerToHost, ManagerToPlatform, PlatformToManager, host_to_manager,
    manager_to_host, manager_to_platform, platform_to_manager,
};
use bytes::Bytes;
use consensus::{Effect, Engine, Raft};
use crypto::{Certificate, Entropy, PublicKey, SigningKey};
use governance::{Constitution, NodeTuple};
use ledger::Sealer;
use types::{Index, Millis, NetworkId, NodeId};

use crate::backfill::Backfill;
use crate::fetching::{Fetching, PieceRead};
use crate::joining::Joining;
use crate::keyring::Keyring;
use crate::order::Order;
use crate::peers::Link;
use crate::protocols::Protocol;
use crate::recovery::{Figures, Local, Restoring};
use crate::reviving::Revivals;
use crate::sessions::{Sessions, Who};
use crate::snapshots::Snapshots;
use crate::wire::Known;
use crate::{Input, Output, Position};

/// Exit codes of a VN; docs/operating.md lists them.
pub const EXIT_STOPPED: u32 = 0;
pub const EXIT_CONFIGURATION: u32 = 2;
pub const EXIT_STORAGE: u32 = 3;
pub const EXIT_REFUSED: u32 = 4;
pub const EXIT_PLATFORM: u32 = 5;
/// To be started again at once: to take part in the restart of a network that lost its quorum.
pub const EXIT_AGAIN: u32 = 6;

/// How long a leader that is to stop waits for another to take over.
const HAND_OVER_MS: u64 = 1_000;
/// How often the host learns where this node stands.
const STATUS_MS: u64 = 250;

/// What the owner wants this VN to be, checked.
pub struct Setup {
    pub owner: String,
    pub address: String,
    pub constitution: Constitution,
    pub network: NetworkId,
    pub create: bool,
    pub peers: Vec<String>,
    pub owner_chain: Vec<Certificate>,
    /// What actors ordered for the restart of a network that lost its quorum.
    pub orders: Vec<governance::SignedMessage>,
}

/// What this node waits for.
pub enum Phase {
    /// The owner's agent signs who this VN is.
    ExpectTuple,
    /// The first VN: evidence for the genesis entry.
    ExpectEvidence,
    /// Asks to be admitted.
    Joining,
    /// Admitted: reads what a former incarnation left in the host's files.
    Restoring,
    /// Reads the ledger, serves as soon as it has a certificate.
    Admitted,
    /// Told to stop; hands leadership over until then.
    Stopping {
        until: Millis,
    },
    Ended,
}

/// Why evidence was asked of the platform.
pub enum EvidenceFor {
    Genesis,
    /// For the VN whose hello came over this connection.
    Welcome {
        connection: u64,
        nonce: [u8; 32],
    },
    Join {
        connection: u64,
    },
    Certificate,
    /// The network has no quorum: for whoever dialled this node.
    Greet {
        connection: u64,
        nonce: [u8; 32],
    },
    /// For whom this node dialled.
    Met {
        connection: u64,
    },
    /// For the entry that restarts the network.
    Claim {
        challenge: [u8; 32],
    },
    /// To be given the actor's share-transport key.
    Share,
    /// To go on having the keys.
    Lease {
        number: u64,
    },
}

/// Why entries were asked of the host.
pub enum Reading {
    /// Of a former incarnation, see `recovery`.
    Restore,
    /// Likewise, without keys, see `cold`.
    Inspect,
    /// For a node whose files lack them, see `cold`.
    Lend {
        slot: governance::NodeSlot,
        first: Index,
    },
    Feed {
        place: usize,
    },
    History {
        place: usize,
        worker: u64,
        request: u64,
        index: Index,
    },
    Load {
        node: NodeId,
    },
    /// For a node that began from a snapshot.
    Serve {
        node: NodeId,
        first: Index,
    },
    Receipt {
        job: u64,
    },
}

pub struct Node {
    /// This node's own time, for timers: it never goes back and never leaps.
    pub now: Millis,
    /// The host's clock as it said last: for ledger time, certificates and evidence, within limits.
    pub clock: Millis,
    pub entropy: Entropy,
    pub missing: Vec<String>,
    pub setup: Setup,
    pub phase: Phase,
    pub key: SigningKey,
    /// The tuple that the owner signed for this incarnation.
    pub tuple: Vec<u8>,
    pub id: NodeId,
    /// Asking the network for admission, or again who its nodes are.
    pub joining: Option<Joining>,
    pub leader_heard: Millis,
    /// What the host's files held at the start.
    pub local: Local,
    pub restoring: Option<Restoring>,
    pub fetching: Option<Fetching>,
    pub backfill: Option<Backfill>,
    pub snapshots: Snapshots,
    /// Reads of snapshot pieces under way.
    pub pieces: BTreeMap<u64, PieceRead>,
    pub revivals: Revivals,
    pub figures: Figures,
    pub sessions: Sessions,
    pub links: BTreeMap<NodeId, Link>,
    /// Who may speak to this node although its own ledger does not say so yet.
    pub known: BTreeMap<PublicKey, Known>,
    pub engine: Option<Raft>,
    pub effects: Vec<Effect>,
    pub state: governance::State,
    pub keyring: Keyring,
    /// What this VN holds for its actor.
    pub shares: crate::shares::Shares,
    /// Keys that are asked for, and given.
    pub releases: crate::release::Releases,
    /// What of that the ledger is to be told.
    pub grants: crate::grants::Grants,
    /// What operators were told of the service.
    pub told_service: crate::service::Told,
    /// What this node does for its actor in a key generation.
    pub party: crate::epochs::Party,
    /// How far consensus has committed; the order is behind while keys are missing.
    pub committing: Index,
    /// How far the host knows what is committed.
    pub told_committed: Index,
    /// Consensus made this node the leader while keys were missing.
    pub role_waits: bool,
    pub order: Order,
    pub protocols: Vec<Protocol>,
    /// Worker process → its protocol's place.
    pub workers: BTreeMap<u64, usize>,
    pub evidence: BTreeMap<u64, EvidenceFor>,
    pub reading: BTreeMap<u64, Reading>,
    /// Linear reads: request of the engine → whose.
    pub linear: BTreeMap<u64, crate::linear::Linear>,
    pub receipts: crate::receipts::Receipts,
    /// Calls of systems outside that units wait for.
    pub calls: crate::outside::Calls,
    /// Admissions that this leader proposed → the connection that waits.
    pub admitting: BTreeMap<NodeId, u64>,
    /// Who waits on the administrative channel.
    pub polls: crate::polls::Polls,
    /// Founder only: the first command, until its entry is made.
    pub genesis: Option<governance::Command>,
    /// Of whoever restarts the network: the command, until its entry is made, and its term.
    pub restart: Option<(types::Term, governance::Command)>,
    /// What the last restart leaves open.
    pub era: crate::cold::Era,
    /// What this node does while the network has no quorum.
    pub cold: crate::cold::Cold,
    /// Configurations of consensus, by the committed entry that brought them.
    pub configurations: BTreeMap<Index, consensus::Configuration>,
    requests: u64,
    status_due: Millis,
    pub limits: crate::Limits,
    #[cfg(feature = "mutations")]
    pub mutation: Option<consensus::Mutation>,
}

impl Node {
    pub fn start(
        clock: Millis,
        launched: &boundary::Launched,
        start: &boundary::Start,
        out: &mut Vec<Output>,
    ) -> Result<Self, String> {
        let seed = <[u8; 32]>::try_from(launched.entropy.as_ref()).map_err(|_| {
            "the platform gave no entropy: start the node through coco-launcher".to_owned()
        })?;
        let seed = crypto::Zeroizing::new(seed);
        let mut entropy = Entropy::new(&seed);
        let mut setup = Setup::check(start)?;
        let settings = settings_of(&setup.constitution, &start.protocols)?;
        if start.ledger_last != 0 && setup.create {
            // The founder returns as every other node does.
            setup.create = false;
            if setup.peers.is_empty() {
                return Err("the network was founded already, as the ledger directory shows, and the constitution lists no other node to return through. To found another network, start with an empty directory".into());
            }
        }
        let key = SigningKey::generate(&mut entropy);
        let tuple = NodeTuple {
            network: setup.network,
            owner: setup.owner.clone(),
            address: setup.address.clone(),
            key: *key.public(),
            constitution: setup.constitution.digest(),
        };
        send_host(
            out,
            manager_to_host::Message::SignTuple(boundary::SignTuple {
                payload: tuple.to_cbor().into(),
            }),
        );
        let shares = crate::shares::Shares::new(&mut entropy);
        let mut node = Self {
            now: clock,
            clock,
            sessions: Sessions::new(&key, &mut entropy, &setup, clock),
            entropy,
            missing: launched.missing.clone(),
            phase: Phase::ExpectTuple,
            tuple: Vec::new(),
            id: NodeId(0),
            joining: None,
            leader_heard: clock,
            local: Local::found(start),
            restoring: None,
            fetching: None,
            backfill: None,
            snapshots: Snapshots::found(&start.snapshots),
            pieces: BTreeMap::new(),
            revivals: Revivals::new(),
            figures: Figures {
                began: clock,
                ..Figures::default()
            },
            links: BTreeMap::new(),
            known: BTreeMap::new(),
            engine: None,
            effects: Vec::new(),
            state: governance::State::default(),
            keyring: Keyring::default(),
            shares,
            releases: crate::release::Releases::default(),
            grants: crate::grants::Grants::default(),
            told_service: crate::service::Told::default(),
            party: crate::epochs::Party::default(),
            committing: Index::ZERO,
            told_committed: Index::ZERO,
            role_waits: false,
            order: Order::new(Sealer::new(NodeId(0), key.public())),
            protocols: settings
                .into_iter()
                .enumerate()
                .map(|(place, (name, bytes))| {
                    Protocol::new(
                        u16::try_from(place).expect("limited by the constitution"),
                        name,
                        bytes,
                    )
                })
                .collect(),
            key,
            setup,
            workers: BTreeMap::new(),
            evidence: BTreeMap::new(),
            reading: BTreeMap::new(),
            linear: BTreeMap::new(),
            receipts: crate::receipts::Receipts::default(),
            calls: crate::outside::Calls::default(),
            admitting: BTreeMap::new(),
            polls: crate::polls::Polls::default(),
            genesis: None,
            restart: None,
            era: crate::cold::Era::default(),
            cold: crate::cold::Cold::default(),
            configurations: BTreeMap::new(),
            requests: 0,
            status_due: Millis::ZERO,
            limits: crate::Limits::default(),
            #[cfg(feature = "mutations")]
            mutation: None,
        };
        for feature in &node.missing {
            log(
                out,
                2,
                "platform",
                &format!("this machine's sandbox lacks {feature}"),
            );
        }
        node.start_workers(out);
        node.report(out);
        Ok(node)
    }

    #[cfg(feature = "mutations")]
    pub fn set_mutation(&mut self, mutation: Option<consensus::Mutation>) {
        self.mutation = mutation;
    }

    pub fn handle(&mut self, now: Millis, clock: Millis, input: Input, out: &mut Vec<Output>) {
        (self.now, self.clock) = (now, clock);
        match input {
            _ if matches!(self.phase, Phase::Ended) => return,
            Input::Host(HostToManager {
                message: Some(message),
                ..
            }) => self.host(message, out),
            Input::Platform(PlatformToManager {
                message: Some(message),
            }) => self.platform(message, out),
            Input::Worker(worker, message) => self.worker(worker, message, out),
            Input::Flush => self.flush(out),
            Input::Host(_) | Input::Platform(_) => {}
        }
        self.settle(out);
    }

    fn host(&mut self, message: host_to_manager::Message, out: &mut Vec<Output>) {
        use host_to_manager::Message as M;
        match message {
            M::Start(_) => log(out, 2, "host", "a second start was ignored"),
            M::Opened(opened) => self.opened(&opened, out),
            M::Received(received) => self.received(received.connection, &received.data, out),
            M::Closed(closed) => self.closed(closed.connection, out),
            M::DialFailed(failed) => {
                let who = self.sessions.get(failed.connection).map(|s| &s.who);
                let (target, what) = match who {
                    Some(Who::ExpectOutside { .. }) => ("outside", "an endpoint"),
                    _ => ("peers", "a node"),
                };
                let text = format!("cannot reach {what}: {}", failed.reason);
                log(out, 3, target, &text);
                self.closed(failed.connection, out);
            }
            M::Persisted(persisted) => {
                if let Some((term, index)) = self.order.appended(persisted.sequence) {
                    self.with_engine(|engine, effects| engine.persisted(term, index, effects));
                }
                self.backfilled(persisted.sequence, out);
            }
            M::Entries(entries) => self.entries_read(entries, out),
            M::TupleSigned(signed) => self.tuple_signed(signed, out),
            M::ShareGiven(given) => self.share_given(&given, out),
            M::SnapshotStored(stored) => self.snapshot_stored(&stored, out),
            M::SnapshotRead(read) => self.snapshot_read(&read, out),
            M::Tick(_) => self.tick(out),
            M::StorageFailed(failed) => self.end(
                out,
                EXIT_STORAGE,
                &format!("storage failed: {}", failed.reason),
            ),
            M::Stop(_) => self.stop(out),
        }
    }

    fn platform(&mut self, message: platform_to_manager::Message, out: &mut Vec<Output>) {
        use platform_to_manager::Message as M;
        match message {
            M::Launched(_) => {}
            M::Evidence(evidence) => self.evidence_made(evidence, out),
            M::WorkerStarted(started) => self.worker_started(&started, out),
            M::WorkerEnded(ended) => self.worker_ended(&ended, out),
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        let (now, clock) = (self.now, self.clock);
        self.with_engine(|engine, effects| {
            engine.clock_is(clock);
            engine.tick(now, effects);
        });
        self.settle(out);
        self.tell_committed(out);
        self.join_tick(out);
        self.cold_tick(out);
        self.start_workers(out);
        self.tell_time(out);
        self.expire_receipts(out);
        self.expire_calls(out);
        self.reconfigure(out);
        self.propose_snapshots(out);
        self.allow_chunks(out);
        self.fetch_tick(out);
        self.backfill_tick(out);
        self.lead_again(out);
        self.close_polls(out);
        self.ask_share(out);
        self.lead_keys(out);
        self.take_part(out);
        self.keep_keys(out);
        self.tell_service(out);
        self.tire_of_waiting(out);
        if let Phase::Stopping { until } = self.phase
            && (now >= until || self.order.leading.is_none())
        {
            self.end(out, EXIT_STOPPED, "stopped as asked");
        }
        if now >= self.status_due {
            self.report(out);
        }
    }

    /// Everything that was waiting is handled.
    fn flush(&mut self, out: &mut Vec<Output>) {
        self.sign_root(out);
        self.settle(out);
        self.sessions.drain(out);
        if out.iter().any(|output| matches!(output, Output::Host(_))) {
            self.tell_committed(out);
        }
    }

    /// Carries out what the engine asked for, and what that leads to.
    pub fn settle(&mut self, out: &mut Vec<Output>) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.effect(effect, out);
            }
        }
    }

    pub fn with_engine<T>(
        &mut self,
        f: impl FnOnce(&mut Raft, &mut Vec<Effect>) -> T,
    ) -> Option<T> {
        self.engine
            .as_mut()
            .map(|engine| f(engine, &mut self.effects))
    }

    pub fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    pub fn ask_evidence(&mut self, why: EvidenceFor, report_data: [u8; 64], out: &mut Vec<Output>) {
        let request = self.request();
        self.evidence.insert(request, why);
        let message = boundary::EvidenceRequest {
            request,
            report_data: report_data.to_vec().into(),
        };
        out.push(Output::Platform(ManagerToPlatform {
            message: Some(manager_to_platform::Message::Evidence(message)),
        }));
    }

    fn stop(&mut self, out: &mut Vec<Output>) {
        let successor = self.engine.as_ref().and_then(|engine| {
            let voters = engine
                .configuration()
                .voters
                .iter()
                .filter(|node| **node != self.id);
            voters.max_by_key(|node| engine.matched(**node)).copied()
        });
        let handed = successor
            .and_then(|to| self.with_engine(|engine, effects| engine.transfer(to, effects)));
        if matches!(handed, Some(Ok(()))) {
            self.phase = Phase::Stopping {
                until: self.now.plus(HAND_OVER_MS),
            };
            // Consensus takes nothing more from here.
            self.follow_workers(out);
        } else {
            self.end(out, EXIT_STOPPED, "stopped as asked");
        }
    }

    pub fn end(&mut self, out: &mut Vec<Output>, code: u32, reason: &str) {
        self.tell_committed(out);
        self.phase = Phase::Ended;
        exit(out, code, reason);
    }

    pub fn position(&self) -> Position {
        let engine = self.engine.as_ref();
        if self.is_cold() {
            // What its files say is not committed by that.
            return Position::default();
        }
        let record = self.state.keys().epoch(self.order.epoch);
        Position {
            node: self.id,
            term: engine.map(|e| e.last().0).unwrap_or_default(),
            leading: self.order.leading.as_ref().is_some_and(|l| l.opened),
            leader: self.leader(),
            last: engine.map(|e| e.last().1).unwrap_or_default(),
            // What a restart brought may yet come to nothing.
            committed: if self.era.is_established() {
                self.order.committed
            } else {
                Index::ZERO
            },
            digest: self.order.last_digest(),
            voters: self.state.voters().map(|node| node.id).collect(),
            restarts: self.order.restarts,
            sealed: record.is_some_and(|r| r.opening.seal.is_some()),
            epoch: self.order.epoch,
            keyed: self.keyring.holds(self.order.epoch),
        }
    }

    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            _ if self.is_cold() => "cold",
            Phase::ExpectTuple | Phase::ExpectEvidence => "starting",
            Phase::Joining => "joining",
            Phase::Restoring => "restoring",
            Phase::Admitted if self.order.leading.as_ref().is_some_and(|l| l.opened) => "leading",
            Phase::Admitted => "following",
            Phase::Stopping { .. } | Phase::Ended => "stopping",
        }
    }

    pub fn report(&mut self, out: &mut Vec<Output>) {
        self.status_due = self.now.plus(STATUS_MS);
        let position = self.position();
        let gauge = |name: String, value| boundary::Gauge { name, value };
        let mut gauges: Vec<boundary::Gauge> = self
            .protocols
            .iter()
            .map(|p| gauge(format!("height_{}", p.name), p.committed().0))
            .collect();
        gauges.extend(
            self.figures
                .named()
                .map(|(name, value)| gauge(name.into(), value)),
        );
        gauges.extend(
            self.cold_gauges()
                .map(|(name, value)| gauge(name.into(), value)),
        );
        gauges.extend(
            self.service_gauges()
                .map(|(name, value)| gauge(name.into(), value)),
        );
        gauges.extend([
            gauge("snapshot".into(), self.snapshots.newest().0),
            gauge("calls_outside".into(), self.calls.len() as u64), // at most 512
            gauge("snapshot_differences".into(), self.snapshots.differences),
            gauge(
                "key_actors_reachable".into(),
                self.actors_reachable() as u64,
            ), // at most 64
            gauge("key_actors".into(), {
                let shared = self.state.keys().shared();
                shared.map_or(0, |s| s.actors().len()) as u64 // at most 64
            }),
            gauge(
                "key_threshold".into(),
                self.state
                    .keys()
                    .shared()
                    .map_or(0, |s| s.key().threshold()) as u64, // at most 64
            ),
        ]);
        send_host(
            out,
            manager_to_host::Message::Status(boundary::Status {
                phase: self.phase_name().into(),
                node: self.id.0,
                term: position.term.0,
                leader: position.leader.unwrap_or_default().0,
                last: position.last.0,
                committed: position.committed.0,
                epoch: self.order.epoch.0,
                connections: self.sessions.count(),
                events: self.state.last_event(),
                gauges,
                network: Bytes::copy_from_slice(&self.setup.network.0),
                network_certificate: self
                    .sessions
                    .network_certificate()
                    .map(|c| Bytes::copy_from_slice(c.der()))
                    .unwrap_or_default(),
            }),
        );
    }
}

impl Setup {
    fn check(start: &boundary::Start) -> Result<Self, String> {
        let constitution = Constitution::from_cbor(&start.constitution)
            .map_err(|e| format!("the constitution in the configuration cannot be used: {e}"))?;
        let mut owner_chain = Vec::new();
        let mut rest = start.owner_chain.as_ref();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize; // u32 always fits usize here
            let (der, tail) = tail
                .split_at_checked(length)
                .ok_or("the owner's certificates are cut short")?;
            owner_chain.push(
                Certificate::from_der(der).map_err(|e| format!("the owner's certificates: {e}"))?,
            );
            rest = tail;
        }
        if !constitution.has_slot(&start.owner, &start.address) {
            return Err(format!(
                "the constitution lists no node of {:?} at {:?}: correct owner and address in the node's configuration, or have the node added by a vote",
                start.owner, start.address
            ));
        }
        if !start.create && start.peers.is_empty() {
            return Err(
                "no peers to join through: add the address of a node of the network to `peers`"
                    .into(),
            );
        }
        let network = if start.network.is_empty() {
            constitution.network_id()
        } else {
            let mut bytes = [0; 32];
            hex::decode_to_slice(&start.network, &mut bytes).map_err(|_| {
                "the network in the configuration is no identity: 64 hexadecimal digits".to_owned()
            })?;
            NetworkId(bytes)
        };
        Ok(Self {
            owner: start.owner.clone(),
            address: start.address.clone(),
            network,
            peers: peers_of(start, &constitution),
            constitution,
            create: start.create,
            owner_chain,
            orders: orders_of(&start.restart_order)?,
        })
    }
}

/// What M actors signed. Whether it counts, the ledger tells later.
fn orders_of(bytes: &Bytes) -> Result<Vec<governance::SignedMessage>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    governance::orders_from_cbor(bytes)
        .map_err(|_| "restart_order in the configuration holds no order that actors signed: `coco recover order` makes one".into())
}

/// Where this node may ask: the configured peers, else every other place of the constitution.
fn peers_of(start: &boundary::Start, constitution: &Constitution) -> Vec<String> {
    if !start.peers.is_empty() {
        return start.peers.clone();
    }
    let others = constitution
        .nodes
        .iter()
        .filter(|slot| slot.address != start.address);
    others.map(|slot| slot.address.clone()).collect()
}

/// The protocols' settings in the order of the constitution, each held against its digest.
fn settings_of(
    constitution: &Constitution,
    given: &[boundary::ProtocolSettings],
) -> Result<Vec<(String, Bytes)>, String> {
    let mut seen = BTreeSet::new();
    constitution
        .protocols
        .iter()
        .map(|protocol| {
            assert!(seen.insert(protocol.name.clone()), "the constitution names each protocol once");
            let settings = given
                .iter()
                .find(|s| s.protocol == protocol.name)
                .ok_or_else(|| format!("the settings of protocol {:?} are missing: name their file in the node's configuration", protocol.name))?;
            if crypto::sha256(&settings.settings) != protocol.settings_digest {
                return Err(format!("the settings of protocol {:?} are not those of the constitution (digest differs)", protocol.name));
            }
            Ok((protocol.name.clone(), settings.settings.clone()))
        })
        .collect()
}

pub fn send_host(out: &mut Vec<Output>, message: manager_to_host::Message) {
    out.push(Output::Host(ManagerToHost {
        message: Some(message),
    }));
}

/// A line for the host to print. Level 1 is an error, 5 a trace. Never a secret, never application bytes.
pub fn log(out: &mut Vec<Output>, level: u32, target: &str, text: &str) {
    send_host(
        out,
        manager_to_host::Message::Log(boundary::Log {
            level,
            target: target.into(),
            text: text.into(),
        }),
    );
}

pub fn exit(out: &mut Vec<Output>, code: u32, reason: &str) {
    send_host(
        out,
        manager_to_host::Message::Exit(boundary::Exit {
            code,
            reason: reason.into(),
        }),
    );
}
