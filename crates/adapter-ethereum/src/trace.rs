//! Watching a transaction run: what the EVM did, step by step or frame by frame.
//!
//! A [`Tracer`] sees the same execution as the network: the guarded EVM with its gate and its system
//! contracts, not one beside it. It changes nothing but one thing: a trace that grows beyond its budget
//! stops the execution, and [`Tracer::is_full`] tells.

mod frames;
mod steps;

use revm::context::result::{EVMError, ExecutionResult};
use revm::context::{FrameStack, TxEnv};
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::{
    EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, MainnetContext, MainnetHandler,
};
use revm::inspector::{InspectorEvmTr, InspectorHandler};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::LoopControl as _;
use revm::interpreter::{
    CallInputs, CallOutcome, CreateInputs, CreateOutcome, InstructionResult, Interpreter,
};
use revm::{Inspector, primitives::Log};

use crate::guarded::Guarded;
use crate::overlay::{Gone, Overlay};

pub(crate) use frames::{Frame, Frames, Kind};
pub(crate) use steps::{StepOptions, Steps};

use alloy_primitives::{Address, U256};

/// Bytes that one trace may come to, as JSON: half of the longest answer.
pub(crate) const TRACE_BYTES_MAX: usize = 16 << 20;

type Ctx<'a> = MainnetContext<Overlay<'a>>;

/// What is watched.
#[derive(Debug)]
pub(crate) enum Tracer {
    Steps(Box<Steps>),
    Frames(Box<Frames>),
}

impl Tracer {
    /// About how long it is as JSON.
    pub(crate) fn bytes(&self) -> usize {
        let budget = match self {
            Self::Steps(steps) => &steps.budget,
            Self::Frames(frames) => &frames.budget,
        };
        TRACE_BYTES_MAX.saturating_sub(budget.left)
    }

    /// The trace grew beyond its budget, and the execution was stopped: it tells nothing.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Steps(steps) => steps.budget.is_spent,
            Self::Frames(frames) => frames.budget.is_spent,
        }
    }
}

/// Bytes that are left for a trace.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    pub(crate) is_spent: bool,
}

impl Budget {
    pub(crate) fn new(left: usize) -> Self {
        Self {
            left,
            is_spent: false,
        }
    }

    /// False: there is no room for it.
    fn takes(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) if !self.is_spent => self.left = left,
            _ => self.is_spent = true,
        }
        !self.is_spent
    }
}

/// Why a frame ended, in the words that clients know from geth. `None`: it returned.
pub(crate) fn ended(result: InstructionResult) -> Option<&'static str> {
    use InstructionResult as R;
    Some(match result {
        _ if result.is_ok() => return None,
        R::Revert => "execution reverted",
        R::CallTooDeep => "max call depth exceeded",
        R::OutOfFunds => "insufficient balance for transfer",
        R::OutOfGas
        | R::MemoryOOG
        | R::MemoryLimitOOG
        | R::PrecompileOOG
        | R::InvalidOperandOOG
        | R::ReentrancySentryOOG => "out of gas",
        R::OpcodeNotFound | R::InvalidFEOpcode | R::NotActivated => "invalid opcode",
        R::CallNotAllowedInsideStatic | R::StateChangeDuringStaticCall => "write protection",
        R::InvalidJump => "invalid jump destination",
        R::StackUnderflow => "stack underflow",
        R::StackOverflow => "stack limit reached 1024",
        R::OutOfOffset => "return data out of bounds",
        R::CreateCollision => "contract address collision",
        R::CreateContractSizeLimit => "max code size exceeded",
        R::CreateInitCodeSizeLimit => "max initcode size exceeded",
        R::CreateContractStartingWithEF => "invalid code: must not begin with 0xef",
        R::NonceOverflow => "nonce uint64 overflow",
        R::PrecompileError => "precompile failed",
        _ => "execution stopped",
    })
}

impl<'a> Inspector<Ctx<'a>> for Tracer {
    fn step(&mut self, interpreter: &mut Interpreter, _: &mut Ctx<'a>) {
        if self.is_full() {
            interpreter.halt(InstructionResult::OutOfGas);
        } else if let Self::Steps(steps) = self {
            steps.before(interpreter);
        }
    }

    fn step_end(&mut self, interpreter: &mut Interpreter, _: &mut Ctx<'a>) {
        if let Self::Steps(steps) = self {
            let result = interpreter.bytecode.instruction_result();
            steps.after(interpreter, result.and_then(ended));
        }
    }

    fn log(&mut self, _: &mut Ctx<'a>, log: Log) {
        if let Self::Frames(frames) = self {
            frames.log(log);
        }
    }

    fn call(&mut self, context: &mut Ctx<'a>, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if let Self::Frames(frames) = self {
            frames.call(context, inputs);
        }
        None
    }

    fn call_end(&mut self, _: &mut Ctx<'a>, _: &CallInputs, outcome: &mut CallOutcome) {
        if let Self::Frames(frames) = self {
            frames.end(&outcome.result, None);
        }
    }

    fn create(
        &mut self,
        context: &mut Ctx<'a>,
        inputs: &mut CreateInputs,
    ) -> Option<CreateOutcome> {
        if let Self::Frames(frames) = self {
            frames.create(context, inputs);
        }
        None
    }

    fn create_end(&mut self, _: &mut Ctx<'a>, _: &CreateInputs, outcome: &mut CreateOutcome) {
        if let Self::Frames(frames) = self {
            frames.end(&outcome.result, outcome.address);
        }
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        if let Self::Frames(frames) = self {
            frames.selfdestruct(contract, target, value);
        }
    }
}

/// The guarded EVM with somebody who watches.
struct Traced<'e, 'a> {
    evm: &'e mut Guarded<Overlay<'a>>,
    tracer: &'e mut Tracer,
}

/// Runs one transaction on the EVM, watched.
pub(crate) fn run<'a>(
    evm: &mut Guarded<Overlay<'a>>,
    transaction: TxEnv,
    tracer: &mut Tracer,
) -> Result<ExecutionResult, EVMError<Gone>> {
    evm.0.ctx.tx = transaction;
    let mut traced = Traced { evm, tracer };
    MainnetHandler::<Traced<'_, 'a>, EVMError<Gone>, EthFrame<EthInterpreter>>::default()
        .inspect_run(&mut traced)
}

type Of<'a> = Guarded<Overlay<'a>>;

impl<'a> EvmTr for Traced<'_, 'a> {
    type Context = Ctx<'a>;
    type Instructions = <Of<'a> as EvmTr>::Instructions;
    type Precompiles = <Of<'a> as EvmTr>::Precompiles;
    type Frame = EthFrame<EthInterpreter>;

    fn all(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<Self::Frame>,
    ) {
        self.evm.all()
    }

    fn all_mut(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Self::Frame>,
    ) {
        self.evm.all_mut()
    }

    fn frame_init(
        &mut self,
        frame: <Self::Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        self.evm.frame_init(frame)
    }

    fn frame_run(
        &mut self,
    ) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        self.evm.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<Self::Context>> {
        self.evm.frame_return_result(result)
    }
}

impl<'a> InspectorEvmTr for Traced<'_, 'a> {
    type Inspector = Tracer;

    fn all_inspector(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<Self::Frame>,
        &Tracer,
    ) {
        let (context, instructions, precompiles, frames) = self.evm.all();
        (context, instructions, precompiles, frames, self.tracer)
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Self::Frame>,
        &mut Tracer,
    ) {
        let (context, instructions, precompiles, frames) = self.evm.all_mut();
        (context, instructions, precompiles, frames, self.tracer)
    }
}
