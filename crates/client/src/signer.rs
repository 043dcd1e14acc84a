//! With whose key an actor signs: a file, or a key in a hardware security module that never leaves it.

use std::path::Path;

use crypto::{Certificate, Context, sign1, sign1_with};

use crate::identity::{Passphrase, read_chain};
use crate::{Identity, ModuleKey, Problem};

/// A key that signs proposals, ballots and other statements of an actor.
#[derive(Debug)]
pub enum Signer {
    File(Identity),
    Module {
        key: ModuleKey,
        chain: Vec<Certificate>,
    },
}

impl Signer {
    /// `from` is the path of an identity file, or the `pkcs11:` URI (RFC 7512) of a private key. The
    /// certificate of the latter comes from `certificates`, else from the module, by the key's id.
    ///
    /// # Errors
    /// [`Problem::Identity`].
    pub fn open(
        from: &str,
        certificates: Option<&Path>,
        passphrase: Passphrase<'_>,
    ) -> Result<Self, Problem> {
        if !from.starts_with("pkcs11:") {
            return Identity::read_with(Path::new(from), passphrase).map(Self::File);
        }
        let key = ModuleKey::open(from)?;
        let chain = match certificates {
            Some(path) => read_chain(path)?,
            None => key.certificate().map(|found| vec![found])?,
        };
        if chain[0].key() != key.public() {
            return Err(Problem::Identity(
                "the first certificate is not that of the key in the module: name the right file \
                 with --certificates"
                    .into(),
            ));
        }
        Ok(Self::Module { key, chain })
    }

    /// Leaf first.
    pub fn chain(&self) -> &[Certificate] {
        match self {
            Self::File(identity) => &identity.chain,
            Self::Module { chain, .. } => chain,
        }
    }

    /// A COSE_Sign1 over `payload`, as [`crypto::sign1`].
    ///
    /// # Errors
    /// [`Problem::Identity`]: the module does not sign (any more).
    pub fn sign1(&self, context: Context, payload: &[u8]) -> Result<Vec<u8>, Problem> {
        match self {
            Self::File(identity) => Ok(sign1(&identity.key, context, payload)),
            Self::Module { key, .. } => sign1_with(context, payload, |content| key.sign(content)),
        }
    }
}
