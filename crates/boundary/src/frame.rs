//! Framing on a stream socket: a 4-byte big-endian length, then one protobuf message.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use types::limits::FRAME_BYTES_MAX;

/// The other side announced or sent what is not a message. The connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("frame of {bytes} bytes, more than the {FRAME_BYTES_MAX} allowed")]
    TooLong { bytes: usize },
    #[error("frame is not a message of this list")]
    Undecodable(#[from] prost::DecodeError),
}

/// Appends one framed message to `out`.
///
/// # Panics
/// If the message is longer than [`FRAME_BYTES_MAX`]: whoever makes messages keeps their limits.
pub fn encode<M: Message>(message: &M, out: &mut BytesMut) {
    let bytes = message.encoded_len();
    assert!(bytes <= FRAME_BYTES_MAX, "a message keeps the frame limit");
    out.reserve(4 + bytes);
    out.extend_from_slice(
        &u32::try_from(bytes)
            .expect("the frame limit fits 32 bits")
            .to_be_bytes(),
    );
    message.encode(out).expect("space was reserved");
}

/// Cuts received bytes into messages. Payload `bytes` fields share the received buffer.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Where received bytes are to be put (at its end).
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole message, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Broken`]: the peer does not speak this protocol; drop it.
    #[allow(clippy::should_implement_trait)] // it fails, and each call may name another type
    pub fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Broken> {
        match self.next_frame()? {
            Some(frame) => Ok(Some(M::decode(frame)?)),
            None => Ok(None),
        }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, Broken> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*prefix) as usize; // u32 always fits usize here
        if bytes > FRAME_BYTES_MAX {
            return Err(Broken::TooLong { bytes });
        }
        if self.buffer.len() < 4 + bytes {
            self.buffer.reserve(4 + bytes - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(bytes).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{HostToManager, Received, host_to_manager};

    fn received(data: &'static [u8]) -> HostToManager {
        HostToManager {
            now: 7,
            message: Some(host_to_manager::Message::Received(Received {
                connection: 3,
                data: data.into(),
            })),
        }
    }

    #[test]
    fn messages_survive_any_cut() {
        let mut wire = BytesMut::new();
        encode(&received(b"one"), &mut wire);
        encode(&received(b"two"), &mut wire);
        for cut in 0..wire.len() {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                decoder.buffer().extend_from_slice(part);
                while let Some(message) = decoder.next::<HostToManager>().expect("well-formed") {
                    got.push(message);
                }
            }
            assert_eq!(got, [received(b"one"), received(b"two")], "cut at {cut}");
        }
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused_before_it_sizes_anything() {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(
            decoder.next::<HostToManager>(),
            Err(Broken::TooLong { .. })
        ));
        assert!(decoder.buffer().capacity() < 1 << 20);
    }
}
