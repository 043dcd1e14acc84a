//! What is kept about the access to a contract, and where.
//!
//! Everything lies in the storage of the POLICY system contract ([`crate::system::POLICY`]), so it is
//! journalled, snapshotted and replayed like any contract's state. `slot(tag, parts) = keccak256(parts ‖
//! tag)`, every part and the tag one word. Tags 1 and 2 are the system contract's own
//! (`system/policy.rs`); those here are:
//!
//! ```text
//! 16  contract            domain (8 bytes) << 64 | flags
//! 17  contract            the sender of the transaction that created it
//! 18  domain, member      1: an actor, or an account's address as a word
//! 19  account             the domain that its next creations belong to
//! 20  contract, topic     who may read logs with this first topic (0: all others), as a set of bits
//! 21  domain              the account that founded it
//! 22  account             how many domains it founded
//! 23                      how many governors there are
//! 24  actor               1: a governor
//! 25  contract, policy    votes for attaching the policy
//! 26  contract, policy, actor   1: this governor voted for it
//! 28  contract            the proxy whose implementation it is, if both have one deployer
//! ```
//!
//! A *domain* is a set of actors. Its contracts exist for its members only. Domain 0 is everybody.

use std::collections::{BTreeMap, BTreeSet};

use adapter::Lost;
use alloy_primitives::{Address, B256, U256, keccak256};
use serde::{Deserialize, Serialize};
use types::ActorId;

use crate::principal::Roles;
use crate::system::policy_slot;

/// Gas of one access check.
pub(crate) const CHECK_GAS: u64 = 100_000;
/// Gas of all access checks of one request or one transaction.
pub(crate) const CHECKS_GAS: u64 = 50_000_000;
/// Gas of asking a contract whether it declares something (ERC-165).
pub(crate) const DECLARATION_GAS: u64 = 30_000;

/// EIP-1967: where a proxy keeps the address of its code.
pub(crate) const IMPLEMENTATION_SLOT: U256 = U256::from_limbs([
    0x20a3_ca50_5d38_2bbc,
    0xca3e_2076_cc37_35a9,
    0x0667_c828_492d_b98d,
    0x3608_94a1_3ba1_a321,
]);

/// Who sees contracts that declare no check and have no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Unchecked {
    /// Everybody in the network, as the white paper says.
    #[default]
    Public,
    /// Logs: the sender of the transaction. Code and calls: who created the contract.
    Sender,
    /// Logs: nobody. Code and calls: who created the contract.
    Deny,
}

/// What a confidential network decides at genesis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessSettings {
    #[serde(default)]
    pub unchecked: Unchecked,
    /// Accounts of actors from the first block on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<Address, B256>,
    /// Policies of contracts of the first state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<Address, Address>,
    /// Roles that contracts see, as bits of `Reader.roles`, besides what the certificate gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<B256, u32>,
    /// Actors that may create contracts; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployers: Option<BTreeSet<B256>>,
    /// Actors of whom more than half together attach a policy to any contract.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub governors: BTreeSet<B256>,
    #[serde(default)]
    pub limits: Limits,
}

/// What one principal may ask of one node. Fixed windows of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Calls a second, each call of a batch counted.
    pub calls_per_second: u32,
    /// Gas of simulations a second.
    pub simulation_gas_per_second: u64,
    /// Filters kept.
    pub filters: u32,
    /// Bytes of one response.
    pub response_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_second: 5_000,
            simulation_gas_per_second: 2_000_000_000,
            filters: 1_000,
            response_bytes: 32 << 20,
        }
    }
}

impl AccessSettings {
    /// Roles of an actor as contracts see them during execution, where no certificate is at hand.
    pub(crate) fn roles(&self, actor: &ActorId) -> Roles {
        Roles(self.roles.get(&B256::new(actor.0)).copied().unwrap_or(0))
    }

    /// True if the actor may create contracts.
    pub(crate) fn may_deploy(&self, actor: &ActorId) -> bool {
        self.deployers
            .as_ref()
            .is_none_or(|deployers| deployers.contains(&B256::new(actor.0)))
    }
}

/// Slots of the POLICY contract, wherever they are read.
pub(crate) trait Slots {
    fn slot(&mut self, slot: U256) -> Result<U256, Lost>;
}

/// A place in POLICY's storage.
pub(crate) fn place(tag: u64, parts: &[B256]) -> U256 {
    let mut all = parts.concat();
    all.extend(U256::from(tag).to_be_bytes::<32>());
    keccak256(all).into()
}

pub(crate) fn record_slot(contract: &Address) -> U256 {
    place(16, &[contract.into_word()])
}

pub(crate) fn deployer_slot(contract: &Address) -> U256 {
    place(17, &[contract.into_word()])
}

pub(crate) fn member_slot(domain: u64, member: B256) -> U256 {
    place(18, &[U256::from(domain).into(), member])
}

pub(crate) fn home_slot(account: &Address) -> U256 {
    place(19, &[account.into_word()])
}

pub(crate) fn rule_slot(contract: &Address, topic: B256) -> U256 {
    place(20, &[contract.into_word(), topic])
}

pub(crate) fn founder_slot(domain: u64) -> U256 {
    place(21, &[U256::from(domain).into()])
}

pub(crate) fn founded_slot(account: &Address) -> U256 {
    place(22, &[account.into_word()])
}

pub(crate) fn governors_slot() -> U256 {
    place(23, &[])
}

pub(crate) fn governor_slot(actor: B256) -> U256 {
    place(24, &[actor])
}

pub(crate) fn votes_slot(contract: &Address, policy: &Address) -> U256 {
    place(25, &[contract.into_word(), policy.into_word()])
}

pub(crate) fn voted_slot(contract: &Address, policy: &Address, actor: B256) -> U256 {
    place(26, &[contract.into_word(), policy.into_word(), actor])
}

pub(crate) fn front_slot(implementation: &Address) -> U256 {
    place(28, &[implementation.into_word()])
}

/// The number of the domain that `founder` founds as its `count`th: never 0.
pub(crate) fn domain_of(founder: &Address, count: U256) -> u64 {
    let [low, ..] = place(27, &[founder.into_word(), count.into()]).into_limbs();
    low | 1
}

/// What is known of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// 0: public.
    pub(crate) domain: u64,
    pub(crate) flags: u64,
}

impl Record {
    /// Its creation was seen.
    pub(crate) const KNOWN: u64 = 1;
    /// It declares `ICocoAccess`.
    pub(crate) const DECLARED: u64 = 2;
    /// It declares that all of its storage may be read by whoever may read its code.
    pub(crate) const TRANSPARENT: u64 = 4;
    /// It has rules for its logs.
    pub(crate) const RULES: u64 = 8;

    pub(crate) fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn with(self, flag: u64, on: bool) -> Self {
        let flags = if on {
            self.flags | flag
        } else {
            self.flags & !flag
        };
        Self { flags, ..self }
    }

    pub(crate) fn word(&self) -> U256 {
        U256::from_limbs([self.flags, self.domain, 0, 0])
    }

    pub(crate) fn of_word(word: U256) -> Self {
        let [flags, domain, ..] = word.into_limbs();
        Self { domain, flags }
    }
}

pub(crate) fn record(slots: &mut dyn Slots, contract: &Address) -> Result<Record, Lost> {
    slots.slot(record_slot(contract)).map(Record::of_word)
}

/// Who created the contract; zero if that was never seen.
pub(crate) fn deployer(slots: &mut dyn Slots, contract: &Address) -> Result<Address, Lost> {
    let word = slots.slot(deployer_slot(contract))?;
    Ok(Address::from_word(word.into()))
}

/// The contract that answers for `contract`, if one was attached.
pub(crate) fn policy(slots: &mut dyn Slots, contract: &Address) -> Result<Option<Address>, Lost> {
    let word = slots.slot(policy_slot(contract))?;
    Ok((!word.is_zero()).then(|| Address::from_word(word.into())))
}

/// True if the word stands for a member of the domain.
pub(crate) fn is_member(slots: &mut dyn Slots, domain: u64, member: B256) -> Result<bool, Lost> {
    Ok(!slots.slot(member_slot(domain, member))?.is_zero())
}

/// Who may read a log, declared by topic: bits of one word.
pub mod readers {
    /// Everybody.
    pub const PUBLIC: u64 = 1;
    /// The sender of the transaction.
    pub const SENDER: u64 = 2;
    /// The account in the second topic.
    pub const TOPIC1: u64 = 4;
    /// The account in the third topic.
    pub const TOPIC2: u64 = 8;
    /// The account in the fourth topic.
    pub const TOPIC3: u64 = 16;
    /// Members of the emitter's domain.
    pub const DOMAIN: u64 = 32;
    /// The rule is there; it may name nobody.
    pub const SET: u64 = 1 << 63;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_return() {
        let record = Record::default().with(Record::KNOWN | Record::DECLARED, true);
        let record = Record {
            domain: 7,
            ..record
        };
        assert_eq!(Record::of_word(record.word()), record);
        assert!(!record.with(Record::DECLARED, false).has(Record::DECLARED));
        assert_eq!(Record::of_word(U256::ZERO), Record::default());
    }

    #[test]
    fn the_slot_of_proxies_is_that_of_eip_1967() {
        let digest: U256 = keccak256("eip1967.proxy.implementation").into();
        assert_eq!(IMPLEMENTATION_SLOT, digest - U256::from(1));
    }
}
