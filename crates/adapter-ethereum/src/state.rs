//! How Ethereum state lies in the versioned maps.
//!
//! ```text
//! domain  key                                    value
//! META    "rules"                                the rules as JSON
//!         "sign-in"                              who may sign in, as JSON; absent: nobody
//!         "key"                                  32 bytes: key of the roots' commitments
//!         "undo" number (8)                      what a recent block replaced: `past`, if that is set
//!         "root", "node" hash (32)               Merkle-Patricia tries: `trie`, if roots are plain
//! ACCOUNT address (20)                           flags (1) nonce (8) [code hash (32)] [generation (4)] balance (0-32)
//! STORAGE address (20) [generation (4)] slot (32)  value without leading zeros
//! CODE    code hash (32)                         bytecode
//! HEADER  number (8)                             hash (32) rlp(header): the genesis and the last 257
//! ```
//! Older headers, transactions, receipts and logs are in the ledger. What finds them (transaction and
//! block hashes, and which logs a block may hold) is filed by the worker: `block::file`.
//!
//! All numbers are big-endian. An account's *generation* counts how often it was destroyed while it
//! had stored slots (only forks before Cancun can do that): a new generation starts with empty
//! storage and needs no scan. Flags: 1 code hash present, 2 generation present, 4 destroyed.

use adapter::{DomainSpec, Layout, Lost, View};
use alloy_primitives::{Address, B256, U256};
use bytes::{BufMut, Bytes, BytesMut};
use kv::Domain;
use revm::primitives::KECCAK_EMPTY;

/// Rules and keys.
pub const META: Domain = Domain(0);
/// Balances, nonces, code hashes.
pub const ACCOUNT: Domain = Domain(1);
/// Contract storage.
pub const STORAGE: Domain = Domain(2);
/// Bytecode by hash.
pub const CODE: Domain = Domain(3);
/// Headers of the genesis and of the latest blocks, by number.
pub const HEADER: Domain = Domain(4);

pub(crate) const META_RULES: &[u8] = b"rules";
pub(crate) const META_KEY: &[u8] = b"key";
pub(crate) const META_SIGN_IN: &[u8] = b"sign-in";

/// All domains. Every access is to one key, so none needs an order.
pub fn domains() -> Vec<DomainSpec> {
    [
        (META, "meta"),
        (ACCOUNT, "accounts"),
        (STORAGE, "storage"),
        (CODE, "code"),
        (HEADER, "headers"),
    ]
    .map(|(domain, name)| DomainSpec {
        domain,
        name,
        layout: Layout::Hashed,
    })
    .into()
}

/// An account as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountRecord {
    pub balance: U256,
    pub nonce: u64,
    pub code_hash: B256,
    pub generation: u32,
    /// Destroyed: only the generation counts.
    pub destroyed: bool,
}

impl Default for AccountRecord {
    fn default() -> Self {
        Self {
            balance: U256::ZERO,
            nonce: 0,
            code_hash: KECCAK_EMPTY,
            generation: 0,
            destroyed: false,
        }
    }
}

const FLAG_CODE: u8 = 1;
const FLAG_GENERATION: u8 = 2;
const FLAG_DESTROYED: u8 = 4;

impl AccountRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let mut flags = 0;
        if self.code_hash != KECCAK_EMPTY {
            flags |= FLAG_CODE;
        }
        if self.generation != 0 {
            flags |= FLAG_GENERATION;
        }
        if self.destroyed {
            flags |= FLAG_DESTROYED;
        }
        let mut out = BytesMut::with_capacity(77);
        out.put_u8(flags);
        out.put_u64(self.nonce);
        if flags & FLAG_CODE != 0 {
            out.put_slice(self.code_hash.as_slice());
        }
        if flags & FLAG_GENERATION != 0 {
            out.put_u32(self.generation);
        }
        put_trimmed(&mut out, self.balance);
        out.freeze()
    }

    /// Reads what [`AccountRecord::encode`] wrote; `None` if it did not.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (&flags, rest) = bytes.split_first()?;
        bytes = rest;
        let nonce = u64::from_be_bytes(*take(&mut bytes)?);
        let code_hash = if flags & FLAG_CODE != 0 {
            B256::from(*take(&mut bytes)?)
        } else {
            KECCAK_EMPTY
        };
        let generation = if flags & FLAG_GENERATION != 0 {
            u32::from_be_bytes(*take(&mut bytes)?)
        } else {
            0
        };
        let balance = U256::try_from_be_slice(bytes)?;
        Some(Self {
            balance,
            nonce,
            code_hash,
            generation,
            destroyed: flags & FLAG_DESTROYED != 0,
        })
    }
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(head)
}

fn put_trimmed(out: &mut BytesMut, value: U256) {
    let bytes: [u8; 32] = value.to_be_bytes();
    let zeros = (value.leading_zeros() / 8).min(32);
    out.put_slice(&bytes[zeros..]);
}

/// Key of a slot in [`STORAGE`]. Short keys are copied, never shared, so that no key pins a batch.
pub(crate) fn storage_key(address: &Address, generation: u32, slot: U256) -> ([u8; 56], usize) {
    let mut key = [0; 56];
    key[..20].copy_from_slice(address.as_slice());
    let mut at = 20;
    if generation != 0 {
        key[20..24].copy_from_slice(&generation.to_be_bytes());
        at = 24;
    }
    key[at..at + 32].copy_from_slice(&slot.to_be_bytes::<32>());
    (key, at + 32)
}

pub(crate) fn encode_slot(value: U256) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    put_trimmed(&mut out, value);
    out.freeze()
}

/// The record of `address`, destroyed ones included.
pub(crate) fn account_record(
    view: &dyn View,
    address: &Address,
) -> Result<Option<AccountRecord>, Lost> {
    Ok(view.get(ACCOUNT, address.as_slice())?.map(|bytes| {
        AccountRecord::decode(&bytes).expect("account records are written by this adapter only")
    }))
}

/// An existing account.
///
/// # Errors
/// [`Lost`]: the state is gone.
pub fn account(view: &dyn View, address: &Address) -> Result<Option<AccountRecord>, Lost> {
    Ok(account_record(view, address)?.filter(|record| !record.destroyed))
}

pub(crate) fn slot_of(
    view: &dyn View,
    address: &Address,
    generation: u32,
    slot: U256,
) -> Result<U256, Lost> {
    let (key, length) = storage_key(address, generation, slot);
    Ok(view
        .get(STORAGE, &key[..length])?
        .map_or(U256::ZERO, |bytes| {
            U256::try_from_be_slice(&bytes).expect("slots are written by this adapter only")
        }))
}

/// A storage slot; zero if it was never set.
///
/// # Errors
/// [`Lost`]: the state is gone.
pub fn storage(view: &dyn View, address: &Address, slot: U256) -> Result<U256, Lost> {
    match account(view, address)? {
        Some(record) => slot_of(view, address, record.generation, slot),
        None => Ok(U256::ZERO),
    }
}

/// The code of `address`; empty if it has none.
///
/// # Errors
/// [`Lost`]: the state is gone.
pub fn code(view: &dyn View, address: &Address) -> Result<Bytes, Lost> {
    match account(view, address)? {
        Some(record) if record.code_hash != KECCAK_EMPTY => Ok(view
            .get(CODE, record.code_hash.as_slice())?
            .unwrap_or_default()),
        _ => Ok(Bytes::new()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn account_records_return(balance: [u8; 32], shift in 0usize..256, nonce: u64, code: Option<[u8; 32]>, generation: u32, destroyed: bool) {
            let record = AccountRecord {
                balance: U256::from_be_bytes(balance) >> shift,
                nonce,
                code_hash: code.map_or(KECCAK_EMPTY, B256::from),
                generation,
                destroyed,
            };
            prop_assert_eq!(AccountRecord::decode(&record.encode()), Some(record));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes: Vec<u8>) {
            let _ = AccountRecord::decode(&bytes);
        }
    }

    #[test]
    fn generations_have_separate_slots() {
        let address = Address::repeat_byte(1);
        let (first, a) = storage_key(&address, 0, U256::from(5));
        let (second, b) = storage_key(&address, 1, U256::from(5));
        assert_ne!(&first[..a], &second[..b]);
        assert_eq!((a, b), (52, 56));
    }
}
