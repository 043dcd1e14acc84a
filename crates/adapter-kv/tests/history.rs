//! Old versions come from the ledger; what was restored answers as what was always there.

use std::collections::BTreeMap;

use proptest::prelude::*;
use worker::Worker;
use worker::solo::Solo;

fn solo() -> Solo {
    Solo::new(adapter_kv::machine(), adapter_kv::front(), "")
}

/// Another node that was restored from `solo`'s snapshot.
fn restored(solo: &mut Solo) -> Solo {
    let height = solo.worker.height().0;
    let snapshot = solo.snapshot();
    let bodies = solo.bodies.clone();
    Solo::restored(
        adapter_kv::machine(),
        adapter_kv::front(),
        height,
        &snapshot,
        bodies,
    )
}

/// `status body`, without what depends on digests.
fn ask(solo: &mut Solo, target: &str) -> String {
    let response = solo.http("GET", target, "");
    let body = String::from_utf8_lossy(&response.body).into_owned();
    let Ok(mut json) = serde_json::from_str::<serde_json::Value>(&body) else {
        return format!("{} {body}", response.status);
    };
    if let Some(versions) = json.get_mut("versions").and_then(|all| all.as_array_mut()) {
        for version in versions {
            let fields = version.as_object_mut().expect("an object");
            fields.remove("version");
            fields.remove("written_by");
        }
    }
    json.sort_all_objects();
    format!("{} {json}", response.status)
}

#[track_caller]
fn check(solo: &mut Solo, script: &[(&str, &str)]) {
    for (target, expected) in script {
        assert_eq!(ask(solo, target), *expected, "{target}");
    }
}

const BATCH: &str = r#"{"commands":[{"op":"delete","key":"never"},{"op":"put","key":"a","value":"3"},{"op":"delete","key":"a"},{"op":"put","key":"a","value":"4"}]}"#;

/// a: 1 at 1, 2 at 3, 3, deleted and 4 at 4, deleted at 5. b: at 2 and 6.
fn lived() -> Solo {
    let mut solo = solo();
    solo.http("PUT", "/kv/a", "1");
    solo.http("PUT", "/kv/b", "x");
    solo.http("PUT", "/kv/a", "2");
    solo.http("POST", "/batch", BATCH);
    solo.http("DELETE", "/kv/a", "");
    solo.http("PUT", "/kv/b", "y");
    solo
}

const ANSWERS: &[(&str, &str)] = &[
    (
        "/history/a",
        r#"200 {"key":"a","versions":[{"deleted":true,"height":5},{"height":4,"value":"4"},{"deleted":true,"height":4},{"height":4,"value":"3"},{"height":3,"value":"2"},{"height":1,"value":"1"}]}"#,
    ),
    // A page holds all that one batch made.
    (
        "/history/a?limit=2",
        r#"200 {"key":"a","next":3,"versions":[{"deleted":true,"height":5},{"height":4,"value":"4"},{"deleted":true,"height":4},{"height":4,"value":"3"}]}"#,
    ),
    (
        "/history/a?limit=1&from=3",
        r#"200 {"key":"a","next":1,"versions":[{"height":3,"value":"2"}]}"#,
    ),
    (
        "/history/a?from=1",
        r#"200 {"key":"a","versions":[{"height":1,"value":"1"}]}"#,
    ),
    (
        "/history/a?from=2",
        r#"404 {"error":{"kind":"invalid","message":"the batch of that height did not change the key"}}"#,
    ),
    (
        "/history/never",
        r#"404 {"error":{"kind":"invalid","message":"the key never existed"}}"#,
    ),
    (
        "/kv/a?at=0",
        r#"404 {"error":{"kind":"invalid","message":"the key did not exist then"}}"#,
    ),
    ("/kv/a?at=1", "200 1"),
    ("/kv/a?at=2", "200 1"),
    ("/kv/a?at=3", "200 2"),
    ("/kv/a?at=4", "200 4"),
    (
        "/kv/a?at=5",
        r#"404 {"error":{"kind":"invalid","message":"the key did not exist then"}}"#,
    ),
    ("/kv/b?at=5", "200 x"),
    ("/kv/b?at=6", "200 y"),
    (
        "/kv/b?at=7",
        r#"404 {"error":{"kind":"later","message":"height 7 is not committed here yet: the last is 6"}}"#,
    ),
    (
        "/kv/b?at=six",
        r#"400 {"error":{"kind":"malformed","message":"a height is a decimal number"}}"#,
    ),
];

#[test]
fn old_versions_are_read_and_listed() {
    check(&mut lived(), ANSWERS);
}

#[test]
fn a_restored_node_answers_the_same_from_its_ledger() {
    let mut solo = lived();
    let mut other = restored(&mut solo);
    check(&mut other, ANSWERS);
    assert!(other.loaded > 0, "it had no batch in memory");
    let old = solo.http("GET", "/kv/a?at=3", "");
    assert_eq!(other.http("GET", "/kv/a?at=3", ""), old, "headers, too");
}

#[test]
fn a_node_that_lacks_a_part_of_the_ledger_says_so_and_never_answers_wrongly() {
    let mut solo = lived();
    let mut other = restored(&mut solo);
    other.absent = 1..4;
    let not_here = r#"503 {"error":{"kind":"busy","message":"this node is still fetching that part of the ledger: ask another node, or this one later"}}"#;
    check(
        &mut other,
        &[
            ("/kv/b", "200 y"),
            ("/kv/b?at=6", "200 y"),
            ("/kv/a?at=4", "200 4"),
            ("/kv/a?at=3", not_here),
            ("/kv/b?at=5", not_here),
            ("/history/a", not_here),
            (
                "/history/b?limit=1",
                r#"200 {"key":"b","next":2,"versions":[{"height":6,"value":"y"}]}"#,
            ),
            ("/receipt/3/0", not_here),
        ],
    );
    // When it has come, it is served.
    other.absent = 0..0;
    other.advance(1_000);
    check(&mut other, ANSWERS);
}

#[test]
fn a_named_request_is_done_once_on_either_side_of_a_snapshot() {
    let mut solo = solo();
    let id = [("coco-request-id", "order-17")];
    let first = solo.http_with("PUT", "/kv/a", &id, "1");
    let mut other = restored(&mut solo);
    other.lead();
    assert_eq!(other.http_with("PUT", "/kv/a", &id, "1"), first);
    assert_eq!(other.http_with("PUT", "/kv/a", &id, "2").status, 409);
    // Its name is not free a week later, either.
    other.advance(7 * 24 * 60 * 60 * 1000);
    assert_eq!(other.http("PUT", "/kv/b", "x").status, 200);
    assert_eq!(other.http_with("PUT", "/kv/a", &id, "1"), first);
    assert_eq!(other.http_with("PUT", "/kv/a", &id, "2").status, 409);
    assert_eq!(other.worker.height().0, 2, "nothing of it was done again");
}

#[test]
fn a_named_request_is_done_once_though_its_name_left_memory() {
    let worker = || Worker::new(adapter_kv::machine(), adapter_kv::front()).cataloguing(60);
    let machine = adapter_kv::machine();
    let mut solo = Solo::of(&*machine, worker(), "");
    let id = [("coco-request-id", "order-17")];
    let first = solo.http_with("PUT", "/kv/a", &id, "1");
    for n in 0..200 {
        solo.http("PUT", "/kv/b", n.to_string());
    }
    let height = solo.worker.height().0;
    let (snapshot, bodies) = (solo.snapshot(), solo.bodies.clone());
    let mut other = Solo::restored_of(&*machine, worker(), height, &snapshot, bodies);
    other.lead();
    other.absent = 0..height;
    assert_eq!(other.http_with("PUT", "/kv/a", &id, "1").status, 503);
    other.absent = 0..0;
    other.advance(1_000);
    for node in [&mut solo, &mut other] {
        assert_eq!(node.http_with("PUT", "/kv/a", &id, "1"), first);
        assert_eq!(node.http_with("PUT", "/kv/a", &id, "2").status, 409);
        let receipt = node.http("GET", "/receipt/request/order-17", "");
        assert_eq!(receipt.status, 200, "{receipt:?}");
        assert_eq!(
            node.worker.height().0,
            height,
            "nothing of it was done again"
        );
    }
}

#[test]
fn one_request_goes_back_a_bounded_number_of_batches() {
    let mut solo = solo();
    for n in 0..1_002 {
        solo.http("PUT", "/kv/a", n.to_string());
    }
    check(
        &mut solo,
        &[
            ("/kv/a?at=3", "200 2"),
            (
                "/kv/a?at=1",
                r#"400 {"error":{"kind":"malformed","message":"the key was changed in more than 1000 batches since height 1: go on with /history/<key>?from=2"}}"#,
            ),
            (
                "/history/a?from=1",
                r#"200 {"key":"a","versions":[{"height":1,"value":"0"}]}"#,
            ),
        ],
    );
}

#[derive(Debug, Clone)]
struct Request {
    key: u8,
    value: Option<u8>,
    named: Option<u8>,
}

fn request() -> impl Strategy<Value = Request> {
    (
        0u8..8,
        prop::option::weighted(0.7, any::<u8>()),
        prop::option::weighted(0.4, 0u8..20),
    )
        .prop_map(|(key, value, named)| Request { key, value, named })
}

fn send(solo: &mut Solo, request: &Request) -> http1::ClientResponse {
    solo.advance(7);
    let named = request.named.map(|id| format!("id-{id}"));
    let headers: Vec<(&str, &str)> = named
        .iter()
        .map(|id| ("coco-request-id", id.as_str()))
        .collect();
    let target = format!("/kv/key{}", request.key);
    match request.value {
        Some(value) => solo.http_with("PUT", &target, &headers, value.to_string()),
        None => solo.http_with("DELETE", &target, &headers, ""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_restored_state_goes_on_as_the_one_it_was_taken_of(
        before in prop::collection::vec(request(), 0..40),
        after in prop::collection::vec(request(), 0..40),
        pace in 1u32..4,
    ) {
        let mut solo = solo();
        before.iter().for_each(|request| { send(&mut solo, request); });
        let height = solo.worker.height().0;
        // It is asked for late, when much of it was written over.
        solo.take_snapshot();
        let answers: Vec<_> = after.iter().map(|request| send(&mut solo, request)).collect();
        let mut snapshot = Vec::new();
        loop {
            let chunks = solo.snapshot_chunks(height, pace);
            if chunks.is_empty() {
                break;
            }
            snapshot.extend(chunks);
        }
        let known: BTreeMap<_, _> = solo.bodies.range(..=height).map(|(h, b)| (*h, b.clone())).collect();
        // One follows from there, one leads from there.
        let restored = || Solo::restored(adapter_kv::machine(), adapter_kv::front(), height, &snapshot, known.clone());
        let mut follower = restored();
        for (height, body) in solo.bodies.range(height + 1..) {
            follower.apply(*height, body.clone());
        }
        let next = solo.snapshot();
        prop_assert_eq!(&follower.snapshot(), &next);
        let mut leader = restored();
        leader.lead();
        leader.advance(7 * before.len() as u64);
        for (request, answer) in after.iter().zip(&answers) {
            let again = send(&mut leader, request);
            // An unnamed request has another identity, by its connection's count.
            prop_assert_eq!(again.status, answer.status);
        }
        for key in 0..8 {
            for target in [format!("/kv/key{key}"), format!("/history/key{key}"), format!("/kv/key{key}?at={height}")] {
                prop_assert_eq!(ask(&mut follower, &target), ask(&mut solo, &target));
                prop_assert_eq!(ask(&mut leader, &target), ask(&mut solo, &target));
            }
        }
    }
}
