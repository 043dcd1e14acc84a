//! `coco node start`: one validating node, that is its host, its launcher, the owner's agent, and what
//! calls the owner's webhook.
//!
//! Host and launcher are processes of their own and know one another by one socket only: its ends
//! are left to them as inherited descriptors. The agent runs here, apart from both. A signal to stop
//! goes to the host, which asks the manager to end in good order; then everything else follows.

mod agent;
pub(crate) mod config;
mod process;
pub(crate) mod webhook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use client::{Identity, Problem, ShareKey, certificate_to_pem};
use governance::Constitution;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Code, Doing, Failure};
use crate::images::Images;
use agent::Agent;
use config::Config;
use process::Process;
use webhook::Webhook;

/// How long one of the two processes may live on after the other ended.
const PATIENCE: Duration = Duration::from_secs(12);

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Runs a validating node until it is told to stop
    Start(Start),
    /// Prints or checks a configuration
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Configuration of the node (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stops when the process that started this one ends
    #[arg(long, hide = true)]
    with_parent: bool,
}

#[derive(Debug, Args)]
#[group(required = true)]
pub(crate) struct ConfigCommand {
    /// Prints a configuration with every key explained
    #[arg(long)]
    example: bool,
    /// Says whether a configuration can be used
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

pub(crate) fn run(command: &NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Start(arguments) => start(arguments),
        NodeCommand::Config(ConfigCommand {
            check: Some(path), ..
        }) => {
            let config = Config::load(path)?;
            approved(&config)?;
            println!("{} can be used", path.display());
            Ok(())
        }
        NodeCommand::Config(_) => {
            print!("{}", config::EXAMPLE);
            Ok(())
        }
    }
}

fn start(arguments: &Start) -> Result<(), Failure> {
    if arguments.with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .map_err(|errno| Failure::machine(format!("follow the parent process: {errno}")))?;
    }
    let config = Config::load(&arguments.config)?;
    // One thread: a process that follows its parent follows the thread that made it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing(|| "start the node's supervisor".to_owned())?;
    runtime.block_on(supervise(&config))
}

/// The constitution, if it is the one that the owner approved and has a place for this node.
fn approved(config: &Config) -> Result<Constitution, Failure> {
    let constitution = crate::network::read(&config.constitution)?;
    let digest = constitution.digest();
    if let Some(approved) = config.approved
        && approved != digest
    {
        return Err(Failure::input(format!(
            "{} has the digest {digest}, and the owner approved {approved}",
            config.constitution.display()
        )));
    }
    if !constitution.has_slot(&config.owner, &config.address) {
        return Err(Failure::input(format!(
            "the constitution lists no node of {} at {}; compare `owner` and `address` with `coco constitution show {}`",
            config.owner,
            config.address,
            config.constitution.display()
        )));
    }
    for protocol in &constitution.protocols {
        let configured = config.protocols.get(&protocol.name).ok_or_else(|| {
            Failure::input(format!(
                "the network runs {0}: add a section [protocols.{0}]",
                protocol.name
            ))
        })?;
        if let Some(path) = &configured.settings {
            let found = crypto::sha256(&crate::network::read_bytes(path)?);
            if found != protocol.settings_digest {
                return Err(Failure::input(format!(
                    "{} has the digest {found}, and the constitution asks for {}: take the file that the members agreed on",
                    path.display(),
                    protocol.settings_digest
                )));
            }
        }
    }
    Ok(constitution)
}

async fn supervise(config: &Config) -> Result<(), Failure> {
    let constitution = approved(config)?;
    let images = Images::find(config.images.as_deref())?;
    let identity = Identity::read(&config.agent.identity)?;
    if identity.chain[0]
        .extension(governance::AGENT_EXTENSION)
        .is_none()
    {
        eprintln!(
            "warning: {} is not an agent's identity: whoever reads it can act as {}. `coco member \
             agent` makes one that signs VN tuples only",
            config.agent.identity.display(),
            config.owner
        );
    }
    let root = rustix::process::geteuid().is_root();
    let host_user = root.then_some(config.users.host);
    std::fs::create_dir_all(&config.directory)
        .doing(|| format!("make the directory {}", config.directory.display()))?;
    let runtime = runtime_directory()?;
    if root {
        reachable(runtime.path())?;
    }
    let chain: String = identity.chain.iter().map(certificate_to_pem).collect();
    let owner_chain = runtime.path().join("owner.pem");
    let socket = runtime.path().join("agent.socket");
    let webhook_socket = runtime.path().join("webhook.socket");
    let host_config = runtime.path().join("host.toml");
    crate::keys::write_public(&owner_chain, &chain)?;
    let order = restart_order(config, runtime.path())?;
    crate::keys::write_public(
        &host_config,
        &config.for_host(&owner_chain, &socket, &webhook_socket, order.as_deref()),
    )?;
    let agent = Agent {
        identity,
        owner: config.owner.clone(),
        address: config.address.clone(),
        network: config.network_id(&constitution)?,
        share: share_key(config, &constitution)?,
        constitution: constitution.clone(),
    };
    let serving = tokio::spawn(agent.serve(Agent::listen(&socket, host_user)?));
    let webhook = config.webhook.as_ref();
    let webhook = webhook.map(|webhook| Webhook::listen(webhook, &webhook_socket, host_user));
    let calling = webhook
        .transpose()?
        .map(|webhook| tokio::spawn(webhook.serve()));
    let ended = loop {
        let (host, launcher) = processes(config, &images, &host_config, &constitution)?;
        match watch(host, launcher).await {
            Ok(Ended::Again) => {
                eprintln!(
                    "the node starts again, to take part in the restart of a network that lost its quorum"
                );
            }
            Ok(Ended::Stopped) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    serving.abort();
    if let Some(calling) = calling {
        calling.abort();
    }
    ended
}

/// What actors ordered, where the host may read it.
fn restart_order(config: &Config, directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = &config.restart_order else {
        return Ok(None);
    };
    let orders = client::restart_order_from_pem(&crate::network::read_text(path)?)?;
    let file = directory.join("order.cbor");
    std::fs::write(&file, governance::orders_to_cbor(&orders))
        .doing(|| format!("write {}", file.display()))?;
    Ok(Some(file))
}

/// The owner's share-transport key, if the agent is given one; it is the one of the constitution.
fn share_key(config: &Config, constitution: &Constitution) -> Result<Option<ShareKey>, Failure> {
    let listed = constitution
        .actor(&config.owner)
        .and_then(|a| a.share_key)
        .map(|key| hex::encode(key.bytes()));
    let Some(path) = &config.agent.share_key else {
        if listed.is_some() {
            eprintln!(
                "warning: the constitution lists a share key of {}, and this node's agent has none: it \
                 takes no part in opening keys. Set share_key in [agent]",
                config.owner
            );
        }
        return Ok(None);
    };
    let module = config.agent.share_key_module.as_deref();
    let key = ShareKey::read(path, module, &mut || {
        let file = config.agent.share_key_passphrase.as_deref();
        let file = file.ok_or_else(|| {
            Problem::Identity(
                "a passphrase protects the key: name its file, share_key_passphrase in [agent]"
                    .into(),
            )
        })?;
        crate::governing::read_passphrase(file).map_err(Problem::Identity)
    })?;
    // Whether a module opens it shows now, and not when the enclave asks.
    key.with(|_| ())?;
    let public = hex::encode(key.public().bytes());
    if listed.as_ref() != Some(&public) {
        eprintln!(
            "warning: the public part of {} is {public}, and the constitution lists {} for {}. Give the \
             agent the key that is listed, or have this one listed by a vote (set-share-key)",
            path.display(),
            listed.as_deref().unwrap_or("none"),
            config.owner
        );
    }
    Ok(Some(key))
}

/// Starts host and launcher with a socket between them.
fn processes(
    config: &Config,
    images: &Images,
    host_config: &Path,
    constitution: &Constitution,
) -> Result<(Process, Process), Failure> {
    let (host_end, manager_end) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Failure::machine(format!("make a socket pair: {errno}")))?;
    let mut command = std::process::Command::new(images.host()?);
    command.arg("--config").arg(host_config);
    let host = Process::start("coco-host", command, "--manager-fd", host_end)?;
    let mut command = std::process::Command::new(images.launcher()?);
    command.arg("--manager").arg(images.manager()?);
    for protocol in &constitution.protocols {
        let mut pair = std::ffi::OsString::from(format!("{}=", protocol.name));
        pair.push(images.worker(&protocol.name)?);
        command.arg("--worker").arg(pair);
    }
    command.arg("--platform-key").arg(&config.platform.key);
    command
        .arg("--platform-certificates")
        .arg(&config.platform.certificates);
    command.arg("--svn").arg(config.platform.svn.to_string());
    if let Some(threads) = config.platform.threads {
        command.arg("--threads").arg(threads.to_string());
    }
    let user = config.users.enclaves.to_string();
    command.args(["--uid", &user, "--gid", &user]);
    let launcher = Process::start("coco-launcher", command, "--host-fd", manager_end)?;
    Ok((host, launcher))
}

/// How a node ended that may have done so.
enum Ended {
    Stopped,
    /// It asks to be started again.
    Again,
}

/// The manager's exit code for [`Ended::Again`].
const EXIT_AGAIN: i32 = 6;

/// Waits until both have ended; a signal asks the host to end, a second one ends both at once.
async fn watch(mut host: Process, mut launcher: Process) -> Result<Ended, Failure> {
    let doing = || "listen for signals".to_owned();
    let mut terminate = signal(SignalKind::terminate()).doing(doing)?;
    let mut interrupt = signal(SignalKind::interrupt()).doing(doing)?;
    let mut asked = false;
    loop {
        tokio::select! {
            () = host.ended(), if !host.is_ended() => launcher.end_within(PATIENCE).await,
            () = launcher.ended(), if !launcher.is_ended() => host.end_within(PATIENCE).await,
            _ = terminate.recv() => stop(&mut asked, &mut host, &mut launcher),
            _ = interrupt.recv() => stop(&mut asked, &mut host, &mut launcher),
        }
        if host.is_ended() && launcher.is_ended() {
            break;
        }
    }
    if host.succeeded() && (launcher.succeeded() || asked) {
        return Ok(Ended::Stopped);
    }
    if host.code() == Some(EXIT_AGAIN) && !asked {
        return Ok(Ended::Again);
    }
    let code = if host.code() == Some(2) || launcher.code() == Some(2) {
        Code::Input
    } else {
        Code::Failed
    };
    Err(Failure::new(
        code,
        format!(
            "the validating node ended.\n  {}\n  {}",
            host.last_words(),
            launcher.last_words()
        ),
    ))
}

fn stop(asked: &mut bool, host: &mut Process, launcher: &mut Process) {
    if *asked {
        host.kill();
        launcher.kill();
    } else {
        host.ask_to_end();
    }
    *asked = true;
}

/// A directory for the socket and for what the host may read, gone at the end.
fn runtime_directory() -> Result<tempfile::TempDir, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let doing = || format!("make a directory in {}", std::env::temp_dir().display());
    let directory = tempfile::Builder::new()
        .prefix("coco-node-")
        .tempdir()
        .doing(doing)?;
    // The host's user may pass through; what may be opened is decided file by file.
    let mode = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(directory.path(), mode).doing(doing)?;
    Ok(directory)
}

/// The host's user must be able to pass through to the agent's socket.
fn reachable(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    for above in directory.ancestors().skip(1) {
        let doing = || format!("look at {}", above.display());
        if std::fs::metadata(above).doing(doing)?.mode() & 0o001 == 0 {
            return Err(Failure::machine(format!(
                "the host runs as a user of its own and cannot pass through {}. Run `chmod o+x {0}`, \
                 or let TMPDIR name a directory elsewhere, such as /tmp",
                above.display()
            )));
        }
    }
    Ok(())
}
