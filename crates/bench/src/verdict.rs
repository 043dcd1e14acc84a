//! What became of every transaction: the answers, and what the network holds afterwards.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use serde_json::Value;

use crate::drive::Answered;
use crate::load::{self, Expected, Load};
use crate::wire::{Way, Wire};
use crate::{Problem, Workload};

/// Differences that are shown; the rest is counted.
const SHOWN: usize = 5;

/// Calls in one request where a node is asked for much: fewer than any node's limit.
const CALLS_AT_ONCE: usize = 500;

/// Receipts that are read of each block of somebody else's node.
const SAMPLE: usize = 100;

/// JSON-RPC 2.0, section 5.1.
const METHOD_NOT_FOUND: i64 = -32601;

/// What a network holds of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) height: u64,
    pub(crate) succeeded: bool,
    pub(crate) gas_used: u64,
    pub(crate) logs: u64,
}

/// Everything in a range of blocks.
#[derive(Default)]
pub(crate) struct Holdings {
    pub(crate) by_hash: BTreeMap<[u8; 32], Committed>,
    /// Transactions of each block that has any, in order.
    pub(crate) block_sizes: Vec<usize>,
}

/// Why each transaction of a request was not accepted; `None` for each that was.
pub(crate) fn refusals(workload: Workload, answer: &Answered) -> Vec<Option<String>> {
    let request = &answer.request;
    let all = |reason: Option<String>| vec![reason; request.transactions];
    let body = &answer.response.body;
    if answer.response.status != 200 {
        let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        return all(Some(format!("HTTP {}: {text}", answer.response.status)));
    }
    if workload.protocol() == "kv" {
        return all(None);
    }
    let Ok(answers) = serde_json::from_slice::<Value>(body) else {
        return all(Some("the answer is not JSON".into()));
    };
    let answers = match answers {
        Value::Array(answers) => answers,
        one => vec![one],
    };
    let reason = |place: usize| match answers.get(place) {
        None => Some("there is no answer to this call".to_owned()),
        Some(answer) if answer["result"].is_string() => None,
        Some(answer) => {
            let error = &answer["error"];
            let message = error["message"].as_str().unwrap_or_default();
            Some(format!("JSON-RPC {}: {message}", error["code"]))
        }
    };
    (0..request.transactions).map(reason).collect()
}

/// The height that a write of the key-value protocol was committed at.
pub(crate) fn written_height(answer: &Answered) -> Option<u64> {
    let json: Value = serde_json::from_slice(&answer.response.body).ok()?;
    json["height"].as_u64()
}

/// A connection on which an Ethereum node is asked for one thing after the other.
pub(crate) struct Asking {
    wire: Wire,
    path: String,
}

impl Asking {
    pub(crate) fn open(way: &Way, path: &str) -> Result<Self, Problem> {
        Ok(Self {
            wire: Wire::open(way)?,
            path: path.to_owned(),
        })
    }

    /// The result of one call; `params` is JSON without the brackets.
    pub(crate) fn call(&mut self, method: &str, params: &str) -> Result<Value, Problem> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{params}]}}"#);
        let mut json = self.ask(method, body.as_bytes())?;
        result(method, &mut json)
    }

    /// The results of many calls of one method.
    pub(crate) fn calls(
        &mut self,
        method: &str,
        params: impl Iterator<Item = String>,
    ) -> Result<Vec<Value>, Problem> {
        let params: Vec<String> = params.collect();
        let mut results = Vec::with_capacity(params.len());
        for some in params.chunks(CALLS_AT_ONCE) {
            let call = |(id, params): (usize, &String)| {
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":[{params}]}}"#)
            };
            let calls: Vec<String> = some.iter().enumerate().map(call).collect();
            let mut json = self.ask(method, format!("[{}]", calls.join(",")).as_bytes())?;
            let answers = json.as_array_mut().filter(|all| all.len() == some.len());
            let answers = answers.ok_or_else(|| {
                Problem::Failed(format!("{method}: a batch was not answered with a batch"))
            })?;
            // JSON-RPC 2.0, section 6: answers may come in any order.
            answers.sort_by_key(|answer| answer["id"].as_u64());
            for answer in answers {
                results.push(result(method, answer)?);
            }
        }
        Ok(results)
    }

    fn ask(&mut self, method: &str, body: &[u8]) -> Result<Value, Problem> {
        let request = load::http("POST", &self.path, "application/json", body);
        let answer = self.wire.ask(&request)?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            Problem::Failed(format!(
                "{method}: HTTP {}, and the answer is not JSON: {error}",
                answer.status
            ))
        })
    }

    /// The number of the latest block.
    pub(crate) fn block_number(&mut self) -> Result<u64, Problem> {
        let answer = self.call("eth_blockNumber", "")?;
        quantity(&answer).ok_or_else(|| Problem::Failed(format!("eth_blockNumber gave {answer}")))
    }

    /// The next nonce of each account by the latest block.
    pub(crate) fn nonces(
        &mut self,
        accounts: impl Iterator<Item = Address>,
    ) -> Result<Vec<u64>, Problem> {
        let params = accounts.map(|account| format!("\"{account}\",\"latest\""));
        let counts = self.calls("eth_getTransactionCount", params)?;
        let read = |count| {
            quantity(count)
                .ok_or_else(|| Problem::Failed(format!("eth_getTransactionCount gave {count}")))
        };
        counts.iter().map(read).collect()
    }

    /// Reads the receipts of every block from `first` to `last`.
    pub(crate) fn holdings(&mut self, first: u64, last: u64) -> Result<Holdings, Problem> {
        let mut holdings = Holdings::default();
        for height in first..=last {
            let receipts = self.receipts(height)?;
            if !receipts.is_empty() {
                holdings.block_sizes.push(receipts.len());
            }
            for receipt in &receipts {
                let (hash, committed) = committed(receipt).ok_or_else(|| {
                    Problem::Failed(format!("block {height} has a receipt without its fields"))
                })?;
                holdings.by_hash.insert(hash, committed);
            }
        }
        Ok(holdings)
    }

    /// The same of somebody else's node, which may take a second for a thousand receipts of one block: of a large
    /// block those of some, spread over it.
    pub(crate) fn sampled_holdings(&mut self, first: u64, last: u64) -> Result<Holdings, Problem> {
        let mut holdings = Holdings::default();
        for height in first..=last {
            let hashes = self.hashes(height)?;
            if hashes.is_empty() {
                continue;
            }
            holdings.block_sizes.push(hashes.len());
            let sampled = hashes.iter().step_by(hashes.len().div_ceil(SAMPLE));
            let params = sampled.map(|hash| format!("\"0x{}\"", hex::encode(hash)));
            let receipts = self.calls("eth_getTransactionReceipt", params)?;
            let unread = Committed {
                height,
                succeeded: true,
                gas_used: 0,
                logs: 0,
            };
            let listed = hashes.iter().map(|hash| (*hash, unread.clone()));
            holdings.by_hash.extend(listed);
            for receipt in &receipts {
                let (hash, committed) = committed(receipt).ok_or_else(|| {
                    Problem::Failed(format!("block {height} has a receipt without its fields"))
                })?;
                holdings.by_hash.insert(hash, committed);
            }
        }
        Ok(holdings)
    }

    fn receipts(&mut self, height: u64) -> Result<Vec<Value>, Problem> {
        match self.call("eth_getBlockReceipts", &format!("\"{height:#x}\""))? {
            Value::Array(receipts) => Ok(receipts),
            // Older nodes have no such method, and say so by an error.
            _ => {
                let hashes = self.hashes(height)?;
                let params = hashes.iter().map(|h| format!("\"0x{}\"", hex::encode(h)));
                self.calls("eth_getTransactionReceipt", params)
            }
        }
    }

    /// The hashes of the transactions of a block.
    pub(crate) fn hashes(&mut self, height: u64) -> Result<Vec<[u8; 32]>, Problem> {
        let block = self.call("eth_getBlockByNumber", &format!("\"{height:#x}\",false"))?;
        let listed = block["transactions"].as_array().into_iter().flatten();
        listed
            .map(|hash| {
                let text = hash.as_str().unwrap_or_default();
                self::hash(text)
                    .ok_or_else(|| Problem::Failed(format!("block {height} lists {hash}")))
            })
            .collect()
    }
}

fn result(method: &str, answer: &mut Value) -> Result<Value, Problem> {
    if let Some(result) = answer.get_mut("result") {
        return Ok(result.take());
    }
    if answer["error"]["code"] == METHOD_NOT_FOUND {
        return Ok(Value::Null);
    }
    Err(Problem::Failed(format!("{method}: {}", answer["error"])))
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut hash).ok()?;
    Some(hash)
}

fn committed(receipt: &Value) -> Option<([u8; 32], Committed)> {
    let hash = hash(receipt["transactionHash"].as_str()?)?;
    let committed = Committed {
        height: quantity(&receipt["blockNumber"])?,
        succeeded: quantity(&receipt["status"])? == 1,
        gas_used: quantity(&receipt["gasUsed"])?,
        logs: receipt["logs"].as_array()?.len() as u64, // as wide
    };
    Some((hash, committed))
}

/// Holds every transaction against what it must come to.
///
/// # Errors
/// [`Problem::Wrong`] with the first differences and their number.
pub(crate) fn check(load: &Load, accepted: &[bool], holdings: &Holdings) -> Result<(), Problem> {
    if load.hashes.is_empty() {
        return Ok(());
    }
    let first = load.hashes.len() - accepted.len();
    let mut wrong = Vec::new();
    for (place, hash) in load.hashes[first..].iter().enumerate() {
        if !accepted[place] {
            continue;
        }
        let name = || format!("transaction {place} (0x{})", hex::encode(hash));
        match (holdings.by_hash.get(hash), &load.expected) {
            (None, _) => wrong.push(format!("{}: acknowledged, and in no block", name())),
            (Some(found), None) if !found.succeeded => {
                wrong.push(format!("{}: failed when it was executed", name()));
            }
            (Some(_), None) => {}
            (Some(found), Some(expected)) => {
                if let Some(difference) = difference(&expected[place], found) {
                    wrong.push(format!("{}: {difference}", name()));
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let shown = wrong[..wrong.len().min(SHOWN)].join("\n  ");
    Err(Problem::Wrong(format!(
        "{} of {} transactions did not come to what they should:\n  {shown}",
        wrong.len(),
        accepted.len()
    )))
}

fn difference(expected: &Expected, found: &Committed) -> Option<String> {
    let mut differences = Vec::new();
    if expected.succeeded != found.succeeded {
        let word = |succeeded| if succeeded { "success" } else { "failure" };
        differences.push(format!(
            "expected {}, found {}",
            word(expected.succeeded),
            word(found.succeeded)
        ));
    }
    if expected.gas_used != found.gas_used {
        differences.push(format!(
            "expected {} gas, found {}",
            expected.gas_used, found.gas_used
        ));
    }
    if expected.logs != found.logs {
        differences.push(format!(
            "expected {} logs, found {}",
            expected.logs, found.logs
        ));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

pub(crate) fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Request;
    use std::time::Instant;

    fn load(expected: Option<Vec<Expected>>) -> Load {
        Load {
            genesis: BTreeMap::new(),
            warm_up: vec![],
            requests: vec![],
            hashes: vec![[9; 32], [1; 32], [2; 32]],
            expected,
        }
    }

    fn holdings(gas_used: u64) -> Holdings {
        let receipt = |byte: u8| {
            serde_json::json!({
                "transactionHash": format!("0x{}", hex::encode([byte; 32])),
                "blockNumber": "0x2", "status": "0x1",
                "gasUsed": format!("{gas_used:#x}"), "logs": [{}],
            })
        };
        Holdings {
            by_hash: [receipt(1), receipt(2)]
                .iter()
                .map(|r| committed(r).expect("complete"))
                .collect(),
            block_sizes: vec![2],
        }
    }

    fn expected(succeeded: bool, gas_used: u64, logs: u64) -> Expected {
        Expected {
            succeeded,
            gas_used,
            logs,
        }
    }

    #[test]
    fn a_wrong_expected_value_is_reported() {
        let right = vec![expected(true, 21_000, 1); 2];
        check(&load(Some(right)), &[true, true], &holdings(21_000)).expect("equal");
        for (wrong, word) in [
            (
                expected(false, 21_000, 1),
                "expected failure, found success",
            ),
            (expected(true, 21_001, 1), "expected 21001 gas, found 21000"),
            (expected(true, 21_000, 0), "expected 0 logs, found 1"),
        ] {
            let load = load(Some(vec![expected(true, 21_000, 1), wrong]));
            let problem = check(&load, &[true, true], &holdings(21_000)).expect_err("differs");
            assert!(matches!(problem, Problem::Wrong(_)));
            let text = problem.to_string();
            assert!(
                text.contains("1 of 2") && text.contains("transaction 1"),
                "{text}"
            );
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn an_acknowledged_transaction_must_be_there_and_a_refused_one_need_not() {
        let mut held = holdings(21_000);
        held.by_hash.remove(&[2; 32]);
        check(&load(None), &[true, false], &held).expect("refused");
        let problem = check(&load(None), &[true, true], &held).expect_err("lost");
        assert!(problem.to_string().contains("in no block"), "{problem}");
    }

    #[test]
    fn refusals_are_found_among_answers() {
        let request = Request {
            lane: 0,
            bytes: bytes::Bytes::new(),
            first: 0,
            transactions: 3,
        };
        let answer = |status, body: &'static str| Answered {
            request: request.clone(),
            began: Instant::now(),
            ended: Instant::now(),
            response: http1::ClientResponse {
                status,
                headers: vec![],
                body: body.into(),
                keep_alive: true,
            },
        };
        let body = r#"[{"id":0,"result":"0x1"},{"id":1,"error":{"code":-1,"message":"busy"}}]"#;
        let reasons = refusals(Workload::Transfer, &answer(200, body));
        assert_eq!(reasons[0], None);
        assert_eq!(reasons[1].as_deref(), Some("JSON-RPC -1: busy"));
        assert!(reasons[2].is_some());
        let reasons = refusals(Workload::Kv, &answer(429, "later"));
        assert!(reasons.iter().all(Option::is_some));
    }
}
