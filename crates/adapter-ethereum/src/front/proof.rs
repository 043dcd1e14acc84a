//! `coco_getReceipt(hash)`: the ledger's own receipt of a transaction, as anyone can verify offline.
//!
//! What `eth_getTransactionReceipt` tells is this node's word. This one is the network's: a COSE
//! object that leads from the transaction's hash and result to a root that a node of the network
//! signed. The answer has what a verifier needs to compute the claim again; docs/receipts.md.

use adapter::{Access, Action, Context, Kind, Machine as _, Reject};
use alloy_primitives::B256;
use serde_json::{Value, json};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json::{self as show, bytes};
use super::lookup::place;

/// `null` for a transaction that is not committed, or that the caller may not see.
pub(crate) fn receipt(
    session: &Session,
    context: &mut dyn Context,
    hash: &B256,
) -> Result<Value, Stop> {
    let Some((batch, _, position)) = place(session, context, hash)? else {
        return Ok(Value::Null);
    };
    let visible = session.look(context.view(), |sight| {
        show::included(&batch, position, sight).is_some_and(|included| {
            // A proof shows the whole result, hidden logs and all.
            let all = included.receipt.logs.len();
            sight.is_open() || show::visible_logs(&included, sight) == all
        })
    })?;
    if !visible {
        return Ok(Value::Null);
    }
    let machine = &session.shared.machine;
    let (unit, _) = &batch.units[position as usize]; // `included` looked there
    let asked = Action::ReadReceipt { unit };
    if machine.authorize(context.view(), &session.caller, asked)? != Access::Allow {
        let reject = Reject::new(Kind::Unauthorized, "you may not have this receipt");
        return Err(RpcError::rejected(&reject).into());
    }
    let proof = context
        .receipt(batch.height, position)?
        .map_err(|reject| RpcError::server(reject.message))?;
    let (_, result) = &batch.units[position as usize]; // `included` looked there
    Ok(json!({
        "format": "coco-receipt/1",
        "protocol": "ethereum",
        "height": batch.height,
        "position": position,
        "claim": {
            "digest": bytes(&machine.claim_digest(unit, result).0),
            "unit": bytes(&unit.id.0),
            "transaction": bytes(&unit.raw),
            "result": bytes(result),
        },
        "receipt": bytes(&proof),
    }))
}
