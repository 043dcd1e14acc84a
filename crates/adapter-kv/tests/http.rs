//! The surface, as a client sees it: one worker, one manager that commits at once.

use worker::solo::Solo;

fn solo() -> Solo {
    Solo::new(adapter_kv::machine(), adapter_kv::front(), "")
}

/// One request in one line, and its answer in one line. Versions are digests and left out.
fn ask(solo: &mut Solo, request: &str) -> String {
    let (head, body) = request.split_once(" <- ").unwrap_or((request, ""));
    let (method, target) = head.split_once(' ').expect("method and target");
    line(&solo.http(method, target, body))
}

fn line(response: &http1::ClientResponse) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let Ok(mut json) = serde_json::from_str::<serde_json::Value>(&body) else {
        return format!("{} {body}", response.status);
    };
    strip(&mut json);
    // Another crate of the same build may ask serde_json to keep the order of insertion.
    json.sort_all_objects();
    format!("{} {json}", response.status)
}

fn strip(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(fields) => {
            for name in ["unit", "version", "written_by"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(strip);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[track_caller]
fn check(script: &[(&str, &str)]) {
    check_on(&mut solo(), script);
}

#[test]
fn what_was_put_is_read_listed_and_deleted() {
    check(&[
        (
            "GET /kv/a",
            r#"404 {"error":{"kind":"invalid","message":"the key does not exist"}}"#,
        ),
        (
            "PUT /kv/a%2Fb <- one",
            r#"200 {"height":1,"index":2,"position":0,"results":[{"existed":false,"key":"a/b"}],"term":1}"#,
        ),
        (
            "PUT /kv/ac <- two",
            r#"200 {"height":2,"index":3,"position":0,"results":[{"existed":false,"key":"ac"}],"term":1}"#,
        ),
        (
            "PUT /kv/b <- three",
            r#"200 {"height":3,"index":4,"position":0,"results":[{"existed":false,"key":"b"}],"term":1}"#,
        ),
        ("GET /kv/a/b", "200 one"),
        ("GET /kv/a%2fb?consistency=linear", "200 one"),
        (
            "GET /kv?prefix=a&limit=1",
            r#"200 {"entries":[{"key":"a/b","value":"one","written_at":1}],"height":3,"next":"a/b"}"#,
        ),
        (
            "GET /kv?prefix=a&after=a/b&consistency=linear",
            r#"200 {"entries":[{"key":"ac","value":"two","written_at":2}],"height":3}"#,
        ),
        (
            "DELETE /kv/b",
            r#"200 {"height":4,"index":5,"position":0,"results":[{"existed":true,"key":"b"}],"term":1}"#,
        ),
        ("GET /kv?after=ac", r#"200 {"entries":[],"height":4}"#),
    ]);
}

#[test]
fn compare_and_swap_goes_by_version_value_or_absence() {
    let mut solo = solo();
    let first = solo.http_with("PUT", "/kv/k", &[("if-none-match", "*")], "1");
    let version = first
        .header("etag")
        .expect("a write answers with its version")
        .to_owned();
    assert_eq!(
        solo.http("GET", "/kv/k", "").header("etag"),
        Some(version.as_str())
    );
    let exists = r#"412 {"error":{"kind":"invalid","message":"the key exists already"}}"#;
    assert_eq!(
        line(&solo.http_with("PUT", "/kv/k", &[("if-none-match", "*")], "2")),
        exists
    );
    assert_eq!(
        solo.http_with("PUT", "/kv/k", &[("if-match", &version)], "2")
            .status,
        200
    );
    let stale = r#"412 {"error":{"kind":"invalid","message":"the key has another version: read it again"}}"#;
    assert_eq!(
        line(&solo.http_with("PUT", "/kv/k", &[("if-match", &version)], "3")),
        stale
    );
    let swap = r#"{"commands":[{"op":"put","key":"k","value":"4","expect":{"value":"2"}}]}"#;
    assert_eq!(solo.http("POST", "/batch", swap).status, 200);
    assert_eq!(solo.http("POST", "/batch", swap).status, 412);
    assert_eq!(solo.http("GET", "/kv/k", "").body, "4");
}

#[test]
fn a_batch_is_applied_as_a_whole_or_not_at_all() {
    check(&[
        (
            r#"POST /batch <- {"commands":[{"op":"put","key":"x","value":"1"},{"op":"put","key":"y","value_hex":"ff"}]}"#,
            r#"200 {"height":1,"index":2,"position":0,"results":[{"existed":false,"key":"x"},{"existed":false,"key":"y"}],"term":1}"#,
        ),
        (
            r#"POST /batch <- {"commands":[{"op":"delete","key":"x"},{"op":"put","key":"y","value":"2","expect":{"absent":true}}]}"#,
            r#"412 {"error":{"kind":"invalid","message":"the key exists already"}}"#,
        ),
        (
            "GET /kv",
            r#"200 {"entries":[{"key":"x","value":"1","written_at":1},{"key":"y","value_hex":"ff","written_at":1}],"height":1}"#,
        ),
    ]);
}

#[test]
fn a_named_request_is_done_once_and_answered_the_same_each_time() {
    let mut solo = solo();
    let id = [("coco-request-id", "order-17")];
    let first = solo.http_with("PUT", "/kv/a", &id, "1");
    assert_eq!(solo.http("PUT", "/kv/a", "2").status, 200);
    assert_eq!(solo.http_with("PUT", "/kv/a", &id, "1"), first);
    assert_eq!(
        solo.http("GET", "/kv/a", "").body,
        "2",
        "the repetition did nothing"
    );
    let other = solo.http_with("PUT", "/kv/a", &id, "3");
    assert_eq!(other.status, 409, "{other:?}");
    assert_eq!(solo.bodies.len(), 2);
}

#[test]
fn a_named_request_leaves_nothing_in_the_state_but_what_it_wrote() {
    let mut solo = solo();
    let keys = solo.worker.state().keys();
    for n in 0..10 {
        let id = format!("order-{n}");
        solo.http_with("PUT", "/kv/a", &[("coco-request-id", &id)], n.to_string());
    }
    assert_eq!(solo.worker.state().keys(), keys + 1);
}

#[test]
fn participants_write_only_if_the_settings_say_so() {
    let settings = r#"{"participants_may_write":false}"#;
    let mut solo = Solo::new(adapter_kv::machine(), adapter_kv::front(), settings);
    let caller = boundary::CallerIdentity {
        actor: vec![1; 32].into(),
        name: "pat".into(),
        ..Default::default()
    };
    let open = boundary::StreamOpen {
        stream: 9,
        caller: Some(caller),
        remote: String::new(),
    };
    solo.tell(boundary::manager_to_worker::Message::Open(open));
    let answer = solo.bytes(
        9,
        "PUT /kv/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1",
    );
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{answer:?}");
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let long = "k".repeat(1025);
    for (request, status) in [
        ("GET /", 404),
        ("POST /kv/a", 405),
        ("GET /kv/%zz", 400),
        ("GET /kv/%ff", 400),
        ("GET /kv?limit=0", 400),
        ("GET /kv?order=desc", 400),
        ("POST /batch <- {}", 400),
        (r#"POST /batch <- {"commands":[]}"#, 400),
        (
            r#"POST /batch <- {"commands":[{"op":"increment","key":"a"}]}"#,
            400,
        ),
        (&format!("PUT /kv/{long} <- 1"), 400),
    ] {
        let answer = ask(&mut solo(), request);
        assert!(
            answer.starts_with(&format!("{status} {{\"error\":")),
            "{request}: {answer}"
        );
    }
    assert_eq!(solo().http("PUT", "/kv/a", vec![0; 65_537]).status, 413);
    assert_eq!(solo().http("PUT", "/kv/a", vec![0; 65_536]).status, 200);
}

#[test]
fn every_batch_replays_to_the_same_writes() {
    let mut solo = solo();
    solo.http_with("PUT", "/kv/a", &[("coco-request-id", "x")], "1");
    solo.http(
        "POST",
        "/batch",
        r#"{"commands":[{"op":"delete","key":"a"},{"op":"put","key":"b","value":"2"}]}"#,
    );
    solo.http("PUT", "/kv/c", "3");
    let fresh = Solo::new(adapter_kv::machine(), adapter_kv::front(), "");
    let mut follower = fresh.worker;
    for (height, body) in &solo.bodies {
        worker::replay(&*adapter_kv::machine(), follower.state(), body.clone())
            .expect("the leader was honest");
        let apply = boundary::Apply {
            height: *height,
            body: body.clone(),
            ..Default::default()
        };
        let message = Some(boundary::manager_to_worker::Message::Apply(apply));
        follower.handle(
            types::Millis(0),
            boundary::ManagerToWorker { now: 0, message },
            &mut Vec::new(),
        );
    }
    for (domain, _) in solo.worker.state().domains() {
        assert_eq!(
            solo.worker.state().entries(*domain),
            follower.state().entries(*domain)
        );
    }
}

#[test]
fn a_linear_read_without_a_leader_gives_up_and_a_local_one_does_not_need_any() {
    let mut solo = solo();
    solo.http("PUT", "/kv/a", "1");
    solo.leaderless = true;
    let read = "GET /kv/a?consistency=linear HTTP/1.1\r\nhost: x\r\n\r\n";
    solo.open(4, "ada");
    assert_eq!(solo.bytes(4, read), "");
    solo.advance(9_999);
    assert_eq!(solo.received(4), "");
    solo.advance(1);
    assert!(solo.received(4).starts_with(b"HTTP/1.1 503 "));
    assert_eq!(solo.http("GET", "/kv/a", "").body, "1");
}

#[test]
fn a_receipt_is_found_by_place_or_by_the_callers_own_request() {
    let mut solo = solo();
    let named = [("coco-request-id", "order-7")];
    let put = solo.http_with("PUT", "/kv/a", &named, "one");
    assert_eq!(put.status, 200);
    let json = |response: &http1::ClientResponse| -> serde_json::Value {
        serde_json::from_slice(&response.body).expect("JSON")
    };
    let by_place = solo.http("GET", "/receipt/1/0", "");
    let by_request = solo.http("GET", "/receipt/request/order-7", "");
    assert_eq!((by_place.status, by_request.status), (200, 200));
    assert_eq!(by_place.body, by_request.body);
    let receipt = json(&by_place);
    assert_eq!(receipt["receipt"], hex::encode("receipt 1 0"));
    assert_eq!(receipt["claim"]["unit"], json(&put)["unit"]);
    assert_eq!(receipt["claim"]["result"], "00", "it did not exist");
    solo.leaderless = true;
    check_on(
        &mut solo,
        &[
            (
                "GET /receipt/1/0",
                r#"503 {"error":{"kind":"busy","message":"not signed yet"}}"#,
            ),
            (
                "GET /receipt/1/1",
                r#"404 {"error":{"kind":"invalid","message":"the batch has no such transaction"}}"#,
            ),
            (
                "GET /receipt/2/0",
                r#"404 {"error":{"kind":"invalid","message":"there is no such batch"}}"#,
            ),
            (
                "GET /receipt/request/order-8",
                r#"404 {"error":{"kind":"invalid","message":"no request of yours with this id is committed here"}}"#,
            ),
            (
                "GET /receipt/one/0",
                r#"400 {"error":{"kind":"malformed","message":"it is /receipt/<height>/<position> or /receipt/request/<Coco-Request-Id>"}}"#,
            ),
            (
                "PUT /receipt/1/0 <- x",
                r#"405 {"error":{"kind":"malformed","message":"use GET"}}"#,
            ),
        ],
    );
}

#[track_caller]
fn check_on(solo: &mut Solo, script: &[(&str, &str)]) {
    for (request, expected) in script {
        assert_eq!(ask(solo, request), *expected, "{request}");
    }
}
