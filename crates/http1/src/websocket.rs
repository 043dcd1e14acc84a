//! WebSocket (RFC 6455): the upgrade, and messages over a connection that others read and write.

use std::io::{self, Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::{Role, WebSocketConfig};

use crate::{Refusal, Request};

/// Answers a request to upgrade: appends the response to `out` and gives true. False if the request is
/// not one.
///
/// # Errors
/// [`Refusal`] if it is one and not as RFC 6455 section 4.2.1 says.
pub fn accept_upgrade(request: &Request, out: &mut BytesMut) -> Result<bool, Refusal> {
    if !request.has_token("upgrade", "websocket") || !request.has_token("connection", "upgrade") {
        return Ok(false);
    }
    let refused = |status, text| Err(Refusal { status, text });
    if request.method != "GET" || !request.body.is_empty() {
        return refused(400, "a WebSocket is opened by GET without a body");
    }
    if request.header("sec-websocket-version") != Some("13") {
        return refused(426, "only version 13 of WebSocket is spoken here");
    }
    let Some(key) = request
        .header("sec-websocket-key")
        .filter(|key| key.len() == 24)
    else {
        return refused(
            400,
            "Sec-WebSocket-Key is missing or not 16 bytes in base64",
        );
    };
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    out.put_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n",
    );
    out.put_slice(format!("sec-websocket-accept: {accept}\r\n\r\n").as_bytes());
    Ok(true)
}

/// A message of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Text(Bytes),
    Binary(Bytes),
    /// The peer ended the conversation; what is left to send is in the output. End the connection.
    Close,
}

/// The peer does not speak WebSocket as it should, or its message is too long. Send what is in the
/// output and end the connection.
#[derive(Debug, thiserror::Error)]
#[error("broken WebSocket: {0}")]
pub struct Broken(String);

/// The server's side of a WebSocket. Pings are answered and fragments put together inside.
#[derive(Debug)]
pub struct WebSocket {
    inner: tungstenite::WebSocket<Pipe>,
    done: bool,
}

impl WebSocket {
    /// A connection just upgraded. `rest` is what came after the upgrade request
    /// ([`crate::Server::into_rest`]).
    pub fn server(rest: &[u8], message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(4 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let pipe = Pipe {
            incoming: BytesMut::from(rest),
            outgoing: BytesMut::new(),
        };
        Self {
            inner: tungstenite::WebSocket::from_raw_socket(pipe, Role::Server, Some(config)),
            done: false,
        }
    }

    /// Takes received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inner.get_mut().incoming.extend_from_slice(bytes);
    }

    /// The next message, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Broken`].
    #[allow(clippy::should_implement_trait)] // as `Server::next`
    pub fn next(&mut self) -> Result<Option<Message>, Broken> {
        while !self.done {
            match self.inner.read() {
                Ok(tungstenite::Message::Text(text)) => {
                    return Ok(Some(Message::Text(text.into())));
                }
                Ok(tungstenite::Message::Binary(bytes)) => return Ok(Some(Message::Binary(bytes))),
                Ok(tungstenite::Message::Close(_)) => {
                    // The answer to the peer's close frame goes out with the flush.
                    self.done = true;
                    let _ = self.inner.flush();
                    return Ok(Some(Message::Close));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Answers to pings wait until now.
                    let _ = self.inner.flush();
                    return Ok(None);
                }
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    self.done = true;
                    return Ok(Some(Message::Close));
                }
                Err(error) => {
                    self.done = true;
                    return Err(Broken(error.to_string()));
                }
            }
        }
        Ok(None)
    }

    /// Sends a message: as text if it is text, else as binary.
    pub fn send(&mut self, message: Bytes) {
        let message = match tungstenite::Utf8Bytes::try_from(message.clone()) {
            Ok(text) => tungstenite::Message::Text(text),
            Err(_) => tungstenite::Message::Binary(message),
        };
        // Writing into memory does not fail; a connection that is closing drops what is said.
        let _ = self.inner.send(message);
    }

    /// Begins to end the conversation.
    pub fn close(&mut self) {
        let _ = self.inner.close(None);
        let _ = self.inner.flush();
    }

    /// Whether there is something to send.
    pub fn has_output(&self) -> bool {
        !self.inner.get_ref().outgoing.is_empty()
    }

    /// What is to be sent to the peer.
    pub fn take_output(&mut self) -> Bytes {
        self.inner.get_mut().outgoing.split().freeze()
    }
}

/// The connection as `tungstenite` sees it.
#[derive(Debug)]
struct Pipe {
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = self.incoming.len().min(into.len());
        into[..bytes].copy_from_slice(&self.incoming.split_to(bytes));
        Ok(bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Received, Server};

    /// A client's frame, masked with zeros so that it can be read here.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        assert!(length < 126);
        [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn the_upgrade_is_that_of_the_rfc() {
        // The example of RFC 6455 section 1.3.
        let wire = b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nrest";
        let mut server = Server::new(Options::application());
        server.receive(wire);
        let Ok(Some(Received::Request(request))) = server.next() else {
            panic!("a whole request")
        };
        let mut out = BytesMut::new();
        assert_eq!(accept_upgrade(&request, &mut out), Ok(true));
        let text = String::from_utf8(out.to_vec()).expect("text");
        assert!(
            text.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{text}"
        );
        assert_eq!(server.into_rest(), "rest");
    }

    #[test]
    fn fragments_are_joined_pings_answered_and_close_is_echoed() {
        let wire = [
            frame(0x01, b"he"),
            frame(0x89, b"p"),
            frame(0x80, b"llo"),
            frame(0x82, &[0xff]),
            frame(0x88, &1000_u16.to_be_bytes()),
        ]
        .concat();
        for cut in 0..=wire.len() {
            let mut socket = WebSocket::server(&wire[..cut], 16);
            let mut got = Vec::new();
            for part in [&b""[..], &wire[cut..]] {
                socket.receive(part);
                while let Some(message) = socket.next().expect("well-formed") {
                    got.push(message);
                }
            }
            assert_eq!(
                got,
                [
                    Message::Text("hello".into()),
                    Message::Binary(vec![0xff].into()),
                    Message::Close
                ]
            );
            assert_eq!(
                &socket.take_output()[..],
                b"\x8a\x01p\x88\x02\x03\xe8",
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn long_messages_and_unmasked_frames_break_the_connection() {
        let long = frame(0x81, &[b'a'; 17]);
        let unmasked = b"\x81\x01a".to_vec();
        let fragments = [frame(0x01, &[b'a'; 10]), frame(0x80, &[b'a'; 10])].concat();
        for wire in [long, unmasked, fragments] {
            assert!(WebSocket::server(&wire, 16).next().is_err());
        }
    }

    #[test]
    fn text_goes_out_as_text() {
        let mut socket = WebSocket::server(b"", 16);
        socket.send("hi".into());
        socket.send(Bytes::from_static(&[0xff]));
        assert_eq!(&socket.take_output()[..], b"\x81\x02hi\x82\x01\xff");
    }
}
