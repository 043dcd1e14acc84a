//! Linearizable reads by read index (thesis 6.4).
//!
//! The leader notes its commit index, then makes sure by a round of heartbeats that it still led
//! when the read came. A round answers all reads that waited when it began; there is one at a time.
//! No leases: there is no clock that an enclave could trust.

use std::collections::{BTreeMap, VecDeque};

use types::{Index, Millis, NodeId};

use crate::message::Head;
use crate::raft::{Raft, State};
use crate::{Effect, Mutation};

/// Reads that wait at once; a driver with more batches them.
const READS_MAX: usize = 1 << 16;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader {
    Here { request: u64 },
    Follower { node: NodeId, ticket: u64 },
}

/// Leader: reads that wait for a round.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The newest round that was begun. Every answer to an append repeats it.
    pub(crate) round: u64,
    asked: VecDeque<(Reader, Index)>,
    waiting: VecDeque<(Reader, Index)>,
}

/// Follower: reads that were forwarded. A ticket is used once, so that a late answer to an earlier
/// try of the same request is not taken for the answer to a later one.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    ticket: u64,
    waiting: BTreeMap<u64, (u64, Millis)>,
}

impl Raft {
    pub(crate) fn ask_read(&mut self, request: u64, out: &mut Vec<Effect>) {
        match self.state {
            State::Leader(_) => self.lead_read(Reader::Here { request }, out),
            State::Follower {
                leader: Some(leader),
            } if self.forwarded.waiting.len() < READS_MAX => {
                self.forwarded.ticket += 1;
                let ticket = self.forwarded.ticket;
                let until = self.now.plus(self.timing.election_ms);
                self.forwarded.waiting.insert(ticket, (request, until));
                self.send(leader, &Head::AskRead { ticket }, out);
            }
            _ => out.push(Effect::ReadRefused { request }),
        }
    }

    pub(crate) fn on_ask_read(&mut self, node: NodeId, ticket: u64, out: &mut Vec<Effect>) {
        self.lead_read(Reader::Follower { node, ticket }, out);
    }

    fn lead_read(&mut self, reader: Reader, out: &mut Vec<Effect>) {
        let (open, committed) = (self.is_open(), self.log.committed);
        let State::Leader(leader) = &mut self.state else {
            return self.answer(reader, None, out);
        };
        let reads = &mut leader.reads;
        if !open || reads.asked.len() + reads.waiting.len() >= READS_MAX {
            return self.answer(reader, None, out);
        }
        if self.mutation.is(Mutation::ReadWithoutRound) {
            return self.answer(reader, Some(committed), out);
        }
        reads.asked.push_back((reader, committed));
        if reads.waiting.is_empty() {
            self.begin_round(out);
        }
    }

    fn begin_round(&mut self, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        leader.reads.round += 1;
        leader.reads.waiting = std::mem::take(&mut leader.reads.asked);
        self.heartbeat(out);
        self.confirm_round(out);
    }

    /// Answers the waiting reads if a quorum answered their round.
    pub(crate) fn confirm_round(&mut self, out: &mut Vec<Effect>) {
        let (rule, id) = (self.rule(), self.id);
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let round = leader.reads.round;
        let progress = &leader.progress;
        let confirmed = |node| {
            node == id
                || progress
                    .get(&node)
                    .is_some_and(|progress| progress.round >= round)
        };
        if leader.reads.waiting.is_empty() || !self.log.configuration().decides(rule, confirmed) {
            return;
        }
        let answered = std::mem::take(&mut leader.reads.waiting);
        let more = !leader.reads.asked.is_empty();
        for (reader, index) in answered {
            self.answer(reader, Some(index), out);
        }
        if more {
            self.begin_round(out);
        }
    }

    fn answer(&self, reader: Reader, index: Option<Index>, out: &mut Vec<Effect>) {
        match (reader, index) {
            (Reader::Here { request }, Some(index)) => {
                out.push(Effect::ReadReady { request, index })
            }
            (Reader::Here { request }, None) => out.push(Effect::ReadRefused { request }),
            (Reader::Follower { node, ticket }, index) => {
                self.send(node, &Head::ReadAt { ticket, index }, out)
            }
        }
    }

    pub(crate) fn on_read_at(
        &mut self,
        _: NodeId,
        ticket: u64,
        index: Option<Index>,
        out: &mut Vec<Effect>,
    ) {
        let Some((request, _)) = self.forwarded.waiting.remove(&ticket) else {
            return;
        };
        self.answer(Reader::Here { request }, index, out);
    }

    /// Leadership ended: whoever waits for a round is told to ask again.
    pub(crate) fn refuse_reads(&mut self, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let reads = std::mem::take(&mut leader.reads);
        for (reader, _) in reads.waiting.into_iter().chain(reads.asked) {
            self.answer(reader, None, out);
        }
    }

    /// Messages get lost: a forwarded read is refused after an election timeout.
    pub(crate) fn expire_forwarded(&mut self, out: &mut Vec<Effect>) {
        // Tickets are in order of time, so the first that is not due ends the search.
        while let Some(first) = self
            .forwarded
            .waiting
            .first_entry()
            .filter(|first| first.get().1 <= self.now)
        {
            let (request, _) = first.remove();
            out.push(Effect::ReadRefused { request });
        }
    }
}
