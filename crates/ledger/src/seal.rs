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

    pub(crate) fn session(&self, epoch: Epoch) -> Result<&[u8; 32], Refused> {
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

#[cfg(test)]
mod tests {
    use crypto::{Entropy, SigningKey, sha256};
    use types::{Height, Millis};

    use super::*;
    use crate::Kind;

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate(&mut Entropy::new(&[seed; 32]))
    }

    fn keyring() -> SealKeyring {
        let mut keyring = SealKeyring::new();
        keyring.insert(Epoch(1), Zeroizing::new([1; 32]));
        keyring
    }

    fn header(term: u64, index: u64) -> Header {
        Header {
            kind: Kind::Application {
                protocol: 3,
                height: Height(77),
            },
            restarts: 0,
            term: Term(term),
            index: Index(index),
            epoch: Epoch(1),
            time: Millis(5),
            sealer: NodeId(4),
            previous: Digest([8; 32]),
        }
    }

    fn sealed(header: &Header, private: &[&[u8]]) -> Sealed {
        let claims = [sha256(b"a"), sha256(b"b")];
        let content = Content {
            claims: &claims,
            public: &[b"pub", b"lic"],
            private,
        };
        Sealer::new(NodeId(4), key(1).public())
            .seal(&keyring(), header, content)
            .expect("held")
    }

    #[test]
    fn an_entry_opens_as_it_was_sealed() {
        let sealed = sealed(&header(2, 9), &[b"pri", b"", b"vate"]);
        let opened = keyring()
            .open(&sealed.bytes, key(1).public())
            .expect("just sealed");
        assert_eq!(opened.header, header(2, 9));
        assert_eq!(
            (&*opened.public, &*opened.private),
            (&b"public"[..], &b"private"[..])
        );
        assert_eq!(opened.claims, [sha256(b"a"), sha256(b"b")]);
        assert_eq!(
            (opened.leaves.to_vec(), opened.digest),
            (sealed.leaves, sealed.digest)
        );
        assert_eq!(
            SealKeyring::new().open(&sealed.bytes, key(1).public()),
            Err(Refused::NoKey(Epoch(1)))
        );
        assert_eq!(
            keyring().open(&sealed.bytes, key(2).public()),
            Err(Refused::NotAuthentic(Index(9))),
            "another VN's key"
        );
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let (keyring, key) = (keyring(), key(1));
        let bytes = sealed(&header(2, 9), &[b"private"]).bytes;
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                keyring.open(&changed.into(), key.public()).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..bytes.len() {
            assert!(
                keyring.open(&bytes.slice(..length), key.public()).is_err(),
                "{length} bytes"
            );
        }
        assert!(
            keyring
                .open(&[&bytes[..], &[0]].concat().into(), key.public())
                .is_err()
        );
    }

    #[test]
    fn an_index_comes_again_in_a_later_term_under_another_key() {
        let mut sealer = Sealer::new(NodeId(4), key(1).public());
        let mut seal = |term, index, epoch| {
            let header = Header {
                epoch: Epoch(epoch),
                ..header(term, index)
            };
            let content = Content {
                private: &[&[0; 64]],
                ..Content::default()
            };
            sealer.seal(&keyring(), &header, content).map(|sealed| {
                let entry = inspect(&sealed.bytes).expect("just sealed");
                entry.sealed[..64].to_vec()
            })
        };
        // Equal plaintexts: equal ciphertexts would show one key stream used twice.
        let streams = [seal(2, 9, 1), seal(2, 10, 1), seal(3, 9, 1), seal(4, 9, 1)];
        let streams: std::collections::BTreeSet<_> =
            streams.into_iter().map(Result::unwrap).collect();
        assert_eq!(streams.len(), 4);
        assert_eq!(seal(5, 9, 2), Err(Refused::NoKey(Epoch(2))));
        seal(5, 9, 1).expect("what was refused used no nonce");
    }

    #[test]
    #[should_panic(expected = "no nonce twice under one key")]
    fn an_index_never_comes_again_in_one_term() {
        let mut sealer = Sealer::new(NodeId(4), key(1).public());
        for _ in 0..2 {
            let _ = sealer.seal(&keyring(), &header(2, 9), Content::default());
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_sealed() {
        let mut sealer = Sealer::new(NodeId(4), key(1).public());
        let large = vec![0; limits::ENTRY_BYTES_MAX];
        let content = Content {
            private: &[&large],
            ..Content::default()
        };
        let verdict = sealer.seal(&keyring(), &header(2, 9), content);
        assert!(matches!(verdict, Err(Refused::TooLong { .. })));
        let claims = vec![Digest::ZERO; limits::BATCH_UNITS_MAX + 1];
        let content = Content {
            claims: &claims,
            ..Content::default()
        };
        assert!(matches!(
            sealer.seal(&keyring(), &header(2, 9), content),
            Err(Refused::Shape(_))
        ));
    }

    #[test]
    fn leaves_are_salted_by_the_session_key_and_bound_to_their_place() {
        let keyring = keyring();
        let mut other = SealKeyring::new();
        other.insert(Epoch(1), Zeroizing::new([2; 32]));
        let claim = sha256(b"a guess");
        let leaf = |keyring: &SealKeyring, header: &Header, position| {
            keyring
                .evidence(header)
                .expect("held")
                .leaf(header, position, claim)
                .digest()
        };
        let late = Header {
            time: Millis(6),
            ..header(2, 9)
        };
        let all = [
            leaf(&keyring, &header(2, 9), 0),
            leaf(&keyring, &header(2, 9), 1),
            leaf(&keyring, &header(3, 9), 0),
            leaf(&keyring, &late, 0),
            leaf(&other, &header(2, 9), 0),
        ];
        assert_eq!(
            all.iter().collect::<std::collections::BTreeSet<_>>().len(),
            all.len()
        );
    }
}
