//! Encryption to the shared key: TDH2, secure against chosen ciphertexts, with labels.
//!
//! ```text
//! r, s random      c = m xor H1(y^r)      u = h^r  w = h^s      ub = g^r  wb = g^s
//! e = H2(c, L, u, w, ub, wb)              f = s + r e
//! ciphertext: (c, u, ub, e, f)            verify: e == H2(c, L, u, h^f u^-e, ub, g^f ub^-e)
//! ```
//!
//! Source: Shoup and Gennaro, "Securing Threshold Cryptosystems against Chosen Ciphertext Attack",
//! J. Cryptology 15(2), 2002, section 4 (TDH2). The generators change places, since y is a power of
//! h here (see `keypart`). The message is a key of 32 bytes. The label says what it is for and is
//! not in the ciphertext: whoever opens one states the label that is expected.

use crypto::{Context, Entropy};
use curve25519_dalek::{RistrettoPoint, Scalar};
use minicbor::{Decode, Encode};
use types::Digest;
use zeroize::{Zeroize, Zeroizing};

use crate::deal::xor;
use crate::group::{Element, G, H, PublicScalar, SecretScalar, Transcript};
use crate::key::ThresholdKey;
use crate::proof::{Proof, opened};
use crate::setup::Scope;

/// Longest label: names and numbers of an epoch record take about 200 bytes.
pub const LABEL_BYTES_MAX: usize = 1024;

/// A key of 32 bytes that M actors can open together. 160 bytes of content.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ciphertext {
    #[n(0)]
    pub(crate) session: Digest,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) masked: [u8; 32],
    #[n(2)]
    pub(crate) u: Element,
    #[n(3)]
    pub(crate) ub: Element,
    #[n(4)]
    pub(crate) proof: Proof,
}

/// A ciphertext that was checked against a key and a label. Only [`Ciphertext::verify`] makes one,
/// and every partial decryption asks for one: an unchecked ciphertext never meets a private share.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a> {
    key: &'a ThresholdKey,
    ciphertext: &'a Ciphertext,
}

impl ThresholdKey {
    /// Encrypts 32 bytes under a label of at most [`LABEL_BYTES_MAX`] bytes.
    ///
    /// # Panics
    /// If the label is longer.
    pub fn encrypt(&self, message: &[u8; 32], label: &[u8], entropy: &mut Entropy) -> Ciphertext {
        assert!(
            label.len() <= LABEL_BYTES_MAX,
            "a label has at most {LABEL_BYTES_MAX} bytes"
        );
        let r = SecretScalar::random(entropy);
        let u = Element::of(H.point() * r.value());
        let ub = Element::of(RistrettoPoint::mul_base(r.value()));
        let mut common = self.public.point() * r.value();
        let masked = xor(message, &mask(&self.scope, &u, &common));
        common.zeroize();

        let s = SecretScalar::nonce(r.value(), &bound(&self.scope, &masked, label, &u), entropy);
        let w = H.point() * s.value();
        let wb = RistrettoPoint::mul_base(s.value());
        let e = challenge(&self.scope, &masked, label, (&u, &w), (&ub, &wb));
        let f = s.value() + e * r.value();
        let proof = Proof {
            challenge: PublicScalar(e),
            response: PublicScalar(f),
        };
        Ciphertext {
            session: self.session(),
            masked,
            u,
            ub,
            proof,
        }
    }
}

impl Ciphertext {
    /// The session whose key it was encrypted to.
    pub fn session(&self) -> Digest {
        self.session
    }

    /// Checks that whoever made the ciphertext knew r and meant this key and label. Anybody can.
    ///
    /// # Errors
    /// The ciphertext, the label or the key is another one; nothing may be decrypted.
    pub fn verify<'a>(
        &'a self,
        key: &'a ThresholdKey,
        label: &[u8],
    ) -> Result<Verified<'a>, BadCiphertext> {
        if self.session != key.session() {
            return Err(BadCiphertext::OtherKey);
        }
        if label.len() > LABEL_BYTES_MAX {
            return Err(BadCiphertext::Proof);
        }
        let w = opened(&self.proof, &H, &self.u);
        let wb = opened(&self.proof, &G, &self.ub);
        let e = challenge(
            &key.scope,
            &self.masked,
            label,
            (&self.u, &w),
            (&self.ub, &wb),
        );
        if e != self.proof.challenge.0 {
            return Err(BadCiphertext::Proof);
        }
        Ok(Verified {
            key,
            ciphertext: self,
        })
    }
}

impl<'a> Verified<'a> {
    /// The key that it was checked against.
    pub fn key(&self) -> &'a ThresholdKey {
        self.key
    }

    pub(crate) fn u(&self) -> &'a Element {
        &self.ciphertext.u
    }

    /// e covers everything in the ciphertext and its label, and so stands for both.
    pub(crate) fn name(&self) -> &'a [u8; 32] {
        self.ciphertext.proof.challenge.0.as_bytes()
    }

    /// m = c xor H1(y^r).
    pub(crate) fn unmask(&self, common: &RistrettoPoint) -> Zeroizing<[u8; 32]> {
        let mask = mask(&self.key.scope, self.u(), common);
        Zeroizing::new(xor(&self.ciphertext.masked, &mask))
    }
}

/// H1: HKDF-SHA-256 (RFC 5869) of the common element, bound to session and u.
fn mask(scope: &Scope, u: &Element, common: &RistrettoPoint) -> Zeroizing<[u8; 32]> {
    let common = Zeroizing::new(common.compress().to_bytes());
    let info: [&[u8]; 3] = [&scope.network.0, &scope.session.0, u.bytes()];
    crypto::derive(&common, Context::ThresholdMask, &info)
}

/// H2.
fn challenge(
    scope: &Scope,
    masked: &[u8; 32],
    label: &[u8],
    (u, w): (&Element, &RistrettoPoint),
    (ub, wb): (&Element, &RistrettoPoint),
) -> Scalar {
    let mut transcript = bound(scope, masked, label, u);
    for element in [&Element::of(*w), ub, &Element::of(*wb)] {
        transcript.element(element);
    }
    transcript.scalar()
}

fn bound(scope: &Scope, masked: &[u8; 32], label: &[u8], u: &Element) -> Transcript {
    let mut transcript = Transcript::within(Context::ThresholdCiphertext, scope);
    transcript.part(masked);
    transcript.part(label);
    transcript.element(u);
    transcript
}

/// The ciphertext must not be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCiphertext {
    #[error("the ciphertext is encrypted to another threshold key: use the key of its session")]
    OtherKey,
    #[error("the ciphertext was changed or has another label: refuse it")]
    Proof,
}
