//! Contents of entries, for whoever has session keys: `--keys FILE`.
//!
//! Sealers' keys are learnt from the admissions on the way. That an entry opens shows that the holder of
//! its sealer's key sealed it under the session key of its epoch; who admitted the sealer, an audit says.

use std::collections::BTreeMap;
use std::path::Path;

use client::SessionKeys;
use crypto::PublicKey;
use governance::{PublicFact, facts_from_public};
use ledger::{Entry, Kind, Opened, Refused, SealKeyring};
use types::NodeId;

use crate::failure::Failure;

/// Reads a file of session keys.
pub(super) fn keyring(path: &Path) -> Result<SealKeyring, Failure> {
    let text = crate::network::read_text(path)?;
    let keys = SessionKeys::from_pem(&crypto::Zeroizing::new(text))
        .map_err(|bad| Failure::input(format!("{}: {bad}", path.display())))?;
    Ok(keys.keyring())
}

/// Opens entries that are shown one after the other, from the first.
pub(super) struct Opener {
    keys: SealKeyring,
    sealers: BTreeMap<NodeId, PublicKey>,
}

impl Opener {
    /// With the keys of a file.
    pub(super) fn read(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let keys = path.map(keyring).transpose()?;
        Ok(keys.map(|keys| Self {
            keys,
            sealers: BTreeMap::new(),
        }))
    }

    /// Remembers whom an entry admits.
    pub(super) fn learn(&mut self, entry: &Entry) {
        if matches!(entry.header.kind, Kind::Genesis | Kind::Administrative) {
            for fact in facts_from_public(&entry.public).unwrap_or_default() {
                if let PublicFact::Node { id, key, .. } = fact {
                    self.sealers.insert(id, key);
                }
            }
        }
    }

    /// Opens an entry; none if the key of its epoch is not there.
    pub(super) fn open(&self, entry: &Entry) -> Option<Result<Opened, String>> {
        if !self.keys.holds(entry.header.epoch) {
            return None;
        }
        let Some(sealer) = self.sealers.get(&entry.header.sealer) else {
            return Some(Err("no entry before gives its sealer's key".to_owned()));
        };
        let opened = self.keys.open_entry(entry.clone(), sealer);
        Some(opened.map_err(|bad: Refused| bad.to_string()))
    }

    /// What an entry holds, as JSON. The genesis holds the private key of the network identity, which is
    /// not printed.
    pub(super) fn to_json(&self, entry: &Entry) -> serde_json::Value {
        match self.open(entry) {
            None => serde_json::json!("sealed: the key of its epoch is not among the keys"),
            Some(Err(bad)) => serde_json::json!({ "unreadable": bad }),
            Some(Ok(opened)) if entry.header.kind == Kind::Genesis => {
                serde_json::json!({ "bytes": opened.private.len(), "withheld": "the network's private key" })
            }
            Some(Ok(opened)) => {
                let mut content = serde_json::json!({ "bytes": opened.private.len(), "hex": hex::encode(&opened.private) });
                if let Some((from, to)) = migration(opened.header.kind, &opened.private) {
                    content["migration"] = serde_json::json!({ "from": from, "to": to });
                }
                content
            }
        }
    }
}

/// The data formats between which a batch migrates, if it does (docs/formats.md, "Batch").
pub(super) fn migration(kind: Kind, body: &[u8]) -> Option<(u32, u32)> {
    if !matches!(kind, Kind::Application { .. }) {
        return None;
    }
    let formats = (body.strip_prefix(&[2])?.get(48..)?).first_chunk::<8>()?;
    let [a, b, c, d, e, f, g, h] = *formats;
    Some((
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_told_from_other_batches() {
        let batch = Kind::Application {
            protocol: 1,
            height: types::Height(3),
        };
        let mut body = vec![2];
        body.extend([9; 48]);
        body.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(migration(batch, &body), Some((1, 2)));
        assert_eq!(migration(Kind::Administrative, &body), None);
        assert_eq!(migration(batch, &body[..56]), None);
        body[0] = 1;
        assert_eq!(migration(batch, &body), None);
    }
}
