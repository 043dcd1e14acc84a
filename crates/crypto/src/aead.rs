//! Authenticated encryption: AES-256-GCM with a nonce that the caller's protocol makes unique.

use core::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes that sealing adds: the tag.
pub const SEAL_OVERHEAD_BYTES: usize = 16;

/// The bytes were not sealed under this key, nonce and associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes are not authentic under this key")]
pub struct NotAuthentic;

/// A key that seals. The nonce is a number; sealing one number twice is the caller's bug, and
/// `ledger::Sealer` asserts against it. AWS-LC erases the key schedule when it is dropped.
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes"),
        ))
    }

    fn nonce(number: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `buffer[from..]` in place and appends the tag.
    pub fn seal(&self, number: u64, associated: &[u8], buffer: &mut Vec<u8>, from: usize) {
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Self::nonce(number),
                Aad::from(associated),
                &mut buffer[from..],
            )
            .expect("an entry is far below the limit of GCM");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Decrypts in place; the plaintext is the front of `buffer`.
    ///
    /// # Errors
    /// [`NotAuthentic`]: whoever gave the bytes changed them, or they belong elsewhere.
    pub fn open<'a>(
        &self,
        number: u64,
        associated: &[u8],
        buffer: &'a mut [u8],
    ) -> Result<&'a mut [u8], NotAuthentic> {
        self.0
            .open_in_place(Self::nonce(number), Aad::from(associated), buffer)
            .map_err(|_| NotAuthentic)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_refused() {
        let key = AeadKey::new(&[1; 32]);
        let mut sealed = b"head".to_vec();
        sealed.extend_from_slice(b"secret");
        key.seal(5, b"head", &mut sealed, 4);
        for bit in 0..(sealed.len() - 4) * 8 {
            let mut copy = sealed[4..].to_vec();
            copy[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(5, b"head", &mut copy), Err(NotAuthentic));
        }
        let mut whole = sealed[4..].to_vec();
        assert_eq!(key.open(6, b"head", &mut whole.clone()), Err(NotAuthentic));
        assert_eq!(key.open(5, b"heap", &mut whole.clone()), Err(NotAuthentic));
        assert_eq!(
            key.open(5, b"head", &mut whole).expect("unchanged"),
            b"secret"
        );
    }
}
