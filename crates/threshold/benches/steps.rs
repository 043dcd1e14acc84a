//! Each step of a key's life, as `cargo bench -p threshold` measures it.
//!
//! M is the majority of N. Times are of one actor: "verify deals" is of all N deals, as each validating
//! node does, "answer" opens and checks all N shares of one receiver, and "combine" checks M parts.
//! `examples/costs.rs` prints the same as a table.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use crypto::Entropy;
use threshold::{
    Combiner, Deal, DealerSecret, Message, Partial, Session, Setup, TransportKey, Wire,
};
use types::NetworkId;

const SIZES: [u8; 4] = [3, 5, 10, 25];
const LABEL: &[u8] = b"session key of epoch 3";

/// What a generation of N actors published, and its secrets.
struct Made {
    setup: Setup,
    keys: Vec<TransportKey>,
    secrets: Vec<DealerSecret>,
    deals: Vec<Vec<u8>>,
    answers: Vec<Message>,
    parts: Vec<Message>,
}

impl Made {
    fn new(n: u8) -> Self {
        let entropy = &mut Entropy::new(&[n; 32]);
        let keys: Vec<_> = (0..n).map(|_| TransportKey::generate(entropy)).collect();
        let public = keys.iter().map(TransportKey::public).collect();
        let setup = Setup::new(NetworkId::ZERO, 1, n / 2 + 1, public).expect("M of N");
        let dealt: Vec<_> = setup
            .actors()
            .map(|i| Deal::make(&setup, i, entropy))
            .collect();
        let (deals, secrets) = dealt
            .into_iter()
            .map(|(deal, secret)| (Message::Deal(deal).to_bytes(), secret))
            .unzip();
        let mut made = Self {
            setup,
            keys,
            secrets,
            deals,
            answers: Vec::new(),
            parts: Vec::new(),
        };
        let session = made.dealt();
        for key in &made.keys {
            let answers = session.answer(key, entropy).expect("round 2");
            made.answers.extend(answers);
        }
        let session = made.answered();
        for secret in &made.secrets {
            let part = session.key_part(secret, entropy).expect("round 3");
            made.parts.push(part);
        }
        made
    }

    fn dealt(&self) -> Session {
        let mut session = Session::new(self.setup.clone());
        for bytes in &self.deals {
            let deal = Message::from_bytes(bytes).expect("own encoding");
            assert_eq!(session.apply(deal.sender(), &deal), Ok(None));
        }
        session.close_dealing().expect("all dealt");
        session
    }

    fn answered(&self) -> Session {
        let mut session = self.dealt();
        for answer in &self.answers {
            assert_eq!(session.apply(answer.sender(), answer), Ok(None));
        }
        session.close_answers().expect("all answered");
        session
    }

    fn finish(&self, session: &mut Session) {
        for part in &self.parts {
            assert_eq!(session.apply(part.sender(), part), Ok(None));
        }
    }

    fn done(&self) -> Session {
        let mut session = self.answered();
        self.finish(&mut session);
        session
    }
}

fn generation(c: &mut Criterion) {
    let mut group = c.benchmark_group("generation");
    for n in SIZES {
        let made = Made::new(n);
        let entropy = &mut Entropy::new(&[1; 32]);
        let first = made.setup.actors().next().expect("at least one");
        let of = |step: &str| BenchmarkId::new(step, n);
        group.bench_function(of("deal"), |b| {
            b.iter(|| Deal::make(&made.setup, first, entropy));
        });
        group.bench_function(of("verify deals"), |b| b.iter(|| made.dealt()));
        let dealt = made.dealt();
        group.bench_function(of("answer"), |b| {
            b.iter(|| dealt.answer(&made.keys[0], entropy));
        });
        let answered = made.answered();
        group.bench_function(of("key part"), |b| {
            b.iter(|| answered.key_part(&made.secrets[0], entropy));
        });
        group.bench_function(of("finish"), |b| {
            b.iter_batched_ref(
                || made.answered(),
                |session| made.finish(session),
                BatchSize::LargeInput,
            );
        });
        let done = made.done();
        group.bench_function(of("share"), |b| b.iter(|| done.share(&made.keys[0])));
    }
    group.finish();
}

fn encryption(c: &mut Criterion) {
    let mut group = c.benchmark_group("encryption");
    for n in SIZES {
        let session = Made::new(n);
        let (keys, session) = (&session.keys, session.done());
        let key = session.key().expect("done");
        let entropy = &mut Entropy::new(&[2; 32]);
        let of = |step: &str| BenchmarkId::new(step, n);
        group.bench_function(of("encrypt"), |b| {
            b.iter(|| key.encrypt(&[1; 32], LABEL, entropy));
        });
        let ciphertext = key.encrypt(&[1; 32], LABEL, entropy);
        let share = session.share(&keys[0]).expect("honest dealers");
        group.bench_function(of("verify and decrypt in part"), |b| {
            b.iter(|| {
                let verified = ciphertext.verify(key, LABEL).expect("good");
                share.decrypt(&verified, entropy)
            });
        });
        let verified = ciphertext.verify(key, LABEL).expect("good");
        let partials: Vec<Partial> = keys[..key.threshold()]
            .iter()
            .map(|k| {
                session
                    .share(k)
                    .expect("honest dealers")
                    .decrypt(&verified, entropy)
            })
            .collect();
        group.bench_function(of("combine"), |b| {
            b.iter(|| {
                let mut combiner = Combiner::new(verified);
                for partial in &partials {
                    combiner.add(partial).expect("good");
                }
                combiner.open().expect("M of them")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, generation, encryption);
criterion_main!(benches);
