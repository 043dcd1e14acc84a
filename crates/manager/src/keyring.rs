//! The secrets of a network that live in a manager's memory: the two keys of each epoch, the network
//! identity key, and what is derived from them.
//!
//! Source: white paper, "Encrypting Persistent State"; `docs/keys.md`. The session key of an epoch
//! seals its entries. The history key opens the link to the epoch before, so that whoever has the
//! keys of one epoch has those of all earlier ones, and an auditor who was given a session key alone
//! has that epoch and no other.

use std::collections::BTreeMap;

use crypto::{Context, Entropy, SigningKey, Zeroizing, derive};
pub use governance::EpochKeys;
use governance::{Dealt, EpochCause, EpochKey, EpochOpening, EpochSeal, Keys, Sealing};
use ledger::SealKeyring;
use types::limits::LEDGER_TIME_SKEW_MS;
use types::{Digest, Epoch, Millis, NetworkId, Term};

use crate::wire::{Left, SessionKey};

/// How long keys are held that M actors can open again. Each opening by them begins one; keys that come
/// from another node have what is left there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// By this node's own time.
    until: Millis,
    /// By the clocks of the hosts.
    ends: Millis,
}

impl Life {
    /// Of keys that M actors opened, or made, just now.
    pub fn begin(now: Millis, clock: Millis, ttl_ms: u64) -> Self {
        Self {
            until: now.plus(ttl_ms),
            ends: clock.plus(ttl_ms),
        }
    }

    /// Of keys that another node gave: never more than is left there, by either clock, nor than the
    /// constitution allows.
    pub fn given(left: Left, now: Millis, clock: Millis, ttl_ms: u64) -> Self {
        let by_clock = left.ends.plus(LEDGER_TIME_SKEW_MS).since(clock);
        let ms = left.ms.min(by_clock).min(ttl_ms);
        Self {
            until: now.plus(ms),
            ends: left.ends.min(clock.plus(ms)),
        }
    }

    /// Shortened where the constitution has come to allow less.
    #[must_use]
    pub fn within(self, now: Millis, clock: Millis, ttl_ms: u64) -> Self {
        Self {
            until: self.until.min(now.plus(ttl_ms)),
            ends: self.ends.min(clock.plus(ttl_ms)),
        }
    }

    /// What is left of it; 0 when it is over.
    pub fn left_ms(&self, now: Millis) -> u64 {
        self.until.since(now)
    }
}

/// The keys of one network.
#[derive(Default)]
pub struct Keyring {
    epochs: BTreeMap<Epoch, EpochKeys>,
    /// The session keys, as the ledger uses them.
    pub seals: SealKeyring,
    /// The key of the certificate that clients pin; from the genesis entry.
    network: Option<SigningKey>,
    /// When the keys are to be forgotten; none while they are not sealed to the actors.
    pub life: Option<Life>,
}

impl Keyring {
    /// Holds the keys of an epoch, in place of any others.
    pub fn insert(&mut self, epoch: Epoch, keys: EpochKeys) {
        self.seals.insert(epoch, keys.session().clone());
        self.epochs.insert(epoch, keys);
    }

    /// What another node gave.
    pub fn given(&mut self, key: &SessionKey) {
        self.insert(key.epoch, EpochKeys::new(&key.key, &key.history));
    }

    pub fn holds(&self, epoch: Epoch) -> bool {
        self.epochs.contains_key(&epoch)
    }

    /// Whether the keys held are those of the ledger's record. Others are forgotten.
    pub fn confirm(&mut self, epoch: Epoch, check: Digest) -> bool {
        let right = self
            .epochs
            .get(&epoch)
            .is_some_and(|keys| keys.check(epoch) == check);
        if !right {
            self.epochs.remove(&epoch);
            self.seals.forget(epoch);
        }
        right
    }

    /// Erases the keys of all epochs; they can be had again from M actors.
    pub fn forget_epochs(&mut self) {
        for epoch in std::mem::take(&mut self.epochs).into_keys() {
            self.seals.forget(epoch);
        }
        self.life = None;
    }

    /// The keys of an epoch, for a node that may have them, with what is left of their life.
    pub fn released(&self, epoch: Epoch, now: Millis) -> Option<SessionKey> {
        let keys = self.epochs.get(&epoch)?;
        Some(SessionKey {
            epoch,
            key: **keys.session(),
            history: **keys.history(),
            life: self.life.map(|life| Left {
                ms: life.left_ms(now),
                ends: life.ends,
            }),
        })
    }

    /// All keys, for a node that reads the ledger from its first entry.
    pub fn released_all(&self, now: Millis) -> Vec<SessionKey> {
        let epochs = self.epochs.keys();
        epochs
            .filter_map(|epoch| self.released(*epoch, now))
            .collect()
    }

    /// How the next epoch begins, with new keys, which are held from now on.
    pub fn open_next(
        &mut self,
        network: NetworkId,
        present: Epoch,
        cause: EpochCause,
        sealing: Sealing<'_>,
        entropy: &mut Entropy,
    ) -> Option<EpochOpening> {
        let before = self.epochs.get(&present)?;
        let epoch = Epoch(present.0 + 1);
        let keys = EpochKeys::generate(entropy);
        let dealt = match &sealing {
            Sealing::Deal { actors, threshold } => Some(
                Dealt::make(network, epoch, actors.clone(), *threshold, entropy)
                    .expect("the constitution's holders and M make a key"),
            ),
            _ => None,
        };
        let made = dealt.as_ref().map(|dealt| {
            dealt
                .shared(network)
                .expect("dealt a line above; the identity is hit with probability 2^-250")
        });
        let shared = match &sealing {
            Sealing::To(shared) => Some(*shared),
            _ => made.as_ref(),
        };
        let seal = shared.map(|shared| {
            let mut encrypt = |key: &[u8; 32], which: EpochKey| {
                shared.key().encrypt(key, &which.label(epoch), entropy)
            };
            EpochSeal {
                key: shared.key().session(),
                session_key: encrypt(keys.session(), EpochKey::Session),
                history_key: encrypt(keys.history(), EpochKey::History),
            }
        });
        let opening = EpochOpening {
            epoch,
            cause,
            link: keys.seal_link(network, epoch, before),
            check: keys.check(epoch),
            seal,
            dealt: dealt.map(Box::new),
        };
        self.insert(epoch, keys);
        Some(opening)
    }

    /// From the keys of an epoch to those of all before it, by the links of the ledger.
    pub fn walk_back(&mut self, network: NetworkId, records: &Keys) {
        let mut missing: Vec<_> = records
            .epochs()
            .iter()
            .map(|record| &record.opening)
            .filter(|opening| !self.holds(Epoch(opening.epoch.0 - 1)))
            .collect();
        // The newest first: each opens the one before.
        while let Some(opening) = missing.pop() {
            let Some(keys) = self.epochs.get(&opening.epoch) else {
                continue;
            };
            if let Some(opened) = keys.open_link(network, opening, records) {
                self.insert(Epoch(opening.epoch.0 - 1), opened);
            }
        }
    }

    pub fn know_network(&mut self, key: SigningKey) {
        self.network = Some(key);
    }

    pub fn network_key(&self) -> Option<&SigningKey> {
        self.network.as_ref()
    }

    /// What a protocol's worker may use for tokens and keyed roots; outlives epochs.
    pub fn worker_key(&self, protocol: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.network
            .as_ref()
            .map(|key| derive(&key.to_scalar(), Context::WorkerKey, &[protocol.as_bytes()]))
    }

    /// The seed of the entropy of one protocol's batches in one term.
    pub fn entropy_seed(
        &self,
        epoch: Epoch,
        term: Term,
        protocol: &str,
    ) -> Option<Zeroizing<[u8; 32]>> {
        let keys = self.epochs.get(&epoch)?;
        Some(derive(
            keys.session(),
            Context::BatchEntropy,
            &[&term.0.to_be_bytes(), protocol.as_bytes()],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1);

    #[test]
    fn a_life_that_was_given_is_never_longer_than_where_it_comes_from() {
        let begun = Life::begin(Millis(100), Millis(5_000), 1_000);
        let left = |now: u64| Left {
            ms: begun.left_ms(Millis(now)),
            ends: begun.ends,
        };
        // Own times of two nodes have nothing to do with one another.
        let given = Life::given(left(700), Millis(90_000), Millis(5_600), 1_000);
        assert_eq!(given.left_ms(Millis(90_000)), 400);
        assert_eq!(given.left_ms(Millis(91_000)), 0);
        // And back: nothing is gained.
        let back = Left {
            ms: given.left_ms(Millis(90_300)),
            ends: given.ends,
        };
        assert_eq!(
            Life::given(back, Millis(1_000), Millis(5_900), 1_000).left_ms(Millis(1_000)),
            100
        );
        // The constitution allows less by now.
        let short = Life::given(left(100), Millis(0), Millis(5_000), 10);
        assert_eq!(short.left_ms(Millis(0)), 10);
        // The giver's host held its clock back: by this node's own, the life is long over.
        let late = Life::given(left(100), Millis(0), Millis(9_000_000), 1_000);
        assert_eq!(late.left_ms(Millis(0)), 0);
        // And the other way round, a clock that is behind lengthens nothing.
        let early = Life::given(left(100), Millis(0), Millis(0), 1_000);
        assert_eq!(early.left_ms(Millis(0)), 1_000);
    }

    #[test]
    fn the_keys_of_an_epoch_open_all_earlier_ones_and_a_session_key_alone_none() {
        let entropy = &mut Entropy::new(&[3; 32]);
        let network = NetworkId([5; 32]);
        let mut leader = Keyring::default();
        leader.insert(Epoch(1), EpochKeys::generate(entropy));
        let openings: Vec<_> = (1..5)
            .map(|e| {
                leader
                    .open_next(
                        network,
                        Epoch(e),
                        EpochCause::Timer,
                        Sealing::Nobody,
                        entropy,
                    )
                    .expect("it holds the present epoch's keys")
            })
            .collect();
        let records = records(&openings);

        let mut late = Keyring::default();
        late.given(&leader.released(Epoch(5), NOW).expect("held"));
        late.walk_back(network, &records);
        for epoch in (1..=5).map(Epoch) {
            let (a, b) = (late.released(epoch, NOW), leader.released(epoch, NOW));
            assert!(a.is_some() && a == b, "epoch {epoch}");
        }

        // An auditor of epoch 4 has its session key and no history key.
        let mut auditor = Keyring::default();
        let mut key = leader.released(Epoch(4), NOW).expect("held");
        key.history = [0; 32];
        auditor.given(&key);
        auditor.walk_back(network, &records);
        assert!(!auditor.holds(Epoch(3)) && !auditor.holds(Epoch(5)));

        // Of another network, nothing opens.
        let mut stranger = Keyring::default();
        stranger.given(&leader.released(Epoch(5), NOW).expect("held"));
        stranger.walk_back(NetworkId([6; 32]), &records);
        assert!(!stranger.holds(Epoch(4)));
    }

    fn records(openings: &[EpochOpening]) -> Keys {
        let records: Vec<_> = openings
            .iter()
            .map(|opening| governance::EpochRecord {
                opening: opening.clone(),
                entry: types::Index(opening.epoch.0),
                time: Millis(1),
            })
            .collect();
        Keys::of_records(records)
    }

    #[test]
    fn keys_that_are_not_those_of_the_record_are_forgotten() {
        let entropy = &mut Entropy::new(&[4; 32]);
        let mut ring = Keyring::default();
        let keys = EpochKeys::generate(entropy);
        let check = keys.check(Epoch(2));
        ring.insert(Epoch(2), keys);
        assert!(ring.confirm(Epoch(2), check));
        ring.insert(Epoch(2), EpochKeys::generate(entropy));
        assert!(!ring.confirm(Epoch(2), check));
        assert!(!ring.holds(Epoch(2)) && !ring.seals.holds(Epoch(2)));
    }
}
