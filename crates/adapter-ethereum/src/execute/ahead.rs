//! Transactions executed ahead of their turn, and taken over in their turn if nothing that they read has
//! become different.
//!
//! What execution comes to depends on what is read through the overlay, on the batch and on the
//! transaction. So if every read would give the same in a transaction's turn, its results are those of its
//! turn, to the byte; if not, it is executed again. The system contracts know more of a transaction than
//! the state does: one that calls them is executed in its turn only.

use adapter::Lost;
use alloy_primitives::{Address, B256};
use revm::ExecuteEvm as _;
use revm::bytecode::opcode;
use revm::context::TxEnv;
use revm::context::result::ExecutionResult;
use revm::handler::MainnetContext;
use revm::interpreter::instructions::host;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::InputsTr as _;
use revm::interpreter::{Instruction, InstructionContext, InstructionExecResult};
use revm::state::EvmState;
use types::ActorId;

use super::Executor;
use crate::overlay::{Overlay, Reads};

/// What a transaction came to ahead of its turn.
#[derive(Debug)]
pub(crate) struct Ahead {
    reads: Reads,
    state: EvmState,
}

impl<'a> Executor<'a> {
    /// From now on the overlay is told who looks at a balance. Who gives of one, the gate tells it.
    pub(crate) fn prepare_ahead(&mut self) {
        debug_assert!(self.world.is_none() && self.tracer.is_none());
        let table = self.evm.0.instruction.instruction_table_mut();
        table[usize::from(opcode::BALANCE)] = Instruction::new(balance);
        table[usize::from(opcode::SELFBALANCE)] = Instruction::new(own_balance);
        table[usize::from(opcode::SELFDESTRUCT)] = Instruction::new(destroy);
    }

    /// Executes one transaction before its turn, and keeps what it did for those that follow here. `None`:
    /// only its turn can tell.
    pub(crate) fn ahead(
        &mut self,
        transaction: TxEnv,
        hash: &B256,
        actor: ActorId,
    ) -> Option<(ExecutionResult, Ahead)> {
        self.overlay().keep_reads();
        self.overlay().look_at_balance(transaction.caller);
        let began = self.begin(&transaction, hash, actor, &[]);
        let ran = began.ok().and_then(|_| {
            let result = self.transact(transaction);
            let state = self.evm.0.finalize();
            Some((result.ok()?, state))
        });
        let reads = self.overlay().take_reads();
        let (result, state) = ran?;
        if self.evm.0.precompiles.was_called() {
            return None;
        }
        self.overlay().commit(state.clone());
        Some((result, Ahead { reads, state }))
    }

    /// Takes over what a transaction did ahead of its turn, which is now. False: it must be executed.
    pub(crate) fn take_over(&mut self, ahead: Ahead) -> Result<bool, Lost> {
        let Ahead { reads, mut state } = ahead;
        let is_the_same = self.overlay().rebase(&reads, &mut state)?;
        if is_the_same {
            self.overlay().commit(state);
        }
        Ok(is_the_same)
    }
}

type On<'c, 'a> = InstructionContext<'c, MainnetContext<Overlay<'a>>, EthInterpreter>;

fn balance(on: On<'_, '_>) -> InstructionExecResult {
    if let Some(top) = on.interpreter.stack.top() {
        let address = Address::from_word((*top).into());
        on.host.journaled_state.database.look_at_balance(address);
    }
    host::balance(on)
}

fn own_balance(on: On<'_, '_>) -> InstructionExecResult {
    let own = on.interpreter.input.target_address();
    on.host.journaled_state.database.look_at_balance(own);
    host::selfbalance(on)
}

fn destroy(on: On<'_, '_>) -> InstructionExecResult {
    on.host.journaled_state.database.look_at_all_balances();
    host::selfdestruct(on)
}
