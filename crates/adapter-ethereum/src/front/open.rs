//! Methods that show what a confidential network hides: open where everything is public, and closed
//! (-32004) for everybody elsewhere, but for traces, which auditors read; each reading is recorded.

use adapter::Context;
use serde_json::Value;

use super::Session;
use super::envelope::{RpcError, Stop};
use super::lookup::{Ground, find, state_number};
use super::params::{BlockId, Params};
use super::simulate::{self, Simulation};
use super::{pool, raw, state_proof, trace};
use crate::settings::Rules;
use crate::visibility::Leak;

/// True of the methods that [`answer`] answers or closes.
pub(crate) fn is_known(method: &str) -> bool {
    ["debug_", "trace_", "txpool_"]
        .iter()
        .any(|prefix| method.starts_with(prefix))
        || ["eth_getProof", "eth_simulateV1", "eth_createAccessList"].contains(&method)
}

/// Answers one of them.
pub(crate) fn answer(
    session: &Session,
    context: &mut dyn Context,
    rules: &Rules,
    method: &str,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    let is_public = rules.access().is_none();
    let leaks = |leak| session.shared.leak.is(leak);
    let may_trace = is_public || session.principal.audits() || leaks(Leak::Traces);
    if trace::is_trace(method) && may_trace {
        return trace::answer(session, context, rules, method, params);
    }
    let is_open = is_public || (method == "eth_simulateV1" && leaks(Leak::Blocks));
    if !is_open {
        let text = format!("{method} is not available on this network");
        return Err(RpcError::new(-32004, text).into());
    }
    match method {
        "eth_simulateV1" => {
            let simulation: Simulation = params.required(0)?;
            let id: Option<BlockId> = params.optional(1)?;
            let base = find(context, id.unwrap_or(BlockId::Head))?
                .ok_or_else(|| RpcError::server("header not found"))?;
            let ground = Ground::at(session, context.view(), base.header.number)?;
            session.meter.may_go_on()?;
            session.dear(context.now(), rules, || {
                simulate::simulate_blocks(ground.view(), session, rules, &base, simulation)
            })
        }
        "eth_createAccessList" => {
            let request = params.required(0)?;
            let number = state_number(context, params.optional(1)?)?;
            let ground = Ground::at(session, context.view(), number)?;
            session.dear(context.now(), rules, || {
                simulate::access_list(ground.view(), session, rules, request)
            })
        }
        "eth_getProof" => state_proof::answer(session, context, rules, params),
        raw if raw::is_raw(raw) => raw::answer(session, context, raw, params),
        pool if pool::is_pool(pool) => pool::answer(session, context, rules, pool, params),
        unknown => Err(RpcError::no_method(unknown).into()),
    }
}
