//! Proposals and how members' ballots decide them.
//!
//! Source: Coco 2017, "Voting". A member has one vote, however many nodes it runs. What counts is who
//! is a member and which policies are in force at the time of counting, which is after every entry
//! that may change the outcome. Of several kinds of change in one proposal the strictest policy
//! decides. A change of voting policy is counted before it is in force, so it is decided under the
//! policy that it replaces.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use serde::Serialize;
use types::{Digest, Index, Millis};

use crate::{Change, ChangeKind, Choice, Constitution};

/// A proposal that was opened, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Proposal {
    /// 1 for the first of the network, one more with each that followed.
    #[n(0)]
    pub number: u64,
    /// What ballots name: [`crate::Proposed::id`].
    #[n(1)]
    pub id: Digest,
    #[n(2)]
    pub proposer: String,
    #[n(3)]
    pub title: String,
    #[n(4)]
    pub changes: Vec<Change>,
    /// Version of the constitution that it was opened under.
    #[n(5)]
    pub constitution: u64,
    /// The entry that opened it, and its ledger time.
    #[n(6)]
    pub opened: Moment,
    /// Ledger time from which it is not voted on any more.
    #[n(7)]
    pub closes: Millis,
    /// By member; the ballots of former members are gone.
    #[n(8)]
    pub ballots: BTreeMap<String, Cast>,
    #[serde(flatten)]
    #[n(9)]
    pub status: ProposalStatus,
    /// The entry that closed it.
    #[n(10)]
    pub closed: Option<Moment>,
    /// See [`Change::basis`]; one for each change.
    #[serde(skip)]
    #[n(11)]
    pub(crate) bases: Vec<Option<Digest>>,
    /// Numbers of ballots that went with their members: whoever comes back signs anew, and nobody
    /// else hands in what it signed before.
    #[serde(skip)]
    #[n(12)]
    pub(crate) spent: BTreeMap<String, u64>,
}

/// A proposal as members see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProposalView<'a> {
    #[serde(flatten)]
    pub proposal: &'a Proposal,
    /// How the count stands; of a closed proposal, how the same ballots would count today.
    pub tally: Tally,
    /// Of an open proposal: what it would change today, as [`Constitution::diff`] says it.
    pub effect: Vec<String>,
}

/// An entry and its ledger time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Moment {
    #[n(0)]
    pub entry: Index,
    #[n(1)]
    pub time: Millis,
}

/// A ballot that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Cast {
    #[n(0)]
    pub choice: Choice,
    /// [`crate::Ballot::number`].
    #[n(1)]
    pub number: u64,
    /// The entry that recorded it.
    #[n(2)]
    pub entry: Index,
}

/// What a proposal is at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum ProposalStatus {
    /// Members vote.
    #[n(0)]
    Open,
    /// Its changes are in force.
    #[n(1)]
    Accepted {
        /// The standing votes that accepted it, one for each change; none if ballots did.
        #[n(0)]
        rules: Vec<String>,
    },
    /// Too many are against it.
    #[n(2)]
    Rejected,
    /// Its proposer took it back.
    #[n(3)]
    Withdrawn,
    /// Its time was over before it was decided.
    #[n(4)]
    Expired,
    /// What it changes has changed.
    #[n(5)]
    Void {
        #[n(0)]
        why: String,
    },
}

/// How a count stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Tally {
    #[n(0)]
    pub in_favour: u32,
    #[n(1)]
    pub against: u32,
    #[n(2)]
    pub abstained: u32,
    /// Members that may vote.
    #[n(3)]
    pub members: u32,
    /// Votes in favour that carry it.
    #[n(4)]
    pub needed: u32,
}

/// What a count comes to. Only [`Tally::outcome`] makes one, so whoever applies changes asks for a
/// [`Carried`] and need not count again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    Carried(Carried),
    Lost,
}

/// A proposal was carried, by ballots or by standing votes.
#[must_use = "a carried proposal changes the constitution"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) rules: Vec<String>,
}

impl Carried {
    /// By standing votes, if all changes are accepted by one.
    pub(crate) fn by_standing_votes(
        before: &Constitution,
        after: &Constitution,
        changes: &[Change],
        proposer: &str,
        code_endorsements: usize,
    ) -> Option<Self> {
        let rules = before.standing_votes(changes, after, proposer, code_endorsements)?;
        Some(Self { rules })
    }
}

impl Tally {
    pub(crate) fn outcome(&self) -> Outcome {
        if self.in_favour >= self.needed {
            Outcome::Carried(Carried { rules: Vec::new() })
        } else if self.members - self.against < self.needed {
            Outcome::Lost
        } else {
            Outcome::Open
        }
    }
}

impl Proposal {
    /// Whether members vote on it.
    pub fn is_open(&self) -> bool {
        self.status == ProposalStatus::Open
    }

    /// The kinds of its changes.
    pub fn kinds(&self, constitution: &Constitution) -> BTreeSet<ChangeKind> {
        self.changes
            .iter()
            .flat_map(|c| c.kinds(constitution))
            .collect()
    }

    /// The count under a constitution: its members and its policies.
    pub fn tally(&self, constitution: &Constitution) -> Tally {
        let members: BTreeSet<&str> = constitution.members().map(|m| &*m.name).collect();
        let count = |choice| {
            let cast = self
                .ballots
                .iter()
                .filter(|(voter, cast)| members.contains(&***voter) && cast.choice == choice);
            cast.count() as u32 // at most ACTORS_MAX
        };
        let kinds = self.kinds(constitution);
        let needed = kinds
            .iter()
            .map(|kind| constitution.voting.policy_for(*kind).needs(members.len()))
            .max()
            // A change without a kind changes nothing; such are refused when they are proposed.
            .unwrap_or_else(|| constitution.voting.policy.needs(members.len()));
        Tally {
            in_favour: count(Choice::For),
            against: count(Choice::Against),
            abstained: count(Choice::Abstain),
            members: members.len() as u32, // at most ACTORS_MAX
            needed: needed as u32,         // a policy needs at most M, a u32, or all members
        }
    }
}
