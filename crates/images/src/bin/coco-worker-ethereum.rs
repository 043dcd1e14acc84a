//! The image of Ethereum's worker.

fn main() {
    images::worker(|seed| (adapter_ethereum::machine(), adapter_ethereum::front(seed)))
}
