//! How a node becomes one of the network: founding it, or being admitted.
//!
//! Source: white paper, "Adding a VN"; DESIGN sections 6 and 7. Attestation is mutual: the joiner
//! appraises a node of the network before it sends or accepts anything, and is appraised with a
//! nonce of the node that proposes its admission.
//!
//! ```text
//! joiner                                    node of the network
//!   Hello{network, nonce_j}          ──►
//!                                    ◄──      Welcome{credentials over nonce_j, nonce_n}
//!   (appraises)  Join{credentials over nonce_n} ──►
//!                                    ◄──      Redirect | Refused | (after commit) Joined{keys, nodes}
//! ```

use crypto::PublicKey;
use tee::{Attested, Purpose, report_data};
use types::Millis;

use crate::Output;
use crate::admitting::{appraise, signed_by_owner};
use crate::node::{EXIT_REFUSED, EvidenceFor, Node, Phase, log};
use crate::sessions::Who;
use crate::wire::{Hello, Joined, PeerMessage, Welcome};

const RETRY_MS: u64 = 500;
const ATTEMPT_MS: u64 = 10_000;

/// Several election timeouts: a network that has a leader is heard by then.
const LEADERLESS_MS: u64 = 2_000;

/// A joiner's attempts.
#[derive(Default)]
pub struct Joining {
    attempt: Option<Attempt>,
    /// Which of the configured peers comes next.
    next_peer: usize,
    /// A leader that a node named.
    redirect: Option<String>,
    retry_at: Millis,
    last_reason: String,
    /// Where the attempt under way asks.
    at: Option<String>,
}

struct Attempt {
    connection: u64,
    nonce: [u8; 32],
    until: Millis,
    /// Whoever answers has proved to be a node of the network.
    appraised: bool,
}

impl Node {
    /// A joiner tries the next peer when nothing is under way.
    pub fn join_tick(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        self.ask_again(out);
        let Some(joining) = &mut self.joining else {
            return;
        };
        if let Some(attempt) = &joining.attempt {
            if now < attempt.until {
                return;
            }
            let connection = attempt.connection;
            joining.failed(now, "no answer in time");
            self.sessions.close(connection, out);
            return;
        }
        if now < joining.retry_at {
            return;
        }
        let address = joining.redirect.take().unwrap_or_else(|| {
            let peers = &self.setup.peers;
            joining.next_peer = (joining.next_peer + 1) % peers.len().max(1);
            peers.get(joining.next_peer).cloned().unwrap_or_default()
        });
        let connection = self.sessions.dial(&address, Who::ExpectNetwork, out);
        joining.at = Some(address);
        joining.attempt = Some(Attempt {
            connection,
            nonce: self.entropy.bytes(),
            until: now.plus(ATTEMPT_MS),
            appraised: false,
        });
    }

    /// A member that hears no leader for long asks any node who the others are: a leader that was
    /// admitted later is a stranger to it, and it would refuse the very messages that say so.
    fn ask_again(&mut self, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Admitted) || self.setup.peers.is_empty() {
            return;
        }
        if self.leader().is_some() {
            self.leader_heard = self.now;
            if let Some(Joining {
                attempt: Some(attempt),
                ..
            }) = self.joining.take()
            {
                self.sessions.close(attempt.connection, out);
            }
        } else if self.joining.is_none() && self.now.since(self.leader_heard) >= LEADERLESS_MS {
            self.leader_heard = self.now;
            self.joining = Some(Joining::default());
        }
    }

    /// The connection to a node of the network stands.
    pub fn greet(&mut self, connection: u64) {
        let Some(Joining {
            attempt: Some(attempt),
            ..
        }) = &self.joining
        else {
            return;
        };
        if attempt.connection == connection {
            let hello = Hello {
                network: self.setup.network,
                nonce: attempt.nonce,
            };
            self.answer(connection, &PeerMessage::Hello(hello));
        }
    }

    /// A joiner's connection ended.
    pub fn sponsor_lost(&mut self, connection: u64) {
        let now = self.now;
        if let Some(joining) = &mut self.joining
            && joining
                .attempt
                .as_ref()
                .is_some_and(|a| a.connection == connection)
        {
            joining.failed(now, "the connection ended");
        }
    }

    /// A message from the node that this one asked for admission.
    pub fn sponsored(
        &mut self,
        connection: u64,
        key: &PublicKey,
        message: PeerMessage,
        out: &mut Vec<Output>,
    ) {
        let now = self.now;
        let Some(joining) = &mut self.joining else {
            return;
        };
        let Some(attempt) = joining
            .attempt
            .as_mut()
            .filter(|a| a.connection == connection)
        else {
            return;
        };
        match message {
            PeerMessage::Welcome(welcome) => {
                let nonce = attempt.nonce;
                match self.appraise_sponsor(key, &welcome, &nonce) {
                    Ok(_) => {
                        if let Some(attempt) =
                            self.joining.as_mut().and_then(|j| j.attempt.as_mut())
                        {
                            attempt.appraised = true;
                        }
                        let data = report_data(
                            &self.setup.network,
                            Purpose::Join,
                            &self.key.public().fingerprint(),
                            &welcome.nonce,
                        );
                        self.ask_evidence(EvidenceFor::Join { connection }, data, out);
                    }
                    Err(reason) => {
                        log(
                            out,
                            1,
                            "join",
                            &format!(
                                "the node this one wants to join through is refused: {reason}"
                            ),
                        );
                        self.abandon(connection, &reason, out);
                    }
                }
            }
            PeerMessage::Redirect { address } => {
                joining.redirect = Some(address);
                self.leader_heard = now;
                joining.attempt = None;
                joining.retry_at = now;
                self.sessions.close(connection, out);
                self.join_tick(out);
            }
            PeerMessage::Refused { reason, retry } => {
                // Of one that runs, only the network's word ends it: it was removed, or its code was.
                if !retry && (matches!(self.phase, Phase::Joining) || attempt.appraised) {
                    return self.end(
                        out,
                        EXIT_REFUSED,
                        &format!("the network refuses this node: {reason}"),
                    );
                }
                if joining.last_reason != reason {
                    log(out, 2, "join", &format!("not yet: {reason}"));
                }
                self.abandon(connection, &reason, out);
            }
            PeerMessage::Joined(joined) => self.joined(connection, joined, out),
            _ => self.abandon(
                connection,
                "a message that does not belong into admission",
                out,
            ),
        }
    }

    fn abandon(&mut self, connection: u64, reason: &str, out: &mut Vec<Output>) {
        let now = self.now;
        self.sessions.close(connection, out);
        if let Some(joining) = &mut self.joining {
            joining.failed(now, reason);
        }
    }

    fn appraise_sponsor(
        &self,
        key: &PublicKey,
        welcome: &Welcome,
        nonce: &[u8],
    ) -> Result<Attested, String> {
        // It may itself have been started under an earlier constitution of the network; what counts is
        // whether it satisfies the one that this node's owner approved.
        let constitution = &self.setup.constitution;
        let tuple = signed_by_owner(constitution, &welcome.credentials, key, self.clock);
        tuple
            .and_then(|_| {
                appraise(
                    constitution,
                    &self.setup.network,
                    &welcome.credentials,
                    key,
                    Purpose::Interactive,
                    nonce,
                    self.clock,
                )
            })
            .map_err(|unfit| {
                format!(
                    "{}. If members have changed the constitution since, look at the one in force \
                     (`coco constitution fetch`), approve it, and start this node with it",
                    unfit.text
                )
            })
    }

    /// The node at this address restarted the network: it admits those that follow it.
    pub fn join_at(&mut self, address: String, out: &mut Vec<Output>) {
        let now = self.now;
        let Some(joining) = &mut self.joining else {
            return;
        };
        if joining.redirect.is_none() && joining.at.as_ref() != Some(&address) {
            joining.redirect = Some(address);
            joining.retry_at = now;
            if let Some(attempt) = joining.attempt.take() {
                self.sessions.close(attempt.connection, out);
            }
        }
    }

    /// Nobody is asked for admission any more.
    pub fn stop_joining(&mut self, out: &mut Vec<Output>) {
        if let Some(attempt) = self.joining.take().and_then(|joining| joining.attempt) {
            self.sessions.close(attempt.connection, out);
        }
    }

    fn joined(&mut self, connection: u64, joined: Joined, out: &mut Vec<Output>) {
        let sponsor = self.sessions.get(connection).and_then(|session| {
            let peer = session.channel.ready()?;
            Some(*peer.chain[0].key())
        });
        if self.engine.is_none()
            && !joined.standing.established
            && !sponsor.is_some_and(|key| self.follows(&key))
        {
            let reason =
                "the network is being restarted by another node than the one that this one follows";
            log(out, 3, "join", reason);
            return self.abandon(connection, reason, out);
        }
        if self.engine.is_none() && joined.keys.is_empty() {
            return self.abandon(connection, "it gives no keys: the leader does", out);
        }
        for key in &joined.keys {
            self.keyring.given(key);
            self.take_life(key.life);
        }
        for known in &joined.nodes {
            self.known.insert(known.key, known.clone());
        }
        self.leader_heard = self.now;
        if self.engine.is_some() {
            self.joining = None;
            self.sessions.close(connection, out);
            return log(
                out,
                4,
                "join",
                "heard again who the nodes of the network are",
            );
        }
        self.end_cold(out);
        if self.order.committed > types::Index::ZERO {
            self.forget_ledger();
        }
        self.name(joined.node);
        match self.restore(joined.standing, out) {
            Ok(()) => {
                self.joining = None;
                self.sessions.close(connection, out);
                log(out, 3, "join", &format!("admitted as node {}", joined.node));
                self.report(out);
            }
            Err(reason) => self.abandon(connection, &reason, out),
        }
    }

    pub fn answer(&mut self, connection: u64, message: &PeerMessage) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.sessions.send(connection, &frame);
    }
}

impl Joining {
    fn failed(&mut self, now: Millis, reason: &str) {
        self.attempt = None;
        self.at = None;
        self.retry_at = now.plus(RETRY_MS);
        self.last_reason = reason.to_owned();
    }
}
