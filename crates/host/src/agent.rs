//! Asks the owner's agent to sign the tuple of a new incarnation, and for the owner's share-transport
//! key, which it seals to the enclave.
//!
//! The agent is a process apart from the host and holds a delegated key. The talk is one request
//! and one answer on a Unix socket; all lengths are 4 bytes, big-endian:
//!
//! ```text
//! request   length | 0 | payload of the tuple
//!           length | 1 | four parts, each after its length: evidence, endorsements, HPKE key, tuple
//! answer    length | 0 | COSE_Sign1, or the sealed key      or   length | 1 | why not (text)
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boundary::{AskShare, ShareGiven, TupleSigned};

/// Largest request. A tuple has 200 bytes, evidence with endorsements less than the limits of an
/// appraiser.
const REQUEST_BYTES_MAX: usize = 2 << 20;

/// Largest answer: a signature, a sealed key or a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What is asked.
#[derive(Clone, Copy)]
enum Kind {
    Tuple = 0,
    Share = 1,
}

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

/// Asks for a signature and waits; a failure is an answer too.
pub fn sign(agent: Option<&Agent>, payload: &[u8]) -> TupleSigned {
    match exchange(agent, Kind::Tuple, &[payload]) {
        Ok(tuple) => TupleSigned {
            tuple: tuple.into(),
            failure: String::new(),
        },
        Err(failure) => TupleSigned {
            tuple: Default::default(),
            failure,
        },
    }
}

/// Asks for the owner's share-transport key and waits; a failure is an answer too.
pub fn share(agent: Option<&Agent>, asked: &AskShare) -> ShareGiven {
    let parts = [
        &asked.evidence,
        &asked.endorsements,
        &asked.hpke_public,
        &asked.tuple,
    ];
    let lengths = parts.map(|part| u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    let parts = lengths.iter().zip(parts);
    let request: Vec<&[u8]> = parts
        .flat_map(|(length, part)| [&length[..], part])
        .collect();
    match exchange(agent, Kind::Share, &request) {
        Ok(sealed) => ShareGiven {
            sealed: sealed.into(),
            failure: String::new(),
        },
        Err(failure) => ShareGiven {
            sealed: Default::default(),
            failure,
        },
    }
}

fn exchange(agent: Option<&Agent>, kind: Kind, request: &[&[u8]]) -> Result<Vec<u8>, String> {
    let agent = agent.ok_or("no agent is configured; set agent.socket")?;
    ask(&agent.path, kind, request)
        .map_err(|error| format!("the agent at {}: {error}", agent.shown.display()))
}

fn ask(socket: &Path, kind: Kind, request: &[&[u8]]) -> Result<Vec<u8>, String> {
    let bytes = request.iter().map(|part| part.len()).sum::<usize>();
    if bytes >= REQUEST_BYTES_MAX {
        return Err(format!("a request of {bytes} bytes is none"));
    }
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut agent = UnixStream::connect(socket)?;
        agent.set_read_timeout(Some(PATIENCE))?;
        agent.set_write_timeout(Some(PATIENCE))?;
        let length = u32::try_from(bytes + 1).expect("checked above");
        let head = [&length.to_be_bytes()[..], &[kind as u8]].concat();
        agent.write_all(&[&head, &request.concat()[..]].concat())?;
        let mut length = [0; 4];
        agent.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(std::io::Error::other(format!("announced {length} bytes")));
        }
        let mut answer = vec![0; length];
        agent.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| format!("{error}; is `coco node start` running?"))?;
    match answer.split_first() {
        Some((0, body)) => Ok(body.to_vec()),
        Some((1, reason)) => Err(String::from_utf8_lossy(reason).into_owned()),
        _ => Err("gave an answer that is none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What an agent that answers so was asked, and what the host made of it.
    fn with_agent<T>(answer: &'static [u8], ask: impl FnOnce(&Agent) -> T) -> (Vec<u8>, T) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("agent.socket");
        let listener = UnixListener::bind(&path).expect("bound");
        let agent = std::thread::spawn(move || {
            let mut host = listener.accept().expect("the host comes").0;
            let mut length = [0; 4];
            host.read_exact(&mut length).expect("request");
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            host.read_exact(&mut request).expect("request");
            host.write_all(answer).expect("answered");
            request
        });
        let made = ask(&Agent::at(&path));
        (agent.join().expect("the agent answers"), made)
    }

    fn signed(answer: &'static [u8]) -> TupleSigned {
        let (request, signed) = with_agent(answer, |agent| sign(Some(agent), b"tuple"));
        assert_eq!(request, b"\0tuple");
        signed
    }

    #[test]
    fn a_signature_or_a_reason_comes_back() {
        assert_eq!(&signed(b"\0\0\0\x04\0abc").tuple[..], b"abc");
        assert!(signed(b"\0\0\0\x05\x01busy").failure.ends_with("busy"));
        assert!(signed(b"\xff\0\0\0").failure.contains("announced"));
        assert!(signed(b"\0\0\0\0").failure.contains("answer that is none"));
        assert!(sign(None, b"tuple").failure.contains("agent.socket"));
    }

    #[test]
    fn a_sealed_key_or_a_reason_comes_back() {
        let asked = AskShare {
            evidence: "ev".into(),
            endorsements: "".into(),
            hpke_public: "key".into(),
            tuple: "t".into(),
        };
        let (request, given) = with_agent(b"\0\0\0\x04\0abc", |agent| share(Some(agent), &asked));
        assert_eq!(request, b"\x01\0\0\0\x02ev\0\0\0\0\0\0\0\x03key\0\0\0\x01t");
        assert_eq!((&given.sealed[..], &*given.failure), (&b"abc"[..], ""));
        let (_, given) = with_agent(b"\0\0\0\x03\x01no", |agent| share(Some(agent), &asked));
        assert!(given.sealed.is_empty() && given.failure.ends_with("no"));
        assert!(share(None, &asked).failure.contains("agent.socket"));
    }
}
