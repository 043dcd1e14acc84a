//! EMIT_TO: logs that named readers see, and nobody else.
//!
//! One log for each reader, of this contract, so that a reader's search finds its own by topic and
//! learns of no other:
//!
//! ```text
//! topics   keccak256("Addressed(address,address,bytes)"), who emitted, who reads
//! data     abi.encode(bytes)
//! ```

use alloy_primitives::{Address, B256, Bytes, Log, U256, b256};
use revm::context::{ContextTr, JournalTr};

use super::abi::{self, Words};
use super::{Call, EMIT_TO, Refused, UNKNOWN};

/// keccak256("Addressed(address,address,bytes)").
pub(crate) const ADDRESSED: B256 =
    b256!("0b59b6c6c54014c67ec5db3156ddcbad7547946d67a4b7b0d9eb8f4b22fcd56f");

/// Most readers of one call.
const READERS_MAX: usize = 256;

/// Who reads this log, if it was emitted for one reader.
pub fn reader(log: &Log) -> Option<Address> {
    if log.address != EMIT_TO || log.data.topics().first() != Some(&ADDRESSED) {
        return None;
    }
    log.data
        .topics()
        .get(2)
        .map(|word| Address::from_word(*word))
}

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    // emitTo(address[],bytes)
    if selector != [0x30, 0x3d, 0x9e, 0x09] {
        return Err(UNKNOWN);
    }
    call.writes()?;
    let readers = arguments.addresses(READERS_MAX)?;
    let payload = arguments.bytes()?;
    // As LOG3 for each reader.
    let bytes = payload.len() as u64 + 64; // usize is at most 64 bits
    call.pay((375 * 4 + 8 * bytes) * readers.len() as u64)?; // at most 256
    let mut data = U256::from(32).to_be_bytes::<32>().to_vec();
    data.extend(abi::bytes(payload));
    let data = Bytes::from(data);
    for reader in readers {
        let topics = vec![ADDRESSED, call.sender.into_word(), reader.into_word()];
        let log = Log::new_unchecked(EMIT_TO, topics, data.clone());
        call.context.journal_mut().log(log);
    }
    Ok(Bytes::new())
}
