//! Asking a contract something: a static call that changes nothing, inside or outside a transaction.
//!
//! The question runs on the state before the transaction that is being executed, or on the committed
//! head. It must not become a way around the checks: a contract whose check looked at a hidden
//! contract could answer its owner bit by bit. So the one that is asked sees the contract that the
//! question is about, itself, and what everybody in its domain may see; other contracts with a check
//! of their own, and other accounts, are absent.

use adapter::Lost;
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::bytecode::Bytecode;
use revm::context::result::{EVMError, ExecutionResult};
use revm::context::{Context, TxEnv};
use revm::handler::{EvmTr, FrameResult, Handler, MainnetContext, MainnetHandler};
use revm::interpreter::FrameInput;
use revm::interpreter::interpreter_action::FrameInit;
use revm::primitives::{KECCAK_EMPTY, TxKind};
use revm::state::AccountInfo;
use revm::{Database, MainContext};

use crate::access::{self, IMPLEMENTATION_SLOT, Record, Slots, Unchecked};
use crate::eyes::World;
use crate::guarded::{self, Guarded, Watch};
use crate::overlay::{Gone, Overlay};
use crate::system::{System, is_system};

/// The state as the one that is asked sees it.
struct Beneath<'x, 'a> {
    overlay: &'x mut Overlay<'a>,
    unchecked: Unchecked,
    /// What the question is about, and who answers.
    concerned: [Address; 2],
    implementation: Address,
    reader: Address,
    domain: u64,
}

impl Beneath<'_, '_> {
    fn sees(&mut self, address: &Address, info: &AccountInfo) -> Result<bool, Lost> {
        if info.code_hash == KECCAK_EMPTY {
            return Ok(*address == self.reader);
        }
        if is_system(address) || self.concerned.contains(address) || *address == self.implementation
        {
            return Ok(true);
        }
        let record = access::record(self.overlay, address)?;
        let free =
            !record.has(Record::DECLARED) && access::policy(self.overlay, address)?.is_none();
        let public = record.domain == 0 && self.unchecked == Unchecked::Public;
        let neighbour = record.domain != 0 && record.domain == self.domain;
        Ok(free && (public || neighbour))
    }
}

impl Database for Beneath<'_, '_> {
    type Error = Gone;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Gone> {
        let Some(info) = self.overlay.info(address)? else {
            return Ok(None);
        };
        Ok(self.sees(&address, &info)?.then_some(info))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Gone> {
        self.overlay.code_by_hash(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Gone> {
        self.overlay.storage(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Gone> {
        self.overlay.block_hash(number)
    }
}

impl Watch for Beneath<'_, '_> {
    fn enter(
        _: &mut MainnetContext<Self>,
        frame: &mut FrameInit,
    ) -> Result<Option<FrameResult>, Gone> {
        if let FrameInput::Call(inputs) = &mut frame.frame_input {
            inputs.is_static = true;
        }
        Ok(None)
    }
}

/// What `judge` answers to a question about `contract` for `reader`, and the gas that it took. `None`:
/// it did not return.
pub(crate) fn ask(
    overlay: &mut Overlay<'_>,
    world: &World,
    contract: &Address,
    judge: Address,
    reader: &Address,
    question: Bytes,
    gas: u64,
) -> Result<(Option<Bytes>, u64), Lost> {
    let implementation = overlay
        .storage(*contract, IMPLEMENTATION_SLOT)
        .map_err(|Gone(lost)| lost)?;
    let beneath = Beneath {
        unchecked: world.unchecked,
        concerned: [*contract, judge],
        implementation: Address::from_word(implementation.into()),
        reader: *reader,
        domain: access::record(overlay, contract)?.domain,
        overlay,
    };
    let context = Context::mainnet()
        .with_db(beneath)
        .with_block(world.block.clone())
        .with_cfg(world.cfg.clone());
    let system = System::new(world.cfg.spec, true, world.facts.clone());
    let mut evm = Guarded(guarded::evm(context, system));
    evm.ctx().tx = TxEnv {
        gas_limit: gas,
        kind: TxKind::Call(judge),
        data: question,
        ..TxEnv::default()
    };
    // No validation and no fees, as for the calls that the protocol itself makes.
    let mut handler = MainnetHandler::<_, EVMError<Gone>, _>::default();
    match handler.run_system_call(&mut evm) {
        Ok(result) => {
            let used = result.gas().total_gas_spent().min(gas);
            match result {
                ExecutionResult::Success { output, .. } => Ok((Some(output.into_data()), used)),
                _ => Ok((None, used)),
            }
        }
        Err(EVMError::Database(Gone(lost))) => Err(lost),
        Err(_) => Ok((None, gas)),
    }
}

impl Slots for Overlay<'_> {
    fn slot(&mut self, slot: U256) -> Result<U256, Lost> {
        self.storage(crate::system::POLICY, slot)
            .map_err(|Gone(lost)| lost)
    }
}
