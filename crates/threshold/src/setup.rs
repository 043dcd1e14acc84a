//! What a key generation starts from: who takes part, with which share-transport key, and M.
//!
//! An actor's long-term share-transport key is (t_j, T_j = g^t_j). T_j stands in the membership
//! entry, under the actor's X.509 signature; t_j and the ledger are all that an actor needs to
//! have its share again. The identity of a session is the hash of everything in the [`Setup`], and
//! every other hash of this crate binds it (as ETHDKG's do the contract: ePrint 2019/985).

use core::fmt;

use crypto::{Context, Entropy, Hasher};
use curve25519_dalek::{RistrettoPoint, Scalar};
use minicbor::{Decode, Encode};
use types::{Digest, NetworkId};
use zeroize::Zeroizing;

use crate::group::{ACTORS_MAX, Element, Secret, SecretScalar};

/// The place of an actor in one session: 1 to N. Never zero, where the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode)]
#[cbor(transparent)]
pub struct ActorIndex(#[n(0)] u8);

impl ActorIndex {
    /// From 1 to [`ACTORS_MAX`].
    pub fn new(index: u8) -> Option<Self> {
        (1..=ACTORS_MAX)
            .contains(&usize::from(index))
            .then_some(Self(index))
    }

    /// The number itself.
    pub fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn position(self) -> usize {
        usize::from(self.0) - 1
    }

    pub(crate) fn all(actors: usize) -> impl DoubleEndedIterator<Item = Self> {
        (1..=actors as u8).map(Self) // at most ACTORS_MAX
    }
}

impl fmt::Display for ActorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor {}", self.0)
    }
}

impl<'b, C> Decode<'b, C> for ActorIndex {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(d.u8()?).ok_or(minicbor::decode::Error::message(
            "expected an actor index from 1 to 64",
        ))
    }
}

/// t_j: an actor's share-transport key.
pub struct TransportKey {
    secret: SecretScalar,
    public: Element,
}

impl TransportKey {
    /// A new key.
    pub fn generate(entropy: &mut Entropy) -> Self {
        loop {
            if let Some(key) = Self::of(SecretScalar::random(entropy)) {
                return key;
            }
        }
    }

    /// Reads an exported key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotATransportKey> {
        Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes))
            .and_then(|t| Self::of(SecretScalar::of(t)))
            .ok_or(NotATransportKey)
    }

    fn of(secret: SecretScalar) -> Option<Self> {
        let public = Element::of(RistrettoPoint::mul_base(secret.value()));
        (!public.is_identity()).then_some(Self { secret, public })
    }

    /// The 32 bytes to wrap or to write into the actor's key file.
    pub fn export(&self) -> Secret {
        Secret::of(Zeroizing::new(self.secret.value().to_bytes()))
    }

    /// T_j, for the membership entry.
    pub fn public(&self) -> Element {
        self.public
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        self.secret.value()
    }
}

impl fmt::Debug for TransportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportKey")
    }
}

/// The bytes are no share-transport key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the 32 bytes of a share-transport key: a scalar from 1 to q - 1")]
pub struct NotATransportKey;

/// Which network and session a hash, a proof or a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Scope {
    #[n(0)]
    pub(crate) network: NetworkId,
    #[n(1)]
    pub(crate) session: Digest,
}

/// The parameters of one session, the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    scope: Scope,
    threshold: u8,
    keys: Vec<Element>,
}

impl Setup {
    /// `number` sets sessions of one network apart: the index of the entry that opened this one.
    /// `keys` are T_1 to T_N in the order of the actors' indices.
    ///
    /// # Errors
    /// The parameters make no session; the caller chooses others.
    pub fn new(
        network: NetworkId,
        number: u64,
        threshold: u8,
        keys: Vec<Element>,
    ) -> Result<Self, BadSetup> {
        if keys.is_empty() || keys.len() > ACTORS_MAX {
            return Err(BadSetup::Actors(keys.len()));
        }
        if threshold == 0 || usize::from(threshold) > keys.len() {
            return Err(BadSetup::Threshold {
                threshold,
                actors: keys.len(),
            });
        }
        if let Some(at) = (1..keys.len()).find(|&at| keys[..at].contains(&keys[at])) {
            return Err(BadSetup::SharedKey(ActorIndex(at as u8 + 1))); // at < ACTORS_MAX
        }
        let mut hash = Hasher::with(Context::ThresholdSession)
            .part(&network.0)
            .part(&number.to_be_bytes())
            .part(&[threshold])
            .part(&[keys.len() as u8]); // at most ACTORS_MAX
        for key in &keys {
            hash = hash.part(key.bytes());
        }
        Ok(Self {
            scope: Scope {
                network,
                session: hash.finish(),
            },
            threshold,
            keys,
        })
    }

    /// Names the session in every message.
    pub fn session(&self) -> Digest {
        self.scope.session
    }

    /// M.
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold)
    }

    /// 1 to N.
    pub fn actors(&self) -> impl DoubleEndedIterator<Item = ActorIndex> + use<> {
        ActorIndex::all(self.keys.len())
    }

    /// The index of the actor with this share-transport key.
    pub fn index_of(&self, key: &TransportKey) -> Option<ActorIndex> {
        self.actors()
            .zip(&self.keys)
            .find(|(_, k)| **k == key.public)
            .map(|(j, _)| j)
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn key(&self, j: ActorIndex) -> Option<&Element> {
        self.keys.get(j.position())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = (ActorIndex, &Element)> {
        self.actors().zip(&self.keys)
    }

    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }
}

/// The parameters make no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSetup {
    #[error("{0} actors: a session has 1 to 64")]
    Actors(usize),
    #[error("threshold {threshold} of {actors} actors: choose one from 1 to the number of actors")]
    Threshold { threshold: u8, actors: usize },
    #[error("{0} has the share-transport key of another actor: each needs its own")]
    SharedKey(ActorIndex),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(n: usize) -> Vec<Element> {
        let mut entropy = Entropy::new(&[1; 32]);
        (0..n)
            .map(|_| TransportKey::generate(&mut entropy).public())
            .collect()
    }

    #[test]
    fn m_and_n_have_limits() {
        let setup = |m, n| Setup::new(NetworkId::ZERO, 1, m, keys(n)).map(|s| s.threshold());
        assert_eq!(setup(1, 1), Ok(1));
        assert_eq!(setup(64, 64), Ok(64));
        assert_eq!(setup(1, 0), Err(BadSetup::Actors(0)));
        assert_eq!(setup(1, 65), Err(BadSetup::Actors(65)));
        assert_eq!(
            setup(0, 3),
            Err(BadSetup::Threshold {
                threshold: 0,
                actors: 3
            })
        );
        assert_eq!(
            setup(4, 3),
            Err(BadSetup::Threshold {
                threshold: 4,
                actors: 3
            })
        );
        let twice = [keys(2), keys(1)].concat();
        let third = ActorIndex(3);
        assert_eq!(
            Setup::new(NetworkId::ZERO, 1, 2, twice),
            Err(BadSetup::SharedKey(third))
        );
    }

    #[test]
    fn every_parameter_makes_another_session() {
        let mut swapped = keys(3);
        swapped.swap(0, 1);
        let all = [
            Setup::new(NetworkId::ZERO, 1, 2, keys(3)),
            Setup::new(NetworkId([1; 32]), 1, 2, keys(3)),
            Setup::new(NetworkId::ZERO, 2, 2, keys(3)),
            Setup::new(NetworkId::ZERO, 1, 3, keys(3)),
            Setup::new(NetworkId::ZERO, 1, 2, keys(4)),
            Setup::new(NetworkId::ZERO, 1, 2, swapped),
        ];
        let sessions = all.map(|s| s.expect("allowed").session());
        assert_eq!(std::collections::BTreeSet::from(sessions).len(), 6);
    }

    #[test]
    fn an_exported_key_is_the_same_key() {
        let key = TransportKey::generate(&mut Entropy::new(&[2; 32]));
        let again = TransportKey::from_bytes(key.export().expose()).expect("own export");
        assert_eq!(again.public(), key.public());
        assert!(TransportKey::from_bytes(&[0; 32]).is_err());
        assert!(TransportKey::from_bytes(&[0xff; 32]).is_err());
        assert_eq!(format!("{key:?} {:?}", key.export()), "TransportKey Secret");
    }
}
