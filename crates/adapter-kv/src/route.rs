//! From an HTTP request to what it asks for.

use adapter::{Kind, Reject, Request};
use bytes::Bytes;
use serde::Deserialize;
use types::Height;

use crate::command::{
    COMMANDS_MAX, Command, Condition, KEY_BYTES_MAX, Op, REQUEST_ID_BYTES_MAX, VALUE_BYTES_MAX,
    Version,
};

/// Entries of one listing if the client does not say.
const LIMIT_DEFAULT: usize = 100;

/// Most entries of one listing.
const LIMIT_MAX: usize = 1000;

/// Most versions of one answer: each may need a batch of its own from the ledger.
const VERSIONS_MAX: usize = 100;

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// What this node has committed.
    Local,
    /// Everything that was committed anywhere when the request came.
    Linear,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) enum Route {
    Read {
        key: Bytes,
        consistency: Consistency,
    },
    List {
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
        consistency: Consistency,
    },
    /// A key as it was at a height.
    At {
        key: Bytes,
        height: Height,
        consistency: Consistency,
    },
    /// Versions of a key, from the batch of this height (the latest if none is given) back.
    History {
        key: Bytes,
        from: Option<Height>,
        limit: usize,
        consistency: Consistency,
    },
    Write {
        request_id: Option<Bytes>,
        commands: Vec<Command>,
    },
    Receipt(Which),
}

/// The unit that a receipt is wanted of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    At {
        height: Height,
        position: u32,
    },
    /// The caller's own, by the id that it gave.
    Request(Bytes),
}

/// A status and its reason: not every refusal of HTTP is one of the protocol.
pub(crate) type Refused = (u16, Reject);

pub(crate) fn route(request: &Request) -> Result<Route, Refused> {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let query = Query::parse(query)?;
    match (request.method.as_str(), path) {
        ("POST", "/batch") => Ok(Route::Write {
            request_id: request_id(request)?,
            commands: batch(&request.body)?,
        }),
        (_, "/batch") => Err(refused(405, Kind::Malformed, "use POST")),
        ("GET" | "HEAD", "/kv") => Ok(Route::List {
            prefix: query.prefix,
            after: query.after,
            limit: query.limit,
            consistency: query.consistency,
        }),
        (_, "/kv") => Err(refused(405, Kind::Malformed, "use GET")),
        (method, path) if path.starts_with("/history/") => match method {
            "GET" | "HEAD" => Ok(Route::History {
                key: checked_key(percent_decode(&path["/history/".len()..])?.into())?,
                from: query.from,
                limit: query.limit.min(VERSIONS_MAX),
                consistency: query.consistency,
            }),
            _ => Err(refused(405, Kind::Malformed, "use GET")),
        },
        (method, path) if path.starts_with("/receipt/") => match method {
            "GET" | "HEAD" => Ok(Route::Receipt(which(&path["/receipt/".len()..])?)),
            _ => Err(refused(405, Kind::Malformed, "use GET")),
        },
        (method, path) => {
            let Some(key) = path.strip_prefix("/kv/") else {
                return Err(refused(
                    404,
                    Kind::Malformed,
                    "there are /kv, /kv/<key>, /history/<key>, /batch and /receipt",
                ));
            };
            let key = checked_key(percent_decode(key)?.into())?;
            let condition = condition(request)?;
            let command = |op| -> Result<Route, Refused> {
                let commands = vec![Command {
                    key: key.clone(),
                    condition: condition.clone(),
                    op,
                }];
                Ok(Route::Write {
                    request_id: request_id(request)?,
                    commands,
                })
            };
            match method {
                "GET" | "HEAD" => Ok(match query.at {
                    None => Route::Read {
                        key,
                        consistency: query.consistency,
                    },
                    Some(height) => Route::At {
                        key,
                        height,
                        consistency: query.consistency,
                    },
                }),
                "PUT" => command(Op::Put(checked_value(request.body.clone())?)),
                "DELETE" => command(Op::Delete),
                _ => Err(refused(405, Kind::Malformed, "use GET, PUT or DELETE")),
            }
        }
    }
}

fn which(path: &str) -> Result<Which, Refused> {
    let malformed =
        || malformed("it is /receipt/<height>/<position> or /receipt/request/<Coco-Request-Id>");
    match path.split_once('/').ok_or_else(malformed)? {
        ("request", id) => {
            let id = checked_request_id(percent_decode(id)?.into())?;
            Ok(Which::Request(id))
        }
        (height, position) => Ok(Which::At {
            height: Height(height.parse().map_err(|_| malformed())?),
            position: position.parse().map_err(|_| malformed())?,
        }),
    }
}

fn refused(status: u16, kind: Kind, message: &str) -> Refused {
    (status, Reject::new(kind, message))
}

fn malformed(message: impl Into<String>) -> Refused {
    (400, Reject::new(Kind::Malformed, message))
}

fn checked_key(key: Bytes) -> Result<Bytes, Refused> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || core::str::from_utf8(&key).is_err() {
        return Err(malformed(format!(
            "a key is text of 1 to {KEY_BYTES_MAX} bytes"
        )));
    }
    Ok(key)
}

fn checked_value(value: Bytes) -> Result<Bytes, Refused> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(refused(
            413,
            Kind::Malformed,
            "a value has at most 65,536 bytes",
        ));
    }
    Ok(value)
}

fn request_id(request: &Request) -> Result<Option<Bytes>, Refused> {
    let Some(id) = request.header("coco-request-id") else {
        return Ok(None);
    };
    checked_request_id(Bytes::copy_from_slice(id.as_bytes())).map(Some)
}

fn checked_request_id(id: Bytes) -> Result<Bytes, Refused> {
    if id.is_empty() || id.len() > REQUEST_ID_BYTES_MAX || !id.iter().all(u8::is_ascii_graphic) {
        return Err(malformed("Coco-Request-Id has 1 to 64 visible characters"));
    }
    Ok(id)
}

fn condition(request: &Request) -> Result<Condition, Refused> {
    match (request.header("if-match"), request.header("if-none-match")) {
        (None, None) => Ok(Condition::Always),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some(tag), None) => {
            let digits = tag
                .strip_prefix('"')
                .and_then(|tag| tag.strip_suffix('"'))
                .unwrap_or(tag);
            version(digits).map(Condition::Version)
        }
        _ => Err(malformed(
            "give one of If-Match: \"<version>\" and If-None-Match: *",
        )),
    }
}

fn version(digits: &str) -> Result<Version, Refused> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|_| malformed("a version is 32 hexadecimal digits"))?;
    Ok(Version(bytes))
}

/// The query of a target.
struct Query {
    prefix: Bytes,
    after: Option<Bytes>,
    limit: usize,
    at: Option<Height>,
    from: Option<Height>,
    consistency: Consistency,
}

impl Query {
    fn parse(query: &str) -> Result<Self, Refused> {
        let mut parsed = Self {
            prefix: Bytes::new(),
            after: None,
            limit: LIMIT_DEFAULT,
            at: None,
            from: None,
            consistency: Consistency::Local,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "prefix" => parsed.prefix = percent_decode(value)?.into(),
                "after" => parsed.after = Some(percent_decode(value)?.into()),
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    parsed.limit =
                        limit.ok_or_else(|| malformed(format!("limit is 1 to {LIMIT_MAX}")))?;
                }
                "at" => parsed.at = Some(height(value)?),
                "from" => parsed.from = Some(height(value)?),
                "consistency" => {
                    parsed.consistency = match value {
                        "local" => Consistency::Local,
                        "linear" => Consistency::Linear,
                        _ => return Err(malformed("consistency is local or linear")),
                    };
                }
                _ => {
                    return Err(malformed(
                        "the query knows prefix, after, limit, at, from and consistency",
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

fn height(value: &str) -> Result<Height, Refused> {
    let height = value.parse().map(Height);
    height.map_err(|_| malformed("a height is a decimal number"))
}

fn percent_decode(text: &str) -> Result<Vec<u8>, Refused> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
        let mut one = [0];
        hex::decode_to_slice(digits, &mut one)
            .map_err(|_| malformed("% is followed by two hexadecimal digits"))?;
        decoded.push(one[0]);
    }
    Ok(decoded)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchJson {
    commands: Vec<CommandJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandJson {
    op: String,
    key: String,
    value: Option<String>,
    value_hex: Option<String>,
    expect: Option<ExpectJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ExpectJson {
    Absent(bool),
    Version(String),
    Value(String),
    ValueHex(String),
}

/// The commands of `POST /batch` and of a WebSocket message.
pub(crate) fn batch(body: &Bytes) -> Result<Vec<Command>, Refused> {
    let batch: BatchJson =
        serde_json::from_slice(body).map_err(|error| malformed(format!("batch: {error}")))?;
    if batch.commands.is_empty() || batch.commands.len() > COMMANDS_MAX {
        return Err(malformed(format!(
            "a batch has 1 to {COMMANDS_MAX} commands"
        )));
    }
    batch.commands.into_iter().map(command).collect()
}

fn command(json: CommandJson) -> Result<Command, Refused> {
    let from_hex = |digits: String| {
        hex::decode(digits)
            .map(Bytes::from)
            .map_err(|_| malformed("value_hex is hexadecimal digits"))
    };
    let key = checked_key(json.key.into())?;
    let condition = match json.expect {
        None | Some(ExpectJson::Absent(false)) => Condition::Always,
        Some(ExpectJson::Absent(true)) => Condition::Absent,
        Some(ExpectJson::Version(digits)) => Condition::Version(version(&digits)?),
        Some(ExpectJson::Value(value)) => Condition::Value(checked_value(value.into())?),
        Some(ExpectJson::ValueHex(digits)) => Condition::Value(checked_value(from_hex(digits)?)?),
    };
    let op = match (json.op.as_str(), json.value, json.value_hex) {
        ("put", Some(value), None) => Op::Put(checked_value(value.into())?),
        ("put", None, Some(digits)) => Op::Put(checked_value(from_hex(digits)?)?),
        ("delete", None, None) => Op::Delete,
        _ => {
            return Err(malformed(
                "op is put, with one of value and value_hex, or delete, with neither",
            ));
        }
    };
    Ok(Command { key, condition, op })
}
