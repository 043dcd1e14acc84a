//! Elections: who asks for votes, who gives them, and how leadership is handed over.
//!
//! Pre-vote (thesis 9.6) and stickiness (4.2.3) keep a node that was cut off, or removed, from
//! unseating a leader that others still hear.

use std::collections::BTreeSet;

use types::{Index, NodeId, Term};

use crate::message::Head;
use crate::raft::{Raft, State};
use crate::replication::{Leader, Transfer};
use crate::{Effect, Mutation, NotLeader};

/// Those who said yes, the node itself among them.
pub(crate) type Votes = BTreeSet<NodeId>;

impl Raft {
    /// A node that is in no configuration that may turn out to be the one never campaigns. One
    /// that only an uncommitted entry removes still must: it may be the only one that can win.
    fn may_campaign(&self) -> bool {
        if self.mutation.is(Mutation::RetireEarly) {
            return self.log.configuration().is_voter(self.id);
        }
        self.log.configuration().is_voter(self.id)
            || self
                .log
                .configurations_in_play()
                .iter()
                .any(|(_, configuration)| configuration.is_voter(self.id))
    }

    pub(crate) fn tick_election(&mut self, out: &mut Vec<Effect>) {
        let alone = self.may_campaign()
            && self
                .log
                .configuration()
                .decides(self.rule(), |node| node == self.id);
        if !alone && self.now < self.election_due {
            return;
        }
        self.restart_election_timer();
        if !self.may_campaign() {
            self.state = State::Follower { leader: None };
            return;
        }
        let votes = Votes::from([self.id]);
        self.state = State::ExpectWouldVote(votes);
        if alone {
            return self.campaign(false, out);
        }
        let (last_term, last_index) = self.log.last();
        self.ask_voters(
            &Head::AskVote {
                term: self.term.next(),
                last_term,
                last_index,
            },
            out,
        );
    }

    fn ask_voters(&self, head: &Head, out: &mut Vec<Effect>) {
        let configuration = self.log.configuration();
        for node in configuration.members() {
            if node != self.id && configuration.is_voter(node) {
                self.send(node, head, out);
            }
        }
    }

    fn campaign(&mut self, transfer: bool, out: &mut Vec<Effect>) {
        self.follow(self.term.next(), None, out);
        self.voted_for = Some(self.id);
        self.state = State::ExpectVotes(Votes::from([self.id]));
        if !self.lead_if_elected(out) {
            let (last_term, last_index) = self.log.last();
            self.ask_voters(
                &Head::RequestVote {
                    term: self.term,
                    last_term,
                    last_index,
                    transfer,
                },
                out,
            );
        }
    }

    fn lead_if_elected(&mut self, out: &mut Vec<Effect>) -> bool {
        let State::ExpectVotes(votes) = &self.state else {
            return false;
        };
        if !self
            .log
            .configuration()
            .decides(self.rule(), |node| votes.contains(&node))
        {
            return false;
        }
        self.state = State::Leader(Box::new(Leader::new(self.now)));
        self.track_members();
        out.push(Effect::OpenTerm { term: self.term });
        self.heartbeat(out);
        true
    }

    /// Whether this node protects a leader: itself, or one it heard a short while ago.
    fn has_leader(&self) -> bool {
        match self.state {
            State::Leader(_) => true,
            State::Follower { leader: Some(_) } => {
                self.now.since(self.leader_heard) < self.timing.election_ms
            }
            _ => false,
        }
    }

    /// Thesis 3.6.1: the candidate's log must not be older than ours.
    fn is_up_to_date(&self, last: (Term, Index)) -> bool {
        last >= self.log.last() || self.mutation.is(Mutation::VoteForShorterLog)
    }

    pub(crate) fn on_ask_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: (Term, Index),
        out: &mut Vec<Effect>,
    ) {
        let free = term > self.term
            || (term == self.term && self.voted_for.is_none_or(|node| node == from));
        let granted = free && !self.has_leader() && self.is_up_to_date(last);
        let term = if granted { term } else { self.term };
        self.send(from, &Head::WouldVote { term, granted }, out);
    }

    pub(crate) fn on_would_vote(
        &mut self,
        from: NodeId,
        term: Term,
        granted: bool,
        out: &mut Vec<Effect>,
    ) {
        if !granted {
            self.meets(term, None, out);
            return;
        }
        let State::ExpectWouldVote(votes) = &mut self.state else {
            return;
        };
        if term != self.term.next() {
            return;
        }
        votes.insert(from);
        let votes = votes.clone();
        if self
            .log
            .configuration()
            .decides(self.rule(), |node| votes.contains(&node))
        {
            self.campaign(false, out);
        }
    }

    pub(crate) fn on_request_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: (Term, Index),
        transfer: bool,
        out: &mut Vec<Effect>,
    ) {
        if term > self.term && self.has_leader() && !transfer {
            return;
        }
        self.meets(term, None, out);
        let free =
            self.voted_for.is_none_or(|node| node == from) || self.mutation.is(Mutation::VoteTwice);
        let granted = term == self.term && free && self.is_up_to_date(last);
        if granted {
            self.voted_for = Some(from);
            self.restart_election_timer();
        }
        self.send(
            from,
            &Head::Voted {
                term: self.term,
                granted,
            },
            out,
        );
    }

    pub(crate) fn on_voted(
        &mut self,
        from: NodeId,
        term: Term,
        granted: bool,
        out: &mut Vec<Effect>,
    ) {
        if !self.meets(term, None, out) || !granted {
            return;
        }
        if let State::ExpectVotes(votes) = &mut self.state {
            votes.insert(from);
            self.lead_if_elected(out);
        }
    }

    /// Thesis 3.10: bring the target up to date, then tell it to campaign at once; no proposals
    /// meanwhile, and after an election timeout without success as if nothing had been.
    pub(crate) fn begin_transfer(
        &mut self,
        to: NodeId,
        out: &mut Vec<Effect>,
    ) -> Result<(), NotLeader> {
        let refused = NotLeader {
            leader: self.known_leader(),
        };
        let configuration = self.log.configuration();
        let stays = configuration
            .incoming
            .as_ref()
            .unwrap_or(&configuration.voters)
            .contains(&to);
        let until = self.now.plus(self.timing.election_ms);
        match &mut self.state {
            State::Leader(leader) if leader.transfer.is_none() && stays && to != self.id => {
                leader.transfer = Some(Transfer {
                    to,
                    until,
                    told: false,
                });
            }
            _ => return Err(refused),
        }
        self.continue_transfer(out);
        Ok(())
    }

    pub(crate) fn continue_transfer(&mut self, out: &mut Vec<Effect>) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let Some(transfer) = &mut leader.transfer else {
            return;
        };
        let to = transfer.to;
        let ready = leader
            .progress
            .get(&to)
            .is_some_and(|progress| progress.matched == self.log.last().1);
        if ready && !transfer.told {
            transfer.told = true;
            self.send(to, &Head::TimeoutNow { term: self.term }, out);
        }
    }

    pub(crate) fn on_timeout_now(&mut self, from: NodeId, term: Term, out: &mut Vec<Effect>) {
        let from_leader = matches!(self.state, State::Follower { leader } if leader == Some(from));
        if term == self.term && from_leader && self.may_campaign() {
            self.campaign(true, out);
        }
    }

    pub(crate) fn campaign_against_leader(&mut self, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Follower { leader: Some(_) }) && self.may_campaign() {
            self.campaign(true, out);
        }
    }
}
