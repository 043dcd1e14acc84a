//! An entry as bytes: header, public part, sealed part, and the digest that chains them.
//!
//! Nothing here needs a key. Whoever has the files can read headers, public parts and Merkle
//! leaves, and follow the chain; `seal` is where the private part opens.

use bytes::{BufMut, Bytes};
use crypto::{Context, Hasher, SEAL_OVERHEAD_BYTES, sha256};
use types::{Digest, Epoch, Height, Index, Millis, NodeId, Term, limits};

/// Version of the layout, the first byte of every entry.
pub const VERSION: u8 = 1;

/// Length of the header.
pub const HEADER_BYTES: usize = 96;

/// The header without the two lengths at its end: what a Merkle leaf binds.
pub(crate) const PLACE_BYTES: usize = 88;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first entry: the constitution that the network starts with.
    Genesis,
    /// The first entry of a leader's term.
    TermOpened,
    /// Administrative transactions, and records about keys and members.
    Administrative,
    /// A batch of one blockchain protocol; `protocol` is its place in the constitution.
    Application { protocol: u16, height: Height },
    /// A signature over the Merkle root of all transactions before.
    Signature,
    /// Every node takes a snapshot of the state after this entry, and a chunk file ends here.
    Snapshot,
    /// The digest of a snapshot, which every node compares with its own.
    SnapshotDigest,
}

/// What is known of an entry without any key. All of it is authenticated by the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// How often the network was restarted after it had lost its quorum.
    pub restarts: u32,
    pub term: Term,
    pub index: Index,
    /// Epoch of the session key that the entry is sealed under.
    pub epoch: Epoch,
    /// Ledger time, never decreasing.
    pub time: Millis,
    pub sealer: NodeId,
    /// Digest of the entry before; zero in the first.
    pub previous: Digest,
}

impl Header {
    /// The first 88 bytes: everything but the lengths of the parts.
    pub fn place(&self) -> [u8; PLACE_BYTES] {
        let (kind, protocol, height) = match self.kind {
            Kind::Genesis => (0, 0, Height::ZERO),
            Kind::TermOpened => (1, 0, Height::ZERO),
            Kind::Administrative => (2, 0, Height::ZERO),
            Kind::Application { protocol, height } => (3, protocol, height),
            Kind::Signature => (4, 0, Height::ZERO),
            Kind::Snapshot => (5, 0, Height::ZERO),
            Kind::SnapshotDigest => (6, 0, Height::ZERO),
        };
        let mut place = [0; PLACE_BYTES];
        let mut out = &mut place[..];
        out.put_u8(VERSION);
        out.put_u8(kind);
        out.put_u16(protocol);
        out.put_u32(self.restarts);
        out.put_u64(self.term.0);
        out.put_u64(self.index.0);
        out.put_u64(self.epoch.0);
        out.put_u64(self.time.0);
        out.put_u64(height.0);
        out.put_u64(self.sealer.0);
        out.put_slice(&self.previous.0);
        place
    }

    /// The header of an entry's bytes, without a look at the rest; nothing of it is authenticated.
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        Self::from_place(bytes.first_chunk::<PLACE_BYTES>()?).ok()
    }

    /// Reads what [`Header::place`] wrote.
    ///
    /// # Errors
    /// [`Refused`]: another version, an unknown kind, or a field that its kind does not have.
    pub fn from_place(place: &[u8; PLACE_BYTES]) -> Result<Self, Refused> {
        let number = |at: usize| {
            u64::from_be_bytes(
                place[at..at + 8]
                    .try_into()
                    .expect("eight bytes were taken"),
            )
        };
        if place[0] != VERSION {
            return Err(Refused::Version(place[0]));
        }
        let protocol = u16::from_be_bytes([place[2], place[3]]);
        let height = Height(number(40));
        let kind = match place[1] {
            0 => Kind::Genesis,
            1 => Kind::TermOpened,
            2 => Kind::Administrative,
            3 => Kind::Application { protocol, height },
            4 => Kind::Signature,
            5 => Kind::Snapshot,
            6 => Kind::SnapshotDigest,
            _ => return Err(Refused::Shape("unknown kind of entry")),
        };
        let application = matches!(kind, Kind::Application { .. });
        if !application && (protocol != 0 || height != Height::ZERO) {
            return Err(Refused::Shape(
                "only an application entry has a protocol and a height",
            ));
        }
        let index = Index(number(16));
        if index == Index::ZERO {
            return Err(Refused::Shape("the first index is 1"));
        }
        if index > Index::MAX {
            return Err(Refused::Shape("no ledger has so many entries"));
        }
        Ok(Self {
            kind,
            restarts: u32::from_be_bytes(place[4..8].try_into().expect("four bytes were taken")),
            term: Term(number(8)),
            index,
            epoch: Epoch(number(24)),
            time: Millis(number(32)),
            sealer: NodeId(number(48)),
            previous: Digest::from_slice(&place[56..]).expect("the rest has 32 bytes"),
        })
    }
}

/// Why an entry was refused. Whoever gave the bytes must give others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "entry of {bytes} bytes; the limit is {} bytes",
        limits::ENTRY_BYTES_MAX
    )]
    TooLong { bytes: usize },
    #[error("entry layout version {0}, this release reads version {VERSION}")]
    Version(u8),
    #[error("malformed entry: {0}")]
    Shape(&'static str),
    #[error("no session key of epoch {0}; ask the network for it")]
    NoKey(Epoch),
    #[error("entry {0} is not authentic under the session key of its epoch and its sealer's key")]
    NotAuthentic(Index),
}

/// The Merkle leaves of one entry, as they stand in its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaves(Bytes);

impl Leaves {
    pub fn len(&self) -> usize {
        self.0.len() / 32
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Digest> + '_ {
        self.0
            .chunks_exact(32)
            .map(|leaf| Digest::from_slice(leaf).expect("chunks of 32 bytes"))
    }

    pub fn to_vec(&self) -> Vec<Digest> {
        self.iter().collect()
    }
}

/// An entry whose private part is still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    pub header: Header,
    /// One leaf per transaction.
    pub leaves: Leaves,
    /// Body of the public part: readable, authenticated only once the entry was opened or a signed
    /// root covers it.
    pub public: Bytes,
    pub digest: Digest,
    /// Ciphertext and tag of the private part.
    pub(crate) sealed: Bytes,
    pub(crate) associated: [u8; HEADER_BYTES + 32],
}

/// Reads an entry without keys. The digest is computed, the seal is not checked.
///
/// # Errors
/// [`Refused`]: the bytes are no entry.
pub fn inspect(bytes: &Bytes) -> Result<Entry, Refused> {
    if bytes.len() > limits::ENTRY_BYTES_MAX {
        return Err(Refused::TooLong { bytes: bytes.len() });
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Refused::Shape("shorter than a header"));
    };
    let place = head
        .first_chunk::<PLACE_BYTES>()
        .expect("the header is longer");
    let header = Header::from_place(place)?;
    let length = |at: usize| {
        let four = head[at..at + 4].try_into().expect("four bytes were taken");
        usize::try_from(u32::from_be_bytes(four)).expect("usize has at least 32 bits")
    };
    let (public, private) = (length(88), length(92));
    if rest
        .len()
        .checked_sub(SEAL_OVERHEAD_BYTES)
        .and_then(|r| r.checked_sub(public))
        != Some(private)
    {
        return Err(Refused::Shape(
            "the lengths in the header do not add up to the entry",
        ));
    }
    let public = bytes.slice(HEADER_BYTES..HEADER_BYTES + public);
    let sealed = bytes.slice(HEADER_BYTES + public.len()..);
    let associated = associated(head, &public);
    let digest = digest(&associated, &sealed);
    let (leaves, public) = split(&public)?;
    Ok(Entry {
        header,
        leaves: Leaves(leaves),
        public,
        digest,
        sealed,
        associated,
    })
}

/// Bytes that the seal authenticates besides the private part: the header, and the digest of the
/// public part.
pub(crate) fn associated(head: &[u8; HEADER_BYTES], public: &[u8]) -> [u8; HEADER_BYTES + 32] {
    let mut associated = [0; HEADER_BYTES + 32];
    associated[..HEADER_BYTES].copy_from_slice(head);
    associated[HEADER_BYTES..].copy_from_slice(&sha256(public).0);
    associated
}

/// Digest of an entry: what the next entry names as the one before.
pub(crate) fn digest(associated: &[u8; HEADER_BYTES + 32], sealed: &[u8]) -> Digest {
    Hasher::with(Context::EntryDigest)
        .raw(associated)
        .part(sealed)
        .finish()
}

/// Both parts of an entry begin with a counted list of digests; the body follows.
pub(crate) fn split(part: &Bytes) -> Result<(Bytes, Bytes), Refused> {
    let Some((count, rest)) = part.split_first_chunk::<4>() else {
        return Err(Refused::Shape("a part is shorter than its count"));
    };
    let count = usize::try_from(u32::from_be_bytes(*count)).expect("usize has at least 32 bits");
    if count > limits::BATCH_UNITS_MAX {
        return Err(Refused::Shape("more transactions than one entry may have"));
    }
    if rest.len() < count * 32 {
        return Err(Refused::Shape("a part is shorter than its list of digests"));
    }
    Ok((part.slice(4..4 + count * 32), part.slice(4 + count * 32..)))
}
