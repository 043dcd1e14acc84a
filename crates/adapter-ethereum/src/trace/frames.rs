//! Call frames: who called whom with what, what came back, and the logs of each.

use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256, address, b256};
use revm::context::JournalTr as _;
use revm::context_interface::CreateScheme;
use revm::interpreter::{
    CallInputs, CallScheme, CreateInputs, InstructionResult, InterpreterResult,
};

use super::{Budget, Ctx, TRACE_BYTES_MAX, ended};

/// Emitter of the logs that stand for moved ether (`traceTransfers` of `eth_simulateV1`).
const ETHER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `Transfer(address,address,uint256)`.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// What a frame is, by the instruction that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    CallCode,
    DelegateCall,
    StaticCall,
    Create,
    Create2,
    SelfDestruct,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Call => "CALL",
            Self::CallCode => "CALLCODE",
            Self::DelegateCall => "DELEGATECALL",
            Self::StaticCall => "STATICCALL",
            Self::Create => "CREATE",
            Self::Create2 => "CREATE2",
            Self::SelfDestruct => "SELFDESTRUCT",
        }
    }
}

/// A log and where it stood.
#[derive(Debug, Clone)]
pub(crate) struct FrameLog {
    pub(crate) log: Log,
    /// Number within the transaction, those of failed frames counted.
    pub(crate) index: u64,
    /// How many calls its frame had made before.
    pub(crate) position: usize,
}

/// One frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) from: Address,
    pub(crate) to: Option<Address>,
    pub(crate) value: Option<U256>,
    pub(crate) gas: u64,
    pub(crate) gas_used: u64,
    pub(crate) input: Bytes,
    pub(crate) output: Bytes,
    pub(crate) error: Option<&'static str>,
    pub(crate) is_precompile: bool,
    pub(crate) calls: Vec<Frame>,
    pub(crate) logs: Vec<FrameLog>,
}

/// Which logs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfers {
    Ignore,
    /// As logs of their own.
    Log,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Frames {
    open: Vec<Frame>,
    root: Option<Frame>,
    transfers: Transfers,
    index: u64,
    pub(crate) budget: Budget,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Self::with(false, 0, TRACE_BYTES_MAX)
    }

    /// Moved ether as logs or not, the number of the first log, and how many bytes it may come to.
    pub(crate) fn with(transfers: bool, first_log: u64, bytes_max: usize) -> Self {
        Self {
            open: Vec::new(),
            root: None,
            transfers: if transfers {
                Transfers::Log
            } else {
                Transfers::Ignore
            },
            index: first_log,
            budget: Budget::new(bytes_max),
        }
    }

    /// The outermost frame, once the transaction ran; `None` if it never entered one.
    pub(crate) fn into_root(self) -> Option<Frame> {
        self.root
    }

    /// Number of the next log.
    pub(crate) fn next_log(&self) -> u64 {
        self.index
    }

    fn enter(&mut self, frame: Frame) {
        self.budget.takes(400 + 2 * frame.input.len());
        let transfer = frame
            .value
            .filter(|value| !value.is_zero() && frame.kind != Kind::DelegateCall);
        let (from, to) = (frame.from, frame.to);
        self.open.push(frame);
        if let (Some(value), Some(to), Transfers::Log) = (transfer, to, self.transfers) {
            let topics = vec![TRANSFER, from.into_word(), to.into_word()];
            let data = Bytes::from(value.to_be_bytes::<32>());
            self.push(Log {
                address: ETHER,
                data: LogData::new_unchecked(topics, data),
            });
        }
    }

    fn push(&mut self, log: Log) {
        let bytes = 300 + 70 * log.data.topics().len() + 2 * log.data.data.len();
        if !self.budget.takes(bytes) {
            return;
        }
        let index = self.index;
        self.index += 1;
        if let Some(frame) = self.open.last_mut() {
            frame.logs.push(FrameLog {
                log,
                index,
                position: frame.calls.len(),
            });
        }
    }

    pub(super) fn log(&mut self, log: Log) {
        self.push(log);
    }

    pub(super) fn call(&mut self, context: &Ctx<'_>, inputs: &CallInputs) {
        let borrowed = matches!(
            inputs.scheme,
            CallScheme::DelegateCall | CallScheme::CallCode
        );
        self.enter(Frame {
            kind: match inputs.scheme {
                CallScheme::Call => Kind::Call,
                CallScheme::CallCode => Kind::CallCode,
                CallScheme::DelegateCall => Kind::DelegateCall,
                CallScheme::StaticCall => Kind::StaticCall,
            },
            // Borrowed code is called by the contract that it runs for.
            from: if borrowed {
                inputs.target_address
            } else {
                inputs.caller
            },
            to: Some(inputs.bytecode_address),
            value: (inputs.scheme != CallScheme::StaticCall).then(|| inputs.value.get()),
            gas: inputs.gas_limit,
            gas_used: 0,
            input: inputs.input.bytes(context),
            output: Bytes::new(),
            error: None,
            is_precompile: context
                .journaled_state
                .precompile_addresses()
                .contains(&inputs.bytecode_address),
            calls: Vec::new(),
            logs: Vec::new(),
        });
    }

    pub(super) fn create(&mut self, context: &mut Ctx<'_>, inputs: &CreateInputs) {
        let caller = inputs.caller();
        // A state that is gone is noticed when the frame is made.
        let nonce = context
            .journaled_state
            .load_account(caller)
            .map_or(0, |account| account.data.info.nonce);
        self.enter(Frame {
            kind: match inputs.scheme() {
                CreateScheme::Create2 { .. } => Kind::Create2,
                _ => Kind::Create,
            },
            from: caller,
            to: Some(inputs.created_address(nonce)),
            value: Some(inputs.value()),
            gas: inputs.gas_limit(),
            gas_used: 0,
            input: inputs.init_code().clone(),
            output: Bytes::new(),
            error: None,
            is_precompile: false,
            calls: Vec::new(),
            logs: Vec::new(),
        });
    }

    pub(super) fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.enter(Frame {
            kind: Kind::SelfDestruct,
            from: contract,
            to: Some(target),
            value: Some(value),
            gas: 0,
            gas_used: 0,
            input: Bytes::new(),
            output: Bytes::new(),
            error: None,
            is_precompile: false,
            calls: Vec::new(),
            logs: Vec::new(),
        });
        self.close();
    }

    pub(super) fn end(&mut self, result: &InterpreterResult, created: Option<Address>) {
        let Some(frame) = self.open.last_mut() else {
            return;
        };
        frame.gas_used = result.gas.total_gas_spent().min(frame.gas);
        frame.error = ended(result.result);
        if frame.error.is_none() || result.result == InstructionResult::Revert {
            frame.output = result.output.clone();
        }
        if frame.error.is_some() {
            drop_logs(frame);
        } else if created.is_some() {
            frame.to = created;
        }
        let bytes = 2 * frame.output.len();
        self.budget.takes(bytes);
        self.close();
    }

    fn close(&mut self) {
        let frame = self.open.pop().expect("entered before");
        match self.open.last_mut() {
            Some(parent) => parent.calls.push(frame),
            None => self.root = Some(frame),
        }
    }
}

/// What failed emitted nothing, nor did what it called.
fn drop_logs(frame: &mut Frame) {
    frame.logs.clear();
    frame.calls.iter_mut().for_each(drop_logs);
}

impl Frame {
    /// All logs in the order in which they were emitted.
    pub(crate) fn all_logs(&self) -> Vec<&FrameLog> {
        let mut all = Vec::new();
        self.gather(&mut all);
        all.sort_by_key(|log| log.index);
        all
    }

    fn gather<'f>(&'f self, into: &mut Vec<&'f FrameLog>) {
        into.extend(&self.logs);
        self.calls.iter().for_each(|call| call.gather(into));
    }
}
