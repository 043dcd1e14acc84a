//! Signatures of hardware vendors: verification only, of what Coco itself never makes.
//!
//! AMD certifies the keys of its processors by RSASSA-PSS and signs reports by ECDSA on P-384.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};

use crate::BadSignature;

/// ECDSA on P-384 with SHA-384: `key` is an uncompressed point of 97 bytes, `signature` is r and s of 48
/// bytes each, big-endian.
///
/// # Errors
/// [`BadSignature`], also for what is no key.
pub fn verify_p384(key: &[u8], bytes: &[u8], signature: &[u8; 96]) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
        .verify(bytes, signature)
        .map_err(|_| BadSignature)
}

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes: `key` is RSAPublicKey DER (RFC 8017)
/// of 2048 to 8192 bits.
///
/// # Errors
/// [`BadSignature`], also for what is no key.
pub fn verify_rsa_pss(key: &[u8], bytes: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key)
        .verify(bytes, signature)
        .map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384,
    };

    use super::*;

    #[test]
    fn p384_signatures_are_told_apart() {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        let signature = key
            .sign(&SystemRandom::new(), b"report")
            .expect("a signature");
        let mut signature: [u8; 96] = signature.as_ref().try_into().expect("fixed encoding");
        let public = key.public_key().as_ref();
        assert_eq!(verify_p384(public, b"report", &signature), Ok(()));
        assert_eq!(
            verify_p384(public, b"resort", &signature),
            Err(BadSignature)
        );
        assert_eq!(
            verify_p384(&public[1..], b"report", &signature),
            Err(BadSignature)
        );
        signature[95] ^= 1;
        assert_eq!(
            verify_p384(public, b"report", &signature),
            Err(BadSignature)
        );
    }

    #[test]
    fn rsa_signatures_are_told_apart() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PSS_SHA384,
            &SystemRandom::new(),
            b"certificate",
            &mut signature,
        )
        .expect("a signature");
        let public = key.public_key().as_ref();
        assert_eq!(verify_rsa_pss(public, b"certificate", &signature), Ok(()));
        assert_eq!(
            verify_rsa_pss(public, b"certificat", &signature),
            Err(BadSignature)
        );
        assert_eq!(
            verify_rsa_pss(b"no key", b"certificate", &signature),
            Err(BadSignature)
        );
        signature[0] ^= 1;
        assert_eq!(
            verify_rsa_pss(public, b"certificate", &signature),
            Err(BadSignature)
        );
    }
}
