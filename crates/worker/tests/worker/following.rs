//! A follower's worker.

use expect_test::expect;

use crate::script::{Script, check};

/// A worker that has never executed anything, and the batches of another that leads.
fn follower(script: &str) -> Script {
    let mut leader = Script::new();
    leader.run(script);
    let mut follower = Script::new();
    follower.bodies = leader.bodies;
    follower
}

#[test]
fn batches_are_applied_in_order_and_once() {
    let mut follower = follower("lead 1 0 \n open 2 ada \n post 2 a add n \n post 2 b add n");
    let transcript = follower.run("follow 1 leader \n apply 2 \n apply 1 \n apply 1 \n apply 2 \n open 2 eve \n get 2 /note/n \n get 2 /batch/2");
    expect![[r#"
        > follow 1 leader
        > apply 2
        log batch 2 skips over 1
        applied 0
        > apply 1
        applied 1
        > apply 1
        applied 1
        > apply 2
        applied 2
        > open 2 eve
        > get 2 /note/n
        2: 200 2
        > get 2 /batch/2
        2: 200 b at 12
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn a_unit_is_forwarded_and_answered_when_it_is_applied() {
    let mut follower = follower("lead 1 0 \n inject 7 a add n");
    let transcript = follower
        .run("open 2 ada \n follow 1 leader \n post 2 a add n \n apply 1 \n post 2 a add n");
    expect![[r#"
        > open 2 ada
        > follow 1 leader
        > post 2 a add n
        forward a
        > apply 1
        applied 1
        2: 200 committed 1.0
        > post 2 a add n
        2: 200 committed 1.0
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn what_is_not_resolved_is_forwarded_to_each_new_leader_and_again_after_a_while() {
    check(
        "open 2 ada \n post 2 a add n \n follow 1 leader \n post 2 b add n \n follow 2 unknown \n follow 2 leader \n time 1900 \n time 2000",
        expect![[r#"
            > open 2 ada
            > post 2 a add n
            > follow 1 leader
            forward a
            > post 2 b add n
            forward b
            > follow 2 unknown
            > follow 2 leader
            forward a b
            > time 1900
            > time 2000
            forward a b
        "#]],
    );
}

#[test]
fn a_unit_that_a_new_leader_lost_is_forwarded_again_while_others_go_on() {
    check(
        "open 2 ada \n follow 1 leader \n post 2 a add n \n time 1900 \n post 2 b add n \n time 2000 \n time 2900 \n time 3000",
        expect![[r#"
            > open 2 ada
            > follow 1 leader
            > post 2 a add n
            forward a
            > time 1900
            > post 2 b add n
            forward b
            > time 2000
            forward a
            > time 2900
            > time 3000
            forward a b
        "#]],
    );
}

#[test]
fn without_a_leader_for_long_the_outcome_is_unknown() {
    check(
        "open 2 ada \n follow 1 leader \n post 2 a add n \n follow 2 unknown \n time 5900 \n follow 3 unknown \n time 6000 \n follow 4 leader \n post 2 a add n",
        expect![[r#"
            > open 2 ada
            > follow 1 leader
            > post 2 a add n
            forward a
            > follow 2 unknown
            > time 5900
            > follow 3 unknown
            > time 6000
            2: 503 unknown
            > follow 4 leader
            forward a
            > post 2 a add n
            forward a
        "#]],
    );
}

#[test]
fn what_the_leader_refuses_is_answered() {
    check(
        "open 2 ada \n follow 1 leader \n post 2 a add n \n refused a \n refused a",
        expect![[r#"
            > open 2 ada
            > follow 1 leader
            > post 2 a add n
            forward a
            > refused a
            2: 409 rejected Invalid: the leader says no
            > refused a
        "#]],
    );
}

#[test]
fn what_the_leader_has_no_room_for_is_forwarded_again() {
    check(
        "open 2 ada \n follow 1 leader \n post 2 a add n & \n post 2 b add n \n refused b full \n time 1099 \n time 1100 \n refused b full \n lead 2 0 \n commit 1",
        expect![[r#"
            > open 2 ada
            > follow 1 leader
            > post 2 a add n &
            > post 2 b add n
            forward a b
            > refused b full
            > time 1099
            > time 1100
            forward b
            > refused b full
            > lead 2 0
            propose 1 at 1100: a b
            > commit 1
            2: 200 committed 1.0
            2: 200 committed 1.1
        "#]],
    );
}

#[test]
fn later_refusals_do_not_put_off_what_is_to_be_forwarded_again() {
    check(
        "open 2 ada \n follow 1 leader \n post 2 a add n & \n post 2 b add n \n refused b full \n time 1050 \n refused a full \n refused z full \n time 1100",
        expect![[r#"
            > open 2 ada
            > follow 1 leader
            > post 2 a add n &
            > post 2 b add n
            forward a b
            > refused b full
            > time 1050
            > refused a full
            > refused z full
            > time 1100
            forward b a
        "#]],
    );
}

#[test]
fn only_what_may_be_lost_is_forwarded_again() {
    // b was committed: a, before it, may be lost, and c only when nothing was for a second.
    let mut follower = Script::new();
    follower.run(
        "follow 1 leader \n open 2 ada \n post 2 a add n & \n post 2 b add n & \n post 2 c add n",
    );
    let mut leader = Script::new();
    leader.run("lead 1 0 \n inject 7 b add n");
    follower.bodies = leader.bodies;
    let transcript = follower.run("apply 1 \n time 2000 \n time 3000");
    expect![[r#"
        > apply 1
        applied 1
        > time 2000
        forward a
        > time 3000
        forward a c
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn a_unit_that_waited_too_long_is_given_back() {
    check(
        "open 2 ada \n post 2 a add n \n time 700000",
        expect![[r#"
            > open 2 ada
            > post 2 a add n
            > time 700000
            2: 409 rejected Later: it waited too long: submit it again
        "#]],
    );
}

#[test]
fn a_new_leader_executes_what_it_had_forwarded() {
    check(
        "open 2 ada \n follow 1 leader \n post 2 a add n \n lead 2 0 \n commit 1",
        expect![[r#"
            > open 2 ada
            > follow 1 leader
            > post 2 a add n
            forward a
            > lead 2 0
            propose 1 at 1000: a
            > commit 1
            2: 200 committed 1.0
        "#]],
    );
}

#[test]
fn a_leader_that_is_overtaken_applies_what_others_committed() {
    let mut deposed = follower("lead 1 0 \n inject 7 x put n 41");
    let transcript = deposed.run("open 2 ada \n lead 1 0 \n post 2 a add n");
    expect![[r#"
        > open 2 ada
        > lead 1 0
        > post 2 a add n
        propose 1 at 1000: a
    "#]]
    .assert_eq(&transcript);
    deposed.bodies = follower("lead 1 0 \n inject 7 x put n 41").bodies;
    let transcript =
        deposed.run("follow 2 leader \n apply 1 \n lead 3 1 \n commit 2 \n get 2 /note/n");
    expect![[r#"
        > follow 2 leader
        forward a
        > apply 1
        applied 1
        > lead 3 1
        propose 2 at 1000: a
        > commit 2
        2: 200 committed 2.0
        > get 2 /note/n
        2: 200 42
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn a_linear_read_waits_for_the_leader_and_for_its_height() {
    let mut follower = follower("lead 1 0 \n inject 7 a add n");
    let transcript = follower.run(
        "follow 1 leader \n open 2 ada \n open 4 eve \n get 2 /linear/n & \n get 4 /linear/n \n read-index 1 failed \n time 1100 \n read-index 2 1 \n apply 1 \n get 2 /linear/n \n read-index 3 1",
    );
    expect![[r#"
        > follow 1 leader
        > open 2 ada
        > open 4 eve
        > get 2 /linear/n &
        > get 4 /linear/n
        read-index 1
        > read-index 1 failed
        > time 1100
        read-index 2
        > read-index 2 1
        > apply 1
        applied 1
        2: 200 1
        4: 200 1
        > get 2 /linear/n
        read-index 3
        > read-index 3 1
        2: 200 1
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn a_client_that_comes_back_on_another_connection_takes_its_unit_over() {
    let mut script = Script::new();
    script.run("open 2 ada \n post 2 a add n \n close 2 \n open 4 ada \n post 4 a add n");
    // The manager fills in the caller by the stream: a closed one has none.
    script.handle(boundary::manager_to_worker::Message::Follow(
        boundary::Follow {
            term: 1,
            leader_known: true,
        },
    ));
    assert_eq!(script.forwarded_streams(), [4]);
}
