//! The configuration of a host: one TOML file, every key documented by [`EXAMPLE`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A complete configuration with every key explained; `coco-host --example` prints it.
pub const EXAMPLE: &str = include_str!("example.toml");

/// What a host is told. See [`EXAMPLE`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub owner: String,
    pub address: String,
    pub directory: PathBuf,
    #[serde(default)]
    pub create: bool,
    #[serde(default)]
    pub peers: Vec<String>,
    pub constitution: PathBuf,
    pub owner_chain: PathBuf,
    #[serde(default)]
    pub network: Option<String>,
    #[serde(default)]
    pub restart_order: Option<PathBuf>,
    #[serde(default = "tick_ms")]
    pub tick_ms: u64,
    #[serde(default = "disk_reserve_mib")]
    pub disk_reserve_mib: u64,
    #[serde(default = "host_user")]
    pub uid: u32,
    #[serde(default = "host_user")]
    pub gid: u32,
    pub listen: Listen,
    #[serde(default)]
    pub protocols: BTreeMap<String, Protocol>,
    #[serde(default)]
    pub agent: Agent,
    #[serde(default)]
    pub webhook: Webhook,
    #[serde(default)]
    pub log: Log,
}

/// Where the validating node is reached, besides its protocols' ports.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub node: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: Option<SocketAddr>,
}

/// One blockchain protocol.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    pub listen: SocketAddr,
    pub settings: Option<PathBuf>,
}

/// The owner's agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub socket: Option<PathBuf>,
}

/// Who calls the owner's webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub socket: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: Format,
    pub level: String,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: "info".into(),
        }
    }
}

/// A configuration that cannot be used; says what to change.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Unusable {
    path: PathBuf,
    what: String,
}

/// Largest file that the configuration names: genesis settings with some 100,000 accounts.
const FILE_BYTES_MAX: u64 = 32 << 20;

fn tick_ms() -> u64 {
    10
}

fn disk_reserve_mib() -> u64 {
    256
}

fn host_user() -> u32 {
    64101
}

impl Config {
    /// Reads a configuration file. Relative paths in it start from where it is.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn load(path: &Path) -> Result<Self, Unusable> {
        let unusable = |what: String| Unusable {
            path: path.to_owned(),
            what,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| unusable(format!("{error}; --config names a file like --example")))?;
        let mut config = Self::parse(&text).map_err(unusable)?;
        let base = path.parent().unwrap_or(Path::new("."));
        let protocols = &mut config.protocols;
        let paths = [
            &mut config.directory,
            &mut config.constitution,
            &mut config.owner_chain,
        ]
        .into_iter()
        .chain(config.agent.socket.as_mut())
        .chain(config.webhook.socket.as_mut())
        .chain(
            protocols
                .values_mut()
                .filter_map(|protocol| protocol.settings.as_mut()),
        );
        for path in paths {
            *path = base.join(&*path);
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if !(1..=1_000).contains(&config.tick_ms) {
            return Err(format!("tick_ms is {}; use 1 to 1000", config.tick_ms));
        }
        if config
            .address
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.parse::<u16>().is_err())
        {
            return Err(format!("address {:?} is not HOST:PORT", config.address));
        }
        if !config.create && config.peers.is_empty() {
            return Err("name at least one peer to join through, or set create = true".into());
        }
        Ok(config)
    }
}

/// Reads a file that the configuration names.
///
/// # Errors
/// [`Unusable`] names the file.
pub fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unusable = |what: String| Unusable {
        path: path.to_owned(),
        what,
    };
    let bytes = std::fs::metadata(path)
        .map_err(|error| unusable(error.to_string()))?
        .len();
    if bytes > FILE_BYTES_MAX {
        return Err(unusable(format!(
            "{bytes} bytes are more than {FILE_BYTES_MAX}"
        )));
    }
    std::fs::read(path).map_err(|error| unusable(error.to_string()))
}

/// Reads certificates (PEM) and gives each as DER with a 4-byte length before it.
///
/// # Errors
/// [`Unusable`].
pub fn read_chain(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unusable = |what: String| Unusable {
        path: path.to_owned(),
        what,
    };
    let blocks = pem::parse_many(read(path)?).map_err(|error| unusable(error.to_string()))?;
    let mut chain = Vec::new();
    for block in blocks.iter().filter(|block| block.tag() == "CERTIFICATE") {
        let bytes = u32::try_from(block.contents().len()).expect("below the file limit");
        chain.extend_from_slice(&bytes.to_be_bytes());
        chain.extend_from_slice(block.contents());
    }
    if chain.is_empty() {
        Err(unusable("holds no certificate (PEM)".into()))
    } else {
        Ok(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_can_be_used_and_names_every_key() {
        let config = Config::parse(EXAMPLE).expect("the example is good");
        assert_eq!(config.protocols.len(), 2);
        assert_eq!(
            (config.tick_ms, config.uid, config.gid),
            (tick_ms(), host_user(), host_user())
        );
        assert_eq!(config.disk_reserve_mib, disk_reserve_mib());
        assert_eq!(
            (
                config.agent.socket.is_some(),
                config.webhook.socket.is_some(),
                config.listen.metrics.is_some()
            ),
            (true, true, true)
        );
        assert_eq!(config.log, Log::default());
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        for (from, to, part) in [
            ("owner = ", "owmer = ", "unknown field `owmer`"),
            ("tick_ms = 10", "tick_ms = 0", "use 1 to 1000"),
            ("address = \"", "address = \"nowhere\" #", "not HOST:PORT"),
            ("peers = [", "peers = [] #", "at least one peer"),
            (
                "format = \"text\"",
                "format = \"xml\"",
                "unknown variant `xml`",
            ),
        ] {
            let changed = EXAMPLE.replacen(from, to, 1);
            assert_ne!(changed, EXAMPLE, "{from}");
            let error = Config::parse(&changed).expect_err(to);
            assert!(error.contains(part), "{to}: {error}");
        }
    }
}
