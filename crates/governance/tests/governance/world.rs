//! A consortium of three actors with certificates, a platform and nodes; everything from seeds.

use crypto::{Certificate, CertificateRequest, Entropy, Extension, PublicKey, SigningKey, issue};
use governance::{
    Access, Actor, AdmitNode, Command, Configuration, Constitution, Fact, Genesis, Listed,
    NetworkIdentity, NodeSlot, NodeTuple, Protocol, Refused, Role, Settings, SignedTuple, Standing,
    State, Visibility, Voting,
};
use tee::software::Statement;
use tee::{
    Accepted, CodeIdentity, CodeManifest, CodeState, Manifest, Platform, Purpose, Root, Strength,
};
use types::{Digest, Index, Millis};

pub const DAY: u64 = 86_400_000;
pub const NOW: Millis = Millis(50 * DAY);
pub const MEASUREMENT: [u8; 48] = [3; 48];

pub struct Holder {
    pub key: SigningKey,
    pub certificate: Certificate,
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::generate(&mut Entropy::new(&[seed; 32]))
}

pub fn holder(
    name: &str,
    seed: u8,
    authority: bool,
    parent: Option<&Holder>,
    extensions: Vec<Extension>,
) -> Holder {
    let key = key(seed);
    let request = CertificateRequest {
        common_name: name,
        dns_names: vec![],
        not_before: Millis(DAY),
        not_after: Millis(100 * DAY),
        authority,
        extensions,
        serial: [seed; 16],
    };
    let certificate = match parent {
        Some(parent) => issue(
            key.public(),
            &request,
            &parent.key,
            Some(&parent.certificate),
        ),
        None => issue(key.public(), &request, &key, None),
    };
    Holder { key, certificate }
}

pub struct World {
    /// Actors in order of name: ada (member, intermediate), bob (member), eve (participant).
    pub ada: Holder,
    pub bob: Holder,
    pub eve: Holder,
    pub launcher: Holder,
    pub network: Holder,
    pub constitution: Constitution,
}

fn actor(name: &str, roles: &[Role], certificate: &Certificate) -> Actor {
    Actor {
        name: name.into(),
        roles: roles.iter().copied().collect(),
        auditor: false,
        certificates: vec![Listed(certificate.clone())],
        share_key: None,
    }
}

impl World {
    pub fn new() -> Self {
        let ada = holder("ada intermediate", 1, true, None, vec![]);
        let bob = holder("bob", 2, false, None, vec![]);
        let eve = holder("eve", 3, false, None, vec![]);
        let platform = holder("platform root", 4, true, None, vec![]);
        let launcher = holder("launcher", 5, false, Some(&platform), vec![]);
        let network = holder("network", 6, true, None, vec![]);
        let image = |name: &str, measurement: [u8; 48]| CodeIdentity {
            name: name.into(),
            version: "1".into(),
            platform: Platform::Software,
            measurement: measurement.to_vec(),
            state: CodeState::Allowed,
        };
        let slot = |owner: &str| NodeSlot {
            owner: owner.into(),
            address: format!("{owner}.example:9000"),
        };
        let constitution = Constitution {
            network: "test".into(),
            genesis_time_ms: NOW,
            visibility: Visibility::Public,
            settings: Settings::default(),
            voting: Voting::default(),
            standing: Standing::default(),
            policies: Default::default(),
            succeeds: None,
            actors: vec![
                actor("ada", &[Role::Member, Role::Participant], &ada.certificate),
                actor("bob", &[Role::Member], &bob.certificate),
                actor("eve", &[Role::Participant], &eve.certificate),
            ],
            nodes: vec![slot("ada"), slot("bob"), slot("eve")],
            protocols: vec![Protocol {
                name: "kv".into(),
                version: 1,
                settings_digest: Digest([8; 32]),
                access: Access::Transparent,
                settings: Default::default(),
                endpoints: Vec::new(),
            }],
            code: CodeManifest {
                images: vec![image("manager", MEASUREMENT), image("worker/kv", [4; 48])],
            },
            tee: Manifest {
                strength_min: Strength::Software,
                accepted: vec![Accepted::strict(
                    Platform::Software,
                    vec![Root(platform.certificate.der().to_vec())],
                )],
                evidence_age_max_ms: 60_000,
            },
        };
        Self {
            ada,
            bob,
            eve,
            launcher,
            network,
            constitution,
        }
    }

    pub fn owner(&self, name: &str) -> &Holder {
        match name {
            "ada" => &self.ada,
            "bob" => &self.bob,
            _ => &self.eve,
        }
    }

    pub fn tuple(&self, owner: &str, key: &PublicKey) -> NodeTuple {
        NodeTuple {
            network: self.constitution.network_id(),
            owner: owner.into(),
            address: format!("{owner}.example:9000"),
            key: *key,
            constitution: self.constitution.digest(),
        }
    }

    pub fn signed(&self, tuple: &NodeTuple, signer: &Holder) -> Result<SignedTuple, Refused> {
        SignedTuple::verify(
            &tuple.sign(&signer.key),
            std::slice::from_ref(&signer.certificate),
            &self.constitution,
            NOW,
        )
    }

    pub fn evidence(&self, tuple: &NodeTuple, purpose: Purpose, measurement: [u8; 48]) -> Vec<u8> {
        let statement = Statement {
            measurement,
            report_data: tee::report_data(&tuple.network, purpose, &tuple.key.fingerprint(), b""),
            launch_data: vec![],
            instance: [7; 16],
            svn: 1,
            time: NOW,
            missing: vec![],
            shared_user: false,
        };
        tee::software::sign(
            &self.launcher.key,
            std::slice::from_ref(&self.launcher.certificate),
            &statement,
        )
    }

    /// The first entry: ada's node with the key of seed 100.
    pub fn genesis(&self) -> Command {
        let tuple = self.tuple("ada", key(100).public());
        let node = AdmitNode {
            id: State::FIRST_NODE,
            replaces: None,
            tuple: tuple.sign(&self.ada.key),
            chain: vec![Listed(self.ada.certificate.clone())],
            evidence: self.evidence(&tuple, Purpose::Genesis, MEASUREMENT),
            endorsements: vec![],
            challenge: vec![],
        };
        let identity = NetworkIdentity::new(self.network.certificate.clone(), &self.network.key)
            .expect("its own key");
        Command::Genesis(Box::new(Genesis {
            constitution: self.constitution.clone(),
            identity,
            node,
        }))
    }

    pub fn state(&self) -> State {
        let mut state = State::new();
        state
            .apply(Index(1), NOW, &self.genesis())
            .expect("a genesis");
        state
    }

    /// The admission of a listed owner's node under the current state, as its manager proposes it.
    pub fn admission(
        &self,
        state: &State,
        owner: &str,
        key: &PublicKey,
    ) -> Result<Command, Refused> {
        let tuple = self.tuple(owner, key);
        let admission = state.admit(&self.signed(&tuple, self.owner(owner))?)?;
        let evidence = self.evidence(&tuple, Purpose::Join, MEASUREMENT);
        let expected =
            tee::report_data(&tuple.network, Purpose::Join, &tuple.key.fingerprint(), b"");
        let attested = tee::appraise(
            &evidence,
            &[],
            &self.constitution.tee,
            &self.constitution.code,
            &expected,
            NOW,
        )
        .expect("good evidence");
        Ok(Command::AdmitNode(Box::new(admission.command(
            &attested,
            evidence,
            vec![],
            vec![],
        )?)))
    }
}

pub fn voters(ids: &[u64]) -> Configuration {
    Configuration {
        voters: ids.iter().map(|id| types::NodeId(*id)).collect(),
        ..Configuration::default()
    }
}

/// Opens an epoch of keys that nothing is sealed to.
pub fn open_epoch(epoch: u64, cause: governance::EpochCause) -> Command {
    Command::OpenEpoch(Box::new(governance::EpochOpening {
        epoch: types::Epoch(epoch),
        cause,
        link: vec![7; 80],
        check: Digest([9; 32]),
        seal: None,
        dealt: None,
    }))
}

/// One line for each fact.
pub fn lines(facts: &[Fact]) -> String {
    facts.iter().map(|f| format!("{f:?}\n")).collect()
}
