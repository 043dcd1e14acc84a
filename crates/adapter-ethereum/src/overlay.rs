//! The EVM's view of the state: reads go through to the versioned maps, writes gather here.
//!
//! One overlay serves a whole batch (or one query). Each transaction's result is committed into it,
//! so the next one finds it; what changed goes to the maps once, at the end, in the order of keys.

use std::collections::BTreeMap;

use adapter::{Exec, Lost, View};
use alloy_primitives::{Address, B256, U256};
use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use revm::Database;
use revm::bytecode::Bytecode;
use revm::database_interface::DBErrorMarker;
use revm::primitives::KECCAK_EMPTY;
use revm::state::{AccountInfo, EvmState};

use crate::block;
use crate::codes::Codes;
use crate::settings::{Fork, Replay, Rules};
use crate::state::{
    ACCOUNT, AccountRecord, CODE, STORAGE, account_record, encode_slot, slot_of, storage_key,
};

/// The state is gone, in the form that revm carries.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Gone(#[from] pub(crate) Lost);

impl DBErrorMarker for Gone {}

/// How far the stored slots of an account count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// Read slots through.
    Valid,
    /// Created or destroyed here: what is not in the overlay is zero.
    Void,
}

#[derive(Debug)]
struct Held {
    /// `None`: does not exist.
    info: Option<AccountInfo>,
    /// Generation of the stored slots.
    generation: u32,
    /// There is a record below, be it a destroyed one.
    recorded: bool,
    stored: Stored,
    /// Slots read or written, and whether they were written.
    slots: HashMap<U256, (U256, bool)>,
    changed: bool,
}

/// See the module's head.
pub(crate) struct Overlay<'a> {
    view: &'a dyn View,
    codes: &'a Codes,
    fork: Fork,
    replay: Option<&'a Replay>,
    accounts: HashMap<Address, Held>,
    /// Code made here.
    created: HashMap<B256, Bytecode>,
}

/// What an overlay changed, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    accounts: BTreeMap<Address, Option<AccountRecord>>,
    slots: BTreeMap<([u8; 56], usize), Option<U256>>,
    codes: BTreeMap<B256, Bytes>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(view: &'a dyn View, codes: &'a Codes, rules: &'a Rules) -> Self {
        Self {
            view,
            codes,
            fork: rules.fork,
            replay: rules.replay.as_ref(),
            accounts: HashMap::new(),
            created: HashMap::new(),
        }
    }

    fn held(&mut self, address: Address) -> Result<&mut Held, Lost> {
        hold(self.view, &mut self.accounts, address)
    }

    /// Takes over what one transaction did.
    pub(crate) fn commit(&mut self, state: EvmState) {
        for (address, account) in state {
            if !account.is_touched() {
                continue;
            }
            // The account was loaded through `basic`, so it is here already, unless revm made it.
            let Ok(held) = hold(self.view, &mut self.accounts, address) else {
                continue;
            };
            let gone = account.is_selfdestructed() || (account.is_empty() && !account.is_created());
            if gone {
                if held.info.is_some() || held.changed {
                    held.changed = true;
                }
                held.info = None;
                held.stored = Stored::Void;
                held.slots.clear();
                continue;
            }
            if account.is_created() {
                held.stored = Stored::Void;
                held.slots.clear();
            }
            for (slot, value) in account
                .storage
                .iter()
                .filter(|(_, value)| value.is_changed())
            {
                held.slots.insert(*slot, (value.present_value, true));
            }
            let info = account.info;
            let before = held
                .info
                .as_ref()
                .map_or(KECCAK_EMPTY, |info| info.code_hash);
            if info.code_hash != before
                && let Some(code) = info.code.as_ref().filter(|code| !code.is_empty())
            {
                self.created.insert(info.code_hash, code.clone());
            }
            held.changed |= held.info.as_ref() != Some(&info);
            held.info = Some(info);
        }
    }

    /// Everything that changed.
    pub(crate) fn into_changes(self) -> Changes {
        let mut changes = Changes::default();
        let wipes = self.fork < Fork::Cancun;
        for (address, held) in self.accounts {
            // Before Cancun an account with stored slots could be destroyed: they are left behind
            // under the old generation. Since EIP-6780 only accounts that were never stored can be.
            let renewed = wipes && held.stored == Stored::Void && held.recorded;
            let generation = held.generation + u32::from(renewed);
            match held.info {
                Some(info) if held.changed || renewed => {
                    let record = AccountRecord {
                        balance: info.balance,
                        nonce: info.nonce,
                        code_hash: info.code_hash,
                        generation,
                        destroyed: false,
                    };
                    changes.accounts.insert(address, Some(record));
                }
                None if held.changed && held.recorded => {
                    let tomb = (generation > 0).then(|| AccountRecord {
                        generation,
                        destroyed: true,
                        ..AccountRecord::default()
                    });
                    changes.accounts.insert(address, tomb);
                }
                _ => {}
            }
            for (slot, (value, written)) in held.slots {
                if written {
                    let value = (!value.is_zero()).then_some(value);
                    if value.is_some() || held.stored == Stored::Valid {
                        changes
                            .slots
                            .insert(storage_key(&address, generation, slot), value);
                    }
                }
            }
        }
        for (hash, code) in self.created {
            self.codes.keep(hash, &code);
            changes.codes.insert(hash, code.original_bytes().0);
        }
        changes
    }
}

/// The account in the overlay, read from below if it is not there yet.
fn hold<'h>(
    view: &dyn View,
    accounts: &'h mut HashMap<Address, Held>,
    address: Address,
) -> Result<&'h mut Held, Lost> {
    let entry = match accounts.entry(address) {
        Entry::Occupied(entry) => return Ok(entry.into_mut()),
        Entry::Vacant(entry) => entry,
    };
    let record = account_record(view, &address)?;
    let info = record
        .filter(|record| !record.destroyed)
        .map(|record| AccountInfo {
            balance: record.balance,
            nonce: record.nonce,
            code_hash: record.code_hash,
            code: (record.code_hash == KECCAK_EMPTY).then(Bytecode::default),
            ..AccountInfo::default()
        });
    Ok(entry.insert(Held {
        info,
        generation: record.map_or(0, |record| record.generation),
        recorded: record.is_some(),
        stored: Stored::Valid,
        slots: HashMap::new(),
        changed: false,
    }))
}

impl Changes {
    /// Writes everything in the order of keys.
    pub(crate) fn write(self, exec: &mut dyn Exec) {
        for (address, record) in self.accounts {
            let key = Bytes::copy_from_slice(address.as_slice());
            match record {
                Some(record) => exec.put(ACCOUNT, key, record.encode()),
                None => exec.delete(ACCOUNT, key),
            }
        }
        for ((key, length), value) in self.slots {
            let key = Bytes::copy_from_slice(&key[..length]);
            match value {
                Some(value) => exec.put(STORAGE, key, encode_slot(value)),
                None => exec.delete(STORAGE, key),
            }
        }
        for (hash, code) in self.codes {
            exec.put(CODE, Bytes::copy_from_slice(hash.as_slice()), code);
        }
    }
}

impl Database for Overlay<'_> {
    type Error = Gone;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Gone> {
        Ok(self.held(address)?.info.clone())
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Gone> {
        if let Some(code) = self.created.get(&hash) {
            return Ok(code.clone());
        }
        let view = self.view;
        Ok(self.codes.find(hash, || view.get(CODE, hash.as_slice()))?)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Gone> {
        let view = self.view;
        let held = self.held(address)?;
        if let Some((value, _)) = held.slots.get(&slot) {
            return Ok(*value);
        }
        let value = match held.stored {
            Stored::Void => U256::ZERO,
            Stored::Valid => slot_of(view, &address, held.generation, slot)?,
        };
        held.slots.insert(slot, (value, false));
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Gone> {
        match self.replay {
            Some(replay) => Ok(replay.block_hash(number)),
            None => Ok(block::hash_at(self.view, number)?.unwrap_or_default()),
        }
    }
}
