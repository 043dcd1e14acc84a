//! Subscriptions by WebSocket at a gateway: what a role is told while something happens.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::abi::quantity;
use super::rpc::request;
use crate::failure::Failure;

/// How long one read waits.
const READ: Duration = Duration::from_millis(200);

/// How long a block may take to be told.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most messages that are kept.
const MESSAGES_MAX: usize = 1_000;

/// An open subscription to new blocks, and to all logs that may be seen. It blocks: it needs a thread.
pub(crate) struct Ear {
    socket: WebSocket<TcpStream>,
}

impl Ear {
    /// Connects to `http://…` and subscribes.
    pub(crate) fn open(gate: &str) -> Result<Self, Failure> {
        let address = gate.trim_start_matches("http://");
        let told = |error: String| Failure::failed(format!("ws://{address}: {error}"));
        let stream = TcpStream::connect(address).map_err(|error| told(error.to_string()))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|error| told(error.to_string()))?;
        let (socket, _) = tungstenite::client(format!("ws://{address}/"), stream)
            .map_err(|error| told(error.to_string()))?;
        let mut ear = Self { socket };
        for params in [json!(["newHeads"]), json!(["logs", {}])] {
            ear.socket
                .send(Message::text(request("eth_subscribe", &params).to_string()))
                .map_err(|error| told(error.to_string()))?;
            ear.next()?
                .filter(|reply| reply["result"].is_string())
                .ok_or_else(|| told("the subscription was refused".into()))?;
        }
        ear.socket
            .get_ref()
            .set_read_timeout(Some(READ))
            .map_err(|error| told(error.to_string()))?;
        Ok(ear)
    }

    /// Listens until a later block than `block` was told or nothing comes any more after `block`; gives
    /// the logs that were told of `block`, and every message as it came.
    pub(crate) fn hear(&mut self, block: u64) -> Result<(Vec<Value>, Vec<Value>), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut messages = Vec::new();
        let mut reached = false;
        while Instant::now() < deadline && messages.len() < MESSAGES_MAX {
            match self.next()? {
                Some(message) => {
                    let number = quantity(&message["params"]["result"]["number"]);
                    reached |= number.is_some_and(|number| number >= block);
                    messages.push(message);
                }
                // A block's logs come right behind it.
                None if reached => break,
                None => {}
            }
        }
        if !reached {
            return Err(Failure::failed(format!("block {block} was not told")));
        }
        let logs = messages.iter().map(|message| &message["params"]["result"]);
        let logs = logs.filter(|told| {
            quantity(&told["blockNumber"]) == Some(block) && told["topics"].is_array()
        });
        let logs = logs.cloned().collect();
        Ok((logs, messages))
    }

    /// The next message; `None`: nothing came for a while.
    fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return serde_json::from_str(&text)
                        .map(Some)
                        .map_err(|error| Failure::failed(error.to_string()));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(Failure::failed(error.to_string())),
            }
        }
    }
}
