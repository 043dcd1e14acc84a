//! How an actor's share-transport key comes from its owner's agent into its validating node.
//!
//! The enclave sends a fresh HPKE key, bound into its evidence, and the tuple that its owner signed.
//! The agent looks at both and seals the key to that enclave and to no other. The host carries what
//! it cannot read. Source: Coco 2017, "Encrypting Persistent State" (private shares stay with their
//! actors); RFC 9180.

use crypto::{Certificate, Entropy, PublicKey};
use tee::{CodeState, Purpose, report_data};
use threshold::TransportKey;
use types::{Digest, Millis, NetworkId};

use crate::{Constitution, NodeTuple, Refused, SignedTuple, share_delivery_info};

/// Image that may hold an actor's key.
const IMAGE: &str = "manager";

/// What a node says to get its actor's share-transport key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest {
    /// COSE_Sign1 by the owner or its agent: which node this is.
    pub tuple: Vec<u8>,
    /// Binds the key below to the node's own ([`ShareRequest::report_data`]).
    pub evidence: Vec<u8>,
    pub endorsements: Vec<u8>,
    /// X25519; what the answer is sealed to.
    pub hpke_public: [u8; 32],
}

/// What the owner's agent knows by itself.
#[derive(Debug, Clone, Copy)]
pub struct ShareTerms<'a> {
    pub network: &'a NetworkId,
    pub constitution: &'a Constitution,
    pub owner: &'a str,
    pub address: &'a str,
    /// Under which tuples of this owner are signed, leaf first.
    pub chain: &'a [Certificate],
}

/// Why an agent gives no key. The text goes to the node's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareRefused {
    #[error("the node's tuple: {0}")]
    Tuple(#[from] Refused),
    #[error("the tuple names the {what} {asked}, and this agent is for {agreed}")]
    Another {
        what: &'static str,
        asked: String,
        agreed: String,
    },
    #[error("the node's evidence: {0}")]
    Evidence(#[from] tee::Refused),
    #[error(
        "the node's evidence is of image {name:?} ({state:?}); a share-transport key goes to a manager that is allowed"
    )]
    Image { name: String, state: CodeState },
    #[error(
        "the constitution lists another share key for {owner:?}, or none; give the agent the key of which it lists the public part, or change it by a vote (set-share-key)"
    )]
    NotListed { owner: String },
    #[error("the node's HPKE key is no X25519 key")]
    HpkeKey,
}

impl ShareRequest {
    /// What the node's evidence has to state.
    pub fn report_data(network: &NetworkId, node: &PublicKey, hpke_public: &[u8; 32]) -> [u8; 64] {
        report_data(network, Purpose::Share, &node.fingerprint(), hpke_public)
    }

    /// Seals `key` to the node, if it is the node of these terms, on code and a platform that the
    /// constitution allows at time `now`.
    ///
    /// # Errors
    /// [`ShareRefused`].
    pub fn answer(
        &self,
        terms: &ShareTerms<'_>,
        key: &TransportKey,
        now: Millis,
        entropy: &mut Entropy,
    ) -> Result<Vec<u8>, ShareRefused> {
        let constitution = terms.constitution;
        let verified = SignedTuple::verify(&self.tuple, terms.chain, constitution, now)?;
        let tuple = verified.tuple();
        agreed(tuple, terms)?;
        let attested = tee::appraise(
            &self.evidence,
            &self.endorsements,
            &constitution.tee,
            &constitution.code,
            &Self::report_data(terms.network, &tuple.key, &self.hpke_public),
            now,
        )?;
        let code = attested.code();
        if code.name != IMAGE || code.state != CodeState::Allowed {
            return Err(ShareRefused::Image {
                name: code.name.clone(),
                state: code.state,
            });
        }
        let listed = constitution.actor(terms.owner).and_then(|a| a.share_key);
        if listed != Some(key.public()) {
            return Err(ShareRefused::NotListed {
                owner: terms.owner.to_owned(),
            });
        }
        crypto::hpke::seal(
            &self.hpke_public,
            &share_delivery_info(terms.network, terms.owner, &tuple.key),
            &[],
            key.export().expose(),
            entropy,
        )
        .map_err(|_| ShareRefused::HpkeKey)
    }
}

fn agreed(tuple: &NodeTuple, terms: &ShareTerms<'_>) -> Result<(), ShareRefused> {
    let digest = terms.constitution.digest();
    let digest = |asked: &Digest| (asked.to_string(), digest.to_string());
    let (asked, agreed) = digest(&tuple.constitution);
    let compare = [
        (
            "network",
            tuple.network.to_string(),
            terms.network.to_string(),
        ),
        ("owner", tuple.owner.clone(), terms.owner.to_owned()),
        ("address", tuple.address.clone(), terms.address.to_owned()),
        ("constitution", asked, agreed),
    ];
    match compare
        .into_iter()
        .find(|(_, asked, agreed)| asked != agreed)
    {
        None => Ok(()),
        Some((what, asked, agreed)) => Err(ShareRefused::Another {
            what,
            asked,
            agreed,
        }),
    }
}
