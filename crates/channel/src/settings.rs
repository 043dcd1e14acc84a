//! What a side of a channel brings to the handshake; built once and replaced when the identity changes.

use core::time::Duration;
use std::sync::Arc;

use crypto::Certificate;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, ServerConfig, WantsVersions};
use rustls_pki_types::UnixTime;

use crate::Identity;
use crate::verifier::{AnyClient, Server};

/// Whom a connector lets into the handshake.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Whoever proves a key: the owner decides afterwards. Node to node, and joiners.
    Any,
    /// Whose chain leads to this network identity certificate (or is it). Its dates and the evidence in
    /// the VN's certificate are still the owner's to check.
    Network(Certificate),
}

/// The accepting side: a VN.
#[derive(Debug, Clone)]
pub struct Acceptor(pub(crate) Arc<ServerConfig>);

/// The connecting side: a VN, a client or the gateway.
#[derive(Debug, Clone)]
pub struct Connector {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) wants_name: bool,
    /// The owner looks at the peer's certificates.
    pub(crate) shows_chain: bool,
}

/// rustls wants a time to hand to certificate verifiers; ours take none.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}

/// AES first: with its instructions it is the fastest. Key exchange also against later quantum computers,
/// because what is recorded today may be secret for long.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
        ],
        ..default_provider()
    })
}

impl Acceptor {
    /// `names` are the application protocols offered, best first. A client that offers none of them is
    /// refused; one that offers no names at all is served, with [`crate::Peer::alpn`] empty.
    pub fn new(identity: &Identity, names: &[&[u8]]) -> Self {
        Self::build(identity, names, true)
    }

    /// As [`Acceptor::new`], and a client may come without a certificate: then [`crate::Peer::chain`] is
    /// empty, and it has proved nothing.
    pub fn without_certificates(identity: &Identity, names: &[&[u8]]) -> Self {
        Self::build(identity, names, false)
    }

    fn build(identity: &Identity, names: &[&[u8]], mandatory: bool) -> Self {
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])
            .expect("the suites above are of TLS 1.3")
            .with_client_cert_verifier(Arc::new(AnyClient { mandatory }))
            .with_cert_resolver(identity.resolver.clone());
        config.alpn_protocols = names.iter().map(|n| n.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Self(Arc::new(config))
    }
}

impl Connector {
    /// `names` are the application protocols wanted, best first; if there are any, a server that agrees to
    /// none is refused.
    pub fn new(identity: &Identity, trust: Trust, names: &[&[u8]]) -> Self {
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(NoClock));
        let mut config = client(builder, Arc::new(Server(trust)))
            .with_client_cert_resolver(identity.resolver.clone());
        config.alpn_protocols = names.iter().map(|n| n.to_vec()).collect();
        Self {
            shows_chain: true,
            ..Self::of(config, !names.is_empty())
        }
    }

    pub(crate) fn of(mut config: ClientConfig, wants_name: bool) -> Self {
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Self {
            config: Arc::new(config),
            wants_name,
            shows_chain: false,
        }
    }
}

pub(crate) fn client(
    builder: ConfigBuilder<ClientConfig, WantsVersions>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    builder
        .with_protocol_versions(&[&TLS13])
        .expect("the suites above are of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}
