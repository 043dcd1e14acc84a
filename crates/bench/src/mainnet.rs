//! 2,000 real transactions of three mainnet blocks, on one merged state, with known results.
//!
//! The network's genesis is the pre-state, and its rules are *replay* rules: the blocks' fixed
//! environment (number, time, coinbase, base fee) instead of its own. The paper measured with
//! transactions taken from mainnet, too (Coco 2017, "Performance").

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use alloy_primitives::keccak256;

use crate::load::{self, Expected, Load};
use crate::{Options, Problem};

/// Longest file that is unpacked: 40 MB are usual.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn prepare(options: &Options) -> Result<Load, Problem> {
    let directory = load::data(options).join("mainnet");
    let workload: Value = read(&directory.join("workload-2000.json.gz"))?;
    let codes: BTreeMap<String, Box<RawValue>> = read(&directory.join("codes.json.gz"))?;
    let genesis = genesis(&workload, &codes)?;
    let count = options.transactions;
    let listed = workload["transactions"].as_array().map_or(0, Vec::len);
    if count > listed {
        return Err(Problem::Input(format!(
            "--transactions {count}: the workload has {listed}"
        )));
    }
    let mut raws = Vec::with_capacity(count);
    for transaction in workload["transactions"]
        .as_array()
        .into_iter()
        .flatten()
        .take(count)
    {
        let raw = transaction["raw"].as_str().unwrap_or_default();
        let raw = hex::decode(raw.trim_start_matches("0x"))
            .map_err(|error| bad(&format!("transactions: {error}")))?;
        raws.push(Bytes::from(raw));
    }
    let expected = expected(&workload["expected"]["Osaka"], count)?;
    let requests = load::cut(0, count, options, |_, places| {
        load::send_raw("/", raws[places].iter())
    });
    Ok(Load {
        genesis: BTreeMap::from([("ethereum".to_owned(), genesis)]),
        warm_up: Vec::new(),
        requests,
        hashes: raws.iter().map(|raw| keccak256(raw).0).collect(),
        expected: Some(expected),
    })
}

fn bad(text: &str) -> Problem {
    Problem::Input(format!("the mainnet workload cannot be used: {text}"))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Problem> {
    let told = |error: &dyn std::fmt::Display| {
        Problem::Input(format!(
            "read {}: {error}. The workload is data of the repository's tests: name its directory \
             with --data, or with the environment variable COCO_TESTDATA",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(|error| told(&error))?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file)
        .take(UNPACKED_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| told(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| told(&error))
}

fn genesis(workload: &Value, codes: &BTreeMap<String, Box<RawValue>>) -> Result<String, Problem> {
    let env = &workload["env"];
    let pre = workload["pre"]
        .as_object()
        .ok_or_else(|| bad("no pre-state"))?;
    let used: BTreeSet<&str> = pre
        .values()
        .filter_map(|account| account["codeHash"].as_str())
        .collect();
    // A few accounts have a code that is never executed; it may be absent.
    let codes: Map<String, Value> = used
        .into_iter()
        .filter_map(|hash| {
            let code = serde_json::from_str(codes.get(hash)?.get()).ok()?;
            Some((hash.to_owned(), code))
        })
        .collect();
    let settings = json!({
        "chainId": workload["chainId"],
        "fork": "osaka",
        "gasLimit": env["gasLimit"],
        "replay": {
            "number": env["number"], "timestamp": env["timestamp"], "coinbase": env["coinbase"],
            "baseFeePerGas": env["baseFeePerGas"], "prevRandao": env["prevRandao"],
            "excessBlobGas": env["excessBlobGas"],
        },
        "alloc": pre,
        "codes": codes,
    });
    Ok(settings.to_string())
}

fn expected(results: &Value, count: usize) -> Result<Vec<Expected>, Problem> {
    let status = results["status"].as_str().unwrap_or_default().as_bytes();
    let numbers = |name: &str| -> Vec<u64> {
        let listed = results[name].as_array().into_iter().flatten();
        listed.filter_map(Value::as_u64).collect()
    };
    let (gas, logs) = (numbers("gasUsed"), numbers("logs"));
    if status.len() < count || gas.len() < count || logs.len() < count {
        return Err(bad("expected results are missing"));
    }
    let results = status.iter().zip(gas).zip(logs).take(count);
    Ok(results
        .map(|((status, gas_used), logs)| Expected {
            succeeded: *status == b'1',
            gas_used,
            logs,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use adapter_ethereum::Settings;

    #[test]
    fn the_genesis_is_usable_under_replay_rules() {
        let options = Options {
            batch: 100,
            via: crate::Via::Leader,
            data: Some(
                std::env::var_os("COCO_TESTDATA")
                    .map_or_else(|| "../../../shared/data".into(), Into::into),
            ),
            ..Options::new(crate::Workload::Mainnet, 2000)
        };
        if !load::data(&options).join("mainnet").is_dir() {
            println!("skipped: set COCO_TESTDATA to the test data's directory");
            return;
        }
        let load = prepare(&options).expect("prepared");
        let settings = Settings::parse(load.genesis["ethereum"].as_bytes()).expect("usable");
        assert!(settings.is_replay());
        assert_eq!(settings.rules.chain_id, 1);
        assert_eq!(settings.alloc.len(), 3037);
        assert_eq!((load.requests.len(), load.hashes.len()), (20, 2000));
        let expected = load.expected.expect("known");
        assert_eq!(expected.iter().filter(|e| e.succeeded).count(), 1948);
    }

    #[test]
    fn absent_data_says_where_to_put_it() {
        let problem = read::<Value>(Path::new("/nowhere/workload-2000.json.gz"));
        let text = problem.expect_err("absent").to_string();
        assert!(text.contains("--data"), "{text}");
    }

    #[test]
    fn fewer_results_than_transactions_are_refused() {
        let results = json!({ "status": "10", "gasUsed": [21000, 5], "logs": [0, 1] });
        assert_eq!(expected(&results, 2).expect("complete")[1].logs, 1);
        assert!(expected(&results, 3).is_err());
    }
}
