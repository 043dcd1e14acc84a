//! The image of the key-value protocol's worker.

fn main() {
    images::worker(|_| (adapter_kv::machine(), adapter_kv::front()))
}
