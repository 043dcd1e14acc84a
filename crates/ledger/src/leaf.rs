//! Merkle leaves: what a receipt proves about one transaction.
//!
//! Source: CCF profile for COSE receipts, section 3: leaf = SHA-256(internal transaction hash ‖
//! SHA-256(commit evidence) ‖ claims digest). Here the internal hash is the place of the
//! transaction (the entry's header and the position in it), so a receipt proves its term, index
//! and time as well. The commit evidence is secret until it is given out with a receipt: it salts
//! the leaf, so that who sees the files cannot confirm a guess about a claim.

use core::fmt::Write;

use crypto::{Context, Hasher, Zeroizing, hmac, sha256};
use types::{Digest, Index};

use crate::Header;

/// Key of the commit evidence of one term. Made by [`crate::SealKeyring::evidence`].
pub struct Evidence(pub(crate) Zeroizing<[u8; 32]>);

impl Evidence {
    /// The commit evidence of one transaction.
    fn of(&self, header: &Header, position: u32) -> String {
        let mut salted = [0; 12];
        salted[..8].copy_from_slice(&header.index.0.to_be_bytes());
        salted[8..].copy_from_slice(&position.to_be_bytes());
        let salt = hmac(&self.0, &salted);
        let mut text = String::with_capacity(96);
        write!(
            text,
            "ce:{}.{}.{position}:{salt}",
            header.term, header.index
        )
        .expect("writing to a string succeeds");
        text
    }

    /// The leaf of the transaction at `position` of the entry.
    pub fn leaf(&self, header: &Header, position: u32, claim: Digest) -> Leaf {
        Leaf {
            header: *header,
            position,
            evidence: self.of(header, position),
            claim,
        }
    }
}

impl core::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Evidence")
    }
}

/// What a Merkle leaf is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub header: Header,
    pub position: u32,
    pub evidence: String,
    pub claim: Digest,
}

impl Leaf {
    /// The profile's internal transaction hash.
    pub fn internal(&self) -> Digest {
        internal(&self.header, self.position)
    }

    pub fn digest(&self) -> Digest {
        combine(self.internal(), &self.evidence, self.claim)
    }

    pub fn index(&self) -> Index {
        self.header.index
    }
}

pub(crate) fn internal(header: &Header, position: u32) -> Digest {
    Hasher::with(Context::LedgerLeaf)
        .raw(&header.place())
        .raw(&position.to_be_bytes())
        .finish()
}

pub(crate) fn combine(internal: Digest, evidence: &str, claim: Digest) -> Digest {
    Hasher::new()
        .raw(&internal.0)
        .raw(&sha256(evidence.as_bytes()).0)
        .raw(&claim.0)
        .finish()
}

/// The leaves of an entry, one per claim, in order.
pub fn leaves<'a>(
    evidence: &'a Evidence,
    header: &'a Header,
    claims: &'a [Digest],
) -> impl Iterator<Item = Digest> + 'a {
    (0..)
        .zip(claims)
        .map(|(position, claim)| evidence.leaf(header, position, *claim).digest())
}
