//! Which frames are entered: `canCall` at every frame, and the walls of domains.
//!
//! * A contract with a check is asked for every call into it, whoever makes the call, so a helper
//!   contract reads nothing for a stranger. The check's gas is charged to the frame.
//! * Borrowing the code of such a contract (DELEGATECALL) needs the right to read that code, or the
//!   same deployer: a proxy and its implementation.
//! * A contract of a domain is entered by its members' transactions and by its own domain. From it,
//!   public contracts are called statically: what is private is not written where everybody reads.
//! * Where contracts without a check are not public, other deployers' contracts do not call them.

use adapter::Lost;
use alloy_primitives::{Address, Bytes};
use revm::bytecode::Bytecode;
use revm::context::JournalTr;
use revm::context_interface::journaled_state::account::JournaledAccountTr as _;
use revm::handler::{FrameResult, MainnetContext};
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{
    CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome, FrameInput, Gas,
    InstructionResult, InterpreterResult,
};

use crate::access::{self, Unchecked};
use crate::checks;
use crate::eyes::{Eyes, Mode, Ruling};
use crate::guarded::Watch;
use crate::overlay::{Gone, Overlay};
use crate::system::{POLICY, is_system};

/// `refresh(address)` of POLICY.
const REFRESH: [u8; 4] = [0x0a, 0xfb, 0x04, 0x09];

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Enter,
    /// It may not write.
    Statically,
    /// As if nothing were there.
    Absent,
    Denied,
}

impl Watch for Overlay<'_> {
    #[inline]
    fn enter(
        context: &mut MainnetContext<Self>,
        frame: &mut FrameInit,
    ) -> Result<Option<FrameResult>, Gone> {
        let overlay = &mut context.journaled_state.database;
        if overlay.eyes.is_none() {
            if overlay.keeps_reads() {
                look(overlay, &frame.frame_input);
            }
            return Ok(None);
        }
        match &mut frame.frame_input {
            FrameInput::Call(inputs) => call(context, frame.depth, inputs),
            FrameInput::Create(inputs) => create(context, frame.depth, inputs),
            FrameInput::Empty => Ok(None),
        }
    }
}

/// Who gives of a balance looks at it, be it that there is not enough.
fn look(overlay: &mut Overlay<'_>, input: &FrameInput) {
    match input {
        FrameInput::Call(inputs) if !inputs.value.get().is_zero() => {
            overlay.look_at_balance(inputs.caller);
        }
        FrameInput::Create(inputs) => overlay.look_at_balance(inputs.caller()),
        FrameInput::Call(_) | FrameInput::Empty => {}
    }
}

fn call(
    context: &mut MainnetContext<Overlay<'_>>,
    depth: usize,
    inputs: &mut CallInputs,
) -> Result<Option<FrameResult>, Gone> {
    let data = inputs.input.bytes(context);
    let overlay = &mut context.journaled_state.database;
    let mut eyes = overlay.eyes.take().expect("looked before");
    let entry = judge(&mut eyes, overlay, depth, inputs, &data);
    let mode = eyes.mode;
    overlay.eyes = Some(eyes);
    let result = match entry? {
        Entry::Enter => return Ok(None),
        Entry::Statically => {
            inputs.is_static = true;
            return Ok(None);
        }
        Entry::Absent => InstructionResult::Stop,
        // What a look-up may not see is not there.
        Entry::Denied if depth == 0 && mode == Mode::Simulation => InstructionResult::Stop,
        Entry::Denied => InstructionResult::Revert,
    };
    let gas = Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit, inputs.reservoir);
    Ok(Some(FrameResult::Call(CallOutcome {
        result: InterpreterResult::new(result, Bytes::new(), gas),
        memory_offset: inputs.return_memory_offset.clone(),
        was_precompile_called: false,
        precompile_call_logs: Vec::new(),
        charged_new_account_state_gas: inputs.charged_new_account_state_gas,
    })))
}

fn judge(
    eyes: &mut Eyes,
    overlay: &mut Overlay<'_>,
    depth: usize,
    inputs: &mut CallInputs,
    data: &Bytes,
) -> Result<Entry, Lost> {
    let callee = inputs.bytecode_address;
    if is_system(&callee) {
        if callee == POLICY
            && let Some((&REFRESH, rest)) = data.split_first_chunk()
            && let Some(word) = rest.first_chunk::<32>()
        {
            eyes.stale.push(Address::from_word((*word).into()));
        }
        return Ok(Entry::Enter);
    }
    let borrowed = matches!(
        inputs.scheme,
        CallScheme::DelegateCall | CallScheme::CallCode
    );
    let executing = (depth > 0).then_some(if borrowed {
        inputs.target_address
    } else {
        inputs.caller
    });
    let from = match &executing {
        Some(executing) => eyes.domain(overlay, executing)?,
        None => 0,
    };
    let gives = inputs.transfers_value();
    if inputs.known_bytecode.1.is_empty() {
        return Ok(if from != 0 && gives && !borrowed {
            Entry::Denied
        } else {
            Entry::Enter
        });
    }
    if executing == Some(callee) {
        return Ok(Entry::Enter);
    }
    let ruling = eyes.rule(overlay, &callee)?;
    let to = match eyes.domain(overlay, &callee)? {
        0 => ruling.record.domain,
        domain => domain,
    };
    if executing.is_some() && to != 0 && to != from {
        return Ok(if gives { Entry::Denied } else { Entry::Absent });
    }
    let walled = from != 0 && to == 0 && !borrowed;
    if walled && gives {
        return Ok(Entry::Denied);
    }
    if !allowed(eyes, overlay, &ruling, executing, inputs, borrowed, data)? {
        return Ok(Entry::Denied);
    }
    Ok(if walled {
        Entry::Statically
    } else {
        Entry::Enter
    })
}

fn allowed(
    eyes: &mut Eyes,
    overlay: &mut Overlay<'_>,
    ruling: &Ruling,
    executing: Option<Address>,
    inputs: &mut CallInputs,
    borrowed: bool,
    data: &Bytes,
) -> Result<bool, Lost> {
    let callee = inputs.bytecode_address;
    if let Some(delegate) = overlay.delegate(&callee)? {
        // The code that runs is another's (EIP-7702).
        let checked = eyes.rule(overlay, &delegate)?.judge.is_some();
        if checked && !eyes.show(overlay, &delegate)?.code {
            return Ok(false);
        }
    }
    match ruling.judge {
        Some(_) if borrowed => {
            Ok(eyes.show(overlay, &callee)?.code || akin(eyes, overlay, ruling, executing)?)
        }
        Some(judge) => {
            let reader = eyes.who.readers[0];
            let question = checks::can_call(&reader, &executing.unwrap_or(inputs.caller), data);
            let limit = inputs.gas_limit;
            let (yes, used) = eyes.check(overlay, &callee, judge, &reader, question, limit)?;
            inputs.gas_limit = limit.saturating_sub(used);
            Ok(yes)
        }
        None => Ok(executing.is_none()
            || ruling.record.domain != 0
            || eyes.world.unchecked == Unchecked::Public
            || eyes.made(ruling, &callee)
            || akin(eyes, overlay, ruling, executing)?),
    }
}

/// True if the same account created both contracts.
fn akin(
    eyes: &Eyes,
    overlay: &mut Overlay<'_>,
    ruling: &Ruling,
    executing: Option<Address>,
) -> Result<bool, Lost> {
    let Some(executing) = executing else {
        return Ok(false);
    };
    if eyes
        .created
        .iter()
        .any(|(created, _)| *created == executing)
    {
        return Ok(eyes.who.own.contains(&ruling.deployer));
    }
    Ok(!ruling.deployer.is_zero() && access::deployer(overlay, &executing)? == ruling.deployer)
}

fn create(
    context: &mut MainnetContext<Overlay<'_>>,
    depth: usize,
    inputs: &mut CreateInputs,
) -> Result<Option<FrameResult>, Gone> {
    let creator = inputs.caller();
    let nonce = context
        .journaled_state
        .load_account(creator)?
        .data
        .info
        .nonce;
    let address = inputs.created_address(nonce);
    let overlay = &mut context.journaled_state.database;
    let mut eyes = overlay.eyes.take().expect("looked before");
    let domain = if depth == 0 {
        home(&eyes, overlay, &creator)
    } else {
        eyes.domain(overlay, &creator).map(Some)
    };
    let taken = overlay
        .info(address)
        .map(|info| info.is_some_and(|info| info.nonce != 0 || !info.is_empty_code_hash()));
    if let Ok(Some(domain)) = domain {
        eyes.created.push((address, domain));
    }
    let is_execution = eyes.mode == Mode::Execution;
    overlay.eyes = Some(eyes);
    let result = if domain?.is_none() {
        InstructionResult::Revert
    } else if taken? && is_execution {
        // Be it one that the sender does not see: nothing is created over it.
        context
            .journaled_state
            .load_account_mut(creator)?
            .data
            .bump_nonce();
        InstructionResult::CreateCollision
    } else {
        return Ok(None);
    };
    let gas = Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit(), inputs.reservoir());
    let result = InterpreterResult::new(result, Bytes::new(), gas);
    Ok(Some(FrameResult::Create(CreateOutcome::new(result, None))))
}

/// The domain that the creations of an account belong to. `None`: one that it is no member of any more.
fn home(eyes: &Eyes, overlay: &mut Overlay<'_>, creator: &Address) -> Result<Option<u64>, Lost> {
    let word = access::Slots::slot(overlay, access::home_slot(creator))?;
    let [domain, ..] = word.into_limbs();
    let open = domain == 0 || eyes.who.is_member(overlay, domain)?;
    Ok(open.then_some(domain))
}

impl Overlay<'_> {
    /// Whose code runs for this account, if it delegates (EIP-7702).
    fn delegate(&mut self, address: &Address) -> Result<Option<Address>, Lost> {
        let Some(info) = self.info(*address)? else {
            return Ok(None);
        };
        let code = match &info.code {
            Some(code) => code.clone(),
            None => self.code_of(info.code_hash)?,
        };
        Ok(Bytecode::eip7702_address(&code))
    }
}
