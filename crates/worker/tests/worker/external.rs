//! Units that wait for a system outside: what leaves, what comes back, and what becomes of them.

use expect_test::expect;
use types::limits::EXTERNAL_REPLY_BYTES_MAX;
use worker::{Body, Mismatch, replay};

use crate::protocol::machine;
use crate::script::{Script, check};

#[test]
fn a_unit_waits_for_its_answer_and_others_go_on() {
    check(
        "
        lead 1 0
        open 5 ada
        inject 7 a ask x what is it &
        inject 7 b put y 1
        commit 1
        inject 7 c put z 1
        reply 1 200 it is six
        commit 2
        commit 3
        get 5 /note/x
        ",
        expect![[r#"
            > lead 1 0
            > open 5 ada
            > inject 7 a ask x what is it &
            > inject 7 b put y 1
            propose 1 at 1000: b
            > commit 1
            call 1: number 0 of a, POST oracle/ask: what is it
            > inject 7 c put z 1
            propose 2 at 1000: c
            > reply 1 200 it is six
            propose 3 at 1000: a
            close call 1
            > commit 2
            > commit 3
            > get 5 /note/x
            5: 200 200 it is six
        "#]],
    );
}

#[test]
fn a_call_leaves_when_what_it_rests_on_is_committed_and_not_before() {
    check(
        "
        lead 1 0
        inject 7 a put key 1 &
        inject 7 b ask-note x key
        commit 1
        ",
        expect![[r#"
            > lead 1 0
            > inject 7 a put key 1 &
            > inject 7 b ask-note x key
            propose 1 at 1000: a
            > commit 1
            call 1: number 0 of b, POST oracle/ask: 1
        "#]],
    );
}

#[test]
fn a_call_that_rests_on_what_is_taken_back_is_made_anew() {
    check(
        "
        lead 1 0
        inject 7 a put key 1 &
        inject 7 b ask-note x key
        rollback 0
        commit 1
        ",
        expect![[r#"
            > lead 1 0
            > inject 7 a put key 1 &
            > inject 7 b ask-note x key
            propose 1 at 1000: a
            > rollback 0
            propose 1 at 1000: a
            > commit 1
            call 2: number 0 of b, POST oracle/ask: 1
        "#]],
    );
}

#[test]
fn what_is_behind_in_the_lane_waits_and_keeps_its_attempts() {
    let mut script = Script::new();
    script.run("lead 1 0");
    let injected: String = (0..30)
        .map(|seq| format!("inject 7 u{seq} lane=ada/{seq} ask x{seq} what &\n"))
        .collect();
    let said = script.run(&format!("{injected} inject 7 other put y 1"));
    assert!(said.ends_with("propose 1 at 1000: other\n"), "{said}");
    let said = script.run("commit 1");
    assert!(said.contains("call 1: number 0 of u0"), "{said}");
    for seq in 0..30u64 {
        let height = seq + 2;
        let said = script.run(&format!("reply {} 200 yes \n commit {height}", seq + 1));
        assert!(
            said.contains(&format!("propose {height} at 1000: u{seq}\n")),
            "{said}"
        );
    }
}

#[test]
fn a_second_call_follows_the_first() {
    check(
        "
        lead 1 0
        inject 7 a ask x what
        reply 1 200 again
        reply 2 404 no
        open 5 ada
        commit 1
        get 5 /note/x
        ",
        expect![[r#"
            > lead 1 0
            > inject 7 a ask x what
            call 1: number 0 of a, POST oracle/ask: what
            > reply 1 200 again
            close call 1
            call 2: number 1 of a, POST oracle/ask: once more
            > reply 2 404 no
            propose 1 at 1000: a
            close call 2
            > open 5 ada
            > commit 1
            > get 5 /note/x
            5: 200 404 no
        "#]],
    );
}

#[test]
fn a_reply_is_whole_when_http_says_so_or_the_server_ends_it() {
    check(
        "
        lead 1 0
        open 5 ada
        inject 7 a ask a x &
        inject 7 b ask b x &
        inject 7 c ask c x
        bytes 1 HTTP/1.1 200 OK|transfer-encoding: chunked||2|ab|
        bytes 1 1|c|0||
        commit 1
        bytes 2 HTTP/1.1 200 OK||until the
        bytes 2  end
        end 2
        commit 2
        bytes 3 HTTP/1.1 200 OK|content-length: 9||short
        end 3
        commit 3
        get 5 /note/a
        get 5 /note/b
        get 5 /note/c
        ",
        expect![[r#"
            > lead 1 0
            > open 5 ada
            > inject 7 a ask a x &
            > inject 7 b ask b x &
            > inject 7 c ask c x
            call 1: number 0 of a, POST oracle/ask: x
            call 2: number 0 of b, POST oracle/ask: x
            call 3: number 0 of c, POST oracle/ask: x
            > bytes 1 HTTP/1.1 200 OK|transfer-encoding: chunked||2|ab|
            > bytes 1 1|c|0||
            propose 1 at 1000: a
            close call 1
            > commit 1
            > bytes 2 HTTP/1.1 200 OK||until the
            > bytes 2  end
            > end 2
            propose 2 at 1000: b
            close call 2
            > commit 2
            > bytes 3 HTTP/1.1 200 OK|content-length: 9||short
            > end 3
            propose 3 at 1000: c
            close call 3
            > commit 3
            > get 5 /note/a
            5: 200 200 abc
            > get 5 /note/b
            5: 200 200 until the end
            > get 5 /note/c
            5: 200 Unreachable
        "#]],
    );
}

#[test]
fn failures_are_outcomes() {
    let mut script = Script::new();
    script.run("lead 1 0 \n open 5 ada");
    let failures = [
        ("fail-call # NOT_ALLOWED", "NotAllowed"),
        ("fail-call # UNREACHABLE", "Unreachable"),
        ("fail-call # UNTRUSTED", "Untrusted"),
        ("fail-call # TIMED_OUT", "TimedOut"),
        ("fail-call # TOO_LARGE", "TooLarge"),
        ("fail-call # BAD_REPLY", "BadReply"),
        ("fail-call # BUSY", "Busy"),
        ("bytes # SSH-2.0-x||", "BadReply"),
        (
            "bytes # HTTP/1.1 200 OK|content-length: 9999999||",
            "BadReply",
        ),
        ("end #", "Unreachable"),
    ];
    for (n, (line, failure)) in (1..).zip(failures) {
        script.run(&format!("inject 7 u{n} ask x what"));
        script.run(&line.replace('#', &n.to_string()));
        let said = script.run(&format!("commit {n} \n get 5 /note/x"));
        assert!(
            said.ends_with(&format!("5: 200 {failure}\n")),
            "{line}: {said}"
        );
    }
}

#[test]
fn a_unit_that_asks_for_something_else_than_before_fails_and_asks_nothing() {
    check(
        "
        lead 1 0
        open 5 ada
        inject 7 a ask-note x key
        inject 7 b put key 2
        commit 1
        reply 1 200 an answer
        commit 2
        get 5 /note/x
        ",
        expect![[r#"
            > lead 1 0
            > open 5 ada
            > inject 7 a ask-note x key
            call 1: number 0 of a, POST oracle/ask: 
            > inject 7 b put key 2
            propose 1 at 1000: b
            > commit 1
            > reply 1 200 an answer
            propose 2 at 1000: a
            close call 1
            > commit 2
            > get 5 /note/x
            5: 200 Changed
        "#]],
    );
}

#[test]
fn who_loses_leadership_calls_no_more_and_the_next_leader_calls_again() {
    check(
        "
        lead 1 0
        open 5 ada
        post 5 a ask x what
        inject 7 b ask y what
        follow 2 leader
        reply 1 200 too late
        lead 3 0
        reply 3 200 in time
        commit 1
        ",
        expect![[r#"
            > lead 1 0
            > open 5 ada
            > post 5 a ask x what
            call 1: number 0 of a, POST oracle/ask: what
            > inject 7 b ask y what
            call 2: number 0 of b, POST oracle/ask: what
            > follow 2 leader
            forward a
            close call 1
            close call 2
            > reply 1 200 too late
            > lead 3 0
            call 3: number 0 of a, POST oracle/ask: what
            > reply 3 200 in time
            propose 1 at 1000: a
            close call 3
            > commit 1
            5: 200 committed 1.0
        "#]],
    );
}

#[test]
fn answers_of_a_batch_that_was_taken_back_are_used_again_in_the_same_term_only() {
    check(
        "
        lead 1 0
        inject 7 a ask x what
        reply 1 200 an answer
        rollback 0
        follow 2 leader
        lead 3 0
        inject 7 a ask x what
        ",
        expect![[r#"
            > lead 1 0
            > inject 7 a ask x what
            call 1: number 0 of a, POST oracle/ask: what
            > reply 1 200 an answer
            propose 1 at 1000: a
            close call 1
            > rollback 0
            propose 1 at 1000: a
            > follow 2 leader
            > lead 3 0
            > inject 7 a ask x what
            call 2: number 0 of a, POST oracle/ask: what
        "#]],
    );
}

#[test]
fn too_many_that_wait_are_told_so() {
    let mut script = Script::new();
    script.run("lead 1 0 \n open 5 ada");
    let injected: String = (0..257)
        .map(|n| format!("inject 7 u{n} ask x{n} what &\n"))
        .collect();
    let said = script.run(&format!("{injected} time 1000"));
    assert_eq!(said.matches("call ").count(), 256);
    assert!(said.contains("propose 1 at 1000: u256\n"), "{said}");
    let said = script.run("commit 1 \n get 5 /note/x256");
    assert!(said.ends_with("5: 200 Busy\n"), "{said}");
}

#[test]
fn a_follower_applies_and_a_validator_replays_without_asking() {
    let mut leader = Script::new();
    leader.run("lead 1 0 \n inject 7 a ask x what \n reply 1 200 again \n reply 2 200 six");
    let body = leader.bodies[&1].clone();
    let read = Body::decode(body.clone()).expect("well-formed");
    assert_eq!(read.units[0].0.answers.len(), 2);
    assert!(read.recorded.is_empty(), "answers are the unit's");
    let state = Script::new();
    let writes = replay(&*machine(), state.worker.state(), body.clone()).expect("equal");
    assert_eq!(kv::WriteSet::decode(read.writes.clone()), Ok(writes));
    let mut follower = Script::new();
    follower.bodies.insert(1, body);
    let said = follower.run("follow 1 leader \n apply 1 \n open 5 ada \n get 5 /note/x");
    assert!(
        said.ends_with("applied 1\n> open 5 ada\n> get 5 /note/x\n5: 200 200 six\n"),
        "{said}"
    );
}

#[test]
fn a_forged_or_missing_answer_is_caught() {
    let forged = |change: fn(&mut Body)| {
        let mut leader = Script::new();
        leader.run("lead 1 0 \n inject 7 a ask x what \n reply 1 200 six");
        let mut body = Body::decode(leader.bodies[&1].clone()).expect("well-formed");
        change(&mut body);
        let writes = kv::WriteSet::decode(body.writes.clone()).expect("well-formed");
        let Body {
            env,
            units,
            claim,
            events,
            recorded,
            ..
        } = &body;
        let body = Body::encode(env, units, claim, events, recorded, &writes);
        replay(&*machine(), Script::new().worker.state(), body)
    };
    assert!(forged(|_| ()).is_ok());
    let missing = forged(|body| body.units[0].0.answers.clear());
    assert_eq!(missing, Err(Mismatch::Suspended { position: 0 }));
    let other = forged(|body| {
        let answer = &mut body.units[0].0.answers[0];
        answer.reply.as_mut().expect("a reply").body = "seven".into();
    });
    assert_eq!(other, Err(Mismatch::Writes));
    let question = forged(|body| body.units[0].0.answers[0].call.body = "why".into());
    assert_eq!(question, Err(Mismatch::Writes), "it becomes a failure");
}

#[test]
fn a_reply_of_the_largest_size_is_taken_whole() {
    let mut script = Script::new();
    script.run("lead 1 0 \n open 5 ada \n inject 7 a ask x what");
    let text = "x".repeat(EXTERNAL_REPLY_BYTES_MAX - 100);
    script.run(&format!("reply 1 200 {text}"));
    let said = script.run("commit 1 \n get 5 /note/x");
    assert!(said.contains(&text));
}
