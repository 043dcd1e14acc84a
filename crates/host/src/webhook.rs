//! Tells whoever calls the owner's webhook that there are new events: a number and nothing else.
//!
//! The host speaks neither HTTP nor TLS to strangers; a process apart from it does (`coco node
//! start`), and hears from the host by a Unix datagram of 8 bytes, big-endian. What the events are is
//! asked for on the administrative channel. Telling never blocks: what cannot be told now is told
//! with the manager's next status, which comes several times a second.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where numbers of events go.
#[derive(Debug)]
pub(crate) struct Webhook {
    socket: UnixDatagram,
    told: u64,
    failing: bool,
}

impl Webhook {
    /// The listener whose socket has this path. To be called before the process changes its user.
    pub(crate) fn at(path: &Path) -> Result<Self, String> {
        let connect = || -> io::Result<UnixDatagram> {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket =
            connect().map_err(|error| format!("webhook.socket {}: {error}", path.display()))?;
        Ok(Self {
            socket,
            told: 0,
            failing: false,
        })
    }

    /// There are so many events; said once for each number that is greater than the last one said.
    pub(crate) fn tell(&mut self, events: u64) {
        if events <= self.told {
            return;
        }
        match self.socket.send(&events.to_be_bytes()) {
            Ok(_) => {
                self.told = events;
                self.failing = false;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("whoever calls the webhook does not hear: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> Option<u64> {
        let mut number = [0; 9];
        match listener.recv(&mut number) {
            Ok(8) => Some(u64::from_be_bytes(number[..8].try_into().expect("8 bytes"))),
            Ok(bytes) => panic!("{bytes} bytes"),
            Err(_) => None,
        }
    }

    #[test]
    fn growing_numbers_are_told_once_and_nothing_blocks() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("webhook.socket");
        assert!(
            Webhook::at(&path)
                .expect_err("nobody")
                .contains("webhook.socket")
        );
        let listener = UnixDatagram::bind(&path).expect("bound");
        listener.set_nonblocking(true).expect("a socket option");
        let mut webhook = Webhook::at(&path).expect("connected");
        for events in [0, 7, 7, 6, 9] {
            webhook.tell(events);
        }
        assert_eq!([heard(&listener), heard(&listener)], [Some(7), Some(9)]);
        assert_eq!(heard(&listener), None);
        // Nobody listens for a while: the queue is full, and the last number is told later.
        for events in 10..10_000 {
            webhook.tell(events);
        }
        let mut last = None;
        while let Some(number) = heard(&listener) {
            assert!(last < Some(number));
            last = Some(number);
        }
        webhook.tell(9_999);
        assert_eq!(heard(&listener), Some(9_999));
        drop(listener);
        webhook.tell(10_000);
        assert_eq!(webhook.told, 9_999);
    }
}
