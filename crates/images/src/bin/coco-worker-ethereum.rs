//! The image of Ethereum's worker.

fn main() {
    adapter_ethereum::prepare();
    images::worker(|seed| (adapter_ethereum::machine(), adapter_ethereum::front(seed)))
}
