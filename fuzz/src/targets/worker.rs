//! What a leader's worker proposed and another one applies.

use adapter::{Claim, Env, Event, Unit};
use bytes::Bytes;
use kv::{Domain, Write, WriteSet};
use types::{ActorId, Height, Millis, UnitId};
use worker::{Body, Recorded};

/// One encoding of one body.
pub fn body(data: &[u8]) {
    let Ok(read) = Body::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let Ok(writes) = WriteSet::decode(read.writes.clone()) else {
        return;
    };
    let again = Body::encode(
        &read.env,
        &read.units,
        &read.claim,
        &read.events,
        &read.recorded,
        &writes,
    );
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
