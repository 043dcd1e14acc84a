//! A network of actors around one session, for the tests of this crate.

use crypto::Entropy;
use threshold::{
    ActorIndex, Ciphertext, Deal, DealerSecret, Fault, KeyShare, Message, Partial, Phase, Session,
    Setup, ThresholdKey, TransportKey, Wire,
};
use types::NetworkId;

pub fn actor(j: u8) -> ActorIndex {
    ActorIndex::new(j).expect("from 1 to 64")
}

/// Everybody's secrets, and the session that all of them follow.
pub struct Network {
    pub keys: Vec<TransportKey>,
    pub secrets: Vec<DealerSecret>,
    pub session: Session,
    pub entropy: Entropy,
}

impl Network {
    pub fn new(m: u8, n: u8, seed: u8) -> Self {
        let mut entropy = Entropy::new(&[seed; 32]);
        let keys: Vec<_> = (0..n)
            .map(|_| TransportKey::generate(&mut entropy))
            .collect();
        let public = keys.iter().map(TransportKey::public).collect();
        let setup = Setup::new(NetworkId([7; 32]), 11, m, public).expect("1 <= M <= N <= 64");
        Self {
            keys,
            secrets: Vec::new(),
            session: Session::new(setup),
            entropy,
        }
    }

    pub fn key(&self, j: ActorIndex) -> &TransportKey {
        &self.keys[usize::from(j.number()) - 1]
    }

    /// Through its bytes, as on a ledger.
    pub fn publish(&mut self, message: &Message) -> Option<Fault> {
        let message = Message::from_bytes(&message.to_bytes()).expect("own encoding");
        self.session
            .apply(message.sender(), &message)
            .expect("takes effect")
    }

    pub fn deal(&mut self, dealers: impl IntoIterator<Item = u8>) {
        for i in dealers {
            let (deal, secret) = Deal::make(self.session.setup(), actor(i), &mut self.entropy);
            self.secrets.push(secret);
            assert_eq!(self.publish(&Message::Deal(deal)), None);
        }
    }

    /// The faults that the receivers showed.
    pub fn answer(&mut self, receivers: impl IntoIterator<Item = u8>) -> Vec<Fault> {
        let mut faults = Vec::new();
        for j in receivers {
            let key = &self.keys[usize::from(j) - 1];
            let messages = self
                .session
                .answer(key, &mut self.entropy)
                .expect("in round 2");
            for message in messages {
                faults.extend(self.publish(&message));
            }
        }
        faults
    }

    /// Every qualified dealer but `lost`.
    pub fn reveal(&mut self, lost: &[u8]) {
        for secret in std::mem::take(&mut self.secrets) {
            let Ok(part) = self.session.key_part(&secret, &mut self.entropy) else {
                continue;
            };
            if !lost.contains(&part.sender().number()) {
                assert_eq!(self.publish(&part), None);
            }
        }
    }

    pub fn complete(m: u8, n: u8, seed: u8) -> Self {
        let mut network = Self::new(m, n, seed);
        network.deal(1..=n);
        assert_eq!(network.session.close_dealing(), Ok(Phase::Answering));
        assert_eq!(network.answer(1..=n), []);
        assert_eq!(network.session.close_answers(), Ok(Phase::Keying));
        network.reveal(&[]);
        assert_eq!(network.session.phase(), Phase::Done);
        network
    }

    pub fn threshold_key(&self) -> ThresholdKey {
        let key = self.session.key().expect("done");
        let again = ThresholdKey::from_bytes(&key.to_bytes()).expect("own encoding");
        assert_eq!(&again, key);
        again
    }

    pub fn share(&self, j: u8) -> KeyShare {
        self.session
            .share(self.key(actor(j)))
            .expect("honest dealers")
    }

    pub fn partial(&mut self, j: u8, ciphertext: &Ciphertext, label: &[u8]) -> Partial {
        let key = self.threshold_key();
        let verified = ciphertext.verify(&key, label).expect("good");
        let partial = self.share(j).decrypt(&verified, &mut self.entropy);
        Partial::from_bytes(&partial.to_bytes()).expect("own encoding")
    }
}

/// What these holders open together.
pub fn open(
    network: &mut Network,
    holders: &[u8],
    ciphertext: &Ciphertext,
    label: &[u8],
) -> Result<[u8; 32], usize> {
    let key = network.threshold_key();
    let verified = ciphertext.verify(&key, label).expect("good");
    let partials: Vec<_> = holders
        .iter()
        .map(|&j| network.partial(j, ciphertext, label))
        .collect();
    let mut combiner = threshold::Combiner::new(verified);
    for partial in &partials {
        combiner.add(partial).expect("honest");
    }
    combiner
        .open()
        .map(|secret| *secret.expose())
        .map_err(|few| few.missing)
}

pub fn entropy(seed: u8) -> Entropy {
    Entropy::new(&[seed; 32])
}
