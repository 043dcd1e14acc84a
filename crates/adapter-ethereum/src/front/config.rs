//! `eth_config` (EIP-7910) and `eth_capabilities`: what a node computes with and how far back it answers.
//!
//! Both tell constants of the network: one fork from the first block on, none to come, no blobs.

use std::collections::BTreeMap;

use adapter::{Context, Lost, View};
use revm::precompile::{PrecompileSpecId, Precompiles};
use serde_json::{Value, json};

use super::envelope::Stop;
use super::json::{lower, quantity};
use super::lookup::find;
use super::params::BlockId;
use crate::block;
use crate::settings::{Fork, Rules};

/// EIP-7910: the present configuration; there is no other.
pub(crate) fn config(view: &dyn View, rules: &Rules) -> Result<Value, Lost> {
    let genesis = block::hash_at(view, 0)?.unwrap_or_default();
    let known = Precompiles::new(PrecompileSpecId::from_spec_id(rules.fork.spec()));
    let precompiles: BTreeMap<&str, Value> = known
        .addresses()
        .filter_map(|address| {
            let name = known.get(address)?.id().name();
            Some((name, lower(address)))
        })
        .collect();
    // EIP-4844 and EIP-7691: the divisor that the fork has, though nothing is ever priced with it.
    let fraction = if rules.fork >= Fork::Prague {
        5_007_716
    } else {
        3_338_477
    };
    Ok(json!({
        "current": {
            "activationTime": 0,
            "blobSchedule": {"target": 0, "max": 0, "baseFeeUpdateFraction": fraction},
            "chainId": quantity(rules.chain_id),
            "forkId": format!("0x{:08x}", crc32(genesis.as_slice())),
            "precompiles": precompiles,
            "systemContracts": {},
        },
        "next": null,
        "last": null,
    }))
}

/// EIP-2124's checksum, CRC-32 of IEEE 802.3; of 32 bytes, so without a table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// State at the head only, everything else from the first block on; no Merkle-Patricia proofs.
pub(crate) fn capabilities(context: &mut dyn Context) -> Result<Value, Stop> {
    let head = find(context, BlockId::Head)?.ok_or(Lost)?;
    let number = quantity(head.header.number);
    let whole = json!({"disabled": false, "oldestBlock": "0x0"});
    Ok(json!({
        "head": {"number": number, "hash": head.hash},
        "state": {"disabled": false, "oldestBlock": number},
        "tx": whole,
        "logs": whole,
        "receipts": whole,
        "blocks": whole,
        "stateproofs": {"disabled": true, "oldestBlock": number},
    }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
        // EIP-2124's first example: mainnet's genesis, before any fork.
        let mainnet = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";
        assert_eq!(
            super::crc32(&hex::decode(mainnet).expect("hex")),
            0xfc64_ec04
        );
    }
}
