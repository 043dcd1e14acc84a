//! The published vectors of `vectors/`, made by a second implementation (scripts/threshold_vectors.py).
//!
//! The crate replays the ledger, comes to the same faults, qualified set, key and shares, opens the
//! ciphertext with the other side's partials and with its own, and finds the same u_j.

#[allow(dead_code)] // Each test file takes what it needs.
mod support;

use serde_json::Value;
use support::{actor, entropy};
use threshold::{
    Ciphertext, Combiner, Fault, Message, Partial, Phase, Session, Setup, ThresholdKey,
    TransportKey, Wire,
};
use types::NetworkId;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hexadecimal")
}

fn bytes32(value: &Value) -> [u8; 32] {
    bytes(value).try_into().expect("32 bytes")
}

fn small(value: &Value) -> u8 {
    value
        .as_u64()
        .and_then(|n| n.try_into().ok())
        .expect("a small number")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn check(text: &str) {
    let vector: Value = serde_json::from_str(text).expect("JSON");
    let keys: Vec<_> = list(&vector["transport_keys"])
        .iter()
        .map(|key| {
            let secret = TransportKey::from_bytes(&bytes32(&key["secret"])).expect("a key");
            assert_eq!(*secret.public().bytes(), bytes32(&key["public"]));
            secret
        })
        .collect();
    let setup = Setup::new(
        NetworkId(bytes32(&vector["network"])),
        vector["number"].as_u64().expect("a number"),
        small(&vector["threshold"]),
        keys.iter().map(TransportKey::public).collect(),
    )
    .expect("allowed");
    assert_eq!(setup.session().0, bytes32(&vector["session"]));

    let mut session = Session::new(setup);
    for event in list(&vector["ledger"]) {
        match event["close"].as_str() {
            Some("dealing") => assert_eq!(session.close_dealing(), Ok(Phase::Answering)),
            Some(_) => assert_eq!(session.close_answers(), Ok(Phase::Keying)),
            None => {
                let message = Message::from_bytes(&bytes(&event["message"])).expect("canonical");
                let fault = session
                    .apply(actor(small(&event["from"])), &message)
                    .expect("takes effect");
                let fault = fault.map(|fault| match fault {
                    Fault::BadShare { .. } => "bad dealer",
                    Fault::FalseDispute { .. } => "false dispute",
                    _ => "invalid",
                });
                assert_eq!(fault, event["fault"].as_str());
            }
        }
    }
    let qualified: Vec<_> = list(&vector["qualified"])
        .iter()
        .map(|i| actor(small(i)))
        .collect();
    assert_eq!(session.qualified(), qualified);
    let key = session.key().expect("done");
    assert_eq!(key.to_bytes(), bytes(&vector["key"]));
    assert_eq!(
        ThresholdKey::from_bytes(&bytes(&vector["key"])).as_ref(),
        Ok(key)
    );
    for (j, share) in key.actors().zip(list(&vector["shares"])) {
        // A share is a scalar like a transport key, so g^x_j can be had from outside.
        let share = TransportKey::from_bytes(&bytes32(share)).expect("a scalar");
        assert_eq!(key.verification(j), Some(&share.public()));
    }

    let (label, message) = (bytes(&vector["label"]), bytes32(&vector["message"]));
    let ciphertext = Ciphertext::from_bytes(&bytes(&vector["ciphertext"])).expect("canonical");
    assert_eq!(ciphertext.to_bytes(), bytes(&vector["ciphertext"]));
    let verified = ciphertext.verify(key, &label).expect("good");
    let (mut theirs, mut ours) = (Combiner::new(verified), Combiner::new(verified));
    for bytes in list(&vector["partials"]).iter().map(bytes) {
        let partial = Partial::from_bytes(&bytes).expect("canonical");
        theirs.add(&partial).expect("good");
        let j = partial.holder();
        let share = session
            .share(&keys[usize::from(j.number()) - 1])
            .expect("good shares");
        let own = share.decrypt(&verified, &mut entropy(1));
        let power = 1 + 34 + 1 + 34; // array head, session, holder, u_j: all but the proof
        assert_eq!(own.to_bytes()[..power], bytes[..power]);
        ours.add(&own).expect("good");
    }
    assert_eq!(*theirs.open().expect("M partials").expose(), message);
    assert_eq!(*ours.open().expect("M partials").expose(), message);
}

#[test]
fn one_of_one() {
    check(include_str!("../vectors/one_of_one.json"));
}

#[test]
fn one_of_three() {
    check(include_str!("../vectors/one_of_three.json"));
}

#[test]
fn two_of_three() {
    check(include_str!("../vectors/two_of_three.json"));
}

#[test]
fn four_of_four() {
    check(include_str!("../vectors/four_of_four.json"));
}

#[test]
fn three_of_six_with_faults() {
    check(include_str!("../vectors/three_of_six_with_faults.json"));
}
