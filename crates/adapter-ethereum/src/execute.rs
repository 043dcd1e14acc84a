//! Running transactions: one EVM for a whole batch.
//!
//! Building an EVM costs more than a plain transfer, so a batch shares one: its frames, its
//! precompiles and the [`Overlay`] below live as long as the batch. Every transaction is still
//! closed by itself, so that a batch equals its transactions one by one.

mod ahead;

use std::sync::Arc;

use adapter::{Answer, Env, Exec, ExternalCall, Kind, Lost, Reject, View};
use alloy_primitives::{Address, B256, U256, keccak256};
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::transaction::AuthorizationTr;
use revm::handler::{Handler, MainnetHandler};
use revm::state::EvmState;
use revm::{Database, ExecuteEvm, MainContext, SystemCallEvm};
use types::{ActorId, Height};

use crate::access::{self, AccessSettings, CHECKS_GAS};
use crate::block;
use crate::checks::Reader;
use crate::codes::Codes;
use crate::eyes::{Eyes, Mode, Who, World, settle};
use crate::guarded::{self, Guarded};
use crate::overlay::{Changes, Gone, Overlay};
use crate::principal::Roles;
use crate::settings::{Fork, Rules};
use crate::system::{self, Facts, System};
use crate::trace::{self, Tracer};
use crate::veil;

pub(crate) use ahead::Ahead;

/// Gas of checks that every transaction has, besides those that it is charged for: a hundred and more.
const EXECUTION_CHECKS_GAS: u64 = 1_000_000;

/// What the EVM is told about the block.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) block: BlockEnv,
    /// Secret of the batch; every transaction gets its own PREVRANDAO from it.
    entropy: Option<[u8; 32]>,
    height: Height,
    time_ms: u64,
}

impl Environment {
    /// Of the batch that is being made.
    pub(crate) fn of_batch(exec: &dyn Exec, rules: &Rules) -> Result<Self, Lost> {
        Self::of_env(exec.view(), exec.env(), rules)
    }

    /// Of a batch whose parent's state is `view`, or that state while the batch is being made.
    pub(crate) fn of_env(view: &dyn View, env: &Env, rules: &Rules) -> Result<Self, Lost> {
        let timestamp = block::timestamp(view, env.height, env.time.0)?;
        let mut environment = Self::new(rules, env.height, timestamp, Some(env.entropy));
        environment.time_ms = env.time.0;
        Ok(environment)
    }

    /// Of a block that never was.
    pub(crate) fn of_block(block: BlockEnv) -> Self {
        Self {
            height: Height(block.number.saturating_to()),
            time_ms: block.timestamp.saturating_to::<u64>().saturating_mul(1000),
            block,
            entropy: None,
        }
    }

    /// Of a call on committed state: as if in the latest block. Nothing random is shown.
    pub(crate) fn of_call(view: &dyn View, rules: &Rules, timestamp: u64) -> Self {
        Self::new(rules, view.height(), timestamp, None)
    }

    fn new(rules: &Rules, height: Height, timestamp: u64, entropy: Option<[u8; 32]>) -> Self {
        let Some(replay) = &rules.replay else {
            let block = BlockEnv {
                number: U256::from(height.0),
                beneficiary: Address::ZERO,
                timestamp: U256::from(timestamp),
                gas_limit: rules.gas_limit,
                basefee: 0,
                difficulty: U256::ZERO,
                prevrandao: Some(B256::ZERO),
                blob_excess_gas_and_price: Some(BlobExcessGasAndPrice {
                    excess_blob_gas: 0,
                    blob_gasprice: 1,
                }),
                slot_num: 0,
            };
            return Self {
                block,
                entropy,
                height,
                time_ms: timestamp.saturating_mul(1000),
            };
        };
        let merged = rules.fork >= Fork::Paris;
        let blob =
            (rules.fork >= Fork::Cancun).then(|| match replay.blob_base_fee_update_fraction {
                0 => {
                    BlobExcessGasAndPrice::new_with_spec(replay.excess_blob_gas, rules.fork.spec())
                }
                fraction => BlobExcessGasAndPrice::new(replay.excess_blob_gas, fraction),
            });
        let block = BlockEnv {
            number: U256::from(replay.number),
            beneficiary: replay.coinbase,
            timestamp: U256::from(replay.timestamp),
            gas_limit: rules.gas_limit,
            basefee: replay.base_fee_per_gas,
            difficulty: if merged {
                U256::ZERO
            } else {
                replay.difficulty
            },
            prevrandao: merged.then_some(replay.prev_randao),
            blob_excess_gas_and_price: blob,
            slot_num: 0,
        };
        Self {
            block,
            entropy: None,
            height,
            time_ms: timestamp.saturating_mul(1000),
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            actor: ActorId([0; 32]),
            hash: B256::ZERO,
            entropy: self.entropy,
            height: self.height.0,
            time_ms: self.time_ms,
        }
    }

    /// PREVRANDAO of one transaction: nobody outside the enclaves knows it before execution.
    fn randao(&self, hash: &B256) -> Option<B256> {
        self.entropy.map(|entropy| {
            keccak256(
                [
                    b"coco ethereum prevrandao v1".as_slice(),
                    &entropy,
                    hash.as_slice(),
                ]
                .concat(),
            )
        })
    }
}

fn configuration(rules: &Rules) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(rules.fork.spec());
    cfg.chain_id = rules.chain_id;
    if let Some(replay) = &rules.replay {
        if replay.blob_base_fee_update_fraction != 0 {
            cfg.blob_base_fee_update_fraction = Some(replay.blob_base_fee_update_fraction);
        }
        // EIP-4844, EIP-7691, EIP-7594.
        cfg.max_blobs_per_tx = Some(if rules.fork == Fork::Prague { 9 } else { 6 });
    }
    cfg
}

/// Where the checks of a confidential network run.
pub(crate) fn world_of(rules: &Rules, access: &AccessSettings, environment: &Environment) -> World {
    World {
        unchecked: access.unchecked,
        cfg: configuration(rules),
        block: environment.block.clone(),
        // A check must not draw what a transaction will draw.
        facts: Facts {
            entropy: None,
            ..environment.facts()
        },
    }
}

/// Why a transaction was not executed.
#[derive(Debug)]
pub(crate) enum Refusal {
    Rejected(Reject),
    /// It needs an answer from outside.
    Suspended(Box<ExternalCall>),
    Lost(Lost),
}

impl From<Lost> for Refusal {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// Whose transaction it is, and who brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) account: Address,
    pub(crate) actor: ActorId,
}

/// The roles that the sender's actor gave to its account.
fn granted(overlay: &mut Overlay<'_>, sender: &Sender) -> Result<Roles, Lost> {
    let mut slot = |which| {
        let place = access::place(which, &[sender.account.into_word()]);
        let found = overlay.storage(system::IDENTITY, place);
        found.map_err(|Gone(lost)| lost)
    };
    if slot(1)? != U256::from_be_bytes(sender.actor.0) {
        return Ok(Roles::default());
    }
    let [low, ..] = slot(2)?.into_limbs();
    Ok(Roles(low as u32).granted()) // the low half is meant
}

/// An EVM over a state, with an overlay that gathers what its transactions did.
pub(crate) struct Executor<'a> {
    evm: Guarded<Overlay<'a>>,
    environment: Environment,
    /// Of a confidential network.
    world: Option<Arc<World>>,
    access: Option<&'a AccessSettings>,
    /// Who watches the transactions that follow.
    pub(crate) tracer: Option<Tracer>,
    /// If it is there, what the last transaction loaded and changed is kept in it.
    pub(crate) touched: Option<EvmState>,
}

impl<'a> Executor<'a> {
    pub(crate) fn new(
        view: &'a dyn View,
        codes: &'a Codes,
        rules: &'a Rules,
        environment: Environment,
    ) -> Self {
        Self::configured(view, codes, rules, environment, |_| {})
    }

    /// An executor for simulations, which relax some checks.
    pub(crate) fn configured(
        view: &'a dyn View,
        codes: &'a Codes,
        rules: &'a Rules,
        environment: Environment,
        relax: impl FnOnce(&mut CfgEnv),
    ) -> Self {
        let mut cfg = configuration(rules);
        relax(&mut cfg);
        let facts = environment.facts();
        let access = rules.access();
        let world = access.map(|access| {
            let mut world = world_of(rules, access, &environment);
            world.cfg = cfg.clone();
            Arc::new(world)
        });
        let context = Context::mainnet()
            .with_db(Overlay::new(view, codes, rules))
            .with_block(environment.block.clone())
            .with_cfg(cfg);
        let system = System::new(rules.fork.spec(), rules.replay.is_none(), facts);
        let mut evm = guarded::evm(context, system);
        if world.is_some() {
            veil::draw(&mut evm);
        }
        Self {
            evm: Guarded(evm),
            environment,
            world,
            access,
            tracer: None,
            touched: None,
        }
    }

    /// What follows runs under a configuration changed like this.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut CfgEnv)) {
        change(&mut self.evm.0.ctx.cfg);
    }

    /// What follows runs in another block.
    pub(crate) fn enter_block(&mut self, block: BlockEnv) {
        self.environment = Environment::of_block(block.clone());
        self.evm.0.precompiles.facts = self.environment.facts();
        self.evm.0.ctx.block = block;
    }

    /// The block that it runs in.
    pub(crate) fn block(&self) -> &BlockEnv {
        &self.evm.0.ctx.block
    }

    /// The precompiles, which simulations move.
    pub(crate) fn system_contracts(&mut self) -> &mut System {
        &mut self.evm.0.precompiles
    }

    /// True if one of Ethereum's precompiles is there.
    pub(crate) fn is_precompile(&self, address: &Address) -> bool {
        self.evm.0.precompiles.is_precompile(address)
    }

    /// The state below, with what was done so far.
    pub(crate) fn overlay(&mut self) -> &mut Overlay<'a> {
        &mut self.evm.0.ctx.journaled_state.database
    }

    fn transact(&mut self, transaction: TxEnv) -> Result<ExecutionResult, EVMError<Gone>> {
        if let Some(tracer) = &mut self.tracer {
            return trace::run(&mut self.evm, transaction, tracer);
        }
        self.evm.0.ctx.tx = transaction;
        MainnetHandler::default().run(&mut self.evm)
    }

    /// The eyes of the one who sends this transaction, or simulates sending it.
    fn eyes(
        &mut self,
        mode: Mode,
        sender: Sender,
        transaction: &TxEnv,
    ) -> Result<Option<Box<Eyes>>, Lost> {
        let (Some(world), Some(access)) = (self.world.clone(), self.access) else {
            return Ok(None);
        };
        let Sender { account, actor } = sender;
        let reader = Reader {
            account,
            actor,
            roles: access.roles(&actor).with(granted(self.overlay(), &sender)?),
        };
        let signers = transaction
            .authorization_list
            .iter()
            .filter_map(AuthorizationTr::authority);
        let who = Who {
            readers: vec![reader],
            own: signers.chain([account]).collect(),
        };
        let mut eyes = Eyes::new(world, mode, who);
        if mode == Mode::Execution {
            // A cheap transaction must not have the network run expensive checks.
            eyes.fuel = transaction
                .gas_limit
                .clamp(EXECUTION_CHECKS_GAS, CHECKS_GAS);
        }
        Ok(Some(Box::new(eyes)))
    }

    /// A session without an actor's certificate submits for the actor to which the account is bound.
    fn submitter(&mut self, actor: ActorId, account: &Address) -> Result<ActorId, Lost> {
        if actor != ActorId::ZERO || !self.evm.0.precompiles.is_enabled() {
            return Ok(actor);
        }
        let place = access::place(1, &[account.into_word()]);
        let found = self.overlay().storage(system::IDENTITY, place);
        found
            .map(|word| ActorId(word.to_be_bytes()))
            .map_err(|Gone(lost)| lost)
    }

    /// Executes one transaction that `actor` submitted and keeps what it did. `answers` are those of systems
    /// outside that it has called.
    pub(crate) fn run(
        &mut self,
        transaction: TxEnv,
        hash: &B256,
        actor: ActorId,
        answers: &[Answer],
    ) -> Result<ExecutionResult, Refusal> {
        let result = self.apply_answered(transaction, hash, actor, answers);
        result.map_err(|error| match self.evm.0.precompiles.wanted() {
            Some(call) => Refusal::Suspended(Box::new(call)),
            None => refusal(error),
        })
    }

    /// As [`Executor::run`] of one that has called nobody, with the EVM's own error.
    pub(crate) fn apply(
        &mut self,
        transaction: TxEnv,
        hash: &B256,
        actor: ActorId,
    ) -> Result<ExecutionResult, EVMError<Gone>> {
        self.apply_answered(transaction, hash, actor, &[])
    }

    /// Another transaction begins. Gives who submits it.
    fn begin(
        &mut self,
        transaction: &TxEnv,
        hash: &B256,
        actor: ActorId,
        answers: &[Answer],
    ) -> Result<ActorId, Lost> {
        if let Some(randao) = self.environment.randao(hash) {
            self.evm.0.ctx.block.prevrandao = Some(randao);
        }
        self.overlay().eyes = None;
        let actor = self.submitter(actor, &transaction.caller)?;
        self.evm.0.precompiles.begin(hash, actor);
        self.evm.0.precompiles.answered(answers);
        Ok(actor)
    }

    fn apply_answered(
        &mut self,
        transaction: TxEnv,
        hash: &B256,
        actor: ActorId,
        answers: &[Answer],
    ) -> Result<ExecutionResult, EVMError<Gone>> {
        let gone = |lost| EVMError::Database(Gone(lost));
        let actor = self
            .begin(&transaction, hash, actor, answers)
            .map_err(gone)?;
        let sender = Sender {
            account: transaction.caller,
            actor,
        };
        let eyes = self.eyes(Mode::Execution, sender, &transaction);
        self.overlay().eyes = eyes.map_err(gone)?;
        let gas_limit = transaction.gas_limit;
        let result = self.transact(transaction);
        let state = self.evm.0.finalize();
        let mut result = result?;
        system::pad(&mut result, self.evm.0.precompiles.padding(), gas_limit);
        if let Some(touched) = &mut self.touched {
            touched.clone_from(&state);
        }
        let overlay = self.overlay();
        overlay.commit(state);
        if let Some(eyes) = overlay.eyes.take() {
            let upgraded = std::mem::take(&mut overlay.upgraded);
            settle(overlay, &eyes, &upgraded).map_err(gone)?;
        }
        Ok(result)
    }

    /// Executes on behalf of `actor` and forgets.
    pub(crate) fn simulate(
        &mut self,
        transaction: TxEnv,
        actor: ActorId,
    ) -> Result<ExecutionResult, Refusal> {
        self.evm.0.precompiles.begin(&B256::ZERO, actor);
        if let Some(eyes) = &mut self.overlay().eyes {
            eyes.created.clear();
        }
        let gas_limit = transaction.gas_limit;
        let result = self.transact(transaction);
        let state = self.evm.0.finalize();
        let mut result = result.map_err(refusal)?;
        if let Some(touched) = &mut self.touched {
            *touched = state;
        }
        system::pad(&mut result, self.evm.0.precompiles.padding(), gas_limit);
        Ok(result)
    }

    /// From now on simulations see what the sender sees.
    pub(crate) fn look(&mut self, sender: Sender, transaction: &TxEnv) -> Result<(), Lost> {
        self.overlay().eyes = self.eyes(Mode::Simulation, sender, transaction)?;
        Ok(())
    }

    /// True if a simulation finds code there.
    pub(crate) fn finds_code(&mut self, address: Address) -> Result<bool, Lost> {
        let info = self.overlay().basic(address).map_err(|Gone(lost)| lost)?;
        Ok(info.is_some_and(|info| !info.is_empty_code_hash()))
    }

    /// A call that the protocol itself makes. One to an absent contract does nothing.
    pub(crate) fn system(&mut self, contract: Address, data: Vec<u8>) -> Result<(), Lost> {
        let result = self.evm.0.system_call_one(contract, data.into());
        let mut state = self.evm.0.finalize();
        match result {
            Ok(_) => {
                // The caller of a system call is not touched by it (EIP-4788).
                state.remove(&revm::handler::SYSTEM_ADDRESS);
                self.evm.0.ctx.journaled_state.database.commit(state);
                Ok(())
            }
            Err(EVMError::Database(Gone(lost))) => Err(lost),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.evm.0.ctx.journaled_state.database.into_changes()
    }
}

/// In the words that clients know from geth.
pub(crate) fn refusal(error: EVMError<Gone>) -> Refusal {
    let invalid = |text: String| Refusal::Rejected(Reject::new(Kind::Invalid, text));
    match error {
        EVMError::Database(Gone(lost)) => Refusal::Lost(lost),
        EVMError::Transaction(reason) => match reason {
            InvalidTransaction::NonceTooHigh { tx, state } => Refusal::Rejected(Reject::new(
                Kind::Later,
                format!("nonce too high: next nonce {state}, tx nonce {tx}"),
            )),
            InvalidTransaction::NonceTooLow { tx, state } => {
                invalid(format!("nonce too low: next nonce {state}, tx nonce {tx}"))
            }
            InvalidTransaction::LackOfFundForMaxFee { fee, balance } => invalid(format!(
                "insufficient funds for gas * price + value: balance {balance}, tx cost {fee}"
            )),
            InvalidTransaction::CallGasCostMoreThanGasLimit {
                initial_gas,
                gas_limit,
            } => invalid(format!(
                "intrinsic gas too low: gas {gas_limit}, minimum needed {initial_gas}"
            )),
            InvalidTransaction::GasFloorMoreThanGasLimit {
                gas_floor,
                gas_limit,
            } => invalid(format!(
                "insufficient gas for floor data gas cost: gas {gas_limit}, minimum needed {gas_floor}"
            )),
            InvalidTransaction::CreateInitCodeSizeLimit => {
                invalid("max initcode size exceeded: limit 49152".into())
            }
            InvalidTransaction::RejectCallerWithCode => invalid("sender not an eoa".into()),
            other => invalid(other.to_string()),
        },
        other => Refusal::Rejected(Reject::new(Kind::Fault, format!("the EVM failed: {other}"))),
    }
}
