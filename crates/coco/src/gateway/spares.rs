//! Channels to VNs that were opened, checked and not yet used.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Entrance, Problem, Tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::keys::now;

/// Channels kept ready. Tools that connect for every command come one at a time; a few tests at once.
const SPARES: usize = 4;

/// How long connecting and the handshake with one VN may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between attempts while no VN can be reached.
const PAUSE: Duration = Duration::from_millis(500);

/// A checked channel and its socket.
pub(super) struct Upstream {
    pub(super) stream: TcpStream,
    pub(super) tunnel: Tunnel,
}

/// Where channels come from.
pub(super) struct Spares {
    entrance: Entrance,
    nodes: Vec<String>,
    /// Place in `nodes` that served last.
    preferred: AtomicUsize,
    ready: Mutex<VecDeque<Upstream>>,
    taken: Notify,
}

impl Spares {
    pub(super) fn new(entrance: Entrance, nodes: Vec<String>) -> Self {
        Self {
            entrance,
            nodes,
            preferred: AtomicUsize::new(0),
            ready: Mutex::new(VecDeque::new()),
            taken: Notify::new(),
        }
    }

    /// Keeps [`SPARES`] channels ready, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            if self.queue().len() >= SPARES {
                self.taken.notified().await;
                continue;
            }
            match self.connect(None).await {
                Ok(upstream) => self.queue().push_back(upstream),
                Err(problem) => {
                    tracing::warn!("{problem}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// A ready channel, or a new one; not to the VN `lost`, unless there is no other.
    pub(super) async fn take(&self, lost: Option<&str>) -> Result<Upstream, Problem> {
        loop {
            let spare = self.queue().pop_front();
            self.taken.notify_one();
            match spare {
                Some(spare) if Some(spare.tunnel.address()) != lost && is_quiet(&spare) => {
                    return Ok(spare);
                }
                Some(_) => {}
                None => return self.connect(lost).await,
            }
        }
    }

    async fn connect(&self, lost: Option<&str>) -> Result<Upstream, Problem> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut order: Vec<usize> = (0..self.nodes.len())
            .map(|place| (place + first) % self.nodes.len())
            .collect();
        order.sort_by_key(|place| lost == Some(self.nodes[*place].as_str()));
        let mut reasons = Vec::new();
        for place in order {
            let address = &self.nodes[place];
            let opened = tokio::time::timeout(PATIENCE, self.connect_one(address)).await;
            match opened {
                Ok(Ok(upstream)) => {
                    self.preferred.store(place, Ordering::Relaxed);
                    return Ok(upstream);
                }
                Ok(Err(problem)) => reasons.push(problem.to_string()),
                Err(_) => reasons.push(format!("{address} does not answer")),
            }
        }
        Err(Problem::Unreachable {
            reasons: reasons.join("; "),
        })
    }

    async fn connect_one(&self, address: &str) -> Result<Upstream, Problem> {
        let broken = |error: std::io::Error| Problem::Broken {
            address: address.to_owned(),
            reason: error.to_string(),
        };
        let mut stream = TcpStream::connect(address).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut tunnel = self.entrance.tunnel(address)?;
        let mut buffer = vec![0; 16 << 10];
        let mut plaintext = Vec::new();
        while tunnel.ready().is_none() {
            stream.write_all(&tunnel.drain()).await.map_err(broken)?;
            let bytes = stream.read(&mut buffer).await.map_err(broken)?;
            if bytes == 0 {
                return Err(tunnel.ended());
            }
            tunnel.received(&buffer[..bytes], now(), &mut plaintext)?;
        }
        stream.write_all(&tunnel.drain()).await.map_err(broken)?;
        Ok(Upstream { stream, tunnel })
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Upstream>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel on which nothing came since it was checked. A VN that has something to say before it
/// was asked says goodbye.
fn is_quiet(spare: &Upstream) -> bool {
    let mut byte = [0];
    let read = spare.stream.try_read(&mut byte);
    matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
