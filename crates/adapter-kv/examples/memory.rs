//! How a worker's memory grows with history: `cargo run --release -p adapter-kv --example memory
//! [transactions]`. Writes 10,000 keys over and over, one named request a batch, and prints what is resident.

#![allow(clippy::disallowed_methods)] // A measurement needs a clock and a look at itself; the crate has none.

use worker::solo::Solo;

fn main() {
    let transactions = std::env::args()
        .nth(1)
        .map_or(1_000_000, |count| count.parse().expect("a number"));
    let mut solo = Solo::new(adapter_kv::machine(), adapter_kv::front(), "");
    println!("0 transactions, {} KiB resident", resident_kib());
    for n in 1..=transactions {
        let put = solo.http_with(
            "PUT",
            &format!("/kv/key{}", n % 10_000),
            &[("coco-request-id", &format!("request-{n}"))],
            format!("value {n} of a hundred bytes {:070}", 0),
        );
        assert_eq!(put.status, 200);
        // The ledger is not the worker's.
        solo.bodies.clear();
        if n % 100_000 == 0 {
            println!("{n} transactions, {} KiB resident", resident_kib());
        }
    }
}

fn resident_kib() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0_u64)
        * 4
}
