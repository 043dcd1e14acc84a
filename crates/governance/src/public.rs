//! What an auditor learns from the public parts of administrative entries, without any key.

use crypto::{Certificate, PublicKey};
use types::{Digest, Epoch, NodeId};

use crate::{
    AdmitNode, BadCommand, Configuration, Constitution, Departure, EpochOpening, NetworkRestart,
    NodeTuple, parts::Public, tuple::signed_by,
};

/// One fact. That an owner's certificate signed a node's tuple is checked; that the constitution
/// lists that certificate, only a replay into a [`crate::State`] can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicFact {
    /// The certificate of the network identity.
    NetworkCertificate(Certificate),
    /// A constitution came into force, with its text if that is public.
    Constitution {
        digest: Digest,
        text: Option<Box<Constitution>>,
    },
    /// A node was admitted under this key.
    Node {
        id: NodeId,
        owner: String,
        address: String,
        key: PublicKey,
        replaces: Option<NodeId>,
    },
    /// A node left.
    NodeLeft { id: NodeId, departure: Departure },
    /// Who votes in consensus.
    Configuration(Configuration),
    /// The epoch of the entries that follow.
    Epoch(Epoch),
    /// The network restarted; the restart count of the entry itself is this one, too.
    Restarted(u32),
}

/// The admission in the public part of an administrative entry, if there is one, not checked: see
/// [`AdmitNode::verify_tuple`] and [`AdmitNode::appraise`].
///
/// # Errors
/// [`BadCommand::Public`].
pub fn admission_from_public(bytes: &[u8]) -> Result<Option<AdmitNode>, BadCommand> {
    Ok(match Public::decode(bytes)? {
        Public::Genesis { node, .. } | Public::AdmitNode(node) => Some(node),
        Public::NetworkRestart(restart) => restart.node,
        _ => None,
    })
}

/// How the public part of an administrative entry opens an epoch, if it does, not checked: see
/// [`Keys::ahead`](crate::Keys::ahead).
///
/// # Errors
/// [`BadCommand::Public`].
pub fn opening_from_public(bytes: &[u8]) -> Result<Option<EpochOpening>, BadCommand> {
    Ok(match Public::decode(bytes)? {
        Public::OpenEpoch(opening) => Some(*opening),
        _ => None,
    })
}

/// Reads the public part of an administrative entry.
///
/// # Errors
/// [`BadCommand::Public`], also when a node tuple in it is not signed by the certificate beside it.
pub fn facts_from_public(bytes: &[u8]) -> Result<Vec<PublicFact>, BadCommand> {
    let node = |admit: crate::AdmitNode| {
        let signer = admit.chain.first().map(|c| &c.0);
        let tuple = signed_by(&admit.tuple, signer).map_err(|_| BadCommand::Public)?;
        let NodeTuple {
            owner,
            address,
            key,
            ..
        } = tuple;
        Ok(PublicFact::Node {
            id: admit.id,
            owner,
            address,
            key,
            replaces: admit.replaces,
        })
    };
    Ok(match Public::decode(bytes)? {
        Public::Genesis {
            digest,
            certificate,
            node: admit,
            constitution,
        } => {
            if constitution.as_ref().is_some_and(|c| c.digest() != digest) {
                return Err(BadCommand::Public);
            }
            let text = constitution;
            vec![
                PublicFact::NetworkCertificate(certificate.0),
                PublicFact::Constitution { digest, text },
                node(admit)?,
            ]
        }
        Public::AdmitNode(admit) => vec![node(admit)?],
        Public::RemoveNode { node, departure } => {
            vec![PublicFact::NodeLeft {
                id: node,
                departure,
            }]
        }
        Public::Configure(configuration) => vec![PublicFact::Configuration(configuration)],
        // What these do depends on the state; see `replay`.
        Public::RenewLease { .. }
        | Public::Propose(_)
        | Public::Vote(_)
        | Public::Withdraw(_)
        | Public::Expire(_)
        | Public::KeyStep(_)
        | Public::KeyRelease(_)
        | Public::ConsentAudit(_)
        | Public::AuditRelease(_) => Vec::new(),
        Public::OpenEpoch(opening) => vec![PublicFact::Epoch(opening.epoch)],
        Public::NetworkRestart(restart) => {
            let NetworkRestart {
                restarts,
                by,
                node: admit,
                learners,
                opening,
                ..
            } = *restart;
            let mut facts = vec![PublicFact::Restarted(restarts)];
            if let Some(admit) = admit {
                facts.push(node(admit)?);
            }
            facts.push(PublicFact::Configuration(Configuration {
                voters: [by].into(),
                incoming: None,
                learners,
            }));
            facts.push(PublicFact::Epoch(opening.epoch));
            facts
        }
    })
}
