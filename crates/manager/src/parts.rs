//! What a snapshot says: the manager's part, and the part of each protocol's worker.
//!
//! ```text
//! snapshot = length u64 | manager's part (CBOR) | for each protocol, in the constitution's order: chunk ...
//! chunk    = length u32, its top bit set in a part's last | bytes, SNAPSHOT_CHUNK_BYTES but in the last
//! ```
//! Numbers are big-endian. All of it follows from the committed entries, so that it is the same on
//! every node. The bytes are cut anew into pieces of `SNAPSHOT_CHUNK_BYTES` for sealing and for peers.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use crypto::Zeroizing;
use ledger::Frontier;
use minicbor::{Decode, Encode};
use types::limits::SNAPSHOT_CHUNK_BYTES;
use types::{Digest, Epoch, Height, Index, Millis, Term};

/// Longest manager's part: governance's state, which has its own limit, and terms and configurations
/// of millions of changes.
const MANAGER_PART_BYTES_MAX: usize = 128 << 20;

/// In a chunk's length: the part ends with it.
const LAST: u32 = 1 << 31;

/// Where the order stands after the entry of the snapshot, and what the manager knows by then.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ManagerPart {
    #[n(0)]
    pub index: Index,
    #[n(1)]
    pub term: Term,
    #[n(2)]
    pub time: Millis,
    #[n(3)]
    pub epoch: Epoch,
    #[n(4)]
    pub restarts: u32,
    /// Of the entry at `index`.
    #[n(5)]
    pub digest: Digest,
    #[n(6)]
    pub frontier: Frontier,
    /// The terms up to here, as `consensus::Runs` has them.
    #[n(7)]
    pub runs: Vec<(Index, Term)>,
    /// Height of each protocol, in the order of the constitution.
    #[n(8)]
    pub heights: Vec<Height>,
    /// Every configuration of consensus, with the index of its entry.
    #[n(9)]
    pub configurations: BTreeMap<Index, governance::Configuration>,
    /// The last snapshot entries, with the epoch of each.
    #[n(10)]
    pub points: BTreeMap<Index, Epoch>,
    /// The digests that the ledger records of them.
    #[n(11)]
    pub recorded: BTreeMap<Index, Digest>,
    /// `governance::State`, with the private key of the network's identity.
    #[cbor(n(12), with = "minicbor::bytes")]
    pub state: Zeroized,
}

/// Bytes that are erased when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Zeroized(pub Zeroizing<Vec<u8>>);

impl core::fmt::Debug for Zeroized {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<C> minicbor::bytes::EncodeBytes<C> for Zeroized {
    fn encode_bytes<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::bytes::DecodeBytes<'b, C> for Zeroized {
    fn decode_bytes(
        d: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Zeroizing::new(d.bytes()?.to_vec())))
    }
}

impl ManagerPart {
    /// The beginning of a snapshot: this part and its length.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Sized first, so that no half-grown buffer keeps the key.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.state.0.len() + (1 << 20)));
        bytes.extend_from_slice(&[0; 8]);
        minicbor::encode(self, &mut *bytes).expect("memory takes any length");
        let length = (bytes.len() - 8) as u64; // usize is at most 64 bits
        bytes[..8].copy_from_slice(&length.to_be_bytes());
        bytes
    }
}

/// The frame of a worker's chunk.
pub fn frame(bytes: usize, last: bool) -> [u8; 4] {
    let length = u32::try_from(bytes).expect("a chunk has a mebibyte at most");
    (length | if last { LAST } else { 0 }).to_be_bytes()
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Manager(Box<ManagerPart>),
    Worker {
        place: usize,
        sequence: u64,
        data: Bytes,
        last: bool,
    },
}

/// The bytes are no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the bytes of a snapshot: {0}")]
pub struct BadSnapshot(pub &'static str);

#[derive(Debug)]
enum Expect {
    Length,
    Manager(usize),
    Chunk { place: usize, sequence: u64 },
}

/// Reads a snapshot from pieces of any size.
#[derive(Debug)]
pub struct Reader {
    rest: BytesMut,
    expect: Expect,
    protocols: usize,
}

impl Reader {
    /// For a network of so many protocols.
    pub fn new(protocols: usize) -> Self {
        Self {
            rest: BytesMut::new(),
            expect: Expect::Length,
            protocols,
        }
    }

    /// Takes the next bytes and gives what they complete.
    ///
    /// # Errors
    /// [`BadSnapshot`].
    pub fn take(&mut self, plaintext: &[u8]) -> Result<Vec<Piece>, BadSnapshot> {
        self.rest.extend_from_slice(plaintext);
        let mut pieces = Vec::new();
        loop {
            match self.expect {
                Expect::Length => {
                    let Some(length) = self.rest.first_chunk::<8>() else {
                        break;
                    };
                    let length = usize::try_from(u64::from_be_bytes(*length))
                        .ok()
                        .filter(|length| *length <= MANAGER_PART_BYTES_MAX)
                        .ok_or(BadSnapshot("the manager's part is too long"))?;
                    self.rest.advance(8);
                    self.expect = Expect::Manager(length);
                }
                Expect::Manager(length) => {
                    if self.rest.len() < length {
                        break;
                    }
                    let bytes = self.rest.split_to(length);
                    let part = decode(&bytes)?;
                    if part.heights.len() != self.protocols {
                        return Err(BadSnapshot("it is of other protocols"));
                    }
                    pieces.push(Piece::Manager(Box::new(part)));
                    self.expect = Expect::Chunk {
                        place: 0,
                        sequence: 0,
                    };
                }
                Expect::Chunk { place, sequence } => {
                    if place == self.protocols {
                        if self.rest.is_empty() {
                            break;
                        }
                        return Err(BadSnapshot("bytes follow its end"));
                    }
                    let Some(length) = self.rest.first_chunk::<4>() else {
                        break;
                    };
                    let length = u32::from_be_bytes(*length);
                    let last = length & LAST != 0;
                    let length = (length & !LAST) as usize; // u32 always fits usize here
                    if length > SNAPSHOT_CHUNK_BYTES || (!last && length != SNAPSHOT_CHUNK_BYTES) {
                        return Err(BadSnapshot("a chunk of a worker's part has another length"));
                    }
                    if self.rest.len() < 4 + length {
                        break;
                    }
                    self.rest.advance(4);
                    pieces.push(Piece::Worker {
                        place,
                        sequence,
                        data: self.rest.split_to(length).freeze(),
                        last,
                    });
                    self.expect = if last {
                        Expect::Chunk {
                            place: place + 1,
                            sequence: 0,
                        }
                    } else {
                        Expect::Chunk {
                            place,
                            sequence: sequence + 1,
                        }
                    };
                }
            }
        }
        Ok(pieces)
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        matches!(self.expect, Expect::Chunk { place, .. } if place == self.protocols)
            && self.rest.is_empty()
    }
}

fn decode(bytes: &[u8]) -> Result<ManagerPart, BadSnapshot> {
    let part: ManagerPart =
        minicbor::decode(bytes).map_err(|_| BadSnapshot("the manager's part has no such shape"))?;
    if part.to_bytes()[8..] != *bytes {
        return Err(BadSnapshot("the manager's part is not written the one way"));
    }
    part.frontier
        .check()
        .map_err(|_| BadSnapshot("its tree is none"))?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> ManagerPart {
        ManagerPart {
            index: Index(9),
            term: Term(2),
            time: Millis(5),
            epoch: Epoch(1),
            restarts: 0,
            digest: Digest([1; 32]),
            frontier: Frontier::default(),
            runs: vec![(Index(1), Term(2))],
            heights: vec![Height(3), Height(0)],
            configurations: [(Index(1), governance::Configuration::default())].into(),
            points: [(Index(9), Epoch(1))].into(),
            recorded: [(Index(4), Digest([2; 32]))].into(),
            state: Zeroized(Zeroizing::new(vec![1, 2, 3])),
        }
    }

    fn snapshot() -> Vec<u8> {
        let full = vec![7; SNAPSHOT_CHUNK_BYTES];
        let mut bytes = part().to_bytes().to_vec();
        for (data, last) in [(&full[..], false), (b"end", true), (b"", true)] {
            bytes.extend_from_slice(&frame(data.len(), last));
            bytes.extend_from_slice(data);
        }
        bytes
    }

    #[test]
    fn a_snapshot_reads_the_same_however_it_is_cut() {
        let bytes = snapshot();
        let whole = Reader::new(2).take(&bytes).expect("a snapshot");
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[0], Piece::Manager(Box::new(part())));
        for size in [1000, 65_537, SNAPSHOT_CHUNK_BYTES] {
            let mut reader = Reader::new(2);
            let mut pieces = Vec::new();
            for cut in bytes.chunks(size) {
                assert!(!reader.is_complete());
                pieces.extend(reader.take(cut).expect("a snapshot"));
            }
            assert_eq!(pieces, whole);
            assert!(reader.is_complete());
        }
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        let bytes = snapshot();
        let read = |bytes: &[u8], protocols| {
            let mut reader = Reader::new(protocols);
            reader.take(bytes).map(|_| reader.is_complete())
        };
        assert_eq!(read(&bytes, 2), Ok(true));
        assert_eq!(read(&bytes[..bytes.len() - 1], 2), Ok(false));
        assert!(read(&[&bytes[..], &[0]].concat(), 2).is_err());
        assert!(read(&bytes, 1).is_err());
        assert!(read(&[0xff; 8], 2).is_err());
        let mut short = part().to_bytes().to_vec();
        short.extend_from_slice(&frame(3, false));
        assert!(read(&short, 2).is_err());
    }
}
