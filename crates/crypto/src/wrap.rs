//! A secret of 32 bytes, wrapped for the holder of a P-256 key that may be locked in a hardware security
//! module: an ephemeral Diffie-Hellman (NIST SP 800-56A, "one-pass"), HKDF-SHA-256, AES-256-GCM.
//!
//! Whoever wraps needs the public key alone. Whoever unwraps asks its module for one point
//! multiplication, which every module has (PKCS#11: `CKM_ECDH1_DERIVE`), and does the rest here.
//!
//! ```text
//! key    = HKDF( x coordinate of the shared point, context, ephemeral key, recipient's key, bound )
//! sealed = AES-256-GCM( key, nonce 0, associated data `bound`, secret )
//! ```

use aws_lc_rs::agreement;
use zeroize::Zeroizing;

use crate::{AeadKey, Context, Entropy, NotAuthentic, PublicKey, SEAL_OVERHEAD_BYTES, derive};

/// Bytes of a wrapped secret.
pub const WRAPPED_BYTES: usize = 32 + SEAL_OVERHEAD_BYTES;

/// A wrapped secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrapped {
    /// Made for this secret only; what the recipient's module multiplies.
    pub ephemeral: PublicKey,
    pub sealed: [u8; WRAPPED_BYTES],
}

impl Wrapped {
    /// Wraps `secret` for the holder of `to`. `bound` is authenticated and not part of it.
    pub fn seal(
        to: &PublicKey,
        context: Context,
        bound: &[u8],
        secret: &[u8; 32],
        entropy: &mut Entropy,
    ) -> Self {
        let (private, ephemeral) = ephemeral(entropy);
        let shared = agree(&private, to);
        let key = AeadKey::new(&key(&shared, context, &ephemeral, to, bound));
        // Sized first: a vector that grew would leave the secret behind in what it outgrew.
        let mut buffer = Zeroizing::new(Vec::with_capacity(WRAPPED_BYTES));
        buffer.extend_from_slice(secret);
        // The key is of this ephemeral one, so it seals once.
        key.seal(0, bound, &mut buffer, 0);
        Self {
            ephemeral,
            sealed: buffer.as_slice().try_into().expect("32 bytes and a tag"),
        }
    }

    /// Opens it. `shared` is the x coordinate of the point that the holder's key and
    /// [`Wrapped::ephemeral`] come to.
    ///
    /// # Errors
    /// [`NotAuthentic`]: another key, context or bound content, or whoever gave the bytes changed them.
    pub fn open(
        &self,
        to: &PublicKey,
        context: Context,
        bound: &[u8],
        shared: &[u8; 32],
    ) -> Result<Zeroizing<[u8; 32]>, NotAuthentic> {
        let key = AeadKey::new(&key(shared, context, &self.ephemeral, to, bound));
        let mut buffer = Zeroizing::new(self.sealed);
        let opened = key.open(0, bound, buffer.as_mut_slice())?;
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(opened);
        Ok(secret)
    }
}

fn key(
    shared: &[u8; 32],
    context: Context,
    ephemeral: &PublicKey,
    to: &PublicKey,
    bound: &[u8],
) -> Zeroizing<[u8; 32]> {
    derive(shared, context, &[ephemeral.as_sec1(), to.as_sec1(), bound])
}

fn ephemeral(entropy: &mut Entropy) -> (agreement::PrivateKey, PublicKey) {
    loop {
        let scalar = entropy.secret();
        // Zero or not below the group order: about one in 2^32 for P-256.
        if let Ok(private) =
            agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar.as_slice())
        {
            let public = private.compute_public_key().expect("the key is whole");
            let public = PublicKey::from_sec1(public.as_ref()).expect("an uncompressed point");
            return (private, public);
        }
    }
}

fn agree(private: &agreement::PrivateKey, with: &PublicKey) -> Zeroizing<[u8; 32]> {
    let mut shared = Zeroizing::new([0; 32]);
    let with = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, with.as_sec1());
    agreement::agree(private, with, (), |x| {
        shared.copy_from_slice(x);
        Ok(())
    })
    .expect("a point of P-256 has prime order");
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context::ShareKeyWrap;

    fn holder() -> (agreement::PrivateKey, PublicKey) {
        ephemeral(&mut Entropy::new(&[7; 32]))
    }

    fn wrapped(to: &PublicKey) -> Wrapped {
        Wrapped::seal(to, CONTEXT, b"bound", &[5; 32], &mut Entropy::new(&[8; 32]))
    }

    #[test]
    fn what_is_wrapped_opens_with_the_holders_key_alone() {
        let (private, to) = holder();
        let wrapped = wrapped(&to);
        let shared = agree(&private, &wrapped.ephemeral);
        let opened = wrapped.open(&to, CONTEXT, b"bound", &shared);
        assert_eq!(*opened.expect("its holder"), [5; 32]);

        let (other, _) = ephemeral(&mut Entropy::new(&[9; 32]));
        let not = agree(&other, &wrapped.ephemeral);
        for opened in [
            wrapped.open(&to, CONTEXT, b"bound", &not),
            wrapped.open(&to, CONTEXT, b"bounds", &shared),
            wrapped.open(&to, Context::EpochLink, b"bound", &shared),
            wrapped.open(&wrapped.ephemeral, CONTEXT, b"bound", &shared),
        ] {
            assert_eq!(opened, Err(NotAuthentic));
        }
        for bit in 0..WRAPPED_BYTES * 8 {
            let mut changed = wrapped;
            changed.sealed[bit / 8] ^= 1 << (bit % 8);
            let opened = changed.open(&to, CONTEXT, b"bound", &shared);
            assert_eq!(opened, Err(NotAuthentic), "bit {bit}");
        }
    }

    #[test]
    fn an_ephemeral_key_wraps_once() {
        let (_, to) = holder();
        let entropy = &mut Entropy::new(&[8; 32]);
        let mut wrap = || Wrapped::seal(&to, CONTEXT, b"", &[5; 32], entropy);
        let (first, second) = (wrap(), wrap());
        assert_ne!(first.ephemeral, second.ephemeral);
        assert_ne!(first.sealed, second.sealed);
    }
}
