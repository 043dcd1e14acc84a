//! One local connection and its channel to a VN: bytes through, both ways, each at the reader's pace.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use client::Problem;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::again::Unanswered;
use super::door::{Door, Then};
use super::spares::{Spares, Upstream};
use crate::keys::now;

/// Bytes that one read takes: four TLS records.
const READ_BYTES: usize = 64 << 10;

/// Bytes that may wait for a reader before no more is read for it.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// Most VNs that one connection is taken to.
const ATTEMPTS_MAX: usize = 4;

/// How a pump came to its end.
enum End {
    /// One side said goodbye, or the local side broke.
    Over,
    /// The VN was lost.
    Lost(Problem),
}

/// Serves one local connection to its end.
pub(super) async fn serve(
    mut local: TcpStream,
    spares: Arc<Spares>,
    protocol: Arc<str>,
    mut door: Option<Door>,
) {
    // Without it small answers wait for the tool's acknowledgement.
    let _ = local.set_nodelay(true);
    let mut unanswered = Unanswered::new();
    let mut lost: Option<String> = None;
    let mut problem = None;
    for _ in 0..ATTEMPTS_MAX {
        let upstream = match spares.take(lost.as_deref()).await {
            Ok(upstream) => upstream,
            Err(none) => {
                problem = Some(none);
                break;
            }
        };
        let address = upstream.tunnel.address().to_owned();
        match pump(&local, upstream, &mut unanswered, &mut door).await {
            End::Over => return,
            End::Lost(reason) => {
                tracing::info!("{reason}");
                problem = Some(reason);
                lost = Some(address);
            }
        }
        if !unanswered.may_be_sent_again(&protocol) {
            break;
        }
    }
    if let Some(problem) = problem.filter(|_| !unanswered.is_answered()) {
        tracing::warn!("{problem}");
        // The tool may have gone already.
        let _ = local.write_all(bad_gateway(&problem).as_bytes()).await;
    }
}

/// What a tool is told when no VN answered, in a form that JSON-RPC libraries show.
fn bad_gateway(problem: &Problem) -> String {
    let body = serde_json::json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": -32603, "message": format!("coco gateway: {problem}") },
    })
    .to_string();
    format!(
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn pump(
    local: &TcpStream,
    upstream: Upstream,
    unanswered: &mut Unanswered,
    door: &mut Option<Door>,
) -> End {
    let mut flow = Flow {
        upstream,
        to_local: BytesMut::new(),
        to_node: BytesMut::new(),
        buffer: vec![0; READ_BYTES],
        plaintext: Vec::new(),
    };
    if let Err(end) = flow.ask_again(unanswered) {
        return end;
    }
    loop {
        let until = door.as_ref().and_then(Door::until);
        let left = until.map(|until| until.saturating_sub(now().0 / 1000));
        let step = tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(left.unwrap_or(1))), if left.is_some() => {
                if left == Some(0) { Err(End::Over) } else { Ok(()) }
            }
            ready = local.readable(), if flow.to_node.len() < WAITING_BYTES_MAX => {
                local_error(ready).and_then(|()| flow.take_local(local, unanswered, door))
            }
            ready = flow.upstream.stream.readable(), if flow.to_local.len() < WAITING_BYTES_MAX => {
                flow.node_error(ready).and_then(|()| flow.take_node(local, unanswered, door))
            }
            ready = local.writable(), if !flow.to_local.is_empty() => {
                local_error(ready).and_then(|()| flow.write_local(local))
            }
            ready = flow.upstream.stream.writable(), if !flow.to_node.is_empty() => {
                flow.node_error(ready).and_then(|()| flow.write_node())
            }
        };
        if let Err(end) = step {
            flow.finish(local).await;
            return end;
        }
    }
}

struct Flow {
    upstream: Upstream,
    to_local: BytesMut,
    /// Ciphertext.
    to_node: BytesMut,
    buffer: Vec<u8>,
    plaintext: Vec<u8>,
}

impl Flow {
    /// Sends what an earlier VN did not answer.
    fn ask_again(&mut self, unanswered: &Unanswered) -> Result<(), End> {
        self.upstream
            .tunnel
            .send(unanswered.kept())
            .map_err(|error| self.lost(error.to_string()))?;
        self.write_node()
    }

    fn take_local(
        &mut self,
        local: &TcpStream,
        unanswered: &mut Unanswered,
        door: &mut Option<Door>,
    ) -> Result<(), End> {
        let bytes = match local.try_read(&mut self.buffer) {
            Ok(0) => {
                self.upstream.tunnel.close();
                // The VN learns it from the closed socket at the latest.
                let _ = self.write_node();
                return Err(End::Over);
            }
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(End::Over),
        };
        let Some(door) = door else {
            let plaintext = &self.buffer[..bytes];
            unanswered.sent(plaintext);
            self.upstream
                .tunnel
                .send(plaintext)
                .map_err(|error| self.lost(error.to_string()))?;
            return self.write_node();
        };
        let mut admitted = BytesMut::new();
        let then = door.client_said(&self.buffer[..bytes], &mut admitted, &mut self.to_local);
        self.admit(&admitted, unanswered)?;
        self.write_local(local)?;
        match then {
            Then::GoOn => Ok(()),
            Then::End => Err(End::Over),
        }
    }

    /// Sends what the door let through.
    fn admit(&mut self, admitted: &[u8], unanswered: &mut Unanswered) -> Result<(), End> {
        unanswered.sent(admitted);
        self.upstream
            .tunnel
            .send(admitted)
            .map_err(|error| self.lost(error.to_string()))?;
        self.write_node()
    }

    fn take_node(
        &mut self,
        local: &TcpStream,
        unanswered: &mut Unanswered,
        door: &mut Option<Door>,
    ) -> Result<(), End> {
        let bytes = match self.upstream.stream.try_read(&mut self.buffer) {
            Ok(0) => return Err(self.node_ended()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(self.node_ended());
            }
            Err(error) => return Err(self.lost(error.to_string())),
        };
        let ciphertext = &self.buffer[..bytes];
        self.upstream
            .tunnel
            .received(ciphertext, now(), &mut self.plaintext)
            .map_err(End::Lost)?;
        if !self.plaintext.is_empty() {
            unanswered.answered();
            if let Some(door) = door {
                let mut admitted = BytesMut::new();
                door.node_said(&self.plaintext, &mut admitted);
                self.admit(&admitted, unanswered)?;
            }
            self.to_local.extend_from_slice(&self.plaintext);
            self.plaintext.clear();
            self.write_local(local)?;
        }
        // Answers to key updates and goodbyes.
        self.write_node()?;
        if self.upstream.tunnel.is_closed_by_node() {
            Err(self.node_ended())
        } else {
            Ok(())
        }
    }

    fn write_local(&mut self, local: &TcpStream) -> Result<(), End> {
        while !self.to_local.is_empty() {
            match local.try_write(&self.to_local) {
                Ok(bytes) => self.to_local.advance(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(End::Over),
            }
        }
        Ok(())
    }

    /// Delivers what the VN said before it went.
    async fn finish(&mut self, local: &TcpStream) {
        while !self.to_local.is_empty() {
            if local.writable().await.is_err() || self.write_local(local).is_err() {
                return;
            }
        }
    }

    fn write_node(&mut self) -> Result<(), End> {
        let ciphertext = self.upstream.tunnel.drain();
        if self.to_node.is_empty() {
            let mut rest = &ciphertext[..];
            while !rest.is_empty() {
                match self.upstream.stream.try_write(rest) {
                    Ok(bytes) => rest = &rest[bytes..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(self.lost(error.to_string())),
                }
            }
            self.to_node.extend_from_slice(rest);
            return Ok(());
        }
        self.to_node.extend_from_slice(&ciphertext);
        while !self.to_node.is_empty() {
            match self.upstream.stream.try_write(&self.to_node) {
                Ok(bytes) => self.to_node.advance(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.lost(error.to_string())),
            }
        }
        Ok(())
    }

    fn node_ended(&self) -> End {
        End::Lost(self.upstream.tunnel.ended())
    }

    fn lost(&self, reason: String) -> End {
        End::Lost(Problem::Broken {
            address: self.upstream.tunnel.address().to_owned(),
            reason,
        })
    }

    fn node_error(&self, ready: io::Result<()>) -> Result<(), End> {
        ready.map_err(|error| self.lost(error.to_string()))
    }
}

fn local_error(ready: io::Result<()>) -> Result<(), End> {
    ready.map_err(|_| End::Over)
}
