//! System contracts: what a contract may ask of the network that runs it.
//!
//! Seven fixed addresses, served by the machine itself where Ethereum serves its precompiles, so any
//! contract calls them through an ordinary interface (`contracts/src/system`). They see nothing but
//! the batch (entropy, height, time), the transaction (hash, submitting actor) and the state, so a
//! replay gives what the leader gave. What they keep lies in their own storage, like any contract's.
//!
//! A network that replays foreign blocks has none of them. A transaction that calls none pays nothing.

mod abi;
mod domains;
mod external;
mod identity;
mod ledger;
mod logs;
mod padding;
mod policy;
mod random;

use std::collections::BTreeMap;

use adapter::{Answer, ExternalCall};
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::context::{Cfg, ContextError, ContextTr, JournalTr};
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::{CallInputs, Gas, InstructionResult, InterpreterResult};
use revm::primitives::AddressSet;
use revm::primitives::hardfork::SpecId;
use types::ActorId;

pub(crate) use identity::{entry, token_is_revoked, version};
pub(crate) use ledger::NETWORK_SLOT;
pub use logs::reader as log_reader;
pub(crate) use padding::pad;
pub(crate) use policy::policy_slot;

const fn at(n: u8) -> Address {
    let mut bytes = [0; 20];
    bytes[16] = 0xc0;
    bytes[17] = 0xc0;
    bytes[19] = n;
    Address::new(bytes)
}

/// Random numbers that nobody outside the enclaves can foresee.
pub const RANDOM: Address = at(1);
/// Accounts, the actors they belong to, and who submitted.
pub const IDENTITY: Address = at(2);
/// Where in the ledger this runs.
pub const LEDGER: Address = at(3);
/// Calls of systems outside.
pub const EXTERNAL: Address = at(4);
/// Access policies of contracts that have none of their own.
pub const POLICY: Address = at(5);
/// Logs for named readers.
pub const EMIT_TO: Address = at(6);
/// Gas that says nothing.
pub const PAD_GAS: Address = at(7);

/// All of them.
pub const ADDRESSES: [Address; 7] = [RANDOM, IDENTITY, LEDGER, EXTERNAL, POLICY, EMIT_TO, PAD_GAS];

/// Code of a system contract, so that Solidity's test for code finds some. It never runs.
pub(crate) const CODE_SHOWN: &[u8] = &[0xfe];

/// What is true of the batch and of the transaction that runs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Who submitted; [`ActorId`] of zeros if nobody did.
    pub(crate) actor: ActorId,
    pub(crate) hash: B256,
    /// Of the batch. `None`: a simulation.
    pub(crate) entropy: Option<[u8; 32]>,
    pub(crate) height: u64,
    pub(crate) time_ms: u64,
}

/// What the calls of one transaction left outside the state.
#[derive(Debug, Default)]
struct Turn {
    draws: u64,
    /// Gas used is shown rounded up to a multiple of this.
    pad: u64,
    /// Calls of systems outside.
    calls: usize,
    /// What systems outside answered to the transaction before, in order.
    answers: Vec<Answer>,
    /// The call whose answer is not there.
    wanted: Option<ExternalCall>,
    /// A system contract was called.
    called: bool,
}

/// Ethereum's precompiles and ours.
#[derive(Debug)]
pub(crate) struct System {
    ethereum: EthPrecompiles,
    enabled: bool,
    pub(crate) facts: Facts,
    turn: Turn,
    /// Precompiles that a simulation put elsewhere: which one answers at an address; `None`: none does.
    pub(crate) moved: BTreeMap<Address, Option<Address>>,
}

/// What a call comes to, and what it cost.
struct Done {
    gas: u64,
    result: Result<Bytes, Refused>,
}

/// A revert, in words.
enum Refused {
    Because(&'static str),
    /// With an error of the contract's own.
    With(Bytes),
    /// The transaction cannot go on: it waits for a system outside.
    Suspended,
    /// The state is gone; the error was left in the context.
    Gone,
}

impl From<&'static str> for Refused {
    fn from(reason: &'static str) -> Self {
        Self::Because(reason)
    }
}

impl System {
    pub(crate) fn new(spec: SpecId, enabled: bool, facts: Facts) -> Self {
        Self {
            ethereum: EthPrecompiles::new(spec),
            enabled,
            facts,
            turn: Turn::default(),
            moved: BTreeMap::new(),
        }
    }

    /// True if one of Ethereum's precompiles is there.
    pub(crate) fn is_precompile(&self, address: &Address) -> bool {
        self.ethereum.precompiles.contains(address)
    }

    /// False where foreign blocks are replayed.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Another transaction begins.
    pub(crate) fn begin(&mut self, hash: &B256, actor: ActorId) {
        self.facts.hash = *hash;
        self.facts.actor = actor;
        self.turn = Turn::default();
    }

    /// What systems outside answered to the transaction that begins.
    pub(crate) fn answered(&mut self, answers: &[Answer]) {
        self.turn.answers = answers.to_vec();
    }

    /// The call for which the transaction that ran could not go on.
    pub(crate) fn wanted(&mut self) -> Option<ExternalCall> {
        self.turn.wanted.take()
    }

    /// True if the transaction that ran called one of our system contracts.
    pub(crate) fn was_called(&self) -> bool {
        self.turn.called
    }

    /// The multiple to which the transaction that ran wants its gas rounded; 0 for none.
    pub(crate) fn padding(&self) -> u64 {
        self.turn.pad
    }

    fn call<CTX: ContextTr>(&mut self, context: &mut CTX, inputs: &CallInputs) -> Done {
        let refuse = |reason: &'static str| Done {
            gas: 0,
            result: Err(reason.into()),
        };
        if inputs.target_address != inputs.bytecode_address {
            return refuse("a system contract is called, not borrowed");
        }
        if !inputs.value.get().is_zero() {
            return refuse("a system contract takes no value");
        }
        let input = inputs.input.bytes(context);
        let Some((selector, arguments)) = input.split_first_chunk::<4>() else {
            return refuse("no function was named");
        };
        let mut call = Call {
            context,
            facts: &self.facts,
            turn: &mut self.turn,
            sender: inputs.caller,
            is_static: inputs.is_static,
            gas: 0,
            gas_limit: inputs.gas_limit,
        };
        let mut arguments = abi::Words::new(arguments);
        let result = match inputs.target_address.0[19] {
            1 => random::call(&mut call, *selector, &mut arguments),
            2 => identity::call(&mut call, *selector, &mut arguments),
            3 => ledger::call(&mut call, *selector),
            4 => external::call(&mut call, *selector, &mut arguments),
            5 => policy::call(&mut call, *selector, &mut arguments),
            6 => logs::call(&mut call, *selector, &mut arguments),
            _ => padding::call(&mut call, *selector, &mut arguments),
        };
        Done {
            gas: call.gas,
            result,
        }
    }
}

/// One call of a system contract.
struct Call<'a, CTX> {
    context: &'a mut CTX,
    facts: &'a Facts,
    turn: &'a mut Turn,
    sender: Address,
    is_static: bool,
    gas: u64,
    gas_limit: u64,
}

/// What no function of a contract is.
const UNKNOWN: Refused = Refused::Because("no such function");

impl<CTX: ContextTr> Call<'_, CTX> {
    /// Charges; what cannot be paid is not done.
    fn pay(&mut self, gas: u64) -> Result<(), Refused> {
        self.gas = self.gas.saturating_add(gas);
        if self.gas > self.gas_limit {
            return Err(Refused::Because("out of gas"));
        }
        Ok(())
    }

    fn writes(&self) -> Result<(), Refused> {
        if self.is_static {
            return Err("this changes the state, and the call is static".into());
        }
        Ok(())
    }

    /// A slot of a system contract.
    fn load(&mut self, contract: Address, slot: U256) -> Result<U256, Refused> {
        self.pay(2_100)?;
        let journal = self.context.journal_mut();
        let found = journal
            .load_account(contract)
            .map(|_| ())
            .and_then(|()| journal.sload(contract, slot));
        match found {
            Ok(found) => Ok(found.data),
            Err(error) => {
                *self.context.error() = Err(ContextError::Db(error));
                Err(Refused::Gone)
            }
        }
    }

    /// As SSTORE to a fresh slot, whatever was there: the price tells nothing.
    fn store(&mut self, contract: Address, slot: U256, value: U256) -> Result<(), Refused> {
        self.pay(22_100)?;
        let journal = self.context.journal_mut();
        let done = journal
            .load_account(contract)
            .map(|_| ())
            .and_then(|()| journal.sstore(contract, slot, value).map(|_| ()));
        journal.touch_account(contract);
        done.map_err(|error| {
            *self.context.error() = Err(ContextError::Db(error));
            Refused::Gone
        })
    }
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<CTX> for System {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        PrecompileProvider::<CTX>::set_spec(&mut self.ethereum, spec)
    }

    fn run(
        &mut self,
        context: &mut CTX,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        if let Some(moved) = self.moved.get(&inputs.bytecode_address) {
            let Some(original) = moved else {
                return Ok(None);
            };
            let mut inputs = inputs.clone();
            inputs.bytecode_address = *original;
            return self.ethereum.run(context, &inputs);
        }
        if !(self.enabled && is_system(&inputs.bytecode_address)) {
            return self.ethereum.run(context, inputs);
        }
        self.turn.called = true;
        let done = self.call(context, inputs);
        let mut gas = Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit, inputs.reservoir);
        if !gas.record_regular_cost(done.gas) {
            gas.spend_all();
            return Ok(Some(InterpreterResult::new(
                InstructionResult::PrecompileOOG,
                Bytes::new(),
                gas,
            )));
        }
        let (result, output) = match done.result {
            Ok(output) => (InstructionResult::Return, output),
            Err(Refused::Because(reason)) => (InstructionResult::Revert, abi::error(reason)),
            Err(Refused::With(data)) => (InstructionResult::Revert, data),
            Err(Refused::Suspended) => {
                *context.error() =
                    Err(ContextError::Custom("it waits for a system outside".into()));
                (InstructionResult::FatalExternalError, Bytes::new())
            }
            Err(Refused::Gone) => (InstructionResult::FatalExternalError, Bytes::new()),
        };
        Ok(Some(InterpreterResult::new(result, output, gas)))
    }

    fn warm_addresses(&self) -> &AddressSet {
        self.ethereum.warm_addresses()
    }
}

/// True for the addresses of this module.
pub fn is_system(address: &Address) -> bool {
    let bytes = &address.0.0;
    bytes[..16] == [0; 16] && bytes[16..19] == [0xc0, 0xc0, 0] && (1..=7).contains(&bytes[19])
}

#[cfg(test)]
mod tests;
