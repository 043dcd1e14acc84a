//! Replication, the leader's side: what it sends to whom, and when an entry commits.
//! The follower's side is in `following`.

use std::collections::BTreeMap;

use types::{Index, Millis, NodeId, Term};

use crate::message::{self, Head};
use crate::progress::{Pace, Progress};
use crate::raft::{Raft, State};
use crate::reads::Reads;
use crate::wire;
use crate::{Effect, LogEntry, Message, Mutation};

/// Entries asked of the driver at once, when a follower needs some that are not in memory.
const LOAD_ENTRIES_MAX: u64 = 256;

/// What only a leader has; gone when it leads no more.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    pub(crate) reads: Reads,
    pub(crate) transfer: Option<Transfer>,
    heartbeat_due: Millis,
}

#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    pub(crate) until: Millis,
    pub(crate) told: bool,
}

impl Leader {
    pub(crate) fn new(now: Millis) -> Self {
        Self {
            progress: BTreeMap::new(),
            reads: Reads::default(),
            transfer: None,
            heartbeat_due: now,
        }
    }
}

/// The append made last, as most followers need the same.
type Encoded = Option<(Index, Message)>;

impl Raft {
    pub(crate) fn tick_leader(&mut self, out: &mut Vec<Effect>) {
        if !self.hears_quorum() {
            return self.follow(self.term, None, out);
        }
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        if leader
            .transfer
            .as_ref()
            .is_some_and(|transfer| self.now >= transfer.until)
        {
            leader.transfer = None;
        }
        if self.now >= leader.heartbeat_due {
            self.heartbeat(out);
        }
    }

    /// Check-quorum (thesis 6.2): a leader that is cut off must not make clients wait. Each half
    /// of a joint configuration counts by itself.
    fn hears_quorum(&self) -> bool {
        let State::Leader(leader) = &self.state else {
            return false;
        };
        let rule = if self.mutation.is(Mutation::CheckQuorumUnion) {
            crate::configuration::Rule::UnionMajority
        } else {
            self.rule()
        };
        let heard = |node| {
            let progress = leader.progress.get(&node);
            node == self.id
                || progress.is_some_and(|p| self.now.since(p.heard) < self.timing.election_ms)
        };
        self.log.configuration().decides(rule, heard)
    }

    /// To everyone: I lead, what have you got?
    pub(crate) fn heartbeat(&mut self, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        leader.heartbeat_due = self.now.plus(self.timing.heartbeat_ms);
        for progress in leader.progress.values_mut() {
            // The disk may have had other things to do; ask again.
            let stalled = |since| self.now.since(since) >= self.timing.election_ms;
            progress.loading = progress.loading.filter(|since| !stalled(*since));
        }
        for node in self.followers() {
            self.send_empty(node, true, out);
            self.send_entries(node, &mut None, out);
        }
    }

    fn followers(&self) -> Vec<NodeId> {
        let State::Leader(leader) = &self.state else {
            return Vec::new();
        };
        leader.progress.keys().copied().collect()
    }

    pub(crate) fn append_own(&mut self, entry: LogEntry, out: &mut Vec<Effect>) {
        let changes = entry.configuration.is_some();
        self.log.append(entry.clone());
        out.push(Effect::Append {
            entries: vec![entry],
        });
        if changes {
            self.track_members();
            self.heartbeat(out); // Whoever is new hears of it now.
        }
        let mut encoded = None;
        for node in self.followers() {
            self.send_entries(node, &mut encoded, out);
        }
        self.advance_commit(out);
    }

    fn append_head(&self, previous_index: Index, answer: bool, entries: &[&LogEntry]) -> Head {
        let State::Leader(leader) = &self.state else {
            unreachable!("only a leader appends")
        };
        let previous_term = self
            .log
            .term_at(previous_index)
            .expect("nothing is sent beyond the log");
        Head::Append {
            term: self.term,
            previous_term,
            previous_index,
            commit: self.log.committed,
            round: leader.reads.round,
            answer,
            entries: message::heads(entries.iter().copied()),
        }
    }

    fn send_empty(&self, to: NodeId, answer: bool, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &self.state else {
            return;
        };
        let Some(progress) = leader.progress.get(&to) else {
            return;
        };
        self.send(
            to,
            &self.append_head(progress.next.previous(), answer, &[]),
            out,
        );
    }

    fn progress(&mut self, of: NodeId) -> Option<&mut Progress> {
        match &mut self.state {
            State::Leader(leader) => leader.progress.get_mut(&of),
            _ => None,
        }
    }

    /// Sends what the follower lacks as far as its window allows. Tells whether anything left.
    fn send_entries(&mut self, to: NodeId, encoded: &mut Encoded, out: &mut Vec<Effect>) -> bool {
        let last = self.log.last().1;
        let mut any = false;
        while let Some(progress) = self.progress(to) {
            let (first, pace) = (progress.next, progress.pace);
            if first > last || !progress.may_send() || progress.loading.is_some() {
                break;
            }
            let in_memory = self.log.first_in_memory();
            if first < in_memory {
                let last = in_memory
                    .previous()
                    .min(Index(first.0 + LOAD_ENTRIES_MAX - 1));
                out.push(Effect::Load {
                    node: to,
                    first,
                    last,
                });
                let now = self.now;
                self.progress(to).expect("looked up above").loading = Some(now);
                break;
            }
            let batch = self
                .log
                .batch(first, wire::ENTRIES_MAX, wire::ENTRIES_BYTES_MAX);
            let upto = batch.last().expect("at least one entry fits").index;
            let answer = matches!(pace, Pace::Probe { .. });
            let message = match encoded {
                Some((known, message)) if *known == first && !answer => message.clone(),
                _ => {
                    let head = self.append_head(first.previous(), answer, &batch);
                    wire::encode(&head, batch.iter().map(|entry| &entry.payload))
                }
            };
            if !answer {
                *encoded = Some((first, message.clone()));
            }
            let bytes = message.0.len();
            out.push(Effect::Send { to, message });
            self.progress(to)
                .expect("looked up above")
                .sent(upto, bytes);
            any = true;
        }
        any
    }

    /// Entries came from disk for a follower: as far as they are what it needs now, they go out.
    pub(crate) fn send_supplied(
        &mut self,
        node: NodeId,
        entries: Vec<LogEntry>,
        out: &mut Vec<Effect>,
    ) {
        let Some(progress) = self.progress(node) else {
            return;
        };
        progress.loading = None;
        let mut entries: Vec<LogEntry> = entries;
        for entry in &mut entries {
            entry.configuration = self.log.configuration_at(entry.index).cloned();
        }
        let mut rest = &entries[..];
        while let Some(progress) = self.progress(node) {
            let (first, pace) = (progress.next, progress.pace);
            if !progress.may_send() {
                break;
            }
            let mut bytes = 0;
            let fits = rest
                .iter()
                .zip(first.0..)
                .take(wire::ENTRIES_MAX)
                .take_while(|(entry, index)| {
                    bytes += entry.payload.len();
                    let expected = entry.index.0 == *index
                        && self.log.term_at(entry.index) == Some(entry.term);
                    expected && (bytes <= wire::ENTRIES_BYTES_MAX || *index == first.0)
                });
            let batch: Vec<&LogEntry> = fits.map(|(entry, _)| entry).collect();
            let Some(upto) = batch.last().map(|entry| entry.index) else {
                break;
            };
            let head =
                self.append_head(first.previous(), matches!(pace, Pace::Probe { .. }), &batch);
            let message = wire::encode(&head, batch.iter().map(|entry| &entry.payload));
            rest = &rest[batch.len()..];
            let bytes = message.0.len();
            out.push(Effect::Send { to: node, message });
            self.progress(node)
                .expect("looked up above")
                .sent(upto, bytes);
        }
        if rest.len() < entries.len() {
            self.send_entries(node, &mut None, out);
        }
    }

    /// An answer of this term came from a follower; `None` if it is not for us.
    fn heard(
        &mut self,
        from: NodeId,
        term: Term,
        round: u64,
        out: &mut Vec<Effect>,
    ) -> Option<&mut Progress> {
        if !self.meets(term, None, out) {
            return None;
        }
        let now = self.now;
        let progress = self.progress(from)?;
        progress.heard = now;
        progress.round = progress.round.max(round);
        Some(progress)
    }

    pub(crate) fn on_accepted(
        &mut self,
        from: NodeId,
        term: Term,
        matched: Index,
        received: Index,
        round: u64,
        out: &mut Vec<Effect>,
    ) {
        let last = self.log.last().1;
        let Some(progress) = self.heard(from, term, round, out) else {
            return;
        };
        if matched > last || received > last {
            return;
        }
        if progress.accepted(matched, received.max(matched)) {
            self.advance_commit(out);
        }
        self.send_entries(from, &mut None, out);
        self.continue_transfer(out);
        self.confirm_round(out);
    }

    pub(crate) fn on_rejected(
        &mut self,
        from: NodeId,
        term: Term,
        rejected: Index,
        hint: (Term, Index),
        round: u64,
        out: &mut Vec<Effect>,
    ) {
        let agreement = self.log.agreement(hint.1, hint.0);
        let (nack_advances, nack_lowers) = (
            self.mutation.is(Mutation::NackAdvancesMatch),
            self.mutation.is(Mutation::NackLowersMatch),
        );
        let last = self.log.last().1;
        let Some(progress) = self.heard(from, term, round, out) else {
            return;
        };
        if nack_lowers {
            progress.matched = progress.matched.min(hint.1);
            progress.next = progress.next.min(hint.1.next());
        }
        if nack_advances {
            progress.matched = progress.matched.max(hint.1.min(last));
            progress.next = progress.next.max(progress.matched.next());
            self.advance_commit(out);
        } else {
            progress.rejected(rejected, agreement);
        }
        self.send_entries(from, &mut None, out);
        self.confirm_round(out);
    }

    /// Commits what a quorum has on disk, if it is of this term (thesis 3.6.2), and tells everyone.
    pub(crate) fn advance_commit(&mut self, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &self.state else {
            return;
        };
        let own = if self.mutation.is(Mutation::LeaderCountsUnpersisted) {
            self.log.last().1
        } else {
            self.log.persisted
        };
        let reached = |node| match leader.progress.get(&node) {
            Some(progress) => progress.matched,
            None if node == self.id => own,
            None => Index::ZERO,
        };
        let agreed = self.log.configuration().agreed(self.rule(), reached);
        let of_this_term = self.log.term_at(agreed) == Some(self.term);
        if agreed <= self.log.committed
            || !(of_this_term || self.mutation.is(Mutation::CommitEarlierTerm))
        {
            return;
        }
        self.commit(agreed, out);
        let mut encoded = None;
        for node in self.followers() {
            if !self.send_entries(node, &mut encoded, out) {
                self.send_empty(node, false, out);
            }
        }
        self.settle_membership(out);
    }
}
