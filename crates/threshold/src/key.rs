//! What a session ends with: one public key for all, one share for each actor.
//!
//! ```text
//! y   = prod_i Y_i                            the paper's "multiply all public key shares"
//! x_j = sum_i s_ij                            stays with actor j
//! V_j = prod_i prod_k C_ik^(j^k) = g^x_j      computable by all
//! ```
//!
//! with i over the qualified set. Then y = h^x for x = sum_i a_i0, which exists nowhere: no
//! function of this crate takes two private shares.

use core::fmt;

use curve25519_dalek::traits::{Identity, IsIdentity};
use curve25519_dalek::{RistrettoPoint, Scalar};
use minicbor::{Decode, Encode};
use types::{Digest, NetworkId};

use crate::deal::Deal;
use crate::group::{Element, SecretScalar, evaluate};
use crate::session::NoShare;
use crate::setup::{ActorIndex, Scope, Setup, TransportKey};

/// The public side of a session: the shared network key and what partial decryptions are checked
/// with. Whoever reads it from outside its ledger trusts who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ThresholdKey {
    #[n(0)]
    pub(crate) scope: Scope,
    #[n(1)]
    pub(crate) threshold: ActorIndex,
    #[n(2)]
    pub(crate) public: Element,
    #[cbor(n(3), decode_with = "crate::wire::limited")]
    pub(crate) verification: Vec<Element>,
}

impl ThresholdKey {
    /// Of deals that count and of y. None if a point of it is the identity.
    pub(crate) fn of_deals<'a>(
        setup: &Setup,
        deals: impl Iterator<Item = &'a Deal>,
        public: RistrettoPoint,
    ) -> Option<Self> {
        // prod_i C_ik for each k, so that V_j takes M steps and not M times the dealers.
        let mut commitments = vec![RistrettoPoint::identity(); setup.threshold()];
        for deal in deals {
            for (sum, c) in commitments.iter_mut().zip(&deal.commitments) {
                *sum += c.point();
            }
        }
        let verification: Vec<_> = setup
            .actors()
            .map(|j| evaluate(commitments.iter(), j.number()))
            .collect();
        if public.is_identity() || verification.iter().any(IsIdentity::is_identity) {
            return None;
        }
        Some(Self {
            scope: *setup.scope(),
            threshold: ActorIndex::new(setup.threshold() as u8).expect("M is from 1 to 64"),
            public: Element::of(public),
            verification: verification.into_iter().map(Element::of).collect(),
        })
    }

    /// The network that the key belongs to.
    pub fn network(&self) -> NetworkId {
        self.scope.network
    }

    /// The session that made it, which names the key.
    pub fn session(&self) -> Digest {
        self.scope.session
    }

    /// M.
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold.number())
    }

    /// 1 to N.
    pub fn actors(&self) -> impl DoubleEndedIterator<Item = ActorIndex> + use<> {
        ActorIndex::all(self.verification.len())
    }

    /// y.
    pub fn public(&self) -> &Element {
        &self.public
    }

    /// V_j.
    pub fn verification(&self, j: ActorIndex) -> Option<&Element> {
        self.verification.get(j.position())
    }

    /// x_j = sum_i s_ij, from the deals of the qualified set and the actor's share-transport key: what
    /// an actor's validating node does when it starts, and its offline tool on a ledger copy.
    ///
    /// # Errors
    /// The key is another actor's, a dealer cheated this one, or the deals are not those of this key.
    pub fn share<'a>(
        &self,
        deals: impl IntoIterator<Item = &'a Deal>,
        holder: ActorIndex,
        key: &TransportKey,
    ) -> Result<KeyShare, NoShare> {
        let expected = self.verification(holder).ok_or(NoShare::NotAnActor)?;
        let mut secret = SecretScalar::of(Scalar::ZERO);
        for deal in deals {
            let opened = deal.open(&self.scope, holder, key);
            secret.add(opened.map_err(|_| NoShare::BadDealer(deal.dealer))?.value());
        }
        if RistrettoPoint::mul_base(secret.value()) != *expected.point() {
            return Err(NoShare::OtherDeals);
        }
        Ok(KeyShare {
            session: self.session(),
            holder,
            secret,
        })
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        self.threshold() <= self.verification.len()
    }
}

/// x_j: an actor's private share. Never stored: t_j and the ledger give it again.
pub struct KeyShare {
    pub(crate) session: Digest,
    pub(crate) holder: ActorIndex,
    pub(crate) secret: SecretScalar,
}

impl KeyShare {
    /// j.
    pub fn holder(&self) -> ActorIndex {
        self.holder
    }

    /// The session that it is a share of.
    pub fn session(&self) -> Digest {
        self.session
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyShare")
    }
}
