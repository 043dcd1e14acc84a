//! Audits: a vote lets an auditor read some epochs, and no other, until a time.
//!
//! Source: Coco 2017, "Encrypting Persistent State" (auditors get decrypted shares). The grant gives
//! nobody a key by itself: M actors each decide whether their part of an epoch's session key goes to the
//! auditor, sealed to the key that the grant names.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use types::{Epoch, Index, Millis, NetworkId};

use crate::{BadChange, Listed};

/// Most grants that are open at a time.
pub const AUDITS_MAX: usize = 64;

/// Most epochs of one grant: a year of hourly epochs is asked for in two.
pub const AUDIT_EPOCHS_MAX: u64 = 4096;

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
        };
        self.open.insert(self.last, grant);
        self.last
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
