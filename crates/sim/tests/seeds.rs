//! A few seeds in every test run; CI runs many more through `coco sim --runs`.

use sim::{Options, run};

#[test]
fn the_same_seed_gives_the_same_trace() {
    let options = Options {
        trace: true,
        events_min: 1_000,
        ..Options::default()
    };
    let first = run(7, &options)
        .unwrap_or_else(|failure| panic!("{failure}\n{}", failure.trace.join("\n")));
    let second = run(7, &options).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(first.trace, second.trace);
    assert_eq!(first, second);
}

#[test]
fn twenty_hostile_worlds_lose_nothing() {
    let (mut events, mut acknowledged, mut changes) = (0, 0, 0);
    for seed in 100..120 {
        let report = run(seed, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(
            report.leader_changes > 0 && report.acknowledged > 0,
            "seed {seed} proves little: {report:?}"
        );
        events += report.events;
        acknowledged += report.acknowledged;
        changes += report.leader_changes;
    }
    println!(
        "20 seeds: {events} events, {changes} leader changes, {acknowledged} acknowledged writes, all there"
    );
}
