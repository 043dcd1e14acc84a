//! The EVM's view of the state: reads go through to the versioned maps, writes gather here.
//!
//! One overlay serves a whole batch (or one query). Each transaction's result is committed into it,
//! so the next one finds it; what changed goes to the maps once, at the end, in the order of keys.

mod overrides;
mod reads;

use std::collections::{BTreeMap, BTreeSet};

use adapter::{Exec, Lost, View};
use alloy_primitives::{Address, B256, U256};
use bytes::Bytes;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use revm::Database;
use revm::bytecode::Bytecode;
use revm::database_interface::DBErrorMarker;
use revm::primitives::KECCAK_EMPTY;
use revm::state::{Account, AccountInfo, EvmState};

use crate::access::IMPLEMENTATION_SLOT;
use crate::block;
use crate::codes::Codes;
use crate::eyes::Eyes;
use crate::settings::{Fork, Replay, Rules};
use crate::state::{
    ACCOUNT, AccountRecord, CODE, STORAGE, account_record, encode_slot, slot_of, storage_key,
};
use crate::system::{POLICY, is_system};

pub(crate) use reads::{Gathered, Reads};

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
    /// What the transaction that runs may see. `None`: everything.
    pub(crate) eyes: Option<Box<Eyes>>,
    /// Proxies that got another implementation.
    pub(crate) upgraded: Vec<Address>,
    /// Hashes of blocks that never were. `None`: no simulation of blocks runs.
    imagined: Option<BTreeMap<u64, B256>>,
    /// If it is there, what is read is kept in it.
    reads: Option<Reads>,
}

/// What an overlay changed, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) accounts: BTreeMap<Address, Option<AccountRecord>>,
    pub(crate) slots: BTreeMap<([u8; 56], usize), Option<U256>>,
    codes: BTreeMap<B256, Bytes>,
    /// Accounts of whose slots below nothing counts any more.
    pub(crate) wiped: BTreeSet<Address>,
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
            eyes: None,
            upgraded: Vec::new(),
            imagined: None,
            reads: None,
        }
    }

    /// The account as it is, whoever looks.
    pub(crate) fn info(&mut self, address: Address) -> Result<Option<AccountInfo>, Lost> {
        Ok(self.held(address)?.info.clone())
    }

    pub(crate) fn has_code(&mut self, address: &Address) -> Result<bool, Lost> {
        let info = &self.held(*address)?.info;
        Ok(info
            .as_ref()
            .is_some_and(|info| info.code_hash != KECCAK_EMPTY))
    }

    pub(crate) fn code_of(&mut self, hash: B256) -> Result<Bytecode, Lost> {
        if let Some(code) = self.created.get(&hash) {
            return Ok(code.clone());
        }
        let view = self.view;
        let code = self.codes.find(hash, || view.get(CODE, hash.as_slice()))?;
        if let Some(reads) = &mut self.reads {
            reads.code(hash, &code);
        }
        Ok(code)
    }

    /// Writes a slot of the POLICY contract.
    pub(crate) fn record(&mut self, slot: U256, value: U256) {
        // Reading it first is what tells a state that is gone; then nothing of this is written.
        if let Ok(held) = self.held(POLICY) {
            held.slots.insert(slot, (value, true));
        }
    }

    /// True if the code at `address` may be read by the one who looks.
    pub(crate) fn reads_code(&mut self, address: &Address) -> Result<bool, Lost> {
        if self.eyes.is_none() || is_system(address) || !self.has_code(address)? {
            return Ok(true);
        }
        let mut eyes = self.eyes.take().expect("looked before");
        let shown = eyes.show(self, address);
        self.eyes = Some(eyes);
        // What is absent has no code to hide.
        shown.map(|shown| shown.code || !shown.seen)
    }

    fn seen(&mut self, address: Address, info: AccountInfo) -> Result<Option<AccountInfo>, Lost> {
        let mut eyes = self.eyes.take().expect("looked before");
        let seen = eyes.account(self, address, info);
        self.eyes = Some(eyes);
        seen
    }

    fn held(&mut self, address: Address) -> Result<&mut Held, Lost> {
        let held = hold(self.view, &mut self.accounts, address)?;
        if let Some(reads) = &mut self.reads {
            reads.account(address, held);
        }
        Ok(held)
    }

    /// Takes over what one transaction did.
    pub(crate) fn commit(&mut self, state: EvmState) {
        for (address, mut account) in state {
            if !account.is_touched() {
                continue;
            }
            let hidden = self
                .eyes
                .as_ref()
                .is_some_and(|eyes| eyes.absent.contains(&address));
            if self.eyes.is_some()
                && account
                    .storage
                    .get(&IMPLEMENTATION_SLOT)
                    .is_some_and(|slot| slot.is_changed())
            {
                self.upgraded.push(address);
            }
            // The account was loaded through `basic`, so it is here already, unless revm made it.
            let Ok(held) = hold(self.view, &mut self.accounts, address) else {
                continue;
            };
            if hidden && !account.is_created() {
                receive(held, &account);
                continue;
            }
            if hidden && let Some(before) = &held.info {
                // Made where something was sent before.
                account.info.balance = account.info.balance.saturating_add(before.balance);
            }
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

    /// Everything that changed, but for code.
    pub(crate) fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        let wipes = self.fork < Fork::Cancun;
        for (address, held) in &self.accounts {
            let address = *address;
            if held.stored == Stored::Void {
                changes.wiped.insert(address);
            }
            // Before Cancun an account with stored slots could be destroyed: they are left behind
            // under the old generation. Since EIP-6780 only accounts that were never stored can be.
            let renewed = wipes && held.stored == Stored::Void && held.recorded;
            let generation = held.generation + u32::from(renewed);
            match &held.info {
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
            for (slot, (value, written)) in &held.slots {
                if *written {
                    let value = (!value.is_zero()).then_some(*value);
                    if value.is_some() || held.stored == Stored::Valid {
                        changes
                            .slots
                            .insert(storage_key(&address, generation, *slot), value);
                    }
                }
            }
        }
        changes
    }

    /// Everything that changed.
    pub(crate) fn into_changes(self) -> Changes {
        let mut changes = self.changes();
        for (hash, code) in self.created {
            self.codes.keep(hash, &code);
            changes.codes.insert(hash, code.original_bytes().0);
        }
        changes
    }
}

/// An account that was absent to the transaction is still there, with what it was given.
fn receive(held: &mut Held, seen: &Account) {
    if let Some(info) = &mut held.info
        && !seen.info.balance.is_zero()
    {
        // It began with nothing, as it was seen. Ether is bounded far below 2^256.
        info.balance = info.balance.saturating_add(seen.info.balance);
        held.changed = true;
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
    /// What is not as it was in `earlier`, which came before in the same overlay. Of an account of whose
    /// stored slots nothing counts, all slots.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let owner = |key: &([u8; 56], usize)| Address::from_slice(&key.0[..20]);
        let mut dirty = BTreeSet::new();
        let accounts = self
            .accounts
            .iter()
            .filter(|(address, record)| earlier.accounts.get(*address) != Some(*record));
        dirty.extend(accounts.map(|(address, _)| *address));
        let changed = self
            .slots
            .iter()
            .filter(|(key, value)| earlier.slots.get(*key) != Some(*value));
        dirty.extend(changed.map(|(key, _)| owner(key)));
        let vanished = earlier
            .slots
            .keys()
            .filter(|key| !self.slots.contains_key(*key));
        dirty.extend(vanished.map(owner));
        let mut since = Self::default();
        for address in &dirty {
            if let Some(record) = self.accounts.get(address) {
                since.accounts.insert(*address, *record);
            }
            if self.wiped.contains(address) {
                since.wiped.insert(*address);
            }
        }
        since.slots = self
            .slots
            .iter()
            .filter(|(key, value)| {
                let owner = owner(key);
                dirty.contains(&owner)
                    && (self.wiped.contains(&owner) || earlier.slots.get(*key) != Some(*value))
            })
            .map(|(key, value)| (*key, *value))
            .collect();
        since
    }

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
        let info = self.held(address)?.info.clone();
        match info {
            Some(info) if self.eyes.is_some() => Ok(self.seen(address, info)?),
            info => Ok(info),
        }
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Gone> {
        Ok(self.code_of(hash)?)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Gone> {
        // What is read of the account, its generation, does not change in an overlay.
        let held = hold(self.view, &mut self.accounts, address)?;
        let (value, written) = match held.slots.entry(slot) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(entry) => {
                let value = match held.stored {
                    Stored::Void => U256::ZERO,
                    Stored::Valid => slot_of(self.view, &address, held.generation, slot)?,
                };
                *entry.insert((value, false))
            }
        };
        if let Some(reads) = &mut self.reads {
            reads.slot(
                address,
                slot,
                value,
                !written && held.stored == Stored::Valid,
            );
        }
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Gone> {
        if let Some(imagined) = &self.imagined {
            return Ok(match imagined.get(&number) {
                Some(hash) => *hash,
                None => block::hash_at(self.view, number)?.unwrap_or_default(),
            });
        }
        match self.replay {
            Some(replay) => Ok(replay.block_hash(number)),
            None => Ok(block::hash_at(self.view, number)?.unwrap_or_default()),
        }
    }
}
