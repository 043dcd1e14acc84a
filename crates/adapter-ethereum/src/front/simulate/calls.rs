//! The calls of one simulated block.

use alloy_consensus::{Header, SignableTransaction as _, Transaction as _, TxEip1559, TxEip7702};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_rlp::Encodable as _;
use revm::Database as _;
use revm::context::TxEnv;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, Output};
use revm::context_interface::either::Either;
use serde_json::{Value, json};
use types::ActorId;

use super::super::envelope::{RpcError, Stop};
use super::super::json::{self as show, bytes, quantity};
use super::super::params::CallRequest;
use super::{halted, reverted};
use crate::block::Stored;
use crate::execute::Executor;
use crate::overlay::Gone;
use crate::receipt::Receipt;
use crate::settings::Rules;
use crate::trace::{Frames, Tracer};
use crate::transaction::{Envelope, recovered};

/// Code of a call that the EVM stopped.
const STOPPED: i32 = -32015;

/// A call that ran.
pub(super) struct Called {
    pub(super) envelope: Envelope,
    pub(super) hash: B256,
    pub(super) sender: Address,
    /// What one unit of gas cost.
    pub(super) price: u128,
    pub(super) receipt: Receipt,
    /// Most gas that was in use at once.
    peak: u64,
    output: Bytes,
    error: Option<Value>,
    /// With their numbers.
    logs: Vec<(usize, alloy_primitives::Log)>,
}

impl Called {
    /// What it takes in the block's list of transactions.
    pub(super) fn listed_bytes(&self) -> usize {
        let raw = self.envelope.encoded_2718();
        raw.as_slice().length()
    }

    pub(super) fn show(self, block: &Stored, position: u32) -> Value {
        let logs: Vec<_> = self
            .logs
            .iter()
            .map(|(index, log)| show::log(log, block, &self.hash, position, *index))
            .collect();
        let mut json = json!({
            "returnData": bytes(&self.output),
            "logs": logs,
            "gasUsed": quantity(self.receipt.gas_used),
            "maxUsedGas": quantity(self.peak),
            "status": quantity(u8::from(self.receipt.success())),
        });
        if let Some(error) = self.error {
            json["error"] = error;
        }
        json
    }
}

/// The calls so far, and what is left for the others.
pub(super) struct Calls<'r, 'a> {
    pub(super) executor: &'r mut Executor<'a>,
    pub(super) rules: &'r Rules,
    pub(super) header: &'r Header,
    pub(super) validation: bool,
    pub(super) transfers: bool,
    pub(super) gas_left: &'r mut u64,
    pub(super) bytes_left: &'r mut usize,
    pub(super) next_log: u64,
    pub(super) called: Vec<Called>,
}

fn no_room() -> RpcError {
    RpcError::limit("the simulation's result is too large: simulate less at once")
}

impl Calls<'_, '_> {
    pub(super) fn call(&mut self, request: CallRequest) -> Result<(), Stop> {
        let sender = request.from.unwrap_or_default();
        let envelope = self.envelope(request, sender)?;
        let hash = envelope.tx_hash().to_owned();
        let base_fee = self.header.base_fee_per_gas.unwrap_or(0);
        let price = envelope.effective_gas_price(Some(base_fee));
        let environment = self.environment(&envelope, sender);
        let is_free = environment.gas_price == 0 && environment.gas_priority_fee == Some(0);
        self.executor
            .configure(|cfg| cfg.disable_base_fee = !self.validation && is_free);
        let frames = Frames::with(self.transfers, self.next_log, *self.bytes_left);
        self.executor.tracer = Some(Tracer::Frames(Box::new(frames)));
        let result = self.executor.apply(environment, &hash, ActorId::ZERO);
        let Some(Tracer::Frames(frames)) = self.executor.tracer.take() else {
            unreachable!("set above")
        };
        let result = result.map_err(refused)?;
        let gas = *result.gas();
        *self.gas_left = self.gas_left.saturating_sub(gas.tx_gas_used());
        if frames.budget.is_spent {
            return Err(no_room().into());
        }
        self.next_log = frames.next_log();
        let root = frames.into_root();
        let logs: Vec<_> = root
            .iter()
            .flat_map(|root| root.all_logs())
            // Bounded by gas, far below 2^32.
            .map(|emitted| (emitted.index as usize, emitted.log.clone()))
            .collect();
        let (output, error) = match &result {
            ExecutionResult::Success {
                output: Output::Call(data) | Output::Create(data, _),
                ..
            } => (data.clone(), None),
            ExecutionResult::Revert { output, .. } => {
                let error = reverted(output);
                let data = bytes(output);
                let error = json!({"code": error.code, "message": error.message, "data": data});
                (Bytes::new(), Some(error))
            }
            ExecutionResult::Halt { reason, .. } => {
                let message = format!("vm execution error: {}", halted(reason));
                let error = json!({"code": STOPPED, "message": message});
                (Bytes::new(), Some(error))
            }
        };
        let size = |data: &[u8]| 600 + 2 * data.len();
        let written = size(&output)
            + 2 * envelope.input().len()
            + logs
                .iter()
                .map(|(_, log)| size(&log.data.data) + 70 * log.data.topics().len())
                .sum::<usize>();
        *self.bytes_left = self.bytes_left.checked_sub(written).ok_or_else(no_room)?;
        self.called.push(Called {
            hash,
            sender,
            price,
            peak: gas.total_gas_spent().max(gas.floor_gas()),
            receipt: Receipt::of(result),
            envelope,
            output,
            error,
            logs,
        });
        Ok(())
    }

    /// The transaction that the call would be, with nobody's signature.
    fn envelope(&mut self, mut request: CallRequest, sender: Address) -> Result<Envelope, Stop> {
        let input = request.take_input()?;
        if request.blob_versioned_hashes.is_some() {
            return Err(RpcError::invalid_params("this network has no blob transactions").into());
        }
        if let Some(id) = request.chain_id
            && id.0 != self.rules.chain_id
        {
            let text = format!("chainId does not match: want {}", self.rules.chain_id);
            return Err(RpcError::invalid_params(text).into());
        }
        if request.gas_price.is_some()
            && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some())
        {
            let text = "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified";
            return Err(RpcError::invalid_params(text).into());
        }
        let nonce = match request.nonce {
            Some(nonce) => nonce.0,
            None => {
                let info = self.executor.overlay().basic(sender);
                let info = info.map_err(|Gone(lost)| lost)?;
                info.map_or(0, |info| info.nonce)
            }
        };
        if nonce == u64::MAX {
            // EIP-2681.
            return Err(RpcError::new(-32603, format!("nonce has max value: {nonce}")).into());
        }
        let used: u64 = self.called.iter().map(|call| call.receipt.gas_used).sum();
        let block_left = self.header.gas_limit.saturating_sub(used);
        let gas = request.gas.map_or(block_left, |gas| gas.0);
        if gas > block_left {
            let text = format!(
                "block gas limit reached: {used} >= {}",
                self.header.gas_limit
            );
            return Err(RpcError::new(-38015, text).into());
        }
        let price = |given: Option<U256>| {
            let given = given.or(request.gas_price).unwrap_or_default();
            u128::try_from(given).map_err(|_| RpcError::invalid_params("price above 128 bits"))
        };
        let max_fee_per_gas = price(request.max_fee_per_gas)?;
        let max_priority_fee_per_gas = price(request.max_priority_fee_per_gas)?;
        if max_priority_fee_per_gas > max_fee_per_gas && max_fee_per_gas > 0 {
            let text = "max priority fee per gas higher than max fee per gas";
            return Err(RpcError::invalid_params(text).into());
        }
        let value = request.value.unwrap_or_default();
        let access_list = request.access_list.unwrap_or_default();
        let gas_limit = gas.min(*self.gas_left);
        let signature = Signature::new(U256::ZERO, U256::ZERO, false);
        Ok(match request.authorization_list {
            Some(authorization_list) => TxEip7702 {
                chain_id: self.rules.chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: request.to.ok_or_else(|| {
                    RpcError::invalid_params("a transaction with authorizations creates nothing")
                })?,
                value,
                access_list,
                authorization_list,
                input,
            }
            .into_signed(signature)
            .into(),
            None => TxEip1559 {
                chain_id: self.rules.chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: request.to.map_or(TxKind::Create, TxKind::Call),
                value,
                access_list,
                input,
            }
            .into_signed(signature)
            .into(),
        })
    }

    /// The same for the EVM. Fees are charged where the rules are those of a chain that has them.
    fn environment(&self, envelope: &Envelope, caller: Address) -> TxEnv {
        let charged = |price: u128| {
            if self.rules.replay.is_some() {
                price
            } else {
                0
            }
        };
        TxEnv {
            tx_type: envelope.tx_type() as u8,
            caller,
            gas_limit: envelope.gas_limit(),
            gas_price: charged(envelope.max_fee_per_gas()),
            gas_priority_fee: Some(charged(envelope.max_priority_fee_per_gas().unwrap_or(0))),
            kind: envelope.kind(),
            value: envelope.value(),
            data: envelope.input().clone(),
            nonce: envelope.nonce(),
            chain_id: Some(self.rules.chain_id),
            access_list: envelope.access_list().cloned().unwrap_or_default(),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: envelope
                .authorization_list()
                .unwrap_or_default()
                .iter()
                .map(|signed| Either::Right(recovered(signed)))
                .collect(),
        }
    }
}

/// Error codes of the specification for a transaction that no block could hold.
fn refused(error: EVMError<Gone>) -> Stop {
    use InvalidTransaction as I;
    let code = match &error {
        EVMError::Database(Gone(lost)) => return (*lost).into(),
        EVMError::Transaction(reason) => match reason {
            I::NonceTooLow { .. } => -38010,
            I::NonceTooHigh { .. } => -38011,
            I::GasPriceLessThanBasefee => -38012,
            I::CallGasCostMoreThanGasLimit { .. } | I::GasFloorMoreThanGasLimit { .. } => -38013,
            I::LackOfFundForMaxFee { .. } => -38014,
            I::CallerGasLimitMoreThanBlock => -38015,
            I::RejectCallerWithCode => -38024,
            I::CreateInitCodeSizeLimit => -38025,
            I::PriorityFeeGreaterThanMaxFee => -32602,
            _ => -32603,
        },
        _ => -32603,
    };
    match crate::execute::refusal(error) {
        crate::execute::Refusal::Lost(lost) => lost.into(),
        crate::execute::Refusal::Rejected(reject) => RpcError::new(code, reject.message).into(),
        crate::execute::Refusal::Suspended(_) => unreachable!("EXTERNAL reverts in a simulation"),
    }
}
