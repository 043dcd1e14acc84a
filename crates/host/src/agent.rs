//! Asks the owner's agent to sign the tuple of a new incarnation.
//!
//! The agent is a process apart from the host and holds a delegated key. The talk is one request
//! and one answer on a Unix socket; all lengths are 4 bytes, big-endian:
//!
//! ```text
//! request   length | payload of the tuple
//! answer    length | 0 | COSE_Sign1          or   length | 1 | why not (text)
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boundary::TupleSigned;

/// Largest request and answer. A tuple has 200 bytes, its signature with chain a few thousand.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// How long the agent may take: its key may be in an HSM that someone unlocks.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the agent listens.
#[derive(Debug, Clone)]
pub struct Agent {
    shown: PathBuf,
    /// By way of the open directory, so that its parents need not be open to the host's user.
    path: PathBuf,
    _directory: Option<Arc<File>>,
}

impl Agent {
    /// The agent whose socket has this path. To be called before the process changes its user.
    pub fn at(socket: &Path) -> Self {
        let shown = socket.to_owned();
        let directory = socket.parent().map(File::open);
        match (directory, socket.file_name()) {
            (Some(Ok(directory)), Some(name)) => {
                let link = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
                Self {
                    shown,
                    path: link.join(name),
                    _directory: Some(Arc::new(directory)),
                }
            }
            // It may come into being later.
            _ => Self {
                path: shown.clone(),
                shown,
                _directory: None,
            },
        }
    }
}

/// Asks and waits; a failure is an answer too.
pub fn sign(agent: Option<&Agent>, payload: &[u8]) -> TupleSigned {
    match agent.ok_or_else(|| "no agent is configured; set agent.socket".to_owned()) {
        Ok(agent) => ask(&agent.path, payload)
            .map_err(|error| format!("the agent at {}: {error}", agent.shown.display())),
        Err(problem) => Err(problem),
    }
    .map_or_else(
        |failure| TupleSigned {
            tuple: Default::default(),
            failure,
        },
        |tuple| TupleSigned {
            tuple: tuple.into(),
            failure: String::new(),
        },
    )
}

fn ask(socket: &Path, payload: &[u8]) -> Result<Vec<u8>, String> {
    if payload.len() > MESSAGE_BYTES_MAX {
        return Err(format!("a tuple of {} bytes is none", payload.len()));
    }
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut agent = UnixStream::connect(socket)?;
        agent.set_read_timeout(Some(PATIENCE))?;
        agent.set_write_timeout(Some(PATIENCE))?;
        let length = u32::try_from(payload.len()).expect("checked above");
        agent.write_all(&[&length.to_be_bytes(), payload].concat())?;
        let mut length = [0; 4];
        agent.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(std::io::Error::other(format!("announced {length} bytes")));
        }
        let mut answer = vec![0; length];
        agent.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| format!("{error}; is `coco agent` running?"))?;
    match answer.split_first() {
        Some((0, tuple)) => Ok(tuple.to_vec()),
        Some((1, reason)) => Err(String::from_utf8_lossy(reason).into_owned()),
        _ => Err("gave an answer that is none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn with_agent(answer: &'static [u8]) -> TupleSigned {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("agent.socket");
        let listener = UnixListener::bind(&path).expect("bound");
        let agent = std::thread::spawn(move || {
            let mut host = listener.accept().expect("the host comes").0;
            let mut request = [0; 9];
            host.read_exact(&mut request).expect("request");
            assert_eq!(&request, b"\0\0\0\x05tuple");
            host.write_all(answer).expect("answered");
        });
        let signed = sign(Some(&Agent::at(&path)), b"tuple");
        agent.join().expect("the agent's checks hold");
        signed
    }

    #[test]
    fn a_signature_or_a_reason_comes_back() {
        assert_eq!(&with_agent(b"\0\0\0\x04\0abc").tuple[..], b"abc");
        assert!(with_agent(b"\0\0\0\x05\x01busy").failure.ends_with("busy"));
        assert!(with_agent(b"\xff\0\0\0").failure.contains("announced"));
        assert!(
            with_agent(b"\0\0\0\0")
                .failure
                .contains("answer that is none")
        );
        assert!(sign(None, b"tuple").failure.contains("agent.socket"));
    }
}
