//! What a channel is for, as it is agreed in the TLS handshake (ALPN, RFC 7301).

/// Validating node to validating node.
pub const NODE: &[u8] = b"coco-node/1";

/// The administrative channel: governance, by HTTP/1.1.
pub const ADMINISTRATIVE: &[u8] = b"coco-admin/1";

/// Ordinary HTTPS clients: the protocol that belongs to the host's port.
pub const HTTP1: &[u8] = b"http/1.1";

/// The application channel of a protocol: `coco-ethereum/1`.
pub fn protocol_name(protocol: &str) -> Vec<u8> {
    format!("coco-{protocol}/1").into_bytes()
}
