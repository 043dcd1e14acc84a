//! Heads: where they end, and how long the body behind them is.

use bytes::{Buf, BytesMut};

/// Whether a body of unknown length is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunked {
    Accepted,
    Refused,
}

/// Limits of a connection.
#[derive(Debug, Clone)]
pub struct Options {
    /// Request line and header fields together.
    pub head_bytes_max: usize,
    /// Header fields.
    pub headers_max: usize,
    pub body_bytes_max: usize,
    pub chunked: Chunked,
}

impl Options {
    /// For application requests. Heads of browsers and JSON-RPC libraries stay below 4 KiB.
    pub fn application() -> Self {
        Self {
            head_bytes_max: 16 << 10,
            headers_max: 64,
            body_bytes_max: types::limits::APPLICATION_REQUEST_BYTES_MAX,
            chunked: Chunked::Accepted,
        }
    }

    /// For the administrative channel: lengths known beforehand, 64 KiB at most.
    pub fn administrative() -> Self {
        Self {
            head_bytes_max: 8 << 10,
            headers_max: 32,
            body_bytes_max: types::limits::ADMINISTRATIVE_BYTES_MAX,
            chunked: Chunked::Refused,
        }
    }
}

/// Most header fields that any options may allow: the parser's table is on the stack.
pub(crate) const HEADERS_MAX: usize = 128;

/// What is wrong with a message; each side turns it into its own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The status with which a server refuses it.
    pub(crate) status: u16,
    pub(crate) text: &'static str,
}

pub(crate) const fn bad(status: u16, text: &'static str) -> Bad {
    Bad { status, text }
}

/// Length of the head at the front of `buffer`, its blank line included. `scanned` remembers how far
/// was looked, so that a head that comes byte by byte is not searched again from its beginning.
pub(crate) fn head_bytes(
    buffer: &[u8],
    scanned: &mut usize,
    bytes_max: usize,
) -> Result<Option<usize>, Bad> {
    let window = &buffer[..buffer.len().min(bytes_max)];
    let mut at = *scanned;
    while let Some(found) = window[at..].iter().position(|byte| *byte == b'\n') {
        let newline = at + found;
        if newline == 0 || window[newline - 1] != b'\r' {
            return Err(bad(400, "a line of the head does not end in CR LF"));
        }
        if newline >= 3 && &window[newline - 3..newline] == b"\r\n\r" {
            *scanned = 0;
            return Ok(Some(newline + 1));
        }
        at = newline + 1;
    }
    *scanned = at;
    if buffer.len() >= bytes_max {
        Err(bad(431, "the head is too long"))
    } else {
        Ok(None)
    }
}

/// Drops blank lines before a request line (RFC 9112 section 2.2).
pub(crate) fn skip_blank_lines(buffer: &mut BytesMut) {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
}

/// Header fields as text, names in lower case.
pub(crate) type Fields = Vec<(String, String)>;

/// Copies parsed header fields.
pub(crate) fn fields(headers: &[httparse::Header<'_>]) -> Result<Fields, Bad> {
    headers
        .iter()
        .map(|header| {
            let value = core::str::from_utf8(header.value)
                .map_err(|_| bad(400, "a header field is not text"))?;
            if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
                return Err(bad(400, "a header field holds a control character"));
            }
            Ok((
                header.name.to_ascii_lowercase(),
                value.trim_matches([' ', '\t']).to_owned(),
            ))
        })
        .collect()
}

/// The only field of this name; `None` if there is none.
pub(crate) fn single<'a>(
    fields: &'a Fields,
    name: &str,
    twice: &'static str,
) -> Result<Option<&'a str>, Bad> {
    let mut values = fields
        .iter()
        .filter(|(n, _)| n == name)
        .map(|(_, value)| value.as_str());
    let first = values.next();
    if values.next().is_some() {
        Err(bad(400, twice))
    } else {
        Ok(first)
    }
}

/// Whether a list-valued field holds this lower-case token.
pub(crate) fn has_token(fields: &Fields, name: &str, token: &str) -> bool {
    let values = fields.iter().filter(|(n, _)| n == name);
    values
        .flat_map(|(_, value)| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// How the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Known(usize),
    Chunked,
    /// Neither way: a request has no body then, and a response lasts until the connection ends.
    Untold,
}

/// RFC 9112 section 6.3, refusing every combination that parsers are known to disagree about.
pub(crate) fn length(fields: &Fields, options: &Options) -> Result<Length, Bad> {
    let content_length = single(fields, "content-length", "Content-Length is given twice")?;
    let transfer_encoding = single(
        fields,
        "transfer-encoding",
        "Transfer-Encoding is given twice",
    )?;
    match (content_length, transfer_encoding) {
        (Some(_), Some(_)) => Err(bad(
            400,
            "both Content-Length and Transfer-Encoding are given",
        )),
        (None, Some(_)) if options.chunked == Chunked::Refused => {
            Err(bad(411, "give the length of the body by Content-Length"))
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
        (None, Some(_)) => Err(bad(501, "the only transfer coding known here is chunked")),
        (Some(digits), None) => {
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(bad(400, "Content-Length is not a number"));
            }
            match digits.parse::<usize>() {
                Ok(bytes) if bytes <= options.body_bytes_max => Ok(Length::Known(bytes)),
                _ => Err(bad(413, "the body is too long")),
            }
        }
        (None, None) => Ok(Length::Untold),
    }
}
