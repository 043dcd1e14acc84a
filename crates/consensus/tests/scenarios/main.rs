//! Scenarios as scripts with their transcripts. Time stands still but for `pass`; disks are instant;
//! messages arrive in order, unless a node is cut off.
//!
//! | command | what happens |
//! |---|---|
//! | `voters 1 2 3` | these start as the voters |
//! | `join 4` | a new node, with nothing |
//! | `elect 1` | its time passes until it campaigns; then messages flow |
//! | `leader 1` | the same, not written down |
//! | `propose 1 x` | the leader proposes an entry |
//! | `write 1 x` | the same, but no message leaves before the next command |
//! | `change 1 1,2,3 4` | proposes the configuration on the way to these voters and learners |
//! | `leave 1` | proposes the configuration that ends a joint one |
//! | `read 2` | asks for a linearizable read |
//! | `transfer 1 2` | 1 hands leadership to 2 |
//! | `depose 2` | 2 campaigns against the leader |
//! | `cut 1`, `heal` | nothing passes from and to it; everything passes |
//! | `pass 400` | time for everyone |

mod script;

use expect_test::expect;
use script::check;

#[test]
fn the_first_leader_is_announced_when_its_first_entry_is_committed() {
    check(
        "voters 1 2 3 | elect 1 | propose 1 x",
        expect![[r#"
            voters 1 2 3
            elect 1
              2 has no leader
              3 has no leader
              1 is elected in term 1
              2 follows 1 in term 1
              3 follows 1 in term 1
              1 commits 1
              1 leads term 1
              2 commits 1
              3 commits 1
            propose 1 x
              1 commits 2
              2 commits 2
              3 commits 2
        "#]],
    );
}

#[test]
fn genesis_leads_alone_and_others_join_as_learners_first() {
    check(
        "voters 1 | pass 20 | join 2 | change 1 1 2 | change 1 1,2 - | leave 1 | propose 1 x",
        expect![[r#"
            voters 1
            pass 20
              1 is elected in term 1
              1 commits 1
              1 leads term 1
            join 2
            change 1 1 2
              1 is in [1 learners 2]
              1 commits 2
              2 follows 1 in term 1
              2 is in [1 learners 2]
              2 commits 2
            change 1 1,2 -
              1 is in [1 -> 1,2]
              2 is in [1 -> 1,2]
              1 commits 3
              2 commits 3
            leave 1
              1 is in [1,2]
              2 is in [1,2]
              1 commits 4
              2 commits 4
            propose 1 x
              1 commits 5
              2 commits 5
        "#]],
    );
}

#[test]
fn a_restarted_node_is_another_node_and_takes_the_place_of_the_former() {
    check(
        "voters 1 2 3 | leader 1 | cut 3 | join 4 | change 1 1,2,3 4 | change 1 1,2,4 - | leave 1",
        expect![[r#"
            voters 1 2 3
            leader 1
            cut 3
            join 4
            change 1 1,2,3 4
              1 is in [1,2,3 learners 4]
              2 is in [1,2,3 learners 4]
              4 follows 1 in term 1
              1 commits 2
              2 commits 2
              4 is in [1,2,3 learners 4]
              4 commits 2
            change 1 1,2,4 -
              1 is in [1,2,3 -> 1,2,4]
              2 is in [1,2,3 -> 1,2,4]
              4 is in [1,2,3 -> 1,2,4]
              1 commits 3
              2 commits 3
              4 commits 3
            leave 1
              1 is in [1,2,4]
              2 is in [1,2,4]
              4 is in [1,2,4]
              1 commits 4
              2 commits 4
              4 commits 4
        "#]],
    );
}

#[test]
fn a_leader_that_leaves_hands_over_when_the_configuration_without_it_is_committed() {
    check(
        "voters 1 2 3 | leader 1 | change 1 2,3 - | leave 1 | pass 2000",
        expect![[r#"
            voters 1 2 3
            leader 1
            change 1 2,3 -
              1 is in [1,2,3 -> 2,3]
              2 is in [1,2,3 -> 2,3]
              3 is in [1,2,3 -> 2,3]
              1 commits 2
              2 commits 2
              3 commits 2
            leave 1
              1 is in [2,3]
              2 is in [2,3]
              3 is in [2,3]
              1 commits 3
              1 has no leader
              2 commits 3
              3 commits 3
              2 has no leader
              3 is elected in term 2
              2 follows 3 in term 2
              3 commits 4
              3 leads term 2
              2 commits 4
            pass 2000
        "#]],
    );
}

#[test]
fn one_change_at_a_time() {
    check(
        "voters 1 2 3 | leader 1 | cut 2 | cut 3 | join 4 | change 1 1,2,3 4 | change 1 1,2,3 -",
        expect![[r#"
            voters 1 2 3
            leader 1
            cut 2
            cut 3
            join 4
            change 1 1,2,3 4
              1 is in [1,2,3 learners 4]
              4 follows 1 in term 1
              4 is in [1,2,3 learners 4]
              4 commits 1
            change 1 1,2,3 -
              1 refuses
        "#]],
    );
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_answers_no_read() {
    check(
        "voters 1 2 3 | leader 1 | cut 1 | read 1 | write 1 lost | pass 280 | read 1 | pass 1000 | propose 3 x | heal | pass 100",
        expect![[r#"
            voters 1 2 3
            leader 1
            cut 1
            read 1
            write 1 lost
            pass 280
            read 1
            pass 1000
              1 refuses read 1
              1 refuses read 2
              1 has no leader
              3 has no leader
              2 has no leader
              3 is elected in term 2
              2 follows 3 in term 2
              3 commits 2
              3 leads term 2
              2 commits 2
            propose 3 x
              3 commits 3
              2 commits 3
            heal
            pass 100
              1 follows 3 in term 2
              1 truncates 2
              1 commits 3
        "#]],
    );
}

#[test]
fn who_was_cut_off_comes_back_without_disturbing_anyone() {
    check(
        "voters 1 2 3 | leader 1 | cut 3 | propose 1 x | pass 5000 | heal | pass 100",
        expect![[r#"
            voters 1 2 3
            leader 1
            cut 3
            propose 1 x
              1 commits 2
              2 commits 2
            pass 5000
              3 has no leader
            heal
            pass 100
              3 follows 1 in term 1
              3 commits 2
        "#]],
    );
}

#[test]
fn leadership_is_handed_over_in_an_instant() {
    check(
        "voters 1 2 3 | leader 1 | propose 1 x | transfer 1 3 | propose 3 y",
        expect![[r#"
            voters 1 2 3
            leader 1
            propose 1 x
              1 commits 2
              2 commits 2
              3 commits 2
            transfer 1 3
              1 has no leader
              2 has no leader
              3 is elected in term 2
              1 follows 3 in term 2
              2 follows 3 in term 2
              3 commits 3
              3 leads term 2
              1 commits 3
              2 commits 3
            propose 3 y
              3 commits 4
              1 commits 4
              2 commits 4
        "#]],
    );
}

#[test]
fn a_hand_over_to_who_does_not_answer_is_given_up() {
    check(
        "voters 1 2 3 | leader 1 | cut 3 | propose 1 x | transfer 1 3 | propose 1 y | pass 320 | propose 1 y",
        expect![[r#"
            voters 1 2 3
            leader 1
            cut 3
            propose 1 x
              1 commits 2
              2 commits 2
            transfer 1 3
            propose 1 y
              1 refuses
            pass 320
            propose 1 y
              1 commits 3
              2 commits 3
        "#]],
    );
}

#[test]
fn reads_are_answered_by_a_quorum_and_forwarded_by_followers() {
    check(
        "voters 1 2 3 | leader 1 | propose 1 x | read 1 | read 3 | cut 1 | read 3 | pass 320",
        expect![[r#"
            voters 1 2 3
            leader 1
            propose 1 x
              1 commits 2
              2 commits 2
              3 commits 2
            read 1
              1 may answer read 1 at 2
            read 3
              3 may answer read 2 at 2
            cut 1
            read 3
            pass 320
              1 has no leader
              3 refuses read 3
        "#]],
    );
}

#[test]
fn a_leader_that_a_voter_finds_unfit_is_replaced_at_once() {
    check(
        "voters 1 2 3 | leader 1 | depose 2 | propose 2 x",
        expect![[r#"
            voters 1 2 3
            leader 1
            depose 2
              1 has no leader
              3 has no leader
              2 is elected in term 2
              1 follows 2 in term 2
              3 follows 2 in term 2
              2 commits 2
              2 leads term 2
              1 commits 2
              3 commits 2
            propose 2 x
              2 commits 3
              1 commits 3
              3 commits 3
        "#]],
    );
}

#[test]
fn a_joint_configuration_is_left_by_whoever_leads_next() {
    // 1 was away when it was voted out. It asks for votes in vain; nobody is disturbed.
    check(
        "voters 1 2 3 | leader 1 | join 4 | change 1 1,2,3 4 | change 1 2,3,4 - | cut 1 | pass 1000 | leave 2 | heal | pass 1000",
        expect![[r#"
            voters 1 2 3
            leader 1
            join 4
            change 1 1,2,3 4
              1 is in [1,2,3 learners 4]
              2 is in [1,2,3 learners 4]
              3 is in [1,2,3 learners 4]
              4 follows 1 in term 1
              1 commits 2
              2 commits 2
              3 commits 2
              4 is in [1,2,3 learners 4]
              4 commits 2
            change 1 2,3,4 -
              1 is in [1,2,3 -> 2,3,4]
              2 is in [1,2,3 -> 2,3,4]
              3 is in [1,2,3 -> 2,3,4]
              4 is in [1,2,3 -> 2,3,4]
              1 commits 3
              2 commits 3
              3 commits 3
              4 commits 3
            cut 1
            pass 1000
              1 has no leader
              2 has no leader
              3 has no leader
              4 has no leader
              2 is elected in term 2
              3 follows 2 in term 2
              4 follows 2 in term 2
              2 commits 4
              2 leads term 2
              3 commits 4
              4 commits 4
            leave 2
              2 is in [2,3,4]
              3 is in [2,3,4]
              4 is in [2,3,4]
              2 commits 5
              3 commits 5
              4 commits 5
            heal
            pass 1000
              1 has no leader
        "#]],
    );
}
