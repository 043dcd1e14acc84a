//! Hashes, message authentication and key derivation (FIPS 180-4, RFC 2104, RFC 5869).

use aws_lc_rs::{constant_time, digest, hkdf, hmac as mac};
use types::Digest;
use zeroize::Zeroizing;

use crate::Context;

/// SHA-256 over parts, without copying them together.
pub struct Hasher(digest::Context);

impl Hasher {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Starts with a length-prefixed context, so that no two uses can collide.
    pub fn with(context: Context) -> Self {
        Self::new().part(context.bytes())
    }

    /// Raw bytes: only where the format fixes their length.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// Bytes with their length before them.
    #[must_use]
    pub fn part(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes()); // usize is at most 64 bits
        self.0.update(bytes);
        self
    }

    pub fn finish(self) -> Digest {
        let digest = self.0.finish();
        Digest::from_slice(digest.as_ref()).expect("SHA-256 gives 32 bytes")
    }
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Hasher::new().raw(bytes).finish()
}

pub fn sha384(bytes: &[u8]) -> [u8; 48] {
    digest::digest(&digest::SHA384, bytes)
        .as_ref()
        .try_into()
        .expect("SHA-384 gives 48 bytes")
}

pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    digest::digest(&digest::SHA512, bytes)
        .as_ref()
        .try_into()
        .expect("SHA-512 gives 64 bytes")
}

/// HMAC-SHA-256.
pub fn hmac(key: &[u8; 32], bytes: &[u8]) -> Digest {
    let tag = mac::sign(&mac::Key::new(mac::HMAC_SHA256, key), bytes);
    Digest::from_slice(tag.as_ref()).expect("HMAC-SHA-256 gives 32 bytes")
}

/// HKDF-SHA-256 to one key of 32 bytes. `info` parts are length-prefixed after the context.
pub fn derive(secret: &[u8; 32], context: Context, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bound = Vec::new();
    for part in [&[context.bytes()], info].concat() {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes()); // usize is at most 64 bits
        bound.extend_from_slice(part);
    }
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(secret)
        .expand(&[&bound], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut()))
        .expect("32 bytes are within HKDF's limit");
    key
}

/// Compares in constant time; lengths are not secret.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_not_ambiguous() {
        let a = Hasher::new().part(b"ab").part(b"c").finish();
        let b = Hasher::new().part(b"a").part(b"bc").finish();
        assert_ne!(a, b);
    }

    #[test]
    fn derived_keys_differ_by_context_and_info() {
        let secret = [7; 32];
        let keys = [
            derive(&secret, Context::LedgerSeal, &[b"a"]),
            derive(&secret, Context::SnapshotSeal, &[b"a"]),
            derive(&secret, Context::LedgerSeal, &[b"b"]),
            derive(&secret, Context::LedgerSeal, &[b"a", b""]),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(**a, **b);
            }
        }
    }

    #[test]
    fn hmac_is_rfc_4231_case_1_shape() {
        // RFC 4231 uses a 20-byte key; zero-padding to the block is part of HMAC, so 32 bytes with
        // zeros at the end give the same tag.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hmac(&key, b"Hi There").to_string(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }
}
