//! What the TLS layer checks of a peer: that it holds the key of the leaf certificate that it presents.
//!
//! The chain, its dates and what the certificate may do are the owner's question, except that a
//! [`Trust::Network`] connector refuses a server whose chain does not lead to the network identity before
//! it shows its own certificate.

use core::fmt;
use std::sync::Arc;

use crypto::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use crate::Trust;

/// Most certificates that are looked at: leaf, two intermediates and a root, and some to spare.
const CHAIN_CERTIFICATES_MAX: usize = 6;

/// Our one scheme; what the AWS-LC provider of rustls calls its verification algorithm.
fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

/// Reads the certificates that a peer presented.
pub(crate) fn parse(chain: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, Error> {
    if chain.is_empty() || chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(refuse("one to six certificates must be presented"));
    }
    chain
        .iter()
        .map(|der| {
            Certificate::from_der(der)
                .map_err(|_| refuse("a certificate cannot be read or has no P-256 key"))
        })
        .collect()
}

fn presented(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> Result<Vec<Certificate>, Error> {
    if others.len() >= CHAIN_CERTIFICATES_MAX {
        return Err(refuse("one to six certificates must be presented"));
    }
    let all: Vec<_> = [leaf].into_iter().chain(others).cloned().collect();
    parse(&all)
}

fn proves_key(
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ECDSA_NISTP256_SHA256 {
        return Err(refuse(
            "handshakes are signed by ECDSA on P-256 with SHA-256",
        ));
    }
    let leaf =
        Certificate::from_der(leaf).map_err(|_| refuse("the leaf certificate cannot be read"))?;
    let key = SubjectPublicKeyInfoDer::from(leaf.key().to_spki());
    verify_tls13_signature_with_raw_key(message, &key, signature, &algorithms())
}

#[derive(Debug)]
struct Reason(&'static str);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Reason {}

pub(crate) fn refuse(reason: &'static str) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Reason(
        reason,
    )))))
}

/// Whether the chain (leaf first) is `authority` itself or is issued by it, dates aside.
fn leads_to(chain: &[Certificate], authority: &Certificate) -> bool {
    for (place, certificate) in chain.iter().enumerate() {
        if certificate.der() == authority.der() || certificate.issued_by(authority).is_ok() {
            return true;
        }
        if chain
            .get(place + 1)
            .is_none_or(|next| certificate.issued_by(next).is_err())
        {
            return false;
        }
    }
    false
}

/// Clients must present a certificate, or may; whose it is the owner decides.
#[derive(Debug)]
pub(crate) struct AnyClient {
    pub(crate) mandatory: bool,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        presented(leaf, others).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse("TLS 1.2 is not spoken"))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proves_key(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Servers as far as a connector trusts.
#[derive(Debug)]
pub(crate) struct Server(pub(crate) Trust);

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = presented(leaf, others)?;
        match &self.0 {
            Trust::Any => {}
            Trust::Network(network) if leads_to(&chain, network) => {}
            Trust::Network(_) => {
                return Err(refuse("the certificate is not of the expected network"));
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse("TLS 1.2 is not spoken"))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proves_key(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
