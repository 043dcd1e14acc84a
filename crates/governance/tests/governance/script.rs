//! A network under votes: members by name, every step a line of the transcript with its facts.

use crypto::Context;
use governance::{
    Actor, Ballot, Change, Choice, Command, Constitution, Draft, Fact, Listed, Measured, NodeSlot,
    Proposed, Refused, Role, SignedMessage, State, Window, Withdrawal,
};
use tee::{Platform, Purpose};
use types::{Digest, Index, Millis};

use crate::world::{DAY, Holder, MEASUREMENT, NOW, World, holder, key, voters};

pub const HOUR: u64 = 3_600_000;

/// ada and bob of the world, and three more members; eve is a participant. All nodes run.
pub struct Script {
    pub world: World,
    pub holders: Vec<(String, Holder)>,
    pub state: State,
    /// Every entry, whether it had an effect or not: index, time, command.
    pub entries: Vec<(Index, Millis, Vec<u8>, Vec<u8>)>,
    pub now: Millis,
    pub transcript: String,
    nonce: u128,
}

pub fn slot(owner: &str) -> NodeSlot {
    NodeSlot {
        owner: owner.into(),
        address: format!("{owner}.example:9000"),
    }
}

pub fn slot_at(owner: &str, address: &str) -> NodeSlot {
    NodeSlot {
        owner: owner.into(),
        address: address.into(),
    }
}

pub fn add_actor(holder: &Holder, name: &str, roles: &[Role]) -> Change {
    Change::AddActor(Actor {
        name: name.into(),
        roles: roles.iter().copied().collect(),
        auditor: false,
        certificates: vec![Listed(holder.certificate.clone())],
        share_key: None,
    })
}

/// An image of a manager that nobody has listed.
pub fn image(seed: u8) -> tee::CodeIdentity {
    tee::CodeIdentity {
        name: "manager".into(),
        version: seed.to_string(),
        platform: Platform::Software,
        measurement: vec![seed; 48],
        state: tee::CodeState::Allowed,
    }
}

pub fn measured(measurement: [u8; 48]) -> Measured {
    Measured {
        platform: Platform::Software,
        measurement: measurement.to_vec(),
    }
}

pub fn setting(name: &str, value: u64) -> Change {
    Change::SetSetting {
        name: name.into(),
        value,
    }
}

pub fn rule(name: &str, accepts: &str, when: &str) -> governance::Rule {
    let text = format!("name = {name:?}\naccepts = {accepts:?}\nwhen = {when:?}");
    toml::from_str(&text).expect("a rule")
}

/// Changes nothing that another test looks at.
pub fn harmless() -> Change {
    Change::SetSetting {
        name: "batch_units_max".into(),
        value: 100,
    }
}

impl Script {
    /// Members ada, bob and so many of cat, dan, fay.
    pub fn new(members: usize, set: impl FnOnce(&mut Constitution)) -> Self {
        let mut world = World::new();
        let mut holders = Vec::new();
        for (place, name) in ["cat", "dan", "fay"].iter().enumerate() {
            let seed = 20 + place as u8; // three names
            let holder = holder(name, seed, false, None, vec![]);
            if place + 2 < members {
                world.constitution.actors.push(Actor {
                    name: (*name).into(),
                    roles: [Role::Member].into(),
                    auditor: false,
                    certificates: vec![Listed(holder.certificate.clone())],
                    share_key: None,
                });
            }
            holders.push(((*name).to_owned(), holder));
        }
        set(&mut world.constitution);
        world.constitution.sort();
        world.constitution.validate().expect("the script's own");
        let mut script = Self {
            world,
            holders,
            state: State::new(),
            entries: Vec::new(),
            now: NOW,
            transcript: String::new(),
            nonce: 0,
        };
        let genesis = script.world.genesis();
        script.apply(&genesis).expect("a genesis");
        let mut running = vec![1];
        for (seed, owner) in [(101, "bob"), (102, "eve")] {
            if script
                .world
                .constitution
                .has_slot(owner, &slot(owner).address)
            {
                script.join(owner, seed).expect("listed");
                running.push(running.len() as u64 + 1);
            }
        }
        script
            .apply(&Command::Configure(voters(&running)))
            .expect("they are admitted");
        script
    }

    pub fn holder(&self, name: &str) -> &Holder {
        self.holders
            .iter()
            .find(|(n, _)| n == name)
            .map_or_else(|| self.world.owner(name), |(_, holder)| holder)
    }

    pub fn apply(&mut self, command: &Command) -> Result<Vec<Fact>, Refused> {
        let index = self.entries.last().map_or(Index(1), |e| e.0.next());
        let (public, private) = (command.public(), command.private().to_vec());
        // What is recorded is what is read back.
        let read = Command::from_parts(&public, &private).expect("own parts");
        assert_eq!(read, *command);
        self.entries.push((index, self.now, public, private));
        self.state.apply(index, self.now, &read)
    }

    /// A new incarnation of a listed node, whose owner approved what is in force.
    pub fn join(&mut self, owner: &str, seed: u8) -> Result<Vec<Fact>, Refused> {
        self.join_approving(owner, seed, self.state.constitution_digest())
    }

    /// A new incarnation of a listed node, whose owner approved this constitution.
    pub fn join_approving(
        &mut self,
        owner: &str,
        seed: u8,
        approved: Digest,
    ) -> Result<Vec<Fact>, Refused> {
        self.join_running(owner, seed, approved, MEASUREMENT)
    }

    /// A new incarnation that runs this image, whose owner approved this constitution.
    pub fn join_running(
        &mut self,
        owner: &str,
        seed: u8,
        approved: Digest,
        measurement: [u8; 48],
    ) -> Result<Vec<Fact>, Refused> {
        let constitution = self.state.constitution().expect("created").clone();
        let mut tuple = self.world.tuple(owner, key(seed).public());
        tuple.constitution = approved;
        let signer = self.holder(owner);
        let signed = governance::SignedTuple::verify(
            &tuple.sign(&signer.key),
            std::slice::from_ref(&signer.certificate),
            &constitution,
            self.now,
        )?;
        let admission = self.state.admit(&signed)?;
        let command = governance::AdmitNode {
            id: admission.id(),
            replaces: admission.replaces(),
            tuple: signed.object().to_vec(),
            chain: Listed::all(signed.chain()),
            evidence: self.world.evidence(&tuple, Purpose::Join, measurement),
            endorsements: vec![],
            challenge: vec![],
        };
        self.apply(&Command::AdmitNode(Box::new(command)))
    }

    pub fn window(&self) -> Window {
        Window {
            from: Millis(self.now.0 - HOUR),
            until: self.now.plus(DAY),
        }
    }

    pub fn proposed(&mut self, proposer: &str, changes: &[Change]) -> Proposed {
        self.nonce += 1;
        let draft = Draft {
            title: format!("proposal of {proposer}"),
            changes: changes.to_vec(),
        };
        let version = self.state.constitution_version();
        let network = self.state.network().expect("created");
        draft.proposed(
            network,
            version,
            proposer,
            self.window(),
            self.nonce.to_be_bytes(),
        )
    }

    pub fn message(&self, signer: &str, object: Vec<u8>) -> SignedMessage {
        let certificate = &self.holder(signer).certificate;
        let message = SignedMessage::new(object, std::slice::from_ref(certificate));
        SignedMessage::from_cbor(&message.to_cbor()).expect("own bytes")
    }

    pub fn sign(&self, signer: &str, context: Context, payload: &[u8]) -> SignedMessage {
        let object = crypto::sign1(&self.holder(signer).key, context, payload);
        self.message(signer, object)
    }

    /// Submits, applies and writes down; gives what the proposal's number is.
    pub fn propose(&mut self, proposer: &str, changes: &[Change]) -> Result<u64, Refused> {
        let proposed = self.proposed(proposer, changes);
        let message = self.sign(proposer, Context::Proposal, &proposed.to_cbor());
        let command = self.state.propose(&message, self.now);
        self.step(&format!("{proposer} proposes"), command)?;
        let id = proposed.id();
        Ok(self.state.proposal_by_id(&id).expect("just opened").number)
    }

    pub fn ballot(&self, voter: &str, proposal: Digest, choice: Choice, number: u64) -> Ballot {
        Ballot {
            network: self.state.network().expect("created"),
            proposal,
            voter: voter.into(),
            choice,
            window: self.window(),
            number,
        }
    }

    /// `ada=for bob=against cat=abstain`, the later ones with greater numbers.
    pub fn votes(&mut self, proposal: u64, votes: &str) {
        for vote in votes.split(' ') {
            let (voter, choice) = vote.split_once('=').expect("voter=choice");
            let choice = match choice {
                "for" => Choice::For,
                "against" => Choice::Against,
                "abstain" => Choice::Abstain,
                other => panic!("{other}"),
            };
            let _ = self.vote(voter, proposal, choice);
        }
    }

    /// A proposal that these votes decide: one line, and what the last of them does.
    pub fn decide(&mut self, proposer: &str, changes: &[Change], votes: &str) -> u64 {
        let before = core::mem::take(&mut self.transcript);
        let number = self.propose(proposer, changes).expect("a proposal");
        self.votes(number, votes);
        let proposal = self.state.proposal(number).expect("kept");
        assert!(!proposal.is_open(), "these votes decide nothing");
        let (_, last) = self.transcript.rsplit_once(" on ").expect("a vote");
        let facts: String = last
            .lines()
            .skip(1)
            .map(|line| format!("{line}\n"))
            .collect();
        self.transcript = format!("{before}{proposer} proposes {number}, {votes}\n{facts}");
        number
    }

    pub fn vote(&mut self, voter: &str, proposal: u64, choice: Choice) -> Result<(), Refused> {
        let id = self.state.proposal(proposal).expect("opened").id;
        let number = self.entries.len() as u64;
        let ballot = self.ballot(voter, id, choice, number);
        let message = self.sign(voter, Context::Ballot, &ballot.to_cbor());
        let command = self.state.ballot(&message, self.now);
        let choice = format!("{choice:?}").to_lowercase();
        self.step(&format!("{voter}={choice} on {proposal}"), command)
    }

    pub fn withdraw(&mut self, proposer: &str, proposal: u64) -> Result<(), Refused> {
        let withdrawal = Withdrawal {
            network: self.state.network().expect("created"),
            proposal: self.state.proposal(proposal).expect("opened").id,
            proposer: proposer.into(),
            window: self.window(),
        };
        let message = self.sign(proposer, Context::Withdrawal, &withdrawal.to_cbor());
        let command = self.state.withdraw(&message, self.now);
        self.step(&format!("{proposer} withdraws {proposal}"), command)
    }

    pub fn due(&mut self) {
        match self.state.due(self.now) {
            None => self.transcript += "nothing is due\n",
            Some(command) => self.step("time is over", Ok(command)).expect("due"),
        }
    }

    pub fn step(&mut self, what: &str, command: Result<Command, Refused>) -> Result<(), Refused> {
        let facts = match command {
            Err(refused) => {
                self.transcript += &format!("{what}\n    refused: {refused}\n");
                return Err(refused);
            }
            Ok(command) => self.apply(&command).expect("what was accepted applies"),
        };
        // What was recorded stands beside what was done, what came of it below.
        let recorded = facts.first().and_then(recorded);
        self.transcript += &format!("{what}{}\n", recorded.as_deref().unwrap_or(""));
        for fact in &facts[usize::from(recorded.is_some())..] {
            self.transcript += &format!("    {}\n", line(fact));
        }
        Ok(())
    }

    /// The constitution in force.
    pub fn constitution(&self) -> &Constitution {
        self.state.constitution().expect("created")
    }
}

/// That a proposal or a ballot was recorded.
fn recorded(fact: &Fact) -> Option<String> {
    match fact {
        Fact::ProposalOpened { number, .. } => Some(format!(" {number}")),
        Fact::Balloted { tally: t, .. } => Some(format!(
            ": {} for, {} against, {} abstain; {} of {} needed",
            t.in_favour, t.against, t.abstained, t.needed, t.members
        )),
        _ => None,
    }
}

/// A fact without digests.
fn line(fact: &Fact) -> String {
    match fact {
        Fact::ProposalClosed { number, status } => format!("proposal {number}: {status:?}"),
        Fact::Constitution { version, .. } => format!("constitution {version}"),
        Fact::ActorRemoved { name, .. } => format!("actor {name} is removed"),
        Fact::SessionsRevoked { name, .. } => format!("sessions of {name} end"),
        other => format!("{other:?}"),
    }
}
