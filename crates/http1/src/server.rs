//! The server's side of a connection: whole requests come out.

use bytes::{Bytes, BytesMut};

use crate::body::Body;
use crate::head::{self, Bad, Fields, HEADERS_MAX, Length, Options, bad};

/// A request, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// As sent: path and query.
    pub target: String,
    /// Lower-case names, in the order of sending.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// False if the connection ends with the response.
    pub keep_alive: bool,
}

impl Request {
    /// The first header field of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a list-valued field of this lower-case name holds this token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        head::has_token(&self.headers, name, token)
    }
}

/// What has come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The client waits for [`crate::encode_continue`] before it sends its body.
    ExpectContinue,
    Request(Request),
}

/// The client does not speak HTTP/1.1 as it should. Answer with `status` and end the connection: where
/// the next request begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub status: u16,
    pub text: &'static str,
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Self {
        Refusal {
            status: bad.status,
            text: bad.text,
        }
    }
}

/// The server's side of a connection.
#[derive(Debug)]
pub struct Server {
    options: Options,
    buffer: BytesMut,
    scanned: usize,
    /// A request whose body is being received.
    pending: Option<(Request, Body)>,
    refused: Option<Refusal>,
}

impl Server {
    /// A fresh connection.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            buffer: BytesMut::new(),
            scanned: 0,
            pending: None,
            refused: None,
        }
    }

    /// Takes received bytes. Call [`Server::next`] until nothing comes before giving more, so that no
    /// more than one request is held.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.refused.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes held for requests that are not whole yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() + self.pending.as_ref().map_or(0, |(_, body)| body.held())
    }

    /// What follows the last request, after an upgrade.
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// The next thing received, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Refusal`], and the same from then on.
    #[allow(clippy::should_implement_trait)] // it fails, and is not at its end when nothing comes
    pub fn next(&mut self) -> Result<Option<Received>, Refusal> {
        if let Some(refusal) = self.refused {
            return Err(refusal);
        }
        self.advance().map_err(|bad| {
            self.buffer = BytesMut::new();
            self.pending = None;
            *self.refused.insert(bad.into())
        })
    }

    fn advance(&mut self) -> Result<Option<Received>, Bad> {
        let mut expects_continue = false;
        if self.pending.is_none() {
            head::skip_blank_lines(&mut self.buffer);
            let head =
                head::head_bytes(&self.buffer, &mut self.scanned, self.options.head_bytes_max)?;
            let Some(head_bytes) = head else {
                return Ok(None);
            };
            let head = self.buffer.split_to(head_bytes);
            let (request, body, expects) = parse(&head, &self.options)?;
            expects_continue = expects;
            self.pending = Some((request, body));
        }
        let Some((_, body)) = &mut self.pending else {
            return Ok(None);
        };
        match body.advance(&mut self.buffer)? {
            Some(body) => {
                let (mut request, _) = self.pending.take().expect("seen above");
                request.body = body;
                Ok(Some(Received::Request(request)))
            }
            None if expects_continue => Ok(Some(Received::ExpectContinue)),
            None => Ok(None),
        }
    }
}

fn parse(head: &[u8], options: &Options) -> Result<(Request, Body, bool), Bad> {
    let mut table = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut table[..options.headers_max.min(HEADERS_MAX)]);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad(400, "the head is not well-formed")),
        Err(httparse::Error::TooManyHeaders) => return Err(bad(431, "too many header fields")),
        Err(httparse::Error::Version) => {
            return Err(bad(505, "only HTTP/1.1 and HTTP/1.0 are spoken here"));
        }
        Err(_) => return Err(bad(400, "the head is not well-formed")),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(bad(400, "the head is not well-formed"));
    };
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad(
            400,
            "the target holds a character that must be percent-encoded",
        ));
    }
    let headers: Fields = head::fields(parsed.headers)?;
    let host = head::single(&headers, "host", "Host is given twice")?;
    if minor == 1 && host.is_none() {
        return Err(bad(400, "Host is missing"));
    }
    let body = match head::length(&headers, options)? {
        // RFC 9112 section 6.1: a coded body from a 1.0 client is framed in nobody knows which way.
        Length::Chunked if minor == 0 => return Err(bad(400, "HTTP/1.0 has no Transfer-Encoding")),
        Length::Chunked => Body::chunked(options.body_bytes_max),
        Length::Known(bytes) => Body::Known { bytes },
        Length::Untold => Body::Known { bytes: 0 },
    };
    let expects = match head::single(&headers, "expect", "Expect is given twice")? {
        None => false,
        Some(expectation) if expectation.eq_ignore_ascii_case("100-continue") => minor == 1,
        Some(_) => return Err(bad(417, "the only expectation known here is 100-continue")),
    };
    let keep_alive = if minor == 1 {
        !head::has_token(&headers, "connection", "close")
    } else {
        head::has_token(&headers, "connection", "keep-alive")
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok((
        Request {
            method,
            target,
            headers,
            body: Bytes::new(),
            keep_alive,
        },
        body,
        expects,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Chunked;

    fn options() -> Options {
        Options {
            head_bytes_max: 256,
            headers_max: 6,
            body_bytes_max: 32,
            chunked: Chunked::Accepted,
        }
    }

    /// Everything that comes out of one connection, given the bytes in two parts.
    fn transcript(options: Options, wire: &[u8], cut: usize) -> Vec<String> {
        let mut server = Server::new(options);
        let mut lines = Vec::new();
        for part in [&wire[..cut], &wire[cut..]] {
            server.receive(part);
            loop {
                match server.next() {
                    Ok(None) => break,
                    Ok(Some(Received::ExpectContinue)) => lines.push("continue".into()),
                    Ok(Some(Received::Request(r))) => {
                        let alive = if r.keep_alive { "" } else { " close" };
                        lines.push(format!("{} {} {:?}{alive}", r.method, r.target, r.body));
                    }
                    Err(refusal) => {
                        lines.push(format!("{} {}", refusal.status, refusal.text));
                        return lines;
                    }
                }
            }
        }
        lines
    }

    /// The same however the bytes are cut.
    #[track_caller]
    fn check(wire: &str, expected: &[&str]) {
        for cut in 0..=wire.len() {
            let mut lines = transcript(options(), wire.as_bytes(), cut);
            // Whether 100 Continue is asked for depends on whether the body was there already.
            lines.retain(|line| line != "continue");
            assert_eq!(lines, expected, "cut at {cut}");
        }
    }

    #[test]
    fn pipelined_requests_come_out_in_order() {
        check(
            "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nhost: x\r\nContent-Length: 3\r\n\r\nabc\r\nPUT /c HTTP/1.0\r\n\r\n",
            &["GET /a?b b\"\"", "POST / b\"abc\"", "PUT /c b\"\" close"],
        );
    }

    #[test]
    fn chunked_bodies_are_put_together() {
        check(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: u\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            &["POST / b\"abc0123456789\"", "GET / b\"\""],
        );
    }

    #[test]
    fn continue_is_asked_for_once_and_only_before_the_body() {
        let head =
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        let wire = format!("{head}abc");
        assert_eq!(
            transcript(options(), wire.as_bytes(), head.len()),
            ["continue", "POST / b\"abc\""]
        );
        assert_eq!(
            transcript(options(), wire.as_bytes(), 0),
            ["POST / b\"abc\""]
        );
    }

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        let get = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        let chunked = |rest: &str| {
            format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{rest}")
        };
        for (wire, expected) in [
            (
                get("Content-Length: 3\r\nTransfer-Encoding: chunked"),
                "400 both Content-Length and Transfer-Encoding are given",
            ),
            (
                get("Content-Length: 3\r\nContent-Length: 3"),
                "400 Content-Length is given twice",
            ),
            (
                get("Content-Length: 3, 3"),
                "400 Content-Length is not a number",
            ),
            (
                get("Content-Length: +3"),
                "400 Content-Length is not a number",
            ),
            (get("Content-Length: 33"), "413 the body is too long"),
            (
                get("Content-Length: 99999999999999999999"),
                "413 the body is too long",
            ),
            (
                get("Transfer-Encoding: gzip, chunked"),
                "501 the only transfer coding known here is chunked",
            ),
            (
                get("Transfer-Encoding : chunked"),
                "400 the head is not well-formed",
            ),
            (get("A: b\r\n c"), "400 the head is not well-formed"),
            (get("A: b\0c"), "400 the head is not well-formed"),
            (
                get("A: b\nC: d"),
                "400 a line of the head does not end in CR LF",
            ),
            (get("Host: y"), "400 Host is given twice"),
            (
                get("Expect: a pony"),
                "417 the only expectation known here is 100-continue",
            ),
            (
                get("A:b\r\nA:b\r\nA:b\r\nA:b\r\nA:b\r\nA:b"),
                "431 too many header fields",
            ),
            (get(&"a".repeat(300)), "431 the head is too long"),
            ("GET / HTTP/1.1\r\n\r\n".into(), "400 Host is missing"),
            (
                "GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(),
                "505 only HTTP/1.1 and HTTP/1.0 are spoken here",
            ),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
                "400 HTTP/1.0 has no Transfer-Encoding",
            ),
            (
                chunked("-1\r\n"),
                "400 the length of a chunk is not a hexadecimal number",
            ),
            (
                chunked("0x3\r\nabc\r\n"),
                "400 the length of a chunk is not a hexadecimal number",
            ),
            (chunked("3\nabc\r\n"), "400 a line does not end in CR LF"),
            (
                chunked("3\r\nabcd\r\n"),
                "400 a chunk is longer than it says",
            ),
            (chunked("ffffffff\r\n"), "413 the body is too long"),
            (
                chunked("20\r\n01234567890123456789012345678901\r\n1\r\n"),
                "413 the body is too long",
            ),
        ] {
            check(&wire, &[expected]);
        }
    }

    #[test]
    fn the_administrative_channel_takes_no_chunks() {
        let wire = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let lines = transcript(Options::administrative(), wire, 0);
        assert_eq!(lines, ["411 give the length of the body by Content-Length"]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hold_more_than_its_limits(wire: Vec<u8>, head in "[A-Z:a-z0-9 \r\n]{0,80}") {
            for prefix in ["", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", head.as_str()] {
                let mut server = Server::new(options());
                server.receive(prefix.as_bytes());
                while let Ok(Some(_)) = server.next() {}
                server.receive(&wire);
                while let Ok(Some(_)) = server.next() {}
                assert!(server.buffered() <= 256 + 32 + wire.len());
            }
        }
    }
}
