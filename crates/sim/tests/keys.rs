//! The keys that no single actor holds, in a whole network: made over the ledger, and opened again by
//! M actors whenever a node's copy of them grows old.

use sim::{Options, run};

#[test]
fn actors_make_a_key_and_open_epochs_with_it() {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    let report = run(3, &options)
        .unwrap_or_else(|failure| panic!("{failure}\n{}", failure.trace.join("\n")));
    let lines = |what: &str| report.trace.iter().filter(|l| l.contains(what)).count();
    assert!(lines("ThresholdKey") >= 1, "no key was made");
    assert!(
        lines("were opened by member-") >= 1,
        "no keys were opened again"
    );
    // Where the network was in pieces for the whole life of the keys they are gone, until M actors meet.
    assert!(lines("is forgotten") <= lines("were opened by member-"));
}

#[test]
fn every_node_has_its_transport_key() {
    let options = Options {
        trace: true,
        nodes: Some(3),
        ..Options::default()
    };
    let report = run(5, &options)
        .unwrap_or_else(|failure| panic!("{failure}\n{}", failure.trace.join("\n")));
    let lines = |what: &str| report.trace.iter().filter(|l| l.contains(what)).count();
    for place in 0..3 {
        let told = format!("node {place} is told its owner's share-transport key");
        assert!(lines(&told) >= 1, "node {place} was given none");
    }
    assert_eq!(
        lines("no share-transport key"),
        0,
        "one was refused, or is not the listed one"
    );
}
