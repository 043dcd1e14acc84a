//! Keys that the actors hold together, as the ledger records them: generations of the threshold key,
//! epochs of the session keys, and who was given keys.
//!
//! Source: Coco 2017, "Encrypting Persistent State"; ETHDKG (IACR ePrint 2019/985) for the rounds.
//! All of it is public: a ciphertext opens with the private shares of M actors, and every message of
//! a generation can be judged by whoever has the files. The manager decides when a step is due; what
//! a step does follows here, from the ledger alone.

use crypto::{Context, Hasher, PublicKey, SigningKey};
use minicbor::{Decode, Encode};
use serde::Serialize;
use threshold::{
    ActorIndex, Ciphertext, Deal, Element, Message, Phase, Session, Setup, ThresholdKey, Wire,
};
use types::{Digest, Epoch, Index, Millis, NetworkId, NodeId};

use crate::{Dealt, EpochCause, Refused};

/// A step of a key generation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyStep {
    /// Another generation begins, for the actors of the constitution in force; it takes the place of
    /// one that is under way.
    #[n(0)]
    Begin,
    /// What an actor publishes, through one of its nodes.
    #[n(1)]
    Message {
        #[n(0)]
        node: NodeId,
        /// COSE_Sign1 by the node over a `threshold::Message`.
        #[cbor(n(1), with = "minicbor::bytes")]
        signed: Vec<u8>,
    },
    /// The round ends.
    #[n(2)]
    CloseRound,
}

/// Signs what an actor publishes in a generation with the key of its node.
pub fn sign_key_message(key: &SigningKey, message: &Message) -> Vec<u8> {
    crypto::sign1(key, Context::KeyGeneration, &message.to_bytes())
}

fn verify_key_message(key: &PublicKey, signed: &[u8]) -> Result<Message, Refused> {
    let signed =
        crypto::verify1(key, Context::KeyGeneration, signed).map_err(Refused::MessageSignature)?;
    Message::from_bytes(signed.payload()).map_err(|_| Refused::MessageShape)
}

/// A generation under way.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    network: NetworkId,
    actors: Vec<(String, Element)>,
    /// Everything that changed the session, so that it can be followed again.
    steps: Vec<Applied>,
    session: Session,
    /// Ledger time at which the present round began.
    since: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum Applied {
    #[n(0)]
    Message(#[n(0)] Box<Message>),
    #[n(1)]
    CloseRound,
}

/// What a generation is to a decoder.
#[derive(Encode, Decode)]
struct Written {
    #[n(0)]
    number: u64,
    #[n(1)]
    network: NetworkId,
    #[n(2)]
    threshold: u8,
    #[n(3)]
    actors: Vec<(String, Element)>,
    #[n(4)]
    steps: Vec<Applied>,
    #[n(5)]
    since: Millis,
}

impl Generation {
    fn begin(
        number: u64,
        network: NetworkId,
        threshold: u8,
        actors: Vec<(String, Element)>,
        since: Millis,
    ) -> Result<Self, Refused> {
        let keys = actors.iter().map(|(_, key)| *key).collect();
        let setup = Setup::new(network, number, threshold, keys).map_err(Refused::KeySetup)?;
        Ok(Self {
            number,
            network,
            actors,
            steps: Vec::new(),
            session: Session::new(setup),
            since,
        })
    }

    /// The entry that began it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The state of its messages.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ledger time at which the present round began.
    pub fn since(&self) -> Millis {
        self.since
    }

    /// Who takes part, in order of index, with its share-transport key.
    pub fn actors(&self) -> &[(String, Element)] {
        &self.actors
    }

    /// The actor with this index.
    pub fn actor(&self, index: ActorIndex) -> Option<&str> {
        name_of(&self.actors, index)
    }

    fn message(&mut self, message: Message) -> Result<Option<threshold::Fault>, Refused> {
        let fault = self
            .session
            .apply(message.sender(), &message)
            .map_err(Refused::KeyMessage)?;
        self.steps.push(Applied::Message(Box::new(message)));
        Ok(fault)
    }

    fn close_round(&mut self, time: Millis) -> Result<(), Refused> {
        match self.session.phase() {
            Phase::Dealing => self.session.close_dealing(),
            Phase::Answering => self.session.close_answers(),
            Phase::Keying | Phase::Done | Phase::Failed => return Err(Refused::KeyRound),
        }
        .map_err(Refused::KeyRoundOpen)?;
        self.steps.push(Applied::CloseRound);
        self.since = time;
        Ok(())
    }

    fn written(&self) -> Written {
        Written {
            number: self.number,
            network: self.network,
            threshold: u8::try_from(self.session.setup().threshold()).expect("at most 64"),
            actors: self.actors.clone(),
            steps: self.steps.clone(),
            since: self.since,
        }
    }

    fn read(written: Written) -> Result<Self, Refused> {
        let Written {
            number,
            network,
            threshold,
            actors,
            steps,
            since,
        } = written;
        let mut generation = Self::begin(number, network, threshold, actors, since)?;
        for step in steps {
            match step {
                Applied::Message(message) => {
                    generation.message(*message)?;
                }
                Applied::CloseRound => generation.close_round(since)?,
            }
        }
        Ok(generation)
    }
}

impl PartialEq for Generation {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
            && self.actors == other.actors
            && self.steps == other.steps
            && self.since == other.since
    }
}

impl Eq for Generation {}

impl<C> Encode<C> for Generation {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.written().encode(e, context)
    }
}

impl<'b, C> Decode<'b, C> for Generation {
    fn decode(
        d: &mut minicbor::Decoder<'b>,
        context: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        let written = Written::decode(d, context)?;
        Self::read(written)
            .map_err(|_| minicbor::decode::Error::message("expected the steps of a key generation"))
    }
}

fn name_of(actors: &[(String, Element)], index: ActorIndex) -> Option<&str> {
    let place = usize::from(index.number()) - 1;
    actors.get(place).map(|(name, _)| name.as_str())
}

/// A key that M actors open together: what a generation ended with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SharedKey {
    /// The entry that began its generation.
    #[n(0)]
    number: u64,
    #[n(1)]
    actors: Vec<(String, Element)>,
    #[n(2)]
    key: ThresholdKey,
    /// Of the qualified set: with its share-transport key, each actor has its share again.
    #[n(3)]
    deals: Vec<Deal>,
    /// Made by the leader that opened an epoch, until the actors have made one.
    #[n(4)]
    dealt: bool,
}

impl SharedKey {
    fn of(generation: &Generation) -> Option<Self> {
        Some(Self {
            number: generation.number,
            actors: generation.actors.clone(),
            key: generation.session.key()?.clone(),
            deals: generation.session.qualified_deals().cloned().collect(),
            dealt: false,
        })
    }

    pub(crate) fn of_dealt(dealt: &Dealt, key: ThresholdKey) -> Self {
        Self {
            number: dealt.epoch().0,
            actors: dealt.actors().to_vec(),
            key,
            deals: vec![dealt.deal().clone()],
            dealt: true,
        }
    }

    /// Whether a leader dealt it with an epoch, so that the actors are still to make their own.
    pub fn is_dealt(&self) -> bool {
        self.dealt
    }

    /// Whether it is of these holders and M.
    pub fn is_of(&self, actors: &[(String, Element)], threshold: usize) -> bool {
        self.actors == actors && self.key.threshold() == threshold
    }

    /// The entry that began its generation; of a dealt key the epoch that it was made for.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its public side.
    pub fn key(&self) -> &ThresholdKey {
        &self.key
    }

    /// The deals that shares are made of.
    pub fn deals(&self) -> &[Deal] {
        &self.deals
    }

    /// Who holds shares, in order of index, with its share-transport key.
    pub fn actors(&self) -> &[(String, Element)] {
        &self.actors
    }

    /// The holder with this index.
    pub fn actor(&self, index: ActorIndex) -> Option<&str> {
        name_of(&self.actors, index)
    }

    /// The index of the holder of this share-transport key.
    pub fn index_of(&self, key: &Element) -> Option<ActorIndex> {
        let place = self.actors.iter().position(|(_, k)| k == key)?;
        ActorIndex::new(u8::try_from(place + 1).ok()?)
    }
}

/// The keys of an epoch, encrypted to the actors. See `docs/keys.md` for the two keys.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EpochSeal {
    /// The session of the threshold key.
    #[n(0)]
    pub key: Digest,
    #[n(1)]
    pub session_key: Ciphertext,
    #[n(2)]
    pub history_key: Ciphertext,
}

/// How an epoch begins: `Command::OpenEpoch`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EpochOpening {
    #[n(0)]
    pub epoch: Epoch,
    #[n(1)]
    pub cause: EpochCause,
    /// The two keys of the epoch before, under the history key of this one.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub link: Vec<u8>,
    /// By which whoever has the two keys knows that they are the right ones: [`key_check`].
    #[n(3)]
    pub check: Digest,
    /// None if the constitution lists no share-transport keys.
    #[n(4)]
    pub seal: Option<EpochSeal>,
    /// The threshold key that the epoch is sealed with, if the actors have none yet: it is of the holders of
    /// the constitution in force.
    #[n(5)]
    pub dealt: Option<Box<Dealt>>,
}

/// Longest link: two keys and the overhead of a seal.
const LINK_BYTES_MAX: usize = 128;

/// Which of the two keys of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochKey {
    /// Seals the epoch's entries.
    Session,
    /// Opens the link to the epoch before.
    History,
}

impl EpochKey {
    /// The label of its ciphertext; network and threshold key are bound by the ciphertext itself.
    pub fn label(self, epoch: Epoch) -> Vec<u8> {
        let name: &[u8] = match self {
            Self::Session => b"session key of epoch ",
            Self::History => b"history key of epoch ",
        };
        [name, &epoch.0.to_be_bytes()].concat()
    }
}

/// What [`EpochOpening::check`] is for these keys.
pub fn key_check(epoch: Epoch, session_key: &[u8; 32], history_key: &[u8; 32]) -> Digest {
    Hasher::with(Context::EpochKeyCheck)
        .part(&epoch.0.to_be_bytes())
        .part(session_key)
        .part(history_key)
        .finish()
}

/// An epoch, as it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct EpochRecord {
    #[n(0)]
    pub opening: EpochOpening,
    /// The entry that opened it; the first that is sealed under its key is the next.
    #[n(1)]
    pub entry: Index,
    /// Ledger time of that entry.
    #[n(2)]
    pub time: Millis,
}

/// Keys of an epoch are given to a node, or refused to it. Recorded before anybody gives anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct KeyRelease {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub epoch: Epoch,
    /// Why it is refused; none if it is granted.
    #[n(2)]
    pub refused: Option<String>,
}

/// Longest reason of a refusal in the ledger.
pub const RELEASE_REASON_BYTES_MAX: usize = 256;

/// All that the ledger says of keys.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Keys {
    #[n(0)]
    pub(crate) generation: Option<Generation>,
    /// Oldest first.
    #[n(1)]
    pub(crate) shared: Vec<SharedKey>,
    /// Oldest first; the first epoch has none, since the genesis opens it.
    #[n(2)]
    pub(crate) epochs: Vec<EpochRecord>,
    /// Why a new epoch is due.
    #[n(3)]
    pub(crate) due: Option<EpochCause>,
    /// The last grant of each node: ledger time, and how many in the present hour.
    #[n(4)]
    pub(crate) granted: std::collections::BTreeMap<NodeId, Granted>,
}

/// Grants to one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Granted {
    /// Ledger time at which the count began.
    #[n(0)]
    pub since: Millis,
    #[n(1)]
    pub count: u32,
}

impl Keys {
    /// Of a list of epochs, oldest first: what an offline tool has read.
    pub fn of_records(epochs: Vec<EpochRecord>) -> Self {
        Self {
            epochs,
            ..Self::default()
        }
    }

    /// These keys, and the epochs that entries after them open: as far as each follows the one before and is
    /// sealed to a key that is known by then.
    #[must_use]
    pub fn ahead(
        &self,
        network: NetworkId,
        openings: impl IntoIterator<Item = (Index, EpochOpening)>,
    ) -> Self {
        let mut ahead = Self {
            shared: self.shared.clone(),
            epochs: self.epochs.clone(),
            ..Self::default()
        };
        for (entry, opening) in openings {
            let last = ahead.epochs.last().map_or(Epoch(1), |r| r.opening.epoch);
            if opening.epoch != last.next()
                || ahead.open(network, &opening, entry, Millis::ZERO).is_err()
            {
                break;
            }
        }
        ahead
    }

    /// The generation under way.
    pub fn generation(&self) -> Option<&Generation> {
        self.generation.as_ref()
    }

    /// The newest threshold key.
    pub fn shared(&self) -> Option<&SharedKey> {
        self.shared.last()
    }

    /// The threshold key that a session made.
    pub fn shared_by(&self, session: Digest) -> Option<&SharedKey> {
        self.shared
            .iter()
            .rev()
            .find(|s| s.key.session() == session)
    }

    /// How an epoch was opened; none for the first.
    pub fn epoch(&self, epoch: Epoch) -> Option<&EpochRecord> {
        let place = self
            .epochs
            .binary_search_by_key(&epoch, |record| record.opening.epoch);
        place.ok().map(|place| &self.epochs[place])
    }

    /// Epochs after the first, oldest first.
    pub fn epochs(&self) -> &[EpochRecord] {
        &self.epochs
    }

    /// Why the leader is to open another epoch, if it is.
    pub fn due(&self) -> Option<EpochCause> {
        self.due
    }

    /// Grants to a node within the hour of ledger time before `now`.
    pub fn grants(&self, node: NodeId, now: Millis) -> u32 {
        let granted = self.granted.get(&node).copied().unwrap_or_default();
        if now.since(granted.since) < GRANTS_WITHIN_MS {
            granted.count
        } else {
            0
        }
    }

    pub(crate) fn begin(
        &mut self,
        number: u64,
        network: NetworkId,
        threshold: u32,
        actors: Vec<(String, Element)>,
        time: Millis,
    ) -> Result<(), Refused> {
        let threshold = u8::try_from(threshold).map_err(|_| Refused::KeyRound)?;
        let generation = Generation::begin(number, network, threshold, actors, time)?;
        self.generation = Some(generation);
        Ok(())
    }

    /// A message of an actor; `owner` is that of the node that signed it.
    pub(crate) fn message(
        &mut self,
        owner: &str,
        key: &PublicKey,
        signed: &[u8],
    ) -> Result<Option<threshold::Fault>, Refused> {
        let message = verify_key_message(key, signed)?;
        let generation = self.generation.as_mut().ok_or(Refused::KeyRound)?;
        if generation.actor(message.sender()) != Some(owner) {
            return Err(Refused::KeyMessage(threshold::Refused::NotTheSender));
        }
        let fault = generation.message(message)?;
        self.finish();
        Ok(fault)
    }

    /// Whether a message is of this actor and belongs into the round.
    pub(crate) fn takes(&self, owner: &str, key: &PublicKey, signed: &[u8]) -> bool {
        let (Some(generation), Ok(message)) = (&self.generation, verify_key_message(key, signed))
        else {
            return false;
        };
        let round = match message {
            Message::Deal(_) => Phase::Dealing,
            Message::Ack(_) | Message::Dispute(_) => Phase::Answering,
            Message::KeyPart(_) | Message::KeyPartShare(_) => Phase::Keying,
        };
        generation.actor(message.sender()) == Some(owner)
            && message.session() == generation.session.session()
            && generation.session.phase() == round
    }

    pub(crate) fn close_round(&mut self, time: Millis) -> Result<Phase, Refused> {
        let generation = self.generation.as_mut().ok_or(Refused::KeyRound)?;
        generation.close_round(time)?;
        Ok(generation.session.phase())
    }

    /// A generation that is done becomes a key.
    fn finish(&mut self) {
        if let Some(key) = self.generation.as_ref().and_then(SharedKey::of) {
            self.shared.push(key);
            self.generation = None;
        }
    }

    pub(crate) fn open(
        &mut self,
        network: NetworkId,
        opening: &EpochOpening,
        entry: Index,
        time: Millis,
    ) -> Result<(), Refused> {
        if opening.link.len() > LINK_BYTES_MAX {
            return Err(Refused::EpochSeal);
        }
        let dealt = match &opening.dealt {
            None => None,
            Some(dealt) if dealt.epoch() == opening.epoch => Some(dealt.shared(network)?),
            Some(_) => return Err(Refused::EpochSeal),
        };
        if dealt.is_some() && opening.seal.is_none() {
            return Err(Refused::EpochSeal);
        }
        if let Some(seal) = &opening.seal {
            let shared = match &dealt {
                Some(dealt) if dealt.key.session() == seal.key => dealt,
                Some(_) => return Err(Refused::EpochSeal),
                None => self.shared_by(seal.key).ok_or(Refused::EpochSeal)?,
            };
            let holds = |ciphertext: &Ciphertext, which: EpochKey| {
                let label = which.label(opening.epoch);
                ciphertext.verify(shared.key(), &label).is_ok()
            };
            if !holds(&seal.session_key, EpochKey::Session)
                || !holds(&seal.history_key, EpochKey::History)
            {
                return Err(Refused::EpochSeal);
            }
        }
        self.shared.extend(dealt);
        self.epochs.push(EpochRecord {
            opening: opening.clone(),
            entry,
            time,
        });
        self.due = None;
        Ok(())
    }

    pub(crate) fn released(&mut self, release: &KeyRelease, time: Millis) -> Result<(), Refused> {
        if release
            .refused
            .as_ref()
            .is_some_and(|reason| reason.len() > RELEASE_REASON_BYTES_MAX)
        {
            return Err(Refused::MessageShape);
        }
        if release.refused.is_none() {
            let granted = self.granted.entry(release.node).or_default();
            if time.since(granted.since) < GRANTS_WITHIN_MS {
                granted.count = granted.count.saturating_add(1);
            } else {
                *granted = Granted {
                    since: time,
                    count: 1,
                };
            }
        }
        Ok(())
    }
}

/// The span in which grants are counted.
pub const GRANTS_WITHIN_MS: u64 = 3_600_000;

/// How often a node may be given keys within [`GRANTS_WITHIN_MS`], whatever its time to live is.
pub const GRANTS_MAX: u32 = 240;
