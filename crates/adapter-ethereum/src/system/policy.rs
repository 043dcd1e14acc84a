//! POLICY: which contract answers for the access to another.
//!
//! ```text
//! keccak256(target ‖ 1)   the policy that answers for target, an address
//! keccak256(target ‖ 2)   how often target's declaration was to be read again
//! ```
//! A contract's deployer attaches a policy, or the contract itself. Nobody keeps a list of deployers:
//! an address is made from its deployer and a nonce (or a salt), so the deployer names that.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::context::ContextTr;

use super::abi::{self, Words};
use super::{Call, POLICY, Refused, domains};

fn slot(target: &Address, which: u8) -> U256 {
    let parts = [target.into_word(), B256::from(U256::from(which))];
    keccak256(parts.concat()).into()
}

/// Where the policy of `target` stands in [`POLICY`]'s storage.
pub(crate) fn policy_slot(target: &Address) -> U256 {
    slot(target, 1)
}

/// Where the count of refreshments of `target` stands.
pub(crate) fn refresh_slot(target: &Address) -> U256 {
    slot(target, 2)
}

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    call.pay(100)?;
    match selector {
        // policyOf(address)
        [0xf5, 0x14, 0xd6, 0xe5] => call
            .load(POLICY, policy_slot(&arguments.address()?))
            .map(abi::word),
        // attach(address)
        [0x7a, 0x0c, 0xa1, 0xe2] => {
            let target = call.sender;
            attach(call, target, arguments.address()?)
        }
        // attach(address,address,uint64)
        [0x7f, 0x41, 0xcc, 0x0d] => {
            let (target, policy) = (arguments.address()?, arguments.address()?);
            if call.sender.create(arguments.number()?) != target {
                return Err("the sender did not create the contract with that nonce".into());
            }
            attach(call, target, policy)
        }
        // attach2(address,address,bytes32,bytes32)
        [0x72, 0xa4, 0x9b, 0xbb] => {
            let (target, policy) = (arguments.address()?, arguments.address()?);
            let (salt, code) = (arguments.word()?, arguments.word()?);
            if call.sender.create2(salt, code) != target {
                return Err("the sender did not create the contract with that salt".into());
            }
            attach(call, target, policy)
        }
        // refresh(address)
        [0x0a, 0xfb, 0x04, 0x09] => {
            call.writes()?;
            let slot = refresh_slot(&arguments.address()?);
            let count = call.load(POLICY, slot)?;
            call.store(POLICY, slot, count.wrapping_add(U256::from(1)))?;
            Ok(Bytes::new())
        }
        other => domains::call(call, other, arguments),
    }
}

pub(super) fn attach<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    target: Address,
    policy: Address,
) -> Result<Bytes, Refused> {
    call.writes()?;
    call.store(POLICY, policy_slot(&target), policy.into_word().into())?;
    Ok(Bytes::new())
}
