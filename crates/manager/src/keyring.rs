//! The secrets of a network that live in a manager's memory: session keys by epoch, the network
//! identity key, and what is derived from them.
//!
//! Source: white paper, "Encrypting Persistent State". In this version the leader's enclave makes the
//! session key and gives it to admitted nodes over the attested channel (`design/keys.md`, fast path).

use std::collections::BTreeMap;

use crypto::{Context, Entropy, SigningKey, Zeroizing, derive};
use ledger::SealKeyring;
use types::{Epoch, Term};

use crate::wire::SessionKey;

/// The keys of one network.
#[derive(Default)]
pub struct Keyring {
    sessions: BTreeMap<Epoch, Zeroizing<[u8; 32]>>,
    /// The same keys, as the ledger uses them.
    pub seals: SealKeyring,
    /// The key of the certificate that clients pin; from the genesis entry.
    network: Option<SigningKey>,
}

impl Keyring {
    /// Makes the session key of a new epoch.
    pub fn generate(&mut self, epoch: Epoch, entropy: &mut Entropy) {
        assert!(
            !self.sessions.contains_key(&epoch),
            "an epoch has one session key"
        );
        let key = entropy.secret();
        self.seals.insert(epoch, key.clone());
        self.sessions.insert(epoch, key);
    }

    pub fn insert(&mut self, key: &SessionKey) {
        self.seals.insert(key.epoch, Zeroizing::new(key.key));
        self.sessions.insert(key.epoch, Zeroizing::new(key.key));
    }

    /// For a node that the network has admitted.
    pub fn released(&self) -> Vec<SessionKey> {
        self.sessions
            .iter()
            .map(|(epoch, key)| SessionKey {
                epoch: *epoch,
                key: **key,
            })
            .collect()
    }

    pub fn know_network(&mut self, key: SigningKey) {
        self.network = Some(key);
    }

    pub fn network_key(&self) -> Option<&SigningKey> {
        self.network.as_ref()
    }

    /// What a protocol's worker may use for tokens and keyed roots; outlives epochs.
    pub fn worker_key(&self, protocol: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.network
            .as_ref()
            .map(|key| derive(&key.to_scalar(), Context::WorkerKey, &[protocol.as_bytes()]))
    }

    /// The seed of the entropy of one protocol's batches in one term.
    pub fn entropy_seed(
        &self,
        epoch: Epoch,
        term: Term,
        protocol: &str,
    ) -> Option<Zeroizing<[u8; 32]>> {
        let key = self.sessions.get(&epoch)?;
        Some(derive(
            key,
            Context::BatchEntropy,
            &[&term.0.to_be_bytes(), protocol.as_bytes()],
        ))
    }
}
