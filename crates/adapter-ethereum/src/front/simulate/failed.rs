//! Why a call did not succeed, in the words and codes that clients know.

use alloy_primitives::U256;
use revm::context::result::{ExecutionResult, HaltReason};

use super::super::envelope::RpcError;

/// The error of a call that did not succeed.
pub(crate) fn failure(result: ExecutionResult) -> RpcError {
    match result {
        ExecutionResult::Revert { output, .. } => reverted(&output),
        ExecutionResult::Halt { reason, .. } => RpcError::server(halted(&reason)),
        ExecutionResult::Success { .. } => unreachable!("asked for failures only"),
    }
}

/// Code 3 with the revert data, and the reason in words where Solidity's encoding tells it.
pub(crate) fn reverted(data: &[u8]) -> RpcError {
    let message = match reason(data) {
        Some(reason) => format!("execution reverted: {reason}"),
        None => "execution reverted".into(),
    };
    RpcError::new(3, message).with_data(format!("\"0x{}\"", hex::encode(data)))
}

pub(crate) fn halted(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".into(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode => "invalid opcode".into(),
        HaltReason::InvalidJump => "invalid jump destination".into(),
        HaltReason::StackUnderflow => "stack underflow".into(),
        HaltReason::StackOverflow => "stack limit reached 1024".into(),
        HaltReason::CreateCollision => "contract address collision".into(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".into(),
        other => format!("execution stopped: {other:?}"),
    }
}

/// `Error(string)` and `Panic(uint256)` of Solidity.
pub(crate) fn reason(data: &[u8]) -> Option<String> {
    let (selector, body) = data.split_first_chunk::<4>()?;
    let word = |at: usize| U256::try_from_be_slice(body.get(at..at.checked_add(32)?)?);
    match selector {
        [0x08, 0xc3, 0x79, 0xa0] => {
            let at = usize::try_from(word(0)?).ok()?;
            let length = usize::try_from(word(at)?).ok()?;
            let start = at.checked_add(32)?;
            let text = body.get(start..start.checked_add(length)?)?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        [0x4e, 0x48, 0x7b, 0x71] => Some(match u64::try_from(word(0)?).ok() {
            Some(0x00) => "generic panic".into(),
            Some(0x01) => "assert(false)".into(),
            Some(0x11) => "arithmetic underflow or overflow".into(),
            Some(0x12) => "division or modulo by zero".into(),
            Some(0x21) => "enum overflow".into(),
            Some(0x22) => "invalid encoded storage byte array accessed".into(),
            Some(0x31) => "out-of-bounds array access; popping on an empty array".into(),
            Some(0x32) => "out-of-bounds access of an array or bytesN".into(),
            Some(0x41) => "out of memory".into(),
            Some(0x51) => "uninitialized function".into(),
            _ => format!("unknown panic code: {:#x}", word(0)?),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solidity_reasons_are_read() {
        let error = |hex: &str| reverted(&hex::decode(hex).expect("hex")).message;
        assert_eq!(
            error(&format!("08c379a0{:064x}{:064x}6e6f{:060x}", 32, 2, 0)),
            "execution reverted: no"
        );
        assert_eq!(
            error(&format!("4e487b71{:064x}", 1)),
            "execution reverted: assert(false)"
        );
        assert_eq!(error(""), "execution reverted");
        assert_eq!(error("12345678"), "execution reverted");
    }

    #[test]
    fn false_lengths_do_no_harm() {
        for body in [
            format!("{:064x}", 32),
            "ff".repeat(64),
            format!("{:064x}{}", 32, "ff".repeat(32)),
        ] {
            let data = hex::decode(format!("08c379a0{body}")).expect("hex");
            assert_eq!(reverted(&data).message, "execution reverted");
        }
    }
}
