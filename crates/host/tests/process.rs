//! A real `coco-host` process between real sockets, a real disk and a manager that the test plays.

mod kit;
#[path = "process/rig.rs"]
mod rig;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use boundary::{
    Append, Close, Committed, Dial, Exit, Gauge, Log, Pace, ReadEntries, ReadSnapshot,
    RemoveSnapshot, Send, SignTuple, Status, StoreSnapshot, Surface, Truncate,
    host_to_manager::Message as Told, manager_to_host::Message as Say,
};
use bytes::Bytes;
use rig::{Rig, Setup};

fn entry(index: u64) -> Bytes {
    kit::entry(index)
}

fn append(sequence: u64, first: u64, count: u64) -> Say {
    Say::Append(Append {
        detached: false,
        first,
        entries: (first..first + count).map(entry).collect(),
        sequence,
    })
}

#[test]
fn the_first_message_says_what_the_configuration_says() {
    let mut rig = Rig::start(Setup::default());
    let start = rig.start.clone();
    assert_eq!(
        (start.owner.as_str(), start.create, start.tick_ms),
        ("ada", true, 10)
    );
    assert_eq!(start.address, "127.0.0.1:7000");
    assert_eq!(&start.constitution[..], b"constitution");
    assert_eq!(&start.owner_chain[..], b"\0\0\0\x03abc");
    assert_eq!(start.ledger_last, 0);
    assert_eq!(start.protocols.len(), 1);
    assert_eq!(&start.protocols[0].settings[..], b"genesis");
    rig.wait_for(|told| matches!(told, Told::Tick(_)));
}

#[test]
fn bytes_go_both_ways_and_a_close_delivers_what_was_sent() {
    let mut rig = Rig::start(Setup::default());
    for (port, surface, protocol) in [
        (rig.node_port, Surface::Node, ""),
        (rig.admin_port, Surface::Administrative, ""),
        (rig.kv_port, Surface::Application, "kv"),
    ] {
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("listens");
        let opened = rig.opened();
        assert_eq!(
            (opened.surface(), opened.protocol.as_str()),
            (surface, protocol)
        );
        assert_eq!(opened.connection % 2, 0);
        assert_eq!(
            opened.remote,
            client.local_addr().expect("connected").to_string()
        );
        client.write_all(b"to the enclave").expect("sent");
        assert_eq!(rig.received(opened.connection, 14), b"to the enclave");
        let large = vec![5; 3 << 20];
        rig.say(Say::Send(Send {
            connection: opened.connection,
            data: large.clone().into(),
        }));
        rig.say(Say::Close(Close {
            connection: opened.connection,
        }));
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("until the close");
        assert!(got == large);
    }
}

#[test]
fn a_client_that_goes_is_reported_and_one_that_does_not_read_is_closed() {
    let mut rig = Rig::start(Setup::default());
    let client = TcpStream::connect(("127.0.0.1", rig.kv_port)).expect("listens");
    let gone = rig.opened().connection;
    drop(client);
    rig.wait_for(|told| matches!(told, Told::Closed(closed) if closed.connection == gone));

    let _silent = TcpStream::connect(("127.0.0.1", rig.kv_port)).expect("listens");
    let silent = rig.opened().connection;
    for _ in 0..80 {
        rig.say(Say::Send(Send {
            connection: silent,
            data: vec![1; 1 << 20].into(),
        }));
    }
    rig.wait_for(|told| matches!(told, Told::Closed(closed) if closed.connection == silent));
}

#[test]
fn a_paused_connection_is_not_read_until_it_is_resumed() {
    let mut rig = Rig::start(Setup::default());
    let mut client = TcpStream::connect(("127.0.0.1", rig.kv_port)).expect("listens");
    let connection = rig.opened().connection;
    rig.say(Say::Pace(Pace {
        connection,
        paused: true,
    }));
    // An answer of the disk shows that the host has seen what was said before.
    rig.say(append(1, 1, 1));
    rig.wait_for(|told| matches!(told, Told::Persisted(_)));
    client.write_all(b"later").expect("sent");
    rig.say(append(2, 2, 1));
    let told = rig.wait_for(|told| matches!(told, Told::Persisted(_) | Told::Received(_)));
    assert!(matches!(told, Told::Persisted(_)));
    rig.say(Say::Pace(Pace {
        connection,
        paused: false,
    }));
    assert_eq!(rig.received(connection, 5), b"later");
}

#[test]
fn dialling_reaches_a_peer_or_says_why_not() {
    let mut rig = Rig::start(Setup::default());
    let peer = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("localhost:{}", peer.local_addr().expect("bound").port());
    rig.say(Say::Dial(Dial {
        connection: 7,
        address,
    }));
    let opened = rig.opened();
    assert_eq!((opened.connection, opened.surface()), (7, Surface::Node));
    let mut peer_end = peer.accept().expect("the host comes").0;
    rig.say(Say::Send(Send {
        connection: 7,
        data: "hello".into(),
    }));
    let mut got = [0; 5];
    peer_end.read_exact(&mut got).expect("sent");
    assert_eq!(&got, b"hello");
    peer_end.write_all(b"back").expect("sent");
    assert_eq!(rig.received(7, 4), b"back");

    drop(peer);
    let closed = format!("127.0.0.1:{}", peer_end.local_addr().expect("bound").port());
    for (connection, address) in [
        (9, closed.as_str()),
        (11, "no such name:1"),
        (13, "nonsense"),
    ] {
        rig.say(Say::Dial(Dial {
            connection,
            address: address.into(),
        }));
        let failed = rig.wait_for(|told| matches!(told, Told::DialFailed(_)));
        let Told::DialFailed(failed) = failed else {
            unreachable!("waited for it")
        };
        assert_eq!(failed.connection, connection);
        assert!(!failed.reason.is_empty());
    }
}

#[test]
fn entries_are_on_disk_when_they_are_acknowledged_and_there_after_a_restart() {
    let mut rig = Rig::start(Setup::default());
    rig.say(append(1, 1, 3));
    rig.say(append(2, 4, 2));
    rig.persisted(2);
    rig.say(Say::Truncate(Truncate { from: 5 }));
    rig.say(append(3, 5, 1));
    rig.persisted(3);
    rig.say(Say::Committed(Committed { upto: 5 }));
    rig.say(Say::ReadEntries(ReadEntries {
        request: 4,
        first: 2,
        last: 9,
        bytes_max: 1 << 20,
    }));
    let entries = rig.wait_for(|told| matches!(told, Told::Entries(_)));
    let Told::Entries(entries) = entries else {
        unreachable!("waited for it")
    };
    assert_eq!((entries.request, entries.first), (4, 2));
    assert_eq!(entries.entries, [entry(2), entry(3), entry(4), entry(5)]);

    let directory = rig.kill();
    let mut rig = Rig::start(Setup {
        directory: Some(directory),
        ..Setup::default()
    });
    assert_eq!(rig.start.ledger_last, 5);
    // What is committed does not become uncommitted by asking.
    rig.say(Say::Committed(Committed { upto: 5 }));
    rig.say(Say::Truncate(Truncate { from: 3 }));
    let failed = rig.wait_for(|told| matches!(told, Told::StorageFailed(_)));
    assert!(
        format!("{failed:?}").contains("cannot be removed"),
        "{failed:?}"
    );
}

#[test]
fn a_full_disk_ends_the_node_with_its_reason_and_acknowledges_nothing() {
    let mut rig = Rig::start(Setup {
        file_bytes_max: Some(1 << 20),
        ..Setup::default()
    });
    rig.say(append(1, 1, 2));
    rig.persisted(1);
    let entries = vec![kit::entry_of(kit::APPLICATION, 3, 2 << 20)];
    rig.say(Say::Append(Append {
        detached: false,
        first: 3,
        entries,
        sequence: 2,
    }));
    let told = rig.wait_for(|told| matches!(told, Told::StorageFailed(_) | Told::Persisted(_)));
    let Told::StorageFailed(failed) = told else {
        panic!("acknowledged: {told:?}")
    };
    assert!(
        failed.reason.contains("append to ledger/"),
        "{}",
        failed.reason
    );
    rig.say(Say::Exit(Exit {
        code: 3,
        reason: failed.reason,
    }));
    let (status, log, directory) = rig.end();
    assert_eq!(status, 3, "{log}");
    assert!(log.contains("File too large"), "{log}");
    // The torn end is dropped, the acknowledged entries are there.
    let rig = Rig::start(Setup {
        directory: Some(directory),
        ..Setup::default()
    });
    assert_eq!(rig.start.ledger_last, 2);
}

#[test]
fn a_node_that_began_with_a_snapshot_is_told_of_both_runs_and_of_its_snapshots() {
    let mut rig = Rig::start(Setup::default());
    rig.say(append(1, 1, 3));
    let tail = Append {
        detached: true,
        first: 21,
        entries: (21..25).map(entry).collect(),
        sequence: 2,
    };
    rig.say(Say::Append(tail));
    rig.persisted(2);
    // Their second byte says whether they are the last.
    let chunks = [Bytes::from(vec![0; 2_000_000]), Bytes::from(vec![1; 100])];
    for (sequence, chunk) in (0..).zip(&chunks) {
        rig.say(Say::StoreSnapshot(StoreSnapshot {
            index: 20,
            sequence,
            chunk: chunk.clone(),
            last: sequence == 1,
        }));
        let stored = rig.wait_for(|told| matches!(told, Told::SnapshotStored(_)));
        let Told::SnapshotStored(stored) = stored else {
            unreachable!("waited for it")
        };
        assert_eq!((stored.index, stored.sequence), (20, sequence));
        assert_eq!(stored.failure, "");
    }
    let metrics = rig.get("/metrics");
    for line in [
        "coco_host_ledger_chunks 2",
        "coco_host_snapshots 1",
        "coco_host_snapshot_bytes 2000124",
        "coco_host_disk_reserve_bytes 268435456",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    assert!(
        metrics.contains("\ncoco_host_disk_free_bytes "),
        "{metrics}"
    );

    let directory = rig.kill();
    let mut rig = Rig::start(Setup {
        directory: Some(directory),
        ..Setup::default()
    });
    let start = rig.start.clone();
    assert_eq!(
        (start.ledger_last, start.tail_first, start.tail_last),
        (3, 21, 24)
    );
    assert_eq!(start.snapshots, [20]);
    for (request, sequence) in [(7, 1), (8, 0), (9, 2)] {
        rig.say(Say::ReadSnapshot(ReadSnapshot {
            request,
            index: 20,
            sequence,
        }));
        let read = rig.wait_for(|told| matches!(told, Told::SnapshotRead(_)));
        let Told::SnapshotRead(read) = read else {
            unreachable!("waited for it")
        };
        assert_eq!(read.request, request);
        match chunks.get(sequence as usize) {
            Some(chunk) => assert_eq!((&read.chunk, read.last), (chunk, sequence == 1)),
            None => assert!(read.failure.contains("it has 2 chunks"), "{}", read.failure),
        }
    }
    rig.say(Say::RemoveSnapshot(RemoveSnapshot { index: 20 }));
    rig.say(Say::ReadSnapshot(ReadSnapshot {
        request: 10,
        index: 20,
        sequence: 0,
    }));
    let read = rig.wait_for(|told| matches!(told, Told::SnapshotRead(_)));
    assert!(!format!("{read:?}").contains("failure: \"\""), "{read:?}");
}

#[test]
fn damage_is_logged_with_its_place_and_the_good_entries_are_offered() {
    let mut rig = Rig::start(Setup::default());
    rig.say(append(1, 1, 6));
    rig.persisted(1);
    let directory = rig.kill();
    let chunk = directory
        .path()
        .join("data/ledger/00000000000000000001-open");
    let mut content = std::fs::read(&chunk).expect("a chunk");
    let at = 16 + (1..=3).map(|index| 4 + entry(index).len()).sum::<usize>();
    content[at] ^= 0x80;
    std::fs::write(&chunk, content).expect("written");
    let mut rig = Rig::start(Setup {
        directory: Some(directory),
        ..Setup::default()
    });
    assert_eq!(rig.start.ledger_last, 3);
    rig.hang_up();
    let (_, log, _) = rig.end();
    for part in [
        &format!("00000000000000000001-open: entry 4, byte {at}: an entry of")[..],
        "kept as ledger/00000000000000000001-open-damaged",
        "fetched from other nodes",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[test]
fn a_chunk_that_is_replaced_while_the_node_runs_ends_it_with_the_reason() {
    let mut rig = Rig::start(Setup::default());
    rig.say(append(1, 1, 2));
    rig.persisted(1);
    let chunk = rig
        .directory()
        .join("data/ledger/00000000000000000001-open");
    let content = std::fs::read(&chunk).expect("a chunk");
    std::fs::remove_file(&chunk).expect("removed");
    std::fs::write(&chunk, content).expect("written");
    rig.say(append(2, 3, 1));
    let told = rig.wait_for(|told| matches!(told, Told::StorageFailed(_) | Told::Persisted(_)));
    let Told::StorageFailed(failed) = told else {
        panic!("acknowledged: {told:?}")
    };
    assert!(
        failed
            .reason
            .contains("0001-open was replaced by another file"),
        "{}",
        failed.reason
    );
}

#[test]
fn a_disk_without_room_or_a_directory_that_cannot_be_written_is_named_at_the_start() {
    let rig = Rig::spawn(Setup {
        disk_reserve_mib: Some(1 << 40),
        ..Setup::default()
    });
    let (status, log, directory) = rig.end();
    assert_eq!(status, 70);
    assert!(
        log.contains("ledger: ") && log.contains("lower disk_reserve_mib"),
        "{log}"
    );
    let ledger = directory.path().join("data/ledger");
    permit(&ledger, 0o555);
    let rig = Rig::spawn(Setup {
        directory: Some(directory),
        ..Setup::default()
    });
    let (status, log, _directory) = rig.end();
    permit(&ledger, 0o755);
    assert_eq!(status, 70);
    assert!(
        log.contains("write to ledger/probe-part") && log.contains("writable for the host's user"),
        "{log}"
    );
}

#[test]
fn the_owners_agent_signs_the_tuple() {
    let mut rig = Rig::start(Setup::default());
    let listener = UnixListener::bind(rig.directory().join("agent.socket")).expect("bound");
    permit(&rig.directory().join("agent.socket"), 0o666);
    rig.say(Say::SignTuple(SignTuple {
        payload: "tuple".into(),
    }));
    let mut host = listener.accept().expect("the host comes").0;
    let mut request = [0; 10];
    host.read_exact(&mut request).expect("request");
    assert_eq!(&request, b"\0\0\0\x06\0tuple");
    host.write_all(b"\0\0\0\x07\0signed").expect("answered");
    let told = rig.wait_for(|told| matches!(told, Told::TupleSigned(_)));
    let Told::TupleSigned(signed) = told else {
        unreachable!("waited for it")
    };
    assert_eq!(
        (&signed.tuple[..], signed.failure.as_str()),
        (&b"signed"[..], "")
    );
}

fn permit(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("own file");
}

#[test]
fn operators_see_status_and_metrics() {
    let mut rig = Rig::start(Setup::default());
    rig.say(append(1, 1, 1));
    rig.persisted(1);
    rig.say(Say::Status(Status {
        phase: "leading".into(),
        committed: 42,
        gauges: vec![Gauge {
            name: "batch units".into(),
            value: 100,
        }],
        network: vec![0xab].into(),
        ..Status::default()
    }));
    rig.say(Say::ReadEntries(ReadEntries {
        request: 1,
        first: 1,
        last: 1,
        bytes_max: 1,
    }));
    rig.wait_for(|told| matches!(told, Told::Entries(_)));
    let status = rig.get("/status");
    assert!(
        status.contains(r#""phase":"leading""#) && status.contains(r#""network":"ab""#),
        "{status}"
    );
    let metrics = rig.get("/metrics");
    for line in [
        "coco_ledger_committed 42",
        "coco_batch_units 100",
        "coco_host_sync_seconds_count 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in {metrics}"
        );
    }
    assert!(rig.get("/other").contains("404"));
}

#[test]
fn the_nodes_end_has_a_status_and_a_reason() {
    let mut rig = Rig::start(Setup::default());
    rig.say(Say::Log(Log {
        level: 2,
        target: "consensus".into(),
        text: "hear this".into(),
    }));
    rig.terminate();
    rig.wait_for(|told| matches!(told, Told::Stop(_)));
    rig.say(Say::Exit(Exit {
        code: 0,
        reason: "stopped as asked".into(),
    }));
    let (status, log, _) = rig.end();
    assert_eq!(status, 0, "{log}");
    assert!(
        log.contains("consensus: hear this") && log.contains("stopped as asked"),
        "{log}"
    );

    let mut rig = Rig::start(Setup::default());
    rig.hang_up();
    let (status, log, _) = rig.end();
    assert_eq!(status, 70, "{log}");
    assert!(log.contains("without a word"), "{log}");

    let mut rig = Rig::start(Setup::default());
    rig.say_bytes(b"\xff\xff\xff\xff");
    let (status, log, _) = rig.end();
    assert_eq!(status, 70, "{log}");
    assert!(log.contains("from the manager: frame of"), "{log}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let rig = Rig::spawn(Setup {
        kv_port: Some(port),
        ..Setup::default()
    });
    let (status, log, _) = rig.end();
    assert_eq!(status, 70);
    assert!(
        log.contains(&format!(
            "127.0.0.1:{port} is in use; stop what listens there"
        )),
        "{log}"
    );
}
