//! Replication, the follower's side: what it takes, and what it acknowledges.
//!
//! Two numbers are kept apart: how far this log is known to equal the leader's (`verified`), and how
//! far it is on disk. Only the lower of the two is ever acknowledged.

use types::{Index, NodeId, Term};

use crate::message::Head;
use crate::raft::{Raft, State};
use crate::{Effect, LogEntry, Mutation};

impl Raft {
    pub(crate) fn on_append(
        &mut self,
        from: NodeId,
        head: &Head,
        entries: Vec<LogEntry>,
        out: &mut Vec<Effect>,
    ) {
        let &Head::Append {
            term,
            previous_term,
            previous_index,
            commit,
            round,
            answer,
            ..
        } = head
        else {
            return;
        };
        if term < self.term {
            // The sender leads no more; it learns so from our term.
            return self.reject(from, previous_index, (Term::ZERO, Index::ZERO), out);
        }
        if term == self.term && matches!(self.state, State::Leader(_)) {
            return; // Two leaders in one term: the sender is broken, and nothing it says counts.
        }
        let clock = self.fit_clock;
        if self.unfit == Some(term) || !entries.iter().all(|entry| (self.fit)(entry, clock)) {
            // As if nothing had come but its term: the election timer runs on, and who leads like this
            // is voted out.
            self.meets(term, None, out);
            self.unfit = Some(term);
            if matches!(self.state, State::Follower { .. }) {
                self.state = State::Follower { leader: None };
            }
            return;
        }
        self.follow(term, Some(from), out);
        self.leader_heard = self.now;
        self.round_seen = self.round_seen.max(round);
        if self.log.term_at(previous_index) != Some(previous_term) {
            let agreement = self.log.agreement(previous_index, previous_term);
            let hint = (self.log.term_at(agreement).unwrap_or_default(), agreement);
            return self.reject(from, previous_index, hint, out);
        }
        let upto = Index(previous_index.0 + entries.len() as u64);
        if !self.take(entries, upto, out) {
            return;
        }
        self.verified = self.verified.max(upto);
        let commit = commit.min(self.verified);
        if commit > self.log.committed {
            self.commit(commit, out);
        }
        if answer || (upto > previous_index && self.log.persisted >= upto) {
            self.acknowledge(from, out);
        }
    }

    /// Appends those entries that are new, in place of what contradicts them. An append that comes
    /// late cuts nothing: only a contradiction does (thesis 3.5). False if it contradicts what is
    /// committed: then the sender is broken.
    fn take(&mut self, mut entries: Vec<LogEntry>, upto: Index, out: &mut Vec<Effect>) -> bool {
        let known = entries
            .iter()
            .take_while(|entry| self.log.term_at(entry.index) == Some(entry.term))
            .count();
        entries.drain(..known);
        let cut = match entries.first() {
            Some(first) => Some(first.index),
            None if self.mutation.is(Mutation::TruncateOnAppend) => Some(upto.next()),
            None => None,
        };
        if let Some(from) = cut.filter(|from| *from <= self.log.last().1) {
            if from <= self.log.committed {
                return false;
            }
            self.log.truncate(from);
            self.verified = self.verified.min(self.log.last().1);
            out.push(Effect::Truncate { from });
        }
        if !entries.is_empty() {
            for entry in &entries {
                self.log.append(entry.clone());
            }
            out.push(Effect::Append { entries });
        }
        true
    }

    fn reject(&self, to: NodeId, rejected: Index, hint: (Term, Index), out: &mut Vec<Effect>) {
        let (hint_term, hint) = hint;
        let round = self.round_seen;
        self.send(
            to,
            &Head::Rejected {
                term: self.term,
                rejected,
                hint_term,
                hint,
                round,
            },
            out,
        );
    }

    /// Tells the leader what is on disk here, as far as it was found equal to the leader's log.
    pub(crate) fn acknowledge(&self, to: NodeId, out: &mut Vec<Effect>) {
        let on_disk = if self.mutation.is(Mutation::AcknowledgeUnpersisted) {
            self.log.last().1
        } else {
            self.log.persisted
        };
        let received = if self.mutation.is(Mutation::AcknowledgeUnreceived) {
            self.log.last().1
        } else {
            self.verified
        };
        let (term, matched, round) = (self.term, on_disk.min(received), self.round_seen);
        self.send(
            to,
            &Head::Accepted {
                term,
                matched,
                received,
                round,
            },
            out,
        );
    }
}
