//! The owner's agent: signs VN tuples, and only those of the node that it is started for.
//!
//! It holds a delegated key (DESIGN section 6), runs apart from the host, and answers it on a Unix
//! socket. All lengths are 4 bytes, big-endian:
//!
//! ```text
//! request   length | payload of the tuple
//! answer    length | 0 | COSE_Sign1          or   length | 1 | why not (text)
//! ```

use std::path::Path;
use std::sync::Arc;

use client::Identity;
use governance::NodeTuple;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use types::{Digest, NetworkId};

use crate::failure::{Doing, Failure};

/// Longest request that is read. A tuple has some 250 bytes.
const REQUEST_BYTES_MAX: usize = 4096;

/// How long a host may take to send its request.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the owner agreed to: this node of this network under this constitution.
pub(crate) struct Agent {
    pub(crate) identity: Identity,
    pub(crate) owner: String,
    pub(crate) address: String,
    pub(crate) network: NetworkId,
    pub(crate) constitution: Digest,
}

impl Agent {
    /// Opens the socket for the host's user.
    pub(crate) fn listen(path: &Path, host_user: Option<u32>) -> Result<UnixListener, Failure> {
        let doing = || format!("open the agent's socket {}", path.display());
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing(doing);
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).doing(doing)?;
        give(path, host_user).doing(doing)?;
        Ok(listener)
    }

    /// Answers hosts for ever.
    pub(crate) async fn serve(self, listener: UnixListener) {
        let agent = Arc::new(self);
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let agent = agent.clone();
                tokio::spawn(async move {
                    // A host that goes away or says nothing gets no signature; it asks again.
                    let _ = tokio::time::timeout(PATIENCE, agent.answer(stream)).await;
                });
            }
        }
    }

    async fn answer(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let bytes = stream.read_u32().await? as usize; // u32 always fits usize here
        if bytes > REQUEST_BYTES_MAX {
            return Ok(());
        }
        let mut payload = vec![0; bytes];
        stream.read_exact(&mut payload).await?;
        let (kind, body) = match self.sign(&payload) {
            Ok(object) => (0, object),
            Err(reason) => (1, reason.into_bytes()),
        };
        let length = u32::try_from(body.len() + 1).expect("a signature or a sentence");
        stream.write_u32(length).await?;
        stream.write_u8(kind).await?;
        stream.write_all(&body).await
    }

    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let tuple = NodeTuple::from_cbor(payload)
            .map_err(|refused| format!("the agent signs VN tuples only: {refused}"))?;
        let compare = [
            (
                "network",
                tuple.network.to_string(),
                self.network.to_string(),
            ),
            ("owner", tuple.owner.clone(), self.owner.clone()),
            ("address", tuple.address.clone(), self.address.clone()),
            (
                "constitution",
                tuple.constitution.to_string(),
                self.constitution.to_string(),
            ),
        ];
        for (what, asked, agreed) in compare {
            if asked != agreed {
                return Err(format!(
                    "the tuple names the {what} {asked}, and the owner agreed to {agreed}"
                ));
            }
        }
        Ok(tuple.sign(&self.identity.key))
    }
}

/// Lets the host's user and nobody else speak to a socket.
pub(super) fn give(socket: &Path, host_user: Option<u32>) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    match host_user {
        Some(user) => std::os::unix::fs::chown(socket, Some(user), Some(user)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Kit;
    use crypto::{Context, Entropy, SigningKey, verify1};
    use types::Millis;

    fn agent() -> Agent {
        let kit = Kit::make(
            "ada",
            &mut Entropy::new(&[1; 32]),
            Millis(1_000_000_000_000),
        );
        Agent {
            identity: kit.agent,
            owner: "ada".into(),
            address: "vn.ada.example:7000".into(),
            network: NetworkId([1; 32]),
            constitution: Digest([2; 32]),
        }
    }

    fn tuple() -> NodeTuple {
        NodeTuple {
            network: NetworkId([1; 32]),
            owner: "ada".into(),
            address: "vn.ada.example:7000".into(),
            key: *SigningKey::generate(&mut Entropy::new(&[9; 32])).public(),
            constitution: Digest([2; 32]),
        }
    }

    #[test]
    fn only_the_agreed_tuple_is_signed() {
        let agent = agent();
        let object = agent.sign(&tuple().to_cbor()).expect("agreed");
        let key = agent.identity.key.public();
        assert_eq!(
            verify1(key, Context::NodeTuple, &object)
                .expect("own")
                .payload(),
            tuple().to_cbor()
        );
        let refuse = |change: fn(&mut NodeTuple), part: &str| {
            let mut other = tuple();
            change(&mut other);
            let reason = agent.sign(&other.to_cbor()).expect_err(part);
            assert!(reason.contains(part), "{reason}");
        };
        refuse(|t| t.network = NetworkId([7; 32]), "network");
        refuse(|t| t.owner = "eve".into(), "owner");
        refuse(|t| t.address = "vn.eve.example:7000".into(), "address");
        refuse(|t| t.constitution = Digest([7; 32]), "constitution");
        assert!(
            agent
                .sign(b"a proposal")
                .expect_err("no tuple")
                .contains("VN tuples only")
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_host_gets_a_signature_or_a_reason() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("agent.socket");
        let listener = Agent::listen(&path, None).expect("bound");
        let server = tokio::spawn(agent().serve(listener));
        for (payload, kind) in [(tuple().to_cbor(), 0), (b"no tuple".to_vec(), 1)] {
            let mut host = UnixStream::connect(&path).await.expect("connected");
            host.write_u32(payload.len() as u32).await.expect("sent");
            host.write_all(&payload).await.expect("sent");
            let length = host.read_u32().await.expect("answered") as usize;
            let mut answer = vec![0; length];
            host.read_exact(&mut answer).await.expect("answered");
            assert_eq!(answer[0], kind);
        }
        server.abort();
    }
}
