//! What actors and auditors hand to one another outside the network, as files: parts of keys, and the keys
//! that they come to.
//!
//! Source: Coco 2017, "Decrypting Persistent State" (a catastrophic failure is survived outside the
//! network); `docs/keys.md`. Each is CBOR in one PEM block, drawn in docs/formats.md. A part says which
//! network, epoch and threshold key it is of; whether it is right, the ledger's record tells.

use std::collections::BTreeMap;

use crypto::{HpkeKey, Zeroizing};
use governance::{AuditPart, SignedMessage, orders_from_cbor, orders_to_cbor};
use minicbor::{Decode, Encode};
use threshold::Partial;
use types::{Digest, Epoch, NetworkId};

use crate::Problem;
use crate::identity::pem_block;

/// Longest text of such a file: parts or keys of 4096 epochs, in base64.
pub const PARTS_TEXT_BYTES_MAX: usize = 4 << 20;

const RECOVERY: &str = "COCO RECOVERY PART";
const AUDIT: &str = "COCO AUDIT PART";
const AUDITOR: &str = "COCO AUDITOR KEY";
const ORDER: &str = "COCO RESTART ORDER";
const KEYS: &str = "COCO SESSION KEYS";

/// What one actor adds to the opening of an epoch's two keys. It is no secret of the actor; M of them
/// open the epoch and all before it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecoveryPart {
    #[n(0)]
    pub network: NetworkId,
    #[n(1)]
    pub epoch: Epoch,
    /// The session of the threshold key.
    #[n(2)]
    pub key: Digest,
    #[n(3)]
    pub session: Partial,
    #[n(4)]
    pub history: Partial,
}

impl RecoveryPart {
    /// The text of the file.
    pub fn to_pem(&self) -> String {
        pem_block(RECOVERY, &cbor(self))
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Problem::Identity`]: whoever gave the file.
    pub fn from_pem(text: &str) -> Result<Self, Problem> {
        read(text, RECOVERY, "`coco recover partial` makes one")
    }
}

/// The text of the file of an actor's parts for an auditor.
pub fn audit_part_to_pem(part: &AuditPart) -> String {
    pem_block(AUDIT, &cbor(part))
}

/// Reads it.
///
/// # Errors
/// [`Problem::Identity`]: whoever gave the file.
pub fn audit_part_from_pem(text: &str) -> Result<AuditPart, Problem> {
    read(
        text,
        AUDIT,
        "`coco audit partial` and `coco audit collect` make one",
    )
}

/// Reads what a node answered an auditor.
///
/// # Errors
/// [`Problem::Identity`]: the node.
pub fn audit_part_from_cbor(bytes: &[u8]) -> Result<AuditPart, Problem> {
    let part: Option<AuditPart> = minicbor::decode(bytes).ok();
    let part = part.filter(|part| cbor(part) == bytes);
    part.ok_or_else(|| Problem::Identity("the answer is no part of an audit".into()))
}

/// The text of the file of an order to restart, with what each actor signed.
pub fn restart_order_to_pem(orders: &[SignedMessage]) -> String {
    pem_block(ORDER, &orders_to_cbor(orders))
}

/// Reads it.
///
/// # Errors
/// [`Problem::Identity`]: whoever gave the file.
pub fn restart_order_from_pem(text: &str) -> Result<Vec<SignedMessage>, Problem> {
    let bytes = block(text, ORDER, "`coco recover order` makes one")?;
    orders_from_cbor(&bytes).map_err(|refused| Problem::Identity(refused.to_string()))
}

/// The text of an auditor's key file. It holds the private key: write it for its owner only.
pub fn auditor_key_to_pem(key: &HpkeKey) -> Zeroizing<String> {
    Zeroizing::new(pem_block(AUDITOR, &*key.export()))
}

/// Reads an auditor's key file.
///
/// # Errors
/// [`Problem::Identity`]: the text is none.
pub fn auditor_key_from_pem(text: &str) -> Result<HpkeKey, Problem> {
    let bytes = block(text, AUDITOR, "`coco audit keygen` makes one")?;
    let bytes: Result<&[u8; 32], _> = bytes.as_slice().try_into();
    bytes
        .map(HpkeKey::from_bytes)
        .map_err(|_| Problem::Identity("an auditor's key has 32 bytes".into()))
}

/// Session keys that were opened, by epoch. Whoever has the file reads those epochs of the ledger.
#[derive(Default, Encode, Decode)]
pub struct SessionKeys {
    #[n(0)]
    pub network: NetworkId,
    #[n(1)]
    keys: BTreeMap<Epoch, KeyBytes>,
}

#[derive(Encode, Decode)]
#[cbor(transparent)]
struct KeyBytes(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl Drop for KeyBytes {
    fn drop(&mut self) {
        crypto::Zeroize::zeroize(&mut self.0);
    }
}

impl SessionKeys {
    /// Of a network, with none.
    pub fn new(network: NetworkId) -> Self {
        Self {
            network,
            keys: BTreeMap::new(),
        }
    }

    /// Takes the key of an epoch.
    pub fn insert(&mut self, epoch: Epoch, key: &[u8; 32]) {
        self.keys.insert(epoch, KeyBytes(*key));
    }

    /// The epochs, in order, and their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Epoch, &[u8; 32])> {
        self.keys.iter().map(|(epoch, key)| (*epoch, &key.0))
    }

    /// As the ledger uses them.
    pub fn keyring(&self) -> ledger::SealKeyring {
        let mut keyring = ledger::SealKeyring::new();
        for (epoch, key) in self.iter() {
            keyring.insert(epoch, Zeroizing::new(*key));
        }
        keyring
    }

    /// The text of the file: write it for its owner only.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem_block(KEYS, &Zeroizing::new(cbor(self))))
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Problem::Identity`]: whoever gave the file.
    pub fn from_pem(text: &str) -> Result<Self, Problem> {
        read(
            text,
            KEYS,
            "`coco recover open` and `coco audit open` make one",
        )
    }
}

fn cbor(value: &impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).expect("memory takes any length")
}

/// Reads the one encoding of what one PEM block of this label holds.
pub(crate) fn read<T: Encode<()> + for<'b> Decode<'b, ()>>(
    text: &str,
    label: &str,
    made: &str,
) -> Result<T, Problem> {
    let bytes = block(text, label, made)?;
    let value = minicbor::decode(&bytes).ok();
    let value = value.filter(|value| *Zeroizing::new(cbor(value)) == *bytes);
    value.ok_or_else(|| {
        Problem::Identity(format!("the content of -----BEGIN {label}----- is damaged"))
    })
}

fn block(text: &str, label: &str, made: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let none = || Problem::Identity(format!("no -----BEGIN {label}-----; {made}"));
    if text.len() > PARTS_TEXT_BYTES_MAX {
        return Err(none());
    }
    let block = pem::parse(text).map_err(|_| none())?;
    if block.tag() != label {
        return Err(none());
    }
    Ok(Zeroizing::new(block.into_contents()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::Entropy;

    #[test]
    fn keys_survive_their_file_and_nothing_else_is_taken_for_one() {
        let mut keys = SessionKeys::new(NetworkId([1; 32]));
        keys.insert(Epoch(2), &[3; 32]);
        keys.insert(Epoch(1), &[4; 32]);
        let text = keys.to_pem();
        let again = SessionKeys::from_pem(&text).expect("own text");
        assert_eq!(again.network, keys.network);
        assert_eq!(
            again.iter().collect::<Vec<_>>(),
            [(Epoch(1), &[4; 32]), (Epoch(2), &[3; 32])]
        );
        assert!(again.keyring().holds(Epoch(2)) && !again.keyring().holds(Epoch(3)));
        assert!(RecoveryPart::from_pem(&text).is_err() && audit_part_from_pem(&text).is_err());
        let longer = pem_block(KEYS, &[cbor(&keys), vec![0]].concat());
        assert!(SessionKeys::from_pem(&longer).is_err());
        let key = HpkeKey::generate(&mut Entropy::new(&[5; 32]));
        let read = auditor_key_from_pem(&auditor_key_to_pem(&key)).expect("own text");
        assert_eq!(read.public(), key.public());
        assert!(auditor_key_from_pem(&text).is_err());
    }
}
