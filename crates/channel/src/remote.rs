//! A key that is elsewhere, in a hardware security module: a handshake asks it for its one signature.

use std::fmt;
use std::sync::Arc;

use crypto::Certificate;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::CertificateDer;

use crate::Identity;

/// A P-256 key that signs.
pub trait RemoteKey: fmt::Debug + Send + Sync {
    /// The signature over SHA-256 of `content`: r and s.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn sign(&self, content: &[u8]) -> Result<crypto::Signature, String>;
}

impl Identity {
    /// `chain`, leaf first, is the key's; a peer notices if it is not. `None`: the chain is empty.
    pub fn remote(key: Arc<dyn RemoteKey>, chain: &[Certificate]) -> Option<Self> {
        let leaf = chain.first()?.clone();
        let chain = chain
            .iter()
            .map(|c| CertificateDer::from(c.der().to_vec()))
            .collect();
        let certified = CertifiedKey::new(chain, Arc::new(Remote(key)));
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        Some(Self { resolver, leaf })
    }
}

#[derive(Debug, Clone)]
struct Remote(Arc<dyn RemoteKey>);

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

impl SigningKey for Remote {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SCHEME)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Remote {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .sign(message)
            .map(|signature| der(&signature))
            .map_err(Error::General)
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

/// ECDSA-Sig-Value (RFC 3279): a sequence of two integers.
fn der(signature: &crypto::Signature) -> Vec<u8> {
    let mut body = Vec::with_capacity(70);
    for half in signature.chunks_exact(32) {
        let zeros = half.iter().take_while(|byte| **byte == 0).count().min(31);
        let digits = &half[zeros..];
        let sign = usize::from(digits[0] >= 0x80);
        body.extend([0x02, (digits.len() + sign) as u8]); // at most 33
        body.extend(std::iter::repeat_n(0, sign));
        body.extend_from_slice(digits);
    }
    let mut out = vec![0x30, body.len() as u8]; // at most 70
    out.extend(body);
    out
}
