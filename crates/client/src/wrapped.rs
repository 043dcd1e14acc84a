//! An actor's share-transport key, wrapped by a P-256 key in a hardware security module.
//!
//! Whoever has the file alone has nothing: the module multiplies one point (`CKM_ECDH1_DERIVE`), as it
//! does for nobody without the PIN. To wrap needs the public key only. Drawn in docs/formats.md.

use crypto::{Context, Entropy, PublicKey, WRAPPED_BYTES, Wrapped};
use minicbor::{Decode, Encode};
use threshold::{Element, TransportKey};

use crate::identity::pem_block;
use crate::parts::read;
use crate::{ModuleKey, Problem};

pub(crate) const WRAPPED: &str = "WRAPPED COCO SHARE KEY";

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WrappedShareKey {
    #[n(0)]
    public: Element,
    #[n(1)]
    to: PublicKey,
    #[n(2)]
    ephemeral: PublicKey,
    #[cbor(n(3), with = "minicbor::bytes")]
    sealed: [u8; WRAPPED_BYTES],
}

impl WrappedShareKey {
    /// Wraps `key` for the module that holds the private half of `to`.
    pub fn wrap(key: &TransportKey, to: &PublicKey, entropy: &mut Entropy) -> Self {
        let (public, export) = (key.public(), key.export());
        let wrapped = Wrapped::seal(
            to,
            Context::ShareKeyWrap,
            public.bytes(),
            export.expose(),
            entropy,
        );
        Self {
            public,
            to: *to,
            ephemeral: wrapped.ephemeral,
            sealed: wrapped.sealed,
        }
    }

    /// What the constitution lists; without the module it is not known whether the file is right.
    pub fn public(&self) -> Element {
        self.public
    }

    /// Has the module open it.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the module's key is another, or may not or does not derive; or the file was
    /// changed.
    pub fn unwrap(&self, module: &ModuleKey) -> Result<TransportKey, Problem> {
        if *module.public() != self.to {
            return Err(Problem::Identity(format!(
                "the share key is wrapped for another key of a module, whose fingerprint is {}, and not \
                 for this one, {}",
                self.to.fingerprint(),
                module.public().fingerprint()
            )));
        }
        self.open(&*module.agree(&self.ephemeral)?)
    }

    fn open(&self, shared: &[u8; 32]) -> Result<TransportKey, Problem> {
        let changed = || Problem::Identity("the wrapped share key is damaged".into());
        let wrapped = Wrapped {
            ephemeral: self.ephemeral,
            sealed: self.sealed,
        };
        let bytes = wrapped
            .open(&self.to, Context::ShareKeyWrap, self.public.bytes(), shared)
            .map_err(|_| changed())?;
        let key = TransportKey::from_bytes(&bytes).map_err(|_| changed())?;
        if key.public() == self.public {
            Ok(key)
        } else {
            Err(changed())
        }
    }

    /// The text of the file.
    pub fn to_pem(&self) -> String {
        let content = minicbor::to_vec(self).expect("memory takes any length");
        pem_block(WRAPPED, &content)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Problem::Identity`]: whoever gave the file.
    pub fn from_pem(text: &str) -> Result<Self, Problem> {
        read(
            text,
            WRAPPED,
            "`coco member share-key --wrap-with` makes one",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by scripts/share_key_wrap.py, with other libraries: the key 5, for a token's key.
    const VECTOR: &str = "-----BEGIN WRAPPED COCO SHARE KEY-----
hFgg6IKxMQFrUsHTM3CAGHz3aEI+/Mu1F7tJWrgSxBYP9E5YQQRVD0cQA/Pfl8Pf
UGrHl/ZyH7Gh+3uPb4PSJEmKZciOJBNgk9cBLlCac3FcvQsAo8wP9LXAGz/6GWqx
+zJwNrjmWEEEWRq3ceu8/W2cuQlNEGUordGmnUTCwfYn8InsWLnGGt+fTmq/DQRc
DGk6PGitfJfKcr5k3vSib+zSY92YqSeA8FgwREfnjMz+yC2TqTx1ECjjw8oVnOgp
VepZaIo6IC2mSs+0rtab+bsPnD/BNxzQZ+or
-----END WRAPPED COCO SHARE KEY-----
";

    /// And what the token says to it.
    fn shared() -> [u8; 32] {
        let mut shared = [0; 32];
        let text = "485b121f6e24068c738723b2150bb60a472d7aa608a250d5a5646a28c5604515";
        hex::decode_to_slice(text, &mut shared).expect("hexadecimal");
        shared
    }

    #[test]
    fn the_vector_of_another_implementation_opens() {
        let file = WrappedShareKey::from_pem(VECTOR).expect("a file");
        assert_eq!(file.to_pem(), VECTOR);
        let key = file.open(&shared()).expect("what the token says opens it");
        let mut five = [0; 32];
        five[0] = 5;
        assert_eq!(key.export().expose(), &five);
        assert_eq!(key.public(), file.public());
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let content = pem::parse(VECTOR).expect("PEM").into_contents();
        for bit in 0..content.len() * 8 {
            let mut changed = content.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = WrappedShareKey::from_pem(&pem_block(WRAPPED, &changed))
                .and_then(|file| file.open(&shared()));
            assert!(opened.is_err(), "bit {bit}");
        }
        assert!(WrappedShareKey::from_pem(&pem_block("COCO SHARE KEY", &content)).is_err());
        let longer = [&content[..], &[0]].concat();
        assert!(WrappedShareKey::from_pem(&pem_block(WRAPPED, &longer)).is_err());
    }

    #[test]
    fn each_wrap_is_another_one() {
        let to = WrappedShareKey::from_pem(VECTOR).expect("a file").to;
        let entropy = &mut Entropy::new(&[1; 32]);
        let key = TransportKey::generate(entropy);
        let first = WrappedShareKey::wrap(&key, &to, entropy);
        let second = WrappedShareKey::wrap(&key, &to, entropy);
        assert_ne!(first.ephemeral, second.ephemeral);
        assert_ne!(first.sealed, second.sealed);
        let again = WrappedShareKey::from_pem(&first.to_pem()).expect("own text");
        assert_eq!(again, first);
    }
}
