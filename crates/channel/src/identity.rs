//! Who we are on a channel: a private key and the certificates that name it.

use std::sync::Arc;

use crypto::{Certificate, SigningKey};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The leaf certificate is for another key, or there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the first certificate of the chain is not for this private key")]
pub struct KeyMismatch;

/// A private key with its certificate chain, leaf first. Cheap to clone: the key is shared.
#[derive(Clone)]
pub struct Identity {
    pub(crate) resolver: Arc<SingleCertAndKey>,
    pub(crate) leaf: Certificate,
}

impl Identity {
    /// # Errors
    /// [`KeyMismatch`].
    pub fn new(key: &SigningKey, chain: &[Certificate]) -> Result<Self, KeyMismatch> {
        match chain.first() {
            Some(leaf) if leaf.key() == key.public() => {
                Ok(Self::presenting(key, chain, leaf.clone()))
            }
            _ => Err(KeyMismatch),
        }
    }

    /// Without the check, so that a test can present somebody else's certificate.
    pub(crate) fn presenting(key: &SigningKey, chain: &[Certificate], leaf: Certificate) -> Self {
        let pkcs8 = key.to_pkcs8();
        let signer = any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
            pkcs8.as_slice(),
        )))
        .expect("our own encoding of a P-256 key");
        let chain = chain
            .iter()
            .map(|c| CertificateDer::from(c.der().to_vec()))
            .collect();
        Self {
            resolver: Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, signer))),
            leaf,
        }
    }

    /// The leaf certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.leaf
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Identity({:?})", self.leaf)
    }
}
