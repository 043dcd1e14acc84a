//! Responses, encoded.

use bytes::{BufMut, BytesMut};

/// Whether the connection lives on after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    KeepAlive,
    Close,
}

/// Appends the interim answer to [`crate::Received::ExpectContinue`].
pub fn encode_continue(out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Appends a response. `method` is the request's: a response to HEAD has no body. Characters that
/// would end a header field become spaces.
pub fn encode_response<N: AsRef<str>, V: AsRef<str>>(
    status: u16,
    headers: &[(N, V)],
    body: &[u8],
    method: &str,
    persistence: Persistence,
    out: &mut BytesMut,
) {
    let fields: usize = headers
        .iter()
        .map(|(n, v)| n.as_ref().len() + v.as_ref().len() + 4)
        .sum();
    out.reserve(96 + fields + body.len());
    out.put_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    put_fields(headers, out);
    let bodiless = matches!(status, 100..=199 | 204 | 304);
    if !bodiless {
        out.put_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    if persistence == Persistence::Close {
        out.put_slice(b"connection: close\r\n");
    }
    out.put_slice(b"\r\n");
    if !bodiless && method != "HEAD" {
        out.put_slice(body);
    }
}

/// Header fields; what would break out of one becomes a space.
pub(crate) fn put_fields<N: AsRef<str>, V: AsRef<str>>(headers: &[(N, V)], out: &mut BytesMut) {
    for (name, value) in headers {
        debug_assert!(
            name.as_ref()
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':')
        );
        out.put_slice(name.as_ref().as_bytes());
        out.put_slice(b": ");
        let value = value.as_ref().as_bytes();
        if value.iter().any(u8::is_ascii_control) {
            let clean = |byte: &u8| if byte.is_ascii_control() { b' ' } else { *byte };
            out.extend(value.iter().map(clean));
        } else {
            out.put_slice(value);
        }
        out.put_slice(b"\r\n");
    }
}

/// The reason phrase of a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}

#[test]
fn a_header_value_cannot_break_out_of_its_field() {
    let mut out = BytesMut::new();
    encode_response(
        200,
        &[("a", "b\r\nc: d")],
        b"body",
        "GET",
        Persistence::Close,
        &mut out,
    );
    let expected =
        "HTTP/1.1 200 OK\r\na: b  c: d\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody";
    assert_eq!(out, expected);
}
