//! What a simulation supposes: other balances, nonces, code, slots and blocks than there are.

use adapter::Lost;
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::bytecode::Bytecode;
use revm::state::AccountInfo;

use super::{Overlay, Stored};

impl Overlay<'_> {
    /// Supposes that an account is like this; it exists from then on.
    pub(crate) fn suppose(
        &mut self,
        address: Address,
        change: impl FnOnce(&mut AccountInfo),
    ) -> Result<(), Lost> {
        let held = self.held(address)?;
        let info = held.info.get_or_insert_default();
        change(info);
        held.changed = true;
        Ok(())
    }

    /// Supposes other code.
    pub(crate) fn suppose_code(&mut self, address: Address, code: Bytes) -> Result<(), Lost> {
        let code =
            Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code));
        let hash = code.hash_slow();
        self.suppose(address, |info| {
            info.code_hash = hash;
            info.code = Some(code.clone());
        })?;
        if !code.is_empty() {
            self.created.insert(hash, code);
        }
        Ok(())
    }

    /// Supposes that these slots have these values, beside the others.
    pub(crate) fn suppose_slots(
        &mut self,
        address: Address,
        slots: impl IntoIterator<Item = (U256, U256)>,
    ) -> Result<(), Lost> {
        self.suppose(address, |_| {})?;
        let held = self.held(address)?;
        for (slot, value) in slots {
            held.slots.insert(slot, (value, true));
        }
        Ok(())
    }

    /// Supposes that these are all slots.
    pub(crate) fn suppose_storage(
        &mut self,
        address: Address,
        slots: impl IntoIterator<Item = (U256, U256)>,
    ) -> Result<(), Lost> {
        let held = self.held(address)?;
        held.stored = Stored::Void;
        held.slots.clear();
        self.suppose_slots(address, slots)
    }

    /// The hash of a block that never was, for those that follow.
    pub(crate) fn imagine(&mut self, number: u64, hash: B256) {
        self.imagined.get_or_insert_default().insert(number, hash);
    }

    /// Adds to a balance, as consensus does.
    pub(crate) fn pay(&mut self, address: Address, wei: U256) -> Result<(), Lost> {
        self.suppose(address, |info| {
            info.balance = info.balance.saturating_add(wei);
        })
    }
}
