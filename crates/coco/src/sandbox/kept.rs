//! A sandbox whose directory was kept: what is needed to go on with it.
//!
//! Its nodes all stopped, and with them went the keys in their memory. They start again with their
//! files, meet one another, and the actors' share-transport keys open what is in the ledger: the
//! network restarts by itself (docs/recovery.md).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Sandbox;
use super::cast::Profile;
use super::plan::{self, Plan};
use crate::dev;
use crate::failure::{Doing, Failure};
use crate::keys::KitFiles;

/// Its name in the directory.
const FILE: &str = "sandbox.json";

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    protocols: Vec<String>,
    #[serde(default)]
    profile: Profile,
    participants: Vec<Participant>,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Participant {
    name: String,
    auditor: bool,
    accounts: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Node {
    owner: String,
    address: String,
    admin_port: u16,
    metrics_port: u16,
    ports: BTreeMap<String, u16>,
}

/// Whether a directory holds a sandbox.
pub(super) fn is_kept(directory: &Path) -> bool {
    directory.join(FILE).is_file()
}

/// Writes down what the next start needs to know.
pub(super) fn keep(plan: &Plan, directory: &Path) -> Result<(), Failure> {
    let nodes = plan.nodes.iter().map(|node| Node {
        owner: node.owner.clone(),
        address: node.address.clone(),
        admin_port: node.admin_port,
        metrics_port: node.metrics_port,
        ports: node.ports.clone(),
    });
    let participants = plan.participants.iter().map(|participant| Participant {
        name: participant.name.clone(),
        auditor: participant.auditor,
        accounts: participant.accounts.clone(),
    });
    let kept = Kept {
        profile: plan.profile,
        participants: participants.collect(),
        protocols: plan.settings.keys().cloned().collect(),
        nodes: nodes.collect(),
    };
    let text = serde_json::to_string_pretty(&kept).expect("texts and numbers have a form in JSON");
    crate::keys::write_public(&directory.join(FILE), &text)
}

/// The plan of a kept sandbox.
pub(super) fn resume(directory: &Path, wanted: &Sandbox) -> Result<Plan, Failure> {
    let file = directory.join(FILE);
    let text = std::fs::read_to_string(&file).doing(|| format!("read {}", file.display()))?;
    let kept: Kept = serde_json::from_str(&text).map_err(|bad| {
        Failure::input(format!(
            "{} is not as it was written: {bad}",
            file.display()
        ))
    })?;
    if wanted.genesis.is_some() {
        return Err(Failure::input(format!(
            "the sandbox in {} has its genesis: leave --genesis out, or name another directory with --dir",
            directory.display()
        )));
    }
    let mut protocols = wanted.protocols.clone();
    protocols.sort();
    if protocols != kept.protocols {
        return Err(Failure::input(format!(
            "the sandbox in {} runs {}: give --protocols {}",
            directory.display(),
            kept.protocols.join(" and "),
            kept.protocols.join(",")
        )));
    }
    if let Some(profile) = wanted.profile.filter(|profile| *profile != kept.profile) {
        return Err(Failure::input(format!(
            "the sandbox in {} is {}, not {}: leave --profile out, or name another directory with --dir",
            directory.display(),
            kept.profile.name(),
            profile.name()
        )));
    }
    if kept
        .participants
        .iter()
        .flat_map(|participant| &participant.accounts)
        .any(|place| *place >= dev::ACCOUNTS.len())
    {
        return Err(Failure::input(format!(
            "{} names accounts that are not there",
            file.display()
        )));
    }
    let constitution_file = directory.join("network").join("constitution.cbor");
    let actors = directory.join("actors");
    let nodes = kept.nodes.into_iter().map(|node| plan::Node {
        files: KitFiles::at(&actors, &node.owner),
        directory: directory.join("nodes").join(&node.owner),
        owner: node.owner,
        address: node.address,
        admin_port: node.admin_port,
        metrics_port: node.metrics_port,
        ports: node.ports,
    });
    let participants = kept.participants.into_iter().map(|part| plan::Participant {
        files: KitFiles::at(&actors, &part.name),
        name: part.name,
        auditor: part.auditor,
        accounts: part.accounts,
    });
    let settings = kept.protocols.iter().map(|name| {
        let path = directory.join("network").join(format!("{name}.json"));
        (name.clone(), path)
    });
    let plan = Plan {
        constitution: crate::network::read(&constitution_file)?,
        constitution_file,
        nodes: nodes.collect(),
        participants: participants.collect(),
        profile: kept.profile,
        settings: settings.collect(),
    };
    // What this start writes anew.
    for stale in plan
        .nodes
        .iter()
        .map(|node| node.directory.join("node.toml"))
    {
        if stale.exists() {
            std::fs::remove_file(&stale).doing(|| format!("replace {}", stale.display()))?;
        }
    }
    Ok(plan)
}
