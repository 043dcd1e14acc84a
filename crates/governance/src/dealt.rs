//! The threshold key that comes with an epoch while the actors have not made one.
//!
//! Source: `docs/decisions/dealt-keys.md`. A generation takes several rounds, and nobody waits for it: not the
//! first epoch of a network, and not the one that begins when an actor leaves. The leader, which makes
//! the keys of the epoch and so knows them, deals a key to the holders of the constitution in force and
//! seals the epoch with it. Everything is public, and anybody can judge it. The generation that the actors
//! then make is for the same holders, and the next epoch is sealed with that.

use crypto::Entropy;
use minicbor::{Decode, Encode};
use threshold::{Deal, Dealing, Element, Setup};
use types::{Epoch, NetworkId};

use crate::{Refused, SharedKey};

/// Sessions of dealt keys are numbered apart from generations, which are numbered by their entries.
const DEALT: u64 = 1 << 63;

/// A threshold key for one epoch and those that follow under it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Dealt {
    #[n(0)]
    epoch: Epoch,
    #[n(1)]
    threshold: u8,
    /// Who holds shares, in order of index, with its share-transport key.
    #[n(2)]
    actors: Vec<(String, Element)>,
    #[n(3)]
    dealing: Dealing,
}

impl Dealt {
    /// Deals a key for an epoch to these holders.
    ///
    /// # Errors
    /// The holders and M make no key.
    pub fn make(
        network: NetworkId,
        epoch: Epoch,
        actors: Vec<(String, Element)>,
        threshold: u32,
        entropy: &mut Entropy,
    ) -> Result<Self, Refused> {
        let threshold = u8::try_from(threshold).map_err(|_| Refused::KeyRound)?;
        let setup = setup(network, epoch, threshold, &actors)?;
        Ok(Self {
            epoch,
            threshold,
            actors,
            dealing: Dealing::make(&setup, entropy),
        })
    }

    /// The key, if the dealing is right.
    ///
    /// # Errors
    /// Whoever opened the epoch misbehaved.
    pub fn shared(&self, network: NetworkId) -> Result<SharedKey, Refused> {
        let setup = setup(network, self.epoch, self.threshold, &self.actors)?;
        let key = self.dealing.key(&setup).map_err(|_| Refused::EpochSeal)?;
        Ok(SharedKey::of_dealt(self, key))
    }

    /// The epoch that it was dealt with.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// M.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Who holds shares, in order of index, with its share-transport key.
    pub fn actors(&self) -> &[(String, Element)] {
        &self.actors
    }

    pub(crate) fn deal(&self) -> &Deal {
        self.dealing.deal()
    }
}

fn setup(
    network: NetworkId,
    epoch: Epoch,
    threshold: u8,
    actors: &[(String, Element)],
) -> Result<Setup, Refused> {
    let keys = actors.iter().map(|(_, key)| *key).collect();
    Setup::new(network, DEALT | epoch.0, threshold, keys).map_err(Refused::KeySetup)
}

/// To whom an epoch is to be sealed.
#[derive(Debug)]
pub enum Sealing<'a> {
    /// The constitution lists no share-transport keys.
    Nobody,
    /// There is a key of the holders in force.
    To(&'a SharedKey),
    /// There is none: it is dealt with the epoch.
    Deal {
        actors: Vec<(String, Element)>,
        threshold: u32,
    },
}
