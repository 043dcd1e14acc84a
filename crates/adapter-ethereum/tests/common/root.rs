//! The Merkle-Patricia root of a state, for comparison with other clients only: a network's state
//! roots are keyed commitments.

use std::collections::BTreeMap;

use adapter_ethereum::{ACCOUNT, STORAGE, account};
use alloy_primitives::{Address, B256, U256};
use alloy_trie::TrieAccount;
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};

use super::Memory;

/// See the module's head.
pub fn root(memory: &Memory) -> B256 {
    let mut slots: BTreeMap<(Address, u32), Vec<(B256, U256)>> = BTreeMap::new();
    for ((_, key), value) in memory.map.iter().filter(|((at, _), _)| *at == STORAGE) {
        let (address, rest) = key.split_at(20);
        let (generation, slot) = match rest.split_last_chunk::<32>().expect("a slot") {
            ([], slot) => (0, slot),
            (generation, slot) => (
                u32::from_be_bytes(generation.try_into().expect("four bytes")),
                slot,
            ),
        };
        let value = U256::try_from_be_slice(value).expect("a slot");
        let owner = (Address::from_slice(address), generation);
        slots.entry(owner).or_default().push((slot.into(), value));
    }
    let addresses = memory.map.keys().filter(|(domain, _)| *domain == ACCOUNT);
    let accounts = addresses.filter_map(|(_, key)| {
        let address = Address::from_slice(key);
        let record = account(memory, &address).expect("never lost")?;
        let storage = slots.get(&(address, record.generation)).cloned();
        let trie = TrieAccount {
            nonce: record.nonce,
            balance: record.balance,
            storage_root: storage_root_unhashed(storage.unwrap_or_default()),
            code_hash: record.code_hash,
        };
        Some((address, trie))
    });
    state_root_unhashed(accounts)
}
