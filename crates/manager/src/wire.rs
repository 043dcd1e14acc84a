//! What validating nodes say to one another on the attested channel, and its framing.
//!
//! A frame is a 4-byte big-endian length (of what follows), one byte that names the message, and its
//! body. Everything is hostile until the channel has named the node that speaks, and then as
//! trustworthy as that node's code manifest entry.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use types::limits::PEER_MESSAGE_BYTES_MAX;
use types::{Digest, Epoch, Index, Millis, NetworkId, NodeId, Term};

/// A message between two validating nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Joiner: who are you? Appraise yourself to me.
    Hello(Hello),
    /// Answer to `Hello`: evidence over the joiner's nonce, and a nonce for the joiner's.
    Welcome(Welcome),
    /// Joiner: let me in.
    Join(Join),
    /// Answer to `Join`: committed. Keys and the list of nodes come along.
    Joined(Joined),
    /// Not here: the leader is at this address.
    Redirect { address: String },
    /// Refused, with the reason; whether trying again later can help.
    Refused { reason: String, retry: bool },
    /// The consensus engine's own message.
    Consensus(Bytes),
    /// Units for the leader's worker: a `boundary::Inject`.
    Units { protocol: u16, inject: Bytes },
    /// Units that the leader refused: a `boundary::Refused`.
    UnitsRefused { protocol: u16, refused: Bytes },
    /// What an administrator handed in, for the leader: a `governance::SignedMessage`.
    Poll { poll: u8, message: Bytes },
    /// The leader does not record it.
    PollRefused {
        digest: Digest,
        status: u16,
        reason: String,
    },
    /// The keys of epochs, for a node of the list.
    EpochKeys(Vec<SessionKey>),
    /// Give me the keys of the newest epoch.
    KeysAsk,
    /// What a node says for its actor in a key generation, for the leader: COSE_Sign1 by the node.
    KeyMessage(Bytes),
    /// This node attests again: let it go on having the keys.
    KeyAsk(KeyAsk),
    /// An actor's part in opening an epoch's keys.
    Partials(Partials),
    /// The leader lost its keys, so that nobody can record who is given them: give me your part.
    PartialsAsk { epoch: Epoch },
    /// An auditor asks here for its grant's parts of these epochs: record that this node gives them.
    AuditAsk { grant: u64, from: Epoch, to: Epoch },
    /// For the leader, to record: whom this node gave keys, or refused them.
    KeysReport(KeysReport),
    /// While the network has no quorum, see `cold`.
    Cold(Box<crate::cold::Says>),
    /// Give me this piece of the snapshot at `index`.
    SnapshotAsk { index: Index, sequence: u64 },
    /// The piece, in the clear: every node seals its own file.
    SnapshotPiece {
        index: Index,
        sequence: u64,
        last: bool,
        data: Bytes,
    },
    /// There is no such snapshot here.
    SnapshotAbsent { index: Index },
    /// Give me committed entries from `first` on, to `last` at most.
    EntriesAsk { first: Index, last: Index },
    /// Committed entries, sealed as they are.
    Entries { first: Index, entries: Vec<Bytes> },
}

/// A node asks to go on having the keys.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyAsk {
    #[n(0)]
    pub epoch: Epoch,
    /// Of the lease that it wants; its evidence is over it.
    #[n(1)]
    pub number: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub evidence: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub endorsements: Vec<u8>,
}

/// A node was asked for keys, or for its part of them, and is not the one that records it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeysReport {
    /// Who asked; zero if it is no node that ever was one of the network.
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub epoch: Epoch,
    /// Why it is given nothing; none if it was given them.
    #[n(2)]
    pub refused: Option<String>,
}

/// Partial decryptions of the two keys of an epoch, as `threshold` writes them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Partials {
    #[n(0)]
    pub epoch: Epoch,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub session: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub history: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    #[n(0)]
    pub network: NetworkId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
}

/// Who a node is: the tuple that its owner signed, and evidence of its code.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Credentials {
    /// COSE_Sign1 over `governance::NodeTuple`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub tuple: Vec<u8>,
    /// Certificates of who signed the tuple, leaf first, DER.
    #[n(1)]
    pub owner_chain: Vec<minicbor::bytes::ByteVec>,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub evidence: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub endorsements: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    #[n(0)]
    pub credentials: Credentials,
    /// For the joiner's evidence.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    #[n(2)]
    pub constitution: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Join {
    #[n(0)]
    pub credentials: Credentials,
    /// It has no keys yet, and cannot begin without. Of a node that only wants to hear who the others are,
    /// no keys are on their way.
    #[n(1)]
    pub keys: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Joined {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub keys: Vec<SessionKey>,
    /// Who may speak to the new node before it has read the ledger itself.
    #[n(2)]
    pub nodes: Vec<Known>,
    #[n(3)]
    pub standing: Standing,
}

/// How far the network is, as the node that says so knows it: what a joiner holds its own files against.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Standing {
    /// The last committed entry and its digest.
    #[n(0)]
    pub committed: Index,
    #[n(1)]
    pub digest: Digest,
    /// The terms of the committed entries, as `consensus::Runs` has them.
    #[n(2)]
    pub runs: Vec<(Index, Term)>,
    /// The newest snapshots, ascending, each with the epoch of its key and the digest that the ledger records.
    #[n(3)]
    pub snapshots: Vec<(Index, Epoch, Digest)>,
    /// Not while a restart may yet come to nothing: then only those join who are pledged to it.
    #[n(4)]
    pub established: bool,
}

/// The keys of an epoch on their way over the attested channel. Its `Debug` shows only the epoch.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionKey {
    #[n(0)]
    pub epoch: Epoch,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// Opens the link to the epoch before.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub history: [u8; 32],
    /// What is left of their life where they come from; none while they are not sealed to the actors.
    #[n(3)]
    pub life: Option<Left>,
}

/// What is left of the life of keys: it passes from node to node with them, and M actors alone begin
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Left {
    #[n(0)]
    pub ms: u64,
    /// When it ends by the clock of the one that gives them. A host that holds its own clock back does not
    /// lengthen the life that others count.
    #[n(1)]
    pub ends: Millis,
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKey(of {:?})", self.epoch)
    }
}

impl Drop for SessionKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
        zeroize::Zeroize::zeroize(&mut self.history);
    }
}

/// An admitted node, as far as another needs to know to speak with it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Known {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub address: String,
    #[n(2)]
    pub key: crypto::PublicKey,
}

/// The peer sent what is no message. The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("message longer than {PEER_MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    #[error("message of an unknown kind or shape")]
    Shape,
}

/// Longest message from a peer that is not in the VN list.
pub const STRANGER_MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Longest message from the node that one asked for admission: the terms of a hundred thousand leaders.
pub const SPONSOR_MESSAGE_BYTES_MAX: usize = 4 << 20;

impl PeerMessage {
    /// Appends the framed message to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(0);
        match self {
            Self::Hello(m) => put(out, 1, m),
            Self::Welcome(m) => put(out, 2, m),
            Self::Join(m) => put(out, 3, m),
            Self::Joined(m) => put(out, 4, m),
            Self::Redirect { address } => put(out, 5, address),
            Self::Refused { reason, retry } => put(out, 6, (reason, retry)),
            Self::Consensus(bytes) => raw(out, 7, None, bytes),
            Self::Units { protocol, inject } => raw(out, 8, Some(*protocol), inject),
            Self::UnitsRefused { protocol, refused } => raw(out, 9, Some(*protocol), refused),
            Self::SnapshotAsk { index, sequence } => put(out, 10, (index, sequence)),
            Self::SnapshotPiece {
                index,
                sequence,
                last,
                data,
            } => {
                out.push(11);
                out.put_u64(index.0);
                out.put_u64(*sequence);
                out.put_u8(u8::from(*last));
                out.extend_from_slice(data);
            }
            Self::SnapshotAbsent { index } => put(out, 12, index),
            Self::EntriesAsk { first, last } => put(out, 13, (first, last)),
            Self::Entries { first, entries } => {
                out.push(14);
                out.put_u64(first.0);
                for entry in entries {
                    let length = u32::try_from(entry.len()).expect("below the limit of an entry");
                    out.put_u32(length);
                    out.extend_from_slice(entry);
                }
            }
            Self::Poll { poll, message } => {
                out.extend_from_slice(&[20, *poll]);
                out.extend_from_slice(message);
            }
            Self::EpochKeys(keys) => put(out, 22, keys),
            Self::KeysAsk => out.push(23),
            Self::KeyMessage(signed) => raw(out, 24, None, signed),
            Self::KeyAsk(m) => put(out, 25, m),
            Self::AuditAsk { grant, from, to } => put(out, 28, (grant, from, to)),
            Self::Partials(m) => put(out, 26, m),
            Self::PartialsAsk { epoch } => put(out, 27, epoch),
            Self::KeysReport(m) => put(out, 29, m),
            Self::Cold(says) => put(out, 30, says),
            Self::PollRefused {
                digest,
                status,
                reason,
            } => put(out, 21, (digest, status, reason)),
        }
        let length = out.len() - start - 4;
        assert!(
            length <= PEER_MESSAGE_BYTES_MAX,
            "whoever makes messages keeps their limits"
        );
        let length = u32::try_from(length).expect("the limit fits 32 bits");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Cuts the next whole message off `buffer`; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn cut(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Self>, Broken> {
        let Some(prefix) = buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize; // u32 always fits usize here
        if length > bytes_max {
            return Err(Broken::TooLong);
        }
        if buffer.len() < 4 + length {
            return Ok(None);
        }
        buffer.advance(4);
        let mut frame = buffer.split_to(length).freeze();
        if frame.is_empty() {
            return Err(Broken::Shape);
        }
        let kind = frame.get_u8();
        let protocol = |frame: &mut Bytes| {
            if frame.len() < 2 {
                Err(Broken::Shape)
            } else {
                Ok(frame.get_u16())
            }
        };
        Ok(Some(match kind {
            1 => Self::Hello(get(&frame)?),
            2 => Self::Welcome(get(&frame)?),
            3 => Self::Join(get(&frame)?),
            4 => Self::Joined(get(&frame)?),
            5 => Self::Redirect {
                address: get(&frame)?,
            },
            6 => {
                let (reason, retry) = get(&frame)?;
                Self::Refused { reason, retry }
            }
            7 => Self::Consensus(frame),
            8 => Self::Units {
                protocol: protocol(&mut frame)?,
                inject: frame,
            },
            9 => Self::UnitsRefused {
                protocol: protocol(&mut frame)?,
                refused: frame,
            },
            20 if !frame.is_empty() => Self::Poll {
                poll: frame.get_u8(),
                message: frame,
            },
            21 => {
                let (digest, status, reason) = get(&frame)?;
                Self::PollRefused {
                    digest,
                    status,
                    reason,
                }
            }
            22 => Self::EpochKeys(get(&frame)?),
            23 if frame.is_empty() => Self::KeysAsk,
            24 => Self::KeyMessage(frame),
            25 => Self::KeyAsk(get(&frame)?),
            26 => Self::Partials(get(&frame)?),
            27 => Self::PartialsAsk {
                epoch: get(&frame)?,
            },
            28 => {
                let (grant, from, to) = get(&frame)?;
                Self::AuditAsk { grant, from, to }
            }
            29 => Self::KeysReport(get(&frame)?),
            30 => Self::Cold(Box::new(get(&frame)?)),
            10 => {
                let (index, sequence) = get(&frame)?;
                Self::SnapshotAsk { index, sequence }
            }
            11 => {
                if frame.len() < 17 {
                    return Err(Broken::Shape);
                }
                let (index, sequence) = (Index(frame.get_u64()), frame.get_u64());
                let last = match frame.get_u8() {
                    0 => false,
                    1 => true,
                    _ => return Err(Broken::Shape),
                };
                Self::SnapshotPiece {
                    index,
                    sequence,
                    last,
                    data: frame,
                }
            }
            12 => Self::SnapshotAbsent {
                index: get(&frame)?,
            },
            13 => {
                let (first, last) = get(&frame)?;
                Self::EntriesAsk { first, last }
            }
            14 => {
                if frame.len() < 8 {
                    return Err(Broken::Shape);
                }
                let first = Index(frame.get_u64());
                let mut entries = Vec::new();
                while !frame.is_empty() {
                    if frame.len() < 4 {
                        return Err(Broken::Shape);
                    }
                    let length = frame.get_u32() as usize; // u32 always fits usize here
                    if length == 0 || length > frame.len() {
                        return Err(Broken::Shape);
                    }
                    entries.push(frame.split_to(length));
                }
                Self::Entries { first, entries }
            }
            _ => return Err(Broken::Shape),
        }))
    }
}

fn put(out: &mut Vec<u8>, kind: u8, message: impl Encode<()>) {
    out.push(kind);
    minicbor::encode(message, out).expect("memory takes every byte");
}

fn raw(out: &mut Vec<u8>, kind: u8, protocol: Option<u16>, bytes: &[u8]) {
    out.push(kind);
    if let Some(protocol) = protocol {
        out.put_u16(protocol);
    }
    out.extend_from_slice(bytes);
}

fn get<T: for<'b> Decode<'b, ()>>(frame: &[u8]) -> Result<T, Broken> {
    let mut decoder = minicbor::Decoder::new(frame);
    let value = decoder.decode().map_err(|_| Broken::Shape)?;
    if decoder.position() == frame.len() {
        Ok(value)
    } else {
        Err(Broken::Shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_any_cut() {
        let messages = [
            PeerMessage::Hello(Hello {
                network: NetworkId([1; 32]),
                nonce: [2; 32],
            }),
            PeerMessage::Redirect {
                address: "vn:1".into(),
            },
            PeerMessage::Refused {
                reason: "why".into(),
                retry: true,
            },
            PeerMessage::Consensus(Bytes::from_static(b"raft")),
            PeerMessage::Units {
                protocol: 3,
                inject: Bytes::from_static(b"units"),
            },
            PeerMessage::SnapshotAsk {
                index: Index(7),
                sequence: 1,
            },
            PeerMessage::SnapshotPiece {
                index: Index(7),
                sequence: 1,
                last: true,
                data: Bytes::from_static(b"state"),
            },
            PeerMessage::SnapshotAbsent { index: Index(7) },
            PeerMessage::Cold(Box::new(crate::cold::Says::Refused {
                reason: "why".into(),
            })),
            PeerMessage::EntriesAsk {
                first: Index(1),
                last: Index(9),
            },
            PeerMessage::Entries {
                first: Index(1),
                entries: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
            },
            PeerMessage::EpochKeys(vec![SessionKey {
                epoch: Epoch(3),
                key: [1; 32],
                history: [2; 32],
                life: Some(Left {
                    ms: 900,
                    ends: Millis(7),
                }),
            }]),
            PeerMessage::KeysReport(KeysReport {
                node: NodeId(4),
                epoch: Epoch(3),
                refused: Some("why".into()),
            }),
            PeerMessage::Poll {
                poll: 2,
                message: Bytes::from_static(b"ballot"),
            },
            PeerMessage::AuditAsk {
                grant: 3,
                from: Epoch(4),
                to: Epoch(5),
            },
            PeerMessage::PollRefused {
                digest: Digest([3; 32]),
                status: 409,
                reason: "why".into(),
            },
        ];
        let mut wire = Vec::new();
        messages.iter().for_each(|m| m.encode(&mut wire));
        for cut in 0..wire.len() {
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(message) =
                    PeerMessage::cut(&mut buffer, 1 << 20).expect("well-formed")
                {
                    got.push(message);
                }
            }
            assert_eq!(got, messages);
        }
    }

    #[test]
    fn hostile_frames_are_refused() {
        let mut long = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 7][..]);
        assert_eq!(
            PeerMessage::cut(&mut long, STRANGER_MESSAGE_BYTES_MAX),
            Err(Broken::TooLong)
        );
        for frame in [
            &[0u8, 0, 0, 0][..],
            &[0, 0, 0, 1, 99],
            &[0, 0, 0, 2, 8, 0],
            &[0, 0, 0, 2, 1, 0x80],
            &[0, 0, 0, 3, 11, 0, 0],
            &[0, 0, 0, 3, 14, 0, 0],
            &[0, 0, 0, 13, 14, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9],
        ] {
            assert_eq!(
                PeerMessage::cut(&mut BytesMut::from(frame), 100),
                Err(Broken::Shape),
                "{frame:?}"
            );
        }
    }
}
