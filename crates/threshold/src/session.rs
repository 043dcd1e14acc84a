//! One key generation, followed message by message: a pure function of what the ledger published.
//!
//! ```text
//! Dealing ──close_dealing──▶ Answering ──close_answers──▶ Keying ──last part──▶ Done
//!                                └── fewer than M dealers left ──▶ Failed ◀──┘ (no key comes out)
//! ```
//!
//! Everybody who applies the same messages in the ledger's order and closes the rounds at the same
//! indices has the same qualified set, the same faults and the same key. Source: ETHDKG (IACR
//! ePrint 2019/985). Two rules are stricter than there: the rounds end when the caller says so
//! (ledger time is the caller's), and the answers are closed only when M receivers hold good shares
//! of every qualified dealer, so that no key comes out that nobody can use.
//!
//! Not here: signatures. The caller knows by them who sent a message, and says so.

mod party;

use std::collections::{BTreeMap, BTreeSet};

use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::traits::{Identity, IsIdentity};
use types::Digest;

use crate::deal::{BadDeal, Deal};
use crate::dispute::{Ack, Dispute, Judgement};
use crate::group::Element;
use crate::key::ThresholdKey;
use crate::keypart::{KeyPart, KeyPartShare, interpolate};
use crate::setup::{ActorIndex, Setup};
use crate::wire::Message;

pub use party::NoShare;

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Round 1: actors deal.
    Dealing,
    /// Round 2: receivers acknowledge or dispute.
    Answering,
    /// Round 3: the qualified set is fixed, and its key parts come in.
    Keying,
    /// The key is there.
    Done,
    /// No key will come out: start another session.
    Failed,
}

/// What the session waits for, to tell operators and to decide when to close a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaiting {
    /// Deals of these actors.
    Deals(Vec<ActorIndex>),
    /// Answers of these receivers to some deal that still stands.
    Answers(Vec<ActorIndex>),
    /// Key parts of these dealers; or, for each, so many more receivers' shares of it.
    KeyParts(Vec<(ActorIndex, usize)>),
    /// Nothing: the key is there.
    Nothing,
    /// Another session.
    NewSession,
}

/// What a message, or its sender, proves against an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The deal did not verify; the actor does not deal in this session.
    InvalidDeal { dealer: ActorIndex },
    /// The dealer dealt a share that does not fit, as the receiver showed.
    BadShare {
        dealer: ActorIndex,
        receiver: ActorIndex,
    },
    /// The receiver disputed a share that fits, or with an invalid proof.
    FalseDispute {
        receiver: ActorIndex,
        dealer: ActorIndex,
    },
    /// The key part does not fit the deal.
    InvalidKeyPart { dealer: ActorIndex },
    /// The share of a key part does not fit the deal.
    InvalidKeyPartShare {
        receiver: ActorIndex,
        dealer: ActorIndex,
    },
}

/// The state of one session.
#[derive(Debug)]
pub struct Session {
    setup: Setup,
    phase: Phase,
    dealt: BTreeSet<ActorIndex>,
    deals: BTreeMap<ActorIndex, Deal>,
    acks: BTreeMap<ActorIndex, Vec<ActorIndex>>,
    /// (receiver, dealer)
    disputes: BTreeSet<(ActorIndex, ActorIndex)>,
    faults: BTreeSet<Fault>,
    /// Fixed when the answers close.
    qualified: Vec<ActorIndex>,
    parts: BTreeMap<ActorIndex, Element>,
    part_shares: BTreeMap<ActorIndex, BTreeMap<ActorIndex, RistrettoPoint>>,
    key: Option<ThresholdKey>,
}

impl Session {
    /// Starts with nothing published.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            phase: Phase::Dealing,
            dealt: BTreeSet::new(),
            deals: BTreeMap::new(),
            acks: BTreeMap::new(),
            disputes: BTreeSet::new(),
            faults: BTreeSet::new(),
            qualified: Vec::new(),
            parts: BTreeMap::new(),
            part_shares: BTreeMap::new(),
            key: None,
        }
    }

    /// What it started from.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Dealers in the qualified set; empty before it is fixed.
    pub fn qualified(&self) -> &[ActorIndex] {
        &self.qualified
    }

    /// Every fault so far, each once.
    pub fn faults(&self) -> impl Iterator<Item = Fault> + '_ {
        self.faults.iter().copied()
    }

    /// The key, when the session is done.
    pub fn key(&self) -> Option<&ThresholdKey> {
        self.key.as_ref()
    }

    /// Receivers who have acknowledged every dealer that still stands.
    pub fn confirmed(&self) -> Vec<ActorIndex> {
        let standing = self.standing();
        let all = |acked: &Vec<_>| standing.iter().all(|i| acked.contains(i));
        self.acks
            .iter()
            .filter(|(_, acked)| all(acked))
            .map(|(j, _)| *j)
            .collect()
    }

    /// What is missing.
    pub fn awaiting(&self) -> Awaiting {
        match self.phase {
            Phase::Dealing => Awaiting::Deals(
                self.setup
                    .actors()
                    .filter(|i| !self.dealt.contains(i))
                    .collect(),
            ),
            Phase::Answering => {
                let standing = self.standing();
                let silent = |j: &ActorIndex| {
                    let acked = self.acks.get(j).map_or(&[][..], Vec::as_slice);
                    !standing
                        .iter()
                        .all(|i| acked.contains(i) || self.disputes.contains(&(*j, *i)))
                };
                Awaiting::Answers(self.setup.actors().filter(silent).collect())
            }
            Phase::Keying => {
                let lost = self
                    .qualified
                    .iter()
                    .filter(|i| !self.parts.contains_key(i));
                let have = |i| self.part_shares.get(i).map_or(0, BTreeMap::len);
                Awaiting::KeyParts(
                    lost.map(|i| (*i, self.setup.threshold() - have(i)))
                        .collect(),
                )
            }
            Phase::Done => Awaiting::Nothing,
            Phase::Failed => Awaiting::NewSession,
        }
    }

    /// Applies a message that the ledger published and `sender` signed. `Some` fault: the message is
    /// evidence, and is recorded.
    ///
    /// # Errors
    /// The message has no effect; an honest sender does not send it twice.
    pub fn apply(
        &mut self,
        sender: ActorIndex,
        message: &Message,
    ) -> Result<Option<Fault>, Refused> {
        if message.session() != self.setup.session() {
            return Err(Refused::OtherSession);
        }
        if message.sender() != sender || self.setup.key(sender).is_none() {
            return Err(Refused::NotTheSender);
        }
        let fault = match message {
            Message::Deal(deal) => self.on_deal(deal)?,
            Message::Ack(ack) => self.on_ack(ack)?,
            Message::Dispute(dispute) => self.on_dispute(dispute)?,
            Message::KeyPart(part) => self.on_key_part(part)?,
            Message::KeyPartShare(share) => self.on_key_part_share(share)?,
        };
        self.faults.extend(fault);
        Ok(fault)
    }

    fn on_deal(&mut self, deal: &Deal) -> Result<Option<Fault>, Refused> {
        self.expect(Phase::Dealing)?;
        // The ledger's order decides: whoever deals twice has dealt the first.
        if !self.dealt.insert(deal.dealer) {
            return Err(Refused::Repeated);
        }
        match deal.verify(&self.setup) {
            Ok(()) => {
                self.deals.insert(deal.dealer, deal.clone());
                Ok(None)
            }
            Err(BadDeal::Elsewhere | BadDeal::Shape | BadDeal::Knowledge) => {
                Ok(Some(Fault::InvalidDeal {
                    dealer: deal.dealer,
                }))
            }
        }
    }

    fn on_ack(&mut self, ack: &Ack) -> Result<Option<Fault>, Refused> {
        self.expect(Phase::Answering)?;
        if self.acks.contains_key(&ack.receiver) {
            return Err(Refused::Repeated);
        }
        if !ack.dealers.is_sorted_by(|a, b| a < b)
            || !ack.dealers.iter().all(|i| self.deals.contains_key(i))
        {
            return Err(Refused::NoSuchDeal);
        }
        self.acks.insert(ack.receiver, ack.dealers.clone());
        Ok(None)
    }

    /// A dispute after the answers have closed still names who was wrong, but the qualified set
    /// stays as it is: the key may be in use.
    fn on_dispute(&mut self, dispute: &Dispute) -> Result<Option<Fault>, Refused> {
        let &Dispute {
            receiver, dealer, ..
        } = dispute;
        if self.phase == Phase::Dealing {
            return Err(Refused::NotNow(self.phase));
        }
        let deal = self.deals.get(&dealer).ok_or(Refused::NoSuchDeal)?;
        if !self.disputes.insert((receiver, dealer)) {
            return Err(Refused::Repeated);
        }
        Ok(Some(match dispute.judge(&self.setup, deal) {
            Judgement::BadDealer => Fault::BadShare { dealer, receiver },
            Judgement::FalseDispute => Fault::FalseDispute { receiver, dealer },
        }))
    }

    fn on_key_part(&mut self, part: &KeyPart) -> Result<Option<Fault>, Refused> {
        let deal = self.unkeyed(part.dealer)?;
        if !part.holds(self.setup.scope(), deal) {
            return Ok(Some(Fault::InvalidKeyPart {
                dealer: part.dealer,
            }));
        }
        self.parts.insert(part.dealer, part.part);
        self.finish();
        Ok(None)
    }

    fn on_key_part_share(&mut self, share: &KeyPartShare) -> Result<Option<Fault>, Refused> {
        let &KeyPartShare {
            receiver, dealer, ..
        } = share;
        let deal = self.unkeyed(dealer)?;
        if self
            .part_shares
            .get(&dealer)
            .is_some_and(|shares| shares.contains_key(&receiver))
        {
            return Err(Refused::Repeated);
        }
        if !share.holds(self.setup.scope(), deal) {
            return Ok(Some(Fault::InvalidKeyPartShare { receiver, dealer }));
        }
        // h^0 follows from the commitments: a dealer that dealt a zero cannot be lost for it.
        let zero = |j: &ActorIndex| deal.expected(*j).is_identity();
        let zeros: Vec<_> = match self.part_shares.contains_key(&dealer) {
            true => Vec::new(),
            false => self.setup.actors().filter(zero).collect(),
        };
        let shares = self.part_shares.entry(dealer).or_default();
        shares.extend(zeros.into_iter().map(|j| (j, RistrettoPoint::identity())));
        shares.insert(receiver, *share.share.point());
        if shares.len() == self.setup.threshold() {
            let shares: Vec<_> = shares.iter().map(|(j, share)| (*j, *share)).collect();
            self.parts.insert(dealer, interpolate(&shares));
            self.finish();
        }
        Ok(None)
    }

    fn expect(&self, phase: Phase) -> Result<(), Refused> {
        if self.phase == phase {
            Ok(())
        } else {
            Err(Refused::NotNow(self.phase))
        }
    }

    /// The deal of a qualified dealer whose key part is missing.
    fn unkeyed(&self, dealer: ActorIndex) -> Result<&Deal, Refused> {
        self.expect(Phase::Keying)?;
        if !self.qualified.contains(&dealer) {
            return Err(Refused::NoSuchDeal);
        }
        if self.parts.contains_key(&dealer) {
            return Err(Refused::Repeated);
        }
        Ok(&self.deals[&dealer])
    }

    /// Ends round 1: deals that come later are not in this session.
    ///
    /// # Errors
    /// Fewer than M actors have dealt, and others still may.
    pub fn close_dealing(&mut self) -> Result<Phase, NotYet> {
        assert_eq!(self.phase, Phase::Dealing, "round 1 ends once");
        let missing = self.setup.threshold().saturating_sub(self.deals.len());
        if missing > 0 && self.dealt.len() < self.setup.count() {
            return Err(NotYet::Deals { missing });
        }
        self.phase = if missing > 0 {
            Phase::Failed
        } else {
            Phase::Answering
        };
        Ok(self.phase)
    }

    /// Ends round 2 and fixes the qualified set: valid deals without an upheld dispute.
    ///
    /// # Errors
    /// Fewer than M receivers hold good shares of all of them, so the key might not be usable.
    pub fn close_answers(&mut self) -> Result<Phase, NotYet> {
        assert_eq!(self.phase, Phase::Answering, "round 2 ends once");
        let standing = self.standing();
        if standing.len() < self.setup.threshold() {
            self.phase = Phase::Failed;
            return Ok(self.phase);
        }
        let missing = self
            .setup
            .threshold()
            .saturating_sub(self.confirmed().len());
        if missing > 0 {
            return Err(NotYet::Acks { missing });
        }
        self.qualified = standing;
        self.phase = Phase::Keying;
        Ok(self.phase)
    }

    fn standing(&self) -> Vec<ActorIndex> {
        if !self.qualified.is_empty() {
            return self.qualified.clone();
        }
        let bad = |i: &ActorIndex| {
            self.faults
                .iter()
                .any(|f| matches!(f, Fault::BadShare { dealer, .. } if dealer == i))
        };
        self.deals.keys().filter(|i| !bad(i)).copied().collect()
    }

    /// Makes the key when the last part is there.
    fn finish(&mut self) {
        if self.parts.len() < self.qualified.len() {
            return;
        }
        let public: RistrettoPoint = self.parts.values().map(Element::point).sum();
        let deals = self.qualified.iter().map(|i| &self.deals[i]);
        // Dealers of whom one is honest reach the identity with probability 2^-250; dealers of whom
        // none is may do as they like.
        let Some(key) = ThresholdKey::of_deals(&self.setup, deals, public) else {
            self.phase = Phase::Failed;
            return;
        };
        self.key = Some(key);
        self.phase = Phase::Done;
    }

    /// The deals of the qualified set. Whoever keeps these and the [`ThresholdKey`] can forget the
    /// session: [`ThresholdKey::share`].
    pub fn qualified_deals(&self) -> impl Iterator<Item = &Deal> {
        self.qualified.iter().map(|i| &self.deals[i])
    }

    /// Names the session.
    pub fn session(&self) -> Digest {
        self.setup.session()
    }
}

/// A message without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the message is of another session")]
    OtherSession,
    #[error("the message is not of the actor that signed it")]
    NotTheSender,
    #[error("the message does not belong into the phase {0:?}")]
    NotNow(Phase),
    #[error("the sender has already said this")]
    Repeated,
    #[error("the message is about a deal that does not count in this session")]
    NoSuchDeal,
}

/// A round cannot end yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    #[error("{missing} more deals are needed: wait for further actors")]
    Deals { missing: usize },
    #[error(
        "{missing} more receivers must acknowledge every dealer: wait, or start another session"
    )]
    Acks { missing: usize },
}
