//! The token of the `erc20` workload: its code and first balances, put into genesis.
//!
//! With the test data it is OpenZeppelin's ERC-20 as compiled there. Without, it is the one below:
//! `transfer` and `balanceOf` with the same layout (balances are the mapping in slot 0) and event.

use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use serde_json::{Map, Value, json};

use crate::Problem;
use crate::ethereum::Account;

/// Where the token is.
pub(crate) const ADDRESS: Address = address!("00000000000000000000000000000000c0c00020");

/// What every account holds at genesis.
const BALANCE: u64 = 1 << 40;

/// `transfer(address,uint256)`
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];

/// `balanceOf(address)`
const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];

/// ```text
/// 00    PUSH0 CALLDATALOAD PUSH1 e0 SHR                        selector
/// 05    DUP1 PUSH4 a9059cbb EQ PUSH1 31 JUMPI
/// 0f    PUSH4 70a08231 EQ PUSH1 1c JUMPI
/// 18    JUMPDEST PUSH0 PUSH0 REVERT
/// 1c    JUMPDEST                                               balanceOf(owner)
///       PUSH1 04 CALLDATALOAD PUSH0 MSTORE PUSH0 PUSH1 20 MSTORE
///       PUSH1 40 PUSH0 KECCAK256 SLOAD PUSH0 MSTORE PUSH1 20 PUSH0 RETURN
/// 31    JUMPDEST                                               transfer(to, amount)
///       CALLER PUSH0 MSTORE PUSH0 PUSH1 20 MSTORE
///       PUSH1 40 PUSH0 KECCAK256 DUP1 SLOAD PUSH1 24 CALLDATALOAD   slot balance amount
///       DUP1 DUP3 LT PUSH1 18 JUMPI                            balance < amount
///       SWAP1 DUP2 SWAP1 SUB DUP3 SSTORE                       slot amount
///       PUSH1 04 CALLDATALOAD PUSH0 MSTORE PUSH1 40 PUSH0 KECCAK256
///       DUP1 SLOAD DUP3 ADD SWAP1 SSTORE                       slot amount
///       PUSH0 MSTORE PUSH1 04 CALLDATALOAD CALLER PUSH32 Transfer(address,address,uint256)
///       PUSH1 20 PUSH0 LOG3
///       PUSH1 01 PUSH0 MSTORE PUSH1 20 PUSH0 RETURN
/// ```
const SMALL: &str = concat!(
    "5f3560e01c8063a9059cbb1460315763",
    "70a0823114601c575b5f5ffd",
    "5b6004355f525f60205260405f20545f5260205ff3",
    "5b335f525f60205260405f208054602435",
    "80821060185790819003825560043",
    "55f5260405f2080548201905",
    "55f5260043533",
    "7fddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
    "60205fa360015f5260205ff3",
);

/// The account of the token at genesis.
pub(crate) fn genesis(data: &Path, holders: &[Account]) -> Result<Value, Problem> {
    let path = data.join("contracts/TestToken.json");
    let code = match std::fs::read(&path) {
        Ok(bytes) => {
            let token: Value = serde_json::from_slice(&bytes)
                .map_err(|error| Problem::Input(format!("{}: {error}", path.display())))?;
            let code = token["deployedBytecode"].as_str().ok_or_else(|| {
                Problem::Input(format!("{}: no deployedBytecode", path.display()))
            })?;
            code.trim_start_matches("0x").to_owned()
        }
        Err(_) => SMALL.to_owned(),
    };
    let mut storage: Map<String, Value> = holders
        .iter()
        .map(|holder| {
            (
                balance_slot(&holder.address).to_string(),
                json!(format!("{BALANCE:#x}")),
            )
        })
        .collect();
    // Slot 2 of OpenZeppelin's ERC-20: the total supply.
    let supply = U256::from(BALANCE) * U256::from(holders.len());
    storage.insert(
        B256::with_last_byte(2).to_string(),
        json!(format!("{supply:#x}")),
    );
    Ok(json!({
        "balance": "0x0", "nonce": "0x1", "code": format!("0x{code}"), "storage": storage,
    }))
}

/// The call `balanceOf(holder)`.
pub(crate) fn balance_of(holder: &Address) -> Bytes {
    [BALANCE_OF.as_slice(), holder.into_word().as_slice()]
        .concat()
        .into()
}

/// The call `transfer(to, amount)`.
pub(crate) fn transfer(to: &Address, amount: U256) -> Bytes {
    let mut input = Vec::with_capacity(68);
    input.extend_from_slice(&TRANSFER);
    input.extend_from_slice(to.into_word().as_slice());
    input.extend_from_slice(&amount.to_be_bytes::<32>());
    input.into()
}

/// Solidity's place of a value in the mapping of slot 0.
fn balance_slot(holder: &Address) -> B256 {
    let mut key = [0; 64];
    key[..32].copy_from_slice(holder.into_word().as_slice());
    keccak256(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_of_the_small_token_go_where_they_should() {
        let code = hex::decode(SMALL).expect("hexadecimal");
        for label in [0x18, 0x1c, 0x31] {
            assert_eq!(code[label], 0x5b, "at {label:#x}");
        }
        let event = keccak256("Transfer(address,address,uint256)");
        assert!(code.windows(32).any(|window| window == event.as_slice()));
        assert_eq!(BALANCE_OF, keccak256("balanceOf(address)")[..4]);
        assert_eq!(TRANSFER, keccak256("transfer(address,uint256)")[..4]);
    }
}
