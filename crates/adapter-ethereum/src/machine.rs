//! The deterministic half: Ethereum's rules over versioned maps.

#![expect(
    clippy::disallowed_types,
    reason = "a machine is shared, and the lock guards a cache of what the state says"
)]

use std::sync::{Arc, PoisonError, RwLock};

use adapter::{
    Access, Action, Caller, Claim, Descriptor, Exec, Filed, Kind, Lost, Machine, Memo, Outcome,
    Reject, Spread, Ticket, Unit, View,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, U256, address, keccak256};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use types::{Digest, UnitId};

use crate::access;
use crate::batch::Ground;
use crate::block;
use crate::codes::Codes;
use crate::execute::{Environment, Executor, world_of};
use crate::eyes;
use crate::front::SignIn;
use crate::overlay::Changes;
use crate::past;
use crate::reading;
use crate::settings::{Fork, Roots, Rules, Settings};
use crate::state::{
    AccountRecord, CODE, META, META_RULES, META_SIGN_IN, account, domains, storage_key,
};
use crate::system;
use crate::transaction::Transaction;
use crate::trie;

/// EIP-4788: where the parent beacon block's root goes.
const BEACON_ROOTS: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// EIP-2935: where the parent block's hash goes.
const HISTORY: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
/// EIP-7002: withdrawal requests.
const WITHDRAWALS: Address = address!("00000961Ef480Eb55e80D19ad83579A64c007002");
/// EIP-7251: consolidation requests.
const CONSOLIDATIONS: Address = address!("0000BBdDc7CE488642fb579F8B00f3a590007251");

/// The Ethereum protocol.
#[derive(Debug, Default)]
pub(crate) struct Ethereum {
    codes: Codes,
    /// The rules last read and the bytes they came from.
    rules: RwLock<Option<(Bytes, Arc<Rules>)>>,
    /// Who lends threads, if anybody.
    spread: Option<Arc<dyn Spread>>,
}

impl Ethereum {
    /// With threads for the execution of batches.
    pub(crate) fn spread(spread: Arc<dyn Spread>) -> Self {
        Self {
            spread: Some(spread),
            ..Self::default()
        }
    }

    pub(crate) fn codes(&self) -> &Codes {
        &self.codes
    }

    /// The rules that genesis wrote.
    pub(crate) fn rules(&self, view: &dyn View) -> Result<Arc<Rules>, Lost> {
        // A state without rules never had a genesis: there is nothing to answer from.
        let bytes = view.get(META, META_RULES)?.ok_or(Lost)?;
        if let Some((known, rules)) = &*self.rules.read().unwrap_or_else(PoisonError::into_inner)
            && *known == bytes
        {
            return Ok(rules.clone());
        }
        let rules: Arc<Rules> = Arc::new(
            serde_json::from_slice(&bytes).expect("rules are written by this adapter only"),
        );
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Some((bytes, rules.clone()));
        Ok(rules)
    }

    fn run(&self, units: &[Unit], exec: &mut dyn Exec) -> Result<Vec<Outcome>, Lost> {
        let rules = self.rules(exec.view())?;
        let ground = Ground {
            codes: &self.codes,
            rules: &rules,
            environment: Environment::of_batch(exec, &rules)?,
        };
        let (outcomes, changes) = ground.run(units, exec, self.spread.as_deref())?;
        keep(changes, &rules, exec)?;
        Ok(outcomes)
    }
}

/// Writes changes, and what the settings want kept of the state before them.
fn keep(changes: Changes, rules: &Rules, exec: &mut dyn Exec) -> Result<(), Lost> {
    if rules.roots == Roots::Plain {
        trie::keep(&changes, rules, exec)?;
    }
    if rules.states_kept > 0 {
        past::note(&changes, exec)?;
    }
    changes.write(exec);
    Ok(())
}

impl Machine for Ethereum {
    fn describe(&self) -> Descriptor {
        Descriptor {
            protocol: "ethereum",
            state_format: 2,
            domains: domains(),
        }
    }

    fn genesis(&self, settings: &adapter::Settings, exec: &mut dyn Exec) -> Result<(), Reject> {
        let sign_in =
            SignIn::parse(&settings.bytes).map_err(|e| Reject::new(Kind::Malformed, e))?;
        if let Some(sign_in) = &sign_in {
            let sign_in = serde_json::to_vec(sign_in).expect("settings are plain data");
            exec.put(META, META_SIGN_IN.into(), sign_in.into());
        }
        let settings = Settings::parse(&settings.bytes)
            .map_err(|e| Reject::new(Kind::Malformed, e.to_string()))?;
        let rules = serde_json::to_vec(&settings.rules).expect("rules are plain data");
        exec.put(META, META_RULES.into(), rules.into());
        for (hash, code) in &settings.codes {
            exec.put(
                CODE,
                Bytes::copy_from_slice(hash.as_slice()),
                code.0.clone(),
            );
        }
        let mut changes = Changes::default();
        for (address, given) in &settings.alloc {
            let mut record = AccountRecord {
                balance: given.balance,
                nonce: given.nonce,
                ..Default::default()
            };
            if let Some(code) = given.code.as_ref().filter(|code| !code.is_empty()) {
                record.code_hash = keccak256(code);
                exec.put(
                    CODE,
                    Bytes::copy_from_slice(record.code_hash.as_slice()),
                    code.0.clone(),
                );
            }
            if let Some(hash) = given.code_hash {
                record.code_hash = hash;
            }
            changes.accounts.insert(*address, Some(record));
            for (slot, value) in given.storage.iter().filter(|(_, value)| !value.is_zero()) {
                let place = storage_key(address, 0, *slot);
                changes.slots.insert(place, Some(*value));
            }
        }
        if settings.rules.replay.is_none() {
            system_contracts(exec, &mut changes);
        }
        let lost = |Lost| Reject::new(Kind::Fault, "the state was lost during genesis");
        keep(changes, &settings.rules, exec).map_err(lost)?;
        block::genesis(exec, &settings.rules, settings.timestamp);
        self.declare(&settings, exec)
            .and_then(|()| self.open_foreign_block(&settings.rules, exec))
            .and_then(|()| block::settle_genesis(exec, &settings.rules))
            .map_err(lost)
    }

    fn found(&self, network: &[u8; 32], exec: &mut dyn Exec) {
        let place = storage_key(&system::LEDGER, 0, system::NETWORK_SLOT);
        let mut changes = Changes::default();
        changes
            .slots
            .insert(place, Some(U256::from_be_bytes(*network)));
        self.rules(exec.view())
            .and_then(|rules| {
                keep(changes, &rules, exec)?;
                block::settle_genesis(exec, &rules)
            })
            .expect("the state was just made");
    }

    fn migrate(&self, from: u32, _exec: &mut dyn Exec) -> Result<(), Reject> {
        match from {
            2 => Ok(()),
            other => Err(Reject::new(
                Kind::Fault,
                format!("state format {other} is unknown; this adapter reads format 2"),
            )),
        }
    }

    fn admit(&self, view: &dyn View, caller: &Caller, raw: &Bytes) -> Result<Ticket, Reject> {
        let lost = |Lost| Reject::new(Kind::Busy, "this node's state is being rebuilt; try again");
        let rules = self.rules(view).map_err(lost)?;
        if caller.auditor && rules.access().is_some() && reading::is_meant(raw) {
            return reading::admit(raw);
        }
        let transaction = Transaction::admit(raw, &rules)?;
        let nonce = transaction.env.nonce;
        if let Some(access) = rules.access()
            && transaction.env.kind.is_create()
            && !access.may_deploy(&caller.actor)
        {
            let message = "you may not create contracts on this network";
            return Err(Reject::new(Kind::Unauthorized, message));
        }
        if rules.replay.is_none() {
            intrinsic_gas(&transaction, &rules)?;
        }
        let next = account(view, &transaction.sender)
            .map_err(lost)?
            .map_or(0, |record| record.nonce);
        if nonce < next {
            return Err(Reject::new(
                Kind::Invalid,
                format!("nonce too low: next nonce {next}, tx nonce {nonce}"),
            ));
        }
        let sender = Bytes::copy_from_slice(transaction.sender.as_slice());
        Ok(Ticket {
            id: UnitId(transaction.hash.0),
            lane: sender.clone(),
            lane_seq: nonce,
            lane_next: next,
            after: Vec::new(),
            established: sender,
            memo: Memo(Some(Arc::new(transaction))),
        })
    }

    fn execute(&self, unit: &Unit, exec: &mut dyn Exec) -> Result<Outcome, Lost> {
        let mut outcomes = self.run(std::slice::from_ref(unit), exec)?;
        Ok(outcomes.pop().expect("one unit gives one outcome"))
    }

    fn execute_all(&self, units: &[Unit], exec: &mut dyn Exec) -> Result<Vec<Outcome>, Lost> {
        self.run(units, exec)
    }

    fn seal(
        &self,
        units: &[Unit],
        outcomes: &[Outcome],
        exec: &mut dyn Exec,
    ) -> Result<Claim, Lost> {
        let rules = self.rules(exec.view())?;
        self.close_foreign_block(&rules, exec)?;
        let env = exec.env();
        let timestamp = block::timestamp(exec.view(), env.height, env.time.0)?;
        Ok(Claim {
            bytes: block::seal(exec, &rules, timestamp, units, outcomes)?,
        })
    }

    fn claim_digest(&self, unit: &Unit, receipt: &Bytes) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(b"coco ethereum claim v1");
        hasher.update(unit.id.as_ref());
        hasher.update(Sha256::digest(receipt));
        Digest(hasher.finalize().into())
    }

    fn file(&self, batch: &adapter::Batch) -> Filed {
        block::file(batch)
    }

    fn authorize(
        &self,
        _view: &dyn View,
        caller: &Caller,
        action: Action<'_>,
    ) -> Result<Access, Lost> {
        Ok(crate::visibility::authorize(caller, action))
    }
}

impl Ethereum {
    /// Of a confidential network: what the contracts of the first state declare, the policies attached to
    /// them, and the accounts that belong to actors from the beginning.
    fn declare(&self, settings: &Settings, exec: &mut dyn Exec) -> Result<(), Lost> {
        let rules = &settings.rules;
        let Some(access) = rules.access() else {
            return Ok(());
        };
        let environment = Environment::of_call(exec.view(), rules, settings.timestamp);
        let world = world_of(rules, access, &environment);
        let mut executor = Executor::new(exec.view(), &self.codes, rules, environment);
        let overlay = executor.overlay();
        for address in settings.alloc.keys() {
            if overlay.has_code(address)? && !system::is_system(address) {
                eyes::declare(overlay, &world, address)?;
            }
        }
        for (target, policy) in &access.policies {
            overlay.record(system::policy_slot(target), policy.into_word().into());
        }
        let governors = U256::from(access.governors.len());
        overlay.record(access::governors_slot(), governors);
        for actor in &access.governors {
            overlay.record(access::governor_slot(*actor), U256::from(1));
        }
        let mut changes = executor.into_changes();
        for (account, actor) in &access.accounts {
            let place = access::place(1, &[account.into_word()]);
            let place = storage_key(&system::IDENTITY, 0, place);
            let actor = U256::from_be_bytes(actor.0);
            changes.slots.insert(place, Some(actor));
        }
        keep(changes, rules, exec)
    }

    /// What a fork does before the first transaction of a block. Replay rules only: a network has no
    /// beacon chain, and BLOCKHASH serves its hashes.
    fn open_foreign_block(&self, rules: &Rules, exec: &mut dyn Exec) -> Result<(), Lost> {
        let Some(replay) = rules.replay.as_ref().filter(|replay| replay.system_calls) else {
            return Ok(());
        };
        self.system_calls(
            rules,
            exec,
            [
                (
                    Fork::Cancun,
                    BEACON_ROOTS,
                    replay.parent_beacon_block_root.to_vec(),
                ),
                (Fork::Prague, HISTORY, replay.parent_hash.to_vec()),
            ],
        )
    }

    fn close_foreign_block(&self, rules: &Rules, exec: &mut dyn Exec) -> Result<(), Lost> {
        if rules
            .replay
            .as_ref()
            .is_none_or(|replay| !replay.system_calls)
        {
            return Ok(());
        }
        let calls =
            [WITHDRAWALS, CONSOLIDATIONS].map(|contract| (Fork::Prague, contract, Vec::new()));
        self.system_calls(rules, exec, calls)
    }

    fn system_calls(
        &self,
        rules: &Rules,
        exec: &mut dyn Exec,
        calls: impl IntoIterator<Item = (Fork, Address, Vec<u8>)>,
    ) -> Result<(), Lost> {
        let environment = Environment::of_batch(exec, rules)?;
        let mut executor = Executor::new(exec.view(), &self.codes, rules, environment);
        foreign_calls(&mut executor, rules, calls)?;
        keep(executor.into_changes(), rules, exec)
    }
}

/// What a foreign chain does before the first transaction of a block that is simulated.
pub(crate) fn open_block(
    executor: &mut Executor<'_>,
    rules: &Rules,
    header: &Header,
) -> Result<(), Lost> {
    let root = header.parent_beacon_block_root.unwrap_or_default();
    let calls = [
        (Fork::Cancun, BEACON_ROOTS, root.to_vec()),
        (Fork::Prague, HISTORY, header.parent_hash.to_vec()),
    ];
    foreign_calls(executor, rules, calls)
}

/// And after the last one.
pub(crate) fn close_block(executor: &mut Executor<'_>, rules: &Rules) -> Result<(), Lost> {
    let calls = [WITHDRAWALS, CONSOLIDATIONS].map(|contract| (Fork::Prague, contract, Vec::new()));
    foreign_calls(executor, rules, calls)
}

fn foreign_calls(
    executor: &mut Executor<'_>,
    rules: &Rules,
    calls: impl IntoIterator<Item = (Fork, Address, Vec<u8>)>,
) -> Result<(), Lost> {
    for (since, contract, data) in calls {
        if rules.fork >= since && executor.overlay().has_code(&contract)? {
            executor.system(contract, data)?;
        }
    }
    Ok(())
}

/// The system contracts' accounts. What the settings say about their addresses does not count.
fn system_contracts(exec: &mut dyn Exec, changes: &mut Changes) {
    let code_hash = keccak256(system::CODE_SHOWN);
    exec.put(
        CODE,
        Bytes::copy_from_slice(code_hash.as_slice()),
        Bytes::from_static(system::CODE_SHOWN),
    );
    for address in system::ADDRESSES {
        let record = AccountRecord {
            nonce: 1,
            code_hash,
            ..AccountRecord::default()
        };
        changes.accounts.insert(address, Some(record));
    }
}

/// What a transaction costs before its first instruction must fit into its gas limit.
fn intrinsic_gas(transaction: &Transaction, rules: &Rules) -> Result<(), Reject> {
    use revm::context_interface::cfg::gas_params::GasParams;
    let gas = GasParams::new_spec(rules.fork.spec()).initial_tx_gas_for_tx(&transaction.env, None);
    let limit = transaction.env.gas_limit;
    let too_low = |what: &str, needed: u64| {
        Err(Reject::new(
            Kind::Invalid,
            format!("{what}: gas {limit}, minimum needed {needed}"),
        ))
    };
    if gas.initial_total_gas() > limit {
        return too_low("intrinsic gas too low", gas.initial_total_gas());
    }
    if rules.fork >= Fork::Prague && gas.floor_gas() > limit {
        return too_low("insufficient gas for floor data gas cost", gas.floor_gas());
    }
    Ok(())
}
