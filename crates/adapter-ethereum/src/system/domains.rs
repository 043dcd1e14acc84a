//! POLICY's other half: domains, rules for logs, and policies attached by vote.
//!
//! Where this lies is drawn in [`crate::access`].
//!
//! ```solidity
//! function newDomain(bytes32[] members) external returns (uint64);        // the caller is its founder
//! function extendDomain(uint64 domain, bytes32[] members) external;       // the founder, one transaction
//! function isMember(uint64 domain, bytes32 member) external view returns (bool);
//! function setHome(uint64 domain) external;       // where the caller's next creations belong; 0: public
//! function homeOf(address account) external view returns (uint64);
//! function setLogRule(address target, bytes32 topic, uint64 readers) external;  // the deployer
//! function setLogRule(bytes32 topic, uint64 readers) external;                  // the contract itself
//! function vote(address target, address policy) external;                 // a governor's actor
//! ```
//! A member is an actor, or an account's address in a word. What somebody who is no member asks of a
//! domain is answered as for one that does not exist.

use alloy_primitives::{Address, B256, Bytes, U256};
use revm::context::{ContextTr, Transaction};

use super::abi::{self, Words};
use super::policy::attach;
use super::{Call, POLICY, Refused, UNKNOWN};
use crate::access::{self, Record, readers};

/// Most members that one call names.
const MEMBERS_MAX: usize = 64;

const NO_DOMAIN: Refused = Refused::Because("no such domain of yours");

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    match selector {
        // newDomain(bytes32[])
        [0xad, 0xcb, 0xe1, 0xd3] => found(call, arguments),
        // extendDomain(uint64,bytes32[])
        [0xee, 0x55, 0x45, 0x16] => {
            call.writes()?;
            let domain = arguments.number()?;
            let founder = call.load(POLICY, access::founder_slot(domain))?;
            if domain == 0 || founder != U256::from_be_bytes(call.sender.into_word().0) {
                return Err(NO_DOMAIN);
            }
            let members = arguments.words(MEMBERS_MAX)?;
            admit(call, domain, members)
        }
        // isMember(uint64,bytes32)
        [0x6a, 0x94, 0x83, 0x3a] => {
            let domain = arguments.number()?;
            let member = arguments.word()?;
            let answer = mine(call, domain)?
                && !call
                    .load(POLICY, access::member_slot(domain, member))?
                    .is_zero();
            Ok(abi::number(u64::from(answer)))
        }
        // setHome(uint64)
        [0x57, 0x3d, 0xca, 0xee] => {
            call.writes()?;
            let domain = arguments.number()?;
            if domain != 0 && !mine(call, domain)? {
                return Err(NO_DOMAIN);
            }
            let slot = access::home_slot(&call.sender);
            call.store(POLICY, slot, U256::from(domain))?;
            Ok(Bytes::new())
        }
        // homeOf(address)
        [0x57, 0xe4, 0x5c, 0x77] => {
            let account = arguments.address()?;
            if account != call.sender && account != call.context.tx().caller() {
                return Ok(abi::number(0));
            }
            call.load(POLICY, access::home_slot(&account))
                .map(abi::word)
        }
        // setLogRule(address,bytes32,uint64)
        [0xc5, 0xb7, 0xe3, 0x70] => {
            let target = arguments.address()?;
            let deployer = call.load(POLICY, access::deployer_slot(&target))?;
            if deployer != U256::from_be_bytes(call.sender.into_word().0) {
                return Err("the sender did not create this contract".into());
            }
            rule(call, &target, arguments)
        }
        // setLogRule(bytes32,uint64)
        [0x1e, 0x40, 0x37, 0xf1] => {
            let target = call.sender;
            rule(call, &target, arguments)
        }
        // vote(address,address)
        [0x1a, 0xfa, 0x74, 0xe5] => vote(call, arguments),
        _ => Err(UNKNOWN),
    }
}

/// True if the one who calls, or sent the transaction, is in the domain.
fn mine<CTX: ContextTr>(call: &mut Call<'_, CTX>, domain: u64) -> Result<bool, Refused> {
    let who = [
        B256::new(call.facts.actor.0),
        call.sender.into_word(),
        call.context.tx().caller().into_word(),
    ];
    for member in who {
        if !call
            .load(POLICY, access::member_slot(domain, member))?
            .is_zero()
        {
            return Ok(domain != 0);
        }
    }
    Ok(false)
}

/// Numbers of domains tell nothing: each is a hash of its founder and how many it founded.
fn found<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    call.writes()?;
    let members = arguments.words(MEMBERS_MAX)?;
    let founder = call.sender;
    let count_slot = access::founded_slot(&founder);
    let count = call.load(POLICY, count_slot)?.wrapping_add(U256::from(1));
    let domain = access::domain_of(&founder, count);
    call.store(POLICY, count_slot, count)?;
    let slot = access::founder_slot(domain);
    call.store(POLICY, slot, U256::from_be_bytes(founder.into_word().0))?;
    admit(call, domain, members)?;
    admit(call, domain, vec![founder.into_word()])?;
    Ok(abi::number(domain))
}

fn admit<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    domain: u64,
    members: Vec<B256>,
) -> Result<Bytes, Refused> {
    for member in members.into_iter().filter(|member| !member.is_zero()) {
        call.store(POLICY, access::member_slot(domain, member), U256::from(1))?;
    }
    Ok(Bytes::new())
}

fn rule<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    target: &Address,
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    call.writes()?;
    let (topic, bits) = (arguments.word()?, arguments.number()?);
    let rule = U256::from(bits | readers::SET);
    call.store(POLICY, access::rule_slot(target, topic), rule)?;
    let slot = access::record_slot(target);
    let record = Record::of_word(call.load(POLICY, slot)?).with(Record::RULES, true);
    call.store(POLICY, slot, record.word())?;
    Ok(Bytes::new())
}

/// One vote of an actor for a policy of a contract. More than half of the governors attach it.
fn vote<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    call.writes()?;
    let (target, policy) = (arguments.address()?, arguments.address()?);
    let actor = B256::new(call.facts.actor.0);
    let governors = call.load(POLICY, access::governors_slot())?;
    // A contract must not vote for whoever happens to call it.
    let direct = call.sender == call.context.tx().caller();
    if !direct || call.load(POLICY, access::governor_slot(actor))?.is_zero() {
        return Err("only a governor votes".into());
    }
    let voted = access::voted_slot(&target, &policy, actor);
    let count_slot = access::votes_slot(&target, &policy);
    let mut count = call.load(POLICY, count_slot)?;
    if call.load(POLICY, voted)?.is_zero() {
        call.store(POLICY, voted, U256::from(1))?;
        count = count.wrapping_add(U256::from(1));
        call.store(POLICY, count_slot, count)?;
    }
    if count.saturating_mul(U256::from(2)) > governors {
        return attach(call, target, policy);
    }
    Ok(Bytes::new())
}
