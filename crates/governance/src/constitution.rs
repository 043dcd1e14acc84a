//! The constitution: what the members of a network agreed on, as data.
//!
//! Source: Coco 2017, "Constitution". The text form is TOML (unknown keys are refused), the form
//! that is signed, hashed and stored is canonical CBOR ([`Constitution::to_cbor`]).
//!
//! Fields are encoded as arrays; a field that a later version appends is optional, so that the
//! digest of an existing constitution never changes.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use threshold::Element;
use types::{Digest, Index, Millis, NetworkId, limits};

use crate::{Endpoint, Listed, Standing, Voting, appended, share_key};

/// The whole of it. Lists are kept sorted by name (nodes by owner, then address).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Constitution {
    /// Name of the network, for people; its identity is [`Constitution::network_id`].
    #[n(0)]
    pub network: String,
    /// Ledger time of the first entry.
    #[n(1)]
    pub genesis_time_ms: Millis,
    /// Whether the entries that hold a constitution show it to whoever has the files.
    #[n(2)]
    #[serde(default)]
    pub visibility: Visibility,
    #[n(3)]
    #[serde(default)]
    pub settings: Settings,
    #[n(4)]
    #[serde(default)]
    pub voting: Voting,
    #[n(5)]
    #[serde(default)]
    pub standing: Standing,
    /// Further policies by name; those that this version does not support are refused.
    #[n(6)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, String>,
    #[n(7)]
    pub actors: Vec<Actor>,
    /// Where validating nodes may run. Each slot is filled by one incarnation after the other.
    #[n(8)]
    pub nodes: Vec<NodeSlot>,
    #[n(9)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<Protocol>,
    /// Which code may run.
    #[n(10)]
    pub code: tee::CodeManifest,
    /// Which platforms may run it.
    #[n(11)]
    pub tee: tee::Manifest,
    /// The network that this one goes on from: it was lost, and its actors opened its ledger.
    #[n(12)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<Succeeds>,
}

/// How far another network's ledger is proven: `coco recover open` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Succeeds {
    #[n(0)]
    pub network: NetworkId,
    /// The entry with the last root signature that was checked.
    #[n(1)]
    pub index: Index,
    /// Root of the Merkle tree that it signs.
    #[n(2)]
    pub root: Digest,
}

/// An organisation. It may govern (member), take part (participant), or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub roles: BTreeSet<Role>,
    /// May read everything; each use is recorded.
    #[n(2)]
    #[serde(default)]
    pub auditor: bool,
    /// Leaf certificates, or issuing intermediates under which the actor rolls its own.
    #[n(3)]
    pub certificates: Vec<Listed>,
    /// T: the public part of its share-transport key, under which others send it its shares of the
    /// network's threshold keys. `coco member share-key` makes one.
    #[n(4)]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "share_key")]
    pub share_key: Option<Element>,
}

impl Actor {
    /// Whether it votes.
    pub fn is_member(&self) -> bool {
        self.roles.contains(&Role::Member)
    }
}

/// What an actor may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Role {
    /// Governs: proposes and votes.
    #[n(0)]
    Member,
    /// Submits transactions and may run nodes.
    #[n(1)]
    Participant,
}

/// A place where one validating node may run: an owner and the address where others reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct NodeSlot {
    /// Name of the actor that runs it.
    #[n(0)]
    pub owner: String,
    /// `host:port`.
    #[n(1)]
    pub address: String,
}

/// A blockchain protocol that the network runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Name of the adapter, such as `ethereum` or `kv`.
    #[n(0)]
    pub name: String,
    /// The format of its data, to which workers bring the state; 1 in every first state.
    #[n(1)]
    pub version: u32,
    /// SHA-256 of the genesis settings, which are too large to stand here.
    #[n(2)]
    pub settings_digest: Digest,
    /// Who may read what, where the protocol itself does not say.
    #[n(3)]
    pub access: Access,
    /// Settings that a vote may change while the network runs; adapters of this version have none.
    #[n(4)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Systems outside the network that its code may call.
    #[cbor(n(5), skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
}

impl Protocol {
    /// The endpoint of that name.
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.name == name)
    }

    /// Whether clients without a certificate reach its worker, which asks them who they are.
    pub fn serves_without_certificate(&self) -> bool {
        let value = self.settings.get(crate::validate::WITHOUT_CERTIFICATE);
        value.is_some_and(|value| value == "allowed")
    }
}

/// Access to application state unless the application says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Access {
    /// Every actor reads everything.
    #[n(0)]
    Transparent,
    /// An actor reads what concerns it.
    #[n(1)]
    Confidential,
}

/// Whether the constitution stands in the public part of its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Visibility {
    /// An auditor reads it from the files alone.
    #[default]
    #[n(0)]
    Public,
    /// The files show its digest; the text is sealed.
    #[n(1)]
    Sealed,
}

/// Numbers of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a session key seals the ledger.
    #[n(0)]
    pub epoch_length_ms: u64,
    /// M: actors that must cooperate to recover a session key.
    #[n(1)]
    pub key_threshold: u32,
    /// How long a node keeps a session key in memory without use.
    #[n(2)]
    pub session_key_ttl_ms: u64,
    /// How long an admission is good before the node must attest again.
    #[n(3)]
    pub lease_length_ms: u64,
    #[n(4)]
    pub batch_units_max: u32,
    #[n(5)]
    pub batch_bytes_max: u32,
    /// Batches that the leader may have proposed and not committed.
    #[n(6)]
    pub batches_in_flight_max: u32,
    /// r: hosts that may roll a disk back or run two incarnations in a restart (DESIGN section 6).
    #[n(7)]
    pub restart_faults_max: u32,
    /// Entries after which the nodes take the next snapshot of their state; more where that is large
    /// (docs/recovery.md).
    #[cbor(
        n(8),
        decode_with = "appended::decode::<20_000, Ctx>",
        encode_with = "appended::encode::<20_000, Ctx, _>",
        nil = "appended::nil::<20_000>",
        is_nil = "appended::is_nil::<20_000>"
    )]
    pub snapshot_entries: u64,
    /// Minutes of ledger time after which they take it, if fewer entries came; 0 for never.
    #[cbor(
        n(9),
        decode_with = "appended::decode::<60, Ctx>",
        encode_with = "appended::encode::<60, Ctx, _>",
        nil = "appended::nil::<60>",
        is_nil = "appended::is_nil::<60>"
    )]
    pub snapshot_minutes: u64,
    /// Snapshots that a node keeps.
    #[cbor(
        n(10),
        decode_with = "appended::decode::<2, Ctx>",
        encode_with = "appended::encode::<2, Ctx, _>",
        nil = "appended::nil::<2>",
        is_nil = "appended::is_nil::<2>"
    )]
    pub snapshots_kept: u64,
}

impl Default for Settings {
    /// A day per epoch and lease, an hour of cached keys, batches as the limits of `types` allow,
    /// a snapshot an hour.
    fn default() -> Self {
        Self {
            epoch_length_ms: 24 * 3_600_000,
            key_threshold: 1,
            session_key_ttl_ms: 3_600_000,
            lease_length_ms: 24 * 3_600_000,
            batch_units_max: 1024,
            batch_bytes_max: 2 << 20,
            batches_in_flight_max: limits::BATCHES_IN_FLIGHT_MAX / 2,
            restart_faults_max: 1,
            snapshot_entries: 20_000,
            snapshot_minutes: 60,
            snapshots_kept: 2,
        }
    }
}

impl Constitution {
    /// The actor of that name.
    pub fn actor(&self, name: &str) -> Option<&Actor> {
        self.actors.iter().find(|a| a.name == name)
    }

    /// Those who vote, in order of name.
    pub fn members(&self) -> impl Iterator<Item = &Actor> {
        self.actors.iter().filter(|a| a.is_member())
    }

    /// Who holds shares of the network's threshold keys, in order of name: actors that have a
    /// share-transport key and a place for a node. Their places in this order, from 1, are their
    /// indices in a key generation.
    pub fn key_holders(&self) -> impl Iterator<Item = (&str, Element)> {
        self.actors.iter().filter_map(|actor| {
            let owns = self.nodes.iter().any(|n| n.owner == actor.name);
            Some((&*actor.name, actor.share_key.filter(|_| owns)?))
        })
    }

    /// Whether session keys are sealed to the actors. Without any share-transport key they are in
    /// the memory of nodes alone.
    pub fn seals_session_keys(&self) -> bool {
        self.actors.iter().any(|a| a.share_key.is_some())
    }

    /// Whether a node of that owner may run at that address.
    pub fn has_slot(&self, owner: &str, address: &str) -> bool {
        self.nodes
            .iter()
            .any(|n| n.owner == owner && n.address == address)
    }

    /// The protocol of that name.
    pub fn protocol(&self, name: &str) -> Option<&Protocol> {
        self.protocols.iter().find(|p| p.name == name)
    }

    /// How many of `nodes` voters must be present to restart after a lost quorum, if that is
    /// possible at all: q + p - n > r (DESIGN section 6).
    pub fn restart_quorum(&self, nodes: usize) -> Option<usize> {
        let faults = usize::try_from(self.settings.restart_faults_max).ok()?;
        let commit = nodes / 2 + 1;
        let present = (nodes - commit).checked_add(faults)?.checked_add(1)?;
        (present <= nodes).then_some(present)
    }

    /// Whether the leader checks the signatures of forwarded units again, so that a compromised
    /// follower's worker cannot forge a sender (docs/threat-model.md).
    pub fn leader_verifies_signatures(&self) -> bool {
        self.policies
            .get(crate::validate::LEADER_VERIFIES)
            .is_some_and(|v| v == "yes")
    }
}
