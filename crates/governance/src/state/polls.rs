//! Proposals and ballots: checked where they arrive, and again where they are applied.
//!
//! The checks are the same functions of state and time both times. Nothing is changed before the
//! last of them, so what is refused leaves no trace.

use types::{Digest, Index, Millis};

use super::{Network, State};
use crate::proposal::{Carried, Outcome};
use crate::{
    Ballot, Caller, Cast, Change, Command, Constitution, Fact, Moment, Proposal, ProposalStatus,
    ProposalView, Proposed, Recorded, Refused, SignedMessage, TITLE_BYTES_MAX, Tally,
};

/// Most open proposals of one actor: one that floods the others with polls stops itself.
const OPEN_PER_ACTOR_MAX: usize = 8;

/// Most proposals of one actor whose windows are not over; bounds what is kept against replays.
const RECENT_PER_ACTOR_MAX: usize = 64;

/// Closed proposals that are kept for readers; the ledger has all of them.
const CLOSED_KEPT: usize = 64;

impl State {
    /// The command for a signed proposal that arrived at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused`], for whoever handed it in.
    pub fn propose(&self, message: &SignedMessage, now: Millis) -> Result<Command, Refused> {
        self.check_proposal(message, now)?;
        Ok(Command::Propose(self.record(message)?))
    }

    /// The command for a signed ballot that arrived at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused`], for whoever handed it in.
    pub fn ballot(&self, message: &SignedMessage, now: Millis) -> Result<Command, Refused> {
        self.check_ballot(message, now)?;
        Ok(Command::Vote(self.record(message)?))
    }

    /// The command for a signed withdrawal that arrived at ledger time `now`.
    ///
    /// # Errors
    /// [`Refused`], for whoever handed it in.
    pub fn withdraw(&self, message: &SignedMessage, now: Millis) -> Result<Command, Refused> {
        self.check_withdrawal(message, now)?;
        Ok(Command::Withdraw(self.record(message)?))
    }

    /// The command that closes the proposals whose time is over at ledger time `now`, if there are
    /// any. The leader proposes it.
    pub fn due(&self, now: Millis) -> Option<Command> {
        let due = |p: &&Proposal| now >= p.closes;
        let proposals: Vec<_> = self.open().filter(due).map(|p| p.number).collect();
        (!proposals.is_empty()).then_some(Command::Expire { proposals })
    }

    /// The earliest ledger time at which [`State::due`] has something.
    pub fn next_due(&self) -> Option<Millis> {
        self.open().map(|p| p.closes).min()
    }

    /// What `changes` would make of the constitution in force; `coco` shows the difference.
    ///
    /// # Errors
    /// [`Refused::Change`].
    pub fn preview(&self, changes: &[Change]) -> Result<Constitution, Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        Ok(self.after(&network.constitution, changes)?)
    }

    /// Open proposals and the last closed ones, oldest first.
    pub fn proposals(&self) -> impl Iterator<Item = &Proposal> {
        self.proposals.values()
    }

    /// A proposal by its number, if it is open or closed not long ago.
    pub fn proposal(&self, number: u64) -> Option<&Proposal> {
        self.proposals.get(&number)
    }

    /// The proposal of that digest.
    pub fn proposal_by_id(&self, id: &Digest) -> Option<&Proposal> {
        self.proposals.values().find(|p| p.id == *id)
    }

    /// How the count of a proposal stands.
    pub fn tally(&self, proposal: &Proposal) -> Tally {
        let network = self.network.as_ref();
        proposal.tally(
            &network
                .expect("there is no proposal before a genesis")
                .constitution,
        )
    }

    /// A proposal with its count and its effect, for whoever shows it.
    pub fn view<'a>(&self, proposal: &'a Proposal) -> ProposalView<'a> {
        let preview = || {
            let after = self.preview(&proposal.changes).ok()?;
            Some(self.constitution()?.diff(&after))
        };
        ProposalView {
            proposal,
            tally: self.tally(proposal),
            effect: proposal
                .is_open()
                .then(preview)
                .flatten()
                .unwrap_or_default(),
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Proposal> {
        self.proposals.values().filter(|p| p.is_open())
    }

    pub(super) fn record(&self, message: &SignedMessage) -> Result<Box<Recorded>, Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        Ok(Box::new(Recorded {
            visibility: network.constitution.visibility,
            message: message.clone(),
        }))
    }

    /// What was recorded, if it stands in the part where the constitution wants it.
    pub(super) fn opened<'m>(&self, recorded: &'m Recorded) -> Result<&'m SignedMessage, Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        if recorded.visibility == network.constitution.visibility {
            Ok(&recorded.message)
        } else {
            Err(Refused::Visibility)
        }
    }

    fn check_proposal(
        &self,
        message: &SignedMessage,
        now: Millis,
    ) -> Result<(Proposal, Option<Carried>, Millis), Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        let constitution = &network.constitution;
        let (proposed, caller) = message.proposed(network.id, constitution, now)?;
        let id = proposed.id();
        let until = proposed.window.until;
        if self.recent.contains_key(&id) || self.proposal_by_id(&id).is_some() {
            return Err(Refused::Repeated);
        }
        if proposed.constitution != network.constitution_version {
            return Err(Refused::WrongVersion {
                made_under: proposed.constitution,
                current: network.constitution_version,
            });
        }
        self.check_rate(&caller, now)?;
        let title = &proposed.title;
        if title.is_empty() || title.len() > TITLE_BYTES_MAX || title.chars().any(char::is_control)
        {
            return Err(Refused::Title);
        }
        let after = self.after(constitution, &proposed.changes)?;
        may_propose(&caller, &proposed, constitution)?;
        let carried = self.standing_carries(network, &proposed, &after);
        let Proposed {
            proposer,
            title,
            changes,
            ..
        } = proposed;
        let proposal = Proposal {
            number: self.last_proposal + 1,
            id,
            proposer,
            title,
            bases: changes.iter().map(|c| c.basis(constitution)).collect(),
            changes,
            constitution: network.constitution_version,
            opened: Moment {
                entry: Index(0),
                time: now,
            },
            closes: now.plus(constitution.voting.open_ms),
            ballots: Default::default(),
            status: ProposalStatus::Open,
            closed: None,
            spent: Default::default(),
        };
        Ok((proposal, carried, until))
    }

    fn check_rate(&self, caller: &Caller, now: Millis) -> Result<(), Refused> {
        let open = self.open().filter(|p| p.proposer == caller.name).count();
        let recent = |r: &&Recent| r.proposer == caller.name && now < r.until;
        let recent = self.recent.values().filter(recent).count();
        if open >= OPEN_PER_ACTOR_MAX || recent >= RECENT_PER_ACTOR_MAX {
            return Err(Refused::TooManyProposals);
        }
        Ok(())
    }

    /// Standing votes rest while an open proposal is about the same thing: nobody may void a vote
    /// on its removal by renewing something meanwhile.
    fn standing_carries(
        &self,
        network: &Network,
        proposed: &Proposed,
        after: &Constitution,
    ) -> Option<Carried> {
        let constitution = &network.constitution;
        let mut disputed = self
            .open()
            .flat_map(|p| &p.changes)
            .flat_map(|c| c.targets(constitution));
        let targets: std::collections::BTreeSet<String> = proposed
            .changes
            .iter()
            .flat_map(|c| c.targets(constitution))
            .collect();
        if disputed.any(|target| targets.contains(&target)) {
            return None;
        }
        Carried::by_standing_votes(
            constitution,
            after,
            &proposed.changes,
            &proposed.proposer,
            network.code_endorsements(),
        )
    }

    fn check_ballot(&self, message: &SignedMessage, now: Millis) -> Result<(u64, Ballot), Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        let (ballot, caller) = message.ballot(network.id, &network.constitution, now)?;
        if !caller.member {
            return Err(Refused::NotAMember { actor: caller.name });
        }
        let proposal = self.votable(&ballot.proposal, now)?;
        if let Some(cast) = proposal.ballots.get(&ballot.voter) {
            if (ballot.number, ballot.choice) == (cast.number, cast.choice) {
                return Err(Refused::Repeated);
            }
            if ballot.number == cast.number {
                return Err(Refused::Contradictory {
                    voter: ballot.voter,
                    number: ballot.number,
                });
            }
            if ballot.number < cast.number {
                return Err(Refused::OldBallot {
                    voter: ballot.voter,
                    number: ballot.number,
                    last: cast.number,
                });
            }
        }
        if let Some(last) = proposal.spent.get(&ballot.voter)
            && ballot.number <= *last
        {
            return Err(Refused::OldBallot {
                voter: ballot.voter,
                number: ballot.number,
                last: *last,
            });
        }
        Ok((proposal.number, ballot))
    }

    fn check_withdrawal(&self, message: &SignedMessage, now: Millis) -> Result<u64, Refused> {
        let network = self.network.as_ref().ok_or(Refused::NotCreated)?;
        let (withdrawal, caller) = message.withdrawal(network.id, &network.constitution, now)?;
        let proposal = self.votable(&withdrawal.proposal, now)?;
        if proposal.proposer != caller.name {
            return Err(Refused::NotTheProposer {
                proposer: proposal.proposer.clone(),
            });
        }
        Ok(proposal.number)
    }

    fn votable(&self, id: &Digest, now: Millis) -> Result<&Proposal, Refused> {
        let proposal = self.proposal_by_id(id).ok_or(Refused::UnknownProposal)?;
        let number = proposal.number;
        if !proposal.is_open() {
            return Err(Refused::Closed { number });
        }
        if now >= proposal.closes {
            return Err(Refused::VotingOver {
                number,
                closes: proposal.closes,
            });
        }
        Ok(proposal)
    }

    pub(super) fn apply_propose(
        &mut self,
        index: Index,
        time: Millis,
        recorded: &Recorded,
    ) -> Result<Vec<Fact>, Refused> {
        let (mut proposal, carried, until) = self.check_proposal(self.opened(recorded)?, time)?;
        let now = Moment { entry: index, time };
        proposal.opened = now;
        let number = proposal.number;
        let mut facts = vec![Fact::ProposalOpened {
            number,
            id: proposal.id,
            proposer: proposal.proposer.clone(),
            closes: proposal.closes,
        }];
        self.recent.retain(|_, recent| time < recent.until);
        self.recent.insert(
            proposal.id,
            Recent {
                until,
                proposer: proposal.proposer.clone(),
            },
        );
        self.last_proposal = number;
        self.proposals.insert(number, proposal);
        if let Some(carried) = carried {
            self.enact(number, carried, now, &mut facts);
            self.settle(now, &mut facts);
        }
        Ok(facts)
    }

    pub(super) fn apply_vote(
        &mut self,
        index: Index,
        time: Millis,
        recorded: &Recorded,
    ) -> Result<Vec<Fact>, Refused> {
        let (number, ballot) = self.check_ballot(self.opened(recorded)?, time)?;
        let now = Moment { entry: index, time };
        let proposal = self.proposals.get_mut(&number).expect("it was found");
        let choice = ballot.choice;
        proposal.ballots.insert(
            ballot.voter.clone(),
            Cast {
                choice,
                number: ballot.number,
                entry: index,
            },
        );
        let tally = self.tally(&self.proposals[&number]);
        let mut facts = vec![Fact::Balloted {
            number,
            voter: ballot.voter,
            choice,
            tally,
        }];
        match tally.outcome() {
            Outcome::Open => {}
            Outcome::Lost => self.close(number, ProposalStatus::Rejected, now, &mut facts),
            Outcome::Carried(carried) => {
                self.enact(number, carried, now, &mut facts);
                self.settle(now, &mut facts);
            }
        }
        Ok(facts)
    }

    pub(super) fn apply_withdraw(
        &mut self,
        index: Index,
        time: Millis,
        recorded: &Recorded,
    ) -> Result<Vec<Fact>, Refused> {
        let number = self.check_withdrawal(self.opened(recorded)?, time)?;
        let mut facts = Vec::new();
        let now = Moment { entry: index, time };
        self.close(number, ProposalStatus::Withdrawn, now, &mut facts);
        Ok(facts)
    }

    pub(super) fn apply_expire(
        &mut self,
        index: Index,
        time: Millis,
        proposals: &[u64],
    ) -> Result<Vec<Fact>, Refused> {
        let due = |n: &u64| {
            self.proposals
                .get(n)
                .is_some_and(|p| p.is_open() && time >= p.closes)
        };
        if proposals.is_empty() || !proposals.is_sorted_by(|a, b| a < b) {
            return Err(Refused::NotDue);
        }
        if !proposals.iter().all(due) {
            return Err(Refused::NotDue);
        }
        let now = Moment { entry: index, time };
        let mut facts = Vec::new();
        for number in proposals {
            self.close(*number, ProposalStatus::Expired, now, &mut facts);
        }
        Ok(facts)
    }

    /// Closes an open proposal and forgets the oldest closed ones.
    pub(super) fn close(
        &mut self,
        number: u64,
        status: ProposalStatus,
        now: Moment,
        facts: &mut Vec<Fact>,
    ) {
        let proposal = self
            .proposals
            .get_mut(&number)
            .expect("whoever calls has it");
        assert!(proposal.is_open(), "a proposal is closed once");
        proposal.closed = Some(now);
        proposal.status = status.clone();
        facts.push(Fact::ProposalClosed { number, status });
        let closed: Vec<u64> = self
            .proposals
            .values()
            .filter(|p| !p.is_open())
            .map(|p| p.number)
            .collect();
        for number in closed.iter().rev().skip(CLOSED_KEPT) {
            self.proposals.remove(number);
        }
    }
}

/// A proposal that could be handed in again, but for this.
#[derive(Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(super) struct Recent {
    #[n(0)]
    pub until: Millis,
    #[n(1)]
    pub proposer: String,
}

fn may_propose(
    caller: &Caller,
    proposed: &Proposed,
    constitution: &Constitution,
) -> Result<(), Refused> {
    if caller.member {
        return Ok(());
    }
    let kinds = proposed.changes.iter().flat_map(|c| c.kinds(constitution));
    for kind in kinds {
        if !constitution.voting.participants_propose.contains(&kind) {
            return Err(Refused::MayNotPropose {
                actor: caller.name.clone(),
                kind,
            });
        }
    }
    Ok(())
}
