//! The lists of messages inside a validating node, framed as on the socket.

use boundary::{
    Decoder, HostToManager, ManagerToHost, ManagerToPlatform, ManagerToWorker, Message,
    PlatformToManager, WorkerToManager, encode, host_to_manager, manager_to_host,
    manager_to_platform, manager_to_worker, platform_to_manager, worker_to_manager,
};
use bytes::{Bytes, BytesMut};

/// Frames come out the same wherever the stream is cut, and what was read can be written and read.
fn frames<M: Message + Default + PartialEq>(data: &[u8]) {
    let read = |parts: &[&[u8]]| {
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for part in parts {
            decoder.buffer().extend_from_slice(part);
            loop {
                match decoder.next::<M>() {
                    Ok(Some(message)) => got.push(message),
                    Ok(None) => break,
                    Err(_) => return (got, true),
                }
            }
        }
        (got, false)
    };
    let (whole, broken) = read(&[data]);
    let middle = data.len() / 2;
    let cut = read(&[&data[..middle], &data[middle..]]);
    assert!(cut == (whole, broken), "a cut changed what was read");
    let (messages, _) = cut;
    let mut wire = BytesMut::new();
    for message in &messages {
        encode(message, &mut wire);
    }
    let (again, broken) = read(&[&wire]);
    assert!(!broken && again == messages, "written otherwise than read");
}

pub fn host_to_manager(data: &[u8]) {
    frames::<HostToManager>(data);
}

pub fn manager_to_host(data: &[u8]) {
    frames::<ManagerToHost>(data);
}

pub fn manager_to_worker(data: &[u8]) {
    frames::<ManagerToWorker>(data);
}

pub fn worker_to_manager(data: &[u8]) {
    frames::<WorkerToManager>(data);
}

pub fn platform(data: &[u8]) {
    let Some((list, data)) = data.split_first() else {
        return;
    };
    if list & 1 == 0 {
        frames::<PlatformToManager>(data);
    } else {
        frames::<ManagerToPlatform>(data);
    }
}

/// All messages on one wire.
fn wire<M: Message>(messages: impl IntoIterator<Item = M>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for message in messages {
        encode(&message, &mut out);
    }
    out.to_vec()
}

fn data() -> Bytes {
    Bytes::from_static(b"some bytes")
}

pub fn to_manager() -> Vec<Vec<u8>> {
    use host_to_manager::Message as M;
    let messages = [
        M::Start(boundary::Start {
            owner: "ada".into(),
            address: "vn:1".into(),
            constitution: data(),
            create: true,
            peers: vec!["vn:2".into()],
            owner_chain: data(),
            protocols: vec![boundary::ProtocolSettings {
                protocol: "kv".into(),
                settings: data(),
            }],
            tick_ms: 25,
            ..Default::default()
        }),
        M::Opened(boundary::Opened {
            connection: 2,
            surface: boundary::Surface::Application.into(),
            protocol: "kv".into(),
            remote: "far".into(),
        }),
        M::Received(boundary::Received {
            connection: 2,
            data: data(),
        }),
        M::Entries(boundary::Entries {
            request: 1,
            first: 7,
            entries: vec![data(), data()],
            failure: String::new(),
        }),
        M::SnapshotRead(boundary::SnapshotRead {
            request: 9,
            chunk: data(),
            last: true,
            failure: "none".into(),
        }),
        M::Persisted(boundary::Persisted { sequence: 300 }),
        M::Tick(boundary::Tick {}),
    ];
    messages.map(host).to_vec()
}

/// One framed message of a host.
pub fn host(message: host_to_manager::Message) -> Vec<u8> {
    wire([HostToManager {
        now: 1_800_000_000_500,
        message: Some(message),
    }])
}

pub fn to_host() -> Vec<Vec<u8>> {
    use manager_to_host::Message as M;
    let gauge = boundary::Gauge {
        name: "entries".into(),
        value: 7,
    };
    let messages = [
        M::Append(boundary::Append {
            first: 5,
            entries: vec![data(), data()],
            sequence: 2,
            detached: true,
        }),
        M::Status(boundary::Status {
            phase: "leading".into(),
            node: 1,
            gauges: vec![gauge],
            network: data(),
            ..Default::default()
        }),
        M::StoreSnapshot(boundary::StoreSnapshot {
            index: 9,
            sequence: 1,
            chunk: data(),
            last: true,
        }),
        M::Exit(boundary::Exit {
            code: 3,
            reason: "why".into(),
        }),
    ];
    vec![wire(messages.map(|message| ManagerToHost {
        message: Some(message),
    }))]
}

pub fn to_worker() -> Vec<Vec<u8>> {
    use manager_to_worker::Message as M;
    let messages = [
        M::Hello(boundary::Hello {
            protocol: "kv".into(),
            settings: data(),
            worker_key: Bytes::from_static(&[7; 32]),
            ..Default::default()
        }),
        M::Lead(boundary::Lead {
            term: 2,
            in_flight_max: 4,
            entropy_seed: Bytes::from_static(&[8; 32]),
            ..Default::default()
        }),
        M::Data(boundary::StreamData {
            stream: 2,
            data: data(),
        }),
        M::Commit(boundary::Commit {
            height: 1,
            index: 2,
            term: 1,
            time: 5,
        }),
        M::History(boundary::HistoryBatch {
            request: 1,
            height: 3,
            body: data(),
            ..Default::default()
        }),
    ];
    vec![wire(messages.map(|message| ManagerToWorker {
        now: 9,
        message: Some(message),
    }))]
}

pub fn from_worker() -> Vec<Vec<u8>> {
    worker_messages().map(worker).to_vec()
}

/// One framed message of a worker.
pub fn worker(message: worker_to_manager::Message) -> Vec<u8> {
    wire([WorkerToManager {
        message: Some(message),
    }])
}

/// What a worker may say.
pub fn worker_messages() -> [worker_to_manager::Message; 7] {
    use worker_to_manager::Message as M;
    [
        M::Ready(boundary::Ready::default()),
        M::Propose(boundary::Propose {
            height: 1,
            body: data(),
            term: 2,
            ..Default::default()
        }),
        M::Applied(boundary::Applied { height: 4 }),
        M::Data(boundary::StreamData {
            stream: 2,
            data: data(),
        }),
        M::History(boundary::HistoryRequest {
            request: 1,
            height: 1,
        }),
        M::ReadIndex(boundary::ReadIndex { request: 4 }),
        M::Log(boundary::Log {
            level: 2,
            target: "w".into(),
            text: "words".into(),
        }),
    ]
}

pub fn from_platform() -> Vec<Vec<u8>> {
    let launched = PlatformToManager {
        message: Some(platform_to_manager::Message::Launched(boundary::Launched {
            entropy: Bytes::from_static(&[1; 32]),
            measurement: data(),
            missing: vec!["landlock".into()],
        })),
    };
    let start = ManagerToPlatform {
        message: Some(manager_to_platform::Message::StartWorker(
            boundary::StartWorker {
                protocol: "kv".into(),
            },
        )),
    };
    let (mut one, mut other) = (vec![0], vec![1]);
    one.extend(wire([launched]));
    other.extend(wire([start]));
    vec![one, other]
}
