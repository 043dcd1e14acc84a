//! Code that may be called and not read: instructions that read code find a system contract's instead.
//!
//! Solidity tests for code before it calls, so such a contract must have some. It shows one byte, that
//! of [`crate::system::CODE_SHOWN`], in all three instructions alike.

use alloy_primitives::{Address, U256};
use revm::bytecode::opcode;
use revm::handler::MainnetContext;
use revm::interpreter::instructions::host;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::InputsTr as _;
use revm::interpreter::{Instruction, InstructionContext, InstructionExecResult};

use crate::guarded::Evm;
use crate::overlay::Overlay;
use crate::system::POLICY;

type On<'c, 'a> = InstructionContext<'c, MainnetContext<Overlay<'a>>, EthInterpreter>;

/// Replaces the three instructions.
pub(crate) fn draw(evm: &mut Evm<Overlay<'_>>) {
    let instructions = &mut evm.instruction;
    let table = instructions.instruction_table_mut();
    table[usize::from(opcode::EXTCODESIZE)] = Instruction::new(size);
    table[usize::from(opcode::EXTCODEHASH)] = Instruction::new(hash);
    table[usize::from(opcode::EXTCODECOPY)] = Instruction::new(copy);
}

fn size(mut on: On<'_, '_>) -> InstructionExecResult {
    veil(&mut on);
    host::extcodesize(on)
}

fn hash(mut on: On<'_, '_>) -> InstructionExecResult {
    veil(&mut on);
    host::extcodehash(on)
}

fn copy(mut on: On<'_, '_>) -> InstructionExecResult {
    veil(&mut on);
    host::extcodecopy(on)
}

/// Puts a system contract's address in the place of one whose code may not be read.
fn veil(on: &mut On<'_, '_>) {
    let own = on.interpreter.input.target_address();
    let Some(top) = on.interpreter.stack.top() else {
        return;
    };
    let address = Address::from_word((*top).into());
    let overlay = &mut on.host.journaled_state.database;
    // A state that is gone is noticed by the instruction itself.
    if address != own && !overlay.reads_code(&address).unwrap_or(true) {
        *top = U256::from_be_bytes(POLICY.into_word().0);
    }
}
