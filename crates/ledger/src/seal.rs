//! Sealing and opening entries.
//!
//! Key of an entry = HKDF(session key of its epoch, "ledger seal", sealer's VN public key, restart
//! count, term); nonce = index. A VN key lives in one enclave's memory and dies with it, one VN
//! leads a term, and a leader numbers an index once in a term: so no nonce is used twice under one
//! key, and [`Sealer`] asserts its share of that.

use core::fmt;
use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use crypto::{AeadKey, Context, PublicKey, SEAL_OVERHEAD_BYTES, Zeroizing, derive};
use types::{Digest, Epoch, Index, NodeId, Term, limits};

use crate::entry::{associated, digest, split};
use crate::{Entry, Evidence, HEADER_BYTES, Header, Leaves, Refused, inspect, leaves};

/// The session keys that this VN, auditor or tool holds, by epoch.
#[derive(Default)]
pub struct SealKeyring {
    keys: BTreeMap<Epoch, Zeroizing<[u8; 32]>>,
}

impl SealKeyring {
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds the session key of an epoch, in place of any other: the entry that began the epoch
    /// may have been truncated and made anew.
    pub fn insert(&mut self, epoch: Epoch, key: Zeroizing<[u8; 32]>) {
        self.keys.insert(epoch, key);
    }

    /// Erases the session key of an epoch.
    pub fn forget(&mut self, epoch: Epoch) {
        self.keys.remove(&epoch);
    }

    pub fn holds(&self, epoch: Epoch) -> bool {
        self.keys.contains_key(&epoch)
    }

    fn session(&self, epoch: Epoch) -> Result<&[u8; 32], Refused> {
        self.keys
            .get(&epoch)
            .map(|key| &**key)
            .ok_or(Refused::NoKey(epoch))
    }

    fn aead(&self, header: &Header, sealer: &PublicKey) -> Result<AeadKey, Refused> {
        let session = self.session(header.epoch)?;
        let restarts = header.restarts.to_be_bytes();
        let term = header.term.0.to_be_bytes();
        let key = derive(
            session,
            Context::LedgerSeal,
            &[sealer.as_sec1(), &restarts, &term],
        );
        Ok(AeadKey::new(&key))
    }

    /// The key of the commit evidence of an entry: it salts the entry's Merkle leaves.
    ///
    /// # Errors
    /// [`Refused::NoKey`].
    pub fn evidence(&self, header: &Header) -> Result<Evidence, Refused> {
        let session = self.session(header.epoch)?;
        let restarts = header.restarts.to_be_bytes();
        let term = header.term.0.to_be_bytes();
        Ok(Evidence(derive(
            session,
            Context::CommitEvidence,
            &[&restarts, &term],
        )))
    }

    /// Opens an entry that the holder of `sealer` sealed.
    ///
    /// # Errors
    /// [`Refused`]: the bytes are no such entry, or the key of its epoch is not held.
    pub fn open(&self, bytes: &Bytes, sealer: &PublicKey) -> Result<Opened, Refused> {
        self.open_entry(inspect(bytes)?, sealer)
    }

    /// Opens what [`inspect`] read, when the caller had to look at the header first to find the
    /// sealer's key.
    ///
    /// # Errors
    /// [`Refused`], as [`SealKeyring::open`].
    pub fn open_entry(&self, entry: Entry, sealer: &PublicKey) -> Result<Opened, Refused> {
        let Entry {
            header,
            leaves,
            public,
            digest,
            sealed,
            associated,
        } = entry;
        let mut buffer = sealed.to_vec();
        let length = self
            .aead(&header, sealer)?
            .open(header.index.0, &associated, &mut buffer)
            .map_err(|_| Refused::NotAuthentic(header.index))?
            .len();
        buffer.truncate(length);
        let (claims, private) = split(&Bytes::from(buffer))?;
        let claims: Vec<Digest> = claims
            .chunks_exact(32)
            .map(|claim| Digest::from_slice(claim).expect("chunks of 32 bytes"))
            .collect();
        if claims.len() != leaves.len() {
            return Err(Refused::Shape("an entry has one leaf per claim"));
        }
        Ok(Opened {
            header,
            leaves,
            public,
            claims,
            private,
            digest,
        })
    }
}

impl fmt::Debug for SealKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeyring{:?}", self.keys.keys().collect::<Vec<_>>())
    }
}

/// An entry whose seal was checked. Only [`SealKeyring::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    pub header: Header,
    pub leaves: Leaves,
    /// Body of the public part.
    pub public: Bytes,
    /// Claims digests, one per transaction.
    pub claims: Vec<Digest>,
    /// Body of the private part, in the clear.
    pub private: Bytes,
    pub digest: Digest,
}

/// What goes into an entry besides its header. Bodies come in parts, so that a large one is copied
/// once, to where it is encrypted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Content<'a> {
    /// Claims digests, one per transaction.
    pub claims: &'a [Digest],
    /// Readable by whoever has the file.
    pub public: &'a [&'a [u8]],
    /// Readable by holders of the session key.
    pub private: &'a [&'a [u8]],
}

/// An entry, ready for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub bytes: Bytes,
    pub digest: Digest,
    pub leaves: Vec<Digest>,
}

/// Seals entries with a VN's key. There is one for the life of that key, that is of the enclave:
/// it remembers the last place sealed.
#[derive(Debug)]
pub struct Sealer {
    node: NodeId,
    key: PublicKey,
    last: Option<(u32, Term, Index)>,
}

impl Sealer {
    pub fn new(node: NodeId, key: &PublicKey) -> Self {
        Self {
            node,
            key: *key,
            last: None,
        }
    }

    /// Seals one entry. The leaves are made here, from the claims.
    ///
    /// # Errors
    /// [`Refused`]: the session key is not held, or the entry is too long. Nothing was sealed.
    ///
    /// # Panics
    /// When (restart count, term, index) does not come after the last place sealed: the nonce
    /// would be used twice, which reveals both entries. When the header names another sealer.
    pub fn seal(
        &mut self,
        keyring: &SealKeyring,
        header: &Header,
        content: Content<'_>,
    ) -> Result<Sealed, Refused> {
        let counted = 4 + 32 * content.claims.len();
        let total = |parts: &[&[u8]]| counted + parts.iter().map(|part| part.len()).sum::<usize>();
        let (public, private) = (total(content.public), total(content.private));
        let bytes = HEADER_BYTES + public + private + SEAL_OVERHEAD_BYTES;
        if bytes > limits::ENTRY_BYTES_MAX {
            return Err(Refused::TooLong { bytes });
        }
        if content.claims.len() > limits::BATCH_UNITS_MAX {
            return Err(Refused::Shape("more transactions than one entry may have"));
        }
        let aead = keyring.aead(header, &self.key)?;
        let leaves: Vec<Digest> =
            leaves(&keyring.evidence(header)?, header, content.claims).collect();

        assert_eq!(
            header.sealer, self.node,
            "an entry is sealed in the name of this VN"
        );
        let place = (header.restarts, header.term, header.index);
        assert!(
            self.last.is_none_or(|last| last < place),
            "place {place:?} comes after {:?}: no nonce twice under one key",
            self.last
        );
        self.last = Some(place);

        let short = |length: usize| u32::try_from(length).expect("below the limit of an entry");
        let mut buffer = Vec::with_capacity(bytes);
        buffer.put_slice(&header.place());
        buffer.put_u32(short(public));
        buffer.put_u32(short(private));
        put_part(&mut buffer, &leaves, content.public);
        let sealed_from = buffer.len();
        let head = buffer.first_chunk::<HEADER_BYTES>().expect("written above");
        let associated = associated(head, &buffer[HEADER_BYTES..]);
        put_part(&mut buffer, content.claims, content.private);
        aead.seal(header.index.0, &associated, &mut buffer, sealed_from);
        let digest = digest(&associated, &buffer[sealed_from..]);
        assert_eq!(buffer.len(), bytes, "the length was computed before");
        Ok(Sealed {
            bytes: buffer.into(),
            digest,
            leaves,
        })
    }
}

fn put_part(buffer: &mut Vec<u8>, digests: &[Digest], body: &[&[u8]]) {
    buffer.put_u32(u32::try_from(digests.len()).expect("below the limit of an entry"));
    for digest in digests {
        buffer.put_slice(&digest.0);
    }
    for part in body {
        buffer.put_slice(part);
    }
}
