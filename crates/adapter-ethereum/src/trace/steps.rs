//! Struct logs: each instruction with the gas, the stack and what else was asked for.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use revm::bytecode::opcode::{self, OpCode};
use revm::interpreter::Interpreter;
use revm::interpreter::interpreter_types::{
    InputsTr as _, Jumps as _, MemoryTr as _, ReturnData as _,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Budget, TRACE_BYTES_MAX};

/// What is written of each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StepOptions {
    pub(crate) disable_stack: bool,
    pub(crate) disable_storage: bool,
    pub(crate) enable_memory: bool,
    pub(crate) enable_return_data: bool,
    /// Most steps that are written; 0: all of them.
    pub(crate) limit: u64,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Steps {
    options: StepOptions,
    /// JSON of the steps so far.
    pub(crate) written: Vec<Value>,
    pub(super) budget: Budget,
    /// Slots of each contract that were read or written.
    storage: BTreeMap<Address, BTreeMap<B256, B256>>,
    open: Option<Open>,
}

/// The instruction that runs.
#[derive(Debug)]
struct Open {
    step: Map<String, Value>,
    gas: u64,
    opcode: u8,
    /// The two uppermost words of the stack.
    top: [U256; 2],
}

impl Steps {
    pub(crate) fn new(options: StepOptions) -> Self {
        Self {
            options,
            written: Vec::new(),
            budget: Budget::new(TRACE_BYTES_MAX),
            storage: BTreeMap::new(),
            open: None,
        }
    }

    fn is_enough(&self) -> bool {
        self.options.limit != 0 && self.written.len() as u64 >= self.options.limit
    }

    pub(super) fn before(&mut self, interpreter: &Interpreter) {
        self.open = None;
        if self.is_enough() {
            return;
        }
        let stack = interpreter.stack.data();
        let memory = self
            .options
            .enable_memory
            .then(|| interpreter.memory.size());
        let returned = interpreter.return_data.buffer();
        let returned = self.options.enable_return_data.then_some(returned);
        // A name, five numbers, and hexadecimal words with quotes and a comma.
        let bytes =
            120 + if self.options.disable_stack {
                0
            } else {
                stack.len() * 69
            } + memory.unwrap_or(0) * 69 / 32
                + returned.map_or(0, |data| data.len() * 2);
        if !self.budget.takes(bytes) {
            return;
        }
        let opcode = interpreter.bytecode.opcode();
        let name = OpCode::new(opcode).map_or_else(
            || format!("opcode 0x{opcode:x} not defined"),
            |known| known.as_str().to_owned(),
        );
        let gas = interpreter.gas.remaining();
        let mut step = Map::new();
        step.insert("pc".into(), json!(interpreter.bytecode.pc()));
        step.insert("op".into(), json!(name));
        step.insert("gas".into(), json!(gas));
        step.insert("gasCost".into(), json!(0));
        step.insert("depth".into(), json!(interpreter.input.depth() + 1));
        if !self.options.disable_stack {
            let words: Vec<_> = stack.iter().map(|word| format!("{word:#x}")).collect();
            step.insert("stack".into(), json!(words));
        }
        if let Some(size) = memory.filter(|size| *size > 0) {
            let bytes = interpreter.memory.slice(0..size);
            let words: Vec<_> = bytes
                .chunks(32)
                .map(|word| format!("0x{:0<64}", hex::encode(word)))
                .collect();
            step.insert("memory".into(), json!(words));
        }
        if let Some(data) = returned.filter(|data| !data.is_empty()) {
            step.insert(
                "returnData".into(),
                json!(format!("0x{}", hex::encode(data))),
            );
        }
        let at = |n: usize| stack.iter().rev().nth(n).copied().unwrap_or_default();
        self.open = Some(Open {
            step,
            gas,
            opcode,
            top: [at(0), at(1)],
        });
    }

    pub(super) fn after(&mut self, interpreter: &Interpreter, error: Option<&str>) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let cost = open.gas.saturating_sub(interpreter.gas.remaining());
        open.step.insert("gasCost".into(), json!(cost));
        if let Some(error) = error {
            open.step.insert("error".into(), json!(error));
        } else if !self.options.disable_storage {
            let [slot, value] = open.top;
            let value = match open.opcode {
                opcode::SLOAD => interpreter.stack.data().last().copied(),
                opcode::SSTORE => Some(value),
                _ => None,
            };
            if let Some(value) = value {
                let slots = self
                    .storage
                    .entry(interpreter.input.target_address())
                    .or_default();
                slots.insert(slot.into(), value.into());
                if !self.budget.takes(slots.len() * 140) {
                    return;
                }
                open.step.insert("storage".into(), json!(slots));
            }
        }
        self.written.push(Value::Object(open.step));
    }
}
