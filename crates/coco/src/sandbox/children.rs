//! The nodes of a sandbox: each is `coco node start` as a child process, with a log file.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::Sandbox;
use super::plan::{Node, Plan};
use crate::failure::{Doing, Failure};
use crate::node::config::{self, Config};

/// How long a node may take to stop. The host gives its manager ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Lines of a node's log that are shown when it ends by itself.
const SHOWN_LINES: usize = 5;

/// Between looks at the nodes.
const PAUSE: Duration = Duration::from_millis(100);

/// In the log of a node whose worker was given settings that it cannot use.
const COMPLAINT: &str = "cannot work: the settings of";

/// The running nodes. They end with this value, and, should this process be killed, with it.
pub(crate) struct Children {
    nodes: Vec<Running>,
}

struct Running {
    owner: String,
    log: PathBuf,
    child: Child,
    ended: bool,
}

impl Children {
    /// Writes configurations and starts every node; the first makes the network.
    pub(crate) fn start(plan: &Plan, wanted: &Sandbox) -> Result<Self, Failure> {
        let own = std::env::current_exe().doing(|| "find this command's own file".to_owned())?;
        let mut nodes = Vec::new();
        for (place, node) in plan.nodes.iter().enumerate() {
            let file = write_config(plan, place, wanted)?;
            let log = node.directory.join("log.txt");
            let output = File::options()
                .append(true)
                .create(true)
                .open(&log)
                .doing(|| format!("make {}", log.display()))?;
            let mut command = Command::new(&own);
            command
                .args(["node", "start", "--with-parent", "--config"])
                .arg(&file);
            // Ctrl-C is for this process, which tells the nodes.
            command.process_group(0).kill_on_drop(true);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(output);
            let child = command
                .spawn()
                .doing(|| format!("start {}", own.display()))?;
            nodes.push(Running {
                owner: node.owner.clone(),
                log,
                child,
                ended: false,
            });
        }
        Ok(Self { nodes })
    }

    /// The process of each node, by its owner.
    pub(crate) fn processes(&self) -> BTreeMap<String, u32> {
        let running = self.nodes.iter();
        running
            .filter_map(|node| Some((node.owner.clone(), node.child.id()?)))
            .collect()
    }

    /// Waits until a node ends by itself or says that a worker cannot work, and says what it said.
    pub(crate) async fn first_end(&mut self) -> Failure {
        loop {
            if let Some(place) = self.ended() {
                let node = &self.nodes[place];
                return Failure::failed(format!(
                    "the node of {} ended while the network was starting.\n{}",
                    node.owner,
                    node.last_words()
                ));
            }
            if let Some(said) = self.nodes.iter().find_map(Running::complaint) {
                return Failure::input(said);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until all nodes have ended; tells of each.
    pub(crate) async fn watch(&mut self) -> Result<(), Failure> {
        loop {
            let place = self.any_end().await;
            let left = self.nodes.iter().filter(|node| !node.ended).count();
            let node = &self.nodes[place];
            eprintln!(
                "the node of {} ended; {left} of {} are left.\n{}",
                node.owner,
                self.nodes.len(),
                node.last_words()
            );
            if left == 0 {
                return Err(Failure::failed("no node is left"));
            }
        }
    }

    async fn any_end(&mut self) -> usize {
        loop {
            if let Some(place) = self.ended() {
                return place;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One that has ended and was not told of yet.
    fn ended(&mut self) -> Option<usize> {
        let place = self.nodes.iter_mut().position(|node| {
            !node.ended && matches!(node.child.try_wait(), Ok(Some(_)) | Err(_))
        })?;
        self.nodes[place].ended = true;
        Some(place)
    }

    /// Asks every node to stop, waits, and ends what does not.
    pub(crate) async fn stop(mut self) {
        for node in &self.nodes {
            node.signal(Signal::TERM);
        }
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        for node in &mut self.nodes {
            tokio::select! {
                _ = node.child.wait() => {}
                () = &mut patience => {
                    node.signal(Signal::KILL);
                    // It has been killed; what is left is to collect it.
                    let _ = node.child.wait().await;
                }
            }
        }
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        let number = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = number {
            // It may have ended a moment ago; it was not waited for, so the number is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    /// What the manager says of a worker that refuses its settings: no patience helps.
    fn complaint(&self) -> Option<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let line = log.lines().find(|line| line.contains(COMPLAINT))?;
        let said = line.split_once("worker: ").map_or(line, |(_, said)| said);
        Some(said.to_owned())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        format!(
            "  {}\n  (the whole log: {})",
            shown.join("\n  "),
            self.log.display()
        )
    }
}

fn write_config(plan: &Plan, place: usize, wanted: &Sandbox) -> Result<PathBuf, Failure> {
    let node = &plan.nodes[place];
    let config = to_config(plan, node, place == 0, wanted)?;
    std::fs::create_dir_all(&node.directory)
        .doing(|| format!("make the directory {}", node.directory.display()))?;
    let file = node.directory.join("node.toml");
    let text = toml::to_string(&config).expect("tables, texts and numbers have a form in TOML");
    crate::keys::write_public(&file, &text)?;
    Ok(file)
}

fn to_config(plan: &Plan, node: &Node, create: bool, wanted: &Sandbox) -> Result<Config, Failure> {
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let address = |text: &str| -> Result<SocketAddr, Failure> {
        text.parse()
            .map_err(|_| Failure::failed(format!("{text} is no address")))
    };
    let peers = plan
        .nodes
        .iter()
        .filter(|other| other.address != node.address);
    let images = wanted
        .images
        .as_deref()
        .map(Path::canonicalize)
        .transpose()
        .doing(|| "find --images".to_owned())?;
    Ok(Config {
        owner: node.owner.clone(),
        address: node.address.clone(),
        directory: node.directory.join("data"),
        constitution: plan.constitution_file.clone(),
        approved: Some(plan.constitution.digest()),
        create,
        peers: peers.map(|peer| peer.address.clone()).collect(),
        images,
        network: None,
        restart_order: None,
        tick_ms: 10,
        disk_reserve_mib: 256,
        listen: config::Listen {
            node: address(&node.address)?,
            admin: local(node.admin_port),
            metrics: Some(local(node.metrics_port)),
        },
        protocols: node
            .ports
            .iter()
            .map(|(protocol, port)| {
                let settings = plan.settings.get(protocol).cloned();
                (
                    protocol.clone(),
                    config::Protocol {
                        listen: local(*port),
                        settings,
                    },
                )
            })
            .collect::<BTreeMap<_, _>>(),
        webhook: None,
        agent: config::Agent {
            identity: node.files.agent.clone(),
            share_key: Some(node.files.share.clone()),
            share_key_passphrase: None,
            share_key_module: None,
        },
        platform: config::Platform {
            key: node.files.platform_key.clone(),
            certificates: node.files.platform_certificates.clone(),
            svn: 1,
            threads: None,
        },
        users: config::Users::default(),
        log: config::Log {
            level: wanted.log.clone(),
            ..config::Log::default()
        },
    })
}
