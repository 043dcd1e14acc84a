//! What a leader puts into the order: it numbers, chains and seals each entry once.

use boundary::{Propose, manager_to_worker};
use consensus::{Configuration, Engine, LogEntry, Role};
use governance::{AdmitNode, Command};
use ledger::snapshot::Statement;
use ledger::{Content, Kind};
use types::limits::BATCH_UNITS_MAX;
use types::{Digest, Epoch, Height, Index, Millis, NodeId, Term};

/// Roots are signed no more often, unless somebody waits for a receipt: docs/decisions/root-signatures.md.
const SIGN_EVERY_MS: u64 = 20;

use crate::Output;
use crate::node::{Node, log};
use crate::order::{Leading, Proposed};
use crate::protocols::Flying;
use crate::workers::send_worker;

impl Node {
    pub fn leader(&self) -> Option<NodeId> {
        match self.engine.as_ref()?.role() {
            Role::Leader { .. } => Some(self.id),
            Role::Follower { leader, .. } => leader,
            Role::Candidate { .. } => None,
        }
    }

    /// This node was elected: its first entry opens the term (in a new network, founds it).
    pub fn open_term(&mut self, term: Term, out: &mut Vec<Output>) {
        let Some(engine) = &self.engine else { return };
        let (_, last) = engine.last();
        let mut epoch = self.order.epoch;
        for index in (self.order.committed.0 + 1..=last.0).map(Index) {
            let entry = engine
                .entry(index)
                .expect("uncommitted entries are in memory");
            epoch = epoch_after(&entry.payload, epoch);
        }
        let (last_digest, last_time) = if last == self.order.committed {
            (self.order.last_digest(), self.order.time)
        } else {
            let entry = engine
                .entry(last)
                .expect("uncommitted entries are in memory");
            let entry = ledger::inspect(&entry.payload).expect("this node or its leader made it");
            (entry.digest, entry.header.time)
        };
        // Leaves of former leaders' entries are appended when those commit, which is before this
        // leader opens its term, and so before any leaf of its own.
        self.order.step_down();
        self.order.leading = Some(Leading {
            term,
            opened: false,
            last_digest,
            last_time,
            in_flight: std::collections::VecDeque::new(),
            signature: None,
            signed_at: None,
            // A former leader may have left leaves that no signature covers.
            unsigned: true,
            changing: false,
            epoch,
            key_step: None,
        });
        if !self.keyring.holds(epoch) {
            // It opens when they have come.
            return self.ask_keys(out);
        }
        if epoch > self.order.epoch {
            // A former leader opened it, and perhaps did not tell all.
            self.give_keys_to_all(epoch, out);
        }
        if let Some((_, command)) = self.restart.take() {
            return self.append_restart(command, out);
        }
        match self.genesis.take() {
            Some(command) if last == Index::ZERO => {
                let configuration = Configuration::of([self.id]);
                self.append_command(Kind::Genesis, command, Some(configuration), out);
            }
            _ => {
                self.append(
                    Kind::TermOpened,
                    self.clock,
                    Content::default(),
                    None,
                    None,
                    out,
                );
            }
        }
    }

    /// The first entry after the network lost its quorum; the last of its epoch.
    fn append_restart(&mut self, command: Command, out: &mut Vec<Output>) {
        let Command::NetworkRestart(restart) = &command else {
            unreachable!("nothing else is kept for a restart");
        };
        let epoch = restart.opening.epoch;
        let configuration = self.configuration_of(&command);
        self.give_keys_to_all(epoch, out);
        self.append_command(Kind::Administrative, command, configuration, out);
        if let Some(leading) = &mut self.order.leading {
            leading.epoch = epoch;
            leading.changing = true;
        }
    }

    /// The keys have come without which this leader could not open its term.
    pub fn open_term_late(&mut self, out: &mut Vec<Output>) {
        let waits = self
            .order
            .leading
            .as_ref()
            .filter(|l| !l.opened && l.in_flight.is_empty() && self.keyring.holds(l.epoch))
            .map(|l| l.term);
        let elected = self
            .engine
            .as_ref()
            .and_then(Engine::next)
            .map(|(term, _)| term);
        if let Some(term) = waits.filter(|term| elected == Some(*term)) {
            self.open_term(term, out);
        }
    }

    /// Numbers, chains and seals one entry and gives it to consensus. `None` when this node does not
    /// lead (any more).
    fn append(
        &mut self,
        kind: Kind,
        time: Millis,
        content: Content<'_>,
        command: Option<Command>,
        configuration: Option<Configuration>,
        out: &mut Vec<Output>,
    ) -> Option<Index> {
        let engine = self.engine.as_mut()?;
        let (term, index) = engine.next()?;
        if self.order.leading.as_ref().is_none_or(|l| l.term != term) {
            return None;
        }
        let header = self.order.header(self.id, index, time, kind);
        let sealed = match self
            .order
            .sealer
            .seal(&self.keyring.seals, &header, content)
        {
            Ok(sealed) => sealed,
            Err(refused) => {
                log(
                    out,
                    1,
                    "ledger",
                    &format!("an entry cannot be sealed: {refused}"),
                );
                return None;
            }
        };
        let entry = LogEntry {
            term,
            index,
            payload: sealed.bytes,
            configuration,
        };
        engine
            .propose(entry, &mut self.effects)
            .expect("asked for its next index just now");
        let leading = self.order.leading.as_mut().expect("looked at above");
        leading.last_digest = sealed.digest;
        leading.last_time = header.time;
        leading.unsigned |= !sealed.leaves.is_empty();
        leading.in_flight.push_back(Proposed {
            header,
            digest: sealed.digest,
            command,
        });
        if !sealed.leaves.is_empty() {
            self.order.tree.append(index, sealed.leaves);
        }
        Some(index)
    }

    pub fn append_command(
        &mut self,
        kind: Kind,
        command: Command,
        configuration: Option<Configuration>,
        out: &mut Vec<Output>,
    ) -> Option<Index> {
        let (public, private) = (command.public(), command.private());
        let claims = [crypto::sha256(&public)];
        let content = Content {
            claims: &claims,
            public: &[&public],
            private: &[&private],
        };
        self.append(kind, self.clock, content, Some(command), configuration, out)
    }

    /// A worker's batch.
    pub fn propose(&mut self, worker: u64, propose: &Propose, out: &mut Vec<Output>) {
        let Some(place) = self.workers.get(&worker).copied() else {
            return;
        };
        if let Err(reason) = self.try_propose(place, propose, out) {
            log(
                out,
                4,
                "pipeline",
                &format!(
                    "a proposal of {} was refused: {reason}",
                    self.protocols[place].name
                ),
            );
            // A proposal of another term, or above one that was refused, is gone in the worker by the
            // message that made it stale. Rolling back for it, too, would drop what the worker has
            // proposed since, and which may have been accepted.
            let next = self.protocols[place].next();
            let current = self
                .order
                .leading
                .as_ref()
                .is_some_and(|l| l.term.0 == propose.term);
            if !current || propose.height != next.0 {
                return;
            }
            let height = next.previous().0;
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::Rollback(boundary::Rollback { height }),
            );
        }
    }

    fn try_propose(
        &mut self,
        place: usize,
        propose: &Propose,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let protocol = &self.protocols[place];
        let leading = self
            .order
            .leading
            .as_ref()
            .filter(|l| l.opened)
            .ok_or("this node does not lead")?;
        if leading.term.0 != propose.term || protocol.leading != Some(leading.term) {
            return Err("it is of another term");
        }
        if propose.height != protocol.next().0 {
            return Err("it does not follow the last one");
        }
        if propose.governance_version != self.state.version() {
            return Err("the constitution has changed");
        }
        if protocol.in_flight.len() >= self.in_flight_max() {
            return Err("too many batches are in flight");
        }
        // A clock that went back does not take ledger time with it.
        if propose.time > self.clock.max(leading.last_time).0 {
            return Err("it is of the future");
        }
        if propose.claims.is_empty()
            || !propose.claims.len().is_multiple_of(32)
            || propose.claims.len() > 32 * BATCH_UNITS_MAX
        {
            return Err("it has no claims, or more than a batch may have");
        }
        let claims: Vec<Digest> = propose
            .claims
            .chunks_exact(32)
            .map(|claim| Digest::from_slice(claim).expect("32 bytes"))
            .collect();
        let height = Height(propose.height);
        let kind = Kind::Application {
            protocol: protocol.place,
            height,
        };
        let content = Content {
            claims: &claims,
            public: &[],
            private: &[&propose.body],
        };
        let index = self
            .append(kind, Millis(propose.time), content, None, None, out)
            .ok_or("this node does not lead")?;
        self.protocols[place]
            .in_flight
            .push_back(Flying { height, index });
        Ok(())
    }

    pub fn in_flight_max(&self) -> usize {
        self.settings().batches_in_flight_max as usize // u32 always fits usize here
    }

    /// Signs the root over what is committed and not signed, unless a signature is under way or was made just
    /// now and nobody waits for the next.
    pub fn sign_root(&mut self, out: &mut Vec<Output>) {
        let Some(leading) = &self.order.leading else {
            return;
        };
        let recent = |at: Millis| self.now.since(at) < SIGN_EVERY_MS;
        let early = leading.signed_at.is_some_and(recent) && !self.receipts_wait();
        if !leading.opened || !leading.unsigned || leading.signature.is_some() || early {
            return;
        }
        let Some((_, index)) = self.engine.as_ref().and_then(Engine::next) else {
            return;
        };
        let header = self
            .order
            .header(self.id, index, self.clock, Kind::Signature);
        let body = ledger::sign_root(
            &self.key,
            self.setup.network,
            &header,
            self.order.tree.frontier(),
        );
        let content = Content {
            public: &[&body],
            ..Content::default()
        };
        let signature = self.append(Kind::Signature, self.clock, content, None, None, out);
        if let Some(leading) = &mut self.order.leading {
            leading.signature = signature;
            leading.signed_at = Some(self.now);
            leading.unsigned = false;
        }
    }

    /// The point of the next snapshot.
    pub fn propose_point(&mut self, out: &mut Vec<Output>) {
        let content = Content::default();
        self.append(Kind::Snapshot, self.clock, content, None, None, out);
    }

    /// The digest of this leader's own snapshot.
    pub fn propose_digest(&mut self, statement: Statement, out: &mut Vec<Output>) {
        let body = statement.to_cbor();
        let content = Content {
            public: &[&body],
            ..Content::default()
        };
        let proposed = self.append(Kind::SnapshotDigest, self.clock, content, None, None, out);
        if proposed.is_some() {
            self.snapshots.proposed = Some(statement);
        }
    }

    pub fn propose_admission(
        &mut self,
        connection: u64,
        command: AdmitNode,
        out: &mut Vec<Output>,
    ) {
        let id = command.id;
        let mut configuration = self
            .engine
            .as_ref()
            .map(|e| e.configuration().clone())
            .unwrap_or_default();
        configuration.learners.insert(id);
        let index = self.append_command(
            Kind::Administrative,
            Command::AdmitNode(Box::new(command)),
            Some(configuration),
            out,
        );
        if index.is_some() {
            self.admitting.insert(id, connection);
            if let Some(leading) = &mut self.order.leading {
                leading.changing = true;
            }
        }
    }

    /// Proposes the next configuration, as governance's or consensus' own.
    pub fn propose_configuration(&mut self, configuration: Configuration, out: &mut Vec<Output>) {
        let recorded = governance::Configuration {
            voters: configuration.voters.clone(),
            incoming: configuration.incoming.clone(),
            learners: configuration.learners.clone(),
        };
        if self
            .append_command(
                Kind::Administrative,
                Command::Configure(recorded),
                Some(configuration),
                out,
            )
            .is_some()
            && let Some(leading) = &mut self.order.leading
        {
            leading.changing = true;
        }
    }
}

/// The epoch of what follows an entry of a former leader.
fn epoch_after(payload: &bytes::Bytes, before: Epoch) -> Epoch {
    let entry = ledger::inspect(payload).expect("this node or its leader made it");
    let facts = match entry.header.kind {
        Kind::Administrative => governance::facts_from_public(&entry.public),
        _ => Ok(Vec::new()),
    };
    let opened = facts.ok().and_then(|facts| {
        facts.into_iter().find_map(|fact| match fact {
            governance::PublicFact::Epoch(epoch) => Some(epoch),
            _ => None,
        })
    });
    opened.unwrap_or(before.max(entry.header.epoch))
}
