//! `coco sandbox`: a whole network on this machine, in seconds, for development.
//!
//! Three members with one VN each, some participants, real keys, real evidence (software TEE), the
//! same processes that `coco node start` runs anywhere else, and a gateway for local tools.

mod cast;
mod plan;

mod children;
mod gates;
mod kept;
mod settings;
mod table;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use client::{Admin, Identity, Trust, certificate_to_pem};
use crypto::Certificate;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Doing, Failure};
use crate::gateway;
use crate::images::Images;
pub(crate) use cast::{OPEN, Part, Profile, actor};
pub(crate) use children::Children;
pub(crate) use gates::{Gate, Way, listen, start as start_gate};
pub(crate) use plan::{Plan, Wish, make};

/// How long the network may take until every node votes. It takes about two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between looks at a network that is starting.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// Number of members, with one node each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) nodes: u8,
    /// Keeps keys, ledgers and logs here; left out: a temporary directory that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Port of the gateway on 127.0.0.1; further gateways follow on the next ports
    #[arg(long, value_name = "PORT", default_value_t = 8545)]
    pub(crate) rpc_port: u16,
    /// Who reads what of the Ethereum protocol unless a contract says otherwise; left out: transparent, or
    /// what the sandbox in --dir is
    #[arg(long, value_enum)]
    pub(crate) profile: Option<Profile>,
    /// Members of a JSON object that replace those of the Ethereum protocol's genesis settings: accounts, fork,
    /// gas limit, statesKept, roots
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,
    /// Protocols that the network runs
    #[arg(long, value_delimiter = ',', default_value = "ethereum,kv")]
    pub(crate) protocols: Vec<String>,
    /// Directory of coco-host, coco-launcher, coco-manager and coco-worker-*; left out: beside `coco`
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// What the nodes log: error, warn, info, debug or trace, or a filter such as info,manager=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,
    /// Prints one JSON document when the network is up, instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Sandbox {
    /// One without a gateway, that logs warnings only: `coco bench` runs it.
    pub(crate) fn quiet(nodes: u8, protocols: &[String], images: Option<&Path>) -> Self {
        Self {
            nodes,
            dir: None,
            rpc_port: 0,
            profile: Some(Profile::Transparent),
            genesis: None,
            protocols: protocols.to_vec(),
            images: images.map(Path::to_path_buf),
            log: "warn".into(),
            json: false,
        }
    }
}

/// What a running sandbox shows.
pub(crate) struct Shown<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) directory: &'a Path,
    pub(crate) kept: bool,
    pub(crate) network: &'a Certificate,
    pub(crate) network_file: &'a Path,
    pub(crate) gates: &'a [Gate],
    pub(crate) missing: &'a [String],
    pub(crate) took: Duration,
}

pub(crate) fn run(arguments: &Sandbox) -> Result<(), Failure> {
    if !cfg!(target_os = "linux") {
        return Err(Failure::machine(
            "the sandbox needs Linux: its enclaves are locked down by Landlock, seccomp and \
             namespaces. Use a Linux machine, virtual machine or container",
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .doing(|| "start the sandbox's threads".to_owned())?;
    runtime.block_on(start(arguments))
}

async fn start(arguments: &Sandbox) -> Result<(), Failure> {
    let began = Instant::now();
    let images = find_images(arguments)?;
    // The port first: a sandbox that finds it taken has left nothing behind.
    let rpc = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.rpc_port));
    let listener = gateway::listen(rpc).await?;
    let directory = Directory::open(arguments.dir.as_deref())?;
    let profile = arguments.profile.unwrap_or_default();
    let parts = match profile {
        Profile::Transparent => OPEN,
        Profile::Confidential => cast::CLOSED,
    };
    let plan = plan_in(&directory, arguments, &images, parts)?;
    let doing = || "listen for signals".to_owned();
    let mut interrupt = signal(SignalKind::interrupt()).doing(doing)?;
    let mut terminate = signal(SignalKind::terminate()).doing(doing)?;
    let mut children = Children::start(&plan, arguments)?;
    let ran = tokio::select! {
        ran = serve(arguments, &plan, &directory, &mut children, listener, began) => ran,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if !arguments.json {
        println!("\nstopping");
    }
    children.stop().await;
    ran
}

/// The images, all of them there.
pub(crate) fn find_images(arguments: &Sandbox) -> Result<Images, Failure> {
    let images = Images::find(arguments.images.as_deref())?;
    images.host()?;
    images.launcher()?;
    images.manager()?;
    for protocol in &arguments.protocols {
        images.worker(protocol)?;
    }
    Ok(images)
}

/// The plan of the network in a directory: a kept one goes on, else one is made there.
pub(crate) fn plan_in(
    directory: &Directory,
    arguments: &Sandbox,
    images: &Images,
    parts: &[Part],
) -> Result<Plan, Failure> {
    if kept::is_kept(directory.path()) {
        return kept::resume(directory.path(), arguments);
    }
    let profile = arguments.profile.unwrap_or_default();
    let wish = Wish {
        nodes: usize::from(arguments.nodes),
        protocols: &arguments.protocols,
        directory: directory.path(),
        profile,
        parts,
        genesis: &BTreeMap::new(),
        ethereum: &settings::ethereum(profile, arguments.genesis.as_deref())?,
    };
    let plan = make(&wish, images)?;
    kept::keep(&plan, directory.path())?;
    Ok(plan)
}

async fn serve(
    arguments: &Sandbox,
    plan: &Plan,
    directory: &Directory,
    children: &mut Children,
    listener: tokio::net::TcpListener,
    began: Instant,
) -> Result<(), Failure> {
    let identity_file = plan.participants[0].files.identity.clone();
    let up = tokio::select! {
        up = wait_until_all_vote(plan, &identity_file) => up?,
        failure = children.first_end() => return Err(failure),
    };
    let network_file = pin(&directory.path().join("network.pem"), &up)?;
    let gates = gates::open(plan, &up, &arguments.protocols, listener).await?;
    let shown = Shown {
        plan,
        directory: directory.path(),
        kept: arguments.dir.is_some(),
        network: &up.certificate,
        network_file: &network_file,
        gates: &gates,
        missing: &up.missing,
        took: began.elapsed(),
    };
    if arguments.json {
        crate::print::json(&table::json(&shown));
    } else {
        table::show(&shown);
    }
    children.watch().await
}

/// Keeps the certificate of the network.
pub(crate) fn pin(file: &Path, up: &Up) -> Result<PathBuf, Failure> {
    if !file.exists() {
        crate::keys::write_public(file, &certificate_to_pem(&up.certificate))?;
    }
    Ok(file.to_owned())
}

/// What was learnt while the network came up.
pub(crate) struct Up {
    pub(crate) certificate: Certificate,
    missing: Vec<String>,
}

/// Asks every node, by attestation under the constitution, until all of them count as voters.
pub(crate) async fn wait_until_all_vote(plan: &Plan, identity: &Path) -> Result<Up, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let identity = Identity::read(identity)?;
        let constitution = plan.constitution.clone();
        let addresses: Vec<String> = plan.nodes.iter().map(plan::Node::admin_address).collect();
        let looked = tokio::task::spawn_blocking(move || look(&identity, constitution, &addresses));
        let reason = match looked
            .await
            .map_err(|error| Failure::failed(error.to_string()))?
        {
            Ok(up) => return Ok(up),
            Err(reason) => reason,
        };
        if Instant::now() > deadline {
            return Err(Failure::failed(format!(
                "the network did not come up within {} s: {reason}",
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One look at every node; the reason why the network is not up yet.
fn look(
    identity: &Identity,
    constitution: governance::Constitution,
    addresses: &[String],
) -> Result<Up, String> {
    let mut up = None;
    let mut missing = Vec::new();
    for address in addresses {
        let trust = Trust::under(constitution.clone());
        let mut admin =
            Admin::open(identity, trust, vec![address.clone()]).map_err(|p| p.to_string())?;
        let nodes = admin.nodes().map_err(|p| p.to_string())?;
        let listed = nodes["nodes"].as_array().cloned().unwrap_or_default();
        let voters = listed
            .iter()
            .filter(|node| node["status"] == "voter")
            .count();
        if voters < addresses.len() {
            return Err(format!(
                "{address} sees {voters} of {} voters",
                addresses.len()
            ));
        }
        let status = admin.status().map_err(|p| p.to_string())?;
        for protocol in status["protocols"].as_array().into_iter().flatten() {
            if protocol["worker"] != "live" {
                return Err(format!(
                    "the {} worker of {address} is not live",
                    protocol["name"]
                ));
            }
        }
        let lacks = status["missing_features"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        missing.extend(
            lacks
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned)),
        );
        let connection = admin.http().connection().ok_or("the connection is gone")?;
        up = Some(connection.node().network_certificate().clone());
    }
    missing.sort();
    missing.dedup();
    Ok(Up {
        certificate: up.ok_or("there are no nodes")?,
        missing,
    })
}

/// The sandbox's directory.
pub(crate) enum Directory {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Directory {
    pub(crate) fn open(wanted: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = wanted else {
            let doing = || format!("make a directory in {}", std::env::temp_dir().display());
            let made = tempfile::Builder::new()
                .prefix("coco-sandbox-")
                .tempdir()
                .doing(doing)?;
            return Ok(Self::Temporary(made));
        };
        let is_empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        if path.exists() && !is_empty && !kept::is_kept(path) {
            return Err(Failure::input(format!(
                "{} is not empty, and holds no sandbox that could be continued. Remove the directory, \
                 or name another with --dir",
                path.display()
            )));
        }
        std::fs::create_dir_all(path).doing(|| format!("make the directory {}", path.display()))?;
        let absolute = path
            .canonicalize()
            .doing(|| format!("find {}", path.display()))?;
        Ok(Self::Kept(absolute))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}
