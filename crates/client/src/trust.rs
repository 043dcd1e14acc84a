//! Whom a client believes: a pinned network identity, and the code and platforms of a constitution.

use std::fmt;

use channel::{Peer, statement_of};
use crypto::{Certificate, verify_chain};
use governance::Constitution;
use tee::{Attested, Manifest, Purpose, appraise, report_data};
use types::{Millis, NetworkId};

use crate::Problem;

/// What the node's certificate is held against.
#[derive(Clone)]
pub struct Trust {
    pinned: Option<Certificate>,
    constitution: Option<Constitution>,
}

/// A validating node that was checked. Only [`Trust`] makes one.
#[derive(Debug, Clone)]
pub struct Node {
    network: NetworkId,
    network_certificate: Certificate,
    restarts: u64,
    certificate: Certificate,
    attested: Option<Attested>,
}

impl Trust {
    /// Believes the network identity in `certificate`. Evidence is looked at only with
    /// [`Trust::with_constitution`].
    pub fn pinned(certificate: Certificate) -> Self {
        Self {
            pinned: Some(certificate),
            constitution: None,
        }
    }

    /// Believes whatever network runs under `constitution` on code that it endorses: the way to
    /// obtain the certificate that is then pinned.
    pub fn under(constitution: Constitution) -> Self {
        Self {
            pinned: None,
            constitution: Some(constitution),
        }
    }

    /// Also asks for evidence that satisfies the manifests of a constitution of this network, such
    /// as the one in force.
    #[must_use]
    pub fn with_constitution(mut self, constitution: Constitution) -> Self {
        self.constitution = Some(constitution);
        self
    }

    /// Whom the handshake lets in; the rest is [`Trust::check`]'s.
    pub(crate) fn for_handshake(&self) -> channel::Trust {
        match &self.pinned {
            Some(certificate) => channel::Trust::Network(certificate.clone()),
            None => channel::Trust::Any,
        }
    }

    /// Checks chain and dates, and the evidence if there is a constitution.
    pub(crate) fn check(&self, peer: &Peer, address: &str, now: Millis) -> Result<Node, Problem> {
        let wrong = |reason: String| Problem::WrongNetwork {
            address: address.to_owned(),
            reason,
        };
        let leaf = &peer.chain[0];
        let root = match (&self.pinned, peer.chain.last()) {
            (Some(pinned), _) => pinned.clone(),
            (None, Some(last)) => last.clone(),
            (None, None) => return Err(wrong("it presented no certificate".into())),
        };
        verify_chain(&peer.chain, std::slice::from_ref(&root), now)
            .map_err(|bad| wrong(bad.to_string()))?;
        let statement = statement_of(leaf)
            .ok_or_else(|| wrong("its certificate says nothing about a network".into()))?;
        let attested = match &self.constitution {
            None => None,
            Some(constitution) => {
                let refused = |reason: String| Problem::EvidenceRefused {
                    address: address.to_owned(),
                    reason,
                };
                // The pin says which network it is; members may have changed its constitution since.
                if self.pinned.is_none() && statement.network != constitution.network_id() {
                    return Err(wrong(format!(
                        "it belongs to the network {}, and the constitution makes {}",
                        statement.network,
                        constitution.network_id()
                    )));
                }
                let key = leaf.key().fingerprint();
                let expected = report_data(&statement.network, Purpose::Certificate, &key, &[]);
                let attested = appraise(
                    &statement.evidence,
                    &statement.endorsements,
                    &of_any_age(&constitution.tee),
                    &constitution.code,
                    &expected,
                    now,
                )
                .map_err(|reason| refused(reason.to_string()))?;
                if attested.code().name != "manager" {
                    return Err(refused(format!(
                        "it is of {:?}, not of a manager",
                        attested.code().name
                    )));
                }
                Some(attested)
            }
        };
        Ok(Node {
            network: statement.network,
            network_certificate: root,
            restarts: statement.restarts,
            certificate: leaf.clone(),
            attested,
        })
    }
}

/// The manifest without its limit on the age of evidence. Evidence in a certificate is as old as the
/// certificate, whose dates were checked, and which the network identity issues to admitted nodes
/// only.
fn of_any_age(manifest: &Manifest) -> Manifest {
    Manifest {
        evidence_age_max_ms: u64::MAX,
        ..manifest.clone()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Trust({:?}, {:?})",
            self.pinned,
            self.constitution.as_ref().map(|c| &c.network)
        )
    }
}

impl Node {
    /// The network that the node belongs to.
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The network identity that its certificate leads to; pin it.
    pub fn network_certificate(&self) -> &Certificate {
        &self.network_certificate
    }

    /// How often the network was restarted as a whole when the node's certificate was issued.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The node's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The verdict on its evidence; `None` if no constitution was at hand to reach one.
    pub fn attested(&self) -> Option<&Attested> {
        self.attested.as_ref()
    }
}
