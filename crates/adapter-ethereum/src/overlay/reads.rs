//! What a transaction read, and what it would read elsewhere.
//!
//! Balances are apart. Fees and payments add to the same ones all the time, and adding needs no look: a
//! balance that nobody looked at may be another, as long as both are something or both nothing, and what
//! was added to it is added to the other. Looking is: asking for it, giving of it, and sending the
//! transaction.

use adapter::Lost;
use alloy_primitives::{Address, B256, U256};
use hashbrown::HashMap;
use revm::bytecode::Bytecode;
use revm::primitives::KECCAK_EMPTY;
use revm::state::EvmState;

use super::{Gone, Held, Overlay, Stored};

/// What execution depends on of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    balance: U256,
    nonce: u64,
    code_hash: B256,
}

impl Shown {
    /// `None`: it does not exist.
    fn of(held: &Held) -> Option<Self> {
        let info = held.info.as_ref()?;
        Some(Self {
            balance: info.balance,
            nonce: info.nonce,
            code_hash: info.code_hash,
        })
    }

    /// True if the two are the same but for how much there is.
    fn is_like(&self, other: &Self) -> bool {
        (self.nonce, self.code_hash) == (other.nonce, other.code_hash)
            && self.balance.is_zero() == other.balance.is_zero()
    }
}

/// What was read through an overlay. Of each value it says whether it is that of the state below: that
/// one need not be read again where nothing was done to it.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    accounts: Vec<(Address, Option<Shown>, bool)>,
    slots: Vec<(Address, U256, U256, bool)>,
    /// Whose balances were looked at.
    looked: Vec<Address>,
    /// All balances were.
    looked_at_all: bool,
    /// It looked for code that is not there, and may be made meanwhile.
    misses_code: bool,
}

impl Reads {
    pub(super) fn account(&mut self, address: Address, held: &Held) {
        let is_below = !held.changed && held.stored == Stored::Valid;
        self.accounts.push((address, Shown::of(held), is_below));
    }

    pub(super) fn slot(&mut self, address: Address, slot: U256, value: U256, is_below: bool) {
        self.slots.push((address, slot, value, is_below));
    }

    pub(super) fn code(&mut self, hash: B256, found: &Bytecode) {
        self.misses_code |= found.is_empty() && hash != KECCAK_EMPTY;
    }

    fn looked_at(&self, address: &Address) -> bool {
        self.looked_at_all || self.looked.contains(address)
    }
}

/// What an overlay gathered, without the state below it.
#[derive(Debug)]
pub(crate) struct Gathered {
    accounts: HashMap<Address, Held>,
    created: HashMap<B256, Bytecode>,
}

impl Overlay<'_> {
    /// From now on it keeps what is read.
    pub(crate) fn keep_reads(&mut self) {
        self.reads = Some(Reads::default());
    }

    pub(crate) fn keeps_reads(&self) -> bool {
        self.reads.is_some()
    }

    /// What was read since, and an end to keeping it.
    pub(crate) fn take_reads(&mut self) -> Reads {
        self.reads.take().unwrap_or_default()
    }

    /// Somebody looks at the balance of this account.
    #[inline]
    pub(crate) fn look_at_balance(&mut self, address: Address) {
        if let Some(reads) = &mut self.reads
            && !reads.looked.contains(&address)
        {
            reads.looked.push(address);
        }
    }

    /// Somebody moves balances in a way that is not followed here.
    pub(crate) fn look_at_all_balances(&mut self) {
        if let Some(reads) = &mut self.reads {
            reads.looked_at_all = true;
        }
    }

    /// Makes `state`, which a transaction came to on another overlay of the same state and having read
    /// `reads`, what it comes to here. False: it may come to something else.
    pub(crate) fn rebase(&mut self, reads: &Reads, state: &mut EvmState) -> Result<bool, Lost> {
        if reads.misses_code || !self.agrees_on_slots(reads)? {
            return Ok(false);
        }
        for (address, read, is_below) in &reads.accounts {
            let found = match self.accounts.get(address) {
                Some(held) => Shown::of(held),
                None if *is_below => continue,
                None => Shown::of(self.held(*address)?),
            };
            if found == *read {
                continue;
            }
            let (Some(found), Some(read)) = (found, read) else {
                return Ok(false);
            };
            if !found.is_like(read) || reads.looked_at(address) {
                return Ok(false);
            }
            let Some(account) = state.get_mut(address) else {
                continue;
            };
            let added = account.info.balance.checked_sub(read.balance);
            let balance = added.and_then(|added| found.balance.checked_add(added));
            let is_plain = !account.is_created() && !account.is_selfdestructed();
            let Some(balance) = balance.filter(|_| is_plain) else {
                return Ok(false);
            };
            account.info.balance = balance;
        }
        Ok(true)
    }

    fn agrees_on_slots(&mut self, reads: &Reads) -> Result<bool, Lost> {
        for (address, slot, read, is_below) in &reads.slots {
            let held = self.accounts.get(address);
            let known = held.and_then(|held| held.slots.get(slot));
            let is_valid = held.is_none_or(|held| held.stored == Stored::Valid);
            let found = match known {
                Some((value, _)) => *value,
                None if *is_below && is_valid => continue,
                None => {
                    let found = revm::Database::storage(self, *address, *slot);
                    found.map_err(|Gone(lost)| lost)?
                }
            };
            if found != *read {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What it gathered, for another overlay of the same state.
    pub(crate) fn gathered(&mut self) -> Gathered {
        Gathered {
            accounts: std::mem::take(&mut self.accounts),
            created: std::mem::take(&mut self.created),
        }
    }

    /// Goes on where another overlay of the same state stood. This one must be empty.
    pub(crate) fn go_on(&mut self, gathered: Gathered) {
        self.accounts = gathered.accounts;
        self.created = gathered.created;
    }
}
