//! As much of Solidity's ABI as the example needs: words in, words out.

use alloy_primitives::{Address, B256, U256, keccak256};

/// The first four bytes of a function's hash.
pub(crate) fn selector(signature: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(signature).0;
    [a, b, c, d]
}

/// The first topic of an event.
pub(crate) fn topic(signature: &str) -> B256 {
    keccak256(signature)
}

/// A call of a function whose parameters are words.
pub(crate) fn input(signature: &str, words: &[B256]) -> Vec<u8> {
    let mut input = selector(signature).to_vec();
    input.extend(words.iter().flat_map(|word| word.0));
    input
}

pub(crate) fn address(address: &Address) -> B256 {
    address.into_word()
}

pub(crate) fn number(number: u64) -> B256 {
    U256::from(number).into()
}

/// Bytes as JSON-RPC writes them.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Words of JSON-RPC data; `None` if it is something else.
pub(crate) fn words(data: &str) -> Option<Vec<B256>> {
    let bytes = hex::decode(data.strip_prefix("0x")?).ok()?;
    let words = bytes.chunks_exact(32);
    words.remainder().is_empty().then_some(())?;
    Some(words.map(B256::from_slice).collect())
}

/// A number of JSON-RPC.
pub(crate) fn quantity(text: &serde_json::Value) -> Option<u64> {
    u64::from_str_radix(text.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// A word as a number that is small.
pub(crate) fn small(word: &B256) -> Option<u64> {
    u64::try_from(U256::from_be_bytes(word.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_words_are_those_of_solidity() {
        assert_eq!(
            selector("transfer(address,uint256)"),
            [0xa9, 0x05, 0x9c, 0xbb]
        );
        let to = Address::repeat_byte(0x11);
        let data = input("transfer(address,uint256)", &[address(&to), number(258)]);
        assert_eq!(data.len(), 68);
        let read = words(&hexadecimal(&data[4..])).expect("two words");
        assert_eq!(Address::from_word(read[0]), to);
        assert_eq!(small(&read[1]), Some(258));
        assert_eq!(words("0x00"), None);
        assert_eq!(words("nothing"), None);
    }
}
