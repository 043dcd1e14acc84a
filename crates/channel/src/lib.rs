//! Mutual TLS 1.3 that ends in the enclave: ciphertext in, plaintext out, no socket.
//!
//! A [`Channel`] is a value that its owner feeds with what a connection delivered and drains of what the
//! connection shall carry. The TLS layer proves one thing: the peer holds the private key of the leaf
//! certificate that it presented. *Who that is* the owner decides from [`Peer::chain`], with ledger time,
//! the constitution and the VN list, before it uses a byte of plaintext or sends one. The one exception is
//! [`Connector::outside`], which judges servers that are no part of the network by itself.
//!
//! Deliberately absent: TLS 1.2, session tickets and resumption, early data, certificates in files, a
//! clock. rustls asks for a time when it checks a certificate; it gets a constant, because our verifiers
//! check no dates: `crypto::verify_chain` does, with the time that the owner has. Ephemeral keys and
//! nonces of a handshake come from AWS-LC's generator.
//!
//! Source: Coco 2017, "the TLS connection terminates inside the enclave"; RFC 8446; RFC 9999 for evidence
//! in a certificate.

mod certificate;
mod flow;
mod identity;
mod names;
mod outside;
mod remote;
mod settings;
mod verifier;

pub use certificate::{
    BadStatement, CertificateStatement, NodeCertificate, evidence_of, network_certificate,
    node_certificate, self_signed_certificate, statement_of,
};
pub use flow::{Broken, Channel, NotSent, Peer};
pub use identity::{Identity, KeyMismatch};
pub use names::{ADMINISTRATIVE, HTTP1, NODE, protocol_name};
pub use outside::{BadAuthority, Known};
pub use remote::RemoteKey;
pub use settings::{Acceptor, Connector, Trust};

#[cfg(test)]
mod tests;
