//! What a leader's worker proposed and another one applies.

use adapter::{Answer, Claim, Env, Event, ExternalCall, ExternalReply, Unit};
use boundary::ManagerToWorker;
use boundary::manager_to_worker::Message as In;
use bytes::Bytes;
use kv::{Domain, Write, WriteSet};
use types::{ActorId, Height, Millis, UnitId};
use worker::solo::Solo;
use worker::{Body, Recorded, Worker};

use crate::Pieces;

/// One encoding of one body.
pub fn body(data: &[u8]) {
    let Ok(read) = Body::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let Ok(writes) = WriteSet::decode(read.writes.clone()) else {
        return;
    };
    let Body {
        env,
        units,
        claim,
        events,
        recorded,
        ..
    } = &read;
    let again = match read.migration {
        Some(step) => Body::encode_migration(env, step, claim, events, recorded, &writes),
        None => Body::encode(env, units, claim, events, recorded, &writes),
    };
    assert!(again == data, "two encodings of one body");
}

pub fn bodies() -> Vec<Vec<u8>> {
    let bytes = Bytes::from_static;
    let env = Env {
        height: Height(3),
        time: Millis(7),
        entropy: [9; 32],
    };
    let unit = Unit {
        id: UnitId([1; 32]),
        caller: ActorId([2; 32]),
        established: bytes(b"sender"),
        raw: bytes(b"raw"),
        memo: Default::default(),
        answers: vec![Answer {
            call: ExternalCall {
                endpoint: "rates".into(),
                caller: bytes(b"caller"),
                method: "GET".into(),
                target: "/".into(),
                headers: vec![("accept".into(), "text/plain".into())],
                body: bytes(b"question"),
            },
            reply: Ok(ExternalReply {
                status: 200,
                body: bytes(b"answer"),
            }),
        }],
    };
    let event = Event {
        topic: bytes(b"topic"),
        data: bytes(b"data"),
    };
    let recorded = Recorded {
        tag: bytes(b"tag"),
        data: bytes(b"data"),
    };
    let writes = WriteSet(vec![Write {
        domain: Domain(0),
        key: bytes(b"key"),
        value: Some(bytes(b"value")),
    }]);
    let claim = Claim {
        bytes: bytes(b"claim"),
    };
    let units = [(unit, bytes(b"receipt"))];
    vec![
        Body::encode(&env, &units, &claim, &[event], &[recorded], &writes).to_vec(),
        Body::encode(&env, &[], &Claim::default(), &[], &[], &WriteSet::default()).to_vec(),
    ]
}

/// A worker that is restored from anything says that it cannot be, or is ready and serves.
pub fn restore(data: &[u8]) {
    let mut pieces = Pieces(data);
    let height = u64::from(pieces.byte());
    let middle = pieces.0.len() * usize::from(pieces.byte()) / 256;
    let data = Bytes::copy_from_slice(pieces.0);
    let mut worker = Worker::new(adapter_kv::machine(), adapter_kv::front());
    let now = Millis(1_800_000_000_000);
    let mut out = Vec::new();
    let mut tell = |worker: &mut Worker, message: In| {
        let message = ManagerToWorker {
            now: now.0,
            message: Some(message),
        };
        worker.handle(now, message, &mut out);
        worker.flush(now, &mut out);
    };
    let hello = boundary::Hello {
        protocol: "kv".into(),
        worker_key: Bytes::from_static(&[7; 32]),
        restore: true,
        ..Default::default()
    };
    tell(&mut worker, In::Hello(hello));
    let middle = middle.min(data.len());
    for (sequence, part) in [data.slice(..middle), data.slice(middle..)]
        .into_iter()
        .enumerate()
    {
        let chunk = boundary::Restore {
            height,
            sequence: sequence as u64, // 0 or 1
            data: part,
            last: sequence == 1,
            time: now.0,
        };
        tell(&mut worker, In::Restore(chunk));
    }
}

pub fn snapshots() -> Vec<Vec<u8>> {
    let mut solo = Solo::new(adapter_kv::machine(), adapter_kv::front(), "");
    for key in ["a", "b"] {
        let headers = [("coco-request-id", key)];
        solo.http_with("PUT", &format!("/kv/{key}"), &headers, "value");
    }
    let height = u8::try_from(solo.worker.height().0).expect("two writes");
    let snapshot = solo.snapshot().concat();
    vec![
        [&[height, 255][..], &snapshot].concat(),
        [&[height, 40][..], &snapshot].concat(),
    ]
}
