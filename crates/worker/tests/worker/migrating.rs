//! A vote for the next data format: one batch that all apply, in order with the others.

use std::collections::BTreeMap;

use boundary::Limits;
use boundary::manager_to_worker::Message as In;
use bytes::Bytes;
use expect_test::expect;
use worker::solo::Solo;
use worker::{Body, Migration, Mismatch, Worker, replay};

use crate::protocol::{NotesFront, machine_until};
use crate::script::Script;
use crate::snapshots;

fn solo() -> Solo {
    Solo::new(machine_until(2), Box::<NotesFront>::default(), "")
}

fn vote(solo: &mut Solo, format: u32) {
    solo.tell(In::Limits(Limits {
        format,
        ..Default::default()
    }));
}

/// Units before and after a migration, which is batch 3.
fn migrated() -> Solo {
    let mut solo = solo();
    for name in ["a", "b"] {
        solo.http("POST", "/", format!("{name} add sum"));
    }
    vote(&mut solo, 2);
    solo.http("POST", "/", "c add sum");
    assert_eq!(solo.http("GET", "/note/sum", "").body, "3");
    assert_eq!(solo.http("GET", "/note/total", "").body, "3");
    assert_eq!(solo.worker.height().0, 4);
    solo
}

#[test]
fn the_leader_waits_migrates_and_goes_on() {
    let mut leader = Script::until(2);
    let said = leader.run(
        "lead 1 0
         inject 7 a add sum
         vote-format 2
         inject 7 b add sum
         commit 1
         rollback 1
         commit 2
         commit 3",
    );
    expect![[r#"
        > lead 1 0
        > inject 7 a add sum
        propose 1 at 1000: a
        > vote-format 2
        > inject 7 b add sum
        > commit 1
        propose 2 at 1000: migration from 1 to 2
        > rollback 1
        propose 2 at 1000: migration from 1 to 2
        > commit 2
        propose 3 at 1000: b
        > commit 3
    "#]]
    .assert_eq(&said);
    // Another VN's worker applies the same bytes, and leads on from there without another migration.
    let mut follower = Script::until(2);
    follower.bodies = leader.bodies.clone();
    let said = follower.run(
        "follow 1 leader
         vote-format 2
         apply 1
         apply 2
         apply 3
         lead 2 3
         inject 7 c add sum
         commit 4
         open 2 ada
         get 2 /note/sum",
    );
    expect![[r#"
        > follow 1 leader
        > vote-format 2
        > apply 1
        applied 1
        > apply 2
        applied 2
        > apply 3
        applied 3
        > lead 2 3
        > inject 7 c add sum
        propose 4 at 1000: c
        > commit 4
        > open 2 ada
        > get 2 /note/sum
        2: 200 3
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_restart_from_the_ledger_comes_to_the_same_state() {
    let mut leader = migrated();
    let mut other = solo();
    for (height, body) in leader.bodies.clone() {
        // Whoever validates executes it again.
        replay(&*machine_until(2), other.worker.state(), body.clone()).expect("honest");
        other.apply(height, body);
    }
    assert_eq!(other.snapshot(), leader.snapshot());
    assert_eq!(other.http("POST", "/", "d add sum").status, 200);
    assert_eq!(other.http("GET", "/note/total", "").body, "4");
}

#[test]
fn a_snapshot_behind_it_holds_the_format() {
    let mut leader = migrated();
    let snapshot = leader.snapshot();
    let restored = |last| {
        Solo::restored(
            machine_until(last),
            Box::<NotesFront>::default(),
            4,
            &snapshot,
            BTreeMap::new(),
        )
    };
    let mut other = restored(2);
    vote(&mut other, 2);
    assert_eq!(other.snapshot(), snapshot);
    other.lead();
    assert_eq!(other.http("POST", "/", "d add sum").status, 200);
    assert_eq!(other.worker.height().0, 5, "it is not migrated again");
    assert_eq!(other.http("GET", "/note/sum", "").body, "4");

    let refused = refusal(&snapshot, 1);
    assert_eq!(
        refused,
        "its data has format 2, and this image knows 1 to 1: start this node with code that knows 2"
    );
}

/// What code that knows formats up to `last` says of a snapshot of height 4.
fn refusal(snapshot: &[Bytes], last: u32) -> String {
    let worker = Worker::new(machine_until(last), Box::<NotesFront>::default());
    snapshots::refusal(worker, 4, snapshot[0].clone())
}

#[test]
fn code_that_does_not_know_the_format_takes_no_units_and_says_why() {
    let said = Script::until(1).run(
        "lead 1 0
         open 2 ada
         post 2 a add sum
         vote-format 2
         commit 1
         post 2 b add sum
         inject 7 c add sum",
    );
    expect![[r#"
        > lead 1 0
        > open 2 ada
        > post 2 a add sum
        propose 1 at 1000: a
        > vote-format 2
        log the members voted data format 2 of notes, and this code knows 1 to 1; start this node with code that knows it: this node takes no units when it leads, and serves none of this protocol's clients behind the migration
        > commit 1
        log the members voted data format 2 of notes, and this code knows 1 to 1; start this node with code that knows it
        2: 200 committed 1.0
        > post 2 b add sum
        2: 409 refused Busy: the members voted data format 2 of notes, and this code knows 1 to 1; start this node with code that knows it
        > inject 7 c add sum
        refused to 7: c
    "#]]
    .assert_eq(&said);
    // As a follower it stays below the migration, and answers nobody from a state of the past.
    let mut follower = Script::until(1);
    follower.bodies = migrated().bodies;
    let said = follower.run(
        "follow 1 leader
         open 2 ada
         apply 1
         apply 2
         apply 3
         apply 4
         get 2 /note/sum
         open 4 bob
         lead 2 4
         inject 7 d add sum",
    );
    expect![[r#"
        > follow 1 leader
        > open 2 ada
        > apply 1
        applied 1
        > apply 2
        applied 2
        > apply 3
        log the members voted data format 2 of notes, and this code knows 1 to 1; start this node with code that knows it; its state stays below batch 3
        applied 2
        > apply 4
        applied 2
        > get 2 /note/sum
        close 2
        > open 4 bob
        close 4
        > lead 2 4
        log leadership is for height 4, this state is at 2
        > inject 7 d add sum
        refused to 7: d
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_migration_that_fails_changes_nothing_and_says_why() {
    let mut leader = Script::until(3);
    let said = leader.run(
        "lead 1 0
         vote-format 3
         commit 1
         inject 7 a add sum",
    );
    expect![[r#"
        > lead 1 0
        > vote-format 3
        propose 1 at 1000: migration from 1 to 2
        > commit 1
        log the state of notes cannot be brought from data format 2 to 3: nothing leads there
        > inject 7 a add sum
        refused to 7: a
    "#]]
    .assert_eq(&said);
    assert_eq!(leader.worker.height().0, 1);
}

#[test]
fn a_forged_migration_is_caught() {
    let bodies = migrated().bodies;
    let mut below = solo();
    for height in 1..=2 {
        below.apply(height, bodies[&height].clone());
    }
    let body = Body::decode(bodies[&3].clone()).expect("well-formed");
    let writes = kv::WriteSet::decode(body.writes.clone()).expect("well-formed");
    let of = |from, writes: &kv::WriteSet| {
        let step = Migration { from, to: from + 1 };
        let (env, claim) = (&body.env, &body.claim);
        Body::encode_migration(env, step, claim, &body.events, &body.recorded, writes)
    };
    let replayed = |body| replay(&*machine_until(2), below.worker.state(), body);
    assert_eq!(replayed(of(1, &writes)), Ok(writes.clone()));
    let mut more = writes.clone();
    more.0[0].value = Some("9".into());
    assert_eq!(replayed(of(1, &more)), Err(Mismatch::Writes));
    let skipped = Mismatch::Format {
        expected: 1,
        found: 2,
    };
    assert_eq!(replayed(of(2, &writes)), Err(skipped));
    let old = replay(
        &*machine_until(2),
        solo().worker.state(),
        bodies[&3].clone(),
    );
    assert!(matches!(old, Err(Mismatch::Height { .. })));
    // A follower does not take the format from a batch that starts elsewhere.
    let mut follower = Script::until(3);
    follower.bodies = bodies.clone();
    follower.bodies.insert(3, of(2, &writes));
    let said = follower.run("follow 1 leader & \n apply 1 & \n apply 2 & \n apply 3");
    assert!(
        said.contains(
            "log batch 3 cannot be applied: it migrates from data format 2, and this state has 1"
        ),
        "{said}"
    );
}
