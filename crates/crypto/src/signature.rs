//! ECDSA over P-256 with SHA-256 (FIPS 186-5), the one signature of the core: hardware security
//! modules, X.509 and the receipt profile all have it.

use core::fmt;

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    ParsedPublicKey,
};
use zeroize::Zeroizing;

use crate::{Context, Entropy, derive};

/// r and s, 32 bytes big-endian each.
pub type Signature = [u8; 64];

/// The signature was not made by this key over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match the key and the content")]
pub struct BadSignature;

/// The bytes are not a P-256 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 key in the expected encoding")]
pub struct BadKey;

/// A P-256 private key. Not `Clone`; erased when dropped.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a new key.
    pub fn generate(entropy: &mut Entropy) -> Self {
        loop {
            let seed = entropy.secret();
            let scalar = derive(&seed, Context::SigningKeySeed, &[]);
            // Zero or not below the group order: about one in 2^32 for P-256.
            if let Ok(key) = Self::from_scalar(&scalar) {
                return key;
            }
        }
    }

    fn from_scalar(scalar: &[u8; 32]) -> Result<Self, BadKey> {
        let exchange = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar)
            .map_err(|_| BadKey)?;
        let public = exchange.compute_public_key().map_err(|_| BadKey)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            scalar,
            public.as_ref(),
        )
        .map_err(|_| BadKey)?;
        Self::from_pair(pair)
    }

    /// Reads PKCS#8 DER.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        Self::from_pair(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(|_| BadKey)?,
        )
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, BadKey> {
        let public = PublicKey::from_sec1(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// PKCS#8 DER, for files of an actor and for the TLS library.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let der = self.pair.to_pkcs8v1().expect("the key is whole");
        Zeroizing::new(der.as_ref().to_vec())
    }

    /// The private scalar, 32 bytes big-endian, for sealing as an administrative record.
    pub fn to_scalar(&self) -> Zeroizing<[u8; 32]> {
        let scalar: EcPrivateKeyBin<'_> = self
            .pair
            .private_key()
            .as_be_bytes()
            .expect("the key is whole");
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(scalar.as_ref());
        bytes
    }

    /// The key of a scalar from [`SigningKey::to_scalar`].
    ///
    /// # Errors
    /// [`BadKey`]: zero or beyond the group order.
    pub fn of_scalar(scalar: &[u8; 32]) -> Result<Self, BadKey> {
        Self::from_scalar(scalar)
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs raw bytes. Whoever calls puts a [`Context`] into them.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), bytes)
            .expect("signing with a whole key succeeds");
        signature
            .as_ref()
            .try_into()
            .expect("fixed encoding has 64 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {:?})", self.public)
    }
}

/// A P-256 public key: the uncompressed point, 65 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 65]);

impl PublicKey {
    /// Reads an uncompressed point and checks that it is on the curve.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, BadKey> {
        let point: [u8; 65] = bytes.try_into().map_err(|_| BadKey)?;
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| BadKey)?;
        Ok(Self(point))
    }

    pub fn as_sec1(&self) -> &[u8; 65] {
        &self.0
    }

    /// SubjectPublicKeyInfo DER.
    pub fn to_spki(&self) -> Vec<u8> {
        let parsed =
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0).expect("checked when made");
        let der: PublicKeyX509Der<'_> = parsed.as_der().expect("checked when made");
        der.as_ref().to_vec()
    }

    /// SHA-256 over SubjectPublicKeyInfo: the short name of a key (CCF receipts call it `kid`).
    pub fn fingerprint(&self) -> types::Digest {
        crate::sha256(&self.to_spki())
    }

    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0)
            .expect("checked when made")
            .verify_sig(bytes, signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(&self.0[1..5]))
    }
}

impl<C> minicbor::Encode<C> for PublicKey {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for PublicKey {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::from_sec1(d.bytes()?).map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_encodings_and_sign_alike() {
        let key = SigningKey::generate(&mut Entropy::new(&[3; 32]));
        let again = SigningKey::from_pkcs8(&key.to_pkcs8()).expect("own encoding");
        let third = SigningKey::of_scalar(&key.to_scalar()).expect("own encoding");
        for k in [&key, &again, &third] {
            let signature = k.sign(b"content");
            assert_eq!(key.public().verify(b"content", &signature), Ok(()));
            assert_eq!(
                key.public().verify(b"contend", &signature),
                Err(BadSignature)
            );
        }
        assert_eq!(
            PublicKey::from_sec1(&[4; 65]),
            Err(BadKey),
            "a point off the curve"
        );
    }

    #[test]
    fn the_same_entropy_gives_the_same_key() {
        let a = SigningKey::generate(&mut Entropy::new(&[9; 32]));
        let b = SigningKey::generate(&mut Entropy::new(&[9; 32]));
        assert_eq!(a.public(), b.public());
    }
}
