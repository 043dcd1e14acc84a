//! What an auditor reads is itself on the ledger.
//!
//! An auditor of a confidential network sees everything. Before it is answered, what it asks is
//! committed as a unit of its own, which changes no state and which no block shows:
//!
//! ```text
//! 0x7d  name (16)  the calls as JSON, [method, params]*
//! ```
//! 0x7d is no transaction type. The actor is the unit's caller, which the manager vouches for. What is
//! longer than [`CALLS_BYTES_MAX`] stands there by its Keccak-256, after the names of the methods.

use adapter::{Kind, Reject, Ticket, Unit};
use alloy_primitives::keccak256;
use bytes::{BufMut, Bytes, BytesMut};
use types::UnitId;

const MARK: u8 = 0x7d;
const NAME_BYTES: usize = 16;

/// Most bytes of calls that are written out.
const CALLS_BYTES_MAX: usize = 16 << 10;

/// What its units carry in the place of a sender.
const ESTABLISHED: &[u8] = b"reading";

/// The unit of these calls. `name` is different for each.
pub(crate) fn unit(name: [u8; NAME_BYTES], calls: &[(String, String)]) -> Bytes {
    let text = |(method, params): &(String, String)| {
        format!("[{},{params}]", serde_json::Value::from(method.as_str()))
    };
    let mut body = calls.iter().map(text).collect::<Vec<_>>().join(",");
    if body.len() > CALLS_BYTES_MAX {
        let digest = keccak256(&body);
        let mut methods: Vec<_> = calls.iter().map(|(method, _)| method.as_str()).collect();
        methods.sort_unstable();
        methods.dedup();
        let methods = serde_json::Value::from(methods).to_string();
        let short = methods.len() <= CALLS_BYTES_MAX;
        let methods = if short { methods } else { "[]".into() };
        body = format!("{methods},\"{digest}\"");
    }
    let mut raw = BytesMut::with_capacity(1 + NAME_BYTES + 2 + body.len());
    raw.put_u8(MARK);
    raw.put_slice(&name);
    raw.put_u8(b'[');
    raw.put_slice(body.as_bytes());
    raw.put_u8(b']');
    raw.freeze()
}

/// True if these bytes are meant as a record of a reading.
pub(crate) fn is_meant(raw: &[u8]) -> bool {
    raw.first() == Some(&MARK)
}

/// Admits a record. Whoever calls this has looked whether the caller is an auditor.
pub(crate) fn admit(raw: &Bytes) -> Result<Ticket, Reject> {
    if text(raw).is_none() || raw.len() > 4 * CALLS_BYTES_MAX {
        let message = "a record of a reading is a name and JSON";
        return Err(Reject::new(Kind::Malformed, message));
    }
    Ok(Ticket {
        id: UnitId(keccak256(raw).0),
        lane: Bytes::new(),
        lane_seq: 0,
        lane_next: 0,
        after: Vec::new(),
        established: Bytes::from_static(ESTABLISHED),
        memo: Default::default(),
    })
}

/// True if the unit was admitted as a record.
pub(crate) fn is_one(unit: &Unit) -> bool {
    is_meant(&unit.raw) && unit.established == ESTABLISHED
}

/// What a record says was asked, as JSON.
pub(crate) fn text(raw: &[u8]) -> Option<serde_json::Value> {
    let body = raw.get(1 + NAME_BYTES..)?;
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_are_named_by_their_digest() {
        let call = |params: String| ("eth_call".to_owned(), params);
        let short = unit([1; 16], &[call("[1]".into()), call("[2]".into())]);
        assert_eq!(
            text(&short).expect("JSON").to_string(),
            r#"[["eth_call",[1]],["eth_call",[2]]]"#
        );
        let long = unit([1; 16], &[call(format!("[\"{}\"]", "x".repeat(20_000)))]);
        assert!(long.len() < 200 && text(&long).is_some());
        assert!(admit(&long).is_ok());
        assert!(admit(&Bytes::from_static(&[MARK, 1])).is_err());
    }
}
