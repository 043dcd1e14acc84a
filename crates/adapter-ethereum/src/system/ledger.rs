//! LEDGER: where this runs.

use alloy_primitives::{Bytes, U256};
use revm::context::ContextTr;

use super::abi;
use super::{Call, LEDGER, Refused, UNKNOWN};

/// Slot of the network's identity, written at genesis.
pub(crate) const NETWORK_SLOT: U256 = U256::ZERO;

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
) -> Result<Bytes, Refused> {
    call.pay(50)?;
    match selector {
        // network()
        [0x67, 0x39, 0xaf, 0xca] => call.load(LEDGER, NETWORK_SLOT).map(abi::word),
        // height()
        [0x0e, 0xf2, 0x67, 0x43] => Ok(abi::number(call.facts.height)),
        // timeMillis()
        [0x44, 0x66, 0x5c, 0x16] => Ok(abi::number(call.facts.time_ms)),
        // isSimulation()
        [0xd3, 0x43, 0xa3, 0xb6] => Ok(abi::number(u64::from(call.facts.entropy.is_none()))),
        _ => Err(UNKNOWN),
    }
}
