//! Audits: a vote lets an auditor read some epochs, and no other, until a time.
//!
//! Source: Coco 2017, "Encrypting Persistent State" (auditors get decrypted shares). The grant gives
//! nobody a key by itself: M actors each decide whether their part of an epoch's session key goes to the
//! auditor, sealed to the key that the grant names. An actor may consent once, on the ledger; then its
//! nodes answer the auditor, and each answer is on the ledger before it is given.

use std::collections::BTreeMap;

use crypto::{Certificate, Entropy, HpkeKey, hpke, verify_chain};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use threshold::Partial;
use types::{Digest, Epoch, Index, Millis, NetworkId, NodeId};

use crate::{BadChange, GRANTS_WITHIN_MS, Granted, Listed};

/// Most grants that are open at a time.
pub const AUDITS_MAX: usize = 64;

/// Most epochs of one grant: a year of hourly epochs is asked for in two.
pub const AUDIT_EPOCHS_MAX: u64 = 4096;

/// Most epochs of one answer: what a node's manager makes in a few hundredths of a second.
pub const AUDIT_RELEASE_EPOCHS_MAX: u64 = 64;

/// Most answers of one node within an hour of ledger time: a whole grant, and that twice.
pub const AUDIT_RELEASES_MAX: u32 = 128;

/// What a vote grants. In text: `change = "grant-audit"` and the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct AuditTerms {
    /// Who the auditor is.
    #[n(0)]
    pub auditor: Listed,
    /// X25519: what the actors seal their parts to. Hexadecimal in text; `coco audit keygen` makes one.
    #[cbor(n(1), with = "minicbor::bytes")]
    #[serde(with = "hex::serde")]
    pub key: [u8; 32],
    /// The first epoch.
    #[n(2)]
    pub from: Epoch,
    /// The last epoch; it may be one that is still to come.
    #[n(3)]
    pub to: Epoch,
    /// Ledger time from which nothing is given any more.
    #[n(4)]
    pub expires: Millis,
}

impl AuditTerms {
    /// Whether an epoch is among them.
    pub fn covers(&self, epoch: Epoch) -> bool {
        (self.from..=self.to).contains(&epoch)
    }

    /// What an actor that consents names, so that it consents to these terms.
    pub fn digest(&self) -> Digest {
        crypto::sha256(&minicbor::to_vec(self).expect("memory takes any length"))
    }

    /// Whether a chain of certificates (leaf first) is the auditor's at ledger time `now`.
    pub fn are_of(&self, chain: &[Certificate], now: Millis) -> bool {
        verify_chain(chain, std::slice::from_ref(&self.auditor.0), now).is_ok()
    }

    pub(crate) fn check(&self) -> Result<(), BadChange> {
        if self.from < Epoch(1) || self.to < self.from {
            return Err(BadChange::Audit("its epochs are not a range from 1 on"));
        }
        if self.to.0 - self.from.0 >= AUDIT_EPOCHS_MAX {
            return Err(BadChange::Audit("it has more than 4096 epochs"));
        }
        if self.key == [0; 32] {
            return Err(BadChange::Audit("its key is none that can be sealed to"));
        }
        Ok(())
    }

    /// What it is about, in words.
    pub(crate) fn target(&self) -> String {
        format!(
            "audit of epochs {}-{} by {}",
            self.from,
            self.to,
            self.auditor.0.fingerprint()
        )
    }
}

/// A grant in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct AuditGrant {
    /// 1 for the first of the network.
    #[n(0)]
    pub number: u64,
    #[n(1)]
    pub terms: AuditTerms,
    /// The entry that carried the vote.
    #[n(2)]
    pub entry: Index,
    /// Actors whose nodes answer the auditor, with the entry of each one's consent.
    #[n(3)]
    pub consents: BTreeMap<String, Index>,
}

/// A node gives its actor's parts of the session keys of these epochs to the auditor of a grant. Recorded
/// before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct AuditRelease {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub grant: u64,
    #[n(2)]
    pub from: Epoch,
    #[n(3)]
    pub to: Epoch,
}

impl AuditGrant {
    /// What a part sealed to the auditor is bound to: HPKE's `info`.
    pub fn seal_info(&self, network: NetworkId) -> Vec<u8> {
        let head = b"coco/1 audit part".as_slice();
        [head, &network.0, &self.number.to_be_bytes()].concat()
    }
}

/// Grants of a network.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Audits {
    /// By number.
    #[n(0)]
    open: std::collections::BTreeMap<u64, AuditGrant>,
    #[n(1)]
    last: u64,
    /// Answers of each node within the present hour of ledger time.
    #[n(2)]
    given: BTreeMap<NodeId, Granted>,
}

impl Audits {
    pub(crate) fn open(&self) -> impl Iterator<Item = &AuditGrant> {
        self.open.values()
    }

    pub(crate) fn holds(&self, number: u64) -> bool {
        self.open.contains_key(&number)
    }

    pub(crate) fn grant(&mut self, terms: &AuditTerms, entry: Index) -> u64 {
        self.last += 1;
        let grant = AuditGrant {
            number: self.last,
            terms: terms.clone(),
            entry,
            consents: BTreeMap::new(),
        };
        self.open.insert(self.last, grant);
        self.last
    }

    pub(crate) fn grant_by(&self, number: u64) -> Option<&AuditGrant> {
        self.open.get(&number)
    }

    pub(crate) fn consent(&mut self, number: u64, actor: String, entry: Index) {
        if let Some(grant) = self.open.get_mut(&number) {
            grant.consents.insert(actor, entry);
        }
    }

    /// Answers of a node within the hour of ledger time before `now`.
    pub(crate) fn answers(&self, node: NodeId, now: Millis) -> u32 {
        let given = self.given.get(&node).copied().unwrap_or_default();
        if now.since(given.since) < GRANTS_WITHIN_MS {
            given.count
        } else {
            0
        }
    }

    pub(crate) fn answered(&mut self, node: NodeId, now: Millis) {
        self.given
            .retain(|_, given| now.since(given.since) < GRANTS_WITHIN_MS);
        let given = self.given.entry(node).or_insert(Granted {
            since: now,
            count: 0,
        });
        given.count += 1;
    }

    pub(crate) fn revoke(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// Takes out what is over at ledger time `now`.
    pub(crate) fn expire(&mut self, now: Millis) -> Vec<u64> {
        let over = self.open.extract_if(.., |_, g| g.terms.expires <= now);
        over.map(|(number, _)| number).collect()
    }
}

/// What one actor gives an auditor: its parts of the session keys of a grant's epochs, sealed to the
/// auditor.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditPart {
    #[n(0)]
    pub network: NetworkId,
    #[n(1)]
    pub grant: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

/// Why a part is none for this auditor, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuditPart {
    #[error("nothing can be sealed to the key that the grant names")]
    Key,
    #[error("it is of another network or another grant")]
    Another,
    #[error("it is not sealed to this auditor's key for this grant")]
    Sealed,
    #[error("what is sealed in it are no parts of session keys")]
    Shape,
}

impl AuditPart {
    /// Seals parts, by epoch, to the auditor of a grant.
    ///
    /// # Errors
    /// [`BadAuditPart::Key`].
    pub fn seal(
        network: NetworkId,
        grant: &AuditGrant,
        parts: &BTreeMap<Epoch, Partial>,
        entropy: &mut Entropy,
    ) -> Result<Self, BadAuditPart> {
        let info = grant.seal_info(network);
        let plain = minicbor::to_vec(parts).expect("memory takes any length");
        let sealed = hpke::seal(&grant.terms.key, &info, &[], &plain, entropy);
        Ok(Self {
            network,
            grant: grant.number,
            sealed: sealed.map_err(|_| BadAuditPart::Key)?,
        })
    }

    /// Opens them with the auditor's key. Of epochs that the grant does not cover nothing is taken.
    ///
    /// # Errors
    /// [`BadAuditPart`]: whoever gave it.
    pub fn open(
        &self,
        network: NetworkId,
        grant: &AuditGrant,
        key: &HpkeKey,
    ) -> Result<BTreeMap<Epoch, Partial>, BadAuditPart> {
        if (self.network, self.grant) != (network, grant.number) {
            return Err(BadAuditPart::Another);
        }
        let opened = key.open(&grant.seal_info(network), &[], &self.sealed);
        let opened = opened.map_err(|_| BadAuditPart::Sealed)?;
        let parts: BTreeMap<Epoch, Partial> =
            minicbor::decode(&opened).map_err(|_| BadAuditPart::Shape)?;
        let written = minicbor::to_vec(&parts).expect("memory takes any length");
        if written != *opened {
            return Err(BadAuditPart::Shape);
        }
        let covered = parts.into_iter();
        Ok(covered
            .filter(|(epoch, _)| grant.terms.covers(*epoch))
            .collect())
    }
}
