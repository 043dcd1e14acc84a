//! RANDOM: numbers from the batch's entropy.
//!
//! ```text
//! key    = keccak256("coco ethereum random v1" ‖ entropy of the batch ‖ transaction hash)
//! next() = keccak256(key ‖ how many were drawn before in this transaction)
//! ```
//! The entropy is different for every batch and secret until the batch is executed, and a hash stands
//! in a batch once. What was drawn stays drawn when the frame that drew it reverts, so no contract can
//! draw the same number twice. A simulation draws from a key that has nothing to do with any batch's.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use revm::context::ContextTr;

use super::abi::{self, Words};
use super::{Call, Facts, Refused, UNKNOWN};

/// Keys of numbers in simulations.
const SIMULATED: [u8; 32] = [0; 32];

/// `below` draws again when a number is in the uneven rest; this often at most (it never happens).
const DRAWS_MAX: usize = 256;

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    match selector {
        // next()
        [0x4c, 0x8f, 0xe5, 0x26] => next(call).map(abi::word),
        // below(uint256)
        [0x8d, 0xe6, 0x2f, 0x33] => {
            let bound = U256::from_be_bytes(arguments.word()?.0);
            if bound.is_zero() {
                return Err("nothing is below zero".into());
            }
            // 2^256 mod bound numbers are left out, so that the rest divides evenly.
            let uneven = (U256::MAX % bound + U256::from(1)) % bound;
            for _ in 0..DRAWS_MAX {
                let number = U256::from_be_bytes(next(call)?.0);
                if number >= uneven {
                    return Ok(abi::word(number % bound));
                }
            }
            Err("no number was found".into())
        }
        _ => Err(UNKNOWN),
    }
}

fn next<CTX: ContextTr>(call: &mut Call<'_, CTX>) -> Result<B256, Refused> {
    call.pay(200)?;
    let key = key(call.facts);
    let draw = call.turn.draws;
    call.turn.draws += 1;
    Ok(keccak256([key.as_slice(), &draw.to_be_bytes()].concat()))
}

fn key(facts: &Facts) -> B256 {
    let (label, entropy): (&[u8], _) = match &facts.entropy {
        Some(entropy) => (b"coco ethereum random v1", entropy),
        None => (b"coco ethereum random simulation v1", &SIMULATED),
    };
    keccak256([label, entropy, facts.hash.as_slice()].concat())
}
