//! The two keys of an epoch, and the link from each epoch to the one before.
//!
//! Source: Coco 2017, "Encrypting Persistent State"; `docs/keys.md`. The session key of an epoch seals its
//! entries. The history key opens the link, in which the two keys of the epoch before are sealed. So
//! whoever has the keys of one epoch has those of all earlier ones, and an auditor who was given a
//! session key alone has that epoch and no other. Used by validating nodes and by offline tools alike.

use std::collections::BTreeMap;

use crypto::{AeadKey, Context, Entropy, SEAL_OVERHEAD_BYTES, Zeroizing, derive};
use types::{Digest, Epoch, NetworkId};

use crate::{EpochOpening, Keys, key_check};

/// The two keys of an epoch.
pub struct EpochKeys {
    session: Zeroizing<[u8; 32]>,
    history: Zeroizing<[u8; 32]>,
}

impl EpochKeys {
    /// Of keys that were opened or given.
    pub fn new(session: &[u8; 32], history: &[u8; 32]) -> Self {
        Self {
            session: Zeroizing::new(*session),
            history: Zeroizing::new(*history),
        }
    }

    /// New keys.
    pub fn generate(entropy: &mut Entropy) -> Self {
        Self {
            session: entropy.secret(),
            history: entropy.secret(),
        }
    }

    /// Seals the epoch's entries.
    pub fn session(&self) -> &Zeroizing<[u8; 32]> {
        &self.session
    }

    /// Opens the link to the epoch before.
    pub fn history(&self) -> &Zeroizing<[u8; 32]> {
        &self.history
    }

    /// What the ledger's record says of these keys, if they are those of this epoch.
    pub fn check(&self, epoch: Epoch) -> Digest {
        key_check(epoch, &self.session, &self.history)
    }

    /// The link of `epoch`, whose keys these are: the keys of the epoch before, sealed.
    pub fn seal_link(&self, network: NetworkId, epoch: Epoch, before: &Self) -> Vec<u8> {
        // Sized first: a vector that grew would leave the keys behind in what it outgrew.
        let mut link = Vec::with_capacity(64 + SEAL_OVERHEAD_BYTES);
        link.extend_from_slice(&*before.session);
        link.extend_from_slice(&*before.history);
        self.link_key(network, epoch)
            .seal(0, &network.0, &mut link, 0);
        link
    }

    /// The keys of the epoch before, by the link of the epoch whose keys these are. None if they do not
    /// open it, or if `records` says that the epoch before had others.
    pub fn open_link(
        &self,
        network: NetworkId,
        opening: &EpochOpening,
        records: &Keys,
    ) -> Option<Self> {
        let mut link = Zeroizing::new(opening.link.clone());
        let opened = self
            .link_key(network, opening.epoch)
            .open(0, &network.0, &mut link)
            .ok()?;
        let (session, history) = opened.split_first_chunk::<32>()?;
        let keys = Self::new(session, history.try_into().ok()?);
        let before = Epoch(opening.epoch.0.checked_sub(1)?);
        let recorded = records.epoch(before).map(|r| r.opening.check);
        recorded
            .is_none_or(|check| check == keys.check(before))
            .then_some(keys)
    }

    /// A history key seals one link, so the nonce is a constant.
    fn link_key(&self, network: NetworkId, epoch: Epoch) -> AeadKey {
        let info: [&[u8]; 2] = [&network.0, &epoch.0.to_be_bytes()];
        AeadKey::new(&derive(&self.history, Context::EpochLink, &info))
    }
}

/// From the keys of an epoch to those of all before it: the epochs that the links lead to, with the
/// given one. A broken link ends it.
pub fn walk_back(
    network: NetworkId,
    records: &Keys,
    epoch: Epoch,
    keys: EpochKeys,
) -> BTreeMap<Epoch, EpochKeys> {
    let mut walked = BTreeMap::from([(epoch, keys)]);
    let mut at = epoch;
    while let (Some(record), Some(keys)) = (records.epoch(at), walked.get(&at))
        && let Some(before) = keys.open_link(network, &record.opening, records)
    {
        at = Epoch(at.0 - 1);
        walked.insert(at, before);
    }
    walked
}
