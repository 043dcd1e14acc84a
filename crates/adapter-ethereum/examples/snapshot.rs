//! What a snapshot costs a worker that serves: `cargo run --release -p adapter-ethereum --example
//! snapshot [accounts]`. Prints the longest turn while it is taken, and how long a restore takes.

#![allow(clippy::disallowed_methods)] // A measurement needs a clock and a look at itself; the crate has none.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use boundary::manager_to_worker::Message as In;
use boundary::worker_to_manager::Message as Out;
use boundary::{ManagerToWorker, SnapshotCredit, TakeSnapshot};
use types::Millis;
use worker::solo::Solo;

fn main() {
    let accounts = std::env::args()
        .nth(1)
        .map_or(1_000_000, |count| count.parse().expect("a number"));
    let mut settings = String::from(r#"{"chainId":31337,"alloc":{"#);
    for n in 0..accounts {
        let comma = if n == 0 { "" } else { "," };
        // Spread as addresses are.
        let spread = (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        write!(
            settings,
            r#"{comma}"0x{spread:032x}{n:08x}":{{"balance":"0xde0b6b3a7640000"}}"#
        )
        .expect("memory");
    }
    settings.push_str("}}");
    let mut solo = Solo::new(
        adapter_ethereum::machine(),
        adapter_ethereum::front([0; 32]),
        settings,
    );
    println!("{accounts} accounts, {} MiB resident", resident_mib());

    let message = |message| ManagerToWorker {
        now: 1_700_000_000_000,
        message: Some(message),
    };
    let now = Millis(1_700_000_000_000);
    let mut out = Vec::new();
    let mut turns: Vec<Duration> = Vec::new();
    let start = Instant::now();
    solo.worker.handle(
        now,
        message(In::TakeSnapshot(TakeSnapshot { height: 0 })),
        &mut out,
    );
    println!("freezing took {:?}", start.elapsed());
    solo.worker.handle(
        now,
        message(In::SnapshotCredit(SnapshotCredit {
            height: 0,
            chunks: u32::MAX,
        })),
        &mut out,
    );
    let mut chunks = Vec::new();
    let mut resident = 0;
    while solo.worker.has_work() {
        let turn = Instant::now();
        solo.worker.flush(now, &mut out);
        turns.push(turn.elapsed());
        if turns.len().is_multiple_of(64) {
            resident = resident.max(resident_mib());
        }
        for message in out.drain(..) {
            if let Some(Out::SnapshotChunk(chunk)) = message.message {
                chunks.push(chunk.data);
            }
        }
    }
    let total: Duration = turns.iter().sum();
    turns.sort();
    println!(
        "{} chunks in {} turns and {total:?}; a turn took {:?} at the median, {:?} in 99 of 100, {:?} at most; {resident} MiB resident",
        chunks.len(),
        turns.len(),
        turns[turns.len() / 2],
        turns[turns.len() * 99 / 100],
        turns[turns.len() - 1],
    );
    let start = Instant::now();
    let other = Solo::restored(
        adapter_ethereum::machine(),
        adapter_ethereum::front([0; 32]),
        0,
        &chunks,
        Default::default(),
    );
    println!("a restore took {:?}", start.elapsed());
    assert_eq!(other.worker.state().keys(), solo.worker.state().keys());
}

fn resident_mib() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0_u64)
        / 256
}
