//! Who sees what of the ledger: the one place where the front asks.
//!
//! On a transparent network, and for an auditor, everything is seen and nothing is looked up. On a
//! confidential one each look-up is decided at the committed head: a right that was taken away is
//! gone for history, too. What is decided is remembered for one request and one head
//! ([`Memory`]).
//!
//! A decision that cannot be made is no: a state that is gone, a check that fails, gas that is used
//! up. [`Sight::outcome`] tells the front, which then answers with an error in place of half a truth.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use adapter::{Access, Action, Caller, Lost, View};
use alloy_primitives::{Address, B256, Log, U256};
use types::{ActorId, Height};

use crate::access::{self, CHECKS_GAS, IMPLEMENTATION_SLOT, Record, Slots, Unchecked, readers};
use crate::block;
use crate::checks::{self, Reader};
use crate::codes::Codes;
use crate::execute::{Environment, world_of};
use crate::eyes::{Eyes, Mode, Who, World};
use crate::overlay::Overlay;
use crate::principal::{Carrier, Principal};
use crate::settings::Rules;
use crate::system::{is_system, log_reader};

/// Accounts of one principal that checks are asked for.
const READERS_MAX: usize = 16;

/// EIP-1967's other slots: admin and beacon.
const ADMIN_SLOT: U256 = U256::from_limbs([
    0xd6a7_1785_0b5d_6103,
    0x243e_63b6_e8ee_1178,
    0x73ae_13b9_f8a6_016e,
    0xb531_2768_4a56_8b31,
]);
const BEACON_SLOT: U256 = U256::from_limbs([
    0x6cb3_582b_3513_3d50,
    0x35a9_a72a_eaee_59ff,
    0xfd80_d3ef_4346_5783,
    0xa3f0_ad74_e542_3aeb,
]);

/// The runtime's question, for every submission, query and receipt. What a front may show is asked of
/// [`Sight`].
pub(crate) fn authorize(_caller: &Caller, _action: Action<'_>) -> Access {
    Access::Allow
}

/// A leak that is put back on purpose: a checker that was never seen to fail proves nothing. Without
/// the feature `mutations` nothing can set one.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leak {
    #[default]
    None,
    /// A receipt's bloom holds all logs of the transaction.
    Bloom,
    /// Logs are numbered by their place in the block.
    LogIndex,
    /// A call without `to` runs on the whole state.
    CallWithoutTo,
    /// Everybody may trace.
    Traces,
    /// Everybody may simulate blocks, in anybody's name.
    Blocks,
}

impl Leak {
    pub(crate) fn is(self, other: Self) -> bool {
        cfg!(any(test, feature = "mutations")) && self == other
    }
}

/// What was decided at one head.
#[derive(Debug)]
pub(crate) struct Memory {
    height: Height,
    world: Option<Arc<World>>,
    eyes: Option<Box<Eyes>>,
    fuel: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            height: Height(0),
            world: None,
            eyes: None,
            fuel: CHECKS_GAS,
        }
    }
}

/// A transaction, as far as its visibility depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) sender: &'a Address,
    /// Who was called; for a creation, what was created.
    pub(crate) concerns: Option<Address>,
    /// The call's data; empty for a creation.
    pub(crate) input: &'a [u8],
    /// The actor that submitted it.
    pub(crate) submitter: ActorId,
    pub(crate) seqno: u64,
}

/// Whether a sight is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Whole,
    /// Checks used up their gas.
    Exhausted,
    Lost,
}

/// What a principal sees of the committed head and of everything below it.
pub(crate) struct Sight<'a> {
    /// `None`: everything.
    looking: Option<RefCell<Looking<'a>>>,
    pub(crate) leak: Leak,
    lost: Cell<bool>,
}

struct Looking<'a> {
    principal: &'a Principal,
    unchecked: Unchecked,
    overlay: Overlay<'a>,
    eyes: Box<Eyes>,
}

impl<'a> Sight<'a> {
    pub(crate) fn of(
        principal: &'a Principal,
        view: &'a dyn View,
        codes: &'a Codes,
        rules: &'a Rules,
        memory: &mut Memory,
        leak: Leak,
    ) -> Result<Self, Lost> {
        let access = rules.access().filter(|_| !principal.audits());
        let looking = match access {
            None => None,
            Some(access) => {
                let height = view.height();
                if memory.height != height {
                    memory.height = height;
                    memory.world = None;
                    memory.eyes = None;
                }
                let world = match &memory.world {
                    Some(world) => world.clone(),
                    None => {
                        let head = block::header(view, height.0)?;
                        let timestamp = head.map_or(0, |head| head.header.timestamp);
                        let environment = Environment::of_call(view, rules, timestamp);
                        let world = world_of(rules, access, &environment);
                        memory.world.insert(Arc::new(world)).clone()
                    }
                };
                let mut eyes = match memory.eyes.take() {
                    Some(eyes) => eyes,
                    None => Box::new(Eyes::new(world, Mode::Simulation, who(principal))),
                };
                eyes.fuel = memory.fuel;
                Some(RefCell::new(Looking {
                    principal,
                    unchecked: access.unchecked,
                    overlay: Overlay::new(view, codes, rules),
                    eyes,
                }))
            }
        };
        Ok(Self {
            looking,
            leak,
            lost: Cell::new(false),
        })
    }

    /// Keeps what was decided for the next look of the same request.
    pub(crate) fn close(self, memory: &mut Memory) -> Outcome {
        let lost = self.lost.get();
        let mut outcome = Outcome::Whole;
        if let Some(looking) = self.looking {
            let looking = looking.into_inner();
            memory.fuel = looking.eyes.fuel;
            if memory.fuel == 0 {
                outcome = Outcome::Exhausted;
            }
            memory.eyes = Some(looking.eyes);
        }
        if lost { Outcome::Lost } else { outcome }
    }

    /// True if nothing is hidden: then nothing need be asked.
    pub(crate) fn is_open(&self) -> bool {
        self.looking.is_none()
    }

    fn decide(&self, look: impl FnOnce(&mut Looking<'a>) -> Result<bool, Lost>) -> bool {
        let Some(looking) = &self.looking else {
            return true;
        };
        look(&mut looking.borrow_mut()).unwrap_or_else(|Lost| {
            self.lost.set(true);
            false
        })
    }

    /// A transaction, its receipt, its place in a block.
    pub(crate) fn transaction(&self, seen: &Seen<'_>) -> bool {
        self.decide(|looking| looking.transaction(seen))
    }

    /// A transaction of the principal's own.
    pub(crate) fn mine(&self, seen: &Seen<'_>) -> bool {
        self.decide(|looking| Ok(looking.sent(seen)))
    }

    /// One log of a transaction.
    pub(crate) fn log(&self, log: &Log, seen: &Seen<'_>) -> bool {
        self.decide(|looking| looking.log(log, seen))
    }

    /// Balance and nonce of an account, and that it exists.
    pub(crate) fn account(&self, address: &Address) -> bool {
        self.decide(|looking| looking.account(address))
    }

    /// The code of an account.
    pub(crate) fn code(&self, address: &Address) -> bool {
        self.decide(|looking| looking.code(address))
    }

    /// A storage slot.
    pub(crate) fn slot(&self, address: &Address, slot: U256) -> bool {
        self.decide(|looking| {
            if !looking.code(address)? {
                return Ok(false);
            }
            let record = access::record(&mut looking.overlay, address)?;
            let proxied = [IMPLEMENTATION_SLOT, ADMIN_SLOT, BEACON_SLOT].contains(&slot);
            Ok(proxied || record.has(Record::TRANSPARENT))
        })
    }
}

/// The principal as checks are asked about it.
fn who(principal: &Principal) -> Who {
    let reader = |account: Address| Reader {
        account,
        actor: principal.actor,
        roles: principal.roles,
    };
    let mut readers: Vec<_> = principal
        .accounts
        .iter()
        .take(READERS_MAX)
        .map(|account| reader(*account))
        .collect();
    if readers.is_empty() {
        readers.push(reader(Address::ZERO));
    }
    Who {
        readers,
        own: principal.accounts.clone(),
    }
}

impl Looking<'_> {
    /// The sender is the principal's, or the principal itself handed the transaction in.
    fn sent(&self, seen: &Seen<'_>) -> bool {
        self.principal.owns(seen.sender)
            || (self.principal.carrier == Carrier::Actor && self.principal.actor == seen.submitter)
    }

    fn transaction(&mut self, seen: &Seen<'_>) -> Result<bool, Lost> {
        if self.sent(seen) {
            return Ok(true);
        }
        let Some(concerns) = seen.concerns else {
            return Ok(false);
        };
        if is_system(&concerns) {
            return Ok(false);
        }
        if !self.overlay.has_code(&concerns)? {
            return Ok(self.principal.owns(&concerns));
        }
        if self.principal.owns(&concerns) {
            return Ok(true);
        }
        let ruling = self.eyes.rule(&mut self.overlay, &concerns)?;
        match ruling.judge {
            _ if !ruling.inside => Ok(false),
            Some(judge) => self
                .eyes
                .any(&mut self.overlay, &concerns, judge, |reader| {
                    checks::can_read_transaction(reader, seen.sender, seen.input, seen.seqno)
                }),
            None => Ok(ruling.record.domain != 0 || self.unchecked == Unchecked::Public),
        }
    }

    fn log(&mut self, log: &Log, seen: &Seen<'_>) -> Result<bool, Lost> {
        if let Some(reader) = log_reader(log) {
            return Ok(self.principal.owns(&reader));
        }
        let emitter = &log.address;
        if is_system(emitter) {
            return Ok(self.sent(seen));
        }
        let ruling = self.eyes.rule(&mut self.overlay, emitter)?;
        if !ruling.inside {
            return Ok(false);
        }
        if ruling.record.has(Record::RULES)
            && let Some(rule) = self.rule(log)?
        {
            return Ok(self.reads(rule, log, seen, ruling.record.domain));
        }
        match ruling.judge {
            Some(judge) => self.eyes.any(&mut self.overlay, emitter, judge, |reader| {
                checks::can_read_log(reader, log, seen.sender, seen.seqno)
            }),
            None if ruling.record.domain != 0 => Ok(true),
            None => Ok(match self.unchecked {
                Unchecked::Public => true,
                Unchecked::Sender => self.sent(seen),
                Unchecked::Deny => false,
            }),
        }
    }

    /// The declared rule of a log, that of its first topic before that of all others.
    fn rule(&mut self, log: &Log) -> Result<Option<u64>, Lost> {
        let first = log.data.topics().first().copied();
        for topic in first.into_iter().chain([B256::ZERO]) {
            let word = self.overlay.slot(access::rule_slot(&log.address, topic))?;
            let [bits, ..] = word.into_limbs();
            if bits & readers::SET != 0 {
                return Ok(Some(bits));
            }
        }
        Ok(None)
    }

    fn reads(&self, rule: u64, log: &Log, seen: &Seen<'_>, domain: u64) -> bool {
        let topics = log.data.topics();
        let named = |bit: u64, place: usize| {
            rule & bit != 0
                && topics.get(place).is_some_and(|topic| {
                    topic[..12] == [0; 12] && self.principal.owns(&Address::from_word(*topic))
                })
        };
        rule & readers::PUBLIC != 0
            || (rule & readers::SENDER != 0 && self.sent(seen))
            || named(readers::TOPIC1, 1)
            || named(readers::TOPIC2, 2)
            || named(readers::TOPIC3, 3)
            // Whoever came here is inside the emitter's domain.
            || (rule & readers::DOMAIN != 0 && domain != 0)
    }

    fn account(&mut self, address: &Address) -> Result<bool, Lost> {
        if self.principal.owns(address) || is_system(address) {
            return Ok(true);
        }
        if !self.overlay.has_code(address)? {
            return Ok(false);
        }
        Ok(self.eyes.show(&mut self.overlay, address)?.seen)
    }

    fn code(&mut self, address: &Address) -> Result<bool, Lost> {
        if self.principal.owns(address) || is_system(address) {
            return Ok(true);
        }
        if !self.overlay.has_code(address)? {
            return Ok(false);
        }
        Ok(self.eyes.show(&mut self.overlay, address)?.code)
    }
}
