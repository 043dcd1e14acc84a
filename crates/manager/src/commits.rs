//! What the consensus engine asks for, and what follows from a commit.

use boundary::{manager_to_host, manager_to_worker};
use bytes::Bytes;
use consensus::{Configuration, Effect, Engine, LogEntry, Role};
use governance::{Command, Fact};
use ledger::snapshot::Statement;
use ledger::{Header, Kind, Opened, inspect};
use types::{Height, Index, NodeId};

use crate::Output;
use crate::node::{EXIT_AGAIN, EXIT_STORAGE, Node, Phase, Reading, log, send_host};
use crate::order::Proposed;
use crate::reading::READ_BYTES_MAX;
use crate::wire::PeerMessage;
use crate::workers::send_worker;

/// What may wait in memory for keys: many seconds of full load, within which a network that can open its keys
/// has opened them.
pub const UNAPPLIED_BYTES_MAX: usize = 64 << 20;

/// An entry that was found to follow the committed ones. Only [`Node::open_next`] makes one.
pub struct Next {
    pub opened: Opened,
    /// Of an administrative entry.
    pub command: Option<Command>,
    /// Of a snapshot's digest.
    pub statement: Option<Statement>,
}

impl Next {
    pub fn header(&self) -> &Header {
        &self.opened.header
    }
}

impl Node {
    pub fn effect(&mut self, effect: Effect, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        match effect {
            Effect::Send { to, message } => {
                self.send_peer(to, &PeerMessage::Consensus(message.0), out)
            }
            Effect::Truncate { from } => {
                assert!(from > self.order.committed, "what is committed stays");
                self.local.truncated(from);
                send_host(
                    out,
                    manager_to_host::Message::Truncate(boundary::Truncate { from: from.0 }),
                );
            }
            Effect::Append { entries } => self.store(entries, out),
            // Asked for again with the next heartbeat, when they may have come.
            Effect::Load { node, first, .. } if self.lacks(first) => {
                self.with_engine(|engine, effects| engine.supply(node, Vec::new(), effects));
            }
            Effect::Load { node, first, last } => {
                let last = last.min(Index(first.0 + 255));
                self.read(Reading::Load { node }, first, last, READ_BYTES_MAX, out);
            }
            Effect::Commit { upto } => self.commit(upto, out),
            Effect::Role(role) => self.role(role, out),
            Effect::OpenTerm { term } => self.open_term(term, out),
            Effect::ReadReady { request, index } => self.read_ready(request, index, out),
            Effect::ReadRefused { request } => self.read_refused(request, out),
        }
    }

    fn store(&mut self, entries: Vec<LogEntry>, out: &mut Vec<Output>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        if self.figures.voter_ms == 0 && self.order.leading.is_none() {
            let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
            self.figures.fetched_entries += entries.len() as u64; // usize is at most 64 bits
            self.figures.fetched_bytes += bytes as u64; // as above
        }
        let detached = self.local.tail.is_none() && self.has_gap();
        if detached {
            self.local.tail = Some(first.index);
        }
        let first = first.index.0;
        let sequence = self.order.appending(last.term, last.index);
        let entries = entries.into_iter().map(|e| e.payload).collect();
        send_host(
            out,
            manager_to_host::Message::Append(boundary::Append {
                first,
                entries,
                sequence,
                detached,
            }),
        );
    }

    fn role(&mut self, role: Role, out: &mut Vec<Output>) {
        match role {
            Role::Leader { term } => {
                if self.order.committed < self.committing {
                    // Leads once it has the keys of all that is committed.
                    self.role_waits = true;
                    return;
                }
                log(out, 3, "consensus", &format!("leading term {term}"));
                if let Some(leading) = self.order.leading.as_mut().filter(|l| l.term == term) {
                    leading.opened = true;
                }
                self.lead_workers(out);
            }
            Role::Follower { term, leader } => {
                if let Some(leader) = leader {
                    log(
                        out,
                        4,
                        "consensus",
                        &format!("following node {leader} in term {term}"),
                    );
                }
                self.follow(out);
            }
            // Elected, with its term not open yet, is a candidate, too; `open_term` saw to that.
            Role::Candidate { .. } if self.engine.as_ref().is_some_and(|e| e.next().is_some()) => {}
            Role::Candidate { .. } => self.follow(out),
        }
        self.report(out);
    }

    /// Not the leader (any more): what was in flight is the next leader's to keep or to drop.
    fn follow(&mut self, out: &mut Vec<Output>) {
        self.order.step_down();
        for (_, connection) in std::mem::take(&mut self.admitting) {
            let reason =
                "leadership moved while this admission was under way: ask again".to_owned();
            self.answer(
                connection,
                &PeerMessage::Refused {
                    reason,
                    retry: true,
                },
            );
            self.sessions.close(connection, out);
        }
        self.follow_workers(out);
    }

    /// What consensus has committed is applied, as far as the keys for it are here.
    pub fn commit(&mut self, upto: Index, out: &mut Vec<Output>) {
        self.committing = self.committing.max(upto);
        while self.order.committed < upto && !matches!(self.phase, Phase::Ended) {
            let index = self.order.committed.next();
            let engine = self.engine.as_ref().expect("it says what is committed");
            let entry = engine
                .entry(index)
                .expect("entries stay in memory until applied");
            let configuration = entry.configuration.clone();
            let payload = entry.payload.clone();
            let own = self
                .order
                .leading
                .as_mut()
                .and_then(|l| l.in_flight.pop_front_if(|p| p.header.index == index));
            match own {
                Some(own) => self.commit_own(own, out),
                None if self.lacks_key(&payload) => {
                    // Goes on when the keys have come.
                    self.ask_keys(out);
                    if self.unapplied_bytes() > self.limits.unapplied_bytes {
                        let text = "the session keys do not come, and more entries wait for them than this node may keep in memory: it starts again, and is admitted with the keys or told why not";
                        return self.end(out, EXIT_AGAIN, text);
                    }
                    break;
                }
                None => {
                    if let Err(reason) = self.commit_other(&payload, out) {
                        // A quorum of attested nodes agreed on it, so it is this node that cannot go on.
                        return self.end(
                            out,
                            EXIT_STORAGE,
                            &format!("committed entry {index} cannot be applied: {reason}"),
                        );
                    }
                }
            }
            assert_eq!(
                self.configurations.get(&index),
                configuration.as_ref(),
                "commands tell the configurations that consensus has"
            );
        }
        let committed = self.order.committed;
        self.with_engine(|engine, _| engine.applied(committed));
        self.linear_reads(out);
        self.resume_receipts(out);
        if committed == self.committing && std::mem::take(&mut self.role_waits) {
            let role = self.engine.as_ref().map(Engine::role);
            if let Some(role @ Role::Leader { .. }) = role {
                self.role(role, out);
            }
        }
    }

    /// Tells the host how far it may rely on its files. Nothing waits for that, so it goes with what else goes
    /// there: a commit by itself wakes no host.
    pub fn tell_committed(&mut self, out: &mut Vec<Output>) {
        let upto = self.order.committed;
        if self.told_committed != upto && !matches!(self.phase, Phase::Ended) {
            self.told_committed = upto;
            send_host(
                out,
                manager_to_host::Message::Committed(boundary::Committed { upto: upto.0 }),
            );
        }
    }

    /// Committed entries that wait in memory for their keys.
    fn unapplied_bytes(&self) -> usize {
        let Some(engine) = &self.engine else { return 0 };
        (self.order.committed.0 + 1..=self.committing.0)
            .filter_map(|index| engine.entry(Index(index)))
            .map(|entry| entry.payload.len())
            .sum()
    }

    fn lacks_key(&self, payload: &[u8]) -> bool {
        Header::peek(payload).is_some_and(|header| !self.keyring.holds(header.epoch))
    }

    /// An entry that this leader made: nothing need be opened.
    fn commit_own(&mut self, own: Proposed, out: &mut Vec<Output>) {
        let Proposed {
            header,
            digest,
            command,
        } = own;
        self.order.advance(&header, digest);
        match header.kind {
            Kind::Application { protocol, height } => {
                self.era.proven();
                let place = usize::from(protocol);
                let protocol = &mut self.protocols[place];
                assert_eq!(
                    protocol.committed().next(),
                    height,
                    "batches commit in order"
                );
                protocol.heights.push(header.index);
                let flying = protocol.in_flight.pop_front_if(|f| f.height == height);
                if let (Some(_), Some(worker)) = (flying, protocol.live())
                    && protocol.leading.is_some()
                {
                    let message = boundary::Commit {
                        height: height.0,
                        index: header.index.0,
                        term: header.term.0,
                        time: header.time.0,
                    };
                    send_worker(
                        out,
                        self.clock,
                        worker,
                        manager_to_worker::Message::Commit(message),
                    );
                } else {
                    // The worker that proposed it is gone; another reads it from the ledger.
                    self.feed_from(place, height, out);
                }
            }
            Kind::Signature => {
                if let Some(leading) = self
                    .order
                    .leading
                    .as_mut()
                    .filter(|l| l.signature == Some(header.index))
                {
                    leading.signature = None;
                }
            }
            Kind::Genesis | Kind::Administrative => {
                if header.kind == Kind::Genesis {
                    self.snapshots.since(&header);
                }
                let command = command.expect("kept since it was proposed");
                self.govern(&header, &command, out);
            }
            Kind::TermOpened => {}
            Kind::Snapshot => {
                self.snapshots.point(&header);
                self.take_snapshot(&header, out);
            }
            Kind::SnapshotDigest => {
                let statement = self.snapshots.proposed.take();
                self.recorded(statement.expect("proposed with the entry"), out);
            }
        }
    }

    /// The ledger records the digest of a snapshot.
    fn recorded(&mut self, statement: Statement, out: &mut Vec<Output>) {
        self.snapshots.record(statement);
        self.compare_snapshot(statement.index, out);
    }

    /// An entry of another leader, or of this node as a leader of a former term.
    fn commit_other(&mut self, payload: &Bytes, out: &mut Vec<Output>) -> Result<(), String> {
        let next = self.open_next(payload)?;
        let Next {
            opened,
            command,
            statement,
        } = self.enter(next);
        let header = opened.header;
        match (header.kind, command) {
            (Kind::Application { protocol, height }, _) => {
                self.apply_batch(usize::from(protocol), &header, height, opened.private, out);
            }
            (_, Some(command)) => self.govern(&header, &command, out),
            (Kind::Snapshot, _) => self.take_snapshot(&header, out),
            (Kind::SnapshotDigest, _) => {
                if let Some(statement) = statement {
                    self.compare_snapshot(statement.index, out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks the entry that is to follow the committed ones, whoever gave it.
    ///
    /// # Errors
    /// Why it is not the next one.
    pub fn open_next(&self, payload: &Bytes) -> Result<Next, String> {
        let entry = inspect(payload).map_err(|e| e.to_string())?;
        let header = entry.header;
        if header.index != self.order.committed.next()
            || header.previous != self.order.last_digest()
            || header.term < self.order.runs.last()
            || header.epoch != self.order.epoch
        {
            return Err("it does not continue the ledger".into());
        }
        self.check_restarts(&header, &entry.public)?;
        let sealer = self.sealer_key(&header, &entry.public)?;
        let opened = self
            .keyring
            .seals
            .open_entry(entry, &sealer)
            .map_err(|e| e.to_string())?;
        let (mut command, mut statement) = (None, None);
        match header.kind {
            Kind::Application { protocol, height } => {
                let protocol = self
                    .protocols
                    .get(usize::from(protocol))
                    .ok_or("its protocol is not in the constitution")?;
                if protocol.committed().next() != height {
                    return Err("its batch does not continue the protocol's".into());
                }
            }
            Kind::Signature => {
                let root = ledger::verify_root(&sealer, &header, &opened.public)
                    .map_err(|e| e.to_string())?;
                if root.frontier != *self.order.tree.frontier() {
                    return Err("its signed root is not the root of this node's ledger".into());
                }
            }
            Kind::Genesis | Kind::Administrative => {
                let read = Command::from_parts(&opened.public, &opened.private);
                command = Some(read.map_err(|e| e.to_string())?);
            }
            Kind::SnapshotDigest => {
                let read = Statement::from_cbor(&opened.public, header.index);
                statement = Some(read.map_err(|e| e.to_string())?);
            }
            Kind::TermOpened | Kind::Snapshot => {}
        }
        Ok(Next {
            opened,
            command,
            statement,
        })
    }

    /// Takes an entry into the order: chain, tree, heights. What it says is for the caller to act on.
    pub fn enter(&mut self, next: Next) -> Next {
        let opened = &next.opened;
        let header = &opened.header;
        if !opened.leaves.is_empty() {
            self.order.tree.append(header.index, opened.leaves.iter());
        }
        self.order.advance(header, opened.digest);
        match header.kind {
            Kind::Application { protocol, .. } => {
                let protocol = &mut self.protocols[usize::from(protocol)];
                protocol.heights.push(header.index);
                self.era.proven();
            }
            Kind::Snapshot => self.snapshots.point(header),
            Kind::Genesis => self.snapshots.since(header),
            _ => {}
        }
        if let Some(statement) = next.statement {
            self.snapshots.record(statement);
        }
        next
    }

    fn apply_batch(
        &mut self,
        place: usize,
        header: &Header,
        height: Height,
        body: Bytes,
        out: &mut Vec<Output>,
    ) {
        match self.protocols[place].live() {
            Some(worker) => {
                crate::workers::apply(out, self.clock, worker, header, height, body);
            }
            None => self.feed(place, out),
        }
    }

    /// The VN key that sealed an entry. The genesis names its own: its sealer is its first node.
    pub fn sealer_key(&self, header: &Header, public: &[u8]) -> Result<crypto::PublicKey, String> {
        if header.kind == Kind::Genesis || header.restarts > self.order.restarts {
            let facts = governance::facts_from_public(public).map_err(|e| e.to_string())?;
            return facts
                .into_iter()
                .find_map(|fact| match fact {
                    governance::PublicFact::Node { id, key, .. } if id == header.sealer => {
                        Some(key)
                    }
                    _ => None,
                })
                .or_else(|| {
                    self.key_of(header.sealer)
                        .filter(|_| header.kind != Kind::Genesis)
                })
                .ok_or_else(|| "its sealer is not its first node".into());
        }
        self.key_of(header.sealer)
            .ok_or_else(|| format!("its sealer, node {}, was never admitted", header.sealer))
    }

    /// The restart count changes with the entry that says so, and with no other.
    fn check_restarts(&self, header: &Header, public: &[u8]) -> Result<(), String> {
        let restarted = match header.kind {
            Kind::Administrative if header.restarts != self.order.restarts => {
                governance::facts_from_public(public).map_err(|e| e.to_string())?
            }
            _ => Vec::new(),
        };
        let told = restarted.into_iter().find_map(|fact| match fact {
            governance::PublicFact::Restarted(restarts) => Some(restarts),
            _ => None,
        });
        if header.restarts == told.unwrap_or(self.order.restarts) {
            Ok(())
        } else {
            Err("its restart count is not that of the ledger".into())
        }
    }

    fn key_of(&self, node: NodeId) -> Option<crypto::PublicKey> {
        self.state.node(node).map(|n| n.key)
    }

    /// The configuration of consensus that a command brings: it follows from the last one.
    pub fn configuration_of(&self, command: &Command) -> Option<Configuration> {
        match command {
            Command::Genesis(_) => Some(Configuration::of([governance::State::FIRST_NODE])),
            Command::AdmitNode(admitted) => {
                let mut next = self
                    .configurations
                    .last_key_value()
                    .map(|(_, last)| last.clone())
                    .unwrap_or_default();
                next.learners.insert(admitted.id);
                Some(next)
            }
            Command::NetworkRestart(restart) => Some(Configuration {
                voters: [restart.by].into(),
                incoming: None,
                learners: restart.learners.clone(),
            }),
            Command::Configure(next) => Some(Configuration {
                voters: next.voters.clone(),
                incoming: next.incoming.clone(),
                learners: next.learners.clone(),
            }),
            _ => None,
        }
    }

    /// An administrative command is committed.
    pub fn govern(&mut self, header: &Header, command: &Command, out: &mut Vec<Output>) {
        let of_others = matches!(
            command,
            Command::Propose(_)
                | Command::Vote(_)
                | Command::Withdraw(_)
                | Command::Expire { .. }
                | Command::RenewLease { .. }
                | Command::OpenEpoch(_)
                | Command::KeyStep(_)
                | Command::KeyRelease(_)
                | Command::ConsentAudit(_)
                | Command::AuditRelease(_)
        );
        if let Some(leading) = self.order.leading.as_mut().filter(|_| !of_others) {
            leading.changing = false;
        }
        if let Some(configuration) = self.configuration_of(command) {
            self.configurations.insert(header.index, configuration);
        }
        if let Command::Genesis(genesis) = command {
            if genesis.constitution.network_id() != self.setup.network {
                return self.end(
                    out,
                    crate::node::EXIT_REFUSED,
                    "the ledger is of another network than the one that this node's owner approved",
                );
            }
            self.keyring.know_network(genesis.identity.signing_key());
        }
        let voters = crate::cold::halves(&self.state);
        let done = self.state.apply(header.index, header.time, command);
        if let Ok(facts) = &done {
            self.era.entered(header.index, voters, facts);
            self.order.restarts = self.state.restarts();
        }
        self.polled(header, command, &done, out);
        match done {
            Ok(facts) => {
                for fact in facts {
                    self.fact(&fact, out);
                }
            }
            Err(refused) => log(
                out,
                2,
                "governance",
                &format!("entry {} has no effect: {refused}", header.index),
            ),
        }
        self.lead_due(out);
        // A new version fences the proposals that were made under the old one.
        self.refence_workers(out);
    }

    fn fact(&mut self, fact: &Fact, out: &mut Vec<Output>) {
        match fact {
            Fact::Epoch(epoch) => self.epoch_began(*epoch, out),
            // The past needs no other deeds.
            _ if matches!(self.phase, Phase::Restoring) => {}
            Fact::Created { .. } => {
                self.ask_certificate(out);
                self.greet_workers(out);
            }
            Fact::Admitted { node, .. } => {
                log(out, 3, "governance", &format!("node {node} is admitted"));
                if *node == self.id {
                    self.check_approved(out);
                }
                self.tell_joined(*node, out);
            }
            Fact::Retiring { node } => {
                log(
                    out,
                    3,
                    "governance",
                    &format!("node {node} is replaced or removed"),
                );
                if !self
                    .state
                    .node(*node)
                    .is_some_and(governance::Node::is_heard)
                {
                    self.close_node(*node, out);
                }
            }
            Fact::Left { node } => {
                self.close_node(*node, out);
                self.links.remove(node);
                if *node == self.id {
                    let reason =
                        "members removed this node from the network; the ledger stays where it is";
                    self.end(out, crate::node::EXIT_REFUSED, reason);
                }
            }
            Fact::Configured(configuration) => {
                let voters: Vec<String> = configuration
                    .voters
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                log(
                    out,
                    3,
                    "governance",
                    &format!("voters: {}", voters.join(" ")),
                );
                if self.figures.voter_ms == 0 && configuration.voters.contains(&self.id) {
                    self.figures.voter_ms = self.now.since(self.figures.began).max(1);
                }
                self.report(out);
            }
            Fact::Constitution { version, digest } => {
                log(
                    out,
                    3,
                    "governance",
                    &format!("constitution {version} is in force, digest {digest}"),
                );
            }
            Fact::ActorRemoved { actor, .. } | Fact::SessionsRevoked { actor, .. } => {
                self.close_actor(*actor, out);
            }
            Fact::NodeMoved { node, .. } => {
                if let Some(node) = node {
                    self.close_node(*node, out);
                }
            }
            Fact::TransferLeadership { node } => {
                let handed = self.with_engine(|engine, effects| engine.transfer(*node, effects));
                if let Some(Ok(())) = handed {
                    // Consensus takes nothing more from here, unless the hand-over fails.
                    self.follow_workers(out);
                    log(
                        out,
                        3,
                        "governance",
                        &format!("handing leadership to node {node}"),
                    );
                }
            }
            Fact::Restarted { restarts, ordered } => {
                log(
                    out,
                    3,
                    "cold",
                    &format!("the network was restarted: restart {restarts}"),
                );
                if let Some(ordered) = ordered {
                    let told = crate::cold::told_order(ordered);
                    log(out, 2, "cold", &told);
                }
                // Clients see the count.
                self.ask_certificate(out);
            }
            Fact::Lease { .. } | Fact::KeyGeneration { .. } | Fact::EpochDue { .. } => {}
            Fact::KeyRelease(release) => self.key_released(release, out),
            Fact::AuditReleased(release) => self.audit_released(release, out),
            told => log(out, 3, "governance", &format!("{told:?}")),
        }
    }
}
