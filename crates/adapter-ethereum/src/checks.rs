//! The questions that a contract is asked about its readers: `ICocoAccess`.
//!
//! ```solidity
//! struct Reader  { address account; bytes32 actor; uint32 roles; }
//! struct LogView { address emitter; bytes32[] topics; bytes data; address txSender; uint64 seqno; }
//! function canReadLog(Reader calldata, LogView calldata) external view returns (bytes4);
//! function canReadTransaction(Reader calldata, address txSender, bytes4 selector, uint64 seqno) external view returns (bytes4);
//! function canCall(Reader calldata, address caller, bytes calldata callData) external view returns (bytes4);
//! function canReadCode(Reader calldata) external view returns (bytes4);
//! ```
//! Yes is the function's own selector, in one word. Everything else is no: a fallback that answers
//! `true` to whatever it is asked allows nothing.

use alloy_primitives::{Address, B256, Bytes, Log, U256};
use types::ActorId;

use crate::principal::Roles;

pub(crate) const CAN_READ_LOG: [u8; 4] = [0x83, 0x70, 0x0f, 0xf9];
pub(crate) const CAN_READ_TRANSACTION: [u8; 4] = [0x6b, 0xd5, 0xbf, 0xc2];
pub(crate) const CAN_CALL: [u8; 4] = [0xa4, 0x12, 0xbf, 0x87];
pub(crate) const CAN_READ_CODE: [u8; 4] = [0x77, 0x25, 0xbf, 0xdb];
/// `supportsInterface(bytes4)`, which is also ERC-165's own id.
const SUPPORTS: [u8; 4] = [0x01, 0xff, 0xc9, 0xa7];
/// `cocoTransparent()`: what a contract declares whose storage may be read.
pub(crate) const TRANSPARENT: [u8; 4] = [0x82, 0x34, 0x4a, 0x8f];

/// ERC-165's id of `ICocoAccess`.
pub(crate) const ACCESS: [u8; 4] =
    xor([CAN_READ_LOG, CAN_READ_TRANSACTION, CAN_CALL, CAN_READ_CODE]);

const fn xor(ids: [[u8; 4]; 4]) -> [u8; 4] {
    let [a, b, c, d] = ids;
    [
        a[0] ^ b[0] ^ c[0] ^ d[0],
        a[1] ^ b[1] ^ c[1] ^ d[1],
        a[2] ^ b[2] ^ c[2] ^ d[2],
        a[3] ^ b[3] ^ c[3] ^ d[3],
    ]
}

/// Who wants to read, as a contract sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) account: Address,
    pub(crate) actor: ActorId,
    pub(crate) roles: Roles,
}

fn number(value: impl TryInto<u64>) -> [u8; 32] {
    let value = value.try_into().unwrap_or(u64::MAX);
    U256::from(value).to_be_bytes()
}

fn start(selector: [u8; 4], reader: &Reader, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(100 + room);
    out.extend(selector);
    out.extend(reader.account.into_word());
    out.extend(reader.actor.0);
    out.extend(number(reader.roles.0));
    out
}

/// Length, content, and zeros to a whole word.
fn put_bytes(out: &mut Vec<u8>, content: &[u8]) {
    out.extend(number(content.len()));
    out.extend(content);
    out.resize(
        out.len() + content.len().next_multiple_of(32) - content.len(),
        0,
    );
}

pub(crate) fn can_read_log(reader: &Reader, log: &Log, tx_sender: &Address, seqno: u64) -> Bytes {
    let topics = log.data.topics();
    let data = &log.data.data;
    let mut out = start(CAN_READ_LOG, reader, 12 * 32 + data.len());
    out.extend(number(4 * 32u64));
    // The struct: its places count from here.
    out.extend(log.address.into_word());
    out.extend(number(5 * 32u64));
    out.extend(number((6 + topics.len()) * 32));
    out.extend(tx_sender.into_word());
    out.extend(number(seqno));
    out.extend(number(topics.len()));
    topics.iter().for_each(|topic| out.extend(topic));
    put_bytes(&mut out, data);
    out.into()
}

pub(crate) fn can_read_transaction(
    reader: &Reader,
    tx_sender: &Address,
    input: &[u8],
    seqno: u64,
) -> Bytes {
    let mut out = start(CAN_READ_TRANSACTION, reader, 96);
    let mut selector = [0; 32];
    let known = input.len().min(4);
    selector[..known].copy_from_slice(&input[..known]);
    out.extend(tx_sender.into_word());
    out.extend(selector);
    out.extend(number(seqno));
    out.into()
}

pub(crate) fn can_call(reader: &Reader, caller: &Address, data: &[u8]) -> Bytes {
    let mut out = start(CAN_CALL, reader, 128 + data.len());
    out.extend(caller.into_word());
    out.extend(number(5 * 32u64));
    put_bytes(&mut out, data);
    out.into()
}

pub(crate) fn can_read_code(reader: &Reader) -> Bytes {
    start(CAN_READ_CODE, reader, 0).into()
}

/// True if `answer` is one word that holds the function's selector.
pub(crate) fn allows(question: &[u8], answer: Option<&[u8]>) -> bool {
    answer.is_some_and(|answer| {
        answer.len() == 32 && answer[..4] == question[..4] && answer[4..] == [0; 28]
    })
}

pub(crate) fn supports(id: [u8; 4]) -> Bytes {
    let mut out = [0; 36];
    out[..4].copy_from_slice(&SUPPORTS);
    out[4..8].copy_from_slice(&id);
    Bytes::copy_from_slice(&out)
}

/// ERC-165: one word, and it is 1.
pub(crate) fn is_true(answer: Option<&[u8]>) -> bool {
    answer == Some(B256::with_last_byte(1).as_slice())
}

/// What a contract answers if it can tell one interface from another: true for ERC-165 itself, and
/// false for this.
pub(crate) const NO_INTERFACE: [u8; 4] = [0xff; 4];
pub(crate) const ERC165: [u8; 4] = SUPPORTS;

#[cfg(test)]
mod tests {
    use alloy_primitives::{hex, keccak256};

    use super::*;

    #[test]
    fn selectors_are_those_of_the_signatures() {
        let reader = "(address,bytes32,uint32)";
        for (signature, selector) in [
            (
                format!("canReadLog({reader},(address,bytes32[],bytes,address,uint64))"),
                CAN_READ_LOG,
            ),
            (
                format!("canReadTransaction({reader},address,bytes4,uint64)"),
                CAN_READ_TRANSACTION,
            ),
            (format!("canCall({reader},address,bytes)"), CAN_CALL),
            (format!("canReadCode({reader})"), CAN_READ_CODE),
            ("supportsInterface(bytes4)".into(), SUPPORTS),
            ("cocoTransparent()".into(), TRANSPARENT),
        ] {
            assert_eq!(
                hex::encode(&keccak256(&signature)[..4]),
                hex::encode(selector),
                "{signature}"
            );
        }
    }

    #[test]
    fn only_the_own_selector_means_yes() {
        let reader = Reader {
            account: Address::repeat_byte(1),
            actor: ActorId([2; 32]),
            roles: Roles(4),
        };
        let question = can_read_code(&reader);
        let mut word = [0; 32];
        word[..4].copy_from_slice(&CAN_READ_CODE);
        assert!(allows(&question, Some(&word)));
        let mut dirty = word;
        dirty[31] = 1;
        let one = B256::with_last_byte(1);
        for answer in [
            None,
            Some(&[][..]),
            Some(&one[..]),
            Some(&[0xff; 32][..]),
            Some(&dirty[..]),
            Some(&word[..31]),
            Some(&[word, word].concat()[..]),
        ] {
            assert!(!allows(&question, answer), "{answer:?}");
        }
    }

    #[test]
    fn the_questions_are_encoded_as_solidity_does() {
        let reader = Reader {
            account: Address::repeat_byte(1),
            actor: ActorId([2; 32]),
            roles: Roles(4),
        };
        let log = Log::new_unchecked(
            Address::repeat_byte(5),
            vec![B256::repeat_byte(6)],
            vec![7; 33].into(),
        );
        let words = |question: &Bytes| -> Vec<String> {
            question[4..].chunks(32).map(hex::encode).collect()
        };
        let log = words(&can_read_log(&reader, &log, &Address::repeat_byte(8), 9));
        let word = |n: u64| format!("{n:064x}");
        assert_eq!(log[3], word(128), "place of the struct");
        let view = &log[4..];
        assert_eq!(view[1], word(160), "place of the topics in the struct");
        assert_eq!(view[2], word(224), "place of the data in the struct");
        assert_eq!(view[4], word(9));
        assert_eq!((&view[5], &view[6]), (&word(1), &"06".repeat(32)));
        assert_eq!(view[7], word(33));
        assert_eq!(view.len(), 10);
        let call = words(&can_call(&reader, &Address::repeat_byte(3), &[1, 2]));
        assert_eq!((&call[4], &call[5]), (&word(160), &word(2)));
        assert_eq!(call.len(), 7);
    }
}
