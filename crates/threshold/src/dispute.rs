//! Round 2: receivers acknowledge or dispute, and anyone can judge.
//!
//! ```text
//! Ack_j        receiver j opened a share from each dealer that it names, and each fits
//! Dispute_ji   K = E_i^t_j   proof: log_g T_j = log_{E_i} K
//! judgement    c_ij xor KDF(K, ..) fits the commitments ?  the dispute is false : the dealer is bad
//! ```
//!
//! Source: ETHDKG (IACR ePrint 2019/985), section 4, "dispute". K opens this one dealing to j and
//! nothing else: its mask is bound to network, session, dealer and receiver, and the dealer proved
//! that it knows the logarithm of E_i. The judgement is a pure function of published messages.

use crypto::{Context, Entropy};
use minicbor::{Decode, Encode};
use types::Digest;

use crate::deal::Deal;
use crate::group::{Element, G};
use crate::proof::{Proof, SameLogarithm};
use crate::setup::{ActorIndex, Scope, Setup, TransportKey};

/// "I have good shares from these dealers", signed by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ack {
    #[n(0)]
    pub(crate) session: Digest,
    #[n(1)]
    pub(crate) receiver: ActorIndex,
    /// Ascending.
    #[cbor(n(2), decode_with = "crate::wire::limited")]
    pub(crate) dealers: Vec<ActorIndex>,
}

/// "This dealer's share for me does not fit", with what it takes to see that.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Dispute {
    #[n(0)]
    pub(crate) session: Digest,
    #[n(1)]
    pub(crate) receiver: ActorIndex,
    #[n(2)]
    pub(crate) dealer: ActorIndex,
    #[n(3)]
    pub(crate) common: Element,
    #[n(4)]
    pub(crate) proof: Proof,
}

/// Who was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The share does not fit the commitments: the dealer is disqualified.
    BadDealer,
    /// The share fits, or the proof does not hold: the disputer is flagged, the dealer stays.
    FalseDispute,
}

impl Dispute {
    /// Disputes `deal` as its receiver. An honest receiver does so only when its share does not
    /// fit; see `Session::answer`.
    pub(crate) fn make(
        scope: &Scope,
        deal: &Deal,
        receiver: ActorIndex,
        key: &TransportKey,
        entropy: &mut Entropy,
    ) -> Self {
        let common = Element::of(deal.ephemeral.point() * key.scalar());
        let indices = [deal.dealer.number(), receiver.number()];
        let proof = SameLogarithm {
            context: Context::ThresholdDispute,
            scope,
            indices: &indices,
            bound: &[],
            first: (&G, &key.public()),
            second: (&deal.ephemeral, &common),
        }
        .prove(key.scalar(), entropy);
        Self {
            session: scope.session,
            receiver,
            dealer: deal.dealer,
            common,
            proof,
        }
    }

    /// Judges the dispute over `deal`, which was verified against `setup`. Anybody can.
    pub fn judge(&self, setup: &Setup, deal: &Deal) -> Judgement {
        let here = self.session == setup.session() && self.dealer == deal.dealer;
        let Some(key) = setup.key(self.receiver).filter(|_| here) else {
            return Judgement::FalseDispute;
        };
        let indices = [self.dealer.number(), self.receiver.number()];
        let honest = SameLogarithm {
            context: Context::ThresholdDispute,
            scope: setup.scope(),
            indices: &indices,
            bound: &[],
            first: (&G, key),
            second: (&deal.ephemeral, &self.common),
        }
        .holds(&self.proof);
        let fits = deal
            .unmask(setup.scope(), (self.receiver, key), self.common.point())
            .is_ok();
        if honest && !fits {
            Judgement::BadDealer
        } else {
            Judgement::FalseDispute
        }
    }
}

#[cfg(test)]
mod tests {
    use types::NetworkId;

    use super::*;

    #[test]
    fn the_judgement_names_the_liar() {
        let mut entropy = Entropy::new(&[9; 32]);
        let keys: Vec<_> = (0..3)
            .map(|_| TransportKey::generate(&mut entropy))
            .collect();
        let public = keys.iter().map(TransportKey::public).collect();
        let setup = Setup::new(NetworkId::ZERO, 1, 2, public).expect("allowed");
        let [one, two] = [1, 2].map(|i| ActorIndex::new(i).unwrap());
        let (good, _) = Deal::make(&setup, one, &mut entropy);
        let (bad, _) = Deal::make_with(&setup, one, &mut entropy, |shares| shares[1].0[0] ^= 1);
        assert_eq!(
            bad.verify(&setup),
            Ok(()),
            "nobody but the receiver sees it"
        );

        let mut judge = |deal: &Deal, by: ActorIndex, key: &TransportKey| {
            Dispute::make(setup.scope(), deal, by, key, &mut entropy).judge(&setup, deal)
        };
        assert_eq!(judge(&bad, two, &keys[1]), Judgement::BadDealer);
        assert_eq!(judge(&good, two, &keys[1]), Judgement::FalseDispute);
        assert_eq!(
            judge(&bad, two, &keys[2]),
            Judgement::FalseDispute,
            "with another's key"
        );

        let mut forged = Dispute::make(setup.scope(), &good, two, &keys[1], &mut entropy);
        forged.common = *G;
        assert_eq!(
            forged.judge(&setup, &good),
            Judgement::FalseDispute,
            "with an invented element"
        );
    }
}
