//! Units that call a system outside, in a whole network where both are in trouble.

use std::collections::BTreeMap;

use sim::{Options, run};

#[test]
fn calls_outside_come_to_one_end_on_every_node_and_replay_without_the_outside() {
    let options = Options {
        outside: true,
        ..Options::default()
    };
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut replayed, mut repeated) = (0, 0);
    for seed in 0..20 {
        let report = run(seed, &options).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.batches_replayed > 0, "seed {seed}");
        replayed += report.batches_replayed;
        repeated += report.calls_repeated;
        for (kind, count) in report.faults {
            *faults.entry(kind).or_default() += count;
        }
    }
    let happened = |kind: &str| faults.get(kind).copied().unwrap_or_default();
    for kind in [
        "oracle answers",
        "oracle answers late",
        "oracle is silent",
        "oracle says too much",
        "oracle talks nonsense",
        "oracle hangs up",
        "oracle is another",
        "leader lost while it calls",
    ] {
        assert!(happened(kind) > 0, "{kind}: never");
    }
    assert!(repeated > 0, "nobody called again");
    assert!(replayed > 500, "{replayed} batches");
}
