//! `debug_trace*` and `trace_*`: what a transaction did, step by step or call by call.
//!
//! A committed transaction is run again on the state before its block, behind those that stand before it,
//! with the block's own time and entropy. That state is there for as many blocks as the settings keep
//! (`statesKept`). What comes out must be the committed receipt, byte for byte; otherwise the trace would
//! tell of something that never happened, and an error says so.
//!
//! Everywhere where everything is public, and for auditors, whose readings are recorded.

mod replay;
mod show;

use adapter::Context;
use alloy_primitives::B256;
use revm::context::result::ExecutionResult;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json::quantity;
use super::lookup::{Ground, body, find, place, state_number};
use super::params::{BlockId, CallRequest, Params};
use super::simulate::{self, BlockOverrides, StateOverrides, Supposed};
use crate::block::Stored;
use crate::settings::Rules;
use crate::trace::{Frames, StepOptions, Steps, Tracer};
use replay::Replayed;

/// True of the methods that [`answer`] answers.
pub(crate) fn is_trace(method: &str) -> bool {
    [
        "debug_traceTransaction",
        "debug_traceCall",
        "debug_traceBlockByNumber",
        "debug_traceBlockByHash",
        "trace_transaction",
        "trace_block",
    ]
    .contains(&method)
}

/// The last parameter of `debug_trace*`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    tracer: Option<String>,
    tracer_config: TracerConfig,
    #[serde(flatten)]
    steps: StepOptions,
    state_overrides: Option<StateOverrides>,
    block_overrides: Option<BlockOverrides>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TracerConfig {
    only_top_call: bool,
    with_log: bool,
    diff_mode: bool,
    disable_code: bool,
    disable_storage: bool,
}

/// What is wanted of a transaction.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Steps(StepOptions),
    Calls {
        only_top: bool,
        logs: bool,
    },
    State {
        diff: bool,
        code: bool,
        storage: bool,
    },
    /// The calls in a flat list, as `trace_*` gives them.
    Flat,
}

impl Options {
    fn wanted(&self) -> Result<Wanted, RpcError> {
        let config = &self.tracer_config;
        Ok(match self.tracer.as_deref() {
            None | Some("") => Wanted::Steps(self.steps),
            Some("callTracer") => Wanted::Calls {
                only_top: config.only_top_call,
                logs: config.with_log,
            },
            Some("prestateTracer") => Wanted::State {
                diff: config.diff_mode,
                code: !config.disable_code,
                storage: !config.disable_storage,
            },
            Some("flatCallTracer") => Wanted::Flat,
            Some(_) => {
                return Err(RpcError::invalid_params(
                    "unknown tracer: callTracer, prestateTracer, flatCallTracer, or none for each step",
                ));
            }
        })
    }
}

impl Wanted {
    fn tracer(&self) -> Option<Tracer> {
        match self {
            Self::Steps(options) => Some(Tracer::Steps(Box::new(Steps::new(*options)))),
            Self::Calls { .. } | Self::Flat => Some(Tracer::Frames(Box::new(Frames::new()))),
            Self::State { .. } => None,
        }
    }
}

fn too_large() -> Stop {
    RpcError::limit("the trace is too large: ask for less of each step, for a limit, or for calls")
        .into()
}

/// Answers one of them.
pub(crate) fn answer(
    session: &Session,
    context: &mut dyn Context,
    rules: &Rules,
    method: &str,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    let options = |i| -> Result<Options, RpcError> { Ok(params.optional(i)?.unwrap_or_default()) };
    match method {
        "debug_traceTransaction" | "trace_transaction" => {
            let hash: B256 = params.required(0)?;
            let flat = method == "trace_transaction";
            let wanted = if flat {
                Wanted::Flat
            } else {
                options(1)?.wanted()?
            };
            let Some((batch, stored, position)) = place(session, context, &hash)? else {
                if flat {
                    return Ok(Value::Null);
                }
                return Err(RpcError::server("transaction not found").into());
            };
            let only = Some(position);
            let mut all = replay::run(session, context, rules, &batch, &stored, only, wanted)?;
            let replayed = all.pop().ok_or_else(too_large)?;
            Ok(shown(replayed, wanted, &stored))
        }
        "debug_traceBlockByNumber" | "debug_traceBlockByHash" | "trace_block" => {
            let id = match method {
                "debug_traceBlockByHash" => BlockId::Hash(params.required(0)?),
                _ => params.required(0)?,
            };
            let flat = method == "trace_block";
            let wanted = if flat {
                Wanted::Flat
            } else {
                options(1)?.wanted()?
            };
            let Some(stored) = find(context, id)? else {
                return Err(RpcError::server("block not found").into());
            };
            let Some(batch) = body(context, &stored)? else {
                return Err(RpcError::server("genesis is not traceable").into());
            };
            let all = replay::run(session, context, rules, &batch, &stored, None, wanted)?;
            let mut list = Vec::new();
            for replayed in all {
                let hash = replayed.hash;
                match shown(replayed, wanted, &stored) {
                    Value::Array(items) if flat => list.extend(items),
                    result => list.push(json!({"txHash": hash, "result": result})),
                }
            }
            Ok(list.into())
        }
        "debug_traceCall" => {
            let request: CallRequest = params.required(0)?;
            let number = state_number(context, params.optional(1)?)?;
            let mut options = options(2)?;
            let wanted = options.wanted()?;
            let (state, block) = (
                options.state_overrides.take(),
                options.block_overrides.take(),
            );
            if rules.access().is_some() && (state.is_some() || block.is_some()) {
                let text = "state and block overrides are not available on this network";
                return Err(RpcError::invalid_params(text).into());
            }
            let supposed = Supposed::new(state, block)?;
            let ground = Ground::at(session, context.view(), number)?;
            session.dear(context.now(), rules, || {
                call(session, rules, &ground, request, supposed, wanted)
            })
        }
        unknown => Err(RpcError::no_method(unknown).into()),
    }
}

/// Traces a call that is not made.
fn call(
    session: &Session,
    rules: &Rules,
    ground: &Ground<'_>,
    mut request: CallRequest,
    supposed: Supposed,
    wanted: Wanted,
) -> Result<Value, Stop> {
    let cap = rules.transaction_gas_max();
    let gas = request.gas.map_or(cap, |gas| gas.0.min(cap));
    let transaction = simulate::environment(&mut request, rules, gas)?;
    let mut executor = simulate::executor(ground.view(), &session.shared.machine, rules)?;
    supposed.apply(&mut executor)?;
    executor.tracer = wanted.tracer();
    executor.touched = Some(Default::default());
    let gas_limit = transaction.gas_limit;
    let result = session.meter.run(&mut executor, transaction)?;
    let replayed = Replayed::gather(&mut executor, B256::ZERO, 0, gas_limit, result)?;
    let number = ground.view().height().0;
    let stored = crate::block::header(ground.view(), number)?;
    let stored = stored.ok_or_else(|| RpcError::server("header not found"))?;
    Ok(shown(replayed, wanted, &stored))
}

fn shown(replayed: Replayed, wanted: Wanted, stored: &Stored) -> Value {
    let Replayed {
        hash,
        position,
        gas_limit,
        result,
        tracer,
        before,
    } = replayed;
    match (wanted, tracer) {
        (Wanted::Steps(_), Some(Tracer::Steps(steps))) => steps_shown(&result, *steps),
        (Wanted::Calls { only_top, logs }, Some(Tracer::Frames(frames))) => {
            let Some(mut root) = frames.into_root() else {
                return json!({});
            };
            root.gas = gas_limit;
            root.gas_used = result.tx_gas_used();
            show::frame(&root, !only_top, logs)
        }
        (Wanted::Flat, Some(Tracer::Frames(frames))) => {
            let mut list = Vec::new();
            if let Some(root) = frames.into_root() {
                show::flat(&root, &mut Vec::new(), &mut list);
            }
            for item in &mut list {
                item["blockHash"] = json!(stored.hash);
                item["blockNumber"] = json!(stored.header.number);
                if !hash.is_zero() {
                    item["transactionHash"] = json!(hash);
                    item["transactionPosition"] = json!(position);
                }
            }
            list.into()
        }
        (
            Wanted::State {
                diff,
                code,
                storage,
            },
            _,
        ) => before.show(diff, code, storage),
        _ => json!({}),
    }
}

fn steps_shown(result: &ExecutionResult, steps: Steps) -> Value {
    let output = result.output().map_or_else(String::new, hex::encode);
    json!({
        "gas": result.tx_gas_used(),
        "failed": !result.is_success(),
        "returnValue": format!("0x{output}"),
        "structLogs": steps.written,
    })
}

/// A number as the flat traces write it.
fn number(n: u64) -> Value {
    quantity(n)
}
