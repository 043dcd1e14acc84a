//! What an actor adds to a session that it follows: its answers, its key part, its private share.
//!
//! Each takes the actor's own secret and the published state, and gives a message to sign and
//! publish. Nothing here changes the session: that happens when the ledger gives the message back.

use crypto::Entropy;

use super::{Phase, Refused, Session};
use crate::deal::DealerSecret;
use crate::dispute::{Ack, Dispute};
use crate::key::KeyShare;
use crate::keypart::{KeyPart, KeyPartShare};
use crate::setup::{ActorIndex, TransportKey};
use crate::wire::Message;

impl Session {
    /// Round 2 of one receiver: opens its share of every deal, acknowledges those that fit and
    /// disputes those that do not.
    ///
    /// # Errors
    /// The key is no actor's here, or it is not round 2.
    pub fn answer(
        &self,
        key: &TransportKey,
        entropy: &mut Entropy,
    ) -> Result<Vec<Message>, NoShare> {
        let receiver = self.setup.index_of(key).ok_or(NoShare::NotAnActor)?;
        if self.phase != Phase::Answering {
            return Err(NoShare::NotNow(self.phase));
        }
        let scope = self.setup.scope();
        let (mut dealers, mut messages) = (Vec::new(), Vec::new());
        for (&dealer, deal) in &self.deals {
            match deal.open(scope, receiver, key) {
                Ok(_) => dealers.push(dealer),
                Err(_) => messages.push(Message::Dispute(Dispute::make(
                    scope, deal, receiver, key, entropy,
                ))),
            }
        }
        messages.push(Message::Ack(Ack {
            session: self.setup.session(),
            receiver,
            dealers,
        }));
        Ok(messages)
    }

    /// Round 3 of one dealer.
    ///
    /// # Errors
    /// The dealer is not qualified, or it is not round 3.
    pub fn key_part(
        &self,
        secret: &DealerSecret,
        entropy: &mut Entropy,
    ) -> Result<Message, NoShare> {
        if self.phase != Phase::Keying {
            return Err(NoShare::NotNow(self.phase));
        }
        let qualified =
            secret.session == self.setup.session() && self.qualified.contains(&secret.dealer);
        let deal = self
            .deals
            .get(&secret.dealer)
            .filter(|_| qualified)
            .ok_or(NoShare::NotQualified)?;
        Ok(Message::KeyPart(KeyPart::make(
            self.setup.scope(),
            deal,
            secret,
            entropy,
        )))
    }

    /// Round 3 of one receiver for a dealer that is given up: M of these stand in for its part.
    ///
    /// # Errors
    /// The key is no actor's here, the dealer is not qualified or dealt badly, or it is not round 3.
    pub fn key_part_share(
        &self,
        key: &TransportKey,
        dealer: ActorIndex,
        entropy: &mut Entropy,
    ) -> Result<Message, NoShare> {
        let receiver = self.setup.index_of(key).ok_or(NoShare::NotAnActor)?;
        let deal = self.unkeyed(dealer).map_err(|refused| match refused {
            Refused::NotNow(phase) => NoShare::NotNow(phase),
            _ => NoShare::NotQualified,
        })?;
        let opened = deal
            .open(self.setup.scope(), receiver, key)
            .map_err(|_| NoShare::BadDealer(dealer))?;
        let share = KeyPartShare::make(self.setup.scope(), deal, receiver, &opened, entropy);
        Ok(Message::KeyPartShare(share))
    }

    /// The actor's private share, from its own key and what was published; also for an actor who was
    /// away all the time.
    ///
    /// # Errors
    /// The key is no actor's here, the session is not done, or a dealer cheated an actor that was
    /// away when disputes counted.
    pub fn share(&self, key: &TransportKey) -> Result<KeyShare, NoShare> {
        let holder = self.setup.index_of(key).ok_or(NoShare::NotAnActor)?;
        let threshold_key = self.key.as_ref().ok_or(NoShare::NotNow(self.phase))?;
        threshold_key.share(self.qualified_deals(), holder, key)
    }
}

/// Nothing can be made with this key now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoShare {
    #[error(
        "the share-transport key is not of an actor of this session: use the key that it started with"
    )]
    NotAnActor,
    #[error("the session is in the phase {0:?}")]
    NotNow(Phase),
    #[error("the dealer is not in the qualified set, or its key part is known")]
    NotQualified,
    #[error("{0} dealt a share that does not fit: dispute it and ask for another session")]
    BadDealer(ActorIndex),
    #[error("the deals are not those that made the threshold key: give all of its qualified set")]
    OtherDeals,
}
