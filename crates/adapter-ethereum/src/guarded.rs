//! An EVM that asks its database before it enters a frame.
//!
//! Everything else is Ethereum's. Where the database has nothing to say, this costs one branch for
//! each call.

use revm::Database;
use revm::context::{ContextError, FrameStack};
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::instructions::EthInstructions;
use revm::handler::{
    EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, ItemOrResult, MainnetContext,
};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;

use crate::overlay::Gone;
use crate::system::System;

/// Ethereum's EVM with the system contracts among its precompiles.
pub(crate) type Evm<DB> = revm::context::Evm<
    MainnetContext<DB>,
    (),
    EthInstructions<EthInterpreter, MainnetContext<DB>>,
    System,
    EthFrame<EthInterpreter>,
>;

/// An EVM whose frames are made when they are needed: most transactions and calls take one, and each has
/// room for a stack of 32 KiB.
pub(crate) fn evm<DB: Watch>(ctx: MainnetContext<DB>, precompiles: System) -> Evm<DB> {
    let instruction = EthInstructions::new_mainnet_with_spec(ctx.cfg.spec);
    Evm {
        ctx,
        inspector: (),
        instruction,
        precompiles,
        frame_stack: FrameStack::new(),
    }
}

/// A database with a say in which frames are entered.
pub(crate) trait Watch: Database<Error = Gone> + Sized {
    /// Looks at a frame before it is entered, may change it, and may answer in its place.
    fn enter(
        context: &mut MainnetContext<Self>,
        frame: &mut FrameInit,
    ) -> Result<Option<FrameResult>, Gone>;
}

/// See the module's head.
pub(crate) struct Guarded<DB: Watch>(pub(crate) Evm<DB>);

type Parts<'a, DB> = (
    &'a MainnetContext<DB>,
    &'a EthInstructions<EthInterpreter, MainnetContext<DB>>,
    &'a System,
    &'a FrameStack<EthFrame<EthInterpreter>>,
);
type PartsMut<'a, DB> = (
    &'a mut MainnetContext<DB>,
    &'a mut EthInstructions<EthInterpreter, MainnetContext<DB>>,
    &'a mut System,
    &'a mut FrameStack<EthFrame<EthInterpreter>>,
);

impl<DB: Watch> EvmTr for Guarded<DB> {
    type Context = MainnetContext<DB>;
    type Instructions = EthInstructions<EthInterpreter, MainnetContext<DB>>;
    type Precompiles = System;
    type Frame = EthFrame<EthInterpreter>;

    #[inline]
    fn all(&self) -> Parts<'_, DB> {
        self.0.all()
    }

    #[inline]
    fn all_mut(&mut self) -> PartsMut<'_, DB> {
        self.0.all_mut()
    }

    #[inline]
    fn frame_init(
        &mut self,
        mut frame: <Self::Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        match DB::enter(&mut self.0.ctx, &mut frame).map_err(ContextError::Db)? {
            Some(result) => Ok(ItemOrResult::Result(result)),
            None => self.0.frame_init(frame),
        }
    }

    #[inline]
    fn frame_run(
        &mut self,
    ) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        self.0.frame_run()
    }

    #[inline]
    fn frame_return_result(
        &mut self,
        result: <Self::Frame as FrameTr>::FrameResult,
    ) -> Result<Option<<Self::Frame as FrameTr>::FrameResult>, ContextDbError<Self::Context>> {
        self.0.frame_return_result(result)
    }
}
