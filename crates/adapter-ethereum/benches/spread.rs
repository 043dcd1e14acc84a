//! A batch executed in order, and by several threads: 2,000 mainnet transactions in batches of 100, ether to
//! different accounts, and a token's transfers from and to different ones. The threads are those of a worker.
//!
//! Mainnet's come from the shared test data and are left out where that is not.

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapter::{Env, Machine, Spread, Unit};
use adapter_ethereum::{Alloc, Fork, Profile, Replay, Roots, Rules, Settings, dev};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kv::Store;
use platform::Threads;
use serde_json::Value;
use types::{Height, Millis};
use worker::{Execution, State};

const BATCH: usize = 100;

#[derive(Debug)]
struct Lent {
    threads: Threads,
    ahead: AtomicUsize,
    again: AtomicUsize,
}

impl Spread for Lent {
    fn width(&self) -> usize {
        self.threads.width()
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.threads.each(count, work);
    }

    fn spent(&self, ahead: usize, again: usize) {
        self.ahead.fetch_add(ahead, Ordering::Relaxed);
        self.again.fetch_add(again, Ordering::Relaxed);
    }
}

/// Pieces one after the other, as if each had a core of its own: only the longest of a batch counts.
#[derive(Debug)]
struct Imagined {
    width: usize,
    /// Nanoseconds that would not be waited for.
    saved: AtomicUsize,
}

impl Spread for Imagined {
    fn width(&self) -> usize {
        self.width
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        // Piece n is for thread n mod width.
        let mut threads = vec![0; self.width];
        for piece in 0..count {
            let began = WallTime.start();
            work(piece);
            threads[piece % self.width] += WallTime.end(began).as_nanos() as usize; // short
        }
        let longest = threads.iter().max().expect("one at least");
        self.saved
            .fetch_add(threads.iter().sum::<usize>() - longest, Ordering::Relaxed);
    }
}

/// Batches, and the state below the first.
struct Work {
    state: State,
    batches: Vec<Vec<Unit>>,
}

fn env(height: Height) -> Env {
    Env {
        height,
        time: Millis(1_700_000_000_000),
        entropy: [7; 32],
    }
}

impl Work {
    fn new(settings: &str, raw: &[Bytes]) -> Self {
        let machine = adapter_ethereum::machine();
        let domains = machine.describe().domains.into_iter();
        let mut state = State::new(Store::new(
            domains.map(|spec| (spec.domain, kv::Layout::Hashed)),
        ));
        let mut genesis = Execution::genesis(state.committed(), env(Height::ZERO));
        let bytes = bytes::Bytes::from(settings.as_bytes().to_vec());
        machine
            .genesis(&adapter::Settings { bytes }, &mut genesis)
            .expect("usable settings");
        let writes = genesis.finish().writes;
        state.genesis(&writes).expect("the first state");
        let unit = |raw: &Bytes| {
            let ticket = machine.admit(&state, &common::caller(), &raw.0);
            let ticket = ticket.expect("admitted");
            Unit {
                id: ticket.id,
                caller: types::ActorId::ZERO,
                raw: raw.0.clone(),
                established: ticket.established,
                memo: ticket.memo,
                answers: Vec::new(),
            }
        };
        let batches = raw
            .chunks(BATCH)
            .map(|chunk| chunk.iter().map(unit).collect());
        let batches = batches.collect();
        Self { state, batches }
    }

    /// Executes all batches; the time that takes. The state is as before.
    fn run(&mut self, machine: &dyn Machine) -> std::time::Duration {
        let mut total = WallTime.zero();
        for units in &self.batches {
            let height = self.state.top_height().next();
            let mut execution = Execution::recording(self.state.top(), env(height));
            let began = WallTime.start();
            machine
                .execute_all(units, &mut execution)
                .expect("never lost");
            total = WallTime.add(&total, &WallTime.end(began));
            let writes = execution.finish().writes;
            self.state.push(height, &writes).expect("on top");
        }
        self.state.rollback(Height::ZERO);
        total
    }
}

fn mainnet() -> Option<Work> {
    let codes: BTreeMap<B256, Bytes> =
        serde_json::from_slice(&common::gunzip(&common::data("mainnet/codes.json.gz")?))
            .expect("codes");
    let path = common::data("mainnet/workload-2000.json.gz")?;
    let workload: Value = serde_json::from_slice(&common::gunzip(&path)).expect("json");
    let env = &workload["env"];
    let number = |value: &Value| -> u64 {
        let wide: U256 = serde_json::from_value(value.clone()).expect("a quantity");
        wide.to()
    };
    let alloc: BTreeMap<Address, Alloc> =
        serde_json::from_value(workload["pre"].clone()).expect("pre-state");
    let settings = Settings {
        rules: Rules {
            chain_id: number(&workload["chainId"]),
            fork: Fork::Osaka,
            gas_limit: number(&env["gasLimit"]),
            profile: Profile::Transparent,
            roots: Roots::Keyed,
            states_kept: 0,
            replay: Some(Replay {
                number: number(&env["number"]),
                timestamp: number(&env["timestamp"]),
                coinbase: serde_json::from_value(env["coinbase"].clone()).expect("an address"),
                base_fee_per_gas: number(&env["baseFeePerGas"]),
                prev_randao: serde_json::from_value(env["prevRandao"].clone()).unwrap_or_default(),
                difficulty: U256::ZERO,
                excess_blob_gas: number(&env["excessBlobGas"]),
                blob_base_fee_update_fraction: 0,
                parent_hash: B256::ZERO,
                parent_beacon_block_root: B256::ZERO,
                block_hashes: BTreeMap::new(),
                system_calls: false,
            }),
        },
        timestamp: 0,
        codes: alloc
            .values()
            .filter_map(|account| account.code_hash)
            .filter_map(|hash| Some((hash, codes.get(&hash)?.clone())))
            .collect(),
        alloc,
    };
    let given = workload["transactions"].as_array().expect("transactions");
    let raw: Vec<Bytes> = given
        .iter()
        .map(|one| serde_json::from_value(one.get("raw").unwrap_or(one).clone()).expect("hex"))
        .collect();
    Some(Work::new(&settings.to_json(), &raw))
}

/// Moves from the slot of the first word of its data to that of the second as many as the third says.
const TOKEN: Address = Address::repeat_byte(0xd1);
const TOKEN_CODE: &str =
    "5f355460403580821060215790035f35556040356020355401602035555f5fa0005b5f5ffd";

/// Each of another sender and to another receiver.
fn transfers(of_token: bool) -> Work {
    let mut settings = dev::settings(dev::CHAIN_ID);
    let token = Alloc {
        code: Some(hex::decode(TOKEN_CODE).expect("hex").into()),
        nonce: 1,
        storage: (0u64..2000)
            .map(|slot| (U256::from(slot), U256::from(100)))
            .collect(),
        ..Alloc::default()
    };
    settings.alloc.insert(TOKEN, token);
    let raw = (0..2000u64).map(|n| {
        let mut transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            gas_limit: 100_000,
            to: TxKind::Call(Address::left_padding_from(&(n + (1 << 20)).to_be_bytes())),
            ..TxEip1559::default()
        };
        if of_token {
            transaction.to = TxKind::Call(TOKEN);
            let words = [n, n + 5000, 1].map(|word| U256::from(word).to_be_bytes::<32>());
            transaction.input = words.concat().into();
        } else {
            transaction.value = U256::ONE;
        }
        let mut key = [1; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        Bytes::from(dev::sign(transaction, &key))
    });
    let raw: Vec<Bytes> = raw.collect();
    for raw in &raw {
        let sender = adapter_ethereum::Transaction::admit(&raw.0, &settings.rules)
            .expect("admitted")
            .sender;
        let rich = Alloc {
            balance: U256::from(1_000_000),
            ..Alloc::default()
        };
        settings.alloc.insert(sender, rich);
    }
    Work::new(&settings.to_json(), &raw)
}

fn spread(criterion: &mut Criterion) {
    let works = [
        ("ether", Some(transfers(false))),
        ("token", Some(transfers(true))),
        ("mainnet", mainnet()),
    ];
    for (name, work) in works {
        let Some(mut work) = work else { continue };
        let mut group = criterion.benchmark_group(format!("spread/{name}"));
        group.sample_size(10).throughput(Throughput::Elements(2000));
        for width in [1, 2, 4] {
            let lent = Arc::new(Lent {
                threads: Threads::start(width),
                ahead: AtomicUsize::new(0),
                again: AtomicUsize::new(0),
            });
            let machine = adapter_ethereum::machine_spread(lent.clone());
            group.bench_function(format!("{width}_threads"), |bencher| {
                bencher.iter_custom(|times| {
                    let rounds = (0..times).map(|_| work.run(&*machine));
                    rounds.fold(WallTime.zero(), |sum, one| WallTime.add(&sum, &one))
                });
            });
            let of = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64;
            let (ahead, again) = (of(&lent.ahead), of(&lent.again));
            if ahead > 0.0 {
                println!(
                    "executed again: {:.1} % of what was executed ahead",
                    100.0 * again / ahead
                );
            }
        }
        group.finish();
        for width in [2, 4, 8] {
            let imagined = Arc::new(Imagined {
                width,
                saved: AtomicUsize::new(0),
            });
            let in_order = adapter_ethereum::machine();
            let machine = adapter_ethereum::machine_spread(imagined.clone());
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for _ in 0..50 {
                before.push(work.run(&*in_order).as_micros());
                imagined.saved.store(0, Ordering::Relaxed);
                let all = work.run(&*machine).as_micros();
                after.push(all - imagined.saved.load(Ordering::Relaxed) as u128 / 1000); // widening
            }
            before.sort_unstable();
            after.sort_unstable();
            let (before, after) = (before[25], after[25]);
            println!("{name}, {width} idle cores imagined: {after} us, in order {before} us");
        }
    }
}

criterion_group!(benches, spread);
criterion_main!(benches);
