//! What evidence is bound to: 64 bytes that say for which network, purpose, key and challenge it was made.

use crypto::{Context, sha512};
use minicbor::{Encode, Encoder};
use types::{Digest, NetworkId};

/// Why evidence was made. Evidence for one purpose is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(index_only)]
pub enum Purpose {
    /// A VN asks to be admitted; the challenge is a recent signed root.
    #[n(0)]
    Join,
    /// A VN renews its lease; the challenge is a recent signed root.
    #[n(1)]
    Lease,
    /// Evidence in a VN certificate for clients; the challenge is a recent signed root.
    #[n(2)]
    Certificate,
    /// Restart of the whole network, where ledger time stands still; the challenge is the peer's nonce.
    #[n(3)]
    Restart,
    /// Somebody asks right now; the challenge is the asker's 32-byte nonce.
    #[n(4)]
    Interactive,
    /// A worker enclave towards the manager of its own VN.
    #[n(5)]
    Worker,
    /// The first VN of a network, recorded in genesis; the challenge is empty.
    #[n(6)]
    Genesis,
    /// A VN asks its owner's agent for the share-transport key; the challenge is the HPKE key to which
    /// that is to be sealed.
    #[n(7)]
    Share,
}

/// SHA-512(context || CBOR [network, purpose, digest of the VN's public key, challenge]).
///
/// `key` is [`crypto::PublicKey::fingerprint`].
pub fn report_data(
    network: &NetworkId,
    purpose: Purpose,
    key: &Digest,
    challenge: &[u8],
) -> [u8; 64] {
    let mut bytes = Context::ReportData.bytes().to_vec();
    Encoder::new(&mut bytes)
        .array(4)
        .and_then(|e| e.bytes(&network.0))
        .and_then(|e| e.encode(purpose))
        .and_then(|e| e.bytes(&key.0))
        .and_then(|e| e.bytes(challenge))
        .expect("a vector takes every byte");
    sha512(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let (network, key) = (NetworkId([1; 32]), Digest([2; 32]));
        let all = [
            report_data(&network, Purpose::Join, &key, b"root"),
            report_data(&NetworkId([9; 32]), Purpose::Join, &key, b"root"),
            report_data(&network, Purpose::Lease, &key, b"root"),
            report_data(&network, Purpose::Join, &Digest([9; 32]), b"root"),
            report_data(&network, Purpose::Join, &key, b"rood"),
            report_data(&network, Purpose::Join, &key, b""),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "number {i}");
        }
    }

    #[test]
    fn the_bytes_are_as_drawn_in_the_formats() {
        let mut drawn = b"coco/1 report data".to_vec();
        drawn.extend_from_slice(&[0x84, 0x58, 0x20]);
        drawn.extend_from_slice(&[1; 32]);
        drawn.extend_from_slice(&[0x03, 0x58, 0x20]);
        drawn.extend_from_slice(&[2; 32]);
        drawn.extend_from_slice(&[0x42, 0xaa, 0xbb]);
        let made = report_data(
            &NetworkId([1; 32]),
            Purpose::Restart,
            &Digest([2; 32]),
            &[0xaa, 0xbb],
        );
        assert_eq!(made, sha512(&drawn));
    }
}
