//! The configuration of a validating node, and what of it the host is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use governance::Constitution;
use serde::{Deserialize, Serialize};
use types::{Digest, NetworkId};

use super::webhook;
use crate::failure::Failure;

/// A complete configuration with every key explained; `coco node config --example` prints it.
pub(crate) const EXAMPLE: &str = include_str!("example.toml");

/// What `coco node start` is told. See [`EXAMPLE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) owner: String,
    pub(crate) address: String,
    pub(crate) directory: PathBuf,
    pub(crate) constitution: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approved: Option<Digest>,
    #[serde(default)]
    pub(crate) create: bool,
    #[serde(default)]
    pub(crate) peers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) images: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart_order: Option<PathBuf>,
    #[serde(default = "tick_ms")]
    pub(crate) tick_ms: u64,
    #[serde(default = "disk_reserve_mib")]
    pub(crate) disk_reserve_mib: u64,
    pub(crate) listen: Listen,
    #[serde(default)]
    pub(crate) protocols: BTreeMap<String, Protocol>,
    pub(crate) agent: Agent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<webhook::Config>,
    pub(crate) platform: Platform,
    #[serde(default)]
    pub(crate) users: Users,
    #[serde(default)]
    pub(crate) log: Log,
}

/// Ports beside those of the protocols.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) node: SocketAddr,
    pub(crate) admin: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// One blockchain protocol.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Protocol {
    pub(crate) listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<PathBuf>,
}

/// The owner's agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agent {
    pub(crate) identity: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share_key_passphrase: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share_key_module: Option<String>,
}

/// The software TEE.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Platform {
    pub(crate) key: PathBuf,
    pub(crate) certificates: PathBuf,
    #[serde(default = "svn")]
    pub(crate) svn: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
}

/// Users of the processes when root starts them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Users {
    pub(crate) host: u32,
    pub(crate) enclaves: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            host: 64101,
            enclaves: 64100,
        }
    }
}

/// What the host logs, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) format: String,
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: "text".into(),
            level: "info".into(),
        }
    }
}

fn tick_ms() -> u64 {
    10
}

fn disk_reserve_mib() -> u64 {
    256
}

fn svn() -> u64 {
    1
}

impl Config {
    /// Reads a configuration and makes its paths absolute.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let unusable = |what: String| Failure::input(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| {
            unusable(format!(
                "{error}; `coco node config --example` prints a configuration"
            ))
        })?;
        let mut config = Self::parse(&text).map_err(unusable)?;
        let own = std::path::absolute(path).map_err(|error| unusable(error.to_string()))?;
        config.start_from(own.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    /// Whether the text is a configuration.
    pub(crate) fn check(text: &str) -> Result<(), String> {
        Self::parse(text).map(drop)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if !governance::valid_address(&config.address) {
            return Err(format!("address {:?} is not HOST:PORT", config.address));
        }
        if !config.create && config.peers.is_empty() {
            return Err(
                "name at least one of `peers` to join through, or set create = true".into(),
            );
        }
        if config.users.host == config.users.enclaves {
            return Err(
                "users.host and users.enclaves must differ: the launcher's user protects the \
                        enclaves from the host's"
                    .into(),
            );
        }
        if let Some(webhook) = &config.webhook {
            webhook.parse()?;
        }
        Ok(config)
    }

    fn start_from(&mut self, base: &Path) {
        let paths = [
            &mut self.directory,
            &mut self.constitution,
            &mut self.agent.identity,
            &mut self.platform.key,
            &mut self.platform.certificates,
        ];
        let settings = self
            .protocols
            .values_mut()
            .filter_map(|protocol| protocol.settings.as_mut());
        for path in paths
            .into_iter()
            .chain(self.images.as_mut())
            .chain(self.restart_order.as_mut())
            .chain(self.agent.share_key.as_mut())
            .chain(self.agent.share_key_passphrase.as_mut())
            .chain(
                self.webhook
                    .as_mut()
                    .and_then(|webhook| webhook.ca.as_mut()),
            )
            .chain(settings)
        {
            *path = base.join(&*path);
        }
    }

    /// The network that the node belongs to.
    pub(crate) fn network_id(&self, constitution: &Constitution) -> Result<NetworkId, Failure> {
        let Some(text) = &self.network else {
            return Ok(constitution.network_id());
        };
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| {
            Failure::input(format!(
                "network = {text:?} in the configuration: expected 64 hexadecimal digits"
            ))
        })?;
        Ok(NetworkId(bytes))
    }

    /// The configuration of `coco-host`.
    pub(crate) fn for_host(
        &self,
        owner_chain: &Path,
        agent_socket: &Path,
        webhook_socket: &Path,
        restart_order: Option<&Path>,
    ) -> String {
        #[derive(Serialize)]
        struct Host<'a> {
            owner: &'a str,
            address: &'a str,
            directory: &'a Path,
            create: bool,
            peers: &'a [String],
            constitution: &'a Path,
            owner_chain: &'a Path,
            #[serde(skip_serializing_if = "Option::is_none")]
            network: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            restart_order: Option<&'a Path>,
            tick_ms: u64,
            disk_reserve_mib: u64,
            uid: u32,
            gid: u32,
            listen: &'a Listen,
            protocols: &'a BTreeMap<String, Protocol>,
            agent: BTreeMap<&'a str, &'a Path>,
            webhook: BTreeMap<&'a str, &'a Path>,
            log: &'a Log,
        }
        let host = Host {
            owner: &self.owner,
            address: &self.address,
            directory: &self.directory,
            create: self.create,
            peers: &self.peers,
            constitution: &self.constitution,
            owner_chain,
            network: self.network.as_deref(),
            restart_order,
            tick_ms: self.tick_ms,
            disk_reserve_mib: self.disk_reserve_mib,
            uid: self.users.host,
            gid: self.users.host,
            listen: &self.listen,
            protocols: &self.protocols,
            agent: BTreeMap::from([("socket", agent_socket)]),
            webhook: self
                .webhook
                .iter()
                .map(|_| ("socket", webhook_socket))
                .collect(),
            log: &self.log,
        };
        toml::to_string(&host).expect("tables, texts and numbers have a form in TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_can_be_used_and_says_the_defaults() {
        let mut config = Config::parse(EXAMPLE).expect("the example is good");
        assert_eq!(config.users.host, Users::default().host);
        assert_eq!(config.users.enclaves, Users::default().enclaves);
        assert_eq!((config.tick_ms, config.platform.svn), (tick_ms(), svn()));
        assert_eq!(config.disk_reserve_mib, disk_reserve_mib());
        config.start_from(Path::new("/etc/coco"));
        assert_eq!(config.directory, Path::new("/etc/coco/data"));
        let host = config.for_host(
            Path::new("/c.pem"),
            Path::new("/a.socket"),
            Path::new("/w.socket"),
            None,
        );
        assert!(host.contains("socket = \"/a.socket\""), "{host}");
        assert!(!host.contains("/w.socket"), "{host}");
        config.webhook = Some(webhook::Config {
            url: "https://hooks.example/".into(),
            ca: None,
        });
        let host = config.for_host(
            Path::new("/c.pem"),
            Path::new("/a.socket"),
            Path::new("/w.socket"),
            None,
        );
        assert!(host.contains("[webhook]\nsocket = \"/w.socket\""), "{host}");
        assert!(
            host.contains("settings = \"/etc/coco/network/ethereum.json\""),
            "{host}"
        );
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        for (from, to, part) in [
            ("owner = ", "owmer = ", "unknown field `owmer`"),
            ("address = \"", "address = \"nowhere\" #", "not HOST:PORT"),
            ("peers = [", "peers = [] #", "at least one"),
            ("host = 64101", "host = 64100", "must differ"),
        ] {
            let changed = EXAMPLE.replacen(from, to, 1);
            assert_ne!(changed, EXAMPLE, "{from}");
            let error = Config::parse(&changed).expect_err(to);
            assert!(error.contains(part), "{to}: {error}");
        }
    }
}
