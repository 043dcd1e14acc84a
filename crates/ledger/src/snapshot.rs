//! Snapshots: how a VN seals the state for its own disk, and the digest by which VNs compare theirs.
//!
//! A snapshot is the state after one `Snapshot` entry, as bytes that are the same on every VN. It
//! is cut into pieces; each VN seals its own, so that a chunk opens only in its place: the key
//! belongs to (session key, VN key, index), the nonce is the chunk's number, and the whole header is
//! authenticated. A VN key lives in one enclave and an index has one plaintext, so even a second
//! sealing could only repeat the first. The header names epoch and VN key, because a restarted VN reads what its former incarnation sealed.
//!
//! The digest is keyed: who has the files cannot confirm a guess about the state. It stands in a
//! `SnapshotDigest` entry. Deliberately not here: what the plaintext means, and any file.

use bytes::{BufMut, Bytes};
use crypto::{
    AeadKey, Context, Hasher, PublicKey, SEAL_OVERHEAD_BYTES, Zeroizing, derive, equal, hmac,
};
use minicbor::{Decode, Encode};
use types::{Digest, Epoch, Index, limits};

use crate::{Refused, SealKeyring};

/// Version of the chunk's layout, its first byte.
pub const VERSION: u8 = 1;

/// Length of a chunk's header: version, last, index, sequence, epoch, VN public key.
pub const HEADER_BYTES: usize = 91;

/// Longest sealed chunk.
pub const CHUNK_BYTES_MAX: usize =
    HEADER_BYTES + limits::SNAPSHOT_CHUNK_BYTES + SEAL_OVERHEAD_BYTES;

/// Most chunks of one snapshot: 16 TiB, more than any memory holds.
pub const CHUNKS_MAX: u64 = 1 << 24;

/// What a snapshot file begins with; the index follows (u64, big-endian), then each chunk as its
/// length (u32, big-endian) and its bytes.
pub const MAGIC: &[u8; 8] = b"COCOSNP1";

/// Length of the beginning of a snapshot file: magic and index.
pub const BEGIN_BYTES: usize = 16;

/// Longest body of a `SnapshotDigest` entry: an array of a number and 32 bytes.
const STATEMENT_BYTES_MAX: usize = 64;

/// Whether chunks follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// More follow: the chunk is full.
    Inner,
    /// The snapshot ends with this chunk, which may be empty.
    Last,
}

/// What a chunk says of itself; authentic once [`open_chunk`] opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    pub part: Part,
    /// The `Snapshot` entry after which the state was this.
    pub index: Index,
    /// Place of the chunk in the snapshot, from 0.
    pub sequence: u64,
    /// Epoch of the session key.
    pub epoch: Epoch,
    /// VN key of the incarnation that sealed.
    pub sealer: PublicKey,
}

impl ChunkHeader {
    /// Reads the header of a sealed chunk and checks its length, without keys.
    ///
    /// # Errors
    /// [`BadChunk`]: the bytes are no chunk.
    pub fn read(chunk: &[u8]) -> Result<Self, BadChunk> {
        if chunk.len() > CHUNK_BYTES_MAX {
            return Err(BadChunk::Shape("longer than a chunk may be"));
        }
        let Some(head) = chunk.first_chunk::<HEADER_BYTES>() else {
            return Err(BadChunk::Shape("shorter than its header"));
        };
        let number =
            |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        if head[0] != VERSION {
            return Err(BadChunk::Version(head[0]));
        }
        let part = match head[1] {
            0 => Part::Inner,
            1 => Part::Last,
            _ => return Err(BadChunk::Shape("neither an inner nor a last chunk")),
        };
        let plain = (chunk.len() - HEADER_BYTES).checked_sub(SEAL_OVERHEAD_BYTES);
        let plain = plain.ok_or(BadChunk::Shape("shorter than its tag"))?;
        if part == Part::Inner && plain != limits::SNAPSHOT_CHUNK_BYTES {
            return Err(BadChunk::Shape("only the last chunk is not full"));
        }
        let (index, sequence) = (Index(number(2)), number(10));
        if index == Index::ZERO || sequence >= CHUNKS_MAX {
            return Err(BadChunk::Shape("its index or its number is impossible"));
        }
        Ok(Self {
            part,
            index,
            sequence,
            epoch: Epoch(number(18)),
            sealer: PublicKey::from_sec1(&head[26..])
                .map_err(|_| BadChunk::Shape("its sealer's key is no key"))?,
        })
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        let mut out = &mut head[..];
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.part == Part::Last));
        out.put_u64(self.index.0);
        out.put_u64(self.sequence);
        out.put_u64(self.epoch.0);
        out.put_slice(self.sealer.as_sec1());
        head
    }
}

/// Why a chunk was refused: whoever gave it must give another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    #[error("malformed snapshot chunk: {0}")]
    Shape(&'static str),
    #[error("snapshot layout version {0}, this release reads version {VERSION}")]
    Version(u8),
    #[error("chunk {sequence} of snapshot {index} lies where chunk {wanted} of {of} belongs")]
    Place {
        index: Index,
        sequence: u64,
        of: Index,
        wanted: u64,
    },
    #[error("no session key of epoch {0}; ask the network for it")]
    NoKey(Epoch),
    #[error("chunk {sequence} of snapshot {index} is not authentic")]
    NotAuthentic { index: Index, sequence: u64 },
}

/// Seals the chunks of one snapshot of one VN, in order.
#[derive(Debug)]
pub struct Sealing {
    aead: AeadKey,
    /// Header of the next chunk.
    next: ChunkHeader,
    done: bool,
}

impl Sealing {
    /// For the snapshot at `index`, whose entry is of `epoch`, by the VN with the key `sealer`.
    ///
    /// # Errors
    /// [`Refused::NoKey`].
    pub fn new(
        keyring: &SealKeyring,
        epoch: Epoch,
        sealer: &PublicKey,
        index: Index,
    ) -> Result<Self, Refused> {
        let next = ChunkHeader {
            part: Part::Inner,
            index,
            sequence: 0,
            epoch,
            sealer: *sealer,
        };
        Ok(Self {
            aead: aead(keyring.session(epoch)?, &next),
            next,
            done: false,
        })
    }

    /// How many chunks were sealed: the number of the next one.
    pub fn sealed(&self) -> u64 {
        self.next.sequence
    }
}

fn aead(session: &[u8; 32], header: &ChunkHeader) -> AeadKey {
    let index = header.index.0.to_be_bytes();
    let info: [&[u8]; 2] = [header.sealer.as_sec1(), &index];
    AeadKey::new(&derive(session, Context::SnapshotSeal, &info))
}

/// Seals the next chunk of a snapshot.
///
/// # Panics
/// When the snapshot has ended, or an inner chunk is not exactly [`limits::SNAPSHOT_CHUNK_BYTES`]
/// long, or the last one is longer.
pub fn seal_chunk(sealing: &mut Sealing, part: Part, plaintext: &[u8]) -> Bytes {
    assert!(!sealing.done, "nothing follows the last chunk");
    let full = plaintext.len() == limits::SNAPSHOT_CHUNK_BYTES;
    let fits = plaintext.len() <= limits::SNAPSHOT_CHUNK_BYTES;
    assert!(full || part == Part::Last && fits, "chunks are full");
    assert!(sealing.next.sequence < CHUNKS_MAX, "a state fits in memory");
    let head = ChunkHeader {
        part,
        ..sealing.next
    }
    .to_bytes();
    let mut buffer = Vec::with_capacity(HEADER_BYTES + plaintext.len() + SEAL_OVERHEAD_BYTES);
    buffer.put_slice(&head);
    buffer.put_slice(plaintext);
    sealing
        .aead
        .seal(sealing.next.sequence, &head, &mut buffer, HEADER_BYTES);
    sealing.next.sequence += 1;
    sealing.done = part == Part::Last;
    buffer.into()
}

/// Opens a chunk of the snapshot at `index` that belongs at `sequence`, whichever VN sealed it, and
/// says whether it is the last.
///
/// # Errors
/// [`BadChunk`]: the bytes are no such chunk, or the key of its epoch is not held.
pub fn open_chunk(
    keyring: &SealKeyring,
    index: Index,
    sequence: u64,
    chunk: &[u8],
) -> Result<(Part, Vec<u8>), BadChunk> {
    let header = ChunkHeader::read(chunk)?;
    if (header.index, header.sequence) != (index, sequence) {
        return Err(BadChunk::Place {
            index: header.index,
            sequence: header.sequence,
            of: index,
            wanted: sequence,
        });
    }
    let session = keyring
        .session(header.epoch)
        .map_err(|_| BadChunk::NoKey(header.epoch))?;
    let mut plaintext = chunk[HEADER_BYTES..].to_vec();
    let length = aead(session, &header)
        .open(sequence, &chunk[..HEADER_BYTES], &mut plaintext)
        .map_err(|_| BadChunk::NotAuthentic { index, sequence })?
        .len();
    plaintext.truncate(length);
    Ok((header.part, plaintext))
}

/// What is wrong with a snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    #[error("does not begin as a snapshot file")]
    Begin,
    #[error("the file's name is not that of snapshot {0}, which it says it is")]
    Name(Index),
    #[error("a chunk of {0} bytes is impossible")]
    Length(u32),
    #[error(transparent)]
    Chunk(#[from] BadChunk),
    #[error("this chunk was sealed by another node or in another epoch than the ones before")]
    Mixed,
    #[error("something follows the last chunk")]
    Behind,
    #[error("the file ends before its last chunk does")]
    Incomplete,
}

/// Checks the framing of a snapshot file, piece by piece and without keys.
#[derive(Debug)]
pub struct Framing {
    index: Index,
    last: Option<ChunkHeader>,
}

impl Framing {
    /// For the file that is named for the snapshot at `index` and begins like this.
    ///
    /// # Errors
    /// [`BadFile`].
    pub fn new(index: Index, begin: &[u8; BEGIN_BYTES]) -> Result<Self, BadFile> {
        let number = begin.strip_prefix(MAGIC).ok_or(BadFile::Begin)?;
        let number = number.try_into().expect("the rest has eight bytes");
        let found = Index(u64::from_be_bytes(number));
        if found == index {
            Ok(Self { index, last: None })
        } else {
            Err(BadFile::Name(found))
        }
    }

    /// How long the chunk behind these four bytes is.
    ///
    /// # Errors
    /// [`BadFile`]: no chunk is so long, or none belongs here.
    pub fn length(&self, four: [u8; 4]) -> Result<usize, BadFile> {
        let length = u32::from_be_bytes(four);
        let bytes = usize::try_from(length).expect("usize has at least 32 bits");
        if self.last.is_some_and(|last| last.part == Part::Last) {
            Err(BadFile::Behind)
        } else if (HEADER_BYTES..=CHUNK_BYTES_MAX).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(BadFile::Length(length))
        }
    }

    /// Checks the next chunk.
    ///
    /// # Errors
    /// [`BadFile`].
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), BadFile> {
        let header = ChunkHeader::read(chunk)?;
        let wanted = self.last.map_or(0, |last| last.sequence + 1);
        if (header.index, header.sequence) != (self.index, wanted) {
            return Err(BadFile::Chunk(BadChunk::Place {
                index: header.index,
                sequence: header.sequence,
                of: self.index,
                wanted,
            }));
        }
        let by = |header: ChunkHeader| (header.epoch, header.sealer);
        if self.last.is_some_and(|last| by(last) != by(header)) {
            return Err(BadFile::Mixed);
        }
        self.last = Some(header);
        Ok(())
    }

    /// How many chunks the file had, when nothing follows.
    ///
    /// # Errors
    /// [`BadFile::Incomplete`].
    pub fn finish(self) -> Result<u64, BadFile> {
        match self.last {
            Some(last) if last.part == Part::Last => Ok(last.sequence + 1),
            _ => Err(BadFile::Incomplete),
        }
    }
}

/// The beginning of a snapshot file.
pub fn begin(index: Index) -> [u8; BEGIN_BYTES] {
    let mut begin = [0; BEGIN_BYTES];
    begin[..8].copy_from_slice(MAGIC);
    begin[8..].copy_from_slice(&index.0.to_be_bytes());
    begin
}

/// Computes the keyed digest of a snapshot's plaintext, piece by piece; how it is cut makes no
/// difference.
pub struct Digesting {
    key: Zeroizing<[u8; 32]>,
    hasher: Hasher,
    index: Index,
}

impl Digesting {
    /// For the snapshot at `index`, whose entry is of `epoch`.
    ///
    /// # Errors
    /// [`Refused::NoKey`].
    pub fn new(keyring: &SealKeyring, epoch: Epoch, index: Index) -> Result<Self, Refused> {
        let number = index.0.to_be_bytes();
        Ok(Self {
            key: derive(keyring.session(epoch)?, Context::SnapshotDigest, &[&number]),
            hasher: Hasher::new(),
            index,
        })
    }

    /// Adds the next bytes.
    #[must_use]
    pub fn update(mut self, plaintext: &[u8]) -> Self {
        self.hasher = self.hasher.raw(plaintext);
        self
    }

    /// What the `SnapshotDigest` entry states.
    pub fn finish(self) -> Statement {
        Statement {
            index: self.index,
            digest: hmac(&self.key, &self.hasher.finish().0),
        }
    }
}

impl core::fmt::Debug for Digesting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Digesting({})", self.index)
    }
}

/// The public body of a `SnapshotDigest` entry: the digest of the snapshot at an earlier index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Statement {
    #[n(0)]
    pub index: Index,
    #[n(1)]
    pub digest: Digest,
}

impl Statement {
    /// The body of the entry.
    pub fn to_cbor(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes any length")
    }

    /// Reads the body of the entry at `at`.
    ///
    /// # Errors
    /// [`Refused::Shape`]: not the one encoding of a statement about an earlier entry.
    pub fn from_cbor(bytes: &[u8], at: Index) -> Result<Self, Refused> {
        const SHAPE: Refused = Refused::Shape("the body is no digest of a snapshot");
        if bytes.len() > STATEMENT_BYTES_MAX {
            return Err(SHAPE);
        }
        let read: Self = minicbor::decode(bytes).map_err(|_| SHAPE)?;
        if read.to_cbor() != bytes {
            return Err(SHAPE);
        }
        if read.index == Index::ZERO || read.index >= at {
            return Err(Refused::Shape(
                "a digest is of a snapshot at an earlier entry",
            ));
        }
        Ok(read)
    }

    /// Whether `own` is of the same state: same index, same digest, compared in constant time.
    pub fn agrees(&self, own: &Self) -> bool {
        self.index == own.index && equal(&self.digest.0, &own.digest.0)
    }
}

#[cfg(test)]
mod tests {
    use crypto::{Entropy, SigningKey};

    use super::*;

    const FULL: usize = limits::SNAPSHOT_CHUNK_BYTES;

    fn key(seed: u8) -> PublicKey {
        *SigningKey::generate(&mut Entropy::new(&[seed; 32])).public()
    }

    fn keyring() -> SealKeyring {
        let mut keyring = SealKeyring::new();
        keyring.insert(Epoch(1), Zeroizing::new([1; 32]));
        keyring
    }

    fn sealing(seed: u8, index: u64) -> Sealing {
        Sealing::new(&keyring(), Epoch(1), &key(seed), Index(index)).expect("held")
    }

    #[test]
    fn a_snapshot_opens_in_its_place_only() {
        let mut sealing = sealing(1, 9);
        let full = vec![5; FULL];
        let chunks = [
            seal_chunk(&mut sealing, Part::Inner, &full),
            seal_chunk(&mut sealing, Part::Inner, &full),
            seal_chunk(&mut sealing, Part::Last, b"end"),
        ];
        let open = |index, sequence, chunk| open_chunk(&keyring(), Index(index), sequence, chunk);
        assert_eq!(open(9, 1, &chunks[1]), Ok((Part::Inner, full)));
        assert_eq!(open(9, 2, &chunks[2]), Ok((Part::Last, b"end".to_vec())));
        assert_ne!(chunks[0][HEADER_BYTES..], chunks[1][HEADER_BYTES..]);
        let misplaced = |index, sequence| BadChunk::Place {
            index: Index(9),
            sequence: 0,
            of: Index(index),
            wanted: sequence,
        };
        assert_eq!(open(9, 1, &chunks[0]), Err(misplaced(9, 1)));
        assert_eq!(open(8, 0, &chunks[0]), Err(misplaced(8, 0)));
        assert_eq!(
            open_chunk(&SealKeyring::new(), Index(9), 0, &chunks[0]),
            Err(BadChunk::NoKey(Epoch(1)))
        );
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let chunk = seal_chunk(&mut sealing(1, 9), Part::Last, b"the state");
        let refused = |bytes: &[u8]| open_chunk(&keyring(), Index(9), 0, bytes).is_err();
        for bit in 0..chunk.len() * 8 {
            let mut changed = chunk.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&changed), "bit {bit}");
        }
        assert!((0..chunk.len()).all(|length| refused(&chunk[..length])));
        assert!(refused(&[&chunk[..], &[0]].concat()));
        assert!(refused(&vec![0; CHUNK_BYTES_MAX + 1]));
        assert!(!refused(&chunk));
    }

    #[test]
    fn no_two_snapshots_share_a_key_stream() {
        let zeros = [0; 64];
        let mut other = SealKeyring::new();
        other.insert(Epoch(1), Zeroizing::new([2; 32]));
        let mut all = [
            sealing(1, 9),
            sealing(2, 9),
            sealing(1, 10),
            Sealing::new(&other, Epoch(1), &key(1), Index(9)).expect("held"),
        ];
        let streams: std::collections::BTreeSet<Vec<u8>> = all
            .iter_mut()
            .map(|sealing| seal_chunk(sealing, Part::Last, &zeros)[HEADER_BYTES..].to_vec())
            .collect();
        assert_eq!(streams.len(), 4);
    }

    #[test]
    #[should_panic(expected = "nothing follows the last chunk")]
    fn nothing_is_sealed_behind_the_last_chunk() {
        let mut sealing = sealing(1, 9);
        seal_chunk(&mut sealing, Part::Last, b"");
        seal_chunk(&mut sealing, Part::Last, b"");
    }

    #[test]
    fn the_digest_is_of_the_plaintext_however_it_is_cut_and_needs_the_session_key() {
        let digest = |pieces: &[&[u8]], keyring: &SealKeyring, index| {
            let start = Digesting::new(keyring, Epoch(1), Index(index)).expect("held");
            let all = pieces.iter().fold(start, |d, piece| d.update(piece));
            all.finish()
        };
        let mut other = SealKeyring::new();
        other.insert(Epoch(1), Zeroizing::new([2; 32]));
        let one = digest(&[b"the state"], &keyring(), 9);
        assert!(one.agrees(&digest(&[b"the ", b"", b"state"], &keyring(), 9)));
        assert!(!one.agrees(&digest(&[b"the State"], &keyring(), 9)));
        assert!(!one.agrees(&digest(&[b"the state"], &keyring(), 10)));
        assert!(!one.agrees(&digest(&[b"the state"], &other, 9)));
    }

    #[test]
    fn a_statement_has_one_encoding_and_is_of_an_earlier_entry() {
        let statement = Statement {
            index: Index(9),
            digest: Digest([3; 32]),
        };
        let body = statement.to_cbor();
        assert_eq!(Statement::from_cbor(&body, Index(10)), Ok(statement));
        assert!(Statement::from_cbor(&body, Index(9)).is_err());
        assert!(Statement::from_cbor(&[&body[..], &[0]].concat(), Index(10)).is_err());
        assert!(Statement::from_cbor(&body[..body.len() - 1], Index(10)).is_err());
        assert!(Statement::from_cbor(&[], Index(10)).is_err());
        assert!(Statement::from_cbor(&[0x80; 100], Index(10)).is_err());
    }
}
