//! A key that one dealer makes for all, without rounds: for what the dealer itself chose and seals.
//!
//! ```text
//! f(z) = sum_k a_k z^k     degree M - 1      one deal, as in round 1
//! Y    = h^a_0                                its key part, as in round 3
//! y    = Y    x_j = f(j)    V_j = g^f(j)      a session of which the qualified set is this one dealer
//! ```
//!
//! The dealer knows a_0 until it is erased, a line after it was chosen. It learns nothing by that: whoever makes
//! a session key and encrypts it to the actors knows that key. What a [`Session`](crate::Session) adds is
//! a key of which nobody ever knew the private part, so that later epochs are sealed without any dealer's
//! having been trusted; so this key is for the time until a session has ended, and for nothing else.
//! Whether each share fits is for its receiver to see, as in round 1; nobody can dispute, since there is no other
//! dealer to go on with. A dealer that deals wrong shares could as well have encrypted a wrong session key.
//!
//! Source: Feldman, FOCS '87 (the deal); Shoup and Gennaro, J. Cryptology 2002, section 4.1 (TDH2 itself is
//! given with a trusted dealer of just this kind).

use core::fmt;

use crypto::Entropy;
use minicbor::{Decode, Encode};

use crate::deal::{BadDeal, Deal};
use crate::key::ThresholdKey;
use crate::keypart::KeyPart;
use crate::setup::{ActorIndex, Setup};

/// What the dealer publishes. Verified by everybody who reads it: [`Dealing::key`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Dealing {
    #[n(0)]
    deal: Deal,
    #[n(1)]
    part: KeyPart,
}

impl Dealing {
    /// Deals to the actors of the setup. The dealer takes no place among them, so the messages of every
    /// dealing name the first.
    pub fn make(setup: &Setup, entropy: &mut Entropy) -> Self {
        let dealer = first();
        // The secret dies here.
        let (deal, secret) = Deal::make(setup, dealer, entropy);
        let part = KeyPart::make(setup.scope(), &deal, &secret, entropy);
        Self { deal, part }
    }

    /// The key that it makes, for all.
    ///
    /// # Errors
    /// The dealer misbehaved.
    pub fn key(&self, setup: &Setup) -> Result<ThresholdKey, BadDealing> {
        self.deal.verify(setup)?;
        let fits = self.deal.dealer == first()
            && self.part.dealer == first()
            && self.part.session == setup.session()
            && self.part.holds(setup.scope(), &self.deal);
        if !fits {
            return Err(BadDealing::Part);
        }
        let public = *self.part.part.point();
        ThresholdKey::of_deals(setup, [&self.deal].into_iter(), public).ok_or(BadDealing::Identity)
    }

    /// What the actors' shares are made of: [`ThresholdKey::share`].
    pub fn deal(&self) -> &Deal {
        &self.deal
    }
}

fn first() -> ActorIndex {
    ActorIndex::new(1).expect("from 1 to 64")
}

/// A dealing that makes no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadDealing {
    Deal(BadDeal),
    Part,
    Identity,
}

impl From<BadDeal> for BadDealing {
    fn from(bad: BadDeal) -> Self {
        Self::Deal(bad)
    }
}

impl fmt::Display for BadDealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deal(bad) => bad.fmt(f),
            Self::Part => f.write_str("the key part does not fit the deal"),
            Self::Identity => f.write_str("a point of the key is the identity"),
        }
    }
}

impl core::error::Error for BadDealing {}

#[cfg(test)]
mod tests {
    use types::NetworkId;

    use super::*;
    use crate::{Combiner, TransportKey};

    fn actors(count: usize, entropy: &mut Entropy) -> (Vec<TransportKey>, Vec<crate::Element>) {
        let keys: Vec<_> = (0..count)
            .map(|_| TransportKey::generate(entropy))
            .collect();
        let public = keys.iter().map(TransportKey::public).collect();
        (keys, public)
    }

    #[test]
    fn any_m_of_the_actors_open_and_fewer_do_not() {
        let entropy = &mut Entropy::new(&[3; 32]);
        for (m, n) in [(1, 1), (1, 3), (2, 3), (3, 3), (3, 5), (64, 64)] {
            let (keys, public) = actors(n, entropy);
            let setup = Setup::new(NetworkId::ZERO, 1, m, public).expect("allowed");
            let dealing = Dealing::make(&setup, entropy);
            let key = dealing.key(&setup).expect("an honest dealing");
            let sealed = key.encrypt(&[7; 32], b"label", entropy);
            let verified = sealed.verify(&key, b"label").expect("its own");
            let parts: Vec<_> = setup
                .actors()
                .zip(&keys)
                .map(|(j, t)| {
                    let share = key.share([dealing.deal()], j, t).expect("its own share");
                    share.decrypt(&verified, entropy)
                })
                .collect();
            let m = usize::from(m);
            for from in 0..=n - m {
                let mut combiner = Combiner::new(verified);
                for (count, part) in parts[from..from + m].iter().enumerate() {
                    assert!(combiner.open().is_err(), "{count} of {m} opened");
                    combiner.add(part).expect("a good part");
                }
                assert_eq!(combiner.open().expect("enough").expose(), &[7; 32]);
            }
        }
    }

    #[test]
    fn who_is_not_among_the_actors_has_no_share() {
        let entropy = &mut Entropy::new(&[4; 32]);
        let (mut keys, public) = actors(4, entropy);
        let left = keys.pop().expect("four");
        let setup = Setup::new(NetworkId::ZERO, 1, 2, public[..3].to_vec()).expect("allowed");
        let dealing = Dealing::make(&setup, entropy);
        let key = dealing.key(&setup).expect("an honest dealing");
        for j in setup.actors() {
            assert!(key.share([dealing.deal()], j, &left).is_err());
        }
    }

    #[test]
    fn a_dealing_is_of_its_setup_and_its_part_of_its_deal() {
        let entropy = &mut Entropy::new(&[5; 32]);
        let (_, public) = actors(3, entropy);
        let setup = Setup::new(NetworkId::ZERO, 1, 2, public.clone()).expect("allowed");
        let dealing = Dealing::make(&setup, entropy);
        let other = Setup::new(NetworkId::ZERO, 2, 2, public).expect("allowed");
        assert_eq!(
            dealing.key(&other),
            Err(BadDealing::Deal(BadDeal::Elsewhere))
        );
        let mut swapped = dealing.clone();
        swapped.part = Dealing::make(&setup, entropy).part;
        assert_eq!(swapped.key(&setup), Err(BadDealing::Part));
        let mut claimed = dealing;
        claimed.part.dealer = ActorIndex::new(2).expect("from 1 to 64");
        assert_eq!(claimed.key(&setup), Err(BadDealing::Part));
    }
}
