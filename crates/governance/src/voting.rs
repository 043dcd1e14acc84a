//! Voting policies: how many members must agree on which kind of change.
//!
//! Source: Coco 2017, "Voting": unanimous, majority, M of N, one of N. A member has one vote,
//! however many nodes it runs.

use core::fmt;
use core::str::FromStr;
use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How many members must say yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(into = "String", try_from = "String")]
pub enum Policy {
    #[n(0)]
    Unanimous,
    /// More than half.
    #[n(1)]
    Majority,
    /// M of N.
    #[n(2)]
    AtLeast(#[n(0)] u32),
    /// Any one member.
    #[n(3)]
    One,
}

impl Policy {
    /// Votes in favour that carry a proposal, of so many members.
    pub fn needs(self, members: usize) -> usize {
        match self {
            Self::Unanimous => members,
            Self::Majority => members / 2 + 1,
            Self::AtLeast(m) => m as usize, // usize has at least 32 bits here
            Self::One => 1,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanimous => f.write_str("unanimous"),
            Self::Majority => f.write_str("majority"),
            Self::AtLeast(m) => write!(f, "at least {m}"),
            Self::One => f.write_str("one"),
        }
    }
}

/// The text names no voting policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(r#"expected "unanimous", "majority", "one" or "at least M" with a number M"#)]
pub struct NotAPolicy;

impl FromStr for Policy {
    type Err = NotAPolicy;
    fn from_str(text: &str) -> Result<Self, NotAPolicy> {
        match text {
            "unanimous" => Ok(Self::Unanimous),
            "majority" => Ok(Self::Majority),
            "one" => Ok(Self::One),
            _ => {
                let number = text.strip_prefix("at least ").ok_or(NotAPolicy)?;
                let policy = Self::AtLeast(number.parse().map_err(|_| NotAPolicy)?);
                // One text for one policy: no sign, no leading zero.
                if policy.to_string() == text {
                    Ok(policy)
                } else {
                    Err(NotAPolicy)
                }
            }
        }
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> String {
        policy.to_string()
    }
}

impl TryFrom<String> for Policy {
    type Error = NotAPolicy;
    fn try_from(text: String) -> Result<Self, NotAPolicy> {
        text.parse()
    }
}

/// What a proposal changes; each kind may have its own policy.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum ChangeKind {
    /// Add or remove a member.
    #[n(0)]
    Member,
    /// Add or remove a participant.
    #[n(1)]
    Participant,
    /// Add or remove a validating node, or change its address.
    #[n(2)]
    Node,
    /// Change an actor's certificates.
    #[n(3)]
    Certificate,
    /// Add, retire or remove a code identity.
    #[n(4)]
    Code,
    /// Change the TEE manifest.
    #[n(5)]
    Tee,
    /// Change voting policies or standing votes.
    #[n(6)]
    Voting,
    /// Change settings, further policies or a protocol's settings.
    #[n(7)]
    Settings,
    /// Add, remove or migrate a protocol.
    #[n(8)]
    Protocol,
    /// Ask the leader to hand over.
    #[n(9)]
    Leadership,
    /// End sessions of an actor.
    #[n(10)]
    Sessions,
    /// Let an auditor read epochs.
    #[n(11)]
    Audit,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each is one word.
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Which policy decides which kind of change, and who may propose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields, default)]
pub struct Voting {
    /// Decides the kinds that `policies` does not name.
    #[n(0)]
    pub policy: Policy,
    /// How long a proposal is open.
    #[n(1)]
    pub open_ms: u64,
    /// Kinds of change that participants may propose, too. Only members vote.
    #[n(2)]
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub participants_propose: BTreeSet<ChangeKind>,
    /// Policies of single kinds.
    #[n(3)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<ChangeKind, Policy>,
}

impl Default for Voting {
    /// A majority decides everything within a week.
    fn default() -> Self {
        Self {
            policy: Policy::Majority,
            open_ms: 7 * 24 * 3_600_000,
            participants_propose: BTreeSet::new(),
            policies: BTreeMap::new(),
        }
    }
}

impl Voting {
    /// The policy that decides a kind of change.
    pub fn policy_for(&self, kind: ChangeKind) -> Policy {
        self.policies.get(&kind).copied().unwrap_or(self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_one_text() {
        for text in ["unanimous", "majority", "one", "at least 3"] {
            assert_eq!(text.parse::<Policy>().expect("valid").to_string(), text);
        }
        for text in [
            "",
            "most",
            "at least",
            "at least 03",
            "at least +3",
            "at least 5000000000",
            "Majority",
        ] {
            assert_eq!(text.parse::<Policy>(), Err(NotAPolicy), "{text}");
        }
    }

    #[test]
    fn a_policy_is_as_drawn_in_the_formats() {
        let bytes = |policy| minicbor::to_vec(policy).expect("a vector takes every byte");
        assert_eq!(bytes(Policy::Unanimous), [0x82, 0, 0x80]);
        assert_eq!(bytes(Policy::AtLeast(3)), [0x82, 2, 0x81, 3]);
        let voting = Voting {
            open_ms: 1,
            participants_propose: [ChangeKind::Node].into(),
            policies: [(ChangeKind::Member, Policy::One)].into(),
            ..Voting::default()
        };
        let voting = minicbor::to_vec(voting).expect("a vector takes every byte");
        assert_eq!(
            voting,
            [0x84, 0x82, 1, 0x80, 1, 0x81, 2, 0xa1, 0, 0x82, 3, 0x80]
        );
    }

    #[test]
    fn needs_of_each_policy() {
        let needs = |p: Policy| [1, 2, 3, 4, 5].map(|n| p.needs(n));
        assert_eq!(needs(Policy::Unanimous), [1, 2, 3, 4, 5]);
        assert_eq!(needs(Policy::Majority), [1, 2, 2, 3, 3]);
        assert_eq!(needs(Policy::AtLeast(2)), [2; 5]);
        assert_eq!(needs(Policy::One), [1; 5]);
    }
}
