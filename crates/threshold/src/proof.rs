//! Proofs that two elements have one logarithm: log_a X = log_b Z (Chaum and Pedersen, CRYPTO '92).
//!
//! Made non-interactive by Fiat and Shamir's hash. With nonce s:
//!
//! ```text
//! A = a^s   B = b^s   e = Hash(context, network, session, indices, bound, a, X, b, Z, A, B)   f = s + e x
//! verify:   e == Hash(context, network, session, indices, bound, a, X, b, Z, a^f X^-e, b^f Z^-e)
//! ```
//!
//! The statement is hashed with the commitments, so a proof fits one statement only (the weak
//! Fiat-Shamir of Bernhard, Pereira and Warinschi, ASIACRYPT 2012, does not).

use crypto::{Context, Entropy};
use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use minicbor::{Decode, Encode};

use crate::group::{Element, PublicScalar, SecretScalar, Transcript};
use crate::setup::Scope;

/// log_a X = log_b Z, with what the proof is for and whom it names.
pub(crate) struct SameLogarithm<'a> {
    pub(crate) context: Context,
    pub(crate) scope: &'a Scope,
    /// Whom the proof is about: actor indices.
    pub(crate) indices: &'a [u8],
    /// What else the proof is bound to, or nothing.
    pub(crate) bound: &'a [u8],
    /// (a, X)
    pub(crate) first: (&'a Element, &'a Element),
    /// (b, Z)
    pub(crate) second: (&'a Element, &'a Element),
}

/// (e, f): 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Proof {
    #[n(0)]
    pub(crate) challenge: PublicScalar,
    #[n(1)]
    pub(crate) response: PublicScalar,
}

impl SameLogarithm<'_> {
    /// `secret` is the common logarithm.
    pub(crate) fn prove(&self, secret: &Scalar, entropy: &mut Entropy) -> Proof {
        let statement = self.statement();
        let nonce = SecretScalar::nonce(secret, &statement, entropy);
        let commitments = [self.first.0, self.second.0].map(|base| base.point() * nonce.value());
        let challenge = challenge(statement, &commitments);
        let response = nonce.value() + challenge * secret;
        Proof {
            challenge: PublicScalar(challenge),
            response: PublicScalar(response),
        }
    }

    pub(crate) fn holds(&self, proof: &Proof) -> bool {
        let commitments = [self.first, self.second].map(|(base, power)| opened(proof, base, power));
        challenge(self.statement(), &commitments) == proof.challenge.0
    }

    fn statement(&self) -> Transcript {
        let mut transcript = Transcript::within(self.context, self.scope);
        transcript.part(self.indices);
        transcript.part(self.bound);
        for element in [self.first.0, self.first.1, self.second.0, self.second.1] {
            transcript.element(element);
        }
        transcript
    }
}

/// base^f power^-e, which is the commitment if the proof is good. All inputs are published.
pub(crate) fn opened(proof: &Proof, base: &Element, power: &Element) -> RistrettoPoint {
    RistrettoPoint::vartime_multiscalar_mul(
        [proof.response.0, -proof.challenge.0],
        [base.point(), power.point()],
    )
}

fn challenge(mut statement: Transcript, commitments: &[RistrettoPoint; 2]) -> Scalar {
    for commitment in commitments {
        statement.element(&Element::of(*commitment));
    }
    statement.scalar()
}

#[cfg(test)]
mod tests {
    use types::{Digest, NetworkId};

    use super::*;
    use crate::group::{G, H};

    #[test]
    fn a_proof_fits_its_statement_and_no_other() {
        let mut entropy = Entropy::new(&[4; 32]);
        let x = SecretScalar::random(&mut entropy);
        let [gx, hx] = [&*G, &*H].map(|b| Element::of(b.point() * x.value()));
        let scope = Scope {
            network: NetworkId::ZERO,
            session: Digest::ZERO,
        };
        let other = Scope {
            network: NetworkId::ZERO,
            session: Digest([1; 32]),
        };
        let context = Context::ThresholdKeyPart;
        let statement = |context, scope, indices, hx| SameLogarithm {
            context,
            scope,
            indices,
            bound: &[],
            first: (&G, &gx),
            second: (&H, hx),
        };
        let proof = statement(context, &scope, &[1], &hx).prove(x.value(), &mut entropy);
        assert!(statement(context, &scope, &[1], &hx).holds(&proof));
        assert!(!statement(Context::ThresholdDispute, &scope, &[1], &hx).holds(&proof));
        assert!(!statement(context, &other, &[1], &hx).holds(&proof));
        assert!(!statement(context, &scope, &[2], &hx).holds(&proof));
        assert!(!statement(context, &scope, &[1], &gx).holds(&proof));
        let lie = statement(context, &scope, &[1], &gx).prove(x.value(), &mut entropy);
        assert!(!statement(context, &scope, &[1], &gx).holds(&lie));
    }

    #[test]
    fn a_repeated_seed_does_not_repeat_a_nonce_for_another_statement() {
        let scope = Scope {
            network: NetworkId::ZERO,
            session: Digest::ZERO,
        };
        let x = SecretScalar::random(&mut Entropy::new(&[4; 32]));
        let nonce = |part: &[u8]| {
            let mut about = Transcript::within(Context::ThresholdPartial, &scope);
            about.part(part);
            *SecretScalar::nonce(x.value(), &about, &mut Entropy::new(&[5; 32])).value()
        };
        assert_ne!(nonce(b"1"), nonce(b"2"));
        assert_eq!(nonce(b"1"), nonce(b"1"));
    }
}
