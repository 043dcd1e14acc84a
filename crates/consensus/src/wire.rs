//! Messages between engines, as bytes.
//!
//! ```text
//! u32 length of head | head: minicbor | for each entry of an Append: u32 length | payload
//! ```
//! Numbers are big-endian. Payloads are not copied when read: they are slices of the message.
//! Whoever calls this has authenticated the sender; even so, nothing here trusts a length.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use types::{Index, NodeId, Term, limits};

use crate::{Configuration, LogEntry, Message};

/// Most entries in one message: the head stays far below [`HEAD_BYTES_MAX`].
pub(crate) const ENTRIES_MAX: usize = 1024;
/// Most bytes of entries in one message, or one larger entry: 1 ms on a 10 Gbit/s link, so that a
/// heartbeat never waits long behind entries.
pub(crate) const ENTRIES_BYTES_MAX: usize = 1 << 20;
/// 1,024 heads of some 12 bytes, and configurations of 64 nodes in a few of them.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// Terms, indices and rounds count events; a larger number can only be an attack on the counter.
const NUMBER_MAX: u64 = 1 << 62;

/// What an entry says besides its payload; its index follows from its place.
#[derive(Debug, Encode, Decode)]
pub(crate) struct EntryHead {
    #[n(0)]
    term: Term,
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

/// The heads of entries, for [`Head::Append`].
pub(crate) fn heads<'a>(entries: impl IntoIterator<Item = &'a LogEntry>) -> Vec<EntryHead> {
    let head = |entry: &LogEntry| EntryHead {
        term: entry.term,
        configuration: entry.configuration.as_ref().map(ConfigurationHead::from),
    };
    entries.into_iter().map(head).collect()
}

/// Makes a message; `payloads` only with [`Head::Append`], as many as it has heads.
pub(crate) fn encode<'a>(
    head: &Head,
    payloads: impl Iterator<Item = &'a Bytes> + Clone,
) -> Message {
    let head = minicbor::to_vec(head).expect("writing to memory does not fail");
    let size: usize = payloads.clone().map(|payload| 4 + payload.len()).sum();
    let mut bytes = BytesMut::with_capacity(4 + head.len() + size);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("entries are below 64 MiB");
    bytes.put_u32(length(&head));
    bytes.put_slice(&head);
    for payload in payloads {
        bytes.put_u32(length(payload));
        bytes.put_slice(payload);
    }
    Message(bytes.freeze())
}

/// Takes a block with its length in front off the beginning.
fn block(bytes: &mut Bytes, max: usize) -> Option<Bytes> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= max && *length <= bytes.len() - 4)?;
    let mut block = bytes.split_to(4 + length);
    Some(block.split_off(4))
}

/// Reads a message: its head and, of an append, its entries. `None` if it is none of ours.
pub(crate) fn decode(message: &Message) -> Option<(Head, Vec<LogEntry>)> {
    let mut bytes = message.0.clone();
    if bytes.len() > limits::PEER_MESSAGE_BYTES_MAX {
        return None;
    }
    let head = block(&mut bytes, HEAD_BYTES_MAX)?;
    let mut decoder = minicbor::Decoder::new(&head);
    let mut head: Head = decoder.decode().ok()?;
    if decoder.position() != decoder.input().len()
        || !head.numbers().iter().all(|number| *number <= NUMBER_MAX)
    {
        return None;
    }
    let mut entries = Vec::new();
    if let Head::Append {
        term,
        previous_term,
        previous_index,
        entries: heads,
        ..
    } = &mut head
    {
        if heads.len() > ENTRIES_MAX
            || (*previous_index == Index::ZERO) != (*previous_term == Term::ZERO)
        {
            return None;
        }
        let (mut before, mut index) = (*previous_term, *previous_index);
        for head in heads.drain(..) {
            index = index.next();
            if head.term < before || head.term == Term::ZERO || head.term > *term {
                return None;
            }
            before = head.term;
            let configuration = head.configuration.map(ConfigurationHead::open);
            let configuration = if configuration.is_some() {
                Some(configuration.flatten()?)
            } else {
                None
            };
            let payload = block(&mut bytes, limits::ENTRY_BYTES_MAX)?;
            entries.push(LogEntry {
                term: head.term,
                index,
                payload,
                configuration,
            });
        }
    }
    bytes.is_empty().then_some((head, entries))
}

impl Head {
    fn numbers(&self) -> [u64; 5] {
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
        let Some((head, entries)) = decode(self) else {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn append(payloads: &[&[u8]]) -> Message {
        let entries: Vec<LogEntry> = (5..)
            .zip(payloads)
            .map(|(index, payload)| LogEntry {
                term: Term(3),
                index: Index(index),
                payload: Bytes::copy_from_slice(payload),
                configuration: (index == 6).then(|| Configuration::of([NodeId(1), NodeId(9)])),
            })
            .collect();
        let head = Head::Append {
            term: Term(3),
            previous_term: Term(2),
            previous_index: Index(4),
            commit: Index(4),
            round: 1,
            answer: true,
            entries: heads(&entries),
        };
        encode(&head, entries.iter().map(|entry| &entry.payload))
    }

    #[test]
    fn payloads_are_slices_of_the_message() {
        let message = append(&[b"one", b"", b"three"]);
        let (_, entries) = decode(&message).expect("our own message");
        assert_eq!(entries[2].payload, "three");
        assert_eq!(
            entries[1].configuration,
            Some(Configuration::of([NodeId(1), NodeId(9)]))
        );
        let range = message.0.as_ptr_range();
        assert!(range.contains(&entries[2].payload.as_ptr()));
    }

    proptest! {
        #[test]
        fn damaged_messages_do_no_harm(
            cut in 0..200usize, at in 0..200usize, with in any::<u8>(), random in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let whole = append(&[b"payload one", b"payload two"]).0;
            let cut = cut.min(whole.len());
            prop_assert!(cut == whole.len() || decode(&Message(whole.slice(..cut))).is_none());
            let mut damaged = whole.to_vec();
            let at = at % damaged.len();
            damaged[at] = with;
            let _ = decode(&Message(damaged.into()));
            let _ = decode(&Message(random.into()));
        }
    }
}
