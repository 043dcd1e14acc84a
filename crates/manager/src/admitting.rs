//! A node of the network meets one that is not in its list: only admission is open to that, after its
//! owner's signature and its evidence were found good, and after the admission is committed.
//!
//! Source: white paper, "Adding a VN"; DESIGN sections 6 and 7. The dialogue is drawn in `joining`.

use crypto::{Certificate, PublicKey};
use governance::{Constitution, SignedTuple};
use tee::{Attested, Purpose, report_data};
use types::{Millis, NetworkId, NodeId};

use crate::Output;
use crate::node::{EXIT_REFUSED, EvidenceFor, Node, Phase, log};
use crate::sessions::Who;
use crate::wire::{Credentials, Join, Joined, KeyAsk, Known, PeerMessage, Standing};

impl Node {
    /// A VN that is not in the list speaks: only admission is open to it.
    pub fn stranger(
        &mut self,
        connection: u64,
        key: &PublicKey,
        nonce: Option<[u8; 32]>,
        message: PeerMessage,
        out: &mut Vec<Output>,
    ) {
        match message {
            PeerMessage::Hello(hello) if hello.network != self.setup.network => {
                self.refuse(connection, "this is another network", false, out);
            }
            PeerMessage::Hello(_) if !matches!(self.phase, Phase::Admitted) => {
                self.refuse(
                    connection,
                    "too early: this node is still joining",
                    true,
                    out,
                );
            }
            PeerMessage::Hello(hello) => {
                let mine: [u8; 32] = self.entropy.bytes();
                if let Some(session) = self.sessions.get(connection) {
                    session.who = Who::Stranger {
                        key: *key,
                        nonce: Some(mine),
                    };
                }
                let data = report_data(
                    &self.setup.network,
                    Purpose::Interactive,
                    &self.key.public().fingerprint(),
                    &hello.nonce,
                );
                self.ask_evidence(
                    EvidenceFor::Welcome {
                        connection,
                        nonce: mine,
                    },
                    data,
                    out,
                );
            }
            PeerMessage::Join(join) => match nonce {
                Some(nonce) => self.admit(connection, key, nonce, join, out),
                None => self.refuse(connection, "a join without a hello", false, out),
            },
            message => {
                match &message {
                    PeerMessage::KeysAsk => self.keys_asked_by_stranger(key, None, out),
                    PeerMessage::KeyAsk(KeyAsk { epoch, .. })
                    | PeerMessage::PartialsAsk { epoch } => {
                        self.keys_asked_by_stranger(key, Some(*epoch), out);
                    }
                    _ => {}
                }
                let reason = "this node is not in the VN list: it may only ask for admission";
                self.refuse(connection, reason, false, out);
            }
        }
    }

    fn admit(
        &mut self,
        connection: u64,
        key: &PublicKey,
        nonce: [u8; 32],
        join: Join,
        out: &mut Vec<Output>,
    ) {
        if let Some(former) = self.state.node_by_key(key).filter(|n| !n.is_heard()) {
            let reason = format!(
                "it was node {}, which was removed or replaced; a node that members list again starts anew",
                former.id
            );
            return self.refuse(connection, &reason, false, out);
        }
        // A nonce answers one join.
        if let Some(session) = self.sessions.get(connection) {
            session.who = Who::Stranger {
                key: *key,
                nonce: None,
            };
        }
        let Some(constitution) = self.state.constitution() else {
            return self.refuse(
                connection,
                "this node has not read the ledger yet",
                true,
                out,
            );
        };
        let now = self.order.time.max(self.clock);
        let known = self.node_of(key);
        let tuple = signed_by_owner(constitution, &join.credentials, key, now).and_then(|tuple| {
            // What a vote may mend is told before what it may mend, too: the platform of a node that
            // is not listed yet need not be, either.
            if known.is_none() {
                let listed = self.state.admit(&tuple).map(|_| ());
                listed.map_err(Unfit::refused)?;
            }
            Ok(tuple)
        });
        let tuple = match tuple {
            Ok(tuple) => tuple,
            Err(unfit) => return self.refuse_unfit(connection, &unfit, out),
        };
        if self.is_keyless() {
            // Nobody is admitted before they are opened. Whoever asks takes part in that.
            let reason = "the session keys are gone, and M actors must open them first";
            return self.refuse(connection, reason, true, out);
        }
        // Whose owner signed for a place in the list may know who leads. The leader judges its
        // evidence: this node may not have heard yet of a vote that endorses it. And the leader records
        // who is given keys, and takes in one that was left out when the network restarted.
        if (known.is_none_or(|node| !self.is_fed(node)) || join.keys)
            && !self.order.leading.as_ref().is_some_and(|l| l.opened)
        {
            return match self.leader().and_then(|leader| self.address_of(leader)) {
                Some(address) => self.answer(connection, &PeerMessage::Redirect { address }),
                None => self.refuse(
                    connection,
                    "the network has no leader at the moment",
                    true,
                    out,
                ),
            };
        }
        let verdict = appraise(
            constitution,
            &self.setup.network,
            &join.credentials,
            key,
            Purpose::Join,
            &nonce,
            now,
        );
        let attested = match verdict {
            Ok(attested) => attested,
            Err(unfit) => return self.refuse_unfit(connection, &unfit, out),
        };
        if let Some(node) = known {
            if !self.feeds(node, out) {
                return self.refuse(
                    connection,
                    "another change of the network is under way",
                    true,
                    out,
                );
            }
            if join.keys {
                // Its admission was one grant; it did not hear of that, or is not the one that did.
                let epoch = self.order.epoch;
                if let Err(reason) = self.state.may_have_keys(node, epoch, now) {
                    self.note_refusal(node, epoch, reason, out);
                    return self.refuse(connection, reason, true, out);
                }
                self.note_grant(node, epoch, out);
                self.admitting.insert(node, connection);
                return self.tell_joined(node, out);
            }
            return self.tell_nodes(connection, node, Vec::new(), out);
        }
        if self.order.leading.as_ref().is_some_and(|l| l.changing)
            || self.engine_is_joint()
            || !self.admitting.is_empty()
        {
            return self.refuse(
                connection,
                "another change of the network is under way",
                true,
                out,
            );
        }
        let Credentials {
            evidence,
            endorsements,
            ..
        } = join.credentials;
        let command = self.state.admit(&tuple).and_then(|admission| {
            admission.command(&attested, evidence, endorsements, nonce.to_vec())
        });
        match command {
            Ok(command) => self.propose_admission(connection, command, out),
            Err(refused) => {
                log(out, 2, "join", &format!("a node is refused: {refused}"));
                self.refuse(connection, &refused.to_string(), refused.may_pass(), out);
            }
        }
    }

    /// Whether a leader sends entries to this node.
    fn is_fed(&self, node: NodeId) -> bool {
        let engine = self.engine.as_ref();
        engine.is_some_and(|e| consensus::Engine::configuration(e).contains(node))
    }

    /// Whether an admitted node is part of the configuration, or will be by what this leader proposes:
    /// one whose admission was under way when the network lost its quorum is not.
    fn feeds(&mut self, node: NodeId, out: &mut Vec<Output>) -> bool {
        let Some(leading) = self.order.leading.as_ref().filter(|l| l.opened) else {
            return true;
        };
        let Some(engine) = &self.engine else {
            return true;
        };
        let present = consensus::Engine::configuration(engine);
        if present.contains(node) {
            return true;
        }
        if leading.changing || present.incoming.is_some() {
            return false;
        }
        let mut next = present.clone();
        next.learners.insert(node);
        self.propose_configuration(next, out);
        true
    }

    fn refuse_unfit(&mut self, connection: u64, unfit: &Unfit, out: &mut Vec<Output>) {
        let told = format!("a node is refused: {}", unfit.text);
        log(out, 2, "join", &told);
        self.refuse(connection, &unfit.text, unfit.may_pass, out);
    }

    fn refuse(&mut self, connection: u64, reason: &str, retry: bool, out: &mut Vec<Output>) {
        self.answer(
            connection,
            &PeerMessage::Refused {
                reason: reason.into(),
                retry,
            },
        );
        log(out, 4, "join", reason);
        self.sessions.close(connection, out);
    }

    /// The admission of `node` is committed: give it what it needs to read the ledger.
    pub fn tell_joined(&mut self, node: NodeId, out: &mut Vec<Output>) {
        let Some(connection) = self.admitting.remove(&node) else {
            return;
        };
        let keys = self.keyring.released_all(self.now);
        self.tell_nodes(connection, node, keys, out);
    }

    fn tell_nodes(
        &mut self,
        connection: u64,
        node: NodeId,
        keys: Vec<crate::wire::SessionKey>,
        out: &mut Vec<Output>,
    ) {
        let nodes = self
            .state
            .served()
            .map(|n| Known {
                node: n.id,
                address: n.address.clone(),
                key: n.key,
            })
            .collect();
        let joined = Joined {
            node,
            keys,
            nodes,
            standing: self.standing(),
        };
        self.answer(connection, &PeerMessage::Joined(joined));
        self.sessions.close(connection, out);
    }

    /// This incarnation is admitted: the constitution that its owner approved is or was in force.
    pub fn check_approved(&mut self, out: &mut Vec<Output>) {
        let approved = self.setup.constitution.digest();
        if !self.state.versions().iter().any(|v| v.digest == approved) {
            let reason = "the network admitted this node under constitutions of which its owner approved none";
            self.end(out, EXIT_REFUSED, reason);
        }
    }

    /// How far the network is, as far as this node knows.
    fn standing(&self) -> Standing {
        Standing {
            committed: self.order.committed,
            digest: self.order.last_digest(),
            runs: self.order.runs.as_slice().to_vec(),
            snapshots: self.snapshots.offered(),
            established: self.era.is_established(),
        }
    }
}

/// Why a node is refused, and whether asking again can help.
pub struct Unfit {
    pub text: String,
    pub may_pass: bool,
}

impl Unfit {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            may_pass: false,
        }
    }

    fn refused(refused: governance::Refused) -> Self {
        Self {
            text: refused.to_string(),
            may_pass: refused.may_pass(),
        }
    }
}

/// The tuple of the node that speaks with `key`, signed by an owner that the constitution lists.
pub fn signed_by_owner(
    constitution: &Constitution,
    credentials: &Credentials,
    key: &PublicKey,
    now: Millis,
) -> Result<SignedTuple, Unfit> {
    let chain = credentials
        .owner_chain
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Unfit::new(format!("its owner's certificates: {e}")))?;
    let tuple = SignedTuple::verify(&credentials.tuple, &chain, constitution, now)
        .map_err(Unfit::refused)?;
    if tuple.tuple().key != *key {
        return Err(Unfit::new(
            "its owner signed for another key than the one that it speaks with",
        ));
    }
    Ok(tuple)
}

/// The verdict on a node's evidence.
pub fn appraise(
    constitution: &Constitution,
    network: &NetworkId,
    credentials: &Credentials,
    key: &PublicKey,
    purpose: Purpose,
    challenge: &[u8],
    now: Millis,
) -> Result<Attested, Unfit> {
    let expected = report_data(network, purpose, &key.fingerprint(), challenge);
    let attested = tee::appraise(
        &credentials.evidence,
        &credentials.endorsements,
        &constitution.tee,
        &constitution.code,
        &expected,
        now,
    )
    .map_err(|e| Unfit {
        // Clocks are apart: another leader's may be nearer.
        may_pass: matches!(e, tee::Refused::Age { .. }),
        text: format!("its evidence: {e}"),
    })?;
    if attested.code().name != "manager" {
        return Err(Unfit::new("its evidence is of an image that is no manager"));
    }
    Ok(attested)
}
