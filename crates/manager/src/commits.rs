//! What the consensus engine asks for, and what follows from a commit.

use boundary::{manager_to_host, manager_to_worker};
use bytes::Bytes;
use consensus::{Effect, Engine, LogEntry, Role};
use governance::{Command, Fact};
use ledger::{Header, Kind, inspect};
use types::{Digest, Height, Index, NodeId};

use crate::Output;
use crate::node::{EXIT_STORAGE, Node, Phase, Reading, log, send_host};
use crate::order::Proposed;
use crate::wire::PeerMessage;
use crate::workers::send_worker;

/// Most bytes that one read of the host may bring.
pub const READ_BYTES_MAX: u64 = 4 << 20;

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
                send_host(
                    out,
                    manager_to_host::Message::Truncate(boundary::Truncate { from: from.0 }),
                );
            }
            Effect::Append { entries } => self.store(entries, out),
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
        let first = first.index.0;
        let sequence = self.order.appending(last.term, last.index);
        let entries = entries.into_iter().map(|e| e.payload).collect();
        send_host(
            out,
            manager_to_host::Message::Append(boundary::Append {
                first,
                entries,
                sequence,
                detached: false,
            }),
        );
    }

    fn role(&mut self, role: Role, out: &mut Vec<Output>) {
        match role {
            Role::Leader { term } => {
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

    fn commit(&mut self, upto: Index, out: &mut Vec<Output>) {
        while self.order.committed < upto && !matches!(self.phase, Phase::Ended) {
            let index = self.order.committed.next();
            let engine = self.engine.as_ref().expect("it says what is committed");
            let entry = engine
                .entry(index)
                .expect("entries stay in memory until applied");
            if let Some(configuration) = &entry.configuration {
                self.configurations.insert(index, configuration.clone());
            }
            let payload = entry.payload.clone();
            let own = self
                .order
                .leading
                .as_mut()
                .and_then(|l| l.in_flight.pop_front_if(|p| p.header.index == index));
            match own {
                Some(own) => self.commit_own(own, out),
                None => {
                    if let Err(reason) = self.commit_other(index, &payload, out) {
                        // A quorum of attested nodes agreed on it, so it is this node that cannot go on.
                        return self.end(
                            out,
                            EXIT_STORAGE,
                            &format!("committed entry {index} cannot be applied: {reason}"),
                        );
                    }
                }
            }
        }
        let committed = self.order.committed;
        send_host(
            out,
            manager_to_host::Message::Committed(boundary::Committed { upto: committed.0 }),
        );
        self.with_engine(|engine, _| engine.applied(committed));
        self.linear_reads(out);
        self.resume_receipts(out);
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
                let command = command.expect("kept since it was proposed");
                self.govern(&header, &command, out);
            }
            Kind::TermOpened | Kind::Snapshot | Kind::SnapshotDigest => {}
        }
    }

    /// An entry of another leader, or of this node as a leader of a former term.
    fn commit_other(
        &mut self,
        index: Index,
        payload: &Bytes,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        let entry = inspect(payload).map_err(|e| e.to_string())?;
        let header = entry.header;
        if header.index != index || Some(header.previous) != self.order.digest(self.order.committed)
        {
            return Err("it does not continue the ledger".into());
        }
        let digest = entry.digest;
        let sealer = self.sealer_key(&header, &entry.public)?;
        let opened = self
            .keyring
            .seals
            .open_entry(entry, &sealer)
            .map_err(|e| e.to_string())?;
        if header.kind == Kind::Signature {
            let root =
                ledger::verify_root(&sealer, &header, &opened.public).map_err(|e| e.to_string())?;
            if root.frontier != *self.order.tree.frontier() {
                return Err("its signed root is not the root of this node's ledger".into());
            }
        }
        if !opened.leaves.is_empty() {
            self.order.tree.append(index, opened.leaves.iter());
        }
        self.order.advance(&header, digest);
        match header.kind {
            Kind::Application { protocol, height } => {
                let place = usize::from(protocol);
                let protocol = self
                    .protocols
                    .get_mut(place)
                    .ok_or("its protocol is not in the constitution")?;
                if protocol.committed().next() != height {
                    return Err("its batch does not continue the protocol's".into());
                }
                protocol.heights.push(index);
                self.apply_batch(place, &header, height, opened.private, out);
            }
            Kind::Genesis | Kind::Administrative => {
                let command = Command::from_parts(&opened.public, &opened.private)
                    .map_err(|e| e.to_string())?;
                self.govern(&header, &command, out);
            }
            Kind::TermOpened | Kind::Signature | Kind::Snapshot | Kind::SnapshotDigest => {}
        }
        Ok(())
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
                let message = boundary::Apply {
                    height: height.0,
                    index: header.index.0,
                    term: header.term.0,
                    time: header.time.0,
                    body,
                };
                send_worker(
                    out,
                    self.clock,
                    worker,
                    manager_to_worker::Message::Apply(message),
                );
            }
            None => self.feed(place, out),
        }
    }

    /// The VN key that sealed an entry. The genesis names its own: its sealer is its first node.
    pub fn sealer_key(&self, header: &Header, public: &[u8]) -> Result<crypto::PublicKey, String> {
        if header.kind == Kind::Genesis {
            let facts = governance::facts_from_public(public).map_err(|e| e.to_string())?;
            return facts
                .into_iter()
                .find_map(|fact| match fact {
                    governance::PublicFact::Node { id, key, .. } if id == header.sealer => {
                        Some(key)
                    }
                    _ => None,
                })
                .ok_or_else(|| "its sealer is not its first node".into());
        }
        self.key_of(header.sealer)
            .ok_or_else(|| format!("its sealer, node {}, was never admitted", header.sealer))
    }

    fn key_of(&self, node: NodeId) -> Option<crypto::PublicKey> {
        self.state.node(node).map(|n| n.key)
    }

    /// An administrative command is committed.
    fn govern(&mut self, header: &Header, command: &Command, out: &mut Vec<Output>) {
        if let Some(leading) = &mut self.order.leading {
            leading.changing = false;
        }
        if let Command::Genesis(genesis) = command {
            if genesis.constitution.digest() != self.setup.constitution.digest() {
                return self.end(out, crate::node::EXIT_REFUSED, "the ledger begins with another constitution than the one this node's owner approved");
            }
            self.keyring.know_network(genesis.identity.signing_key());
        }
        match self.state.apply(header.index, header.time, command) {
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
        // A new version fences the proposals that were made under the old one.
        self.refence_workers(out);
    }

    fn fact(&mut self, fact: &Fact, out: &mut Vec<Output>) {
        match fact {
            Fact::Created { .. } => {
                self.ask_certificate(out);
                self.greet_workers(out);
            }
            Fact::Admitted { node, .. } => {
                log(out, 3, "governance", &format!("node {node} is admitted"));
                self.tell_joined(*node, out);
            }
            Fact::Retiring { node } => {
                log(
                    out,
                    3,
                    "governance",
                    &format!("node {node} is replaced or removed"),
                );
                self.close_node(*node, out);
            }
            Fact::Left { node } => {
                self.links.remove(node);
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
            Fact::Lease { .. } => {}
            told => log(out, 3, "governance", &format!("{told:?}")),
            Fact::Epoch(epoch) => self.order.epoch = *epoch,
        }
    }

    /// The host answered a read: nothing of it is believed before its digest is compared.
    pub fn entries_read(&mut self, read: boundary::Entries, out: &mut Vec<Output>) {
        let Some(why) = self.reading.remove(&read.request) else {
            return;
        };
        if !read.failure.is_empty() {
            return self.end(
                out,
                EXIT_STORAGE,
                &format!("the ledger's files cannot be read: {}", read.failure),
            );
        }
        let mut entries: Vec<(Header, Bytes)> = Vec::with_capacity(read.entries.len());
        for (index, bytes) in (read.first..).map(Index).zip(read.entries) {
            match self.check_read(index, &bytes) {
                Ok(header) => entries.push((header, bytes)),
                Err(reason) => {
                    return self.end(out, EXIT_STORAGE, &format!("entry {index} in the ledger's files is not the one that was committed: {reason}"));
                }
            }
        }
        match why {
            Reading::Feed { place } => self.fed(place, &entries, out),
            Reading::History {
                worker,
                request,
                index,
                place,
            } => {
                let entry = entries.iter().find(|(header, _)| header.index == index);
                self.tell_history(place, worker, request, entry, out);
            }
            Reading::Receipt { job } => self.receipt_read(job, &entries, out),
            Reading::Load { node } => {
                let entries = entries
                    .into_iter()
                    .map(|(header, payload)| LogEntry {
                        term: header.term,
                        index: header.index,
                        configuration: self.configurations.get(&header.index).cloned(),
                        payload,
                    })
                    .collect();
                self.with_engine(|engine, effects| engine.supply(node, entries, effects));
            }
        }
    }

    fn check_read(&self, index: Index, bytes: &Bytes) -> Result<Header, String> {
        let entry = inspect(bytes).map_err(|e| e.to_string())?;
        let expected: Option<Digest> = self.order.digest(index);
        if Some(entry.digest) == expected {
            Ok(entry.header)
        } else {
            Err("its digest differs".into())
        }
    }
}
