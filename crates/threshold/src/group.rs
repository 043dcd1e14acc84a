//! The group: ristretto255 (RFC 9496), prime order q, with two generators g and h.
//!
//! Whatever comes from outside becomes an [`Element`] or a public scalar here and nowhere else: an
//! element is canonical (RFC 9496, 4.3.1) and not the identity, a scalar is less than q. Secret
//! scalars are boxed, zeroized, without `Clone`, and everything done with one takes constant time;
//! variable time is used on published values only.

use core::fmt;
use std::sync::LazyLock;

use crypto::{Context, Entropy};
use curve25519_dalek::traits::{Identity, IsIdentity};
use curve25519_dalek::{RistrettoPoint, Scalar, ristretto::CompressedRistretto};
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use crate::setup::Scope;

/// Most actors of one session: a share index fits a byte, and 64 dealings of 64 shares verify in
/// well under a second.
pub const ACTORS_MAX: usize = types::limits::ACTORS_MAX;

/// h: hash-to-group of a fixed string by the one-way map of RFC 9496, 4.3.4, so that nobody knows
/// its logarithm to base g.
pub(crate) static H: LazyLock<Element> = LazyLock::new(|| {
    let wide = Transcript::new(Context::ThresholdGenerator).wide();
    Element::of(RistrettoPoint::from_uniform_bytes(&wide))
});

/// g: the generator of RFC 9496, 4.3.
pub(crate) static G: LazyLock<Element> =
    LazyLock::new(|| Element::of(curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT));

/// A published group element with its canonical encoding.
#[derive(Clone, Copy)]
pub struct Element {
    point: RistrettoPoint,
    bytes: [u8; 32],
}

impl Element {
    /// Of a point that was computed here.
    pub(crate) fn of(point: RistrettoPoint) -> Self {
        let bytes = point.compress().to_bytes();
        Self { point, bytes }
    }

    /// Reads the one encoding of an element other than the identity.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAnElement> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| NotAnElement)?;
        let point = CompressedRistretto(bytes)
            .decompress()
            .ok_or(NotAnElement)?;
        if point.is_identity() {
            Err(NotAnElement)
        } else {
            Ok(Self { point, bytes })
        }
    }

    /// The canonical encoding.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub(crate) fn point(&self) -> &RistrettoPoint {
        &self.point
    }

    pub(crate) fn is_identity(&self) -> bool {
        self.point.is_identity()
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Element {}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Element({})", hex::encode(&self.bytes[..4]))
    }
}

impl<C> Encode<C> for Element {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Element {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::from_bytes(d.bytes()?).map_err(minicbor::decode::Error::custom)
    }
}

/// The bytes do not encode a group element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the canonical 32 bytes of a ristretto255 element other than the identity")]
pub struct NotAnElement;

/// A published scalar: a challenge or a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicScalar(pub(crate) Scalar);

impl fmt::Debug for PublicScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scalar({})", hex::encode(&self.0.as_bytes()[..4]))
    }
}

impl<C> Encode<C> for PublicScalar {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.0.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for PublicScalar {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        <[u8; 32]>::try_from(d.bytes()?)
            .ok()
            .and_then(|bytes| Option::from(Scalar::from_canonical_bytes(bytes)))
            .map(Self)
            .ok_or(minicbor::decode::Error::message(
                "expected 32 bytes of a scalar less than q",
            ))
    }
}

/// A scalar that must not leave this process.
pub(crate) struct SecretScalar(Box<Scalar>);

impl SecretScalar {
    /// Uniform: 64 random bytes modulo q leave a bias below 2^-250.
    pub(crate) fn random(entropy: &mut Entropy) -> Self {
        let mut wide = Zeroizing::new([0; 64]);
        entropy.fill(wide.as_mut());
        Self::of(Scalar::from_bytes_mod_order_wide(&wide))
    }

    pub(crate) fn of(mut scalar: Scalar) -> Self {
        let boxed = Self(Box::new(scalar));
        scalar.zeroize();
        boxed
    }

    /// The nonce of a proof: random, and hedged with secret and statement, so that a repeated seed
    /// never answers two challenges with one nonce (RFC 8032, 5.1.6, for the idea).
    pub(crate) fn nonce(secret: &Scalar, about: &Transcript, entropy: &mut Entropy) -> Self {
        let random = entropy.secret();
        let mut input = Transcript::new(Context::ThresholdNonce);
        input.part(random.as_ref());
        input.part(secret.as_bytes());
        input.part(about.scalar().as_bytes()); // hashed first: the input fits its allocation
        Self::of(input.scalar())
    }

    pub(crate) fn value(&self) -> &Scalar {
        &self.0
    }

    pub(crate) fn add(&mut self, other: &Scalar) {
        *self.0 += other;
    }
}

impl Drop for SecretScalar {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar")
    }
}

/// Thirty-two secret bytes: a session key, or an exported share-transport key.
pub struct Secret(Box<Zeroizing<[u8; 32]>>);

impl Secret {
    pub(crate) fn of(bytes: Zeroizing<[u8; 32]>) -> Self {
        // Copied, so that `bytes` is erased here: what is moved away stays behind where it was.
        Self(Box::new(Zeroizing::new(*bytes)))
    }

    /// The bytes themselves. Whoever copies them also erases the copy.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a hash covers: a context, then parts, each after its length. Erased when dropped, since a
/// nonce is drawn from one, too.
pub(crate) struct Transcript {
    bytes: Zeroizing<Vec<u8>>,
}

impl Transcript {
    pub(crate) fn new(context: Context) -> Self {
        // Room for a proof; longer transcripts hold published values only, and may move.
        let mut new = Self {
            bytes: Zeroizing::new(Vec::with_capacity(1024)),
        };
        new.part(context.bytes());
        new
    }

    /// Bound to one session of one network.
    pub(crate) fn within(context: Context, scope: &Scope) -> Self {
        let mut new = Self::new(context);
        new.part(&scope.network.0);
        new.part(&scope.session.0);
        new
    }

    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.bytes
            .extend_from_slice(&(bytes.len() as u64).to_be_bytes()); // usize is at most 64 bits
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn element(&mut self, element: &Element) {
        self.part(&element.bytes);
    }

    /// SHA-512 modulo q: uniform but for a bias below 2^-250.
    pub(crate) fn scalar(&self) -> Scalar {
        Scalar::from_bytes_mod_order_wide(&self.wide())
    }

    fn wide(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(crypto::sha512(&self.bytes))
    }
}

/// prod_k C_k^(j^k), the polynomial under the commitments at j, by Horner's rule with the small
/// exponent j. Variable time: commitments and indices are public.
pub(crate) fn evaluate<'a>(
    commitments: impl DoubleEndedIterator<Item = &'a RistrettoPoint>,
    j: u8,
) -> RistrettoPoint {
    commitments
        .rev()
        .fold(RistrettoPoint::identity(), |sum, c| {
            times_small(&sum, j) + c
        })
}

fn times_small(point: &RistrettoPoint, factor: u8) -> RistrettoPoint {
    let mut sum = RistrettoPoint::identity();
    for bit in (0..8 - factor.leading_zeros()).rev() {
        sum += sum;
        if factor >> bit & 1 == 1 {
            sum += point;
        }
    }
    sum
}

/// The Lagrange coefficients at zero of distinct, non-zero indices: lambda_j = prod m / (m - j).
pub(crate) fn lagrange(indices: &[u8]) -> Vec<Scalar> {
    let coefficient = |&j: &u8| {
        let (mut over, mut under) = (Scalar::ONE, Scalar::ONE);
        for &m in indices.iter().filter(|&&m| m != j) {
            over *= Scalar::from(m);
            under *= Scalar::from(m) - Scalar::from(j);
        }
        over * under.invert()
    };
    indices.iter().map(coefficient).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_is_the_one_of_the_page() {
        let page = include_str!("../../../docs/threshold.md");
        assert!(page.contains(&format!("  = {}\n", hex::encode(H.bytes()))));
    }

    #[test]
    fn small_factors_agree_with_scalars() {
        for j in 0..=255 {
            assert_eq!(times_small(H.point(), j), H.point() * Scalar::from(j));
        }
    }

    #[test]
    fn commitments_evaluate_like_the_polynomial() {
        let mut entropy = Entropy::new(&[1; 32]);
        let a: Vec<_> = (0..5).map(|_| SecretScalar::random(&mut entropy)).collect();
        let c: Vec<_> = a
            .iter()
            .map(|a| RistrettoPoint::mul_base(a.value()))
            .collect();
        for j in [1, 2, 63, 64] {
            let f = a
                .iter()
                .rev()
                .fold(Scalar::ZERO, |f, a| f * Scalar::from(j) + a.value());
            assert_eq!(evaluate(c.iter(), j), RistrettoPoint::mul_base(&f));
        }
        let indices = [3, 7, 1, 64, 20];
        let zero: Scalar = lagrange(&indices)
            .iter()
            .zip(indices)
            .map(|(l, j)| {
                l * a
                    .iter()
                    .rev()
                    .fold(Scalar::ZERO, |f, a| f * Scalar::from(j) + a.value())
            })
            .sum();
        assert_eq!(zero, *a[0].value());
    }

    #[test]
    fn other_encodings_are_refused() {
        assert_eq!(
            Element::from_bytes(&[0; 32]),
            Err(NotAnElement),
            "the identity"
        );
        assert_eq!(
            Element::from_bytes(&[0xff; 32]),
            Err(NotAnElement),
            "not reduced"
        );
        assert_eq!(
            Element::from_bytes(&H.bytes()[..31]),
            Err(NotAnElement),
            "short"
        );
        let mut negative = *H.bytes();
        negative[0] ^= 1;
        assert_eq!(
            Element::from_bytes(&negative),
            Err(NotAnElement),
            "a negative field element"
        );
        assert_eq!(Element::from_bytes(H.bytes()), Ok(*H));
    }
}
