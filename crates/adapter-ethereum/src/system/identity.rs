//! IDENTITY: the registry of accounts and the actors that they belong to.
//!
//! An account is bound by a transaction that it signed (so the account is proved) and that an actor's
//! session submitted (so the actor is); the transaction names the actor, so nobody else can submit it.
//!
//! ```text
//! 0                             how often anything here has changed
//! keccak256(account ‖ 1)        the actor, 0: not bound
//! keccak256(account ‖ 2)        generation of its tokens (8 bytes) ‖ roles (4 bytes), at the low end
//! keccak256(actor ‖ 3)          1: the actor has had its first account
//! keccak256(account ‖ id ‖ 4)   1: the token of this id is revoked
//! ```
//! An actor's first account is its manager: it sets the roles of the actor's other accounts and unbinds
//! them. Binding, unbinding and revocation end the tokens that the account has: those name an older
//! generation. Roles are bits ([`crate::Roles`]); what the constitution says of an actor (member, auditor)
//! cannot be set here; all bits below 28 mean what the network's contracts take them for.

use adapter::{Lost, View};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::context::{ContextTr, Transaction};
use types::ActorId;

use super::abi::{self, Words};
use super::{Call, IDENTITY, Refused, UNKNOWN};
use crate::principal::Roles;
use crate::state::storage;

/// Sets the roles of its actor's accounts.
pub(crate) const MANAGER: u32 = 1 << 28;

/// What only the constitution gives.
const CONSTITUTIONAL: u32 = Roles::MEMBER.0 | Roles::AUDITOR.0;

const VERSION_SLOT: U256 = U256::ZERO;

fn slot(parts: &[B256], which: u8) -> U256 {
    let mut all = parts.concat();
    all.extend(U256::from(which).to_be_bytes::<32>());
    keccak256(all).into()
}

fn slot_of(account: &Address, which: u8) -> U256 {
    slot(&[account.into_word()], which)
}

fn slot_of_first(actor: &ActorId) -> U256 {
    slot(&[B256::new(actor.0)], 3)
}

fn slot_of_token(account: &Address, id: &B256) -> U256 {
    slot(&[account.into_word(), *id], 4)
}

/// What the registry says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `None`: not bound.
    pub(crate) actor: Option<ActorId>,
    pub(crate) roles: u32,
    /// Tokens of another generation are void.
    pub(crate) generation: u64,
}

impl Entry {
    fn of(actor: U256, rest: U256) -> Self {
        let generation: U256 = rest >> 32;
        let [low, ..] = rest.into_limbs();
        Self {
            actor: (!actor.is_zero()).then(|| ActorId(actor.to_be_bytes())),
            roles: low as u32, // the low half is meant
            generation: generation.into_limbs()[0],
        }
    }

    fn actor_word(&self) -> U256 {
        self.actor
            .map_or(U256::ZERO, |actor| U256::from_be_bytes(actor.0))
    }

    fn rest_word(&self) -> U256 {
        U256::from(self.generation) << 32 | U256::from(self.roles)
    }
}

/// The registry's entry of `account`.
pub(crate) fn entry(view: &dyn View, account: &Address) -> Result<Entry, Lost> {
    Ok(Entry::of(
        storage(view, &IDENTITY, slot_of(account, 1))?,
        storage(view, &IDENTITY, slot_of(account, 2))?,
    ))
}

/// Whether `account` revoked the token of this id.
pub(crate) fn token_is_revoked(
    view: &dyn View,
    account: &Address,
    id: &B256,
) -> Result<bool, Lost> {
    Ok(!storage(view, &IDENTITY, slot_of_token(account, id))?.is_zero())
}

/// Changes whenever the registry does.
pub(crate) fn version(view: &dyn View) -> Result<U256, Lost> {
    storage(view, &IDENTITY, VERSION_SLOT)
}

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    call.pay(100)?;
    match selector {
        // actorOf(address)
        [0x21, 0x64, 0x96, 0x1d] => {
            let account = arguments.address()?;
            call.load(IDENTITY, slot_of(&account, 1)).map(abi::word)
        }
        // rolesOf(address)
        [0x2d, 0xe9, 0x48, 0x07] => {
            let entry = load(call, &arguments.address()?)?;
            Ok(abi::number(u64::from(entry.roles)))
        }
        // generationOf(address)
        [0xa9, 0x04, 0xea, 0xc3] => {
            let entry = load(call, &arguments.address()?)?;
            Ok(abi::number(entry.generation))
        }
        // submitter()
        [0x8d, 0xc4, 0x5d, 0x9a] => Ok(abi::word(call.facts.actor.0)),
        // bind(bytes32)
        [0x70, 0x91, 0x52, 0xa1] => bind(call, ActorId(arguments.word()?.0)),
        // unbind(address)
        [0xcf, 0x5e, 0x7b, 0xd3] => {
            let account = arguments.address()?;
            let mut entry = controlled(call, &account, account)?;
            entry.actor = None;
            entry.roles = 0;
            entry.generation += 1;
            keep(call, &account, &entry)
        }
        // setRoles(address,uint32)
        [0xa4, 0x95, 0x62, 0x09] => {
            let account = arguments.address()?;
            let roles = u32::try_from(arguments.number()?)
                .map_err(|_| "an argument is larger than its type")?;
            if roles & CONSTITUTIONAL != 0 {
                return Err("members and auditors are named by the constitution".into());
            }
            // Nobody gives roles to itself without being a manager.
            let mut entry = controlled(call, &account, Address::ZERO)?;
            entry.roles = roles;
            keep(call, &account, &entry)
        }
        // revoke(address)
        [0x74, 0xa8, 0xf1, 0x03] => {
            let account = arguments.address()?;
            let mut entry = controlled(call, &account, account)?;
            entry.generation += 1;
            keep(call, &account, &entry)
        }
        // revokeToken(bytes32)
        [0x17, 0x0b, 0x1a, 0x76] => {
            call.writes()?;
            let slot = slot_of_token(&call.sender, &arguments.word()?);
            call.store(IDENTITY, slot, U256::from(1))?;
            changed(call)
        }
        _ => Err(UNKNOWN),
    }
}

fn bind<CTX: ContextTr>(call: &mut Call<'_, CTX>, actor: ActorId) -> Result<Bytes, Refused> {
    call.writes()?;
    // A contract that an actor's user calls must not become that actor's account.
    if call.context.tx().caller() != call.sender {
        return Err("an account binds itself: send the transaction to IDENTITY".into());
    }
    if actor.0 == [0; 32] || actor != call.facts.actor {
        return Err("the transaction was not submitted by the actor that it names".into());
    }
    let account = call.sender;
    let mut entry = load(call, &account)?;
    match entry.actor {
        Some(bound) if bound == actor => return Ok(Bytes::new()),
        Some(_) => return Err("the account belongs to another actor: unbind it first".into()),
        None => {}
    }
    let slot = slot_of_first(&actor);
    entry.roles = Roles::DEPLOYER.0;
    if call.load(IDENTITY, slot)?.is_zero() {
        entry.roles |= MANAGER;
        call.store(IDENTITY, slot, U256::from(1))?;
    }
    entry.actor = Some(actor);
    entry.generation += 1;
    keep(call, &account, &entry)
}

/// The entry of an account that the sender may change: `itself`, or one of the actor whose manager the
/// sender is.
fn controlled<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    account: &Address,
    itself: Address,
) -> Result<Entry, Refused> {
    call.writes()?;
    let entry = load(call, account)?;
    if call.sender == itself {
        return Ok(entry);
    }
    let sender = call.sender;
    let sender = load(call, &sender)?;
    if sender.roles & MANAGER == 0 || sender.actor.is_none() || sender.actor != entry.actor {
        return Err("only a manager of the account's actor may do this".into());
    }
    Ok(entry)
}

fn load<CTX: ContextTr>(call: &mut Call<'_, CTX>, account: &Address) -> Result<Entry, Refused> {
    let actor = call.load(IDENTITY, slot_of(account, 1))?;
    let rest = call.load(IDENTITY, slot_of(account, 2))?;
    Ok(Entry::of(actor, rest))
}

fn keep<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    account: &Address,
    entry: &Entry,
) -> Result<Bytes, Refused> {
    call.store(IDENTITY, slot_of(account, 1), entry.actor_word())?;
    call.store(IDENTITY, slot_of(account, 2), entry.rest_word())?;
    changed(call)
}

fn changed<CTX: ContextTr>(call: &mut Call<'_, CTX>) -> Result<Bytes, Refused> {
    let version = call.load(IDENTITY, VERSION_SLOT)?;
    call.store(IDENTITY, VERSION_SLOT, version.wrapping_add(U256::from(1)))?;
    Ok(Bytes::new())
}
