//! The vectors of `ethereum/execution-apis` against the front, on the chain that they are about.
//!
//! The chain is imported block by block under its own rules, in the transparent profile, for an
//! auditor. Then every request is answered and compared with the vector's response as JSON.
//! `differences.txt` lists each vector that is answered otherwise, in which members, and why: a
//! vector fails if it differs elsewhere, and if it does not differ any more.

#[path = "../common/mod.rs"]
mod common;

mod chain;
mod compare;
mod listed;

use std::path::{Path, PathBuf};

use adapter::{Caller, Progress, Request, StreamId};
use adapter_ethereum::Envelope;
use alloy_consensus::Block;
use alloy_rlp::Decodable;
use chain::{Chain, Schedule};
use common::{data, read};
use listed::{Kind, Listed};
use serde_json::{Value, json};

/// One file: pairs of request and response, in order.
struct Vector {
    name: String,
    pairs: Vec<(Value, Value)>,
    /// Only the shape of the answers is said.
    is_shape: bool,
}

fn vectors(folder: &Path) -> Vec<Vector> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .expect("readable")
            .map(|entry| entry.expect("entry").path())
            .collect();
        paths.sort();
        paths
    };
    let folders = list(folder).into_iter().filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| list(&folder));
    files.map(|path| vector(folder, &path)).collect()
}

fn vector(folder: &Path, path: &Path) -> Vector {
    let text = String::from_utf8(read(path)).expect("text");
    let name = path.strip_prefix(folder).expect("inside");
    let mut vector = Vector {
        name: name.with_extension("").to_string_lossy().into_owned(),
        pairs: Vec::new(),
        is_shape: text.contains("speconly:"),
    };
    let mut asked = None;
    for line in text.lines() {
        let json = |text| serde_json::from_str::<Value>(text).expect("json");
        if let Some(request) = line.strip_prefix(">> ") {
            asked = Some(json(request));
        } else if let Some(response) = line.strip_prefix("<< ") {
            let request = asked.take().expect("a request comes before its response");
            vector.pairs.push((request, json(response)));
        }
    }
    vector
}

/// The chain as it was after each block.
fn imported(folder: &Path) -> (Vec<Chain>, Schedule) {
    let genesis: Value = serde_json::from_slice(&read(&folder.join("genesis.json"))).expect("json");
    let schedule = Schedule(genesis["config"].clone());
    let mut all = Vec::new();
    let mut chain = Chain::genesis(&genesis);
    let bytes = read(&folder.join("chain.rlp"));
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let block = Block::<Envelope>::decode(&mut rest).expect("a block");
        all.push(chain.clone());
        chain.import(&block, &schedule);
    }
    all.push(chain);
    (all, schedule)
}

/// The chain that a vector is asked of. The rules of this one change with every block, which no network's
/// do, and traces run under the present ones: so they are asked of the chain as their block left it.
fn subject(chains: &[Chain], schedule: &Schedule, vector: &Vector) -> Chain {
    let head = chains.last().expect("blocks");
    let mut chain = match vector.pairs.first() {
        Some((request, _)) if vector.name.starts_with("debug_trace") => head
            .named_first(request)
            .and_then(|number| chains.get(usize::try_from(number).ok()?))
            .unwrap_or(head)
            .clone(),
        _ => head.clone(),
    };
    if vector.name.starts_with("eth_simulateV1") || vector.name.starts_with("debug_trace") {
        chain.opens_blocks(schedule);
    }
    chain
}

fn ask(chain: &mut Chain, request: &Value) -> Value {
    let mut front = adapter_ethereum::front([5; 32]);
    let auditor = Caller {
        actor: types::ActorId([1; 32]),
        auditor: true,
        ..common::caller()
    };
    let request = Request {
        method: "POST".into(),
        target: "/".into(),
        headers: Vec::new(),
        body: request.to_string().into(),
    };
    let mut exchange = front.request(StreamId(1), &auditor, request);
    for _ in 0..100 {
        if let Progress::Ready(response) = exchange.poll(chain) {
            return serde_json::from_slice(&response.body).expect("json");
        }
    }
    panic!("no answer");
}

/// Without the words of calls that the EVM stopped: the vectors have those of one client, the schema of the
/// specification wants others (`vm execution error...`), which Coco says.
fn wordless(reply: &mut Value) {
    let result = reply.get_mut("result").and_then(Value::as_array_mut);
    let blocks = result.into_iter().flatten();
    let calls = blocks.filter_map(|block| block.get_mut("calls")?.as_array_mut());
    for call in calls.flatten() {
        let error = call.get_mut("error").and_then(Value::as_object_mut);
        if let Some(error) = error.filter(|error| error["code"] == -32015) {
            error.remove("message");
        }
    }
}

#[test]
fn every_vector_is_answered_as_written_or_as_listed() {
    let Some(folder) = data("rpc_compat") else {
        return;
    };
    let (chains, schedule) = imported(&folder);
    let listed = Listed::read(include_str!("differences.txt"));
    let (mut passed, mut different, mut inapplicable) = (0, 0, 0);
    let mut table = std::collections::BTreeMap::<String, [usize; 3]>::new();
    let mut failures = Vec::new();
    let shapes = common::shapes::Shapes::new();
    for vector in vectors(&folder) {
        let mut chain = subject(&chains, &schedule, &vector);
        let mut differences = Vec::new();
        let mut codes = Vec::new();
        for (request, expected) in &vector.pairs {
            let mut found = ask(&mut chain, request);
            let method = request["method"].as_str().expect("text");
            // What this chain has and no network has is told as it is.
            let applies = listed
                .find(&vector.name)
                .is_none_or(|entry| entry.kind != Kind::Inapplicable);
            if applies && let Err(what) = shapes.check(method, &found) {
                failures.push(format!("{}: {what}", vector.name));
            }
            let mut expected = expected.clone();
            codes.extend(found["error"]["code"].as_i64());
            // The words of an error are a client's own; its code is not.
            if expected.get("error").is_some() && found.get("error").is_some() {
                for error in [&mut expected, &mut found] {
                    error["error"].as_object_mut().map(|e| e.remove("message"));
                }
            }
            wordless(&mut expected);
            wordless(&mut found);
            if vector.is_shape && !vector.name.starts_with("debug_trace") {
                compare::shapes("", &expected, &found, &mut differences);
            } else {
                compare::values("", &expected, &found, &mut differences);
            }
        }
        let method = vector.name.split('/').next().expect("a folder");
        let row = table.entry(method.to_owned()).or_default();
        let paths = compare::paths(&differences);
        match listed.find(&vector.name) {
            None if differences.is_empty() => {
                passed += 1;
                row[0] += 1;
            }
            Some(entry) if entry.explains(&paths, &codes) => match entry.kind {
                Kind::Different => {
                    different += 1;
                    row[1] += 1;
                }
                Kind::Inapplicable => {
                    inapplicable += 1;
                    row[2] += 1;
                }
            },
            entry => failures.push(format!(
                "{}: listed {:?}, found {}\n{}",
                vector.name,
                entry.map(|entry| entry.members.join(" ")),
                paths.join(" "),
                differences
                    .iter()
                    .map(|d| format!("    {d:.300}\n"))
                    .collect::<String>()
            )),
        }
    }
    println!(
        "{:<45} {:>6} {:>9} {:>14}",
        "method", "passed", "different", "not applicable"
    );
    for (method, [a, b, c]) in &table {
        println!("{method:<45} {a:>6} {b:>9} {c:>14}");
    }
    failures.iter().for_each(|text| println!("{text}"));
    println!(
        "execution-apis: {passed} passed, {different} deliberately different, {inapplicable} not applicable, {} failed",
        failures.len()
    );
    assert!(failures.is_empty(), "see above");
    assert_eq!(passed + different + inapplicable, 232);
    let needless = listed.unused();
    assert!(
        needless.is_empty(),
        "listed and not in the data: {needless:?}"
    );
}

#[test]
fn a_difference_that_nobody_listed_is_seen() {
    let mut found = Vec::new();
    let expected = json!({"result": {"a": "0x1", "b": [1, 2], "c": null}});
    compare::values(
        "",
        &expected,
        &json!({"result": {"a": "0x2", "b": [1], "d": 1}}),
        &mut found,
    );
    assert_eq!(
        compare::paths(&found),
        ["result.a", "result.b", "result.c", "result.d"]
    );
    found.clear();
    compare::shapes(
        "",
        &expected,
        &json!({"result": {"a": "0x02", "b": [7], "c": null}}),
        &mut found,
    );
    assert_eq!(compare::paths(&found), ["result.a"]);
}
