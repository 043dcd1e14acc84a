//! The methods of filters and subscriptions.

use adapter::Context;
use serde_json::{Value, json};
use types::Height;

use super::Session;
use super::envelope::{RpcError, Stop};
use super::filters::{Interest, Name};
use super::json::{self as show, bytes};
use super::logs::{Options, Range, Search};
use super::lookup;
use super::methods::Reply;
use super::params::{BlockId, Params};

/// Most blocks of one `eth_getFilterChanges`; asked again, it goes on.
const CHANGES_BLOCKS_MAX: u64 = 10_000;

/// As many hashes end one, too.
const CHANGES_MAX: usize = 10_000;

pub(crate) fn install(
    session: &Session,
    context: &dyn Context,
    interest: Interest,
) -> Result<Value, Stop> {
    let next = context.view().height().0 + 1;
    let rules = session.shared.machine.rules(context.view())?;
    let most = rules.access().map_or(usize::MAX, |access| {
        usize::try_from(access.limits.filters).unwrap_or(usize::MAX)
    });
    let name = session
        .interests()
        .install(&session.principal, context.now(), interest, next, most)
        .map_err(|most| {
            RpcError::limit(format!(
                "too many filters: uninstall some, at most {} are kept",
                most.0
            ))
        })?;
    Ok(bytes(&name))
}

/// The name in the first argument; `None` if it cannot be one.
pub(crate) fn name(params: &Params<'_>) -> Result<Option<Name>, RpcError> {
    let text: String = params.required(0)?;
    let mut name = [0; 16];
    let read = text
        .strip_prefix("0x")
        .is_some_and(|digits| hex::decode_to_slice(digits, &mut name).is_ok());
    Ok(read.then_some(name))
}

pub(crate) fn no_filter() -> Stop {
    RpcError::server("filter not found").into()
}

/// The caller's filter: its name, what it reports, and the first block it has not reported.
pub(crate) fn filter(
    session: &Session,
    context: &dyn Context,
    params: &Params<'_>,
) -> Result<(Name, Interest, u64), Stop> {
    let name = name(params)?.ok_or_else(no_filter)?;
    let mut interests = session.interests();
    let filter = interests
        .filter(&session.principal, context.now(), &name)
        .ok_or_else(no_filter)?;
    Ok((name, filter.interest.clone(), filter.next))
}

pub(crate) fn filter_changes(
    session: &Session,
    context: &mut dyn Context,
    params: &Params<'_>,
) -> Result<Reply, Stop> {
    let (name, interest, next) = filter(session, context, params)?;
    let head = context.view().height().0;
    let mut found = Vec::new();
    // The first block that is not reported now.
    let mut end = next;
    match interest {
        Interest::Blocks | Interest::Transactions => {
            while end <= head && end - next < CHANGES_BLOCKS_MAX && found.len() < CHANGES_MAX {
                let known = changes_of(session, context, &interest, end, &mut found);
                match known {
                    Ok(()) => end += 1,
                    // What is there is told now, and the rest when the client asks again.
                    Err(Stop::Wait) if end > next => break,
                    Err(stop) => return Err(stop),
                }
            }
        }
        Interest::Logs(pattern, range) => {
            // The filter's own end still holds; its beginning is what was not read yet.
            let last = match range {
                Range::Blocks {
                    to: BlockId::Number(to),
                    ..
                } => head.min(to),
                Range::Blocks { .. } => head,
                Range::Hash(_) => 0,
            };
            if next <= last {
                return Ok(Reply::Search(
                    Search::new(pattern, next, last),
                    Some((name, head + 1)),
                ));
            }
            end = head + 1;
        }
    }
    session.read_up_to(context.now(), &name, end);
    Ok(Value::Array(found).into())
}

/// What a block brought to a filter over blocks or transactions.
fn changes_of(
    session: &Session,
    context: &mut dyn Context,
    interest: &Interest,
    number: u64,
    found: &mut Vec<Value>,
) -> Result<(), Stop> {
    if matches!(interest, Interest::Blocks) {
        let stored = lookup::header(context, number)?;
        found.extend(stored.map(|stored| json!(stored.hash)));
    } else if let Some(batch) = context.batch(Height(number))? {
        session.look(context.view(), |sight| {
            found.extend(show::own(&batch, sight).map(|included| json!(included.hash())));
        })?;
    }
    Ok(())
}

pub(crate) fn needs_socket() -> Stop {
    RpcError::new(-32601, "notifications not supported: connect by WebSocket").into()
}

pub(crate) fn subscribe(session: &Session, params: &Params<'_>) -> Result<Value, Stop> {
    let Some(stream) = session.socket else {
        return Err(needs_socket());
    };
    let kind: String = params.required(0)?;
    let interest = match kind.as_str() {
        "newHeads" => Interest::Blocks,
        "newPendingTransactions" => Interest::Transactions,
        "logs" => {
            let (pattern, range) = params
                .optional::<Options>(1)?
                .unwrap_or_default()
                .into_parts()?;
            Interest::Logs(pattern, range)
        }
        _ => {
            return Err(RpcError::new(
                -32601,
                "no such subscription: choose newHeads, logs or newPendingTransactions",
            )
            .into());
        }
    };
    let name = session
        .interests()
        .subscribe(stream, session.principal.clone(), interest)
        .map_err(|most| {
            RpcError::limit(format!(
                "too many subscriptions on this connection: at most {}",
                most.0
            ))
        })?;
    Ok(bytes(&name))
}
