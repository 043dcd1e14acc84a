//! Known mistakes, to be put back on purpose: a checker that was never seen to fail proves nothing.
//!
//! Without cargo feature `mutations` nothing can set one, and the compiler removes the questions.

/// A mistake that some implementation of Raft has made (DESIGN section 5).
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    None,
    /// One node less than a majority is taken for a quorum.
    QuorumMinusOne,
    /// A joint configuration is decided by a majority of the union of both halves.
    UnionQuorum,
    /// As above, but only when a leader asks whether it still has a quorum.
    CheckQuorumUnion,
    /// An entry of an earlier term commits by counting its copies.
    CommitEarlierTerm,
    /// A negative acknowledgement's hint is taken for an acknowledgement.
    NackAdvancesMatch,
    /// A stale negative acknowledgement takes back what was acknowledged.
    NackLowersMatch,
    /// An append cuts the follower's log after its own entries, also when they match.
    TruncateOnAppend,
    /// Both of the above: what the leader sends again makes the follower cut what it had acknowledged.
    StaleNackTruncates,
    /// A follower acknowledges all it has, not only what the leader's messages confirmed.
    AcknowledgeUnreceived,
    /// A follower acknowledges what is not on its disk yet.
    AcknowledgeUnpersisted,
    /// The leader counts its own copy before it is on disk.
    LeaderCountsUnpersisted,
    /// A node retires when the configuration without it is appended, not when it is committed.
    RetireEarly,
    /// A node votes for each who asks.
    VoteTwice,
    /// A vote does not look at the candidate's log.
    VoteForShorterLog,
    /// The leader answers reads without asking whether it still leads.
    ReadWithoutRound,
}

impl Mutation {
    fn includes(self, other: Mutation) -> bool {
        self == Self::StaleNackTruncates
            && matches!(other, Self::NackLowersMatch | Self::TruncateOnAppend)
    }

    /// Whether this mistake is in force.
    pub(crate) fn is(self, other: Mutation) -> bool {
        cfg!(any(test, feature = "mutations")) && (self == other || self.includes(other))
    }
}
