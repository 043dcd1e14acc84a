//! Writes a ledger of any size, to measure `coco ledger verify` with:
//!
//! `cargo run --release -p coco --example generate_ledger -- DIRECTORY TRANSACTIONS BATCH`

#[path = "../tests/ledger/world.rs"]
mod world;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, transactions, batch] = &arguments[..] else {
        eprintln!("usage: generate_ledger DIRECTORY TRANSACTIONS BATCH");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse().expect("a number");
    let plan = world::Plan {
        transactions: number(transactions),
        batch: number(batch),
        bytes: 100,
        snapshot_every: 20_000,
        ..world::Plan::default()
    };
    let writer = world::generate(directory.as_ref(), &plan);
    println!(
        "{} transactions in {} entries",
        plan.transactions,
        writer.last()
    );
}
