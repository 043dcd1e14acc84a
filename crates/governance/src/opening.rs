//! The keys of an epoch, opened by M actors: what one actor adds, and what all parts come to. Pure
//! functions of what the ledger records ([`Keys`]), for validating nodes and for offline tools.

use std::collections::BTreeMap;

use crypto::Entropy;
use threshold::{
    ActorIndex, Ciphertext, Combiner, KeyShare, Partial, Secret, TransportKey, Verified,
};
use types::{Digest, Epoch};

use crate::{EpochKey, EpochKeys, EpochRecord, EpochSeal, Keys, SharedKey};

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
        let (_, seal, _) = sealed(records, epoch)?;
        self.parts_of(records, transport, epoch, seal, entropy)
    }

    /// The same for a seal that the ledger may not show yet.
    pub fn parts_of(
        &mut self,
        records: &Keys,
        transport: &TransportKey,
        epoch: Epoch,
        seal: &EpochSeal,
        entropy: &mut Entropy,
    ) -> Option<Parts> {
        let shared = records.shared_by(seal.key)?;
        let share = self.share(shared, seal, transport)?;
        let (session, history) = verified(shared, seal, epoch)?;
        Some((
            share.decrypt(&session, entropy),
            share.decrypt(&history, entropy),
        ))
    }

    /// Of the session key alone, for an auditor: it opens no link to another epoch.
    pub fn session_part(
        &mut self,
        records: &Keys,
        transport: &TransportKey,
        epoch: Epoch,
        entropy: &mut Entropy,
    ) -> Option<Partial> {
        let (_, seal, shared) = sealed(records, epoch)?;
        let share = self.share(shared, seal, transport)?;
        let (session, _) = verified(shared, seal, epoch)?;
        Some(share.decrypt(&session, entropy))
    }

    fn share(
        &mut self,
        shared: &SharedKey,
        seal: &EpochSeal,
        transport: &TransportKey,
    ) -> Option<&KeyShare> {
        if self.0.as_ref().is_none_or(|(key, _)| *key != seal.key) {
            let holder = shared.index_of(&transport.public())?;
            let share = shared.key().share(shared.deals(), holder, transport).ok()?;
            self.0 = Some((seal.key, share));
        }
        self.0.as_ref().map(|(_, share)| share)
    }
}

/// The session key of an epoch from M actors' parts of it, for whoever may have that epoch and no other,
/// and who gave parts that are wrong.
///
/// # Errors
/// How many parts are missing, and who gave wrong ones.
pub fn open_session(
    records: &Keys,
    epoch: Epoch,
    parts: &[Partial],
) -> Result<(Secret, Vec<String>), String> {
    let (_, seal, shared) = sealed(records, epoch).ok_or_else(|| no_seal(epoch))?;
    let (session, _) = verified(shared, seal, epoch).ok_or("the epoch's seal is wrong")?;
    let mut combiner = Combiner::new(session);
    let mut dropped = Vec::new();
    for part in parts {
        if let Err(bad) = combiner.add(part) {
            dropped.push(wrong(shared, bad.holder));
        }
    }
    match combiner.open() {
        Ok(key) => Ok((key, dropped)),
        Err(few) => {
            dropped.push(few.to_string());
            Err(dropped.join("; "))
        }
    }
}

/// Whose part of an epoch's session key this is, if it is right.
///
/// # Errors
/// Why it is not.
pub fn verify_session(records: &Keys, epoch: Epoch, part: &Partial) -> Result<String, String> {
    let (_, seal, shared) = sealed(records, epoch).ok_or_else(|| no_seal(epoch))?;
    let (session, _) = verified(shared, seal, epoch).ok_or("the epoch's seal is wrong")?;
    if part.verify(&session).is_err() {
        return Err(wrong(shared, part.holder()));
    }
    let name = shared.actor(part.holder());
    Ok(name.unwrap_or("nobody").to_owned())
}

fn no_seal(epoch: Epoch) -> String {
    format!("the ledger has no epoch {epoch} that is sealed to the actors")
}

fn wrong(shared: &SharedKey, holder: ActorIndex) -> String {
    let name = shared.actor(holder).unwrap_or("nobody");
    format!("a partial decryption of {name} is wrong: it is dropped")
}

/// Parts that came.
pub struct Opening {
    /// Whose keys are opened.
    pub epoch: Epoch,
    parts: BTreeMap<ActorIndex, Parts>,
}

/// What an opening came to.
pub struct Opened {
    /// They are those of the ledger's record.
    pub keys: EpochKeys,
    /// Whose parts opened them.
    pub by: Vec<String>,
}

impl Opening {
    /// Starts with none.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            parts: BTreeMap::new(),
        }
    }

    /// Actors whose parts have come.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// Takes the parts of one actor; gives the keys when they are enough.
    ///
    /// # Errors
    /// Why the parts, or all of them together, are wrong.
    pub fn add(&mut self, records: &Keys, parts: Parts) -> Result<Option<Opened>, String> {
        let (record, seal, shared) =
            sealed(records, self.epoch).ok_or_else(|| no_seal(self.epoch))?;
        let (session, history) =
            verified(shared, seal, self.epoch).ok_or("the epoch's seal is wrong")?;
        let holder = parts.0.holder();
        let right = parts.1.holder() == holder
            && parts.0.verify(&session).is_ok()
            && parts.1.verify(&history).is_ok();
        if !right {
            return Err(wrong(shared, holder));
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
