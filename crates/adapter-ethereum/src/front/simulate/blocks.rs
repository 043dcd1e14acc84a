//! `eth_simulateV1`: blocks that never were, on top of a real one.
//!
//! Source: `ethereum/execution-apis`, `eth_simulateV1`, with its error codes. Open on transparent networks
//! only ([`super::overrides`]). A network's rules hold in these blocks as well: where no fees are charged,
//! prices are shown and not charged, and there are no blobs.

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH};
use alloy_consensus::proofs::{
    calculate_receipt_root, calculate_transaction_root, calculate_withdrawals_root,
};
use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, Bloom, U256, keccak256};
use alloy_rlp::Encodable as _;
use revm::context::BlockEnv;
use revm::context_interface::block::BlobExcessGasAndPrice;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Session;
use super::super::envelope::{RpcError, Stop};
use super::super::json::{self as show, quantity};
use super::super::params::CallRequest;
use super::calls::{Called, Calls};
use super::overrides::{BlockOverrides, StateOverrides};
use crate::block::Stored;
use crate::execute::{Environment, Executor};
use crate::machine::Ethereum;
use crate::overlay::Changes;
use crate::settings::{Fork, Roots, Rules};
use crate::trie::Trie;
use adapter::View;

/// Most blocks of one simulation, those that fill gaps counted.
const BLOCKS_MAX: u64 = 256;

/// Gas that all calls of one request may use together.
const GAS_MAX: u64 = 50_000_000;

/// Seconds between blocks of which no time is said.
const BLOCK_SECONDS: u64 = 12;

/// Most values that one request may put into tries to know its roots.
const TRIE_PUTS_MAX: u64 = 200_000;

/// Bytes of JSON that one request may come to: half of the longest answer.
const BYTES_MAX: usize = 16 << 20;

/// The first parameter.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Simulation {
    block_state_calls: Vec<BlockStateCalls>,
    trace_transfers: bool,
    validation: bool,
    return_full_transactions: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BlockStateCalls {
    block_overrides: BlockOverrides,
    state_overrides: StateOverrides,
    calls: Vec<CallRequest>,
}

/// A block with its number and time.
struct Planned {
    number: u64,
    time: u64,
    given: BlockStateCalls,
}

impl Simulation {
    /// Puts the blocks in order and fills the gaps between them.
    fn plan(self, base: &Header) -> Result<Vec<Planned>, RpcError> {
        if self.block_state_calls.is_empty() {
            return Err(RpcError::invalid_params("empty input"));
        }
        let too_many = || RpcError::new(-38026, format!("too many blocks: at most {BLOCKS_MAX}"));
        let mut overrides = 0;
        let mut planned = Vec::new();
        let (mut number, mut time) = (base.number, base.timestamp);
        for given in self.block_state_calls {
            given.state_overrides.count(&mut overrides)?;
            let said = given.block_overrides.number.map(|number| number.0);
            let this = said.unwrap_or(number.saturating_add(1));
            if this <= number {
                let text = format!("block numbers must be in order: {this} <= {number}");
                return Err(RpcError::new(-38020, text));
            }
            if this - base.number > BLOCKS_MAX {
                return Err(too_many());
            }
            for between in number + 1..this {
                time = time.saturating_add(BLOCK_SECONDS);
                planned.push(Planned {
                    number: between,
                    time,
                    given: BlockStateCalls::default(),
                });
            }
            number = this;
            let said = given.block_overrides.time.map(|time| time.0);
            let then = said.unwrap_or(time.saturating_add(BLOCK_SECONDS));
            if then <= time {
                let text = format!("block timestamps must be in order: {then} <= {time}");
                return Err(RpcError::new(-38021, text));
            }
            time = then;
            planned.push(Planned {
                number,
                time,
                given,
            });
        }
        Ok(planned)
    }
}

/// What stays the same for all blocks of a request.
struct Run<'a> {
    rules: &'a Rules,
    executor: Executor<'a>,
    trie: Trie<'a>,
    /// What was changed up to the last block, and the root of the state then.
    changes: Changes,
    root: B256,
    validation: bool,
    transfers: bool,
    full: bool,
    gas_left: u64,
    bytes_left: usize,
}

/// Simulates on the state of `base`.
pub(crate) fn simulate(
    view: &dyn View,
    session: &Session,
    rules: &Rules,
    base: &Stored,
    simulation: Simulation,
) -> Result<Value, Stop> {
    let machine: &Ethereum = &session.shared.machine;
    let environment = Environment::of_call(view, rules, base.header.timestamp);
    let executor = Executor::configured(view, machine.codes(), rules, environment, |cfg| {
        cfg.disable_eip3607 = true;
        cfg.disable_nonce_check = !simulation.validation;
        // A call is bounded by the block's gas limit, not by that of one transaction.
        cfg.tx_gas_limit_cap = Some(u64::MAX);
    });
    let mut run = Run {
        rules,
        executor,
        trie: Trie::new(view),
        changes: Changes::default(),
        root: base.header.state_root,
        validation: simulation.validation,
        transfers: simulation.trace_transfers,
        full: simulation.return_full_transactions,
        gas_left: GAS_MAX,
        bytes_left: BYTES_MAX,
    };
    let mut parent = base.clone();
    run.executor
        .overlay()
        .imagine(parent.header.number, parent.hash);
    let mut blocks = Vec::new();
    for planned in simulation.plan(&base.header)? {
        let before = run.gas_left;
        let made = run.block(&parent, planned);
        session.meter.count(before - run.gas_left);
        let (stored, json) = made?;
        run.executor
            .overlay()
            .imagine(stored.header.number, stored.hash);
        blocks.push(json);
        parent = stored;
    }
    Ok(blocks.into())
}

impl Run<'_> {
    fn block(&mut self, parent: &Stored, planned: Planned) -> Result<(Stored, Value), Stop> {
        let BlockStateCalls {
            block_overrides: over,
            state_overrides,
            calls,
        } = planned.given;
        let mut header = self.header(parent, planned.number, planned.time, &over);
        let block = BlockEnv {
            number: U256::from(header.number),
            beneficiary: header.beneficiary,
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or(0),
            difficulty: U256::ZERO,
            prevrandao: Some(header.mix_hash),
            blob_excess_gas_and_price: Some(BlobExcessGasAndPrice {
                excess_blob_gas: 0,
                blob_gasprice: over.blob_base_fee.map_or(1, |fee| fee.saturating_to()),
            }),
            slot_num: 0,
        };
        self.executor.enter_block(block);
        self.executor.system_contracts().moved.clear();
        state_overrides.apply(&mut self.executor)?;
        let opens = self
            .rules
            .replay
            .as_ref()
            .is_some_and(|replay| replay.system_calls);
        if opens {
            crate::machine::open_block(&mut self.executor, self.rules, &header)?;
        }
        let mut made = Calls {
            executor: &mut self.executor,
            rules: self.rules,
            header: &header,
            validation: self.validation,
            transfers: self.transfers,
            gas_left: &mut self.gas_left,
            bytes_left: &mut self.bytes_left,
            next_log: 0,
            called: Vec::new(),
        };
        let ended = calls.into_iter().try_for_each(|call| made.call(call));
        let called = made.called;
        ended?;
        if opens {
            crate::machine::close_block(&mut self.executor, self.rules)?;
        }
        let withdrawals = over.withdrawals.unwrap_or_default();
        for withdrawal in &withdrawals {
            let wei = U256::from(withdrawal.amount) * U256::from(1_000_000_000);
            self.executor.overlay().pay(withdrawal.address, wei)?;
        }
        if header.withdrawals_root.is_some() {
            header.withdrawals_root = Some(calculate_withdrawals_root(&withdrawals));
        }
        self.close(&mut header, &called)?;
        let stored = Stored {
            hash: keccak256(alloy_rlp::encode(&header)),
            header,
        };
        Ok((stored.clone(), self.show(&stored, called, &withdrawals)))
    }

    fn header(
        &self,
        parent: &Stored,
        number: u64,
        timestamp: u64,
        over: &BlockOverrides,
    ) -> Header {
        let since = |fork| self.rules.fork >= fork;
        let parent_header = &parent.header;
        let said = over.base_fee_per_gas.map(|fee| fee.0);
        let base_fee = said.unwrap_or_else(|| {
            let next = parent_header.next_block_base_fee(BaseFeeParams::ethereum());
            // Unless it is asked for, a call without a price pays none.
            next.filter(|_| self.validation).unwrap_or(0)
        });
        Header {
            parent_hash: parent.hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: over.fee_recipient.unwrap_or(parent_header.beneficiary),
            number,
            timestamp,
            gas_limit: over.gas_limit.map_or(parent_header.gas_limit, |gas| gas.0),
            mix_hash: over.prev_randao.unwrap_or_default(),
            base_fee_per_gas: since(Fork::London).then_some(base_fee),
            withdrawals_root: since(Fork::Shanghai).then_some(EMPTY_ROOT_HASH),
            blob_gas_used: since(Fork::Cancun).then_some(0),
            excess_blob_gas: since(Fork::Cancun).then_some(0),
            parent_beacon_block_root: since(Fork::Cancun).then_some(B256::ZERO),
            requests_hash: since(Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }

    /// What the header says of the block's content.
    fn close(&mut self, header: &mut Header, called: &[Called]) -> Result<(), Stop> {
        let mut receipts: Vec<ReceiptEnvelope> = Vec::with_capacity(called.len());
        for call in called {
            header.gas_used += call.receipt.gas_used;
            receipts.push(
                call.receipt
                    .envelope(call.envelope.tx_type(), header.gas_used),
            );
        }
        header.logs_bloom = receipts
            .iter()
            .fold(Bloom::ZERO, |all, receipt| all | *receipt.logs_bloom());
        header.receipts_root = calculate_receipt_root(&receipts);
        let envelopes: Vec<_> = called.iter().map(|call| &call.envelope).collect();
        header.transactions_root = calculate_transaction_root(&envelopes);
        if self.rules.roots == Roots::Plain {
            let now = self.executor.overlay().changes();
            let since = now.since(&self.changes);
            self.root = self.trie.apply(self.root, &since, self.rules)?;
            self.changes = now;
            if self.trie.puts > TRIE_PUTS_MAX {
                let text = "the blocks change too much state to know its roots: simulate fewer";
                return Err(RpcError::new(-38026, text).into());
            }
            header.state_root = self.root;
        }
        Ok(())
    }

    fn show(
        &self,
        stored: &Stored,
        called: Vec<Called>,
        withdrawals: &[alloy_eips::eip4895::Withdrawal],
    ) -> Value {
        let mut listed = 0;
        let mut transactions = Vec::with_capacity(called.len());
        let mut results = Vec::with_capacity(called.len());
        for (position, call) in (0u32..).zip(called) {
            listed += call.listed_bytes();
            transactions.push(if self.full {
                let place = Some((stored, position));
                let mut json = show::transaction(&call.envelope, &call.hash, &call.sender, place);
                json["gasPrice"] = quantity(call.price);
                json
            } else {
                json!(call.hash)
            });
            results.push(call.show(stored, position));
        }
        let mut map = show::header(stored);
        let extra: usize = withdrawals.iter().map(|one| one.length()).sum();
        map.insert("size".into(), quantity(show::size(stored, listed) + extra));
        map.insert("uncles".into(), json!([]));
        map.insert("transactions".into(), transactions.into());
        map.insert("calls".into(), results.into());
        if stored.header.withdrawals_root.is_some() {
            map.insert("withdrawals".into(), json!(withdrawals));
        }
        Value::Object(map)
    }
}
