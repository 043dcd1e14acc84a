//! Starting: what the configuration says becomes the first message, and this process becomes the
//! host's user in its directory.

use std::io;
use std::path::Path;

use boundary::{ProtocolSettings, Start};
use bytes::Bytes;

use crate::config::{self, Config};
use crate::signals;
use crate::storage::{Extent, LedgerFiles, Options, SnapshotFiles};

/// Where ledger and snapshots are, within the host's directory.
pub(crate) const LEDGER: &str = "ledger";
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// The host's first message, but for what lies on the disk: the manager is told that later, when the
/// files were opened as the host's user.
pub(crate) fn message(config: &Config) -> Result<Start, String> {
    let read = |path| config::read(path).map_err(|error| error.to_string());
    let mut protocols = Vec::new();
    for (protocol, one) in &config.protocols {
        if let Some(path) = &one.settings {
            let (protocol, settings) = (protocol.clone(), read(path)?.into());
            protocols.push(ProtocolSettings { protocol, settings });
        }
    }
    Ok(Start {
        owner: config.owner.clone(),
        address: config.address.clone(),
        constitution: read(&config.constitution)?.into(),
        create: config.create,
        peers: config.peers.clone(),
        owner_chain: config::read_chain(&config.owner_chain)
            .map_err(|e| e.to_string())?
            .into(),
        protocols,
        tick_ms: config.tick_ms,
        network: config.network.clone().unwrap_or_default(),
        restart_order: match &config.restart_order {
            Some(path) => read(path)?.into(),
            None => Bytes::new(),
        },
        ..Start::default()
    })
}

/// Opens what lies on the disk, and completes the first message with it.
pub(crate) fn open_storage(
    config: &Config,
    start: Start,
) -> Result<(LedgerFiles, SnapshotFiles, Start), String> {
    let options = Options {
        reserve_bytes: config.disk_reserve_mib.saturating_mul(1 << 20),
        ..Options::default()
    };
    let medium = options.medium.clone();
    let files = LedgerFiles::open(Path::new(LEDGER), options).map_err(|error| error.to_string())?;
    files.check_room().map_err(|error| error.to_string())?;
    let snapshots = SnapshotFiles::open(Path::new(SNAPSHOTS), medium, files.space())?;
    let Extent { last, tail } = files.extent();
    let (tail_first, tail_last) = tail.unwrap_or_default();
    let start = Start {
        ledger_last: last,
        tail_first,
        tail_last,
        snapshots: snapshots.indices(),
        ..start
    };
    Ok((files, snapshots, start))
}

/// Makes the directory and goes there, so that its parents need not be open to the host's user; root
/// hands it over and becomes that user.
pub(crate) fn settle(config: &Config) -> Result<(), String> {
    let shown = config.directory.display();
    std::fs::create_dir_all(&config.directory)
        .and_then(|()| std::env::set_current_dir(&config.directory))
        .map_err(|error| format!("{shown}: {error}"))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if config.uid == 0 || config.gid == 0 {
        return Err("uid and gid in the configuration must not be root's".into());
    }
    give(config).map_err(|error| format!("hand over {shown}: {error}"))?;
    signals::become_user(config.uid, config.gid)
        .map_err(|error| format!("cannot become user {}: {error}", config.uid))
}

/// The present directory, and what lies in the ledger's and the snapshots'; nothing else that someone
/// may keep there.
fn give(config: &Config) -> io::Result<()> {
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(config.uid), Some(config.gid));
    give(Path::new("."))?;
    for directory in [LEDGER, SNAPSHOTS].map(Path::new) {
        if directory.is_dir() {
            give(directory)?;
            for file in std::fs::read_dir(directory)? {
                give(&file?.path())?;
            }
        }
    }
    Ok(())
}

/// A descriptor for each connection that may be open; what the system allows is enough to start.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
