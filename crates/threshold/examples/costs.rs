//! What each step costs, as medians: `cargo run -p threshold --example costs`.
//!
//! M is the majority of N. Times are of one actor, but "verify" is of all N deals, as each validating
//! node does, and "answer" opens and checks all N shares of one receiver.

#![allow(clippy::disallowed_methods)] // A measurement needs a clock; the crate itself has none.

use std::time::{Duration, Instant};

use crypto::Entropy;
use threshold::{Combiner, Deal, Message, Session, Setup, TransportKey, Wire};
use types::NetworkId;

const ROUNDS: usize = 15;

/// The median of some runs, in milliseconds, with the last result.
fn median<T>(mut run: impl FnMut() -> T) -> (f64, T) {
    let mut times: Vec<Duration> = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        last = Some(run());
        times.push(start.elapsed());
    }
    times.sort();
    (
        times[ROUNDS / 2].as_secs_f64() * 1e3,
        last.expect("there are rounds"),
    )
}

fn main() {
    println!(
        "  N   M |   deal  verify  answer keypart finish+share | encrypt partial combine ms | deal B"
    );
    for n in [3_u8, 5, 10, 25, 50, 64] {
        measure(n / 2 + 1, n);
    }
}

fn measure(m: u8, n: u8) {
    let entropy = &mut Entropy::new(&[n; 32]);
    let keys: Vec<_> = (0..n).map(|_| TransportKey::generate(entropy)).collect();
    let public = keys.iter().map(TransportKey::public).collect();
    let setup = Setup::new(NetworkId::ZERO, 1, m, public).expect("1 <= M <= N <= 64");
    let first = setup.actors().next().expect("N is at least 1");

    let (deal_ms, _) = median(|| Deal::make(&setup, first, entropy));
    let (deals, secrets): (Vec<_>, Vec<_>) = setup
        .actors()
        .map(|i| Deal::make(&setup, i, entropy))
        .map(|(deal, secret)| (Message::Deal(deal).to_bytes(), secret))
        .unzip();
    let (verify_ms, mut session) = median(|| {
        let mut session = Session::new(setup.clone());
        for bytes in &deals {
            let deal = Message::from_bytes(bytes).expect("own encoding");
            assert_eq!(session.apply(deal.sender(), &deal), Ok(None));
        }
        session
    });
    session.close_dealing().expect("all dealt");
    let (answer_ms, _) = median(|| session.answer(&keys[0], entropy).expect("round 2"));
    for key in &keys {
        for message in session.answer(key, entropy).expect("round 2") {
            assert_eq!(session.apply(message.sender(), &message), Ok(None));
        }
    }
    session.close_answers().expect("all answered");
    let (part_ms, _) = median(|| session.key_part(&secrets[0], entropy).expect("round 3"));
    let parts: Vec<_> = secrets
        .iter()
        .map(|s| session.key_part(s, entropy).expect("round 3"))
        .collect();
    let start = Instant::now();
    for part in &parts {
        assert_eq!(session.apply(part.sender(), part), Ok(None));
    }
    let finish_ms = start.elapsed().as_secs_f64() * 1e3;
    let (share_ms, _) = median(|| session.share(&keys[0]).expect("honest dealers"));

    let key = session.key().expect("done");
    let (encrypt_ms, ciphertext) = median(|| key.encrypt(&[1; 32], b"label", entropy));
    let share = session.share(&keys[0]).expect("honest dealers");
    let (partial_ms, _) = median(|| {
        let verified = ciphertext.verify(key, b"label").expect("good");
        share.decrypt(&verified, entropy)
    });
    let verified = ciphertext.verify(key, b"label").expect("good");
    let partials: Vec<_> = keys[..usize::from(m)]
        .iter()
        .map(|k| {
            session
                .share(k)
                .expect("honest dealers")
                .decrypt(&verified, entropy)
        })
        .collect();
    let (combine_ms, _) = median(|| {
        let mut combiner = Combiner::new(verified);
        for partial in &partials {
            combiner.add(partial).expect("good");
        }
        combiner.open().expect("M")
    });
    println!(
        "{n:3} {m:3} | {deal_ms:6.2} {verify_ms:7.2} {answer_ms:7.2} {part_ms:7.2} {:12.2} | {encrypt_ms:7.2} {partial_ms:7.2} {combine_ms:10.2} | {:6}",
        finish_ms + share_ms,
        deals[0].len(),
    );
}
