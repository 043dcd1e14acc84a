//! Bodies: collects one, of known length or in chunks, without trusting any announced length.

use bytes::{Buf, Bytes, BytesMut};

use crate::head::{Bad, bad};

/// Longest line that announces a chunk; extensions are read and dropped.
const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Longest trailer section, which is read and dropped.
const TRAILER_BYTES_MAX: usize = 4 << 10;

/// A body that is being received.
#[derive(Debug)]
pub(crate) enum Body {
    Known {
        bytes: usize,
    },
    Chunked {
        got: BytesMut,
        bytes_max: usize,
        expect: Expect,
    },
    UntilClose {
        bytes_max: usize,
    },
}

/// What comes next in a chunked body (RFC 9112 section 7.1).
#[derive(Debug)]
pub(crate) enum Expect {
    Line,
    Data { bytes: usize },
    DataEnd,
    Trailer { bytes: usize },
}

impl Body {
    pub(crate) fn chunked(bytes_max: usize) -> Self {
        Body::Chunked {
            got: BytesMut::new(),
            bytes_max,
            expect: Expect::Line,
        }
    }

    /// The whole body once it is there, cut from the front of `buffer`.
    pub(crate) fn advance(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Bad> {
        match self {
            Body::Known { bytes } => {
                Ok((buffer.len() >= *bytes).then(|| buffer.split_to(*bytes).freeze()))
            }
            Body::Chunked {
                got,
                bytes_max,
                expect,
            } => chunks(buffer, got, *bytes_max, expect),
            Body::UntilClose { bytes_max } if buffer.len() > *bytes_max => {
                Err(bad(413, "the body is too long"))
            }
            Body::UntilClose { .. } => Ok(None),
        }
    }

    /// How many bytes are held outside of the receive buffer.
    pub(crate) fn held(&self) -> usize {
        match self {
            Body::Chunked { got, .. } => got.len(),
            Body::Known { .. } | Body::UntilClose { .. } => 0,
        }
    }
}

fn chunks(
    buffer: &mut BytesMut,
    got: &mut BytesMut,
    bytes_max: usize,
    expect: &mut Expect,
) -> Result<Option<Bytes>, Bad> {
    loop {
        match expect {
            Expect::Line => {
                let Some(line) = line(buffer, CHUNK_LINE_BYTES_MAX)? else {
                    return Ok(None);
                };
                let bytes = chunk_bytes(&line)?;
                if bytes > bytes_max - got.len() {
                    return Err(bad(413, "the body is too long"));
                }
                *expect = if bytes == 0 {
                    Expect::Trailer { bytes: 0 }
                } else {
                    Expect::Data { bytes }
                };
            }
            Expect::Data { bytes } => {
                let now = buffer.len().min(*bytes);
                got.extend_from_slice(&buffer[..now]);
                buffer.advance(now);
                *bytes -= now;
                if *bytes > 0 {
                    return Ok(None);
                }
                *expect = Expect::DataEnd;
            }
            Expect::DataEnd => {
                let Some(end) = buffer.first_chunk::<2>() else {
                    return Ok(None);
                };
                if end != b"\r\n" {
                    return Err(bad(400, "a chunk is longer than it says"));
                }
                buffer.advance(2);
                *expect = Expect::Line;
            }
            Expect::Trailer { bytes } => {
                let Some(line) = line(buffer, TRAILER_BYTES_MAX)? else {
                    return Ok(None);
                };
                if line.is_empty() {
                    return Ok(Some(core::mem::take(got).freeze()));
                }
                *bytes += line.len();
                if *bytes > TRAILER_BYTES_MAX {
                    return Err(bad(431, "the trailer is too long"));
                }
            }
        }
    }
}

/// A line without its CR LF, cut from the front of `buffer`.
fn line(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, Bad> {
    let window = &buffer[..buffer.len().min(bytes_max)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(0) => Err(bad(400, "a line does not end in CR LF")),
        Some(newline) if window[newline - 1] != b'\r' || window[..newline - 1].contains(&b'\r') => {
            Err(bad(400, "a line does not end in CR LF"))
        }
        Some(newline) => {
            let mut line = buffer.split_to(newline + 1);
            line.truncate(newline - 1);
            Ok(Some(line))
        }
        None if buffer.len() >= bytes_max => Err(bad(400, "a line of a chunked body is too long")),
        None => Ok(None),
    }
}

fn chunk_bytes(line: &[u8]) -> Result<usize, Bad> {
    let digits = line
        .iter()
        .position(|byte| *byte == b';')
        .map_or(line, |end| &line[..end]);
    let digits = digits.trim_ascii_end();
    // Eight digits are 4 GiB, beyond every limit; and a sign or a prefix is not a digit.
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(bad(
            400,
            "the length of a chunk is not a hexadecimal number",
        ));
    }
    let digits = core::str::from_utf8(digits).expect("hexadecimal digits are text");
    usize::from_str_radix(digits, 16).map_err(|_| bad(413, "the body is too long"))
}
