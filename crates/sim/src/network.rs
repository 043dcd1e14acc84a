//! The consortium of a run: actors, certificates, platform keys, and the constitution.

use std::sync::Arc;

use adapter::Machine;
use bytes::Bytes;
use crypto::{Certificate, CertificateRequest, Entropy, SigningKey, issue};
use governance::{
    Access, Actor, Constitution, Listed, NodeSlot, Protocol, Role, Settings, Standing, Visibility,
    Voting,
};
use tee::{Accepted, CodeIdentity, CodeManifest, CodeState, Manifest, Platform, Root, Strength};
use types::Millis;

/// Measurements of the images in a simulated code manifest.
pub const MANAGER: [u8; 48] = [1; 48];
pub const WORKER: [u8; 48] = [2; 48];

/// When every run begins.
pub const START: Millis = Millis(1_800_000_000_000);

const YEAR_MS: u64 = 365 * 86_400_000;

/// An organisation with its key.
pub struct Organisation {
    pub name: String,
    pub key: SigningKey,
    pub certificate: Certificate,
    /// Its share-transport key; the owner's agent has it.
    pub share: threshold::TransportKey,
}

/// What is the same for all nodes of a run.
pub struct Consortium {
    pub members: Vec<Organisation>,
    pub user: Organisation,
    pub platform: SigningKey,
    pub platform_chain: Vec<Certificate>,
    pub constitution: Constitution,
    /// What owners give their nodes and agents after a vote, where they need it.
    pub in_force: Option<Constitution>,
    /// A system outside that units may call, and another that would like to be it.
    pub outside: Option<[Organisation; 2]>,
    /// What actors ordered after the quorum was lost; empty for nothing.
    pub restart_order: Bytes,
}

impl Consortium {
    /// With a system outside.
    pub fn with_outside(nodes: usize, entropy: &mut Entropy) -> Self {
        let mut consortium = Self::new(nodes, entropy);
        let outside = ["oracle", "another"].map(|name| organisation(name, entropy));
        let endpoints = vec![crate::outside::endpoint(&outside[0])];
        consortium.constitution.protocols[0].endpoints = endpoints;
        let valid = consortium.constitution.validate();
        valid.expect("the oracle is in order");
        consortium.outside = Some(outside);
        consortium
    }

    /// The protocol that the network runs.
    pub fn machine(&self) -> Arc<dyn Machine> {
        match self.outside {
            Some(_) => crate::outside::asking(),
            None => adapter_kv::machine(),
        }
    }

    pub fn new(nodes: usize, entropy: &mut Entropy) -> Self {
        let members: Vec<_> = (0..nodes)
            .map(|place| organisation(&format!("member-{place}"), entropy))
            .collect();
        let user = organisation("user", entropy);
        let root = organisation("platform-root", entropy);
        let platform = SigningKey::generate(entropy);
        let platform_certificate = issue(
            platform.public(),
            &request("platform", false, entropy),
            &root.key,
            Some(&root.certificate),
        );
        let actor = |organisation: &Organisation, role| Actor {
            name: organisation.name.clone(),
            roles: [role].into(),
            auditor: false,
            certificates: Listed::all(std::slice::from_ref(&organisation.certificate)),
            share_key: (role == Role::Member).then(|| organisation.share.public()),
        };
        let image = |name: &str, measurement: [u8; 48]| CodeIdentity {
            name: name.into(),
            version: "sim".into(),
            platform: Platform::Software,
            measurement: measurement.to_vec(),
            state: CodeState::Allowed,
        };
        let mut constitution = Constitution {
            network: "sim".into(),
            genesis_time_ms: START,
            visibility: Visibility::Public,
            settings: Settings {
                // Several snapshots in a run.
                snapshot_entries: 15,
                // And several epochs, whose keys have to be opened again.
                epoch_length_ms: 60_000,
                session_key_ttl_ms: 8_000,
                key_threshold: nodes as u32 / 2 + 1, // a handful
                ..Settings::default()
            },
            voting: Voting::default(),
            standing: Standing::default(),
            policies: Default::default(),
            succeeds: None,
            actors: members
                .iter()
                .map(|m| actor(m, Role::Member))
                .chain([actor(&user, Role::Participant)])
                .collect(),
            nodes: members
                .iter()
                .enumerate()
                .map(|(place, m)| NodeSlot {
                    owner: m.name.clone(),
                    address: address(place),
                })
                .collect(),
            protocols: vec![Protocol {
                name: "kv".into(),
                version: 1,
                settings_digest: crypto::sha256(SETTINGS),
                access: Access::Transparent,
                settings: Default::default(),
                endpoints: Vec::new(),
            }],
            code: CodeManifest {
                images: vec![image("manager", MANAGER), image("worker/kv", WORKER)],
            },
            tee: Manifest {
                strength_min: Strength::Software,
                accepted: vec![Accepted::strict(
                    Platform::Software,
                    vec![Root(root.certificate.der().to_vec())],
                )],
                evidence_age_max_ms: 60_000,
            },
        };
        constitution.sort();
        constitution
            .validate()
            .expect("the simulator's constitution is in order");
        Self {
            members,
            user,
            platform,
            platform_chain: vec![platform_certificate, root.certificate],
            constitution,
            in_force: None,
            outside: None,
            restart_order: Bytes::new(),
        }
    }
}

/// Genesis settings of the key-value protocol.
pub const SETTINGS: &[u8] = b"";

/// Where the node of a place is reached.
pub fn address(place: usize) -> String {
    format!("node-{place}:9000")
}

fn organisation(name: &str, entropy: &mut Entropy) -> Organisation {
    let key = SigningKey::generate(entropy);
    let certificate = issue(
        key.public(),
        &request(name, name.ends_with("root"), entropy),
        &key,
        None,
    );
    Organisation {
        name: name.into(),
        key,
        certificate,
        share: threshold::TransportKey::generate(entropy),
    }
}

fn request<'a>(name: &'a str, authority: bool, entropy: &mut Entropy) -> CertificateRequest<'a> {
    CertificateRequest {
        common_name: name,
        dns_names: Vec::new(),
        not_before: Millis(START.0 - YEAR_MS),
        not_after: START.plus(YEAR_MS),
        authority,
        extensions: Vec::new(),
        serial: entropy.bytes(),
    }
}
