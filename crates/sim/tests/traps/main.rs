//! The traps of DESIGN section 5, which bit others: each is a scenario that goes wrong if the engine
//! makes that mistake, and goes right here. With `--features mutations` each mistake is put back, and the
//! promise that breaks is named.
//!
//! The consensus crate shows the same traps message by message, and finds most of them in random runs;
//! `mutations.rs` does so with whole nodes.

mod network;

use consensus::Mutation;
use network::Network;

/// Runs the scenario right, and with the mistake.
fn trap(mistake: Mutation, breaks: &str, scenario: fn(Mutation) -> Network) {
    let broken = scenario(Mutation::None).broken();
    assert!(broken.is_empty(), "the engine is wrong: {broken:?}");
    if cfg!(feature = "mutations") {
        let broken = scenario(mistake).broken();
        println!("{mistake:?}: {broken:?}");
        assert!(
            broken.iter().any(|what| what.contains(breaks)),
            "{mistake:?} was put back, and {breaks:?} is not among {broken:?}"
        );
    }
}

/// Three nodes become one of them and two others, while the two that leave are cut off with nothing of
/// it: they are a majority of the configuration that they know.
#[test]
fn a_quorum_is_not_counted_over_the_union_of_configurations() {
    trap(
        Mutation::UnionQuorum,
        "committed as two different ones",
        |mutation| {
            let mut network = Network::led_by(1, &[1, 2, 3], &[4, 5], mutation);
            network.change(1, &[1, 2, 3], &[4, 5]);
            network.split(&[1, 4, 5], &[2, 3]);
            network.change(1, &[1, 4, 5], &[]);
            network.propose(1, "told to be done");
            network.campaign(2);
            network.propose(2, "told to be done, too");
            network.heal();
            network.must_commit(&[1, 2, 3, 4, 5]);
            network
        },
    );
}

/// Raft thesis, figure 3.7: entry 2 of term 1 is on a majority, and a node with a later entry 2 can
/// still be elected.
#[test]
fn an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    trap(
        Mutation::CommitEarlierTerm,
        "committed as two different ones",
        |mutation| {
            let mut network = Network::led_by(1, &[1, 2, 3, 4, 5], &[], mutation);
            network.split(&[1], &[3, 4, 5]);
            network.propose_large(1);
            // 5 is elected by 3 and 4, and nobody gets its entry 2.
            network.hold(Some(|from, _, text| {
                from == 5 && text.starts_with("append")
            }));
            network.campaign(5);
            network.lose_held();
            // 1 is elected again, spreads its entry 2, and nothing later than that gets away.
            network.heal();
            network.split(&[5], &[1, 2, 3, 4]);
            network.hold(Some(|from, _, text| {
                from == 1 && (text.contains("after 2@1 +1") || text.contains("commit 2"))
            }));
            network.pass(&[1], 1_500);
            network.lose_held();
            network.heal();
            network.split(&[1], &[2, 3, 4, 5]);
            network.pass(&[5], 60);
            network.pass(&[2, 3, 4], 280);
            network.pass(&[5], 1_300);
            network.heal();
            network.must_commit(&[1, 2, 3, 4, 5]);
            network
        },
    );
}

/// A follower has an entry in memory only, and says where its log ends as it refuses a later one.
#[test]
fn a_negative_acknowledgement_does_not_advance_the_commit() {
    trap(
        Mutation::NackAdvancesMatch,
        "committed with 1 copies of 3 on disk",
        |mutation| {
            let mut network = Network::led_by(1, &[1, 2, 3], &[], mutation);
            network.split(&[3], &[1, 2]);
            network.stall_disk(2);
            network.propose(1, "in memory");
            network.hold(Some(|_, to, text| to == 2 && text.contains("after 2@1 +1")));
            network.propose(1, "lost on the way");
            network.lose_held();
            network.propose(1, "refused");
            network.heal();
            network.must_commit(&[1, 2, 3]);
            network
        },
    );
}

/// A refusal comes late, after what it asked for was sent and acknowledged: a leader that goes back for
/// it, and a follower that cuts what it does not hear of again, lose entries that were acknowledged.
#[test]
fn a_stale_negative_acknowledgement_truncates_nothing() {
    trap(
        Mutation::StaleNackTruncates,
        "committed as two different ones",
        |mutation| {
            let mut network = Network::led_by(1, &[1, 2, 3], &[], mutation);
            network.split(&[3], &[1, 2]);
            // The first of three messages is lost, and the others are refused one by one.
            network.hold(Some(|_, to, _| to == 2));
            network.propose_large(1);
            network.lose_held();
            network.hold(Some(|from, _, _| from == 2));
            network.propose(1, "acknowledged");
            network.propose(1, "acknowledged, too");
            // That entry 4 is committed does not get to node 2 in time, nor entries a second time.
            let late = network.release_all_but_last(Some(|_, to, text| {
                to == 2 && text.contains("commit 4") && !text.contains("after 1@1")
            }));
            assert_eq!(network.committed(), 4);
            late(&mut network);
            network.lose_held();
            network.heal();
            network.split(&[1], &[2, 3]);
            network.campaign(2);
            network.heal();
            network.must_commit(&[1, 2, 3]);
            network
        },
    );
}

/// A former leader has entries of its own where the new one has others, and hears a heartbeat that
/// covers none of them.
#[test]
fn nothing_is_acknowledged_beyond_what_was_received() {
    trap(
        Mutation::AcknowledgeUnreceived,
        "committed as two different ones",
        |mutation| {
            let mut network = Network::led_by(2, &[1, 2, 3], &[], mutation);
            network.split(&[2], &[1, 3]);
            network.propose(2, "never acknowledged");
            network.propose(2, "never acknowledged, either");
            network.hold(Some(|from, _, text| {
                from == 1 && text.starts_with("append")
            }));
            network.campaign(1);
            network.propose(1, "told to be done");
            network.lose_held();
            // Heartbeats pass, and entries do not.
            network.heal();
            network.split(&[3], &[1, 2]);
            network.hold(Some(|from, _, text| from == 1 && !text.contains("+0")));
            network.pass(&[1], 60);
            network.lose_held();
            network.heal();
            network.split(&[1], &[2, 3]);
            network.pass(&[3], 280);
            network.pass(&[2], 1_300);
            network.heal();
            network.must_commit(&[1, 2, 3]);
            network
        },
    );
}

/// The leader is gone, and of the others only the node that is to retire has its last entry: nobody
/// else can be elected.
#[test]
fn a_node_does_not_retire_before_the_configuration_without_it_is_committed() {
    trap(Mutation::RetireEarly, "no new write commits", |mutation| {
        let mut network = Network::led_by(2, &[1, 2, 3, 4], &[], mutation);
        network.change(2, &[2, 3, 4], &[]);
        network.split(&[2], &[3, 4]);
        network.leave(2);
        network.crash(2);
        network.must_commit(&[1, 3, 4]);
        network
    });
}

/// A leader that the old majority hears and cannot answer: as long as it leads, nothing commits.
#[test]
fn a_leader_asks_a_quorum_of_each_configuration_whether_it_leads() {
    trap(
        Mutation::CheckQuorumUnion,
        "no new write commits",
        |mutation| {
            let mut network = Network::led_by(1, &[1, 2, 3], &[4, 5], mutation);
            network.change(1, &[1, 2, 3], &[4, 5]);
            network.mute(&[2, 3], 1);
            network.change(1, &[1, 4, 5], &[]);
            network.must_commit(&[1, 2, 3, 4, 5]);
            network
        },
    );
}
