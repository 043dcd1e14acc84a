//! Raft as a value: what a node remembers, and what the calls of [`Engine`] do with it.
//!
//! There are no snapshots of the state machine here: how a node comes by one is its driver's business,
//! before it is part of a configuration that counts. `Start::at` is how a log begins behind one, and
//! `Progress::loading` the state of a follower whose entries are with the driver.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use types::{Index, Millis, NodeId, Term};

use crate::configuration::Rule;
use crate::election::Votes;
use crate::log::{Log, Start};
use crate::message::Head;
use crate::reads::Forwarded;
use crate::replication::Leader;
use crate::wire;
use crate::{Configuration, Effect, Engine, LogEntry, Message, Mutation, NotLeader, Role, Timing};

/// The states of thesis 3.3, and pre-vote's (9.6).
#[derive(Debug)]
pub(crate) enum State {
    Follower { leader: Option<NodeId> },
    ExpectWouldVote(Votes),
    ExpectVotes(Votes),
    Leader(Box<Leader>),
}

/// The engine.
///
/// ```
/// use consensus::{Configuration, Effect, Engine, LogEntry, Raft, Role, Start, Timing};
/// use types::{Index, Millis, NodeId, Term};
///
/// let me = NodeId(1);
/// let mut raft = Raft::new(me, Timing::default(), 42, Configuration::of([me]), Start::default());
/// let mut out = Vec::new();
/// raft.tick(Millis(1_000), &mut out);
/// assert!(out.contains(&Effect::OpenTerm { term: Term(1) }));
///
/// let (term, index) = raft.next().expect("elected by itself");
/// let entry = LogEntry { term, index, payload: "genesis".into(), configuration: None };
/// raft.propose(entry, &mut out).expect("it leads");
/// raft.persisted(term, index, &mut out);
/// assert!(out.contains(&Effect::Commit { upto: Index(1) }));
/// assert_eq!(raft.role(), Role::Leader { term });
/// ```
#[derive(Debug)]
pub struct Raft {
    pub(crate) id: NodeId,
    pub(crate) timing: Timing,
    random: ChaCha8Rng,
    /// The driver's clock when it was last told.
    clock: Option<Millis>,
    /// This node's own time, see [`Raft::advance`].
    pub(crate) now: Millis,
    pub(crate) term: Term,
    pub(crate) voted_for: Option<NodeId>,
    pub(crate) state: State,
    pub(crate) log: Log,
    /// Follower: this much of the log was found equal to that of the leader of `term`.
    pub(crate) verified: Index,
    /// Follower: the newest round of the leader of `term`.
    pub(crate) round_seen: u64,
    pub(crate) leader_heard: Millis,
    pub(crate) election_due: Millis,
    pub(crate) forwarded: Forwarded,
    announced: Role,
    /// Says whether this node may take an entry at the time that [`Raft::clock_is`] told.
    pub(crate) fit: fn(&LogEntry, Millis) -> bool,
    pub(crate) fit_clock: Millis,
    /// The leader of this term proposed what is not fit: it is not listened to.
    pub(crate) unfit: Option<Term>,
    pub(crate) mutation: Mutation,
}

impl Raft {
    /// A node at its start. `configuration` is in force until an entry of the log brings another:
    /// genesis starts as the only voter; one that joins starts with an empty configuration, votes
    /// and accepts entries when asked, and does not campaign until an entry makes it a voter. Where a
    /// network restarts (DESIGN section 6), the entry that says so is the last one pushed, and its
    /// configuration names the new incarnations.
    pub fn new(
        id: NodeId,
        timing: Timing,
        seed: u64,
        configuration: Configuration,
        start: Start,
    ) -> Self {
        let log = start.into_log(configuration);
        let term = log.last().0;
        let mut raft = Self {
            id,
            timing,
            random: ChaCha8Rng::seed_from_u64(seed ^ id.0.rotate_left(32)),
            clock: None,
            now: Millis(0),
            term,
            voted_for: None,
            state: State::Follower { leader: None },
            verified: log.committed,
            log,
            round_seen: 0,
            leader_heard: Millis(0),
            election_due: Millis(0),
            forwarded: Forwarded::default(),
            announced: Role::Follower { term, leader: None },
            fit: |_, _| true,
            fit_clock: Millis(0),
            unfit: None,
            mutation: Mutation::None,
        };
        raft.restart_election_timer();
        raft
    }

    /// The same with a rule for entries of other leaders, such as one about their time. A leader that
    /// breaks it is not heard any more, so that a majority which agrees elects another.
    #[must_use]
    pub fn refusing(mut self, fit: fn(&LogEntry, Millis) -> bool) -> Self {
        self.fit = fit;
        self
    }

    /// The same with elections from this term on, where a network restarts: its terms are not those that
    /// others may have opened behind the same entry.
    #[must_use]
    pub fn from_term(mut self, term: Term) -> Self {
        self.term = self.term.max(Term(term.0.saturating_sub(1)));
        self
    }

    /// Tells the time by which [`Raft::refusing`]'s rule judges; it may go back, unlike `now`.
    pub fn clock_is(&mut self, clock: Millis) {
        self.fit_clock = clock;
    }

    /// The same with a known mistake put back.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    #[must_use]
    pub fn with_mutation(mut self, mutation: Mutation) -> Self {
        self.mutation = mutation;
        self
    }

    /// The same with few applied entries kept in memory, so that followers need others from disk.
    #[cfg(feature = "mutations")]
    #[doc(hidden)]
    #[must_use]
    pub fn with_window(mut self, entries_max: usize) -> Self {
        self.log.keep_at_most(entries_max);
        self
    }

    pub(crate) fn rule(&self) -> Rule {
        Rule::under(self.mutation)
    }

    pub(crate) fn restart_election_timer(&mut self) {
        let election_ms = self.timing.election_ms.max(1);
        self.election_due = self
            .now
            .plus(election_ms + self.random.next_u64() % election_ms);
    }

    /// Own time follows the driver's clock, but never back, and never by more than half an election
    /// timeout at once: that this process was stopped says nothing about the silence of others.
    fn advance(&mut self, clock: Millis) {
        let elapsed = self.clock.map_or(0, |before| clock.since(before));
        self.clock = Some(self.clock.map_or(clock, |before| before.max(clock)));
        self.now = self.now.plus(elapsed.min(self.timing.election_ms / 2));
    }

    pub(crate) fn send(&self, to: NodeId, head: &Head, out: &mut Vec<Effect>) {
        out.push(Effect::Send {
            to,
            message: wire::encode(head, std::iter::empty()),
        });
    }

    /// A message of `term` arrived: a newer term makes a follower of anyone (thesis 3.3). Tells
    /// whether the message is of the present term.
    pub(crate) fn meets(
        &mut self,
        term: Term,
        leader: Option<NodeId>,
        out: &mut Vec<Effect>,
    ) -> bool {
        if term > self.term {
            self.follow(term, leader, out);
        }
        term == self.term
    }

    /// Becomes a follower; also drops what only a leader has.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<NodeId>, out: &mut Vec<Effect>) {
        self.refuse_reads(out);
        if term > self.term {
            self.term = term;
            self.voted_for = None;
            self.verified = self.log.committed;
            self.round_seen = 0;
        }
        self.state = State::Follower { leader };
        self.restart_election_timer();
    }

    pub(crate) fn known_leader(&self) -> Option<NodeId> {
        match self.state {
            State::Follower { leader } => leader,
            State::Leader(_) => Some(self.id),
            State::ExpectWouldVote(_) | State::ExpectVotes(_) => None,
        }
    }

    /// The term of this leader is open: an entry of its own is committed (thesis 6.4).
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Leader(_))
            && self.log.term_at(self.log.committed) == Some(self.term)
    }

    pub(crate) fn commit(&mut self, upto: Index, out: &mut Vec<Effect>) {
        assert!(
            upto > self.log.committed && upto <= self.log.last().1,
            "commits go forward, within the log"
        );
        self.log.committed = upto;
        out.push(Effect::Commit { upto });
    }

    fn announce(&mut self, out: &mut Vec<Effect>) {
        let role = self.role();
        if role != self.announced {
            self.announced = role;
            out.push(Effect::Role(role));
        }
    }
}

impl Engine for Raft {
    fn id(&self) -> NodeId {
        self.id
    }

    fn tick(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.advance(now);
        match self.state {
            State::Leader(_) => self.tick_leader(out),
            _ => self.tick_election(out),
        }
        self.expire_forwarded(out);
        self.announce(out);
    }

    fn next(&self) -> Option<(Term, Index)> {
        match &self.state {
            State::Leader(leader) if leader.transfer.is_none() => {
                Some((self.term, self.log.last().1.next()))
            }
            _ => None,
        }
    }

    fn propose(&mut self, entry: LogEntry, out: &mut Vec<Effect>) -> Result<(), NotLeader> {
        let refused = NotLeader {
            leader: self.known_leader(),
        };
        if self.next() != Some((entry.term, entry.index)) {
            return Err(refused);
        }
        if entry
            .configuration
            .as_ref()
            .is_some_and(|to| !self.may_change(to))
        {
            return Err(refused);
        }
        self.append_own(entry, out);
        self.announce(out);
        Ok(())
    }

    fn receive(&mut self, now: Millis, from: NodeId, message: Message, out: &mut Vec<Effect>) {
        self.advance(now);
        let Some((head, entries)) = wire::decode(&message) else {
            return;
        };
        if from == self.id {
            return;
        }
        match head {
            Head::AskVote {
                term,
                last_term,
                last_index,
            } => {
                self.on_ask_vote(from, term, (last_term, last_index), out);
            }
            Head::WouldVote { term, granted } => self.on_would_vote(from, term, granted, out),
            Head::RequestVote {
                term,
                last_term,
                last_index,
                transfer,
            } => {
                self.on_request_vote(from, term, (last_term, last_index), transfer, out);
            }
            Head::Voted { term, granted } => self.on_voted(from, term, granted, out),
            Head::Append { .. } => self.on_append(from, &head, entries, out),
            Head::Accepted {
                term,
                matched,
                received,
                round,
            } => {
                self.on_accepted(from, term, matched, received, round, out);
            }
            Head::Rejected {
                term,
                rejected,
                hint_term,
                hint,
                round,
            } => {
                self.on_rejected(from, term, rejected, (hint_term, hint), round, out);
            }
            Head::TimeoutNow { term } => self.on_timeout_now(from, term, out),
            Head::AskRead { ticket } => self.on_ask_read(from, ticket, out),
            Head::ReadAt { ticket, index } => self.on_read_at(from, ticket, index, out),
        }
        self.announce(out);
    }

    fn persisted(&mut self, term: Term, upto: Index, out: &mut Vec<Effect>) {
        if self.log.term_at(upto) != Some(term) || upto <= self.log.persisted {
            return;
        }
        self.log.persisted = upto;
        match self.state {
            State::Leader(_) => self.advance_commit(out),
            State::Follower {
                leader: Some(leader),
            } => self.acknowledge(leader, out),
            _ => {}
        }
        self.announce(out);
    }

    fn supply(&mut self, node: NodeId, entries: Vec<LogEntry>, out: &mut Vec<Effect>) {
        self.send_supplied(node, entries, out);
        self.announce(out);
    }

    fn applied(&mut self, upto: Index) {
        self.log.applied(upto);
    }

    fn entry(&self, index: Index) -> Option<&LogEntry> {
        self.log.entry(index)
    }

    fn read_index(&mut self, request: u64, out: &mut Vec<Effect>) {
        self.ask_read(request, out);
        self.announce(out);
    }

    fn transfer(&mut self, to: NodeId, out: &mut Vec<Effect>) -> Result<(), NotLeader> {
        self.begin_transfer(to, out)
    }

    fn depose(&mut self, out: &mut Vec<Effect>) {
        self.campaign_against_leader(out);
        self.announce(out);
    }

    fn may_change(&self, to: &Configuration) -> bool {
        self.may_propose_configuration(to)
    }

    fn role(&self) -> Role {
        let term = self.term;
        match self.state {
            State::Follower { leader } => Role::Follower { term, leader },
            State::ExpectWouldVote(_) => Role::Follower { term, leader: None },
            State::ExpectVotes(_) => Role::Candidate { term },
            State::Leader(_) if self.is_open() => Role::Leader { term },
            State::Leader(_) => Role::Candidate { term },
        }
    }

    fn configuration(&self) -> &Configuration {
        self.log.configuration()
    }

    fn committed(&self) -> Index {
        self.log.committed
    }

    fn last(&self) -> (Term, Index) {
        self.log.last()
    }

    fn matched(&self, node: NodeId) -> Option<Index> {
        match &self.state {
            State::Leader(_) if node == self.id => Some(self.log.persisted),
            State::Leader(leader) => leader.progress.get(&node).map(|progress| progress.matched),
            _ => None,
        }
    }
}
