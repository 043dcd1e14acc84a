//! The leader's worker.

use expect_test::expect;
use worker::PoolLimits;

use crate::script::{Script, check};

#[test]
fn a_client_is_answered_after_commit_and_not_before() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 a put k v \n get 2 /note/k \n commit 1 \n get 2 /note/k",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a put k v
            propose 1 at 1000: a
            > get 2 /note/k
            > commit 1
            2: 200 committed 1.0
            2: 200 none
            > get 2 /note/k
            2: 200 v
        "#]],
    );
}

#[test]
fn what_waits_goes_into_one_batch_and_the_next_builds_on_it() {
    check(
        "open 2 ada \n lead 1 0 & \n post 2 a add n & \n post 2 b add n \n post 2 c add n \n post 2 d add n \n commit 1 \n commit 2 \n commit 3 \n get 2 /note/n",
        expect![[r#"
            > open 2 ada
            > lead 1 0 &
            > post 2 a add n &
            > post 2 b add n
            propose 1 at 1000: a b
            > post 2 c add n
            propose 2 at 1000: c
            > post 2 d add n
            > commit 1
            propose 3 at 1000: d
            2: 200 committed 1.0
            2: 200 committed 1.1
            > commit 2
            2: 200 committed 2.0
            > commit 3
            2: 200 committed 3.0
            > get 2 /note/n
            2: 200 4
        "#]],
    );
}

#[test]
fn a_vote_changes_the_size_of_the_next_batch() {
    check(
        "open 2 ada \n lead 1 0 \n limits 1 trust & \n post 2 a add n & \n post 2 b add n \n commit 1 \n commit 2 \n limits 2 trust & \n post 2 c add n & \n post 2 d add n & \n post 2 e add n",
        expect![[r#"
            > open 2 ada
            > lead 1 0
            > limits 1 trust &
            > post 2 a add n &
            > post 2 b add n
            propose 1 at 1000: a
            propose 2 at 1000: b
            > commit 1
            2: 200 committed 1.0
            > commit 2
            2: 200 committed 2.0
            > limits 2 trust &
            > post 2 c add n &
            > post 2 d add n &
            > post 2 e add n
            propose 3 at 1000: c d
            propose 4 at 1000: e
        "#]],
    );
}

#[test]
fn a_rejected_unit_is_answered_and_leaves_no_batch() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 a fail \n read-index 1000000000000001 0 \n post 2 b put k v & \n post 2 c fail & \n post 2 d add k \n read-index 1000000000000002 0 \n commit 1 \n get 2 /batch/1",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a fail
            read-index 1000000000000001
            > read-index 1000000000000001 0
            2: 409 rejected Invalid: it fails
            > post 2 b put k v &
            > post 2 c fail &
            > post 2 d add k
            propose 1 at 1000: b d
            read-index 1000000000000002
            > read-index 1000000000000002 0
            > commit 1
            2: 200 committed 1.0
            2: 409 rejected Invalid: it fails
            2: 200 committed 1.1
            > get 2 /batch/1
            2: 200 b d at 11
        "#]],
    );
}

/// A linear read would not see yet what the unit was refused for, and might never.
#[test]
fn a_refusal_waits_until_what_it_was_judged_on_is_committed_and_the_leader_confirmed() {
    let judged = "lead 1 0 \n open 2 ada \n post 2 a add n \n post 2 b fail";
    check(
        &format!("{judged} \n read-index 1000000000000001 0 \n commit 1"),
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > post 2 b fail
            read-index 1000000000000001
            > read-index 1000000000000001 0
            > commit 1
            2: 200 committed 1.0
            2: 409 rejected Invalid: it fails
        "#]],
    );
    check(
        &format!("{judged} \n commit 1 \n read-index 1000000000000001 1"),
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > post 2 b fail
            read-index 1000000000000001
            > commit 1
            2: 200 committed 1.0
            > read-index 1000000000000001 1
            2: 409 rejected Invalid: it fails
        "#]],
    );
    // Taken back, it is judged anew, here or by the next leader.
    check(
        &format!("{judged} \n rollback 0"),
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > post 2 b fail
            read-index 1000000000000001
            > rollback 0
            propose 1 at 1000: a
            read-index 1000000000000002
        "#]],
    );
    check(
        &format!("{judged} \n read-index 1000000000000001 failed"),
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > post 2 b fail
            read-index 1000000000000001
            > read-index 1000000000000001 failed
            read-index 1000000000000002
        "#]],
    );
    check(
        &format!("{judged} \n follow 2 leader"),
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > post 2 b fail
            read-index 1000000000000001
            > follow 2 leader
            forward a b
        "#]],
    );
}

#[test]
fn one_id_commits_once() {
    check(
        "lead 1 0 \n open 2 ada \n open 4 bob \n post 2 a add n & \n post 4 a add n \n post 4 a add n \n commit 1 \n post 2 a add n \n inject 7 a add n \n get 2 /note/n",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > open 4 bob
            > post 2 a add n &
            > post 4 a add n
            propose 1 at 1000: a
            > post 4 a add n
            > commit 1
            2: 200 committed 1.0
            4: 200 committed 1.0
            4: 200 committed 1.0
            > post 2 a add n
            2: 200 committed 1.0
            > inject 7 a add n
            > get 2 /note/n
            2: 200 1
        "#]],
    );
}

#[test]
fn units_of_a_lane_run_in_order_and_wait_for_gaps() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 c lane=x/2 add n \n open 4 bob \n post 4 b lane=x/1 add n \n open 6 eve \n get 6 /next/x \n post 6 a lane=x/0 add n \n commit 1 \n get 6 /batch/1",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 c lane=x/2 add n
            > open 4 bob
            > post 4 b lane=x/1 add n
            > open 6 eve
            > get 6 /next/x
            6: 200 Some(0)
            > post 6 a lane=x/0 add n
            propose 1 at 1000: a b c
            > commit 1
            2: 200 committed 1.2
            4: 200 committed 1.1
            6: 200 committed 1.0
            > get 6 /batch/1
            6: 200 a b c at 11
        "#]],
    );
}

#[test]
fn a_lane_whose_number_a_lagging_node_does_not_know_is_tried() {
    // The forwarding node still believes that the lane is at 0.
    check(
        "lead 1 0 \n open 2 ada \n post 2 a lane=x/0 add n \n commit 1 \n inject 7 b lane=x/1 add n \n commit 2 \n inject 7 d lane=x/3 add n \n inject 7 c lane=x/2 add n",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a lane=x/0 add n
            propose 1 at 1000: a
            > commit 1
            2: 200 committed 1.0
            > inject 7 b lane=x/1 add n
            propose 2 at 1000: b
            > commit 2
            > inject 7 d lane=x/3 add n
            > inject 7 c lane=x/2 add n
            propose 3 at 1000: c d
        "#]],
    );
}

#[test]
fn another_unit_in_the_same_place_of_a_lane_is_refused() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 b lane=x/1 add n \n inject 7 c lane=x/1 add n \n inject 7 b lane=x/1 add n",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 b lane=x/1 add n
            > inject 7 c lane=x/1 add n
            refused to 7: c
            > inject 7 b lane=x/1 add n
        "#]],
    );
}

#[test]
fn dependencies_run_first() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 b after=a add n \n open 4 bob \n post 4 a put n 5 \n commit 1 \n commit 2 \n get 4 /note/n",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 b after=a add n
            > open 4 bob
            > post 4 a put n 5
            propose 1 at 1000: a b
            > commit 1
            2: 200 committed 1.1
            4: 200 committed 1.0
            > commit 2
            > get 4 /note/n
            4: 200 6
        "#]],
    );
}

#[test]
fn later_is_tried_again_when_the_state_has_changed_and_given_up_in_the_end() {
    let mut script = Script::with_limits(PoolLimits {
        attempts_max: 3,
        ..PoolLimits::default()
    });
    let transcript = script.run(
        "lead 1 0 \n open 2 ada \n post 2 a later \n open 4 bob \n post 4 b add n \n commit 1 \n post 4 c add n \n commit 2",
    );
    expect![[r#"
        > lead 1 0
        > open 2 ada
        > post 2 a later
        > open 4 bob
        > post 4 b add n
        propose 1 at 1000: b
        > commit 1
        4: 200 committed 1.0
        > post 4 c add n
        propose 2 at 1000: c
        2: 409 rejected Later: not yet
        > commit 2
        4: 200 committed 2.0
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn batches_that_are_rolled_back_are_made_again_in_the_same_order() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 a lane=x/0 add n \n post 2 b lane=x/1 add n \n post 2 c lane=x/2 add n \n rollback 0 \n commit 1 \n get 2 /note/n \n rollback 1 \n commit 2 \n get 2 /batch/1",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a lane=x/0 add n
            propose 1 at 1000: a
            > post 2 b lane=x/1 add n
            propose 2 at 1000: b
            > post 2 c lane=x/2 add n
            > rollback 0
            propose 1 at 1000: a b c
            > commit 1
            2: 200 committed 1.0
            2: 200 committed 1.1
            2: 200 committed 1.2
            > get 2 /note/n
            2: 200 3
            > rollback 1
            > commit 2
            > get 2 /batch/1
            2: 200 a b c at 11
        "#]],
    );
}

#[test]
fn a_lost_leadership_forwards_what_is_its_own_and_drops_the_rest() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 a add n \n inject 7 b add n \n follow 2 unknown \n follow 2 leader \n commit 1 \n get 2 /note/n",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > inject 7 b add n
            propose 2 at 1000: b
            > follow 2 unknown
            > follow 2 leader
            forward a
            > commit 1
            > get 2 /note/n
        "#]],
    );
}

#[test]
fn refusals_go_to_every_node_that_forwarded() {
    check(
        "lead 1 0 \n inject 7 a fail & \n inject 8 a fail & \n inject 9 b add n \n commit 1 \n read-index 1000000000000001 1",
        expect![[r#"
            > lead 1 0
            > inject 7 a fail &
            > inject 8 a fail &
            > inject 9 b add n
            propose 1 at 1000: b
            read-index 1000000000000001
            > commit 1
            > read-index 1000000000000001 1
            refused to 7: a
            refused to 8: a
        "#]],
    );
}

/// A pool for so many units, and so many of one actor.
fn small(units_max: usize, caller_units_max: usize) -> Script {
    Script::with_limits(PoolLimits {
        units_max,
        caller_units_max,
        ..PoolLimits::default()
    })
}

#[test]
fn a_full_pool_says_busy_after_a_second() {
    let transcript = small(2, 2).run(
        "open 2 ada \n post 2 a add n & \n post 2 b add n & \n open 4 bob \n post 4 c add n \n time 1999 \n time 2000 \n lead 1 0 \n commit 1 \n post 4 c add n",
    );
    expect![[r#"
        > open 2 ada
        > post 2 a add n &
        > post 2 b add n &
        > open 4 bob
        > post 4 c add n
        > time 1999
        > time 2000
        4: 409 refused Busy: this node has as much work waiting as it takes: try again later
        > lead 1 0
        propose 1 at 2000: a b
        > commit 1
        2: 200 committed 1.0
        2: 200 committed 1.1
        > post 4 c add n
        propose 2 at 2000: c
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn a_leader_with_much_from_others_takes_less_of_its_own() {
    let of_others = |units: usize| {
        let mut script = Script::new();
        script.run("lead 1 0");
        for n in 0..units {
            script.run(&format!("inject 7 other{n} add n"));
        }
        for n in 0..3_000 {
            let stream = 2 * n + 2;
            script.run(&format!("open {stream} ada \n post {stream} own{n} add n"));
        }
        script.run("time 2100").matches("refused Busy").count()
    };
    assert_eq!(of_others(4_000), 0);
    assert_eq!(of_others(4_200), 3_000 - 2_048);
}

#[test]
fn one_actor_cannot_fill_the_pool() {
    let transcript = small(8, 1).run(
        "open 2 ada \n post 2 a add n \n open 4 ada \n post 4 b add n \n open 6 eve \n post 6 c add n \n time 2000 \n lead 1 0",
    );
    expect![[r#"
        > open 2 ada
        > post 2 a add n
        > open 4 ada
        > post 4 b add n
        > open 6 eve
        > post 6 c add n
        > time 2000
        4: 409 refused Busy: too much of your work is waiting on this node: wait until some of it is committed
        > lead 1 0
        propose 1 at 2000: a c
    "#]].assert_eq(&transcript);
}

#[test]
fn requests_get_room_in_turn_and_those_that_read_do_not_wait() {
    // Of b and c, which came in a row, and d the first has its turn, then d. The read goes on at once.
    let transcript = small(8, 1).run(
        "open 2 ada \n open 4 ada \n open 6 ada \n open 8 ada \n post 2 a add n \n post 4 b add n & \n post 4 c add n \n post 6 d add n \n get 8 /note/n \n lead 1 0 \n commit 1 \n commit 2 \n commit 3 \n commit 4",
    );
    expect![[r#"
        > open 2 ada
        > open 4 ada
        > open 6 ada
        > open 8 ada
        > post 2 a add n
        > post 4 b add n &
        > post 4 c add n
        > post 6 d add n
        > get 8 /note/n
        8: 200 none
        > lead 1 0
        propose 1 at 1000: a
        > commit 1
        propose 2 at 1000: b
        2: 200 committed 1.0
        > commit 2
        propose 3 at 1000: d
        4: 200 committed 2.0
        > commit 3
        propose 4 at 1000: c
        6: 200 committed 3.0
        > commit 4
        4: 200 committed 4.0
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn one_that_waits_for_its_own_answers_is_not_told_busy() {
    // c waits behind a on its connection; only when a is answered its second begins.
    let transcript = small(8, 1).run(
        "open 2 ada \n open 4 ada \n post 2 a add n & \n post 2 c add n \n post 4 b add n \n time 1500 \n time 2600 \n lead 1 0 \n commit 1 \n commit 2",
    );
    expect![[r#"
        > open 2 ada
        > open 4 ada
        > post 2 a add n &
        > post 2 c add n
        > post 4 b add n
        > time 1500
        > time 2600
        4: 409 refused Busy: too much of your work is waiting on this node: wait until some of it is committed
        > lead 1 0
        propose 1 at 2600: a
        > commit 1
        propose 2 at 2600: c
        2: 200 committed 1.0
        > commit 2
        2: 200 committed 2.0
    "#]].assert_eq(&transcript);
}

#[test]
fn what_waits_for_another_gets_half_of_the_room() {
    // Of one sender 1 to 4 wait for 0. 5 would be the fifth of eight that wait; 0 and another's first find room.
    let transcript = small(16, 8).run(
        "open 2 ada \n post 2 b lane=x/1 add n & \n post 2 c lane=x/2 add n & \n post 2 d lane=x/3 add n & \n post 2 e lane=x/4 add n \n open 4 ada \n post 4 f lane=x/5 add n \n post 4 a lane=x/0 add n & \n post 4 g lane=y/0 add n & \n post 4 f lane=x/5 add n \n post 4 i lane=y/2 add n \n lead 1 0 \n commit 1",
    );
    expect![[r#"
        > open 2 ada
        > post 2 b lane=x/1 add n &
        > post 2 c lane=x/2 add n &
        > post 2 d lane=x/3 add n &
        > post 2 e lane=x/4 add n
        > open 4 ada
        > post 4 f lane=x/5 add n
        4: 409 refused Busy: an earlier one of this sender is missing, and this node has room only for what can run: send that one first
        > post 4 a lane=x/0 add n &
        > post 4 g lane=y/0 add n &
        > post 4 f lane=x/5 add n
        > post 4 i lane=y/2 add n
        > lead 1 0
        propose 1 at 1000: a b c d e g f
        > commit 1
        2: 200 committed 1.1
        2: 200 committed 1.2
        2: 200 committed 1.3
        2: 200 committed 1.4
        4: 200 committed 1.0
        4: 200 committed 1.5
        4: 200 committed 1.6
        4: 409 refused Busy: an earlier one of this sender is missing, and this node has room only for what can run: send that one first
    "#]].assert_eq(&transcript);
}

#[test]
fn what_others_forward_has_room_of_its_own() {
    let transcript = small(2, 2).run(
        "lead 1 0 0 \n open 2 ada \n post 2 a add n & \n post 2 b add n \n inject 7 c add n \n inject 7 d add n \n inject 7 e add n",
    );
    expect![[r#"
        > lead 1 0 0
        > open 2 ada
        > post 2 a add n &
        > post 2 b add n
        propose 1 at 1000: a b
        > inject 7 c add n
        propose 2 at 1000: c
        > inject 7 d add n
        > inject 7 e add n
        refused to 7: e
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn stale_messages_change_nothing() {
    check(
        "lead 1 5 \n lead 1 0 \n open 2 ada \n post 2 a add n \n commit 2 \n commit 1 \n commit 1 \n rollback 0 \n get 2 /note/n",
        expect![[r#"
            > lead 1 5
            log leadership is for height 5, this state is at 0
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > commit 2
            > commit 1
            2: 200 committed 1.0
            > commit 1
            > rollback 0
            > get 2 /note/n
            2: 200 1
        "#]],
    );
}

#[test]
fn the_time_of_batches_never_goes_back() {
    check(
        "time 5000 \n lead 1 0 \n open 2 ada \n post 2 a add n \n time 4000 \n post 2 b add n",
        expect![[r#"
            > time 5000
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 5000: a
            > time 4000
            > post 2 b add n
            propose 2 at 5000: b
        "#]],
    );
}

#[test]
fn draining_takes_nothing_new() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 a add n \n drain \n commit 1 \n post 2 b add n",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > drain
            > commit 1
            2: 200 committed 1.0
            > post 2 b add n
            2: 409 refused Busy: this node is shutting down: use another
        "#]],
    );
}

#[test]
fn a_forged_sender_is_refused_where_the_constitution_says_so() {
    let mut script = Script::verifying();
    let transcript = script.run("lead 1 0\nforge 3 a put x 1\ninject 3 b put x 2");
    assert!(transcript.contains("refused to 3: a"), "{transcript}");
    assert_eq!(
        transcript.matches("propose").count(),
        1,
        "only the honest unit is executed\n{transcript}"
    );
}
