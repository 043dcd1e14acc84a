//! When each node has applied each block, seen on a connection of its own to every node.
//!
//! Ethereum: a WebSocket subscribed to `newHeads`. A node sends a head when it has applied the block,
//! so the time at which it arrives here is late by one trip through the node's processes, never
//! early. Key-value: the node is asked for its height every [`ASK_EVERY`], so times are late by up to
//! that. Both cost the machine a little; the figures include it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::drive::contains;
use crate::wire::Wire;
use crate::{Endpoint, Problem, load};

/// Between two questions for a height.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// How long a node may need until it has applied what another has.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one node was seen to have.
#[derive(Default)]
struct Seen {
    latest: AtomicU64,
    /// Height and time, both rising.
    log: Mutex<Vec<(u64, Instant)>>,
}

impl Seen {
    fn note(&self, height: u64) {
        if height <= self.latest.load(Ordering::Acquire) {
            return;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((height, Instant::now()));
        self.latest.store(height, Ordering::Release);
    }
}

/// Looks at every node until it is ended.
pub(crate) struct Watch {
    seen: Arc<Vec<Seen>>,
    names: Vec<String>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Problem>>,
}

impl Watch {
    pub(crate) fn start(protocol: &str, endpoints: &[Endpoint]) -> Result<Self, Problem> {
        let seen: Arc<Vec<Seen>> = Arc::new(endpoints.iter().map(|_| Seen::default()).collect());
        let over = Arc::new(AtomicBool::new(false));
        let mut wires = Vec::new();
        for endpoint in endpoints {
            wires.push(Wire::open(&endpoint.way)?);
        }
        let (theirs, stop) = (seen.clone(), over.clone());
        let thread = if protocol == "kv" {
            std::thread::spawn(move || ask_for_heights(wires, &theirs, &stop))
        } else {
            let sockets = wires
                .into_iter()
                .map(Heads::subscribe)
                .collect::<Result<Vec<_>, _>>()?;
            std::thread::spawn(move || receive_heads(sockets, &theirs, &stop))
        };
        Ok(Self {
            seen,
            names: endpoints.iter().map(|e| e.name.clone()).collect(),
            over,
            thread,
        })
    }

    /// Waits until every node has applied `height`.
    pub(crate) fn wait_for(&self, height: u64) -> Result<(), Problem> {
        let deadline = Instant::now() + PATIENCE;
        for (seen, name) in self.seen.iter().zip(&self.names) {
            while seen.latest.load(Ordering::Acquire) < height {
                if Instant::now() > deadline || self.thread.is_finished() {
                    return Err(Problem::Failed(format!(
                        "{name} has not been seen to apply block {height}; the last was {}",
                        seen.latest.load(Ordering::Acquire)
                    )));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Ends looking.
    pub(crate) fn end(self) -> Result<Timeline, Problem> {
        self.over.store(true, Ordering::Release);
        self.thread
            .join()
            .map_err(|_| Problem::Failed("the observer ended by itself".into()))??;
        let logs = self.seen.iter().map(|seen| {
            std::mem::take(&mut *seen.log.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(Timeline(logs.collect()))
    }
}

/// Heights and times of every node.
pub(crate) struct Timeline(Vec<Vec<(u64, Instant)>>);

impl Timeline {
    /// When the last of the nodes had applied `height`.
    pub(crate) fn everywhere(&self, height: u64) -> Option<Instant> {
        let times = self.0.iter().map(|log| {
            let at = log.partition_point(|(seen, _)| *seen < height);
            log.get(at).map(|(_, time)| *time)
        });
        times.collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

fn ask_for_heights(mut wires: Vec<Wire>, seen: &[Seen], over: &AtomicBool) -> Result<(), Problem> {
    let question = load::http("GET", "/kv?prefix=~&limit=1", "text/plain", b"");
    while !over.load(Ordering::Acquire) {
        for (wire, seen) in wires.iter_mut().zip(seen) {
            let answer = wire.ask(&question)?;
            let json: serde_json::Value = serde_json::from_slice(&answer.body)
                .map_err(|error| Problem::Failed(format!("a listing is not JSON: {error}")))?;
            seen.note(json["height"].as_u64().unwrap_or(0));
        }
        std::thread::sleep(ASK_EVERY);
    }
    Ok(())
}

fn receive_heads(mut sockets: Vec<Heads>, seen: &[Seen], over: &AtomicBool) -> Result<(), Problem> {
    while !over.load(Ordering::Acquire) {
        let mut polled: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|socket| PollFd::new(&socket.connection, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Problem::Failed(format!("wait for heads: {errno}"))),
        }
        drop(polled);
        for (socket, seen) in sockets.iter_mut().zip(seen) {
            while let Some(bytes) = socket.connection.read()? {
                socket.received.extend_from_slice(&bytes);
            }
            while let Some(text) = frame(&mut socket.received) {
                if let Some(number) = head_number(&text) {
                    seen.note(number);
                }
            }
        }
    }
    Ok(())
}

/// A WebSocket on which heads come.
struct Heads {
    connection: Connection,
    received: Vec<u8>,
}

impl Heads {
    fn subscribe(mut wire: Wire) -> Result<Self, Problem> {
        let upgrade = "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
             connection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: Y29jbyBiZW5jaCBjb2NvIQ==\r\n\r\n";
        let answer = wire.ask(upgrade.as_bytes())?;
        if answer.status != 101 {
            return Err(Problem::Failed(format!(
                "a WebSocket was refused with status {}",
                answer.status
            )));
        }
        let (mut connection, rest) = wire.into_parts()?;
        let call = br#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
        connection.write(&masked(call))?;
        let mut heads = Self {
            connection,
            received: rest.to_vec(),
        };
        // The answer first: from then on every head comes.
        heads.connection.set_nonblocking(false)?;
        loop {
            if let Some(text) = frame(&mut heads.received) {
                if !contains(&text, b"\"result\"") {
                    return Err(Problem::Failed(format!(
                        "the subscription was refused: {}",
                        String::from_utf8_lossy(&text)
                    )));
                }
                heads.connection.set_nonblocking(true)?;
                return Ok(heads);
            }
            if let Some(bytes) = heads.connection.read()? {
                heads.received.extend_from_slice(&bytes);
            }
        }
    }
}

/// A text frame of a client (RFC 6455 section 5.2). The mask is zero: it exists to confuse proxies
/// that look into plaintext, and there is none here.
fn masked(text: &[u8]) -> Vec<u8> {
    // Ours, below 126 bytes.
    let length = u8::try_from(text.len()).expect("a short call");
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(text);
    frame
}

/// Takes the next whole frame of a server, which is not masked.
fn frame(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (head, length) = match *received.get(1)? & 0x7f {
        126 => {
            let bytes = received.get(2..4)?.try_into().ok()?;
            (4, usize::from(u16::from_be_bytes(bytes)))
        }
        127 => {
            let bytes = received.get(2..10)?.try_into().ok()?;
            (10, usize::try_from(u64::from_be_bytes(bytes)).ok()?)
        }
        short => (2, usize::from(short)),
    };
    let end = head + length;
    if received.len() < end {
        return None;
    }
    let text = received[head..end].to_vec();
    received.drain(..end);
    Some(text)
}

/// The number in a notification of a head.
fn head_number(text: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"number\":\"0x";
    let at = text.windows(NAME.len()).position(|w| w == NAME)? + NAME.len();
    let digits = text[at..].split(|byte| *byte == b'"').next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_numbers_are_read() {
        let text = br#"{"method":"eth_subscription","params":{"result":{"number":"0x1f"}}}"#;
        let mut wire = vec![0x81, 126, 0, text.len() as u8];
        wire.extend_from_slice(text);
        wire.extend_from_slice(&[0x81, 2, b'o', b'k', 0x81]);
        let mut received = wire[..10].to_vec();
        assert_eq!(frame(&mut received), None);
        received.extend_from_slice(&wire[10..]);
        let first = frame(&mut received).expect("whole");
        assert_eq!(head_number(&first), Some(31));
        assert_eq!(frame(&mut received), Some(b"ok".to_vec()));
        assert_eq!((frame(&mut received), received), (None, vec![0x81]));
    }

    #[test]
    fn everywhere_is_when_the_last_node_has_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let timeline = Timeline(vec![
            vec![(1, at(1)), (2, at(2)), (3, at(3))],
            // Saw 3 at once with 2.
            vec![(1, at(5)), (3, at(6))],
        ]);
        assert_eq!(timeline.everywhere(1), Some(at(5)));
        assert_eq!(timeline.everywhere(2), Some(at(6)));
        assert_eq!(timeline.everywhere(4), None);
    }
}
