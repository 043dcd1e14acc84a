//! What was committed long ago is found by what batches carry.

use boundary::manager_to_worker::Message as In;
use boundary::worker_to_manager::Message as Out;
use boundary::{Apply, ManagerToWorker};
use bytes::Bytes;
use kv::WriteSet;
use types::Millis;
use worker::solo::Solo;
use worker::{Body, Worker};

use crate::protocol::{self, NotesFront};
use crate::script::Script;
use crate::snapshots;

const SEGMENT_TAGS: usize = 240;
const UNITS: u64 = 2_000;

fn worker() -> Worker {
    Worker::new(protocol::machine(), Box::<NotesFront>::default()).cataloguing(SEGMENT_TAGS)
}

fn solo() -> Solo {
    Solo::of(&*protocol::machine(), worker(), "")
}

/// As spread as a digest: parts of a segment are ranges of tags.
fn name(n: u64) -> String {
    format!("{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn filled() -> Solo {
    let mut solo = solo();
    for n in 0..UNITS {
        let put = solo.http("POST", "/", format!("{} add sum", name(n)));
        assert_eq!(put.status, 200);
    }
    solo
}

fn follower(of: &Solo, to: u64) -> Solo {
    let mut follower = Solo::of(&*protocol::machine(), worker(), "");
    for (height, body) in of.bodies.range(..=to) {
        follower.apply(*height, body.clone());
    }
    follower
}

fn restored(of: &mut Solo) -> Solo {
    let snapshot = of.snapshot();
    let height = of.worker.height().0;
    let bodies = of.bodies.clone();
    Solo::restored_of(&*protocol::machine(), worker(), height, &snapshot, bodies)
}

fn wheres(solo: &mut Solo, units: impl Iterator<Item = u64>) {
    for n in units {
        let answer = solo.http("GET", &format!("/where/{}", name(n)), "");
        assert_eq!(answer.body, format!("{}.0", n + 1));
    }
}

fn carry(solo: &Solo) -> Vec<u64> {
    let carries = |body: &Bytes| {
        let body = Body::decode(body.clone()).expect("well-formed");
        body.part.is_some()
    };
    let bodies = solo.bodies.iter().filter(|(_, body)| carries(body));
    bodies.map(|(height, _)| *height).collect()
}

#[test]
fn every_unit_is_found_wherever_its_node_came_from() {
    let mut solo = filled();
    assert!(carry(&solo).len() > 500, "64 parts of each segment");
    wheres(&mut solo, 0..UNITS);
    let nobody = solo.http("GET", "/where/nobody", "");
    assert_eq!((nobody.status, &nobody.body[..]), (404, &b"none"[..]));
    let mut follower = follower(&solo, UNITS);
    wheres(&mut follower, (0..UNITS).step_by(7));
    assert_eq!(follower.snapshot(), solo.snapshot());
    let mut other = restored(&mut solo);
    wheres(&mut other, (0..UNITS).step_by(7));
    assert_eq!(other.snapshot(), solo.snapshot());
    // It goes on writing the catalogue down where the others are.
    other.lead();
    for n in UNITS..UNITS + 500 {
        other.http("POST", "/", format!("{} add sum", name(n)));
    }
    for height in UNITS + 1..=UNITS + 500 {
        follower.apply(height, other.bodies[&height].clone());
    }
    assert_eq!(follower.snapshot(), other.snapshot());
    wheres(&mut follower, (UNITS - 500..UNITS + 500).step_by(3));
}

#[test]
fn a_snapshot_is_of_its_moment_while_segments_leave_memory() {
    let mut solo = filled();
    let height = solo.worker.height().0;
    let at_once = solo.snapshot();
    solo.take_snapshot();
    for n in UNITS..UNITS + 1_000 {
        solo.http("POST", "/", format!("{} add sum", name(n)));
    }
    assert_eq!(solo.snapshot_chunks(height, u32::MAX), at_once);
    assert_ne!(solo.snapshot(), at_once);
}

#[test]
fn a_snapshot_does_not_grow_with_what_left_memory() {
    let mut solo = solo();
    let mut bytes = Vec::new();
    for n in 0..4_000 {
        solo.http("POST", "/", format!("{} add sum", name(n)));
        if n % 240 == 239 {
            bytes.push(solo.snapshot().concat().len());
        }
    }
    // Of a batch 4 bytes stay and of each of 64 parts in 120 batches 16, where a batch had 16 bytes of tags.
    let grown = bytes[15] - bytes[7];
    assert_eq!(grown, 8 * 240 * 4 + 16 * 64 * 16, "{bytes:?}");
}

#[test]
fn a_snapshot_with_parts_of_more_than_it_has_is_refused() {
    let mut solo = solo();
    solo.http("POST", "/", "a put k v");
    let snapshot = solo.snapshot().concat();
    // No part and one batch of two tags become a part of a whole segment and one batch, of two of them.
    let (state, _) = snapshot.split_at(snapshot.len() - 8 - 8 - 4 - 16);
    let (one, last) = (1u64.to_be_bytes(), [255; 8]);
    let forged = [state, &one, &one, &last, &one, &[0, 2, 0, 0]].concat();
    assert_eq!(
        snapshots::refusal(worker(), 1, forged.into()),
        "its catalogue has parts of more than its batches"
    );
}

#[test]
fn a_node_that_lacks_the_batch_says_so() {
    let mut solo = filled();
    let mut other = restored(&mut solo);
    other.absent = 0..UNITS;
    let ask = format!("/where/{}", name(3));
    let answer = other.http("GET", &ask, "");
    assert_eq!((answer.status, &answer.body[..]), (503, &b"not here"[..]));
    other.absent = 0..0;
    other.advance(1_000);
    assert_eq!(other.http("GET", &ask, "").body, "4.0");
}

#[test]
fn a_part_that_is_not_the_next_one_is_not_applied() {
    let solo = filled();
    let carrying = carry(&solo);
    let height = carrying[70];
    let forge = |part: Option<Bytes>| {
        let mut body = Body::decode(solo.bodies[&height].clone()).expect("well-formed");
        body.part = part;
        let writes = WriteSet::decode(body.writes.clone()).expect("well-formed");
        let (env, units, claim, events) = (&body.env, &body.units, &body.claim, &body.events);
        Body::encode(env, units, claim, events, &body.records(), &writes)
    };
    let part = |height: u64| Body::decode(solo.bodies[&height].clone()).ok()?.part;
    let own = part(height).expect("it carries one");
    let mut changed = own.to_vec();
    *changed.last_mut().expect("not empty") ^= 1;
    let hostile = [
        part(carrying[69]),
        part(carrying[71]),
        Some(own.slice(1..)),
        Some(changed.into()),
    ];
    for part in hostile {
        let mut worker = follower(&solo, height - 1).worker;
        let said = apply(&mut worker, height, forge(part));
        assert_eq!(worker.height().0, height - 1);
        assert!(said.contains("the catalogue"), "{said}");
        // The true one is taken after it.
        assert_eq!(apply(&mut worker, height, forge(Some(own.clone()))), "");
    }
}

fn apply(worker: &mut Worker, height: u64, body: Bytes) -> String {
    let apply = Apply {
        height,
        index: height + 1,
        term: 1,
        time: 1,
        body,
    };
    let message = ManagerToWorker {
        now: 1,
        message: Some(In::Apply(apply)),
    };
    let mut out = Vec::new();
    worker.handle(Millis(1), message, &mut out);
    let logs = out.into_iter().filter_map(|message| match message.message {
        Some(Out::Log(log)) => Some(log.text),
        _ => None,
    });
    logs.collect()
}

#[test]
fn units_of_a_node_that_is_far_behind_wait_until_it_is_not() {
    let mut solo = filled();
    let mut inject = |unit: u64, height: u64| {
        let unit = boundary::ForwardedUnit {
            id: Bytes::copy_from_slice(&protocol::name_id(&name(unit)).0),
            established: Bytes::from_static(b"seen"),
            raw: format!("{} add sum", name(unit)).into(),
            caller: Some(boundary::CallerIdentity {
                actor: Bytes::from_static(&[7; 32]),
                ..Default::default()
            }),
            ..Default::default()
        };
        solo.tell(In::Inject(boundary::Inject {
            origin: 7,
            units: vec![unit],
            height,
        }));
        solo.worker.height().0 - UNITS
    };
    assert_eq!(
        inject(3, 3),
        0,
        "it is committed, which nobody can tell here"
    );
    assert_eq!(inject(UNITS, UNITS - 400), 0);
    assert_eq!(inject(UNITS - 1, UNITS - 2), 0, "it is committed");
    assert_eq!(inject(UNITS, UNITS - 2), 1);
    assert_eq!(
        inject(UNITS + 1, 0),
        2,
        "one that does not say how far it is"
    );
}

#[test]
fn parts_that_were_rolled_back_come_again() {
    let mut leader = Script::with_worker(worker(), false);
    let mut follower = solo();
    leader.run("lead 1 0");
    for n in 0..UNITS / 2 {
        let height = n + 1;
        leader.run(&format!("inject 7 {} add sum", name(n)));
        // Every fifth is lost once, with the one behind it in flight.
        if n % 5 == 4 {
            leader.run(&format!("inject 7 x{n} add sum \n rollback {n}"));
            leader.run(&format!("commit {height}"));
            follower.apply(height, leader.bodies[&height].clone());
            continue;
        }
        leader.run(&format!("commit {height}"));
        follower.apply(height, leader.bodies[&height].clone());
    }
    assert!(carry(&follower).len() > 100);
}
