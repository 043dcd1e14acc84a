//! Sealing to somebody's public key: HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256, AES-256-GCM.
//!
//! For few, small, long secrets: a share-transport key on its way into an enclave, a share on its
//! way to an auditor. Base mode says nothing about the sender; whoever opens checks what is inside.

use core::convert::Infallible;
use core::fmt;

use hpke::aead::{Aead, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::{Entropy, NotAuthentic};

type Private = <X25519HkdfSha256 as Kem>::PrivateKey;
type Public = <X25519HkdfSha256 as Kem>::PublicKey;

/// Bytes of an encapsulated key, which stands before the ciphertext.
const ENCAPSULATED_BYTES: usize = 32;

/// Bytes of the tag, which ends it.
const TAG_BYTES: usize = 16;

/// Bytes that sealing adds.
pub const HPKE_OVERHEAD_BYTES: usize = ENCAPSULATED_BYTES + TAG_BYTES;

/// The public key makes no shared secret: it is a point of small order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the public key is no X25519 key to which anything can be sealed")]
pub struct BadHpkeKey;

/// The private key of whoever opens. X25519's implementation erases it when it is dropped.
pub struct HpkeKey {
    private: Box<Private>,
    public: [u8; 32],
}

impl HpkeKey {
    /// A new key pair.
    pub fn generate(entropy: &mut Entropy) -> Self {
        let (private, public) = X25519HkdfSha256::gen_keypair_with_rng(&mut Rng(entropy));
        Self {
            private: Box::new(private),
            public: public.to_bytes().into(),
        }
    }

    /// Reads an exported key. Any 32 bytes are one.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let private = Private::from_bytes(bytes).expect("any 32 bytes are an X25519 key");
        let public = X25519HkdfSha256::sk_to_pk(&private);
        Self {
            private: Box::new(private),
            public: public.to_bytes().into(),
        }
    }

    /// The 32 bytes to write into the holder's key file.
    pub fn export(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.private.to_bytes().into())
    }

    /// What others seal to.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Opens what [`seal`] sealed to this key under the same `info` and `associated`.
    ///
    /// # Errors
    /// [`NotAuthentic`]: whoever gave the bytes changed them, or they belong elsewhere.
    pub fn open(
        &self,
        info: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.open_with::<AesGcm256>(info, associated, sealed)
    }

    fn open_with<A: Aead>(
        &self,
        info: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let (encapsulated, rest) = sealed
            .split_at_checked(ENCAPSULATED_BYTES)
            .ok_or(NotAuthentic)?;
        let length = rest.len().checked_sub(TAG_BYTES).ok_or(NotAuthentic)?;
        let (ciphertext, tag) = rest.split_at(length);
        let encapsulated = Deserializable::from_bytes(encapsulated).map_err(|_| NotAuthentic)?;
        let tag = Deserializable::from_bytes(tag).map_err(|_| NotAuthentic)?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        hpke::single_shot_open_inout_detached::<A, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            info,
            InOutBuf::from(plaintext.as_mut_slice()),
            associated,
            &tag,
        )
        .map_err(|_| NotAuthentic)?;
        Ok(plaintext)
    }
}

impl fmt::Debug for HpkeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HpkeKey({})", hex::encode(&self.public[..4]))
    }
}

/// Seals `plaintext` to the holder of `public`, bound to `info` and `associated`: the encapsulated
/// key, the ciphertext, the tag; [`HPKE_OVERHEAD_BYTES`] more than the plaintext.
///
/// # Errors
/// [`BadHpkeKey`]: whoever gave the public key made it up.
pub fn seal(
    public: &[u8; 32],
    info: &[u8],
    associated: &[u8],
    plaintext: &[u8],
    entropy: &mut Entropy,
) -> Result<Vec<u8>, BadHpkeKey> {
    seal_with::<AesGcm256>(public, info, associated, plaintext, &mut Rng(entropy))
}

fn seal_with<A: Aead>(
    public: &[u8; 32],
    info: &[u8],
    associated: &[u8],
    plaintext: &[u8],
    rng: &mut Rng<'_>,
) -> Result<Vec<u8>, BadHpkeKey> {
    let public = Public::from_bytes(public).map_err(|_| BadHpkeKey)?;
    // Room for all of it: the plaintext is not left behind where the vector was before it grew.
    let mut sealed = Vec::with_capacity(plaintext.len() + HPKE_OVERHEAD_BYTES);
    sealed.extend_from_slice(&[0; ENCAPSULATED_BYTES]);
    sealed.extend_from_slice(plaintext);
    let (encapsulated, tag) =
        hpke::single_shot_seal_inout_detached_with_rng::<A, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            info,
            InOutBuf::from(&mut sealed[ENCAPSULATED_BYTES..]),
            associated,
            rng,
        )
        .map_err(|_| BadHpkeKey)?;
    sealed[..ENCAPSULATED_BYTES].copy_from_slice(&encapsulated.to_bytes());
    sealed.extend_from_slice(&tag.to_bytes());
    Ok(sealed)
}

/// [`Entropy`] as the primitive asks for it.
struct Rng<'a>(&'a mut Entropy);

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(self.0.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.number())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_> {}

#[cfg(test)]
mod tests {
    use hpke::aead::AesGcm128;

    use super::*;

    // RFC 9180, A.1.1, but for the ephemeral key: that comes from our entropy.
    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    const RECIPIENT: &str = "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037";
    const PLAINTEXT: &str = "4265617574792069732074727574682c20747275746820626561757479";
    const ASSOCIATED: &str = "436f756e742d30";
    const ENCAPSULATED: &str = "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431";

    fn recipient() -> HpkeKey {
        let (private, public) = X25519HkdfSha256::derive_keypair(&bytes(RECIPIENT));
        HpkeKey {
            private: Box::new(private),
            public: public.to_bytes().into(),
        }
    }

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).expect("hexadecimal")
    }

    #[test]
    fn the_vectors_open() {
        let key = recipient();
        assert_eq!(
            hex::encode(key.public()),
            "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"
        );
        // A.1.1 itself has AES-128.
        let of_rfc = "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a";
        let opened = key.open_with::<AesGcm128>(
            &bytes(INFO),
            &bytes(ASSOCIATED),
            &bytes(&format!("{ENCAPSULATED}{of_rfc}")),
        );
        assert_eq!(**opened.expect("the vector of the RFC"), bytes(PLAINTEXT));
        // The same keys with AES-256, from an implementation that gives A.1.1, too.
        let wider = "090b7dc225419f7da9e8b460becfbb96a26c7964d79b8010d397fa838530a32a397b14f5776db19ff5e57734e0";
        let opened = key.open(
            &bytes(INFO),
            &bytes(ASSOCIATED),
            &bytes(&format!("{ENCAPSULATED}{wider}")),
        );
        assert_eq!(**opened.expect("the vector"), bytes(PLAINTEXT));
    }

    #[test]
    fn what_is_sealed_opens_there_and_nowhere_else() {
        let entropy = &mut Entropy::new(&[1; 32]);
        let (key, other) = (HpkeKey::generate(entropy), HpkeKey::generate(entropy));
        let sealed = seal(key.public(), b"info", b"aad", b"a share", entropy).expect("a key");
        assert_eq!(sealed.len(), 7 + HPKE_OVERHEAD_BYTES);
        let opened = key.open(b"info", b"aad", &sealed).expect("sealed to it");
        assert_eq!(**opened, *b"a share");
        assert_eq!(other.open(b"info", b"aad", &sealed), Err(NotAuthentic));
        assert_eq!(key.open(b"inf", b"oaad", &sealed), Err(NotAuthentic));
        assert_eq!(key.open(b"info", b"", &sealed), Err(NotAuthentic));
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = key.open(b"info", b"aad", &changed);
            // X25519 ignores the top bit of a point (RFC 7748, 5), but the key schedule does not.
            assert_eq!(opened, Err(NotAuthentic), "bit {bit}");
        }
        for length in 0..sealed.len() {
            let opened = key.open(b"info", b"aad", &sealed[..length]);
            assert_eq!(opened, Err(NotAuthentic), "{length} bytes");
        }
        let read = HpkeKey::from_bytes(&key.export());
        assert_eq!(read.public(), key.public());
        assert!(read.open(b"info", b"aad", &sealed).is_ok());
        let again = seal(key.public(), b"info", b"aad", b"a share", entropy).expect("a key");
        assert_ne!(again, sealed, "each has an ephemeral key of its own");
    }

    #[test]
    fn nothing_is_sealed_to_a_point_of_small_order() {
        let entropy = &mut Entropy::new(&[1; 32]);
        assert_eq!(seal(&[0; 32], b"", b"", b"x", entropy), Err(BadHpkeKey));
        assert!(format!("{:?}", HpkeKey::generate(entropy)).starts_with("HpkeKey("));
    }
}
