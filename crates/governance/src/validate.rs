//! What a constitution must satisfy. Each problem names the key and says what to do.
//!
//! Source: Coco 2017, "Constitution"; design/keys.md (the threshold may not exceed the number of
//! actors that own a node). No vote may lead to a state that cannot govern itself.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use crypto::PublicKey;
use types::limits;

use crate::{
    Constitution, Policy, canonical::CONSTITUTION_BYTES_MAX, endpoint, names::NAME_BYTES_MAX,
    standing::RULES_MAX, valid_address, valid_name,
};

/// Policy: the leader repeats the signature checks of the node that received a unit.
pub(crate) const LEADER_VERIFIES: &str = "leader-verifies-signatures";

/// Setting of a protocol that the nodes themselves heed: whether clients without a certificate reach its
/// worker, which asks them who they are.
pub(crate) const WITHOUT_CERTIFICATE: &str = "clients-without-certificate";

/// Settings of protocols that a vote may change, and the values that each takes.
const PROTOCOL_SETTINGS: &[(&str, &[&str])] = &[(WITHOUT_CERTIFICATE, &["allowed", "refused"])];

/// Further policies that this version supports, and the values that each takes.
const POLICIES: &[(&str, &[&str])] = &[(LEADER_VERIFIES, &["yes", "no"])];

const CERTIFICATES_PER_ACTOR_MAX: usize = 8;
const PROTOCOLS_MAX: usize = 16;

/// Problems that a message shows; whoever has more mends these first.
const SHOWN_MAX: usize = 20;

const SECOND_MS: u64 = 1_000;
const YEAR_MS: u64 = 366 * 24 * 3_600_000;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key in the text form, such as `actors.contoso.certificates`.
    pub key: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// All problems of a constitution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{}: {}", problem.key, problem.text)?;
        }
        match self.0.len().checked_sub(SHOWN_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\nand {more} more"),
        }
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn push(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem {
            key: key.into(),
            text: text.into(),
        });
    }

    fn range(&mut self, key: &str, value: u64, least: u64, most: u64) {
        if value < least || value > most {
            self.push(
                key,
                format!("{value} is out of range; give a number from {least} to {most}"),
            );
        }
    }

    fn name(&mut self, key: &str, name: &str) {
        if !valid_name(name) {
            self.push(
                key,
                format!(
                    "{name:?} is not a name; use 1 to {NAME_BYTES_MAX} lower-case letters, digits, '-' and '.', with a letter or digit at both ends"
                ),
            );
        }
    }
}

impl Constitution {
    /// Checks everything that can be checked without a network.
    ///
    /// # Errors
    /// [`Invalid`] with every problem that was found.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut problems = Problems(Vec::new());
        problems.name("network", &self.network);
        problems.range("genesis_time_ms", self.genesis_time_ms.0, 1, 1 << 53);
        self.validate_actors(&mut problems);
        self.validate_share_keys(&mut problems);
        self.validate_nodes(&mut problems);
        self.validate_voting(&mut problems);
        self.validate_standing(&mut problems);
        self.validate_settings(&mut problems);
        self.validate_protocols(&mut problems);
        self.validate_policies(&mut problems);
        self.validate_manifests(&mut problems);
        let bytes = self.to_cbor().len();
        if bytes > CONSTITUTION_BYTES_MAX {
            problems.push(
                "constitution",
                format!("takes {bytes} bytes; at most {CONSTITUTION_BYTES_MAX} are allowed: list intermediates instead of many leaf certificates"),
            );
        }
        let mut sorted = self.clone();
        sorted.sort();
        if problems.0.is_empty() && sorted != *self {
            problems.push(
                "constitution",
                "lists are not in canonical order; read it from TOML, or call sort()",
            );
        }
        if problems.0.is_empty() {
            Ok(())
        } else {
            Err(Invalid(problems.0))
        }
    }

    fn validate_actors(&self, problems: &mut Problems) {
        if self.actors.len() > limits::ACTORS_MAX {
            problems.push(
                "actors",
                format!(
                    "{} actors are listed; at most {} are supported",
                    self.actors.len(),
                    limits::ACTORS_MAX
                ),
            );
        }
        if self.members().next().is_none() {
            problems.push("actors", r#"no actor is a member, so nobody could govern; give at least one actor the role "member""#);
        }
        let mut names = BTreeSet::new();
        let mut owners: BTreeMap<PublicKey, &str> = BTreeMap::new();
        for actor in &self.actors {
            let key = format!("actors.{}", actor.name);
            problems.name(&format!("{key}.name"), &actor.name);
            if !names.insert(&actor.name) {
                problems.push(&key, "is listed twice; give each actor a name of its own, and one actor both roles if it has both");
            }
            if actor.roles.is_empty() {
                problems.push(
                    format!("{key}.roles"),
                    r#"is empty; give "member", "participant" or both"#,
                );
            }
            let certificates = format!("{key}.certificates");
            if actor.certificates.is_empty() {
                problems.push(&certificates, "is empty; list the actor's certificate, or the intermediate that issues its certificates, as PEM");
            }
            if actor.certificates.len() > CERTIFICATES_PER_ACTOR_MAX {
                problems.push(
                    &certificates,
                    format!("{} certificates are listed; at most {CERTIFICATES_PER_ACTOR_MAX} are supported: list an intermediate instead", actor.certificates.len()),
                );
            }
            // By key: two certificates for one key would make one holder two actors.
            for listed in &actor.certificates {
                let Some(other) = owners.get(listed.0.key()) else {
                    owners.insert(*listed.0.key(), &actor.name);
                    continue;
                };
                let subject = listed.0.subject();
                let text = if *other == actor.name {
                    format!("the key of certificate {subject:?} is listed twice; list it once")
                } else {
                    format!(
                        "the key of certificate {subject:?} is already listed for {other:?}; each key belongs to one actor"
                    )
                };
                problems.push(&certificates, text);
            }
        }
    }

    /// Keys that are no element of the group were refused when they were read.
    fn validate_share_keys(&self, problems: &mut Problems) {
        if !self.seals_session_keys() {
            return;
        }
        let mut owners = BTreeMap::new();
        for actor in &self.actors {
            let Some(key) = actor.share_key else { continue };
            if let Some(other) = owners.insert(key, &actor.name) {
                problems.push(
                    format!("actors.{}.share_key", actor.name),
                    format!("is the share key of {other:?}, too, who could take the place of this actor; each actor makes its own (`coco member share-key`)"),
                );
            }
        }
        let (holders, needed) = (self.key_holders().count(), self.settings.key_threshold);
        if holders < needed as usize {
            // usize has at least 32 bits here
            problems.push(
                "settings.key_threshold",
                format!("{needed} actors must cooperate, but only {holders} have both a share key and a node, so that nobody could open a session key; give more owners a share_key, or lower the threshold"),
            );
        }
    }

    fn validate_nodes(&self, problems: &mut Problems) {
        if self.nodes.is_empty() {
            problems.push(
                "nodes",
                "no validating node is listed; list at least the one that starts the network",
            );
        }
        if self.nodes.len() > limits::NODES_MAX {
            problems.push(
                "nodes",
                format!(
                    "{} nodes are listed; at most {} are supported",
                    self.nodes.len(),
                    limits::NODES_MAX
                ),
            );
        }
        let mut addresses = BTreeSet::new();
        for node in &self.nodes {
            let key = format!("nodes.{}", node.address);
            if !valid_address(&node.address) {
                problems.push(&key, "is not an address; give `host:port` with a port from 1 to 65535, and an IPv6 address in brackets");
            }
            if self.actor(&node.owner).is_none() {
                problems.push(&key, format!("its owner {:?} is not listed among the actors; add the actor or correct the name", node.owner));
            }
            if !addresses.insert(&node.address) {
                problems.push(&key, "is listed twice; each node has an address of its own");
            }
        }
    }

    fn validate_voting(&self, problems: &mut Problems) {
        let members = self.members().count();
        let policies = core::iter::once(("voting.policy".to_owned(), self.voting.policy)).chain(
            self.voting.policies.iter().map(|(kind, policy)| {
                (format!("voting.policies.{kind:?}").to_lowercase(), *policy)
            }),
        );
        for (key, policy) in policies {
            if let Policy::AtLeast(m) = policy
                && (m == 0 || m as usize > members)
            {
                // usize has at least 32 bits here
                problems.push(key, format!("\"at least {m}\" cannot decide among {members} members; give a number from 1 to {members}"));
            }
        }
        problems.range(
            "voting.open_ms",
            self.voting.open_ms,
            60 * SECOND_MS,
            YEAR_MS,
        );
    }

    fn validate_standing(&self, problems: &mut Problems) {
        let rules = &self.standing.rules;
        if rules.len() > RULES_MAX {
            problems.push(
                "standing.rules",
                format!(
                    "{} rules are listed; at most {RULES_MAX} are supported: join some with \"or\"",
                    rules.len()
                ),
            );
        }
        for rule in rules {
            let key = format!("standing.rules.{}", rule.name);
            problems.name(&format!("{key}.name"), &rule.name);
            if let Some(text) = rule.problem() {
                problems.push(format!("{key}.when"), text);
            }
        }
        for name in self.rules_twice() {
            problems.push(
                format!("standing.rules.{name}"),
                "is the name of another rule, too; give each a name of its own",
            );
        }
    }

    fn validate_settings(&self, problems: &mut Problems) {
        let s = &self.settings;
        let owners: BTreeSet<_> = self.nodes.iter().map(|n| &n.owner).collect();
        let holders = owners.iter().filter(|o| self.actor(o).is_some()).count();
        if s.key_threshold == 0 || s.key_threshold as usize > holders.max(1) {
            // usize has at least 32 bits here
            problems.push(
                "settings.key_threshold",
                format!("{} of {holders} actors that own a node is impossible; give a number from 1 to {}, or list more nodes", s.key_threshold, holders.max(1)),
            );
        }
        problems.range(
            "settings.epoch_length_ms",
            s.epoch_length_ms,
            60 * SECOND_MS,
            10 * YEAR_MS,
        );
        problems.range(
            "settings.session_key_ttl_ms",
            s.session_key_ttl_ms,
            SECOND_MS,
            10 * YEAR_MS,
        );
        problems.range(
            "settings.lease_length_ms",
            s.lease_length_ms,
            10 * SECOND_MS,
            10 * YEAR_MS,
        );
        problems.range(
            "settings.batch_units_max",
            s.batch_units_max.into(),
            1,
            limits::BATCH_UNITS_MAX as u64,
        );
        problems.range(
            "settings.batch_bytes_max",
            s.batch_bytes_max.into(),
            limits::UNIT_BYTES_MAX as u64,
            limits::BATCH_BYTES_MAX as u64,
        );
        problems.range(
            "settings.batches_in_flight_max",
            s.batches_in_flight_max.into(),
            1,
            limits::BATCHES_IN_FLIGHT_MAX.into(),
        );
        problems.range(
            "settings.restart_faults_max",
            s.restart_faults_max.into(),
            0,
            limits::NODES_MAX as u64,
        );
        problems.range("settings.snapshot_entries", s.snapshot_entries, 10, 1 << 32);
        problems.range(
            "settings.snapshot_minutes",
            s.snapshot_minutes,
            0,
            YEAR_MS / (60 * SECOND_MS),
        );
        problems.range("settings.snapshots_kept", s.snapshots_kept, 1, 16);
    }

    fn validate_protocols(&self, problems: &mut Problems) {
        if self.protocols.len() > PROTOCOLS_MAX {
            problems.push(
                "protocols",
                format!(
                    "{} protocols are listed; at most {PROTOCOLS_MAX} are supported",
                    self.protocols.len()
                ),
            );
        }
        let mut names = BTreeSet::new();
        for protocol in &self.protocols {
            let key = format!("protocols.{}", protocol.name);
            problems.name(&format!("{key}.name"), &protocol.name);
            // Clients choose what they talk to by `coco-<name>/1`.
            if matches!(protocol.name.as_str(), "node" | "admin") {
                problems.push(
                    &key,
                    "is a name of Coco's own channels; give the protocol another one",
                );
            }
            if !names.insert(&protocol.name) {
                problems.push(&key, "is listed twice; a network runs a protocol once");
            }
            for (field, text) in endpoint::problems(&protocol.endpoints) {
                problems.push(format!("{key}.{field}"), text);
            }
            // The bytes behind `settings_digest` say the rest, and that is fixed at the genesis.
            let is_known = |name: &str, value: &str| {
                PROTOCOL_SETTINGS
                    .iter()
                    .any(|(known, values)| *known == name && values.contains(&value))
            };
            let mut settings = protocol.settings.iter();
            if let Some((name, value)) = settings.find(|(name, value)| !is_known(name, value)) {
                if PROTOCOL_SETTINGS.iter().any(|(known, _)| known == name) {
                    problems.push(
                        format!("{key}.settings"),
                        format!("{name:?} is allowed or refused, not {value:?}"),
                    );
                    continue;
                }
                problems.push(
                    format!("{key}.settings"),
                    format!("{name:?} cannot be set: this version's adapters have no setting that a vote may change, and what the genesis settings say (rules, chain id) stays for the life of the network"),
                );
            }
        }
    }

    fn validate_manifests(&self, problems: &mut Problems) {
        if let Err(bad) = self.code.validate() {
            problems.push("code", bad.to_string());
        }
        if let Err(bad) = self.tee.validate() {
            problems.push("tee", bad.to_string());
        }
        let allowed = |name: &str| {
            self.code
                .images
                .iter()
                .any(|i| i.name == name && i.state == tee::CodeState::Allowed)
        };
        let workers = self.protocols.iter().map(|p| format!("worker/{}", p.name));
        for name in core::iter::once("manager".to_owned()).chain(workers) {
            if !allowed(&name) {
                problems.push(
                    "code.images",
                    format!(
                        "no image {name:?} is allowed, so no node could run it; add its measurement"
                    ),
                );
            }
        }
    }

    fn validate_policies(&self, problems: &mut Problems) {
        for (name, value) in &self.policies {
            let key = format!("policies.{name}");
            match POLICIES.iter().find(|(known, _)| known == name) {
                None => {
                    let known: Vec<_> = POLICIES.iter().map(|(known, _)| *known).collect();
                    problems.push(
                        key,
                        format!(
                            "this version does not support the policy; it supports {}",
                            known.join(", ")
                        ),
                    );
                }
                Some((_, values)) if !values.contains(&value.as_str()) => {
                    problems.push(
                        key,
                        format!("{value:?} is not one of its values: {}", values.join(", ")),
                    );
                }
                Some(_) => {}
            }
        }
    }
}
