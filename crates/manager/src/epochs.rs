//! Epochs and the keys that the actors make together: what a leader drives, and what a node says for
//! its actor.
//!
//! Source: white paper, "Encrypting Persistent State"; `docs/keys.md`. The ledger is the broadcast
//! channel of a key generation: every message is an entry, and governance follows the session. The
//! leader begins a generation when the actors or their number M change, ends its rounds, and opens an
//! epoch when one is due. Nobody waits for an actor for ever: a round ends [`ROUND_MS`] after it
//! began if enough have spoken.

use governance::{Command, EpochCause, Generation, KeyStep, sign_key_message};
use ledger::Kind;
use threshold::{Awaiting, Deal, DealerSecret, Message, Phase, TransportKey};
use types::{Millis, NodeId};

use crate::Output;
use crate::node::{Node, log};
use crate::order::Proposed;
use crate::wire::PeerMessage;

/// Actors that are slower than this are left out of a round that does not need them.
const ROUND_MS: u64 = 5_000;
/// A generation that is stuck is begun again after this.
const STUCK_MS: u64 = 60_000;
/// What the ledger does not show after this is said again.
const REPEAT_MS: u64 = 2_000;
/// Another node of the same actor waits so long for those before it.
const STAND_IN_MS: u64 = 3_000;

/// What this node does for its actor in a generation.
#[derive(Default)]
pub struct Party {
    /// Its deal, with the secret that stays here.
    dealt: Option<Dealt>,
    /// What it said last, to say it again if the ledger does not show it.
    said: Option<Said>,
}

struct Dealt {
    number: u64,
    deal: Deal,
    secret: DealerSecret,
}

struct Said {
    /// The generation, its round, and whether that is late.
    of: (u64, Phase, bool),
    messages: Vec<Vec<u8>>,
    at: Millis,
}

/// Whether the session still waits for this actor, or for anybody's help with a lost key part.
fn is_awaited(generation: &Generation, transport: &TransportKey) -> bool {
    let me = generation.session().setup().index_of(transport);
    me.is_some_and(|me| match generation.session().awaiting() {
        Awaiting::Deals(missing) | Awaiting::Answers(missing) => missing.contains(&me),
        Awaiting::KeyParts(missing) => !missing.is_empty(),
        Awaiting::Nothing | Awaiting::NewSession => false,
    })
}

impl Node {
    /// The leader's part: the next step of a generation, or the next epoch.
    pub fn lead_keys(&mut self, out: &mut Vec<Output>) {
        let committed = self.order.committed;
        let Some(leading) = self.order.leading.as_ref().filter(|l| l.opened) else {
            return;
        };
        if leading.key_step.is_some_and(|index| index > committed) {
            return;
        }
        // Before anything else is sealed for who has left, or for nobody.
        if !self.state.is_sealed_to_holders() && self.state.keys().due().is_none() {
            return self.open_epoch(EpochCause::Threshold, out);
        }
        if let Some(cause) = self.state.keys().due() {
            return self.open_epoch(cause, out);
        }
        if let Some(step) = self.next_key_step() {
            self.append_key_command(Command::KeyStep(step), out);
        } else if let Some(cause) = self.epoch_cause() {
            self.open_epoch(cause, out);
        }
    }

    /// A command was applied: an epoch that it made due begins with the next entry.
    pub fn lead_due(&mut self, out: &mut Vec<Output>) {
        if self.state.keys().due().is_some() || !self.state.is_sealed_to_holders() {
            self.lead_keys(out);
        }
    }

    fn next_key_step(&self) -> Option<KeyStep> {
        if !self.state.wants_threshold_key() {
            return None;
        }
        let Some(generation) = self.state.keys().generation() else {
            return Some(KeyStep::Begin);
        };
        if self.state.generation_is_outdated() {
            return Some(KeyStep::Begin);
        }
        let session = generation.session();
        let waited = self.clock.since(generation.since());
        let threshold = session.setup().threshold();
        match (session.phase(), session.awaiting()) {
            (Phase::Dealing, Awaiting::Deals(missing)) => {
                let dealt = generation.actors().len() - missing.len();
                let enough = missing.is_empty() || (waited >= ROUND_MS && dealt >= threshold);
                enough.then_some(KeyStep::CloseRound)
            }
            (Phase::Answering, Awaiting::Answers(missing)) => {
                if waited >= STUCK_MS {
                    return Some(KeyStep::Begin);
                }
                let enough = missing.is_empty()
                    || (waited >= ROUND_MS && session.confirmed().len() >= threshold);
                enough.then_some(KeyStep::CloseRound)
            }
            (Phase::Failed, _) => (waited >= ROUND_MS).then_some(KeyStep::Begin),
            _ => (waited >= STUCK_MS).then_some(KeyStep::Begin),
        }
    }

    fn append_key_command(&mut self, command: Command, out: &mut Vec<Output>) {
        let index = self.append_command(Kind::Administrative, command, None, out);
        if let Some(leading) = &mut self.order.leading {
            leading.key_step = index;
        }
    }

    /// Why another epoch is to begin, if it is.
    fn epoch_cause(&self) -> Option<EpochCause> {
        let keys = self.state.keys();
        let record = keys.epoch(self.order.epoch);
        let sealed_by = record.and_then(|r| r.opening.seal.as_ref()).map(|s| s.key);
        if keys.shared().map(|shared| shared.key().session()) != sealed_by {
            return Some(EpochCause::Threshold);
        }
        let began = match record {
            Some(record) => record.time,
            None => self.state.constitution()?.genesis_time_ms,
        };
        let length = self.settings().epoch_length_ms;
        (self.clock.since(began) >= length).then_some(EpochCause::Timer)
    }

    /// The opening entry is the last of its epoch: whoever has left cannot read what follows.
    fn open_epoch(&mut self, cause: EpochCause, out: &mut Vec<Output>) {
        let Some(leading) = &self.order.leading else {
            return;
        };
        // What may change who holds shares, or M, is committed first: the epoch is sealed to those who do then.
        let polls = |p: &Proposed| {
            let command = p.command.as_ref();
            command.is_some_and(|c| {
                matches!(
                    c,
                    Command::Propose(_)
                        | Command::Vote(_)
                        | Command::Withdraw(_)
                        | Command::Expire { .. }
                )
            })
        };
        if leading.in_flight.iter().any(polls) {
            return;
        }
        let present = leading.epoch;
        let sealing = self.state.sealing();
        let opening = self.keyring.open_next(
            self.setup.network,
            present,
            cause,
            sealing,
            &mut self.entropy,
        );
        let Some(opening) = opening else {
            return self.ask_keys(out);
        };
        let epoch = opening.epoch;
        // Ahead of the first entry that is sealed with it, on the same connections.
        self.give_keys_to_all(epoch, out);
        self.append_key_command(Command::OpenEpoch(Box::new(opening)), out);
        if let Some(leading) = &mut self.order.leading {
            leading.epoch = epoch;
        }
        log(
            out,
            4,
            "keys",
            &format!("opening epoch {}: {cause:?}", epoch.0),
        );
    }

    /// What this node's actor has to say in the generation under way.
    pub fn take_part(&mut self, out: &mut Vec<Output>) {
        let (Some(transport), Some(generation)) =
            (self.shares.transport(), self.state.keys().generation())
        else {
            self.party = Party::default();
            return;
        };
        let waited = self.clock.since(generation.since());
        if waited < self.rank() * STAND_IN_MS {
            return;
        }
        let of = (
            generation.number(),
            generation.session().phase(),
            waited >= ROUND_MS,
        );
        let (late, entropy) = (of.2, &mut self.entropy);
        let messages = match self.party.said.take() {
            Some(said) if said.of == of && self.now.since(said.at) < REPEAT_MS => {
                self.party.said = Some(said);
                return;
            }
            Some(said) if said.of == of && !is_awaited(generation, transport) => {
                self.party.said = Some(Said {
                    at: self.now,
                    ..said
                });
                return;
            }
            Some(said) if said.of == of => said.messages,
            _ => {
                let messages = self.party.messages(generation, transport, late, entropy);
                let signed = messages.iter().map(|m| sign_key_message(&self.key, m));
                signed.collect()
            }
        };
        for signed in &messages {
            self.say_for_actor(signed, out);
        }
        self.party.said = Some(Said {
            of,
            messages,
            at: self.now,
        });
    }

    /// How many served nodes of the same owner come before this one.
    fn rank(&self) -> u64 {
        let before = |node: &&governance::Node| node.owner == self.setup.owner && node.id < self.id;
        self.state.served().filter(before).count() as u64 // usize is at most 64 bits
    }

    fn say_for_actor(&mut self, signed: &[u8], out: &mut Vec<Output>) {
        match self.leader() {
            Some(leader) if leader == self.id => self.key_message_came(self.id, signed, out),
            Some(leader) => {
                let message = PeerMessage::KeyMessage(signed.to_vec().into());
                self.send_peer(leader, &message, out);
            }
            None => {}
        }
    }

    /// A node says something for its actor: the leader records it, and governance judges it.
    pub fn key_message_came(&mut self, from: NodeId, signed: &[u8], out: &mut Vec<Output>) {
        let leads = self.order.leading.as_ref().is_some_and(|l| l.opened);
        if !leads
            || signed.len() > KEY_MESSAGE_BYTES_MAX
            || !self.state.takes_key_message(from, signed)
        {
            return;
        }
        let step = KeyStep::Message {
            node: from,
            signed: signed.to_vec(),
        };
        self.append_command(Kind::Administrative, Command::KeyStep(step), None, out);
    }
}

/// A message of a generation with its signature.
pub const KEY_MESSAGE_BYTES_MAX: usize = threshold::MESSAGE_BYTES_MAX + 512;

impl Party {
    /// What the session waits for from this actor, made anew.
    fn messages(
        &mut self,
        generation: &Generation,
        transport: &TransportKey,
        late: bool,
        entropy: &mut crypto::Entropy,
    ) -> Vec<Message> {
        let session = generation.session();
        let Some(me) = session.setup().index_of(transport) else {
            return Vec::new();
        };
        match session.awaiting() {
            Awaiting::Deals(missing) if missing.contains(&me) => {
                let number = generation.number();
                if self.dealt.as_ref().is_none_or(|d| d.number != number) {
                    let (deal, secret) = Deal::make(session.setup(), me, entropy);
                    self.dealt = Some(Dealt {
                        number,
                        deal,
                        secret,
                    });
                }
                let dealt = self.dealt.as_ref().expect("made above");
                vec![Message::Deal(dealt.deal.clone())]
            }
            Awaiting::Answers(missing) if missing.contains(&me) => {
                session.answer(transport, entropy).unwrap_or_default()
            }
            Awaiting::KeyParts(missing) => {
                let mut messages = Vec::new();
                for (dealer, _) in missing {
                    // Of two nodes of one actor, the ledger took the deal of one.
                    let own = self.dealt.as_ref().filter(|dealt| {
                        dealer == me && session.qualified_deals().any(|d| *d == dealt.deal)
                    });
                    let message = match own {
                        Some(dealt) => session.key_part(&dealt.secret, entropy),
                        None if late => session.key_part_share(transport, dealer, entropy),
                        None => continue,
                    };
                    messages.extend(message);
                }
                messages
            }
            _ => Vec::new(),
        }
    }
}
