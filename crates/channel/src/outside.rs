//! Towards a system outside the network: an ordinary HTTPS server, known by its key or by its authority.
//!
//! Unlike every other connector, this one judges the server by itself: nobody behind it could do better.
//! It presents no certificate. Keys of servers may be of any kind that rustls verifies, not P-256 alone.

use core::time::Duration;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use types::{Digest, Millis};

use crate::settings::{client, provider};
use crate::verifier::refuse;
use crate::{Connector, HTTP1};

/// By what a server outside is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// SHA-256 of its key (SubjectPublicKeyInfo, DER): any of these. Names and dates in its certificate do
    /// not count.
    ByKey(Vec<Digest>),
    /// The certificate (DER) of an authority that certified it for the name under which it is called, at
    /// this time.
    ByAuthority { der: Vec<u8>, now: Millis },
}

/// The authority's certificate cannot be used as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the certificate of an authority: {0}")]
pub struct BadAuthority(String);

impl Connector {
    /// A connector to a server outside the network. [`crate::Peer::chain`] stays empty: the server was
    /// judged during the handshake, and [`crate::Broken::Untrusted`] says that it is another one.
    ///
    /// # Errors
    /// [`BadAuthority`].
    pub fn outside(known: Known) -> Result<Self, BadAuthority> {
        let (verifier, now): (Arc<dyn ServerCertVerifier>, _) = match known {
            Known::ByKey(keys) => (Arc::new(ByKey(keys)), Millis::ZERO),
            Known::ByAuthority { der, now } => (by_authority(der)?, now),
        };
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(At(now)));
        let mut config = client(builder, verifier).with_no_client_auth();
        config.alpn_protocols = vec![HTTP1.to_vec()];
        Ok(Self::of(config, false))
    }
}

fn by_authority(der: Vec<u8>) -> Result<Arc<WebPkiServerVerifier>, BadAuthority> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(der))
        .map_err(|e| BadAuthority(e.to_string()))?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| BadAuthority(e.to_string()))
}

/// The time at which certificates are judged.
#[derive(Debug)]
struct At(Millis);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.0)))
    }
}

#[derive(Debug)]
struct ByKey(Vec<Digest>);

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

impl ServerCertVerifier for ByKey {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let key = crypto::sha256(&leaf.subject_public_key_info());
        if self.0.contains(&key) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refuse("the server's key is none of those that are listed"))
        }
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
        verify_tls13_signature(message, leaf, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
