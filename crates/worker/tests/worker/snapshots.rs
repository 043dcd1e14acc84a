//! Snapshots: given out while batches go on, taken in place of a genesis.

use boundary::manager_to_worker::Message as In;
use boundary::worker_to_manager::Message as Out;
use boundary::{Hello, ManagerToWorker, Restore};
use bytes::Bytes;
use expect_test::expect;
use types::Millis;
use types::limits::SNAPSHOT_CHUNK_BYTES;
use worker::Worker;
use worker::solo::Solo;

use crate::protocol::{self, NotesFront};

fn solo() -> Solo {
    Solo::new(protocol::machine(), Box::<NotesFront>::default(), "")
}

fn restored(from: &Solo, height: u64, snapshot: &[Bytes]) -> Solo {
    Solo::restored(
        protocol::machine(),
        Box::<NotesFront>::default(),
        height,
        snapshot,
        from.bodies.clone(),
    )
}

/// About three chunks of state, in batches that fit into entries.
fn filled() -> Solo {
    let mut solo = solo();
    for n in 0..30 {
        let value = char::from(b'a' + n % 26).to_string().repeat(100_000);
        let put = solo.http("POST", "/", format!("fill{n} put key{n} {value}"));
        assert_eq!(put.status, 200);
    }
    solo
}

#[test]
fn the_bytes_are_as_documented() {
    let mut solo = solo();
    solo.http("POST", "/", "a put k v");
    let snapshot = solo.snapshot();
    assert_eq!(snapshot.len(), 1);
    // docs/formats.md, "Worker part of a snapshot".
    let document = include_str!("../../../../docs/formats.md");
    let vector = document
        .split_once("```hex worker-snapshot\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(vector, _)| vector.split_whitespace().collect::<String>());
    assert_eq!(Some(hex::encode(&snapshot[0])), vector);
}

#[test]
fn a_snapshot_is_of_its_moment_whenever_its_pieces_are_asked_for() {
    let mut solo = filled();
    let height = solo.worker.height().0;
    let at_once = solo.snapshot();
    assert!(at_once.len() > 2, "several chunks");
    assert!(
        at_once[..at_once.len() - 1]
            .iter()
            .all(|chunk| chunk.len() == SNAPSHOT_CHUNK_BYTES)
    );

    solo.take_snapshot();
    let mut slowly = Vec::new();
    for n in 0.. {
        let chunks = solo.snapshot_chunks(height, 1);
        if chunks.is_empty() {
            break;
        }
        slowly.extend(chunks);
        // Before what was read, and behind it.
        solo.http("POST", "/", format!("again{n} put key{} changed", n * 7));
        solo.http("POST", "/", format!("more{n} put another{n} key"));
    }
    assert_eq!(slowly, at_once);
    assert_ne!(solo.snapshot(), at_once, "the state has changed");

    // Another VN of that height gives the same bytes, and so does one that was restored from them.
    let mut follower = self::solo();
    for (height, body) in solo.bodies.range(..=height) {
        follower.apply(*height, body.clone());
    }
    assert_eq!(follower.snapshot(), at_once);
    assert_eq!(restored(&solo, height, &at_once).snapshot(), at_once);
}

#[test]
fn a_new_snapshot_drops_the_one_under_way() {
    let mut solo = filled();
    solo.take_snapshot();
    let old = solo.worker.height().0;
    assert_eq!(solo.snapshot_chunks(old, 1).len(), 1);
    solo.http("POST", "/", "a put k v");
    solo.take_snapshot();
    assert!(
        solo.snapshot_chunks(old, 9).is_empty(),
        "credit of the one before"
    );
    let new = solo.snapshot_chunks(old + 1, 99);
    let mut again = restored(&solo, old + 1, &new);
    assert_eq!(again.http("GET", "/note/k", "").body, "v");
    assert!(!solo.worker.has_work());
}

#[test]
fn a_restored_worker_goes_on_as_if_it_had_been_there() {
    let mut solo = filled();
    let snapshot = solo.snapshot();
    let height = solo.worker.height().0;
    for n in 0..5 {
        solo.http("POST", "/", format!("later{n} lane=x/{n} add sum"));
    }
    let mut other = restored(&solo, height, &snapshot);
    for height in height + 1..=solo.worker.height().0 {
        let body = solo.bodies[&height].clone();
        other.apply(height, body);
    }
    assert_eq!(other.snapshot(), solo.snapshot());
    for target in [
        "/note/sum",
        "/note/key3",
        "/batch/2",
        "/batch/31",
        "/next/x",
    ] {
        assert_eq!(other.http("GET", target, ""), solo.http("GET", target, ""));
    }
    // It can lead: the time of its batches does not go back.
    other.lead();
    assert_eq!(other.http("POST", "/", "next lane=x/5 add sum").status, 200);
    assert_eq!(other.http("GET", "/note/sum", "").body, "6");
}

/// What a worker says to chunks: its height, or why it does not take them.
fn answers(worker: &mut Worker, chunks: impl IntoIterator<Item = Restore>) -> Vec<String> {
    let mut said = Vec::new();
    for chunk in chunks {
        let mut out = Vec::new();
        worker.handle(Millis(1), message(In::Restore(chunk)), &mut out);
        worker.flush(Millis(1), &mut out);
        for message in out {
            if let Some(Out::Ready(ready)) = message.message {
                said.push(
                    format!("{} {}", ready.height, ready.failure)
                        .trim_end()
                        .to_owned(),
                );
            }
        }
    }
    said
}

fn message(message: In) -> ManagerToWorker {
    ManagerToWorker {
        now: 1,
        message: Some(message),
    }
}

/// Why a worker does not take these bytes for a snapshot of this height.
pub fn refusal(worker: Worker, height: u64, data: Bytes) -> String {
    let said = answers(&mut expecting_of(worker), restores(height, &[data]));
    let prefix = format!("0 the snapshot of height {height}: ");
    said.concat().replace(&prefix, "")
}

fn expecting() -> Worker {
    expecting_of(Worker::new(
        protocol::machine(),
        Box::<NotesFront>::default(),
    ))
}

fn expecting_of(mut worker: Worker) -> Worker {
    let mut out = Vec::new();
    let hello = Hello {
        protocol: "notes".into(),
        restore: true,
        ..Default::default()
    };
    worker.handle(Millis(1), message(In::Hello(hello)), &mut out);
    assert!(out.is_empty(), "it is not ready before it has a state");
    worker
}

fn restores(height: u64, snapshot: &[Bytes]) -> Vec<Restore> {
    let restore = |(sequence, data): (u64, &Bytes)| Restore {
        height,
        sequence,
        data: data.clone(),
        last: sequence + 1 == snapshot.len() as u64,
        time: 0,
    };
    (0..).zip(snapshot).map(restore).collect()
}

#[test]
fn a_snapshot_that_is_not_one_is_refused_and_a_good_one_taken_afterwards() {
    let mut solo = filled();
    let snapshot = solo.snapshot();
    let good = restores(30, &snapshot);
    let changed = |at: usize, byte: u8| {
        let mut chunk = good[0].clone();
        let mut data = chunk.data.to_vec();
        data[at] = byte;
        chunk.data = data.into();
        vec![chunk]
    };
    let mut worker = expecting();
    let mut said = Vec::new();
    let mut tell = |what: &str, chunks: Vec<Restore>| {
        said.push(format!(
            "{what}: {}",
            answers(&mut worker, chunks).join(", ")
        ));
    };
    tell("swapped", vec![good[0].clone(), good[2].clone()]);
    tell("from the middle", vec![good[1].clone()]);
    tell(
        "another height",
        vec![
            good[0].clone(),
            Restore {
                height: 31,
                ..good[1].clone()
            },
        ],
    );
    tell("height inside", restores(31, &snapshot)[..1].to_vec());
    tell(
        "short",
        vec![Restore {
            data: good[0].data.slice(1..),
            ..good[0].clone()
        }],
    );
    tell(
        "long",
        vec![Restore {
            data: vec![0; SNAPSHOT_CHUNK_BYTES + 1].into(),
            ..good[0].clone()
        }],
    );
    tell(
        "ends early",
        vec![Restore {
            last: true,
            ..good[0].clone()
        }],
    );
    let mut longer = good.clone();
    let end = longer.last_mut().expect("some");
    end.data = [&end.data[..], b"x"].concat().into();
    tell("ends late", longer);
    tell("version", changed(0, 2));
    tell("protocol", changed(3, b'q'));
    tell("state format", changed(11, 2));
    tell("domains", changed(33, 3));
    tell("domain", changed(35, 9));
    // Keys of genesis, key0, key1, key10 ...: the second one becomes less than the first.
    let second = good[0]
        .data
        .windows(4)
        .position(|w| w == b"key0")
        .expect("it is there");
    tell("order", changed(second, b'a'));
    tell("value length", changed(second - 4, 255));
    tell("good", good.clone());
    said.push(String::new());
    expect![[r#"
        swapped: 0 the snapshot of height 30: chunk 2 came, 1 was expected: send it from its beginning
        from the middle: 0 the snapshot of height 30: chunk 1 came, 0 was expected: send it from its beginning
        another height: 0 the snapshot of height 31: it changes its height from 30 to 31: send it from its beginning
        height inside: 0 the snapshot of height 31: it changes its height from 31 to 30: send it from its beginning
        short: 0 the snapshot of height 30: a chunk has 1048575 bytes, and all but the last have 1048576
        long: 0 the snapshot of height 30: a chunk has 1048577 bytes, and all but the last have 1048576
        ends early: 0 the snapshot of height 30: the snapshot ends before its state does
        ends late: 0 the snapshot of height 30: bytes follow the end of the state
        version: 0 the snapshot of height 30: a snapshot of a version that this release does not know
        protocol: 0 the snapshot of height 30: it is of protocol "qotes"
        state format: 0 the snapshot of height 30: it has state format 2, and this image reads 1
        domains: 0 the snapshot of height 30: its domains are not those of this protocol
        domain: 0 the snapshot of height 30: its domains are not those of this protocol
        order: 0 the snapshot of height 30: keys are not in ascending order
        value length: 0 the snapshot of height 30: a value is longer than an entry can have written
        good: 30
    "#]]
    .assert_eq(&said.join("\n"));
    assert_eq!(worker.height().0, 30);
    // It serves: what comes now is not for it.
    assert!(answers(&mut worker, good).is_empty());
}

#[test]
fn no_truncation_and_no_changed_byte_makes_a_worker_fall() {
    let mut solo = solo();
    solo.http("POST", "/", "a put k v");
    let snapshot = solo.snapshot().concat();
    for cut in 0..snapshot.len() {
        let cut = Bytes::copy_from_slice(&snapshot[..cut]);
        let said = answers(&mut expecting(), restores(1, &[cut]));
        assert!(
            said[0].starts_with("0 the snapshot of height 1: "),
            "{said:?}"
        );
    }
    for at in 0..snapshot.len() {
        for bit in 0..8 {
            let mut changed = snapshot.clone();
            changed[at] ^= 1 << bit;
            answers(&mut expecting(), restores(1, &[changed.into()]));
        }
    }
}
