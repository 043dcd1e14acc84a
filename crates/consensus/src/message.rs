//! What engines say to one another. How it becomes bytes is in `wire`.

use core::fmt;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use types::{Index, NodeId, Term, limits};

use crate::{Configuration, LogEntry, Message, wire};

/// What an entry says besides its payload; its index follows from its place.
#[derive(Debug, Encode, Decode)]
pub(crate) struct EntryHead {
    #[n(0)]
    pub(crate) term: Term,
    #[n(1)]
    configuration: Option<ConfigurationHead>,
}

#[derive(Debug, Encode, Decode)]
struct ConfigurationHead {
    #[n(0)]
    voters: Vec<NodeId>,
    #[n(1)]
    incoming: Option<Vec<NodeId>>,
    #[n(2)]
    learners: Vec<NodeId>,
}

/// Everything that one engine says to another.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Head {
    /// Would you vote for me in `term`? Nobody's term changes (thesis 9.6).
    #[n(0)]
    AskVote {
        #[n(0)]
        term: Term,
        #[n(1)]
        last_term: Term,
        #[n(2)]
        last_index: Index,
    },
    /// If granted, `term` is the asked one, else the answerer's own.
    #[n(1)]
    WouldVote {
        #[n(0)]
        term: Term,
        #[n(1)]
        granted: bool,
    },
    /// RequestVote (thesis 3.4). `transfer`: the old leader asked for it, so do not protect it.
    #[n(2)]
    RequestVote {
        #[n(0)]
        term: Term,
        #[n(1)]
        last_term: Term,
        #[n(2)]
        last_index: Index,
        #[n(3)]
        transfer: bool,
    },
    #[n(3)]
    Voted {
        #[n(0)]
        term: Term,
        #[n(1)]
        granted: bool,
    },
    /// AppendEntries (thesis 3.5); without entries a heartbeat or news of a commit. Equal for all
    /// followers with the same `next`, so it is encoded once.
    #[n(4)]
    Append {
        #[n(0)]
        term: Term,
        #[n(1)]
        previous_term: Term,
        #[n(2)]
        previous_index: Index,
        #[n(3)]
        commit: Index,
        /// See `reads`; every answer repeats the newest round seen.
        #[n(4)]
        round: u64,
        /// Answer even if there is nothing new to say.
        #[n(5)]
        answer: bool,
        #[n(6)]
        entries: Vec<EntryHead>,
    },
    /// The sender's log equals the leader's up to `received`, and is on disk up to `matched`.
    #[n(5)]
    Accepted {
        #[n(0)]
        term: Term,
        #[n(1)]
        matched: Index,
        #[n(2)]
        received: Index,
        #[n(3)]
        round: u64,
    },
    /// No entry here equals the one at `rejected`; the logs may agree at `hint`. It acknowledges nothing.
    #[n(6)]
    Rejected {
        #[n(0)]
        term: Term,
        #[n(1)]
        rejected: Index,
        #[n(2)]
        hint_term: Term,
        #[n(3)]
        hint: Index,
        #[n(4)]
        round: u64,
    },
    /// Campaign now (thesis 3.10).
    #[n(7)]
    TimeoutNow {
        #[n(0)]
        term: Term,
    },
    /// A follower asks for a read index.
    #[n(8)]
    AskRead {
        #[n(0)]
        ticket: u64,
    },
    #[n(9)]
    ReadAt {
        #[n(0)]
        ticket: u64,
        #[n(1)]
        index: Option<Index>,
    },
}

impl From<&Configuration> for ConfigurationHead {
    fn from(configuration: &Configuration) -> Self {
        Self {
            voters: configuration.voters.iter().copied().collect(),
            incoming: configuration
                .incoming
                .as_ref()
                .map(|nodes| nodes.iter().copied().collect()),
            learners: configuration.learners.iter().copied().collect(),
        }
    }
}

impl ConfigurationHead {
    fn open(self) -> Option<Configuration> {
        let sets = [
            Some(&self.voters),
            self.incoming.as_ref(),
            Some(&self.learners),
        ];
        if sets
            .into_iter()
            .flatten()
            .any(|set| set.len() > limits::NODES_MAX)
        {
            return None;
        }
        Some(Configuration {
            voters: self.voters.into_iter().collect(),
            incoming: self.incoming.map(|nodes| nodes.into_iter().collect()),
            learners: self.learners.into_iter().collect(),
        })
    }
}

impl EntryHead {
    /// The entry with its place and payload; `None` if its configuration is larger than any.
    pub(crate) fn open(self, index: Index, payload: Bytes) -> Option<LogEntry> {
        let configuration = match self.configuration {
            Some(configuration) => Some(configuration.open()?),
            None => None,
        };
        Some(LogEntry {
            term: self.term,
            index,
            payload,
            configuration,
        })
    }
}

/// The heads of entries, for [`Head::Append`].
pub(crate) fn heads<'a>(entries: impl IntoIterator<Item = &'a LogEntry>) -> Vec<EntryHead> {
    let head = |entry: &LogEntry| EntryHead {
        term: entry.term,
        configuration: entry.configuration.as_ref().map(ConfigurationHead::from),
    };
    entries.into_iter().map(head).collect()
}

impl Head {
    /// All numbers that count something, for a check of their size.
    pub(crate) fn numbers(&self) -> [u64; 5] {
        match *self {
            Self::AskVote {
                term,
                last_term,
                last_index,
            } => [term.0, last_term.0, last_index.0, 0, 0],
            Self::RequestVote {
                term,
                last_term,
                last_index,
                ..
            } => [term.0, last_term.0, last_index.0, 0, 0],
            Self::WouldVote { term, .. } | Self::Voted { term, .. } | Self::TimeoutNow { term } => {
                [term.0, 0, 0, 0, 0]
            }
            Self::Append {
                term,
                previous_term,
                previous_index,
                commit,
                round,
                ..
            } => [term.0, previous_term.0, previous_index.0, commit.0, round],
            Self::Accepted {
                term,
                matched,
                received,
                round,
            } => [term.0, matched.0, received.0, round, 0],
            Self::Rejected {
                term,
                rejected,
                hint_term,
                hint,
                round,
            } => [term.0, rejected.0, hint_term.0, hint.0, round],
            Self::AskRead { .. } => [0; 5],
            Self::ReadAt { index, .. } => [index.map_or(0, |index| index.0), 0, 0, 0, 0],
        }
    }
}

/// One line for transcripts: `append t2 after 4@1 +2 commit 3`.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((head, entries)) = wire::decode(self) else {
            return write!(f, "not a message ({} bytes)", self.0.len());
        };
        let word = |granted: bool| if granted { "yes" } else { "no" };
        match head {
            Head::AskVote {
                term,
                last_term,
                last_index,
            } => {
                write!(f, "ask-vote t{term} last {last_index}@{last_term}")
            }
            Head::WouldVote { term, granted } => write!(f, "would-vote t{term} {}", word(granted)),
            Head::RequestVote {
                term,
                last_term,
                last_index,
                transfer,
            } => {
                let how = if transfer { " (transfer)" } else { "" };
                write!(f, "request-vote t{term} last {last_index}@{last_term}{how}")
            }
            Head::Voted { term, granted } => write!(f, "voted t{term} {}", word(granted)),
            Head::Append {
                term,
                previous_term,
                previous_index,
                commit,
                ..
            } => {
                write!(
                    f,
                    "append t{term} after {previous_index}@{previous_term} +{} commit {commit}",
                    entries.len()
                )
            }
            Head::Accepted {
                term,
                matched,
                received,
                ..
            } => {
                write!(f, "accepted t{term} received {received} on disk {matched}")
            }
            Head::Rejected {
                term,
                rejected,
                hint_term,
                hint,
                ..
            } => {
                write!(f, "rejected t{term} {rejected}, try {hint}@{hint_term}")
            }
            Head::TimeoutNow { term } => write!(f, "timeout-now t{term}"),
            Head::AskRead { ticket } => write!(f, "ask-read {ticket}"),
            Head::ReadAt { ticket, index } => write!(f, "read-at {ticket} {index:?}"),
        }
    }
}
