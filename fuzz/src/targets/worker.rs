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
        ..
    } = &read;
    let recorded = &read.records();
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

/// Whatever a system outside says, the unit that asked it comes to its end, and what it came to replays.
pub fn reply(data: &[u8]) {
    let machine = sim::parts::asking();
    let mut solo = Solo::new(machine.clone(), adapter_kv::front(), "");
    // Of these names one asks, whatever the others do.
    for name in ["a", "b", "c", "d", "e", "f"] {
        let said = Bytes::copy_from_slice(data);
        solo.answers = [said.clone(), said].into();
        let before = solo.worker.height();
        let headers = [("coco-request-id", name)];
        let answer = solo.http_with("PUT", "/kv/key", &headers, "value");
        assert!(matches!(answer.status, 200..=204), "{}", answer.status);
        assert_eq!(solo.worker.height(), before.next());
        if solo.answers.len() < 2 {
            let body = Body::decode(solo.bodies[&solo.worker.height().0].clone());
            let answers = &body.expect("just made").units[0].0.answers;
            assert!(!answers.is_empty(), "it went on without an answer");
            return;
        }
    }
    panic!("nobody asked");
}

pub fn replies() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\nuntil the end",
        b"SSH-2.0-oracle\r\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
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
