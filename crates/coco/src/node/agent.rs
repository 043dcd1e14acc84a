//! The owner's agent: signs VN tuples, and gives the owner's share-transport key to the owner's
//! enclave; both only for the node that it is started for.
//!
//! It holds a delegated key (DESIGN section 6), runs apart from the host, and answers it on a Unix
//! socket. All lengths are 4 bytes, big-endian:
//!
//! ```text
//! request   length | 0 | payload of the tuple
//!           length | 1 | four parts, each after its length: evidence, endorsements, HPKE key, tuple
//! answer    length | 0 | COSE_Sign1, or the sealed key      or   length | 1 | why not (text)
//! ```

use std::path::Path;
use std::sync::Arc;

use client::{Identity, ShareKey};
use governance::{Constitution, NodeTuple, ShareRequest, ShareTerms};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use types::{Millis, NetworkId};

use crate::failure::{Doing, Failure};
use crate::keys;

/// Longest request that is read: evidence with its endorsements stays below an appraiser's limits.
const REQUEST_BYTES_MAX: usize = 2 << 20;

/// How long a host may take to send its request.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the owner agreed to: this node of this network under this constitution.
pub(crate) struct Agent {
    pub(crate) identity: Identity,
    pub(crate) owner: String,
    pub(crate) address: String,
    pub(crate) network: NetworkId,
    pub(crate) constitution: Constitution,
    /// The owner's share-transport key, if the owner gave it to the agent.
    pub(crate) share: Option<ShareKey>,
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

    async fn answer(self: Arc<Self>, mut stream: UnixStream) -> std::io::Result<()> {
        let bytes = stream.read_u32().await? as usize; // u32 always fits usize here
        if bytes > REQUEST_BYTES_MAX {
            return Ok(());
        }
        let mut request = vec![0; bytes];
        stream.read_exact(&mut request).await?;
        let answer = match request.split_first() {
            Some((0, payload)) => self.sign(payload),
            Some((1, request)) => {
                // A module that opens the key may be slow, or far away.
                let (agent, request) = (self.clone(), request.to_vec());
                let given = tokio::task::spawn_blocking(move || agent.give(&request, keys::now()));
                given
                    .await
                    .unwrap_or_else(|_| Err("the agent failed".into()))
            }
            _ => Err("the agent signs VN tuples and gives the owner's share-transport key".into()),
        };
        let (kind, body) = match answer {
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
                self.constitution.digest().to_string(),
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

    /// The owner's share-transport key, sealed to the enclave that asks, if that is the owner's node.
    fn give(&self, request: &[u8], now: Millis) -> Result<Vec<u8>, String> {
        let request = parts(request).ok_or("the request for a share-transport key is malformed")?;
        let key = self.share.as_ref().ok_or_else(|| {
            format!(
                "the agent of {0} has no share-transport key: name the file of which the constitution \
                 lists the public part in node.toml, `[agent] share_key`; if there is none, make one with \
                 `coco member share-key` and have it listed by a vote (set-share-key)",
                self.owner
            )
        })?;
        let terms = ShareTerms {
            network: &self.network,
            constitution: &self.constitution,
            owner: &self.owner,
            address: &self.address,
            chain: &self.identity.chain,
        };
        let mut entropy = keys::entropy().map_err(|failure| failure.to_string())?;
        let answered = key.with(|key| request.answer(&terms, key, now, &mut entropy));
        answered
            .map_err(|problem| format!("the agent has no share-transport key: {problem}"))?
            .map_err(|refused| format!("the agent keeps the share-transport key: {refused}"))
    }
}

/// The four parts of a request, and nothing behind them.
fn parts(mut bytes: &[u8]) -> Option<ShareRequest> {
    let mut part = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize; // u32 always fits usize here
        let (part, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some(part)
    };
    let request = ShareRequest {
        evidence: part()?.to_vec(),
        endorsements: part()?.to_vec(),
        hpke_public: part()?.try_into().ok()?,
        tuple: part()?.to_vec(),
    };
    bytes.is_empty().then_some(request)
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
    use crypto::{Context, Entropy, HpkeKey, SigningKey, verify1};
    use governance::share_delivery_info;
    use types::Digest;

    const ADDRESS: &str = "coco.contoso.example:9000";

    fn kit() -> Kit {
        Kit::make("contoso", &mut Entropy::new(&[1; 32]), keys::now())
    }

    /// The documented constitution, with the keys of the kit.
    fn constitution(kit: &Kit) -> Constitution {
        let text = include_str!("../../../../docs/constitution.example.toml");
        let mut constitution = Constitution::from_toml(text).expect("the example");
        let contoso = &mut constitution.actors[0];
        contoso.certificates = vec![governance::Listed(kit.issuer.chain[0].clone())];
        contoso.share_key = Some(kit.share.public());
        let root = kit.platform_root.chain[0].der().to_vec();
        constitution.tee.accepted[0].roots = vec![tee::Root(root)];
        constitution.validate().expect("as good as the example");
        constitution
    }

    fn agent(kit: Kit) -> Agent {
        let constitution = constitution(&kit);
        Agent {
            owner: "contoso".into(),
            address: ADDRESS.into(),
            network: constitution.network_id(),
            constitution,
            share: Some(ShareKey::Open(kit.share)),
            identity: kit.agent,
        }
    }

    fn key() -> SigningKey {
        SigningKey::generate(&mut Entropy::new(&[9; 32]))
    }

    fn tuple(agent: &Agent) -> NodeTuple {
        NodeTuple {
            network: agent.network,
            owner: "contoso".into(),
            address: ADDRESS.into(),
            key: *key().public(),
            constitution: agent.constitution.digest(),
        }
    }

    /// What a manager with that measurement asks.
    fn asked(agent: &Agent, platform: &Identity, hpke: &HpkeKey, measurement: &[u8]) -> Vec<u8> {
        let tuple = tuple(agent);
        let statement = tee::software::Statement {
            measurement: measurement.try_into().expect("SHA-384"),
            report_data: ShareRequest::report_data(&agent.network, &tuple.key, hpke.public()),
            launch_data: vec![],
            instance: [7; 16],
            svn: 1,
            time: keys::now(),
            missing: vec![],
            shared_user: false,
        };
        let evidence = tee::software::sign(&platform.key, &platform.chain, &statement);
        let signed = agent.sign(&tuple.to_cbor()).expect("agreed");
        let mut request = vec![];
        for part in [&evidence[..], &[], hpke.public(), &signed] {
            request.extend_from_slice(&u32::try_from(part.len()).expect("short").to_be_bytes());
            request.extend_from_slice(part);
        }
        request
    }

    fn platform(kit: &Kit) -> Identity {
        Identity::from_pem(&kit.platform.to_pem()).expect("own text")
    }

    #[test]
    fn only_the_agreed_tuple_is_signed() {
        let agent = agent(kit());
        let agreed = tuple(&agent);
        let object = agent.sign(&agreed.to_cbor()).expect("agreed");
        let key = agent.identity.key.public();
        assert_eq!(
            verify1(key, Context::NodeTuple, &object)
                .expect("own")
                .payload(),
            agreed.to_cbor()
        );
        let refuse = |change: fn(&mut NodeTuple), part: &str| {
            let mut other = agreed.clone();
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

    #[test]
    fn the_share_key_goes_to_the_owners_own_enclave() {
        let kit = kit();
        let platform = platform(&kit);
        let mut agent = agent(kit);
        let hpke = HpkeKey::generate(&mut Entropy::new(&[5; 32]));
        let image = agent.constitution.code.images[0].measurement.clone();
        let request = asked(&agent, &platform, &hpke, &image);
        let sealed = agent.give(&request, keys::now()).expect("its own enclave");
        let info = share_delivery_info(&agent.network, "contoso", key().public());
        let opened = hpke.open(&info, &[], &sealed).expect("sealed to it");
        let share = agent.share.as_ref().expect("it has one");
        let same = share.with(|key| opened.as_slice() == key.export().expose());
        assert!(same.expect("no module"));

        let refuse = |agent: &Agent, request: &[u8], part: &str| {
            let reason = agent.give(request, keys::now()).expect_err(part);
            assert!(reason.contains(part), "{reason}");
        };
        // Unlisted code; an enclave on the platform of somebody else; a request cut short.
        let unlisted = asked(&agent, &platform, &hpke, &[9; 48]);
        refuse(&agent, &unlisted, "measurement");
        let other = Kit::make("eve", &mut Entropy::new(&[2; 32]), keys::now()).platform;
        refuse(&agent, &asked(&agent, &other, &hpke, &image), "root");
        refuse(&agent, &request[..request.len() - 1], "malformed");
        refuse(&agent, &[&request[..], &[0]].concat(), "malformed");
        // The node of somebody else: its agent signed for it, and ours does not give.
        agent.address = "coco2.contoso.example:9000".into();
        refuse(&agent, &request, "address");
        agent.share = None;
        refuse(&agent, &request, "[agent] share_key");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_host_gets_an_answer_or_a_reason() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("agent.socket");
        let listener = Agent::listen(&path, None).expect("bound");
        let agent = agent(kit());
        let agreed = tuple(&agent).to_cbor();
        let server = tokio::spawn(agent.serve(listener));
        for (request, kind) in [
            ([&[0][..], &agreed].concat(), 0),
            (b"\0no tuple".to_vec(), 1),
            (b"\x01no request".to_vec(), 1),
            (b"\x02".to_vec(), 1),
            (Vec::new(), 1),
        ] {
            let mut host = UnixStream::connect(&path).await.expect("connected");
            host.write_u32(request.len() as u32).await.expect("sent");
            host.write_all(&request).await.expect("sent");
            let length = host.read_u32().await.expect("answered") as usize;
            let mut answer = vec![0; length];
            host.read_exact(&mut answer).await.expect("answered");
            assert_eq!(answer[0], kind);
        }
        server.abort();
    }
}
