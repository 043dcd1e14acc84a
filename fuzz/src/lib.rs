//! Hostile bytes for every decoder that faces a host, a peer, a worker or a client.
//!
//! A [`Target`] takes any bytes and must neither panic nor break the property that it states: what was
//! read is written back the same, however the bytes were cut. `fuzz/run` drives the targets with
//! libFuzzer, which mutates inputs and keeps those that reach new code; `cargo test -p fuzz` replays the
//! corpus without it. Everything works on the stable toolchain.
//!
//! The corpus (`fuzz/corpus/<target>`) is made from real encodings by `fuzz/run --seed`.
//! An input that once did harm becomes a test of the crate that it harmed.

mod targets;

pub use targets::TARGETS;

/// One decoder, or one value that handles decoded messages.
pub struct Target {
    /// As `fuzz/run` and the corpus name it.
    pub name: &'static str,
    /// Takes hostile bytes.
    pub run: fn(&[u8]),
    /// Real encodings to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longest input that is worth trying.
    pub bytes_max: usize,
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Bytes from outside, cut off piece by piece; empty pieces when there are no more.
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        let taken = self.take(8);
        let mut bytes = [0; 8];
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_be_bytes(bytes)
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece with its length in two bytes before it.
    fn piece(&mut self) -> &'a [u8] {
        let (high, low) = (self.byte(), self.byte());
        self.take(usize::from(u16::from_be_bytes([high, low])))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What [`Pieces::piece`] takes apart again.
fn pieces(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let length = u16::try_from(part.len()).expect("a seed is short");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}
