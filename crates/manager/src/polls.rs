//! What members sign and hand in: proposals, ballots, withdrawals. Checked and recorded by the
//! leader, answered when the entry that records it is committed; and events for who waits for them.
//!
//! Source: white paper, "Voting"; DESIGN section 7. Who hands a message in does not matter: it is
//! signed. It is checked here so that nonsense does not get into the ledger, and decided where it is
//! applied, the same on every node.

use bytes::Bytes;
use crypto::sha256;
use governance::{AuditRelease, Command, Fact, Refused, SignedMessage};
use ledger::{Header, Kind};
use serde_json::{Value, json};
use types::{Digest, Millis, NodeId};

use crate::Output;
use crate::administration::{Answer, Asker};
use crate::node::Node;
use crate::sessions::Who;
use crate::wire::PeerMessage;

/// A message that is not recorded by then may still be; its sender is told so.
const RECORD_MS: u64 = 10_000;

/// Longest time that a question for events is held.
pub const EVENTS_WAIT_MS_MAX: u64 = 30_000;

/// Most administrators that wait at a time.
const WAITING_MAX: usize = 1024;

/// Events in one answer.
const EVENTS_MAX: usize = 256;

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    Proposal = 1,
    Ballot = 2,
    Withdrawal = 3,
    Consent = 4,
}

impl Poll {
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Proposal,
            Self::Ballot,
            Self::Withdrawal,
            Self::Consent,
        ]
        .into_iter()
        .find(|poll| *poll as u8 == number)
    }
}

/// Who waits on the administrative channel.
#[derive(Default)]
pub struct Polls {
    waiting: Vec<Waiting>,
}

struct Waiting {
    connection: u64,
    until: Millis,
    what: Awaited,
}

pub enum Awaited {
    /// That the message with this digest is recorded.
    Recorded(Digest),
    /// An event after this one.
    Events(u64),
    /// That this answer to an auditor is recorded.
    AuditParts(AuditRelease),
}

impl Node {
    /// An administrator hands a signed message in.
    pub fn submit(
        &mut self,
        connection: u64,
        poll: Poll,
        body: &Bytes,
        out: &mut Vec<Output>,
    ) -> Answer {
        let digest = sha256(body);
        let message = match SignedMessage::from_cbor(body) {
            Ok(message) => message,
            Err(refused) => return refusal(&refused),
        };
        if self.leads() {
            if let Err(refused) = self.record(poll, &message, out) {
                return refusal(&refused);
            }
        } else if let Some(leader) = self.leader().filter(|leader| *leader != self.id) {
            let message = PeerMessage::Poll {
                poll: poll as u8,
                message: body.clone(),
            };
            self.send_peer(leader, &message, out);
        } else {
            let error = "the network has no leader at the moment: hand it in again";
            return Answer::Now(503, json!({ "error": error }));
        }
        self.wait(connection, RECORD_MS, Awaited::Recorded(digest))
    }

    /// `GET /v1/events`: at once if there are any after `since`, else when there are.
    pub fn events(&mut self, connection: u64, since: u64, wait_ms: u64) -> Answer {
        if wait_ms == 0 || self.state.last_event() > since {
            return Answer::Now(200, self.events_body(since));
        }
        self.wait(
            connection,
            wait_ms.min(EVENTS_WAIT_MS_MAX),
            Awaited::Events(since),
        )
    }

    pub fn wait(&mut self, connection: u64, wait_ms: u64, what: Awaited) -> Answer {
        if self.polls.waiting.len() >= WAITING_MAX {
            let error = "too many administrators wait for this node: ask another, or again later";
            return Answer::Now(503, json!({ "error": error }));
        }
        let until = self.now.plus(wait_ms);
        self.polls.waiting.push(Waiting {
            connection,
            until,
            what,
        });
        Answer::Later
    }

    pub fn leads(&self) -> bool {
        self.order.leading.as_ref().is_some_and(|l| l.opened) && self.serves()
    }

    /// The leader puts a message into the order, unless it is on its way already.
    fn record(
        &mut self,
        poll: Poll,
        message: &SignedMessage,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let now = self.clock.max(self.order.time);
        let command = match poll {
            Poll::Proposal => self.state.propose(message, now),
            Poll::Ballot => self.state.ballot(message, now),
            Poll::Withdrawal => self.state.withdraw(message, now),
            Poll::Consent => self.state.consent(message, now),
        }?;
        let leading = self.order.leading.as_ref().expect("the caller looked");
        let on_its_way = leading
            .in_flight
            .iter()
            .any(|p| p.command.as_ref() == Some(&command));
        if !on_its_way {
            self.append_command(Kind::Administrative, command, None, out);
        }
        Ok(())
    }

    /// Another node's administrator handed a message in there.
    pub fn poll_arrived(&mut self, from: NodeId, poll: u8, message: &Bytes, out: &mut Vec<Output>) {
        let refused = if !self.leads() {
            Some((503, "leadership moved: hand it in again".to_owned()))
        } else {
            match (Poll::from_number(poll), SignedMessage::from_cbor(message)) {
                (Some(poll), Ok(read)) => self
                    .record(poll, &read, out)
                    .err()
                    .map(|refused| (status(&refused), refused.to_string())),
                _ => Some((400, Refused::MessageShape.to_string())),
            }
        };
        if let Some((status, reason)) = refused {
            let digest = sha256(message);
            self.send_peer(
                from,
                &PeerMessage::PollRefused {
                    digest,
                    status,
                    reason,
                },
                out,
            );
        }
    }

    /// The leader does not record what was handed in here.
    pub fn poll_refused(
        &mut self,
        digest: &Digest,
        status: u16,
        reason: &str,
        out: &mut Vec<Output>,
    ) {
        let status = if (400..600).contains(&status) {
            status
        } else {
            500
        };
        self.answer_recorded(digest, status, &json!({ "error": reason }), out);
    }

    /// The leader closes proposals whose time is over.
    pub fn close_polls(&mut self, out: &mut Vec<Output>) {
        let now = self.clock.max(self.order.time);
        if !self.leads() || self.state.next_due().is_none_or(|due| due > now) {
            return;
        }
        let leading = self.order.leading.as_ref().expect("it leads");
        let closing = |c: &Command| matches!(c, Command::Expire { .. });
        if leading
            .in_flight
            .iter()
            .any(|p| p.command.as_ref().is_some_and(closing))
        {
            return;
        }
        if let Some(command) = self.state.due(now) {
            self.append_command(Kind::Administrative, command, None, out);
        }
    }

    /// A command is committed and applied: whoever waits for it, or for events, hears of it.
    pub fn polled(
        &mut self,
        header: &Header,
        command: &Command,
        done: &Result<Vec<Fact>, Refused>,
        out: &mut Vec<Output>,
    ) {
        if self.polls.waiting.is_empty() {
            return;
        }
        if let Command::Propose(recorded)
        | Command::Vote(recorded)
        | Command::Withdraw(recorded)
        | Command::ConsentAudit(recorded) = command
        {
            let digest = sha256(&recorded.message.to_cbor());
            let (status, body) = match done {
                Ok(facts) => (200, self.recorded_body(header, facts)),
                Err(refused) => (status(refused), json!({ "error": refused.to_string() })),
            };
            self.answer_recorded(&digest, status, &body, out);
        }
        let last = self.state.last_event();
        let heard = self.take_waiting(|w| matches!(w.what, Awaited::Events(since) if since < last));
        for waiting in heard {
            let Awaited::Events(since) = waiting.what else {
                continue;
            };
            let body = self.events_body(since);
            self.answer_administrator(waiting.connection, 200, &body, out);
        }
    }

    /// Whoever has waited long enough is told so.
    pub fn tire_of_waiting(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        for waiting in self.take_waiting(|w| w.until <= now) {
            let (status, body) = match waiting.what {
                Awaited::Events(since) => (200, self.events_body(since)),
                Awaited::AuditParts(_) => (
                    503,
                    json!({ "error": "the network did not record the answer in time: ask again" }),
                ),
                Awaited::Recorded(_) => (
                    202,
                    json!({
                        "status": "unknown",
                        "note": "it may still be recorded: look at /v1/proposals, or hand it in again; it counts once",
                    }),
                ),
            };
            self.answer_administrator(waiting.connection, status, &body, out);
        }
    }

    /// A connection is gone, and with it what it waited for.
    pub fn forget_waiting(&mut self, connection: u64) {
        self.polls.waiting.retain(|w| w.connection != connection);
    }

    /// An organisation's sessions end at once.
    pub fn close_actor(&mut self, actor: types::ActorId, out: &mut Vec<Output>) {
        let named = |who: &Who| match who {
            Who::Application { caller, .. } => caller.actor.as_ref() == actor.0.as_slice(),
            Who::Administrator {
                asker: Asker::Actor(caller),
                ..
            } => caller.actor == actor,
            _ => false,
        };
        let ended: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| named(&session.who))
            .map(|(connection, _)| connection)
            .collect();
        for connection in ended {
            self.drop_connection(connection, "a vote ended this actor's sessions", out);
        }
    }

    fn answer_recorded(
        &mut self,
        digest: &Digest,
        status: u16,
        body: &Value,
        out: &mut Vec<Output>,
    ) {
        let answered =
            self.take_waiting(|w| matches!(&w.what, Awaited::Recorded(d) if d == digest));
        for waiting in answered {
            self.answer_administrator(waiting.connection, status, body, out);
        }
    }

    /// Who waits for this answer; one of those that do.
    pub fn take_waiting_audit(&mut self, release: &AuditRelease) -> Option<u64> {
        let waits = |w: &Waiting| matches!(&w.what, Awaited::AuditParts(r) if r == release);
        let place = self.polls.waiting.iter().position(waits)?;
        Some(self.polls.waiting.remove(place).connection)
    }

    fn take_waiting(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        self.polls.waiting.extract_if(.., |w| which(w)).collect()
    }

    fn recorded_body(&self, header: &Header, facts: &[Fact]) -> Value {
        let number = facts.iter().find_map(|fact| match fact {
            Fact::ProposalOpened { number, .. }
            | Fact::Balloted { number, .. }
            | Fact::ProposalClosed { number, .. } => Some(*number),
            _ => None,
        });
        let proposal = number.and_then(|number| self.state.proposal(number));
        json!({
            "entry": header.index,
            "proposal": number,
            "id": proposal.map(|p| p.id),
            "status": proposal.map(|p| json!(p.status)["status"].clone()),
            "constitution": self.state.constitution_version(),
            "facts": facts,
        })
    }

    fn events_body(&self, since: u64) -> Value {
        let events: Vec<_> = self.state.events_since(since).take(EVENTS_MAX).collect();
        let next = events
            .last()
            .map_or(since.min(self.state.last_event()), |e| e.sequence);
        // Older ones are in the ledger only.
        let missed = events.first().is_some_and(|e| e.sequence > since + 1);
        json!({ "events": events, "next": next, "missed": missed })
    }

    /// `GET /v1/proposals`, or one of them.
    pub fn proposals_body(&self, number: Option<u64>) -> Option<Value> {
        let body = |proposal: &governance::Proposal| {
            let mut body = json!(proposal);
            body["tally"] = json!(self.state.tally(proposal));
            body
        };
        match number {
            Some(number) => self.state.proposal(number).map(body),
            None => {
                let proposals: Vec<Value> = self.state.proposals().map(body).collect();
                let version = self.state.constitution_version();
                Some(json!({ "proposals": proposals, "constitution": version }))
            }
        }
    }
}

pub fn refusal(refused: &Refused) -> Answer {
    Answer::Now(status(refused), json!({ "error": refused.to_string() }))
}

/// The status code of a refusal: the message is no message, its signer may not, or it does not fit
/// what is there.
pub fn status(refused: &Refused) -> u16 {
    match refused {
        Refused::MessageShape | Refused::Window | Refused::Title => 400,
        Refused::MessageTooLong => 413,
        Refused::UnknownActor(_)
        | Refused::AgentOnly
        | Refused::MessageSignature(_)
        | Refused::MessageNetwork
        | Refused::NotTheSigner { .. }
        | Refused::MayNotPropose { .. }
        | Refused::NotAMember { .. }
        | Refused::NotTheProposer { .. }
        | Refused::HoldsNoShare { .. }
        | Refused::NoAuditConsent { .. }
        | Refused::AuditEpochs { .. } => 403,
        Refused::UnknownProposal | Refused::NoSuchAudit { .. } => 404,
        Refused::TooManyProposals | Refused::TooManyAuditParts => 429,
        _ => 409,
    }
}
