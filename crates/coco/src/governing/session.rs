//! With whose key, and through which node.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use client::{Admin, Identity, Problem, Signer, Trust, read_certificate};
use crypto::Zeroizing;

use crate::failure::Failure;

/// Longest passphrase file.
const PASSPHRASE_BYTES_MAX: u64 = 4096;

/// The key that signs.
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// Key that signs: an identity file, or a `pkcs11:` URI (RFC 7512) of a key in a module
    #[arg(long, value_name = "FILE|pkcs11:...")]
    sign_with: Option<String>,
    /// Certificates of a key in a module, leaf first, where the token does not keep them
    #[arg(long, value_name = "FILE", requires = "sign_with")]
    certificates: Option<PathBuf>,
    /// Holds the passphrase of the key file, on one line; without it, the terminal is asked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Key {
    pub(crate) fn open(&self) -> Result<Signer, Failure> {
        let from = self.sign_with.as_deref().ok_or_else(|| {
            Failure::input("name the key that signs: --sign-with FILE or --sign-with pkcs11:...")
        })?;
        let mut passphrase = || self.passphrase(from);
        Ok(Signer::open(
            from,
            self.certificates.as_deref(),
            &mut passphrase,
        )?)
    }

    fn passphrase(&self, of: &str) -> Result<Zeroizing<String>, Problem> {
        let told = |text: String| Problem::Identity(text);
        if let Some(path) = &self.passphrase_file {
            read_passphrase(path).map_err(told)
        } else if std::io::stdin().is_terminal() {
            let line = ask(of).map_err(|error| told(format!("read the passphrase: {error}")))?;
            Ok(without_line_end(&line))
        } else {
            Err(told(format!(
                "a passphrase protects {of}: name its file with --passphrase-file"
            )))
        }
    }
}

/// The passphrase in a file of one line.
pub(crate) fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, String> {
    let refuse = |error| format!("read {}: {error}", path.display());
    if std::fs::metadata(path).map_err(refuse)?.len() > PASSPHRASE_BYTES_MAX {
        return Err(format!("{} is no passphrase file", path.display()));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(refuse)?);
    Ok(without_line_end(&text))
}

fn without_line_end(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks at the terminal, which does not show what is typed.
fn ask(of: &str) -> std::io::Result<Zeroizing<String>> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let terminal = std::io::stdin();
    let before = tcgetattr(&terminal)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    eprint!("Passphrase of {of}: ");
    std::io::stderr().flush()?;
    tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
    let mut line = Zeroizing::new(String::new());
    let read = terminal.lock().read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    eprintln!();
    read.map(|_| line)
}

/// The node through which it goes.
#[derive(Debug, Args)]
pub(crate) struct Session {
    /// An actor's identity, for the channel
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// The pinned network identity certificate
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// A node's administrative address; give several to fail over
    #[arg(long = "vn", value_name = "HOST:PORT", num_args = 1..)]
    nodes: Vec<String>,
    /// Asks the node for evidence that satisfies this constitution
    #[arg(long, value_name = "FILE")]
    constitution: Option<PathBuf>,
}

impl Session {
    pub(crate) fn open(&self) -> Result<Admin, Failure> {
        let missing = |option: &str| {
            Failure::input(format!(
                "{option} is missing: a session with a node needs --identity, --network and --vn"
            ))
        };
        let identity = self
            .identity
            .as_ref()
            .ok_or_else(|| missing("--identity"))?;
        let network = self.network.as_ref().ok_or_else(|| missing("--network"))?;
        if self.nodes.is_empty() {
            return Err(missing("--vn"));
        }
        let identity = Identity::read(identity)?;
        let mut trust = Trust::pinned(read_certificate(network)?);
        if let Some(path) = &self.constitution {
            trust = trust.with_constitution(crate::network::read(path)?);
        }
        Ok(Admin::open(&identity, trust, self.nodes.clone())?)
    }
}
