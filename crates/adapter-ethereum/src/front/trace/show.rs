//! Traces as JSON, in the forms that clients know: nested calls, flat calls, states.

use std::collections::BTreeMap;

use adapter::Lost;
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::primitives::KECCAK_EMPTY;
use revm::state::{AccountInfo, EvmState};
use serde_json::{Map, Value, json};

use super::number;
use crate::front::json::{bytes, lower, quantity};
use crate::front::simulate::reason;
use crate::overlay::Overlay;
use crate::trace::{Frame, Kind};

/// A frame as `callTracer` writes it.
pub(super) fn frame(frame: &Frame, calls: bool, logs: bool) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.into(), value);
    put("type", json!(frame.kind.name()));
    put("from", lower(&frame.from));
    if let Some(to) = &frame.to {
        put("to", lower(to));
    }
    if let Some(value) = frame.value {
        put("value", quantity(value));
    }
    put("gas", quantity(frame.gas));
    put("gasUsed", quantity(frame.gas_used));
    put("input", bytes(&frame.input));
    if !frame.output.is_empty() {
        put("output", bytes(&frame.output));
    }
    if let Some(error) = frame.error {
        put("error", json!(error));
        if let Some(reason) = reason(&frame.output) {
            put("revertReason", json!(reason));
        }
    }
    if calls && !frame.calls.is_empty() {
        let inner: Vec<_> = frame
            .calls
            .iter()
            .map(|call| self::frame(call, calls, logs))
            .collect();
        put("calls", inner.into());
    }
    if logs && !frame.logs.is_empty() {
        let emitted: Vec<_> = frame
            .logs
            .iter()
            .map(|emitted| {
                json!({
                    "address": lower(&emitted.log.address),
                    "topics": emitted.log.data.topics(),
                    "data": bytes(&emitted.log.data.data),
                    "index": quantity(emitted.index),
                    "position": quantity(emitted.position),
                })
            })
            .collect();
        put("logs", emitted.into());
    }
    Value::Object(map)
}

/// A frame and all below it, as `trace_*` writes them.
pub(super) fn flat(frame: &Frame, place: &mut Vec<usize>, into: &mut Vec<Value>) {
    let calls = || frame.calls.iter().filter(|call| shows(call));
    let (kind, action, result) = match frame.kind {
        Kind::Create | Kind::Create2 => (
            "create",
            json!({
                "from": lower(&frame.from),
                "gas": number(frame.gas),
                "init": bytes(&frame.input),
                "value": quantity(frame.value.unwrap_or_default()),
                "creationMethod": if frame.kind == Kind::Create { "create" } else { "create2" },
            }),
            json!({
                "address": frame.to.as_ref().map(lower),
                "code": bytes(&frame.output),
                "gasUsed": number(frame.gas_used),
            }),
        ),
        Kind::SelfDestruct => (
            "suicide",
            json!({
                "address": lower(&frame.from),
                "refundAddress": frame.to.as_ref().map(lower),
                "balance": quantity(frame.value.unwrap_or_default()),
            }),
            Value::Null,
        ),
        _ => (
            "call",
            json!({
                "callType": frame.kind.name().to_lowercase(),
                "from": lower(&frame.from),
                "to": frame.to.as_ref().map(lower),
                "gas": number(frame.gas),
                "input": bytes(&frame.input),
                "value": quantity(frame.value.unwrap_or_default()),
            }),
            json!({"gasUsed": number(frame.gas_used), "output": bytes(&frame.output)}),
        ),
    };
    let mut item = json!({
        "type": kind,
        "action": action,
        "subtraces": calls().count(),
        "traceAddress": place,
    });
    match frame.error {
        Some("execution reverted") => item["error"] = json!("Reverted"),
        Some("out of gas") => item["error"] = json!("Out of gas"),
        Some(error) => item["error"] = json!(error),
        None => item["result"] = result,
    }
    into.push(item);
    for (n, call) in calls().enumerate() {
        place.push(n);
        flat(call, place, into);
        place.pop();
    }
}

/// Precompiles that are not paid anything are left out, as other clients do.
fn shows(call: &Frame) -> bool {
    !call.is_precompile || call.value.is_some_and(|value| !value.is_zero())
}

/// What a transaction touched, as it was before and after.
#[derive(Debug, Default)]
pub(super) struct Before(BTreeMap<Address, Pair>);

#[derive(Debug)]
struct Pair {
    before: Side,
    after: Side,
}

#[derive(Debug, PartialEq, Eq)]
struct Side {
    /// `None`: it does not exist.
    info: Option<(U256, u64, B256)>,
    code: Bytes,
    storage: BTreeMap<B256, B256>,
}

impl Before {
    pub(super) fn of(overlay: &mut Overlay<'_>, touched: EvmState) -> Result<Self, Lost> {
        let mut all = BTreeMap::new();
        for (address, account) in touched {
            let existed = !account.is_loaded_as_not_existing();
            let gone = account.is_selfdestructed() || account.is_empty();
            let original = account.original_info();
            let mut before = side(overlay, existed.then_some(&original))?;
            let mut after = side(overlay, (!gone).then_some(&account.info))?;
            for (slot, value) in account.storage {
                let slot: B256 = slot.into();
                before.storage.insert(slot, value.original_value.into());
                after.storage.insert(slot, value.present_value.into());
            }
            all.insert(address, Pair { before, after });
        }
        Ok(Self(all))
    }

    pub(super) fn bytes(&self) -> usize {
        let side = |side: &Side| 200 + 2 * side.code.len() + 140 * side.storage.len();
        let pairs = self.0.values();
        pairs
            .map(|pair| side(&pair.before) + side(&pair.after))
            .sum()
    }

    /// As `prestateTracer` writes it.
    pub(super) fn show(&self, diff: bool, code: bool, storage: bool) -> Value {
        let (mut pre, mut post) = (Map::new(), Map::new());
        for (address, Pair { before, after }) in &self.0 {
            let Value::String(name) = lower(address) else {
                unreachable!("addresses are written as text");
            };
            if !diff {
                pre.insert(name, before.show(None, code, storage));
                continue;
            }
            if before == after {
                continue;
            }
            if before.info.is_some() {
                pre.insert(name.clone(), before.show(Some(after), code, storage));
            }
            if after.info.is_some() {
                post.insert(name, after.changed(before, code, storage));
            }
        }
        if diff {
            json!({"pre": pre, "post": post})
        } else {
            Value::Object(pre)
        }
    }
}

fn side(overlay: &mut Overlay<'_>, info: Option<&AccountInfo>) -> Result<Side, Lost> {
    let mut side = Side {
        info: None,
        code: Bytes::new(),
        storage: BTreeMap::new(),
    };
    if let Some(info) = info {
        side.info = Some((info.balance, info.nonce, info.code_hash));
        if info.code_hash != KECCAK_EMPTY {
            let code = match &info.code {
                Some(code) => code.clone(),
                None => overlay.code_of(info.code_hash)?,
            };
            side.code = code.original_bytes();
        }
    }
    Ok(side)
}

impl Side {
    /// All of it; of slots those that are not as in `other`, if that is given, and none that is zero.
    fn show(&self, other: Option<&Side>, code: bool, storage: bool) -> Value {
        let (balance, nonce, hash) = self.info.unwrap_or((U256::ZERO, 0, KECCAK_EMPTY));
        let mut map = Map::new();
        map.insert("balance".into(), quantity(balance));
        if nonce != 0 {
            map.insert("nonce".into(), json!(nonce));
        }
        if code && hash != KECCAK_EMPTY {
            map.insert("code".into(), bytes(&self.code));
            map.insert("codeHash".into(), json!(hash));
        }
        let slots: BTreeMap<_, _> = self
            .storage
            .iter()
            .filter(|(slot, value)| match other {
                Some(other) => !value.is_zero() && other.storage.get(*slot) != Some(*value),
                None => true,
            })
            .collect();
        if storage && !slots.is_empty() {
            map.insert("storage".into(), json!(slots));
        }
        Value::Object(map)
    }

    /// What is not as before.
    fn changed(&self, before: &Side, code: bool, storage: bool) -> Value {
        let (balance, nonce, hash) = self.info.unwrap_or((U256::ZERO, 0, KECCAK_EMPTY));
        let (old_balance, old_nonce, old_hash) =
            before.info.unwrap_or((U256::ZERO, 0, KECCAK_EMPTY));
        let mut map = Map::new();
        if balance != old_balance {
            map.insert("balance".into(), quantity(balance));
        }
        if nonce != old_nonce {
            map.insert("nonce".into(), json!(nonce));
        }
        if code && hash != old_hash {
            map.insert("code".into(), bytes(&self.code));
            map.insert("codeHash".into(), json!(hash));
        }
        let slots: BTreeMap<_, _> = self
            .storage
            .iter()
            .filter(|(slot, value)| !value.is_zero() && before.storage.get(*slot) != Some(*value))
            .collect();
        if storage && !slots.is_empty() {
            map.insert("storage".into(), json!(slots));
        }
        Value::Object(map)
    }
}
