//! The image of Ethereum's worker.

fn main() {
    adapter_ethereum::prepare();
    images::worker_with_threads(|seed, threads| {
        let machine = adapter_ethereum::machine_spread(threads);
        (machine, adapter_ethereum::front(seed))
    })
}
