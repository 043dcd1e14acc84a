//! Round 3: the public key, which no dealer can bias.
//!
//! ```text
//! KeyPart_i         Y_i = h^a_i0               proof: log_g C_i0 = log_h Y_i
//! KeyPartShare_ij   Y_ij = h^s_ij              proof: log_g prod_k C_ik^(j^k) = log_h Y_ij
//! lost dealer       Y_i = prod_j Y_ij^lambda_j over M receivers j
//! key               y = prod_i Y_i over the qualified set
//! ```
//!
//! Source: Neji, Blibech and Ben Rajeb, Security and Communication Networks 9(17), 2016, as used by
//! ETHDKG (IACR ePrint 2019/985): the qualified set is fixed while h^a_i0 is still hidden, so
//! nobody chooses its place in the set by what the key will be (Gennaro and others, 1999).
//!
//! ETHDKG publishes a lost dealer's shares and so its a_i0. Here receivers publish h^s_ij, which is
//! interpolated in the exponent: no secret is combined, and the dealing stays a secret.

use crypto::{Context, Entropy};
use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use minicbor::{Decode, Encode};
use types::Digest;

use crate::deal::{Deal, DealerSecret};
use crate::group::{Element, G, H, SecretScalar, lagrange};
use crate::proof::{Proof, SameLogarithm};
use crate::setup::{ActorIndex, Scope};

/// A qualified dealer's part of the public key, signed by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyPart {
    #[n(0)]
    pub(crate) session: Digest,
    #[n(1)]
    pub(crate) dealer: ActorIndex,
    #[n(2)]
    pub(crate) part: Element,
    #[n(3)]
    pub(crate) proof: Proof,
}

impl KeyPart {
    pub(crate) fn make(
        scope: &Scope,
        deal: &Deal,
        secret: &DealerSecret,
        entropy: &mut Entropy,
    ) -> Self {
        let (dealer, part) = (deal.dealer, secret.part());
        let proof = statement(scope, &[dealer.number()], &deal.commitments[0], &part)
            .prove(secret.constant.value(), entropy);
        Self {
            session: scope.session,
            dealer,
            part,
            proof,
        }
    }

    pub(crate) fn holds(&self, scope: &Scope, deal: &Deal) -> bool {
        statement(
            scope,
            &[self.dealer.number()],
            &deal.commitments[0],
            &self.part,
        )
        .holds(&self.proof)
    }
}

/// A receiver's share of a lost dealer's key part, signed by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyPartShare {
    #[n(0)]
    pub(crate) session: Digest,
    #[n(1)]
    pub(crate) receiver: ActorIndex,
    #[n(2)]
    pub(crate) dealer: ActorIndex,
    #[n(3)]
    pub(crate) share: Element,
    #[n(4)]
    pub(crate) proof: Proof,
}

impl KeyPartShare {
    pub(crate) fn make(
        scope: &Scope,
        deal: &Deal,
        receiver: ActorIndex,
        opened: &SecretScalar,
        entropy: &mut Entropy,
    ) -> Self {
        let share = Element::of(H.point() * opened.value());
        let expected = Element::of(deal.expected(receiver));
        let indices = [deal.dealer.number(), receiver.number()];
        let proof = statement(scope, &indices, &expected, &share).prove(opened.value(), entropy);
        Self {
            session: scope.session,
            receiver,
            dealer: deal.dealer,
            share,
            proof,
        }
    }

    pub(crate) fn holds(&self, scope: &Scope, deal: &Deal) -> bool {
        let expected = Element::of(deal.expected(self.receiver));
        let indices = [self.dealer.number(), self.receiver.number()];
        statement(scope, &indices, &expected, &self.share).holds(&self.proof)
    }
}

/// A key part names one actor, a share of one names two; their contexts differ, too.
fn statement<'a>(
    scope: &'a Scope,
    indices: &'a [u8],
    committed: &'a Element,
    part: &'a Element,
) -> SameLogarithm<'a> {
    let context = match indices.len() {
        1 => Context::ThresholdKeyPart,
        _ => Context::ThresholdKeyPartShare,
    };
    SameLogarithm {
        context,
        scope,
        indices,
        bound: &[],
        first: (&G, committed),
        second: (&H, part),
    }
}

/// Y_i of a lost dealer, from at least M receivers' shares of it.
pub(crate) fn interpolate(shares: &[(ActorIndex, RistrettoPoint)]) -> Element {
    let indices: Vec<_> = shares.iter().map(|(j, _)| j.number()).collect();
    let points = shares.iter().map(|(_, share)| share);
    Element::of(RistrettoPoint::vartime_multiscalar_mul(
        lagrange(&indices),
        points,
    ))
}

#[cfg(test)]
mod tests {
    use types::NetworkId;

    use super::*;
    use crate::setup::{Setup, TransportKey};

    #[test]
    fn receivers_make_the_part_that_the_dealer_would_have_made() {
        let mut entropy = Entropy::new(&[9; 32]);
        let keys: Vec<_> = (0..5)
            .map(|_| TransportKey::generate(&mut entropy))
            .collect();
        let public = keys.iter().map(TransportKey::public).collect();
        let setup = Setup::new(NetworkId::ZERO, 1, 3, public).expect("allowed");
        let (deal, secret) = Deal::make(&setup, ActorIndex::new(1).unwrap(), &mut entropy);
        let part = KeyPart::make(setup.scope(), &deal, &secret, &mut entropy);
        assert!(part.holds(setup.scope(), &deal));

        let shares: Vec<_> = [2, 4, 5]
            .map(|j| ActorIndex::new(j).unwrap())
            .map(|j| {
                let opened = deal
                    .open(setup.scope(), j, &keys[j.position()])
                    .expect("honest");
                let share = KeyPartShare::make(setup.scope(), &deal, j, &opened, &mut entropy);
                assert!(share.holds(setup.scope(), &deal));
                let mut moved = share.clone();
                moved.receiver = ActorIndex::new(3).unwrap();
                assert!(!moved.holds(setup.scope(), &deal));
                (j, *share.share.point())
            })
            .to_vec();
        assert_eq!(interpolate(&shares), part.part);
        assert_ne!(interpolate(&shares[..2]), part.part);
    }
}
