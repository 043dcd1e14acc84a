//! One attested channel to a node, without a socket: ciphertext in and out, plaintext in and out.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use channel::{Channel, Connector, NotSent};
use types::Millis;

use crate::{Identity, ModuleKey, Node, Problem, Signer, Trust};

/// What to talk to on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surface {
    /// Governance and status.
    Administrative,
    /// A blockchain protocol, by its name in the constitution.
    Application(String),
}

/// Who we are, whom we believe and what we want: what tunnels are made from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Entrance {
    connector: Connector,
    trust: Arc<Trust>,
}

impl Entrance {
    /// # Errors
    /// [`Problem::Identity`]: the key is not the certificate's.
    pub fn new(identity: &Identity, trust: Trust, surface: &Surface) -> Result<Self, Problem> {
        let ours = channel::Identity::new(&identity.key, &identity.chain)
            .map_err(|error| Problem::Identity(error.to_string()))?;
        Ok(Self::of(&ours, trust, surface))
    }

    /// With a key that may be in a hardware security module, which then signs each handshake.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the key is not the certificate's.
    pub fn with_signer(signer: Signer, trust: Trust, surface: &Surface) -> Result<Self, Problem> {
        match signer {
            Signer::File(identity) => Self::new(&identity, trust, surface),
            Signer::Module { key, chain } => {
                let ours = channel::Identity::remote(Arc::new(InModule(Mutex::new(key))), &chain)
                    .ok_or_else(|| Problem::Identity("the key has no certificate".into()))?;
                Ok(Self::of(&ours, trust, surface))
            }
        }
    }

    fn of(ours: &channel::Identity, trust: Trust, surface: &Surface) -> Self {
        let name = match surface {
            Surface::Administrative => channel::ADMINISTRATIVE.to_vec(),
            Surface::Application(protocol) => channel::protocol_name(protocol),
        };
        let connector = Connector::new(ours, trust.for_handshake(), &[&name]);
        Self {
            connector,
            trust: Arc::new(trust),
        }
    }

    /// Starts a tunnel to `address` (`host:port`); drain it at once.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the address cannot be one.
    pub fn tunnel(&self, address: &str) -> Result<Tunnel, Problem> {
        let (host, _) = address
            .rsplit_once(':')
            .ok_or_else(|| Problem::Identity(format!("{address:?} is not HOST:PORT")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let channel = Channel::connect(&self.connector, host)
            .map_err(|error| Problem::Identity(error.to_string()))?;
        Ok(Tunnel {
            channel,
            trust: self.trust.clone(),
            address: address.to_owned(),
            node: None,
            answered: false,
        })
    }
}

/// A module's session is for one thread at a time.
#[derive(Debug)]
struct InModule(Mutex<ModuleKey>);

impl channel::RemoteKey for InModule {
    fn sign(&self, content: &[u8]) -> Result<crypto::Signature, String> {
        let key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        key.sign(content).map_err(|problem| problem.to_string())
    }
}

/// A channel whose peer is checked before anything of ours is sent.
pub struct Tunnel {
    channel: Channel,
    trust: Arc<Trust>,
    address: String,
    node: Option<Node>,
    answered: bool,
}

impl Tunnel {
    /// Takes ciphertext, cut anywhere, and appends what it says to `plaintext`. Drain afterwards.
    ///
    /// # Errors
    /// [`Problem`]: drain once for the alert and drop the connection.
    pub fn received(
        &mut self,
        ciphertext: &[u8],
        now: Millis,
        plaintext: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        let before = plaintext.len();
        self.channel
            .received(ciphertext, plaintext)
            .map_err(|broken| self.explain(&broken.to_string()))?;
        if self.node.is_none()
            && let Some(peer) = self.channel.ready()
        {
            match self.trust.check(peer, &self.address, now) {
                Ok(node) => self.node = Some(node),
                Err(problem) => {
                    plaintext.truncate(before);
                    self.channel.close();
                    return Err(problem);
                }
            }
        }
        self.answered |= plaintext.len() > before;
        Ok(())
    }

    fn explain(&self, reason: &str) -> Problem {
        let address = self.address.clone();
        if self.node.is_none() && reason.contains("expected network") {
            Problem::WrongNetwork {
                address,
                reason: reason.to_owned(),
            }
        } else if self.node.is_some() && !self.answered {
            Problem::NotAdmitted { address }
        } else {
            Problem::Broken {
                address,
                reason: reason.to_owned(),
            }
        }
    }

    /// What the end of the connection means, when it comes now.
    pub fn ended(&self) -> Problem {
        let address = self.address.clone();
        match (&self.node, self.answered) {
            (Some(_), false) => Problem::NotAdmitted { address },
            (None, _) => Problem::Broken {
                address,
                reason: "it ended in the handshake".into(),
            },
            _ => Problem::Broken {
                address,
                reason: "the node ended it".into(),
            },
        }
    }

    /// Encrypts `plaintext`, all or nothing; drain afterwards.
    ///
    /// # Errors
    /// [`NotSent`]: nobody is known to read it yet, the channel is over, or too much waits.
    pub fn send(&mut self, plaintext: &[u8]) -> Result<(), NotSent> {
        if self.node.is_none() {
            return Err(NotSent::NotReady);
        }
        self.channel.send(plaintext)
    }

    /// The ciphertext that the connection shall carry now; empty if there is none.
    pub fn drain(&mut self) -> Bytes {
        self.channel.drain()
    }

    /// The node, once it was checked.
    pub fn ready(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The node said that it will send no more.
    pub fn is_closed_by_node(&self) -> bool {
        self.channel.is_closed_by_peer()
    }

    /// Says that we will send no more; drain, then drop the connection.
    pub fn close(&mut self) {
        self.channel.close();
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}
