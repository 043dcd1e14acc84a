//! Round 1: each actor deals a secret of its own to all (Feldman, FOCS '87; Joint-Feldman).
//!
//! ```text
//! f_i(z) = sum_k a_ik z^k                    random, degree M - 1
//! C_ik   = g^a_ik                            commitments
//! E_i    = g^e_i                             ephemeral key of this dealing
//! c_ij   = f_i(j) xor KDF(T_j^e_i, network, session, i, j, E_i, T_j)      j = 1..N, i included
//! proof  = knowledge of a_i0 and of e_i (Schnorr, CRYPTO '89, one challenge for both):
//!          A = g^s  B = g^t  e = Hash(.., i, C_i*, E_i, c_i*, A, B)  f = s + e a_i0  f' = t + e e_i
//! ```
//!
//! Shape: ETHDKG (IACR ePrint 2019/985, section 4). Two things are added. M may exceed N/2, so
//! knowledge of a_i0 is proven: a dealer cannot deal the difference of somebody's key and its own.
//! And knowledge of e_i is proven: a dispute publishes E_i^t_j, so a dealer who copied an honest
//! dealer's E would make honest receivers publish what opens the honest dealing.

use core::fmt;

use crypto::{Context, Entropy};
use curve25519_dalek::{RistrettoPoint, Scalar};
use minicbor::{Decode, Encode};
use types::Digest;
use zeroize::{Zeroize, Zeroizing};

use crate::group::{Element, G, H, PublicScalar, SecretScalar, Transcript, evaluate};
use crate::proof::{Proof, opened};
use crate::setup::{ActorIndex, Scope, Setup, TransportKey};

/// A share under its receiver's mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct MaskedShare(#[cbor(n(0), with = "minicbor::bytes")] pub(crate) [u8; 32]);

/// What a dealer publishes in round 1, signed by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Deal {
    #[n(0)]
    pub(crate) session: Digest,
    #[n(1)]
    pub(crate) dealer: ActorIndex,
    #[cbor(n(2), decode_with = "crate::wire::limited")]
    pub(crate) commitments: Vec<Element>,
    #[n(3)]
    pub(crate) ephemeral: Element,
    #[cbor(n(4), decode_with = "crate::wire::limited")]
    pub(crate) shares: Vec<MaskedShare>,
    #[n(5)]
    pub(crate) knowledge: Knowledge,
}

/// The proof that the dealer knows a_i0 and e_i.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Knowledge {
    #[n(0)]
    challenge: PublicScalar,
    #[n(1)]
    of_constant: PublicScalar,
    #[n(2)]
    of_ephemeral: PublicScalar,
}

/// What the dealer keeps for its key part: a_i0. It dies with the process; if that happens before
/// the key part is published, M receivers make up for it.
pub struct DealerSecret {
    pub(crate) session: Digest,
    pub(crate) dealer: ActorIndex,
    pub(crate) constant: SecretScalar,
}

impl fmt::Debug for DealerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DealerSecret")
    }
}

impl Deal {
    /// Deals as actor `dealer`.
    ///
    /// # Panics
    /// If `dealer` is not in the setup.
    pub fn make(setup: &Setup, dealer: ActorIndex, entropy: &mut Entropy) -> (Self, DealerSecret) {
        Self::make_with(setup, dealer, entropy, |_| {})
    }

    /// `alter` changes the masked shares before they are proven; only a dishonest dealer's does.
    pub(crate) fn make_with(
        setup: &Setup,
        dealer: ActorIndex,
        entropy: &mut Entropy,
        alter: impl FnOnce(&mut [MaskedShare]),
    ) -> (Self, DealerSecret) {
        assert!(setup.key(dealer).is_some(), "a dealer is in the setup");
        let polynomial: Vec<_> = (0..setup.threshold())
            .map(|_| SecretScalar::random(entropy))
            .collect();
        let commitments = polynomial
            .iter()
            .map(|a| Element::of(RistrettoPoint::mul_base(a.value())))
            .collect();
        let secret = SecretScalar::random(entropy);
        let ephemeral = Element::of(RistrettoPoint::mul_base(secret.value()));
        let mut shares: Vec<_> = setup
            .keys()
            .map(|(j, key)| {
                let mut common = key.point() * secret.value();
                let mask = mask(setup.scope(), (dealer, &ephemeral), (j, key), &common);
                common.zeroize();
                let mut share = at(&polynomial, j);
                let masked = xor(&Zeroizing::new(share.to_bytes()), &mask);
                share.zeroize();
                MaskedShare(masked)
            })
            .collect();
        alter(&mut shares);

        let constant = polynomial.into_iter().next().expect("M is at least 1");
        let knowledge = Knowledge {
            challenge: PublicScalar(Scalar::ZERO),
            of_constant: PublicScalar(Scalar::ZERO),
            of_ephemeral: PublicScalar(Scalar::ZERO),
        };
        let session = setup.session();
        let mut deal = Self {
            session,
            dealer,
            commitments,
            ephemeral,
            shares,
            knowledge,
        };
        deal.knowledge = deal.prove(setup.scope(), &constant, &secret, entropy);
        (
            deal,
            DealerSecret {
                session,
                dealer,
                constant,
            },
        )
    }

    fn prove(
        &self,
        scope: &Scope,
        constant: &SecretScalar,
        ephemeral: &SecretScalar,
        entropy: &mut Entropy,
    ) -> Knowledge {
        let statement = self.statement(scope);
        let [s, t] = [constant, ephemeral]
            .map(|secret| SecretScalar::nonce(secret.value(), &statement, entropy));
        let commitments = [&s, &t].map(|nonce| RistrettoPoint::mul_base(nonce.value()));
        let e = challenge(statement, &commitments);
        Knowledge {
            challenge: PublicScalar(e),
            of_constant: PublicScalar(s.value() + e * constant.value()),
            of_ephemeral: PublicScalar(t.value() + e * ephemeral.value()),
        }
    }

    /// Whether the deal has the shape that the setup asks for and its proof holds. Whether each
    /// share fits is for its receiver to see.
    ///
    /// # Errors
    /// The dealer misbehaved.
    pub fn verify(&self, setup: &Setup) -> Result<(), BadDeal> {
        if self.session != setup.session() || setup.key(self.dealer).is_none() {
            return Err(BadDeal::Elsewhere);
        }
        if self.commitments.len() != setup.threshold() || self.shares.len() != setup.count() {
            return Err(BadDeal::Shape);
        }
        let Knowledge {
            challenge: e,
            of_constant,
            of_ephemeral,
        } = self.knowledge;
        let commitments = [
            (of_constant, self.commitments[0]),
            (of_ephemeral, self.ephemeral),
        ]
        .map(|(response, power)| {
            opened(
                &Proof {
                    challenge: e,
                    response,
                },
                &G,
                &power,
            )
        });
        if challenge(self.statement(setup.scope()), &commitments) != e.0 {
            return Err(BadDeal::Knowledge);
        }
        Ok(())
    }

    /// Opens and checks one's own share: g^s_ij == prod_k C_ik^(j^k).
    ///
    /// # Errors
    /// The dealer misbehaved: dispute it.
    pub(crate) fn open(
        &self,
        scope: &Scope,
        j: ActorIndex,
        key: &TransportKey,
    ) -> Result<SecretScalar, BadShare> {
        let mut common = self.ephemeral.point() * key.scalar();
        let share = self.unmask(scope, (j, &key.public()), &common);
        common.zeroize();
        share
    }

    /// The same from the Diffie-Hellman element, which a dispute publishes.
    pub(crate) fn unmask(
        &self,
        scope: &Scope,
        receiver: (ActorIndex, &Element),
        common: &RistrettoPoint,
    ) -> Result<SecretScalar, BadShare> {
        let masked = self.shares.get(receiver.0.position()).ok_or(BadShare)?;
        let mask = mask(scope, (self.dealer, &self.ephemeral), receiver, common);
        let bytes = Zeroizing::new(xor(&masked.0, &mask));
        let share = Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes)).ok_or(BadShare)?;
        let share = SecretScalar::of(share);
        let expected = self.expected(receiver.0);
        if RistrettoPoint::mul_base(share.value()) == expected {
            Ok(share)
        } else {
            Err(BadShare)
        }
    }

    /// g^s_ij, as the commitments have it.
    pub(crate) fn expected(&self, j: ActorIndex) -> RistrettoPoint {
        evaluate(self.commitments.iter().map(Element::point), j.number())
    }

    fn statement(&self, scope: &Scope) -> Transcript {
        let mut transcript = Transcript::within(Context::ThresholdDeal, scope);
        transcript.part(&[self.dealer.number()]);
        for commitment in &self.commitments {
            transcript.element(commitment);
        }
        transcript.element(&self.ephemeral);
        for share in &self.shares {
            transcript.part(&share.0);
        }
        transcript
    }
}

impl DealerSecret {
    /// h^a_i0.
    pub(crate) fn part(&self) -> Element {
        Element::of(H.point() * self.constant.value())
    }
}

fn challenge(mut statement: Transcript, commitments: &[RistrettoPoint; 2]) -> Scalar {
    for commitment in commitments {
        statement.element(&Element::of(*commitment));
    }
    statement.scalar()
}

/// f_i(j) by Horner's rule; j is public.
fn at(polynomial: &[SecretScalar], j: ActorIndex) -> Scalar {
    let j = Scalar::from(j.number());
    polynomial
        .iter()
        .rev()
        .fold(Scalar::ZERO, |sum, a| sum * j + a.value())
}

/// KDF(T_j^e_i, network, session, i, j, E_i, T_j): HKDF-SHA-256 (RFC 5869).
fn mask(
    scope: &Scope,
    (i, ephemeral): (ActorIndex, &Element),
    (j, key): (ActorIndex, &Element),
    common: &RistrettoPoint,
) -> Zeroizing<[u8; 32]> {
    let common = Zeroizing::new(common.compress().to_bytes());
    let info: [&[u8]; 6] = [
        &scope.network.0,
        &scope.session.0,
        &[i.number()],
        &[j.number()],
        ephemeral.bytes(),
        key.bytes(),
    ];
    crypto::derive(&common, Context::ThresholdShare, &info)
}

pub(crate) fn xor(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    core::array::from_fn(|at| a[at] ^ b[at])
}

/// A deal that counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDeal {
    #[error("the deal is of another session or of an actor outside this one")]
    Elsewhere,
    #[error("the deal has not M commitments and N shares")]
    Shape,
    #[error("the dealer did not prove that it knows what it dealt")]
    Knowledge,
}

/// A share that does not fit its dealer's commitments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadShare;

#[cfg(test)]
mod tests {
    use types::NetworkId;

    use super::*;

    fn setup() -> (Setup, Vec<TransportKey>, Entropy) {
        let mut entropy = Entropy::new(&[9; 32]);
        let keys: Vec<_> = (0..4)
            .map(|_| TransportKey::generate(&mut entropy))
            .collect();
        let public = keys.iter().map(TransportKey::public).collect();
        (
            Setup::new(NetworkId::ZERO, 1, 3, public).expect("allowed"),
            keys,
            entropy,
        )
    }

    #[test]
    fn everybody_opens_their_own_share_and_no_other() {
        let (setup, keys, mut entropy) = setup();
        let dealer = ActorIndex::new(2).unwrap();
        let (deal, _) = Deal::make(&setup, dealer, &mut entropy);
        assert_eq!(deal.verify(&setup), Ok(()));
        for (j, key) in setup.actors().zip(&keys) {
            for at in setup.actors() {
                assert_eq!(
                    deal.open(setup.scope(), at, key).is_ok(),
                    at == j,
                    "{j} at {at}"
                );
            }
        }
    }

    #[test]
    fn another_dealers_ephemeral_key_cannot_be_dealt_with() {
        let (setup, _, mut entropy) = setup();
        let [one, two] = [1, 2].map(|i| ActorIndex::new(i).unwrap());
        let (honest, _) = Deal::make(&setup, one, &mut entropy);
        let (mut copied, secret) = Deal::make(&setup, two, &mut entropy);
        copied.ephemeral = honest.ephemeral;
        // The dealer knows its constant, but not the logarithm of the other's ephemeral key.
        copied.knowledge = copied.prove(
            setup.scope(),
            &secret.constant,
            &secret.constant,
            &mut entropy,
        );
        assert_eq!(copied.verify(&setup), Err(BadDeal::Knowledge));
        let mut claimed = honest.clone();
        claimed.dealer = two;
        assert_eq!(
            claimed.verify(&setup),
            Err(BadDeal::Knowledge),
            "nor a whole deal"
        );
    }

    #[test]
    fn a_deal_has_the_shape_of_its_session() {
        let (setup, _, mut entropy) = setup();
        let (deal, _) = Deal::make(&setup, ActorIndex::new(1).unwrap(), &mut entropy);
        let mut short = deal.clone();
        short.commitments.pop();
        assert_eq!(short.verify(&setup), Err(BadDeal::Shape));
        let mut short = deal.clone();
        short.shares.pop();
        assert_eq!(short.verify(&setup), Err(BadDeal::Shape));
        let mut outside = deal.clone();
        outside.dealer = ActorIndex::new(5).unwrap();
        assert_eq!(outside.verify(&setup), Err(BadDeal::Elsewhere));
        let mut elsewhere = deal;
        elsewhere.session = Digest::ZERO;
        assert_eq!(elsewhere.verify(&setup), Err(BadDeal::Elsewhere));
    }
}
