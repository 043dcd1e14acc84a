//! Validation: a batch is executed again, and whoever forged it is caught.

use bytes::Bytes;
use kv::WriteSet;
use worker::{Body, Mismatch, replay};

use crate::protocol::machine;
use crate::script::Script;

/// A batch that used everything that is not deterministic, and a unit among it that was rejected after
/// it had recorded something.
fn batch() -> Bytes {
    let mut leader = Script::new();
    leader.run(
        "lead 1 0 \n inject 7 a dice d & \n inject 7 b fail-dice & \n inject 7 c dice e & \n inject 7 r revert q & \n inject 7 d lane=x/0 add n",
    );
    leader.bodies[&1].clone()
}

fn replayed(body: Bytes) -> Result<WriteSet, Mismatch> {
    replay(&*machine(), Script::new().worker.state(), body)
}

/// The batch with something changed.
fn forged(change: impl FnOnce(&mut Body, &mut WriteSet)) -> Bytes {
    let mut body = Body::decode(batch()).expect("well-formed");
    let mut writes = WriteSet::decode(body.writes.clone()).expect("well-formed");
    change(&mut body, &mut writes);
    Body::encode(
        &body.env,
        &body.units,
        &body.claim,
        &body.events,
        &body.recorded,
        &writes,
    )
}

#[test]
fn what_was_not_deterministic_replays_to_the_same_writes() {
    let body = Body::decode(batch()).expect("well-formed");
    assert_eq!(body.units.len(), 4, "the rejected unit is not part of it");
    assert_eq!(body.recorded.len(), 2, "nor is what it recorded");
    assert_eq!(
        replayed(batch()),
        Ok(WriteSet::decode(body.writes).expect("well-formed"))
    );
}

#[test]
fn every_forgery_is_caught() {
    assert!(replayed(forged(|_, _| {})).is_ok());
    let forgeries: [(Bytes, Mismatch); 9] = [
        (
            forged(|_, writes| writes.0[0].value = Some("more".into())),
            Mismatch::Writes,
        ),
        (
            forged(|_, writes| drop(writes.0.remove(0))),
            Mismatch::Writes,
        ),
        (
            forged(|body, _| body.units[2].1 = "better".into()),
            Mismatch::Receipt { position: 2 },
        ),
        (
            forged(|body, _| body.claim.bytes = "5 units".into()),
            Mismatch::Claim,
        ),
        (forged(|body, _| drop(body.events.pop())), Mismatch::Events),
        (
            forged(|body, _| drop(body.recorded.pop())),
            Mismatch::Record,
        ),
        (
            forged(|body, _| body.recorded.push(body.recorded[0].clone())),
            Mismatch::LeftOver,
        ),
        (forged(|body, _| body.env.entropy[0] ^= 1), Mismatch::Writes),
        (
            forged(|body, _| body.units.push(body.units[3].clone())),
            Mismatch::Rejected { position: 4 },
        ),
    ];
    for (body, mismatch) in forgeries {
        assert_eq!(replayed(body), Err(mismatch));
    }
}

#[test]
fn damaged_bodies_are_refused_and_change_nothing() {
    let body = batch();
    for at in 0..body.len() {
        let mut damaged = body.to_vec();
        damaged[at] ^= 0x80;
        // Whatever it decodes to, it is not this batch (a caller's name alone changes no write of this
        // machine), and nothing panics.
        let _ = replayed(damaged.into());
    }
}

#[test]
fn a_follower_that_cannot_read_a_batch_says_so_and_stays_where_it_is() {
    let mut follower = Script::new();
    follower.bodies.insert(1, batch().slice(..100));
    let transcript = follower.run("follow 1 leader \n apply 1");
    assert!(
        transcript.contains("log batch 1 cannot be applied") && transcript.ends_with("applied 0\n"),
        "{transcript}"
    );
}
