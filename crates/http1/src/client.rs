//! The client's side of a connection: requests are encoded, whole responses come out.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::body::Body;
use crate::head::{self, Bad, HEADERS_MAX, Length, Options, bad};

/// A response, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientResponse {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// False if the server ends the connection after it.
    pub keep_alive: bool,
}

impl ClientResponse {
    /// The first header field of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The server does not speak HTTP/1.1 as it should. The connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misbehaved(pub &'static str);

impl From<Bad> for Misbehaved {
    fn from(bad: Bad) -> Self {
        Misbehaved(bad.text)
    }
}

/// Appends a request with Content-Length. `headers` leaves out `host` and `content-length`.
pub fn encode_request<N: AsRef<str>, V: AsRef<str>>(
    method: &str,
    target: &str,
    host: &str,
    headers: &[(N, V)],
    body: &[u8],
    out: &mut BytesMut,
) {
    out.reserve(128 + target.len() + body.len());
    out.put_slice(format!("{method} {target} HTTP/1.1\r\n").as_bytes());
    crate::response::put_fields(&[("host", host)], out);
    crate::response::put_fields(headers, out);
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        out.put_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    out.put_slice(b"\r\n");
    out.put_slice(body);
}

/// The client's side of a connection. Responses come in the order of requests.
#[derive(Debug)]
pub struct Client {
    options: Options,
    buffer: BytesMut,
    scanned: usize,
    /// For each request without a response: whether it was HEAD, whose response has no body.
    asked: VecDeque<bool>,
    pending: Option<(ClientResponse, Body)>,
}

impl Client {
    /// A fresh connection; `options` bounds what the server may send.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            buffer: BytesMut::new(),
            scanned: 0,
            asked: VecDeque::new(),
            pending: None,
        }
    }

    /// Notes that a request of this method was sent.
    pub fn sent(&mut self, method: &str) {
        self.asked.push_back(method == "HEAD");
    }

    /// Requests without a response.
    pub fn outstanding(&self) -> usize {
        self.asked.len()
    }

    /// Takes received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What follows the last response, after an upgrade (status 101).
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// The next response, `None` if more bytes are needed. Interim responses are passed over.
    ///
    /// # Errors
    /// [`Misbehaved`]: drop the connection.
    #[allow(clippy::should_implement_trait)] // as `Server::next`
    pub fn next(&mut self) -> Result<Option<ClientResponse>, Misbehaved> {
        loop {
            if self.pending.is_none() {
                let head =
                    head::head_bytes(&self.buffer, &mut self.scanned, self.options.head_bytes_max)?;
                let Some(head_bytes) = head else {
                    return Ok(None);
                };
                let Some(is_head) = self.asked.front().copied() else {
                    return Err(Misbehaved("a response came that was not asked for"));
                };
                let head = self.buffer.split_to(head_bytes);
                let (response, body) = parse(&head, is_head, &self.options)?;
                if (100..=199).contains(&response.status) && response.status != 101 {
                    continue;
                }
                self.pending = Some((response, body));
            }
            let Some((_, body)) = &mut self.pending else {
                return Ok(None);
            };
            let Some(body) = body.advance(&mut self.buffer)? else {
                return Ok(None);
            };
            return Ok(self.finish(body));
        }
    }

    /// The connection has ended: a response whose length was not told is whole now.
    ///
    /// # Errors
    /// [`Misbehaved`] if a response was cut off.
    pub fn closed(&mut self) -> Result<Option<ClientResponse>, Misbehaved> {
        match &self.pending {
            Some((_, Body::UntilClose { .. })) => {
                let body = self.buffer.split().freeze();
                Ok(self.finish(body))
            }
            None if self.buffer.is_empty() => Ok(None),
            Some(_) | None => Err(Misbehaved(
                "the connection ended in the middle of a response",
            )),
        }
    }

    fn finish(&mut self, body: Bytes) -> Option<ClientResponse> {
        let (mut response, _) = self.pending.take()?;
        response.body = body;
        self.asked.pop_front();
        Some(response)
    }
}

fn parse(head: &[u8], is_head: bool, options: &Options) -> Result<(ClientResponse, Body), Bad> {
    let mut table = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut table[..options.headers_max.min(HEADERS_MAX)]);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(bad(400, "the head of a response is not well-formed")),
    }
    let (Some(minor), Some(status)) = (parsed.version, parsed.code) else {
        return Err(bad(400, "the head of a response is not well-formed"));
    };
    let headers = head::fields(parsed.headers)?;
    let bodiless = is_head || matches!(status, 100..=199 | 204 | 304);
    let body = match head::length(&headers, options) {
        _ if bodiless => Body::Known { bytes: 0 },
        Ok(Length::Chunked) => Body::chunked(options.body_bytes_max),
        Ok(Length::Known(bytes)) => Body::Known { bytes },
        Ok(Length::Untold) => Body::UntilClose {
            bytes_max: options.body_bytes_max,
        },
        Err(bad) => return Err(bad),
    };
    let keep_alive = match body {
        Body::UntilClose { .. } => false,
        _ if minor == 1 => !head::has_token(&headers, "connection", "close"),
        _ => head::has_token(&headers, "connection", "keep-alive"),
    };
    Ok((
        ClientResponse {
            status,
            headers,
            body: Bytes::new(),
            keep_alive,
        },
        body,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Persistence, Received, Server, encode_response};

    #[test]
    fn client_and_server_understand_one_another() {
        let mut wire = BytesMut::new();
        let mut client = Client::new(Options::application());
        for (method, body) in [("POST", &b"question"[..]), ("HEAD", b""), ("GET", b"")] {
            encode_request(
                method,
                "/path?query",
                "host",
                &[("x-name", "value")],
                body,
                &mut wire,
            );
            client.sent(method);
        }
        let mut server = Server::new(Options::application());
        server.receive(&wire);
        wire.clear();
        while let Ok(Some(Received::Request(request))) = server.next() {
            assert_eq!(request.header("x-name"), Some("value"));
            let body = [request.method.as_bytes(), b" ", &request.body].concat();
            encode_response(
                200,
                &[("a", "b")],
                &body,
                &request.method,
                Persistence::KeepAlive,
                &mut wire,
            );
        }
        let mut bodies = Vec::new();
        for byte in wire {
            client.receive(&[byte]);
            while let Some(response) = client.next().expect("well-formed") {
                assert_eq!((response.status, response.header("a")), (200, Some("b")));
                bodies.push(response.body);
            }
        }
        assert_eq!(bodies, ["POST question", "", "GET "]);
        assert_eq!(client.outstanding(), 0);
    }

    #[test]
    fn interim_chunked_and_unbounded_responses_are_read() {
        let mut client = Client::new(Options::application());
        client.sent("GET");
        client.sent("GET");
        client.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        client.receive(b"HTTP/1.1 200 OK\r\n\r\nthe rest");
        let first = client.next().expect("well-formed").expect("whole");
        assert_eq!((first.body, first.keep_alive), ("ab".into(), true));
        assert_eq!(client.next(), Ok(None));
        let second = client.closed().expect("well-formed").expect("whole");
        assert_eq!((second.body, second.keep_alive), ("the rest".into(), false));
    }

    #[test]
    fn a_response_that_nobody_asked_for_is_misbehaviour() {
        let mut client = Client::new(Options::application());
        client.receive(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(
            client.next(),
            Err(Misbehaved("a response came that was not asked for"))
        );
    }
}
