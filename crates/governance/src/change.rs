//! Changes: what a proposal can ask for, one by one.
//!
//! Source: Coco 2017, "Network Creation and Governance". A change says what it sets and nothing
//! else, so that two proposals about different things do not stand in each other's way. What a
//! change does to a constitution is in `amend`; what it does to nodes and sessions, in
//! `state/enact.rs`.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use tee::{CodeIdentity, Manifest, Platform};
use threshold::Element;

use crate::{
    Access, Actor, AuditTerms, ChangeKind, Constitution, Endpoint, Listed, NodeSlot, Policy, Role,
    Rule, share_key,
};

/// One change. In text: `change = "add-node"` and the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A new organisation: member, participant or both.
    #[n(0)]
    AddActor(#[n(0)] Actor),
    /// It goes, and its nodes with it.
    #[n(1)]
    RemoveActor {
        #[n(0)]
        actor: String,
    },
    /// What an organisation may do.
    #[n(2)]
    SetRoles {
        #[n(0)]
        actor: String,
        #[n(1)]
        roles: BTreeSet<Role>,
        #[n(2)]
        #[serde(default)]
        auditor: bool,
    },
    /// The certificates of an organisation, all of them.
    #[n(3)]
    SetCertificates {
        #[n(0)]
        actor: String,
        #[n(1)]
        certificates: Vec<Listed>,
    },
    /// A new place where a node may run.
    #[n(4)]
    AddNode(#[n(0)] NodeSlot),
    /// The place goes, and the node that fills it.
    #[n(5)]
    RemoveNode(#[n(0)] NodeSlot),
    /// The same node under another address.
    #[n(6)]
    MoveNode {
        #[n(0)]
        owner: String,
        #[n(1)]
        from: String,
        #[n(2)]
        to: String,
    },
    /// A node may return to its place although it was ejected, or no standing vote lets it.
    #[n(7)]
    ReadmitNode(#[n(0)] NodeSlot),
    /// An image that may run from now on.
    #[n(8)]
    AddCode(#[n(0)] CodeIdentity),
    /// Nodes on the image may stay, and nobody may join with it.
    #[n(9)]
    RetireCode(#[n(0)] Measured),
    /// The image is endorsed no more.
    #[n(10)]
    RemoveCode(#[n(0)] Measured),
    /// The whole TEE manifest.
    #[n(11)]
    SetTee(#[n(0)] Manifest),
    /// Who decides a kind of change; without a kind, all that have no policy of their own.
    #[n(12)]
    SetVotingPolicy {
        #[n(0)]
        kind: Option<ChangeKind>,
        #[n(1)]
        policy: Policy,
    },
    /// The kind is decided as all others are.
    #[n(13)]
    RemoveVotingPolicy {
        #[n(0)]
        kind: ChangeKind,
    },
    /// How long proposals are open.
    #[n(14)]
    SetOpenTime {
        #[n(0)]
        open_ms: u64,
    },
    /// Kinds of change that participants may propose, all of them.
    #[n(15)]
    SetParticipantsPropose {
        #[n(0)]
        kinds: BTreeSet<ChangeKind>,
    },
    /// A standing vote, new or in place of the one of that name.
    #[n(16)]
    SetRule(#[n(0)] Rule),
    /// A standing vote goes.
    #[n(17)]
    RemoveRule {
        #[n(0)]
        rule: String,
    },
    /// Whether listed nodes return without a ballot.
    #[n(18)]
    SetListedNodesReturn {
        #[n(0)]
        value: bool,
    },
    /// One number of the settings, by its name in the text form.
    #[n(19)]
    SetSetting {
        #[n(0)]
        name: String,
        #[n(1)]
        value: u64,
    },
    /// A further policy, new or in place of its value.
    #[n(20)]
    SetPolicy {
        #[n(0)]
        name: String,
        #[n(1)]
        value: String,
    },
    /// A further policy has no value any more.
    #[n(21)]
    RemovePolicy {
        #[n(0)]
        name: String,
    },
    /// A setting of a protocol; without a value it goes.
    #[n(22)]
    SetProtocolSetting {
        #[n(0)]
        protocol: String,
        #[n(1)]
        name: String,
        #[n(2)]
        value: Option<String>,
    },
    /// The state format of a protocol, to which its adapter migrates.
    #[n(23)]
    SetProtocolVersion {
        #[n(0)]
        protocol: String,
        #[n(1)]
        version: u32,
    },
    /// Who reads what, where the protocol does not say.
    #[n(24)]
    SetProtocolAccess {
        #[n(0)]
        protocol: String,
        #[n(1)]
        access: Access,
    },
    /// The leader hands over to this node.
    #[n(25)]
    TransferLeadership(#[n(0)] NodeSlot),
    /// All sessions of an organisation end; it may open new ones.
    #[n(26)]
    RevokeSessions {
        #[n(0)]
        actor: String,
    },
    /// The share-transport key of an organisation, new or in place of a lost one; without a value it
    /// goes, and the organisation holds no share any more.
    #[n(27)]
    SetShareKey {
        #[n(0)]
        actor: String,
        #[n(1)]
        #[serde(default, skip_serializing_if = "Option::is_none", with = "share_key")]
        share_key: Option<Element>,
    },
    /// An auditor may be given the session keys of some epochs.
    #[n(28)]
    GrantAudit(#[n(0)] AuditTerms),
    /// A system outside that a protocol's code may call, new or in place of the one of that name.
    #[n(30)]
    SetEndpoint {
        #[n(0)]
        protocol: String,
        #[n(1)]
        endpoint: Endpoint,
    },
    /// A system outside may not be called any more.
    #[n(31)]
    RemoveEndpoint {
        #[n(0)]
        protocol: String,
        #[n(1)]
        endpoint: String,
    },
    /// A grant ends before its time. What was opened under it stays opened.
    #[n(29)]
    RevokeAudit {
        #[n(0)]
        grant: u64,
    },
}

/// An image, by what was measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    #[n(0)]
    pub platform: Platform,
    /// Hexadecimal in text.
    #[serde(with = "hex::serde")]
    #[cbor(n(1), with = "minicbor::bytes")]
    pub measurement: Vec<u8>,
}

impl Measured {
    /// What identifies the image.
    pub fn of(image: &CodeIdentity) -> Self {
        Self {
            platform: image.platform,
            measurement: image.measurement.clone(),
        }
    }
}

impl Change {
    /// The kinds that it is of; the strictest of their policies decides.
    pub fn kinds(&self, constitution: &Constitution) -> BTreeSet<ChangeKind> {
        let before = |name: &str| constitution.actor(name);
        match self {
            Self::AddActor(actor) => kinds_of_roles(&actor.roles)
                .chain(actor.auditor.then_some(ChangeKind::Audit))
                .collect(),
            Self::RemoveActor { actor } => {
                let owns = constitution.nodes.iter().any(|n| n.owner == *actor);
                before(actor)
                    .into_iter()
                    .flat_map(|a| kinds_of_roles(&a.roles))
                    .chain(owns.then_some(ChangeKind::Node))
                    .collect()
            }
            Self::SetRoles {
                actor,
                roles,
                auditor,
            } => {
                let now = before(actor);
                let had = now.map(|a| a.roles.clone()).unwrap_or_default();
                let audits = now.is_some_and(|a| a.auditor) != *auditor;
                let differ: BTreeSet<Role> = had.symmetric_difference(roles).copied().collect();
                kinds_of_roles(&differ)
                    .chain(audits.then_some(ChangeKind::Audit))
                    .collect()
            }
            Self::SetCertificates { .. } | Self::SetShareKey { .. } => {
                [ChangeKind::Certificate].into()
            }
            Self::AddNode(_)
            | Self::RemoveNode(_)
            | Self::MoveNode { .. }
            | Self::ReadmitNode(_) => [ChangeKind::Node].into(),
            Self::AddCode(_) | Self::RetireCode(_) | Self::RemoveCode(_) => {
                [ChangeKind::Code].into()
            }
            Self::SetTee(_) => [ChangeKind::Tee].into(),
            Self::SetVotingPolicy { .. }
            | Self::RemoveVotingPolicy { .. }
            | Self::SetOpenTime { .. }
            | Self::SetParticipantsPropose { .. }
            | Self::SetRule(_)
            | Self::RemoveRule { .. }
            | Self::SetListedNodesReturn { .. } => [ChangeKind::Voting].into(),
            Self::SetSetting { .. }
            | Self::SetPolicy { .. }
            | Self::RemovePolicy { .. }
            | Self::SetProtocolSetting { .. } => [ChangeKind::Settings].into(),
            Self::SetProtocolVersion { .. }
            | Self::SetProtocolAccess { .. }
            | Self::SetEndpoint { .. }
            | Self::RemoveEndpoint { .. } => [ChangeKind::Protocol].into(),
            Self::TransferLeadership(_) => [ChangeKind::Leadership].into(),
            Self::RevokeSessions { .. } => [ChangeKind::Sessions].into(),
            Self::GrantAudit(_) | Self::RevokeAudit { .. } => [ChangeKind::Audit].into(),
        }
    }

    /// What it touches, in words. Two changes of one proposal may not touch the same.
    pub fn targets(&self, constitution: &Constitution) -> Vec<String> {
        let actor = |name: &str| format!("actor {name}");
        let roles = |name: &str| format!("roles of {name}");
        let certificates = |name: &str| format!("certificates of {name}");
        let share_key = |name: &str| format!("share key of {name}");
        let node = |address: &str| format!("node {address}");
        let code = |m: &Measured| format!("code {} on {}", hex::encode(&m.measurement), m.platform);
        match self {
            Self::AddActor(a) => vec![actor(&a.name)],
            Self::RemoveActor { actor: name } => {
                let of_actor = [
                    actor(name),
                    roles(name),
                    certificates(name),
                    share_key(name),
                ];
                let nodes = constitution.nodes.iter().filter(|n| n.owner == *name);
                let nodes = nodes.map(|n| node(&n.address));
                of_actor.into_iter().chain(nodes).collect()
            }
            Self::SetRoles { actor, .. } => vec![roles(actor)],
            Self::SetCertificates { actor, .. } => vec![certificates(actor)],
            Self::SetShareKey { actor, .. } => vec![share_key(actor)],
            Self::AddNode(slot) | Self::RemoveNode(slot) | Self::ReadmitNode(slot) => {
                vec![node(&slot.address)]
            }
            Self::MoveNode { from, to, .. } => vec![node(from), node(to)],
            Self::AddCode(image) => vec![code(&Measured::of(image))],
            Self::RetireCode(m) | Self::RemoveCode(m) => vec![code(m)],
            Self::SetTee(_) => vec!["the TEE manifest".into()],
            Self::SetVotingPolicy { kind, .. } => vec![voting(*kind)],
            Self::RemoveVotingPolicy { kind } => vec![voting(Some(*kind))],
            Self::SetOpenTime { .. } => vec!["how long proposals are open".into()],
            Self::SetParticipantsPropose { .. } => vec!["what participants propose".into()],
            Self::SetRule(rule) => vec![format!("rule {}", rule.name)],
            Self::RemoveRule { rule } => vec![format!("rule {rule}")],
            Self::SetListedNodesReturn { .. } => vec!["the return of listed nodes".into()],
            Self::SetSetting { name, .. } => vec![format!("setting {name}")],
            Self::SetPolicy { name, .. } | Self::RemovePolicy { name } => {
                vec![format!("policy {name}")]
            }
            Self::SetProtocolSetting { protocol, name, .. } => {
                vec![format!("setting {name} of protocol {protocol}")]
            }
            Self::SetProtocolVersion { protocol, .. } => {
                vec![format!("version of protocol {protocol}")]
            }
            Self::SetProtocolAccess { protocol, .. } => {
                vec![format!("access of protocol {protocol}")]
            }
            Self::SetEndpoint { protocol, endpoint } => {
                vec![format!("endpoint {} of protocol {protocol}", endpoint.name)]
            }
            Self::RemoveEndpoint { protocol, endpoint } => {
                vec![format!("endpoint {endpoint} of protocol {protocol}")]
            }
            Self::TransferLeadership(_) => vec!["leadership".into()],
            Self::RevokeSessions { actor } => vec![format!("sessions of {actor}")],
            Self::GrantAudit(terms) => vec![terms.target()],
            Self::RevokeAudit { grant } => vec![format!("audit grant {grant}")],
        }
    }
}

fn kinds_of_roles(roles: &BTreeSet<Role>) -> impl Iterator<Item = ChangeKind> {
    roles.iter().map(|role| match role {
        Role::Member => ChangeKind::Member,
        Role::Participant => ChangeKind::Participant,
    })
}

fn voting(kind: Option<ChangeKind>) -> String {
    match kind {
        None => "voting policy".into(),
        Some(kind) => format!("voting policy of {kind}"),
    }
}
