//! The keys of an epoch, opened by M actors: what one actor adds, and what all parts come to. Pure
//! functions of what the ledger records ([`Keys`]).

use std::collections::BTreeMap;

use crypto::Entropy;
use governance::{EpochKey, EpochRecord, EpochSeal, Keys, SharedKey};
use threshold::{ActorIndex, Ciphertext, Combiner, KeyShare, Partial, TransportKey, Verified};
use types::{Digest, Epoch};

use crate::keyring::EpochKeys;

/// Partial decryptions of the two keys of an epoch, of one actor.
pub type Parts = (Partial, Partial);

/// An actor's private shares of threshold keys: made of the ledger's deals when they are needed.
#[derive(Default)]
pub struct ShareCache(Option<(Digest, KeyShare)>);

impl ShareCache {
    /// What the actor of this share-transport key adds; none if it holds no share, or the epoch is not
    /// sealed.
    pub fn parts(
        &mut self,
        records: &Keys,
        transport: &TransportKey,
        epoch: Epoch,
        entropy: &mut Entropy,
    ) -> Option<Parts> {
        let (_, seal, shared) = sealed(records, epoch)?;
        if self.0.as_ref().is_none_or(|(key, _)| *key != seal.key) {
            let holder = shared.index_of(&transport.public())?;
            let share = shared.key().share(shared.deals(), holder, transport).ok()?;
            self.0 = Some((seal.key, share));
        }
        let (_, share) = self.0.as_ref()?;
        let (session, history) = verified(shared, seal, epoch)?;
        Some((
            share.decrypt(&session, entropy),
            share.decrypt(&history, entropy),
        ))
    }
}

/// Parts that came.
pub struct Opening {
    pub epoch: Epoch,
    parts: BTreeMap<ActorIndex, Parts>,
}

/// What an opening came to.
pub struct Opened {
    pub keys: EpochKeys,
    /// Whose parts opened them.
    pub by: Vec<String>,
}

impl Opening {
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            parts: BTreeMap::new(),
        }
    }

    /// Takes the parts of one actor; gives the keys when they are enough.
    ///
    /// # Errors
    /// Why the parts, or all of them together, are wrong.
    pub fn add(&mut self, records: &Keys, parts: Parts) -> Result<Option<Opened>, String> {
        let (record, seal, shared) =
            sealed(records, self.epoch).ok_or("the ledger has no such sealed epoch")?;
        let (session, history) =
            verified(shared, seal, self.epoch).ok_or("the epoch's seal is wrong")?;
        let holder = parts.0.holder();
        let right = parts.1.holder() == holder
            && parts.0.verify(&session).is_ok()
            && parts.1.verify(&history).is_ok();
        if !right {
            let name = shared.actor(holder).unwrap_or("nobody");
            return Err(format!(
                "a partial decryption of {name} is wrong: it is dropped"
            ));
        }
        self.parts.insert(holder, parts);
        let mut combiners = (Combiner::new(session), Combiner::new(history));
        for (session, history) in self.parts.values() {
            let added = combiners.0.add(session).and(combiners.1.add(history));
            added.map_err(|bad| bad.to_string())?;
        }
        let (Ok(session), Ok(history)) = (combiners.0.open(), combiners.1.open()) else {
            return Ok(None);
        };
        let keys = EpochKeys::new(session.expose(), history.expose());
        if keys.check(self.epoch) != record.opening.check {
            return Err("the actors opened keys that are not those of the ledger".into());
        }
        let named = self.parts.keys().filter_map(|j| shared.actor(*j));
        let by = named.map(str::to_owned).collect();
        Ok(Some(Opened { keys, by }))
    }
}

fn sealed(records: &Keys, epoch: Epoch) -> Option<(&EpochRecord, &EpochSeal, &SharedKey)> {
    let record = records.epoch(epoch)?;
    let seal = record.opening.seal.as_ref()?;
    Some((record, seal, records.shared_by(seal.key)?))
}

fn verified<'a>(
    shared: &'a SharedKey,
    seal: &'a EpochSeal,
    epoch: Epoch,
) -> Option<(Verified<'a>, Verified<'a>)> {
    let verify = |ciphertext: &'a Ciphertext, which: EpochKey| {
        ciphertext.verify(shared.key(), &which.label(epoch)).ok()
    };
    Some((
        verify(&seal.session_key, EpochKey::Session)?,
        verify(&seal.history_key, EpochKey::History)?,
    ))
}
