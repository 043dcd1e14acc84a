//! What a transaction or a simulation sees of the state.
//!
//! On a confidential network the EVM runs on the *view of the one who asks*: an account that it may
//! not know of is absent, for every instruction of every frame. That is done where the EVM reads
//! accounts, so no instruction can be forgotten. Two things need more: a contract that may be called
//! but not read shows the code of a system contract instead of its own ([`crate::veil`]), and
//! `canCall` is asked for each frame ([`crate::gate`]).
//!
//! An execution sees as its sender does, a simulation as the principal does, and both find the same,
//! so that no contract tells them apart by looking around.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adapter::Lost;
use alloy_primitives::{Address, B256, Bytes};
use revm::Database;
use revm::context::{BlockEnv, CfgEnv};
use revm::primitives::KECCAK_EMPTY;
use revm::state::AccountInfo;

use crate::access::{
    self, CHECK_GAS, CHECKS_GAS, DECLARATION_GAS, IMPLEMENTATION_SLOT, Record, Slots, Unchecked,
};
use crate::ask::ask;
use crate::checks::{self, Reader};
use crate::overlay::{Gone, Overlay};
use crate::system::{Facts, is_system};

/// What stays the same for all transactions of a batch, or all simulations of a request.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) unchecked: Unchecked,
    pub(crate) cfg: CfgEnv,
    pub(crate) block: BlockEnv,
    pub(crate) facts: Facts,
}

/// Whether what is done is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Execution,
    Simulation,
}

/// Who looks: any of its readers may be the one that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) readers: Vec<Reader>,
    /// Its own accounts, and those whose signatures it brought.
    pub(crate) own: BTreeSet<Address>,
}

impl Who {
    /// True if it is a member of the domain, as an actor or as an account.
    pub(crate) fn is_member(&self, slots: &mut dyn Slots, domain: u64) -> Result<bool, Lost> {
        let actors = self.readers.iter().map(|reader| B256::new(reader.actor.0));
        let accounts = self.own.iter().map(|account| account.into_word());
        for member in actors.chain(accounts) {
            if access::is_member(slots, domain, member)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What is known of a contract before it is asked anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) record: Record,
    pub(crate) deployer: Address,
    /// The contract that answers questions about it.
    pub(crate) judge: Option<Address>,
    /// It is public, or in a domain of the one who looks.
    pub(crate) inside: bool,
}

/// What one contract is to the one who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// It exists.
    pub(crate) seen: bool,
    /// Its code may be read.
    pub(crate) code: bool,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Eyes {
    pub(crate) who: Who,
    pub(crate) mode: Mode,
    pub(crate) world: Arc<World>,
    rulings: BTreeMap<Address, Ruling>,
    shown: BTreeMap<Address, Shown>,
    /// Accounts that are there and were reported absent.
    pub(crate) absent: BTreeSet<Address>,
    /// Contracts that creations were begun for, and their domains.
    pub(crate) created: Vec<(Address, u64)>,
    /// Contracts whose declaration is to be read again.
    pub(crate) stale: Vec<Address>,
    /// Gas left for checks.
    pub(crate) fuel: u64,
}

impl Eyes {
    pub(crate) fn new(world: Arc<World>, mode: Mode, who: Who) -> Self {
        Self {
            who,
            mode,
            world,
            rulings: BTreeMap::new(),
            shown: BTreeMap::new(),
            absent: BTreeSet::new(),
            created: Vec::new(),
            stale: Vec::new(),
            fuel: CHECKS_GAS,
        }
    }

    /// The account as it is seen.
    pub(crate) fn account(
        &mut self,
        overlay: &mut Overlay<'_>,
        address: Address,
        info: AccountInfo,
    ) -> Result<Option<AccountInfo>, Lost> {
        if is_system(&address) {
            return Ok(Some(info));
        }
        let seen = if info.code_hash == KECCAK_EMPTY {
            self.who.own.contains(&address)
        } else {
            self.show(overlay, &address)?.seen
        };
        if seen {
            return Ok(Some(info));
        }
        self.absent.insert(address);
        Ok(None)
    }

    /// What is known of the contract. Read once.
    pub(crate) fn rule(
        &mut self,
        overlay: &mut Overlay<'_>,
        contract: &Address,
    ) -> Result<Ruling, Lost> {
        if let Some(known) = self.rulings.get(contract) {
            return Ok(*known);
        }
        let record = access::record(overlay, contract)?;
        let declares = record.has(Record::DECLARED).then_some(*contract);
        let ruling = Ruling {
            record,
            deployer: access::deployer(overlay, contract)?,
            judge: access::policy(overlay, contract)?.or(declares),
            inside: record.domain == 0 || self.who.is_member(overlay, record.domain)?,
        };
        self.rulings.insert(*contract, ruling);
        Ok(ruling)
    }

    /// What the contract is to the one who looks. Decided once.
    pub(crate) fn show(
        &mut self,
        overlay: &mut Overlay<'_>,
        contract: &Address,
    ) -> Result<Shown, Lost> {
        if let Some(known) = self.shown.get(contract) {
            return Ok(*known);
        }
        let mut shown = self.decide(overlay, contract)?;
        if !shown.seen
            && let Some(front) = front(overlay, contract)?
        {
            // The code of a proxy is what the proxy is.
            shown = self.decide(overlay, &front)?;
        }
        self.shown.insert(*contract, shown);
        Ok(shown)
    }

    fn decide(&mut self, overlay: &mut Overlay<'_>, contract: &Address) -> Result<Shown, Lost> {
        let ruling = self.rule(overlay, contract)?;
        let code = match ruling.judge {
            _ if !ruling.inside => false,
            Some(judge) => self.any(overlay, contract, judge, checks::can_read_code)?,
            None => {
                ruling.record.domain != 0
                    || self.world.unchecked == Unchecked::Public
                    || self.made(&ruling, contract)
            }
        };
        let seen = code
            || match ruling.judge {
                _ if !ruling.inside => false,
                // A contract that answers no to this does not exist for the reader.
                Some(judge) => self.any(overlay, contract, judge, |reader| {
                    checks::can_call(reader, &reader.account, &[])
                })?,
                None => self.mode == Mode::Execution,
            };
        Ok(Shown { seen, code })
    }

    /// True if the one who looks created the contract, before or in this transaction.
    pub(crate) fn made(&self, ruling: &Ruling, contract: &Address) -> bool {
        self.who.own.contains(&ruling.deployer)
            || self.created.iter().any(|(created, _)| created == contract)
    }

    /// The domain that a contract belongs to, be it one that is being created.
    pub(crate) fn domain(
        &self,
        overlay: &mut Overlay<'_>,
        contract: &Address,
    ) -> Result<u64, Lost> {
        match self.created.iter().find(|(created, _)| created == contract) {
            Some((_, domain)) => Ok(*domain),
            None => Ok(access::record(overlay, contract)?.domain),
        }
    }

    /// Asks for each reader until one is allowed.
    pub(crate) fn any(
        &mut self,
        overlay: &mut Overlay<'_>,
        contract: &Address,
        judge: Address,
        question: impl Fn(&Reader) -> Bytes,
    ) -> Result<bool, Lost> {
        for reader in self.who.readers.clone() {
            let question = question(&reader);
            if self
                .check(overlay, contract, judge, &reader, question, CHECK_GAS)?
                .0
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One check, and the gas that it took. Without gas the answer is no.
    pub(crate) fn check(
        &mut self,
        overlay: &mut Overlay<'_>,
        contract: &Address,
        judge: Address,
        reader: &Reader,
        question: Bytes,
        gas: u64,
    ) -> Result<(bool, u64), Lost> {
        let gas = gas.min(CHECK_GAS).min(self.fuel);
        let (answer, used) = ask(
            overlay,
            &self.world,
            contract,
            judge,
            &reader.account,
            question.clone(),
            gas,
        )?;
        self.fuel -= used.min(self.fuel);
        Ok((
            checks::allows(&question, answer.as_ref().map(AsRef::as_ref)),
            used,
        ))
    }
}

/// The proxy that runs on this code and was created by the same account.
fn front(overlay: &mut Overlay<'_>, implementation: &Address) -> Result<Option<Address>, Lost> {
    let word = overlay.slot(access::front_slot(implementation))?;
    if word.is_zero() {
        return Ok(None);
    }
    let proxy = Address::from_word(word.into());
    let runs = implementation_of(overlay, &proxy)?;
    Ok((runs == *implementation).then_some(proxy))
}

fn implementation_of(overlay: &mut Overlay<'_>, proxy: &Address) -> Result<Address, Lost> {
    let found = overlay.storage(*proxy, IMPLEMENTATION_SLOT);
    let word = found.map_err(|Gone(lost)| lost)?;
    Ok(Address::from_word(word.into()))
}

/// Reads what a contract declares (ERC-165) and records it.
pub(crate) fn declare(
    overlay: &mut Overlay<'_>,
    world: &World,
    contract: &Address,
) -> Result<(), Lost> {
    let record = access::record(overlay, contract)?;
    let mut supports = |id| -> Result<bool, Lost> {
        let (answer, _) = ask(
            overlay,
            world,
            contract,
            *contract,
            &Address::ZERO,
            checks::supports(id),
            DECLARATION_GAS,
        )?;
        Ok(checks::is_true(answer.as_ref().map(AsRef::as_ref)))
    };
    let tells = supports(checks::ERC165)? && !supports(checks::NO_INTERFACE)?;
    let declared = tells && supports(checks::ACCESS)?;
    let transparent = tells && supports(checks::TRANSPARENT)?;
    let record = record
        .with(Record::KNOWN, true)
        .with(Record::DECLARED, declared)
        .with(Record::TRANSPARENT, transparent);
    overlay.record(access::record_slot(contract), record.word());
    let implementation = implementation_of(overlay, contract)?;
    let deployer = access::deployer(overlay, contract)?;
    if !implementation.is_zero()
        && !deployer.is_zero()
        && access::deployer(overlay, &implementation)? == deployer
    {
        let word = contract.into_word().into();
        overlay.record(access::front_slot(&implementation), word);
    }
    Ok(())
}

/// After a transaction: records the contracts that it created, and what contracts declare now.
pub(crate) fn settle(
    overlay: &mut Overlay<'_>,
    eyes: &Eyes,
    upgraded: &[Address],
) -> Result<(), Lost> {
    let sender = eyes
        .who
        .readers
        .first()
        .map_or(Address::ZERO, |reader| reader.account);
    for (contract, domain) in &eyes.created {
        // A creation that failed left no code, and one that was recorded is not made again.
        let before = access::record(overlay, contract)?;
        if !overlay.has_code(contract)? || before.has(Record::KNOWN) {
            continue;
        }
        // Its constructor may have set rules.
        let record = Record {
            domain: *domain,
            ..before.with(Record::KNOWN, true)
        };
        overlay.record(access::record_slot(contract), record.word());
        overlay.record(access::deployer_slot(contract), sender.into_word().into());
        declare(overlay, &eyes.world, contract)?;
    }
    for contract in eyes.stale.iter().chain(upgraded) {
        if overlay.has_code(contract)? && !is_system(contract) {
            declare(overlay, &eyes.world, contract)?;
        }
    }
    Ok(())
}
