//! What a sandbox consists of: actors, keys, ports, constitution, settings. Everything is decided
//! here before anything is started.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use governance::{
    Access, Actor, Constitution, Listed, NodeSlot, Protocol, Role, Settings, Standing, Visibility,
    Voting,
};
use tee::{Accepted, CodeIdentity, CodeManifest, CodeState, Manifest, Platform, Root, Strength};

use super::cast::{self, Part, Profile};
use crate::dev;
use crate::failure::{Doing, Failure};
use crate::images::Images;
use crate::keys::{self, Kit, KitFiles};

/// Names of the members; more are numbered.
const MEMBERS: [&str; 3] = ["contoso", "fabrikam", "northwind"];

/// Evidence may be this much older than the time at which it is looked at.
const EVIDENCE_AGE_MAX_MS: u64 = 24 * 3_600_000;

/// Sandbox features that a development machine may lack; each that is missing is shown.
const MAY_BE_MISSING: &[&str] = &[
    "core-limit",
    "descriptors",
    "user-namespace",
    "mount-namespace",
    "network-namespace",
    "pid-namespace",
    "ipc-namespace",
    "uts-namespace",
    "cgroup-namespace",
    "landlock",
    "memory-deny-write-execute",
    "parent-death-signal",
    "shared-user",
];

/// How many and of what.
pub(crate) struct Wish<'a> {
    pub(crate) nodes: usize,
    pub(crate) protocols: &'a [String],
    pub(crate) directory: &'a Path,
    /// Of the Ethereum protocol.
    pub(crate) profile: Profile,
    pub(crate) parts: &'a [Part],
    /// Settings by protocol, where they are not the sandbox's own.
    pub(crate) genesis: &'a BTreeMap<String, String>,
    /// Members of Ethereum's, where that is the sandbox's own: they replace what is there.
    pub(crate) ethereum: &'a serde_json::Map<String, serde_json::Value>,
}

/// Everything that is needed to start.
pub(crate) struct Plan {
    pub(crate) constitution: Constitution,
    /// Where `constitution.cbor` is.
    pub(crate) constitution_file: PathBuf,
    pub(crate) nodes: Vec<Node>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) profile: Profile,
    pub(crate) settings: BTreeMap<String, PathBuf>,
}

/// An actor without a node.
pub(crate) struct Participant {
    pub(crate) name: String,
    pub(crate) auditor: bool,
    /// Its accounts, as places in [`dev::ACCOUNTS`].
    pub(crate) accounts: Vec<usize>,
    pub(crate) files: KitFiles,
}

/// One validating node of the sandbox.
pub(crate) struct Node {
    pub(crate) owner: String,
    pub(crate) files: KitFiles,
    pub(crate) directory: PathBuf,
    /// Where other nodes reach it.
    pub(crate) address: String,
    pub(crate) admin_port: u16,
    pub(crate) metrics_port: u16,
    /// Application ports by protocol.
    pub(crate) ports: BTreeMap<String, u16>,
}

impl Node {
    /// Where members and participants reach its administrative channel.
    pub(crate) fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }
}

/// Makes keys, settings and the constitution, and writes them.
pub(crate) fn make(wish: &Wish<'_>, images: &Images) -> Result<Plan, Failure> {
    let mut entropy = keys::entropy()?;
    let now = keys::now();
    let actors = wish.directory.join("actors");
    let mut ports = free_ports(wish.nodes * (3 + wish.protocols.len()))?.into_iter();
    let mut port = || ports.next().expect("as many as are asked for");
    let mut listed = Vec::new();
    let mut roots = Vec::new();
    let mut nodes = Vec::new();
    for number in 0..wish.nodes {
        let name = member(number);
        let kit = Kit::make(&name, &mut entropy, now);
        let share = client::share_key_to_pem(&kit.share);
        let files = kit.write(&actors, &name, &share, &mut |i| i.to_pem())?;
        listed.push(actor(&name, Role::Member, &kit));
        roots.push(Root(kit.platform_root.chain[0].der().to_vec()));
        nodes.push(Node {
            directory: wish.directory.join("nodes").join(&name),
            owner: name,
            files,
            address: format!("127.0.0.1:{}", port()),
            admin_port: port(),
            metrics_port: port(),
            ports: wish
                .protocols
                .iter()
                .map(|protocol| (protocol.clone(), port()))
                .collect(),
        });
    }
    let mut participants = Vec::new();
    for part in wish.parts {
        let kit = Kit::make(part.name, &mut entropy, now);
        let share = client::share_key_to_pem(&kit.share);
        participants.push(Participant {
            name: part.name.to_owned(),
            auditor: part.auditor,
            accounts: part.accounts.to_vec(),
            files: kit.write(&actors, part.name, &share, &mut |i| i.to_pem())?,
        });
        listed.push(Actor {
            auditor: part.auditor,
            ..actor(part.name, Role::Participant, &kit)
        });
    }
    let members: Vec<String> = nodes.iter().map(|node| node.owner.clone()).collect();
    let (protocols, settings) = protocols(wish, &members)?;
    let mut constitution = Constitution {
        network: "sandbox".into(),
        genesis_time_ms: now,
        visibility: Visibility::Public,
        settings: Settings {
            // A majority of the owners opens what is sealed.
            key_threshold: u32::try_from(wish.nodes / 2 + 1).expect("limited by the ports"),
            // One node alone has no others that could tell it of a disk that was rolled back.
            restart_faults_max: u32::from(wish.nodes > 1),
            ..Settings::default()
        },
        voting: Voting::default(),
        standing: Standing::default(),
        policies: BTreeMap::new(),
        succeeds: None,
        actors: listed,
        nodes: nodes.iter().map(slot).collect(),
        protocols,
        code: code(images, wish.protocols)?,
        tee: platform(roots),
    };
    constitution.sort();
    constitution
        .validate()
        .map_err(|invalid| Failure::failed(format!("the sandbox's own constitution: {invalid}")))?;
    let network = wish.directory.join("network");
    crate::network::write(&constitution, &network)?;
    let constitution_file = network.join("constitution.cbor");
    Ok(Plan {
        constitution,
        constitution_file,
        nodes,
        participants,
        profile: wish.profile,
        settings,
    })
}

fn member(number: usize) -> String {
    MEMBERS
        .get(number)
        .map_or_else(|| format!("member-{}", number + 1), ToString::to_string)
}

fn actor(name: &str, role: Role, kit: &Kit) -> Actor {
    Actor {
        name: name.to_owned(),
        roles: BTreeSet::from([role]),
        auditor: false,
        certificates: vec![Listed(kit.issuer.chain[0].clone())],
        share_key: (role == Role::Member).then(|| kit.share.public()),
    }
}

fn slot(node: &Node) -> NodeSlot {
    NodeSlot {
        owner: node.owner.clone(),
        address: node.address.clone(),
    }
}

fn protocols(
    wish: &Wish<'_>,
    members: &[String],
) -> Result<(Vec<Protocol>, BTreeMap<String, PathBuf>), Failure> {
    let mut listed = Vec::new();
    let mut files = BTreeMap::new();
    let directory = wish.directory.join("network");
    std::fs::create_dir_all(&directory).doing(|| format!("make {}", directory.display()))?;
    for name in wish.protocols {
        let given = wish.genesis.get(name).cloned();
        let text = given.unwrap_or_else(|| genesis(name, wish, members));
        let path = directory.join(format!("{name}.json"));
        std::fs::write(&path, &text).doing(|| format!("write {}", path.display()))?;
        files.insert(name.clone(), path);
        listed.push(Protocol {
            name: name.clone(),
            version: 1,
            settings_digest: crypto::sha256(text.as_bytes()),
            access: access(name, wish.profile),
            settings: settings(name),
            endpoints: Vec::new(),
        });
    }
    Ok((listed, files))
}

fn access(protocol: &str, profile: Profile) -> Access {
    match (protocol, profile) {
        ("ethereum", Profile::Confidential) => Access::Confidential,
        _ => Access::Transparent,
    }
}

/// Wallets of a sandbox may sign in at a node by themselves.
fn settings(protocol: &str) -> BTreeMap<String, String> {
    match protocol {
        "ethereum" => [(
            "clients-without-certificate".to_owned(),
            "allowed".to_owned(),
        )]
        .into(),
        _ => BTreeMap::new(),
    }
}

/// Genesis settings of a protocol: for Ethereum the accounts of anvil, for others none.
fn genesis(protocol: &str, wish: &Wish<'_>, members: &[String]) -> String {
    if protocol != "ethereum" {
        return "{}".into();
    }
    let alloc: serde_json::Map<_, _> = dev::ACCOUNTS
        .iter()
        .map(|a| {
            (
                a.address.to_owned(),
                serde_json::json!({ "balance": dev::BALANCE_WEI }),
            )
        })
        .collect();
    let sign_in = serde_json::json!({ "domains": ["localhost:*", "127.0.0.1:*"] });
    let profile = match wish.profile {
        Profile::Transparent => serde_json::json!("transparent"),
        Profile::Confidential => cast::profile(wish.parts, members),
    };
    let mut settings = serde_json::json!({
        "chainId": dev::CHAIN_ID, "alloc": alloc, "signIn": sign_in, "profile": profile,
    });
    let members = settings.as_object_mut().expect("made as one");
    members.extend(wish.ethereum.clone());
    settings.to_string()
}

fn code(images: &Images, protocols: &[String]) -> Result<CodeManifest, Failure> {
    let identity = |name: String, path: PathBuf| {
        Ok::<_, Failure>(CodeIdentity {
            name,
            version: env!("CARGO_PKG_VERSION").into(),
            platform: Platform::Software,
            measurement: Images::measure(&path)?.to_vec(),
            state: CodeState::Allowed,
        })
    };
    let mut list = vec![identity("manager".into(), images.manager()?)?];
    for protocol in protocols {
        list.push(identity(
            format!("worker/{protocol}"),
            images.worker(protocol)?,
        )?);
    }
    Ok(CodeManifest { images: list })
}

fn platform(roots: Vec<Root>) -> Manifest {
    let accepted = Accepted {
        missing_allowed: MAY_BE_MISSING.iter().map(ToString::to_string).collect(),
        admit_shared_user: true,
        ..Accepted::strict(Platform::Software, roots)
    };
    Manifest {
        strength_min: Strength::Software,
        accepted: vec![accepted],
        evidence_age_max_ms: EVIDENCE_AGE_MAX_MS,
    }
}

/// Ports of this machine that nobody uses now, all different.
fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .doing(|| format!("find {count} free ports on 127.0.0.1"))?;
    listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()
        .doing(|| "read the number of a port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(directory: &Path) -> Images {
        for name in ["coco-manager", "coco-worker-ethereum", "coco-worker-kv"] {
            std::fs::write(directory.join(name), name).expect("written");
        }
        Images::find(Some(directory)).expect("a directory")
    }

    #[test]
    fn a_plan_is_a_valid_constitution_whose_files_agree_with_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let protocols = ["ethereum".to_owned(), "kv".to_owned()];
        let wish = Wish {
            nodes: 4,
            protocols: &protocols,
            directory: directory.path(),
            profile: Profile::Confidential,
            parts: cast::CLOSED,
            genesis: &BTreeMap::new(),
            ethereum: &serde_json::Map::new(),
        };
        let plan = make(&wish, &images(directory.path())).expect("planned");
        assert_eq!(plan.constitution.members().count(), 4);
        let auditors: Vec<_> = plan.participants.iter().filter(|p| p.auditor).collect();
        assert_eq!((plan.participants.len(), auditors.len()), (4, 1));
        let access = |name| plan.constitution.protocol(name).expect("listed").access;
        assert_eq!(access("ethereum"), Access::Confidential);
        assert_eq!(access("kv"), Access::Transparent);
        let read = crate::network::read(&plan.constitution_file).expect("readable");
        assert_eq!(read.digest(), plan.constitution.digest());
        for (protocol, path) in &plan.settings {
            let digest = crypto::sha256(&std::fs::read(path).expect("readable"));
            assert_eq!(
                read.protocol(protocol).expect("listed").settings_digest,
                digest
            );
        }
        let ports: BTreeSet<_> = plan.nodes.iter().flat_map(|n| n.ports.values()).collect();
        assert_eq!(ports.len(), 8);
    }

    #[test]
    fn the_image_that_is_listed_is_the_one_that_is_there() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let images = images(directory.path());
        let code = code(&images, &["kv".to_owned()]).expect("measured");
        let measurement = crypto::sha384(b"coco-worker-kv");
        let found = code.find(Platform::Software, &measurement).expect("listed");
        assert_eq!(found.name, "worker/kv");
    }
}
