//! The share-transport key of this VN's actor: asked of the owner's agent at every start, kept in the
//! enclave's memory only.
//!
//! Source: `docs/keys.md`. The host passes the request on and learns nothing: the agent appraises the
//! evidence, which binds a key of this enclave, and seals the actor's key to that.

use crypto::{Entropy, HpkeKey};
use governance::share_delivery_info;
use tee::{Purpose, report_data};
use threshold::TransportKey;
use types::Millis;

use crate::Output;
use crate::node::{EvidenceFor, Node, log, send_host};
use boundary::{AskShare, ShareGiven, manager_to_host};

/// How often the agent is asked while there is no key.
const ASK_MS: u64 = 10_000;

/// What this VN holds for its actor.
pub struct Shares {
    hpke: HpkeKey,
    transport: Option<TransportKey>,
    ask_at: Millis,
    told: String,
}

impl Shares {
    pub fn new(entropy: &mut Entropy) -> Self {
        Self {
            hpke: HpkeKey::generate(entropy),
            transport: None,
            ask_at: Millis::ZERO,
            told: String::new(),
        }
    }

    /// The actor's share-transport key, once it was given.
    pub fn transport(&self) -> Option<&TransportKey> {
        self.transport.as_ref()
    }
}

impl Node {
    /// Asks for the actor's key while the constitution lists one that is not here.
    pub fn ask_share(&mut self, out: &mut Vec<Output>) {
        if self.now < self.shares.ask_at || self.tuple.is_empty() || !self.wants_share() {
            return;
        }
        self.shares.ask_at = self.now.plus(ASK_MS);
        let data = report_data(
            &self.setup.network,
            Purpose::Share,
            &self.key.public().fingerprint(),
            self.shares.hpke.public(),
        );
        self.ask_evidence(EvidenceFor::Share, data, out);
    }

    /// The key that is listed for this VN's owner, by the newest constitution that this VN knows.
    fn listed_share(&self) -> Option<threshold::Element> {
        let constitution = self
            .state
            .constitution()
            .unwrap_or(&self.setup.constitution);
        constitution.actor(&self.setup.owner)?.share_key
    }

    fn wants_share(&self) -> bool {
        let held = self.shares.transport().map(TransportKey::public);
        self.listed_share()
            .is_some_and(|listed| held != Some(listed))
    }

    pub fn share_evidence(
        &mut self,
        evidence: bytes::Bytes,
        endorsements: bytes::Bytes,
        out: &mut Vec<Output>,
    ) {
        let ask = AskShare {
            evidence,
            endorsements,
            hpke_public: self.shares.hpke.public().to_vec().into(),
            tuple: self.tuple.clone().into(),
        };
        send_host(out, manager_to_host::Message::AskShare(ask));
    }

    /// The agent's answer, through the host.
    pub fn share_given(&mut self, given: &ShareGiven, out: &mut Vec<Output>) {
        if let Err(reason) = self.take_share(given)
            && self.shares.told != reason
        {
            log(out, 2, "keys", &format!("no share-transport key: {reason}"));
            self.shares.told = reason;
        }
    }

    fn take_share(&mut self, given: &ShareGiven) -> Result<(), String> {
        if !given.failure.is_empty() {
            return Err(given.failure.clone());
        }
        let info = share_delivery_info(&self.setup.network, &self.setup.owner, self.key.public());
        let opened = self
            .shares
            .hpke
            .open(&info, &[], &given.sealed)
            .map_err(|_| "what the owner's agent gave is not sealed to this enclave")?;
        let bytes = opened.as_slice().try_into();
        let bytes: &[u8; 32] =
            bytes.map_err(|_| "the owner's agent gave no share-transport key")?;
        let key = TransportKey::from_bytes(bytes).map_err(|e| e.to_string())?;
        if self.listed_share() != Some(key.public()) {
            return Err("the owner's agent gave another key than the constitution lists as the owner's share_key: give the agent that one, or have the listed one changed by a vote".into());
        }
        self.shares.transport = Some(key);
        self.shares.told.clear();
        Ok(())
    }
}
