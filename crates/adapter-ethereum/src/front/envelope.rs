//! JSON-RPC 2.0: what comes in, what goes out.
//!
//! Error codes are those of the specification and of `ethereum/execution-apis`, so that clients
//! react as they do to any other node.

use std::borrow::Cow;

use adapter::{Kind, Lost, Missing, NotYet, Reject};
use alloy_primitives::B256;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most calls in one batch. The benchmark sends 100; ethers batches at most 100.
pub(crate) const BATCH_CALLS_MAX: usize = 1000;

/// Longest id, as text: it is echoed.
const ID_BYTES_MAX: usize = 256;

/// One call as sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Call<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    /// Absent: a notification, which is not answered. `null` is an id.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
}

/// Tells `"id": null` from no id.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl<'a> Call<'a> {
    /// Reads one call; what cannot be read is answered with the error and this id.
    pub(crate) fn parse(raw: &'a RawValue) -> (Id, Result<(Cow<'a, str>, Self), RpcError>) {
        let Ok(mut call) = serde_json::from_str::<Self>(raw.get()) else {
            return (Id::null(), Err(RpcError::invalid_request()));
        };
        let id = match call.id {
            None => Id(None),
            Some(raw) => match raw.get().as_bytes().first() {
                Some(b'"' | b'0'..=b'9' | b'-' | b'n') if raw.get().len() <= ID_BYTES_MAX => {
                    Id(Some(raw.get().to_owned()))
                }
                _ => return (Id::null(), Err(RpcError::invalid_request())),
            },
        };
        match call.method.take() {
            Some(method) if call.jsonrpc.as_deref() == Some("2.0") => (id, Ok((method, call))),
            _ => (
                if id.0.is_some() { id } else { Id::null() },
                Err(RpcError::invalid_request()),
            ),
        }
    }
}

/// The id of a call as JSON text; `None` for a notification.
#[derive(Debug, Clone)]
pub(crate) struct Id(Option<String>);

impl Id {
    pub(crate) fn null() -> Self {
        Self(Some("null".into()))
    }

    pub(crate) fn is_notification(&self) -> bool {
        self.0.is_none()
    }
}

/// A result as JSON text, or an error.
pub(crate) type Answer = Result<String, RpcError>;

/// Appends the answer to a call.
pub(crate) fn write(out: &mut Vec<u8>, id: &Id, answer: &Answer) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.0.as_deref().unwrap_or("null").as_bytes());
    match answer {
        Ok(result) => {
            out.extend_from_slice(br#","result":"#);
            out.extend_from_slice(result.as_bytes());
        }
        Err(error) => {
            out.extend_from_slice(
                format!(r#","error":{{"code":{},"message":"#, error.code).as_bytes(),
            );
            out.extend_from_slice(
                serde_json::Value::from(error.message.as_str())
                    .to_string()
                    .as_bytes(),
            );
            if let Some(data) = &error.data {
                out.extend_from_slice(br#","data":"#);
                out.extend_from_slice(data.as_bytes());
            }
            out.push(b'}');
        }
    }
    out.push(b'}');
}

/// A JSON-RPC error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) message: String,
    /// JSON text.
    pub(crate) data: Option<String>,
}

impl RpcError {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    pub(crate) fn with_data(self, data: String) -> Self {
        Self {
            data: Some(data),
            ..self
        }
    }

    pub(crate) fn parse() -> Self {
        Self::new(-32700, "parse error: the body is not JSON")
    }

    pub(crate) fn invalid_request() -> Self {
        Self::new(
            -32600,
            "invalid request: expected jsonrpc \"2.0\", a method and an id",
        )
    }

    pub(crate) fn no_method(name: &str) -> Self {
        // What is echoed is what the caller sent, cut to a name's length.
        let name: String = name.chars().take(64).collect();
        Self::new(
            -32601,
            format!("the method {name} does not exist/is not available"),
        )
    }

    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// Anything that the state or the rules forbid: geth's code for all of it.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(-32005, message)
    }

    /// Of a refused transaction.
    pub(crate) fn rejected(reject: &Reject) -> Self {
        let code = match reject.kind {
            Kind::Unauthorized => -32003,
            Kind::Busy => -32005,
            Kind::Fault => -32603,
            Kind::Malformed | Kind::Duplicate | Kind::Later | Kind::Invalid => -32000,
        };
        Self::new(code, reject.message.clone())
    }

    /// Nobody knows whether the transaction will be committed.
    pub(crate) fn unknown_outcome(hash: &B256, why: &str) -> Self {
        Self::server(format!(
            "outcome unknown: {why}; the transaction may still be committed: look it up by its hash, or send it again"
        ))
        .with_data(format!("\"{hash}\""))
    }
}

/// Why a method has no result now.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something is being fetched: poll again.
    Wait,
    Error(RpcError),
}

impl From<RpcError> for Stop {
    fn from(error: RpcError) -> Self {
        Self::Error(error)
    }
}

impl From<NotYet> for Stop {
    fn from(_: NotYet) -> Self {
        Self::Wait
    }
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::NotYet => Self::Wait,
            // The code that other clients use for history they do not have (EIP-4444).
            Missing::Elsewhere => Self::Error(RpcError::new(
                4444,
                "history unavailable: this node is still fetching that part of the ledger; ask another node, or this one later",
            )),
        }
    }
}

impl From<Lost> for Stop {
    fn from(_: Lost) -> Self {
        Self::Error(RpcError::server(
            "this node's state is being rebuilt: try again, or ask another node",
        ))
    }
}
