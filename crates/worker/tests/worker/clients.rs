//! Clients' connections.

use expect_test::expect;

use crate::script::{Script, check};

#[test]
fn pipelined_requests_are_answered_in_order() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 a add n & \n get 2 /note/genesis & \n post 2 b fail \n read-index 1000000000000001 0 \n commit 1",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n &
            > get 2 /note/genesis &
            > post 2 b fail
            propose 1 at 1000: a
            read-index 1000000000000001
            > read-index 1000000000000001 0
            > commit 1
            2: 200 committed 1.0
            2: 200 
            2: 409 rejected Invalid: it fails
        "#]],
    );
}

#[test]
fn an_exchange_that_waits_is_woken_at_its_time() {
    let mut script = Script::new();
    expect![[r#"
        > open 2 ada
        > get 2 /sleep/50
        > time 1049
    "#]]
    .assert_eq(&script.run("open 2 ada \n get 2 /sleep/50 \n time 1049"));
    assert_eq!(script.worker.next_wake(), Some(types::Millis(1050)));
    expect![[r#"
        > time 1050
        2: 200 slept
    "#]]
    .assert_eq(&script.run("time 1050"));
    assert_eq!(script.worker.next_wake(), None);
}

#[test]
fn who_may_not_submit_is_told_so() {
    check(
        "lead 1 0 \n open 2 mallory \n post 2 a add n \n post 2 nonsense",
        expect![[r#"
            > lead 1 0
            > open 2 mallory
            > post 2 a add n
            2: 409 refused Unauthorized: you may not submit this
            > post 2 nonsense
            2: 409 refused Unauthorized: you may not submit this
        "#]],
    );
}

#[test]
fn a_client_that_leaves_does_not_take_its_unit_along() {
    check(
        "lead 1 0 \n open 2 ada \n post 2 a add n \n close 2 \n commit 1 \n open 4 eve \n get 4 /note/n",
        expect![[r#"
            > lead 1 0
            > open 2 ada
            > post 2 a add n
            propose 1 at 1000: a
            > close 2
            > commit 1
            > open 4 eve
            > get 4 /note/n
            4: 200 1
        "#]],
    );
}

#[test]
fn what_is_not_http_is_refused_and_the_connection_ended() {
    let mut script = Script::new();
    script.run("open 2 ada \n get 2 /note/genesis");
    script.raw(2);
    expect![[r#"
        2: b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\nconnection: close\r\n\r\nContent-Length is given twice\n"
        close 2"#]].assert_eq(&script.data(
        2,
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
    ));
    expect![[r#""#]].assert_eq(&script.data(2, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
}

#[test]
fn more_requests_than_may_be_unanswered_wait_and_are_not_lost() {
    let mut script = Script::new();
    script.run("lead 1 0 \n open 2 ada");
    script.raw(2);
    let mut wire = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\na add n".to_vec();
    for _ in 0..300 {
        wire.extend_from_slice(b"GET /note/n HTTP/1.1\r\nhost: x\r\n\r\n");
    }
    for part in wire.chunks(1000) {
        assert_eq!(script.data(2, part.to_vec()).matches("HTTP/1.1").count(), 0);
    }
    let sent = wire.len() as u64;
    assert!(
        script.consumed[&2] < sent,
        "the window stays closed while too much is unanswered"
    );
    let transcript = script.run("commit 1");
    assert_eq!(
        transcript.matches("HTTP/1.1 200 OK").count(),
        301,
        "{transcript}"
    );
    assert_eq!(script.consumed[&2], sent);
}

/// A client's frame, masked with zeros so that it can be read here.
fn frame(payload: &str) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], payload.as_bytes()].concat()
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn a_web_socket_carries_requests_and_notifications() {
    let mut script = Script::new();
    script.run("lead 1 0 \n open 2 ada");
    script.raw(2);
    // The first message comes with the upgrade.
    let wire = [UPGRADE.as_bytes(), &frame("subscribe")].concat();
    expect![[r#"2: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\nsubscribed""#]].assert_eq(&script.data(2, wire));
    expect![[r#"
        propose 1 at 1000: a
        read-index 1000000000000001"#]]
    .assert_eq(&script.data(2, [frame("a add n"), frame("b fail")].concat()));
    expect![[r#"
        > read-index 1000000000000001 0
        > commit 1
        2: b"\x81\x0cbatch 1 of 1\x81\rcommitted 1.0\x81\x1arejected Invalid: it fails"
    "#]]
    .assert_eq(&script.run("read-index 1000000000000001 0 \n commit 1"));
    expect![[r#"
        2: b"\x88\x02\x03\xe8"
        close 2"#]]
    .assert_eq(&script.data(2, vec![0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
    expect![[r#"
        > inject 7 c add n
        propose 2 at 1000: c
        > commit 2
    "#]]
    .assert_eq(&script.run("inject 7 c add n \n commit 2"));
}

#[test]
fn old_batches_come_from_the_ledger_and_are_kept() {
    let mut leader = Script::new();
    leader.run("lead 1 0");
    // Batches of about 7 MiB (each value is in its unit, in an event and in the write set): of twelve,
    // the first ones do not stay in memory.
    let value = "v".repeat(500 << 10);
    for height in 1..=12 {
        for unit in 0..7 {
            leader.run(&format!(
                "inject 7 u{height}-{unit} put key{unit} {value} &"
            ));
        }
        leader.run(&format!("inject 7 last{height} add n \n commit {height}"));
    }
    let transcript = leader.run("open 2 ada \n get 2 /batch/1 \n history 1 1 \n get 2 /batch/1 \n get 2 /batch/12 \n get 2 /batch/13 \n get 2 /batch/2 \n history 2 77");
    expect![[r#"
        > open 2 ada
        > get 2 /batch/1
        history 1 height 1
        > history 1 1
        2: 200 u1-0 u1-1 u1-2 u1-3 u1-4 u1-5 u1-6 last1 at 99
        > get 2 /batch/1
        2: 200 u1-0 u1-1 u1-2 u1-3 u1-4 u1-5 u1-6 last1 at 99
        > get 2 /batch/12
        2: 200 u12-0 u12-1 u12-2 u12-3 u12-4 u12-5 u12-6 last12 at 22
        > get 2 /batch/13
        2: 404 none
        > get 2 /batch/2
        history 2 height 2
        > history 2 77
        2: 503 not here
    "#]]
    .assert_eq(&transcript);
}
