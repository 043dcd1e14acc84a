//! Ethereum's conformance state tests through the machine: genesis, admission, execution, seal.
//!
//! Both sets of the shared data, every file, case and fork; a case compares the post-state's root and
//! the digest of its logs. A Merkle-Patricia root is computed here only: a network's state roots are
//! keyed commitments. `cargo test` runs a sample, `.ci/run conformance` everything:
//! ```text
//! cargo test -p adapter-ethereum --test state_tests -- --ignored --nocapture
//! COCO_STATE_TEST=stRevertTest cargo test ...      only files whose path holds that text
//! ```

#![expect(
    clippy::disallowed_types,
    reason = "the runner's threads share a queue; the machines under test share nothing"
)]

mod common;

use std::collections::BTreeMap;
use std::ops::{AddAssign, ControlFlow};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use adapter::{Machine, Outcome};
use adapter_ethereum::{ACCOUNT, Alloc, Fork, Profile, Receipt, Replay, Roots, Rules, Settings};
use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use common::root::root;
use common::{Memory, batch, data, started, unit};
use serde::Deserialize;
use serde_json::Value;

/// The archives, with the names under which they are reported.
const SETS: [(&str, &str); 2] = [
    (
        "legacy",
        "state_tests/legacy-cancun-GeneralStateTests.tar.zst",
    ),
    ("eest", "state_tests/eest-v5.4.0-state_tests.tar.zst"),
];

/// Cases of both sets.
const CASES: usize = 134_100;

/// Files with cases in which a contract is created over an account that has storage, but neither code
/// nor nonce. EIP-7610 forbids it, at the price of a look at every account's storage. No chain has
/// such an account, and a network's settings refuse them, which is what is asserted of these cases.
const IMPOSSIBLE_STATES: &[&str] = &[
    "test_init_collision_create_opcode.json",
    "test_init_collision_create_tx.json",
    "InitCollision.json",
    "InitCollisionParis.json",
    "RevertInCreateInInit.json",
    "RevertInCreateInInit_Paris.json",
    "RevertInCreateInInitCreate2.json",
    "RevertInCreateInInitCreate2Paris.json",
    "create2collisionStorage.json",
    "create2collisionStorageParis.json",
    "dynamicAccountOverwriteEmpty.json",
    "dynamicAccountOverwriteEmpty_Paris.json",
];

/// Constantinople's own rule, the gas of SSTORE (EIP-1283), was withdrawn before it ever ran: mainnet's
/// first block of it is Petersburg's. Its cases run as Petersburg; so many of its 300 pass, and the
/// others store something.
const CONSTANTINOPLE: &str = "Constantinople";
const CONSTANTINOPLE_PASSED: usize = 279;

/// Files whose cases run for seconds each: every core takes some of them.
const LONG: &[&str] = &[
    "CALLBlake2f_MaxRounds.json",
    "loopExp.json",
    "loopMul.json",
    "performanceTester.json",
    "static_Call50000_sha256.json",
];

/// 2^32 - 1 rounds of a precompile, most of a minute for each of six forks: the newest runs, and with
/// `COCO_STATE_TEST` the others do.
const LONGEST: &str = "CALLBlake2f_MaxRounds.json";
const LONGEST_FORK: &str = "Cancun";

/// Parts into which the cases of a long file are dealt.
const LONG_PARTS: usize = 12;

/// A file to run, or a part of one.
struct Job {
    set: &'static str,
    path: String,
    text: Arc<Vec<u8>>,
    part: usize,
    parts: usize,
    is_quick: bool,
}

#[derive(Deserialize)]
struct Test<'a> {
    env: Env,
    pre: BTreeMap<Address, Alloc>,
    #[serde(borrow)]
    post: BTreeMap<&'a str, Vec<Post<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Env {
    current_number: U256,
    current_timestamp: U256,
    current_gas_limit: U256,
    current_coinbase: Address,
    current_base_fee: Option<U256>,
    current_random: Option<U256>,
    current_difficulty: Option<U256>,
    current_excess_blob_gas: Option<U256>,
}

#[derive(Deserialize)]
struct Post<'a> {
    hash: B256,
    logs: B256,
    txbytes: Bytes,
    indexes: Value,
    #[serde(rename = "expectException", default)]
    refused: Option<&'a str>,
}

fn small(value: Option<U256>) -> u64 {
    value.unwrap_or_default().saturating_to()
}

fn settings(env: &Env, fork: Fork, pre: &BTreeMap<Address, Alloc>) -> Settings {
    let number = small(Some(env.current_number));
    // Convention of these tests: the hash of block n is the hash of its decimal text.
    let block_hashes = (number.saturating_sub(256)..number)
        .map(|n| (n.to_string(), keccak256(n.to_string())))
        .collect();
    let replay = Replay {
        number,
        timestamp: small(Some(env.current_timestamp)),
        coinbase: env.current_coinbase,
        base_fee_per_gas: if fork >= Fork::London {
            small(env.current_base_fee)
        } else {
            0
        },
        prev_randao: env.current_random.unwrap_or_default().into(),
        difficulty: env.current_difficulty.unwrap_or_default(),
        excess_blob_gas: small(env.current_excess_blob_gas),
        blob_base_fee_update_fraction: 0,
        parent_hash: B256::ZERO,
        parent_beacon_block_root: B256::ZERO,
        block_hashes,
        system_calls: false,
    };
    Settings {
        rules: Rules {
            chain_id: 1,
            fork,
            gas_limit: small(Some(env.current_gas_limit)),
            profile: Profile::Transparent,
            roots: Roots::Keyed,
            states_kept: 0,
            replay: Some(replay),
        },
        timestamp: 0,
        alloc: pre.clone(),
        codes: BTreeMap::new(),
    }
}

/// What differs, if anything.
fn differs(
    machine: &dyn Machine,
    mut memory: Memory,
    (set, env, fork): (&str, &Env, Fork),
    post: &Post<'_>,
) -> Option<String> {
    let outcome = match unit(machine, &memory, post.txbytes.0.clone()) {
        Ok(unit) => batch(machine, &mut memory, &[unit]).remove(0),
        Err(reject) => Outcome::Rejected(reject),
    };
    let logs: Vec<Log> = match (&outcome, post.refused) {
        (Outcome::Applied { receipt }, None) => Receipt::decode(receipt).expect("ours").logs,
        (Outcome::Rejected(_), Some(_)) => Vec::new(),
        (outcome, expected) => return Some(format!("expected {expected:?}, found {outcome:?}")),
    };
    if keccak256(alloy_rlp::encode(&logs)) != post.logs {
        return Some(format!("other logs: {logs:?}"));
    }
    // The tools that made the tests pay a reward of zero to the coinbase, even of a block whose
    // transaction was refused; before EIP-161 that makes an empty account. The newer tool does not
    // get that far with a transaction of a type that the fork does not know.
    let unknown_type = fork < Fork::Berlin && post.txbytes.first().is_some_and(|byte| *byte < 0x80);
    let is_paid = set == "legacy" || !unknown_type;
    if post.refused.is_some() && fork < Fork::SpuriousDragon && is_paid {
        let key = bytes::Bytes::copy_from_slice(env.current_coinbase.as_slice());
        let empty = vec![0; 9].into();
        memory.map.entry((ACCOUNT, key)).or_insert(empty);
    }
    let found = root(&memory);
    (found != post.hash).then(|| format!("root {found}, not {}; {outcome:?}", post.hash))
}

/// What became of cases.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    cases: usize,
    passed: usize,
    /// Listed above, and different as said there.
    listed: usize,
    /// Not run: see [`LONGEST`].
    left: usize,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.cases += other.cases;
        self.passed += other.passed;
        self.listed += other.listed;
        self.left += other.left;
    }
}

#[derive(Debug, Default)]
struct Report {
    files: usize,
    /// By set and fork.
    counts: BTreeMap<(&'static str, String), Count>,
    /// Listed cases by file name, or fork.
    listed: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Report {
    fn merge(&mut self, other: Self) {
        self.files += other.files;
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        for (file, cases) in other.listed {
            *self.listed.entry(file).or_default() += cases;
        }
        self.failures.extend(other.failures);
    }

    fn total(&self) -> Count {
        let mut total = Count::default();
        self.counts.values().for_each(|count| total += *count);
        total
    }

    fn run(&mut self, job: &Job) {
        let Job {
            set,
            path,
            text,
            part,
            parts,
            is_quick,
        } = job;
        self.files += usize::from(*part == 0);
        let mut case = 0;
        let name = path.rsplit('/').next().expect("a last part");
        let tests: BTreeMap<String, Test<'_>> =
            serde_json::from_slice(text).unwrap_or_else(|e| panic!("{path}: {e}"));
        for (title, test) in &tests {
            for (fork_name, posts) in &test.post {
                let known = match *fork_name {
                    CONSTANTINOPLE => "Petersburg",
                    name => name,
                };
                let fork: Fork = serde_json::from_value(known.into())
                    .unwrap_or_else(|e| panic!("{path} {title}: {e}"));
                let settings = settings(&test.env, fork, &test.pre);
                let (machine, memory) = started(&settings.to_json());
                let mut count = Count::default();
                for (i, post) in posts.iter().enumerate() {
                    case += 1;
                    if case % parts != *part {
                        continue;
                    }
                    count.cases += 1;
                    if *is_quick && name == LONGEST && *fork_name != LONGEST_FORK {
                        count.left += 1;
                        continue;
                    }
                    let Some(difference) =
                        differs(&*machine, memory.clone(), (set, &test.env, fork), post)
                    else {
                        count.passed += 1;
                        continue;
                    };
                    let listed = *fork_name == CONSTANTINOPLE
                        || IMPOSSIBLE_STATES.contains(&name) && is_refused(&settings);
                    if listed {
                        count.listed += 1;
                        let reason = if *fork_name == CONSTANTINOPLE {
                            CONSTANTINOPLE
                        } else {
                            name
                        };
                        *self.listed.entry(reason.into()).or_default() += 1;
                    } else {
                        self.failures.push(format!(
                            "{set} {path}\n  {title} {fork_name} {i} {}\n  {difference:.400}",
                            post.indexes
                        ));
                    }
                }
                *self.counts.entry((*set, (*fork_name).into())).or_default() += count;
            }
        }
    }

    fn print(&self) {
        println!(
            "{:<8} {:<18} {:>8} {:>8} {:>8} {:>8}",
            "set", "fork", "cases", "passed", "listed", "not run"
        );
        for ((set, fork), count) in &self.counts {
            let Count {
                cases,
                passed,
                listed,
                left,
            } = count;
            println!("{set:<8} {fork:<18} {cases:>8} {passed:>8} {listed:>8} {left:>8}");
        }
        for (file, cases) in &self.listed {
            println!("listed: {file} {cases}");
        }
        let mut failures = self.failures.clone();
        failures.sort();
        failures.iter().take(40).for_each(|text| println!("{text}"));
        let total = self.total();
        println!(
            "state tests: {} files, {} cases, {} passed, {} listed, {} not run, {} failed",
            self.files,
            total.cases,
            total.passed,
            total.listed,
            total.left,
            self.failures.len()
        );
        if !self.failures.is_empty() {
            println!(
                "COCO_STATE_TEST=part/of/path cargo test -p adapter-ethereum --test state_tests -- --ignored --nocapture"
            );
        }
    }
}

/// True if a network cannot have this first state: the reason why some cases are listed.
fn is_refused(settings: &Settings) -> bool {
    let mut settings = settings.clone();
    settings.rules.replay = None;
    settings.rules.fork = Fork::Osaka;
    settings.rules.gas_limit = 60_000_000;
    Settings::parse(settings.to_json().as_bytes())
        .is_err_and(|e| e.to_string().contains("storage needs code or a nonce"))
}

/// Runs the files that `wanted` says, over all cores. `None` after saying what is missing.
fn run(is_quick: bool, wanted: impl Fn(usize, &str) -> bool + Sync) -> Option<Report> {
    let sets: Vec<(&'static str, PathBuf)> = SETS
        .into_iter()
        .map(|(set, path)| Some((set, data(path)?)))
        .collect::<Option<_>>()?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (give, take) = mpsc::sync_channel::<Job>(LONG_PARTS);
    let take = Mutex::new(take);
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut report = Report::default();
                    loop {
                        let next = take.lock().expect("no holder panics").recv();
                        let Ok(job) = next else {
                            return report;
                        };
                        report.run(&job);
                    }
                })
            })
            .collect();
        let mut n = 0;
        for (set, archive) in &sets {
            common::archive::each_json(archive, |path, text| {
                n += 1;
                if !wanted(n, &path) {
                    return ControlFlow::Continue(());
                }
                let is_long = LONG.iter().any(|name| path.ends_with(name));
                let parts = if is_long { LONG_PARTS } else { 1 };
                let text = Arc::new(text);
                for part in 0..parts {
                    let (path, text) = (path.clone(), text.clone());
                    let job = Job {
                        set,
                        path,
                        text,
                        part,
                        parts,
                        is_quick,
                    };
                    if give.send(job).is_err() {
                        return ControlFlow::Break(()); // a worker says why
                    }
                }
                ControlFlow::Continue(())
            });
        }
        drop(give);
        for worker in workers {
            report.merge(
                worker
                    .join()
                    .unwrap_or_else(|e| std::panic::resume_unwind(e)),
            );
        }
    });
    report.print();
    Some(report)
}

#[test]
fn a_sample_of_the_state_tests_ends_in_the_known_roots() {
    if let Some(report) = run(true, |n, _| n % 64 == 0) {
        assert!(report.failures.is_empty() && report.total().cases > 500);
    }
}

#[test]
#[ignore = "134,100 cases: .ci/run conformance"]
fn every_state_test_ends_in_the_known_root() {
    let only = std::env::var_os("COCO_STATE_TEST").map(|part| part.to_string_lossy().into_owned());
    let Some(report) = run(only.is_none(), |_, path| {
        only.as_ref().is_none_or(|part| path.contains(part))
    }) else {
        return;
    };
    assert!(report.failures.is_empty(), "see above");
    if only.is_none() {
        assert_eq!(report.total().cases, CASES);
        let needless: Vec<_> = IMPOSSIBLE_STATES
            .iter()
            .filter(|name| !report.listed.contains_key(**name))
            .collect();
        assert!(
            needless.is_empty(),
            "passes, so not to be listed: {needless:?}"
        );
        let constantinople = &report.counts[&("legacy", CONSTANTINOPLE.to_owned())];
        assert_eq!(constantinople.passed, CONSTANTINOPLE_PASSED);
    }
}
