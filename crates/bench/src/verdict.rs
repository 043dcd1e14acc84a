//! What became of every transaction: the answers, and what the network holds afterwards.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::drive::{Answered, Request};
use crate::load::{self, Expected, Load};
use crate::wire::Wire;
use crate::{Problem, Workload};

/// Differences that are shown; the rest is counted.
const SHOWN: usize = 5;

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

/// Why a transaction of a request was not accepted; `None` for each that was.
pub(crate) fn refusals(
    workload: Workload,
    request: &Request,
    answer: &Answered,
) -> Vec<Option<String>> {
    let all = |reason: Option<String>| vec![reason; request.transactions];
    let body = &answer.response.body;
    if answer.response.status != 200 {
        let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        return all(Some(format!("status {}: {text}", answer.response.status)));
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
        Some(answer) => Some(answer["error"]["message"].to_string()),
    };
    (0..request.transactions).map(reason).collect()
}

/// The height that a write of the key-value protocol was committed at.
pub(crate) fn written_height(answer: &Answered) -> Option<u64> {
    let json: Value = serde_json::from_slice(&answer.response.body).ok()?;
    json["height"].as_u64()
}

/// The number of the latest block.
pub(crate) fn block_number(wire: &mut Wire) -> Result<u64, Problem> {
    let answer = call(wire, "eth_blockNumber", "")?;
    quantity(&answer).ok_or_else(|| Problem::Failed(format!("eth_blockNumber gave {answer}")))
}

/// Reads the receipts of every block from `first` to `last`.
pub(crate) fn holdings(wire: &mut Wire, first: u64, last: u64) -> Result<Holdings, Problem> {
    let mut holdings = Holdings::default();
    for height in first..=last {
        let receipts = call(wire, "eth_getBlockReceipts", &format!("\"{height:#x}\""))?;
        let receipts = receipts.as_array().ok_or_else(|| {
            Problem::Failed(format!("eth_getBlockReceipts of {height} gave {receipts}"))
        })?;
        if !receipts.is_empty() {
            holdings.block_sizes.push(receipts.len());
        }
        for receipt in receipts {
            let (hash, committed) = committed(receipt).ok_or_else(|| {
                Problem::Failed(format!("block {height} has a receipt without its fields"))
            })?;
            holdings.by_hash.insert(hash, committed);
        }
    }
    Ok(holdings)
}

fn committed(receipt: &Value) -> Option<([u8; 32], Committed)> {
    let mut hash = [0; 32];
    let text = receipt["transactionHash"].as_str()?.strip_prefix("0x")?;
    hex::decode_to_slice(text, &mut hash).ok()?;
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

fn call(wire: &mut Wire, method: &str, params: &str) -> Result<Value, Problem> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{params}]}}"#);
    let answer = wire.ask(&load::http(
        "POST",
        "/",
        "application/json",
        body.as_bytes(),
    ))?;
    let mut json: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Problem::Failed(format!("{method}: not JSON: {error}")))?;
    match json.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(Problem::Failed(format!("{method}: {}", json["error"]))),
    }
}

fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
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
            request: 0,
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
        let reasons = refusals(Workload::Transfer, &request, &answer(200, body));
        assert_eq!(reasons[0], None);
        assert_eq!(reasons[1].as_deref(), Some("\"busy\""));
        assert!(reasons[2].is_some());
        let reasons = refusals(Workload::Kv, &request, &answer(429, "later"));
        assert!(reasons.iter().all(Option::is_some));
    }
}
