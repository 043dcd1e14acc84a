//! A load: what the network starts with and every request that will be sent, byte for byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use alloy_primitives::keccak256;
use bytes::Bytes;

use crate::drive::Request;
use crate::ethereum::Senders;
use crate::{Options, Problem, Workload, ethereum, mainnet};

/// Signed and encoded before any clock starts.
#[derive(Default)]
pub struct Load {
    /// Settings by protocol, where the protocol needs other than its usual ones.
    pub(crate) genesis: BTreeMap<String, String>,
    pub(crate) warm_up: Vec<Request>,
    pub(crate) requests: Vec<Request>,
    /// Hash of each transaction, in the order of sending; empty for the key-value protocol.
    pub(crate) hashes: Vec<[u8; 32]>,
    /// What each measured transaction must come to, if that is known.
    pub(crate) expected: Option<Vec<Expected>>,
}

/// What a transaction must come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) succeeded: bool,
    pub(crate) gas_used: u64,
    pub(crate) logs: u64,
}

impl Load {
    /// Prepares everything: keys, signatures, encodings. Takes about 0.1 ms for each transaction.
    ///
    /// # Errors
    /// [`Problem::Input`]: an option, or test data that is not there.
    pub fn prepare(options: &Options) -> Result<Self, Problem> {
        options.check()?;
        match options.workload {
            Workload::Transfer | Workload::Erc20 => ethereum::prepare(options),
            Workload::Call => ethereum::calls(options),
            Workload::Mainnet => mainnet::prepare(options),
            Workload::Kv => Ok(key_values(options)),
            Workload::KvRead => Ok(key_reads(options)),
        }
    }

    /// The settings of a network for a load without an end over `options.senders` accounts.
    ///
    /// # Errors
    /// [`Problem::Input`]: another workload has an end.
    pub fn genesis_of(options: &Options) -> Result<BTreeMap<String, String>, Problem> {
        match options.workload {
            Workload::Kv => Ok(BTreeMap::new()),
            Workload::Transfer | Workload::Erc20 => {
                Senders::new(options, options.senders).genesis()
            }
            _ => Err(Problem::Input(
                "a load of minutes is transfer, erc20 or kv".into(),
            )),
        }
    }

    /// The settings that the network must be started with, by protocol. A protocol that is not there
    /// has its usual ones.
    pub fn genesis(&self) -> &BTreeMap<String, String> {
        &self.genesis
    }

    /// Transactions that are measured.
    pub fn transactions(&self) -> usize {
        self.requests.iter().map(|r| r.transactions).sum()
    }
}

/// Cuts transactions into requests: `count` of them, `batch` in each, connections in turn. `body`
/// gives a request's body for the connection and the transactions it is to hold.
pub(crate) fn cut(
    first: usize,
    count: usize,
    options: &Options,
    mut body: impl FnMut(usize, std::ops::Range<usize>) -> Bytes,
) -> Vec<Request> {
    let mut requests = Vec::with_capacity(count.div_ceil(options.batch));
    let mut at = first;
    while at < first + count {
        let lane = requests.len() % options.connections;
        let transactions = options.batch.min(first + count - at);
        requests.push(Request {
            lane,
            bytes: body(lane, at..at + transactions),
            first: at,
            transactions,
        });
        at += transactions;
    }
    requests
}

/// A whole HTTP request.
pub(crate) fn http(method: &str, target: &str, kind: &str, body: &[u8]) -> Bytes {
    let mut out = bytes::BytesMut::with_capacity(160 + body.len());
    let fields = [("content-type", kind)];
    http1::encode_request(method, target, "localhost", &fields, body, &mut out);
    out.freeze()
}

/// A JSON-RPC call, or a batch of them, that sends these transactions.
pub(crate) fn send_raw<'a>(path: &str, raw: impl ExactSizeIterator<Item = &'a Bytes>) -> Bytes {
    let params = raw.map(|raw| format!("\"0x{}\"", hex::encode(raw)));
    calls(path, "eth_sendRawTransaction", params)
}

/// A JSON-RPC call, or a batch of them, that asks for the receipts of these transactions.
pub(crate) fn ask_receipts(path: &str, hashes: &[[u8; 32]]) -> Bytes {
    let params = hashes
        .iter()
        .map(|hash| format!("\"0x{}\"", hex::encode(hash)));
    calls(path, "eth_getTransactionReceipt", params)
}

/// One call of `method`, or a batch of them, for each of `params` (JSON without the brackets).
pub(crate) fn calls(
    path: &str,
    method: &str,
    params: impl ExactSizeIterator<Item = String>,
) -> Bytes {
    let single = params.len() == 1;
    let mut text = String::with_capacity(params.len() * 400);
    for (place, params) in params.enumerate() {
        text.push(if place == 0 { '[' } else { ',' });
        let _ = write!(
            text,
            r#"{{"jsonrpc":"2.0","id":{place},"method":"{method}","params":[{params}]}}"#
        );
    }
    text.push(']');
    let body = if single {
        &text[1..text.len() - 1]
    } else {
        &text
    };
    http("POST", path, "application/json", body.as_bytes())
}

/// Where the test data is: as told, else `COCO_TESTDATA`, else beside the repository.
pub(crate) fn data(options: &Options) -> PathBuf {
    options
        .data
        .clone()
        .or_else(|| std::env::var_os("COCO_TESTDATA").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("../shared/data"))
}

/// Keys that are read; each is written once before.
pub(crate) const READ_KEYS: usize = 1000;

/// Reads that take turns among [`READ_KEYS`] keys, after these were written.
fn key_reads(options: &Options) -> Load {
    let writes = Options {
        workload: Workload::Kv,
        transactions: READ_KEYS,
        warm_up: 0,
        batch: 100,
        ..options.clone()
    };
    let requests = cut(0, options.transactions, options, |_, places| {
        let target = format!("/kv/{}", key(places.start % READ_KEYS));
        http("GET", &target, "text/plain", b"")
    });
    Load {
        warm_up: key_values(&writes).requests,
        requests,
        ..Load::default()
    }
}

/// A key by its number.
pub(crate) fn key(place: usize) -> String {
    format!("bench-{place:010}")
}

/// A value that does not compress.
pub(crate) fn value(options: &Options, place: usize) -> String {
    let mut text = String::with_capacity(options.value_bytes + 64);
    let mut count = 0u64;
    while text.len() < options.value_bytes {
        let seed = [place as u64, count].map(u64::to_be_bytes).concat(); // 64-bit numbers of ours
        text.push_str(&hex::encode(keccak256(seed)));
        count += 1;
    }
    text.truncate(options.value_bytes);
    text
}

/// A request that writes these keys.
pub(crate) fn write(commands: &[(String, String)]) -> Bytes {
    if let [(key, value)] = commands {
        let target = format!("/kv/{key}");
        return http("PUT", &target, "application/octet-stream", value.as_bytes());
    }
    let commands: Vec<String> = commands
        .iter()
        .map(|(key, value)| format!(r#"{{"op":"put","key":"{key}","value":"{value}"}}"#))
        .collect();
    let body = format!(r#"{{"commands":[{}]}}"#, commands.join(","));
    http("POST", "/batch", "application/json", body.as_bytes())
}

/// Distinct keys.
fn key_values(options: &Options) -> Load {
    let mut body = |_: usize, places: std::ops::Range<usize>| {
        let commands: Vec<(String, String)> = places
            .map(|place| (key(place), value(options, place)))
            .collect();
        write(&commands)
    };
    let warm_up = cut(0, options.warm_up, options, &mut body);
    let requests = cut(options.warm_up, options.transactions, options, &mut body);
    Load {
        warm_up,
        requests,
        ..Load::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http1::{Options as Limits, Received, Server};

    fn options(workload: Workload, batch: usize) -> Options {
        Options {
            warm_up: 3,
            batch,
            connections: 2,
            senders: 4,
            value_bytes: 100,
            ..Options::new(workload, 10)
        }
    }

    /// What a server reads in these bytes.
    pub(crate) fn read(request: &Request) -> http1::Request {
        let mut server = Server::new(Limits::application());
        server.receive(&request.bytes);
        match server.next().expect("well-formed").expect("whole") {
            Received::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_transaction_is_in_one_request_and_connections_take_turns() {
        let load = Load::prepare(&options(Workload::Kv, 4)).expect("prepared");
        let shape = |requests: &[Request]| -> Vec<(usize, usize, usize)> {
            requests
                .iter()
                .map(|r| (r.lane, r.first, r.transactions))
                .collect()
        };
        assert_eq!(shape(&load.warm_up), [(0, 0, 3)]);
        assert_eq!(shape(&load.requests), [(0, 3, 4), (1, 7, 4), (0, 11, 2)]);
        assert_eq!(load.transactions(), 10);
    }

    #[test]
    fn single_writes_are_puts_and_several_are_one_batch() {
        let one = Load::prepare(&options(Workload::Kv, 1)).expect("prepared");
        let put = read(&one.requests[0]);
        assert_eq!(
            (put.method.as_str(), put.target.as_str()),
            ("PUT", "/kv/bench-0000000003")
        );
        assert_eq!(put.body.len(), 100);
        let many = Load::prepare(&options(Workload::Kv, 4)).expect("prepared");
        let post = read(&many.requests[2]);
        let body: serde_json::Value = serde_json::from_slice(&post.body).expect("JSON");
        assert_eq!(post.target, "/batch");
        assert_eq!(body["commands"].as_array().map(Vec::len), Some(2));
        assert_eq!(body["commands"][1]["key"], "bench-0000000012");
    }

    #[test]
    fn a_batch_is_an_array_of_calls_and_one_call_is_none() {
        let load = Load::prepare(&options(Workload::Transfer, 4)).expect("prepared");
        let body: serde_json::Value =
            serde_json::from_slice(&read(&load.requests[0]).body).expect("JSON");
        assert_eq!(body.as_array().map(Vec::len), Some(4));
        assert_eq!(body[3]["id"], 3);
        let load = Load::prepare(&options(Workload::Transfer, 1)).expect("prepared");
        let body: serde_json::Value =
            serde_json::from_slice(&read(&load.requests[0]).body).expect("JSON");
        assert_eq!(body["method"], "eth_sendRawTransaction");
    }
}
