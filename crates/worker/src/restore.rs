//! Reading a worker's part of a snapshot (drawn in `snapshot`), chunk by chunk.
//!
//! The manager has compared its digest with the ledger's. It is checked nevertheless, as all that comes
//! from disk or a peer: an error names what is wrong, and nothing is sized by an announced length.

use core::ops::RangeInclusive;

use bytes::{Buf, Bytes, BytesMut};
use kv::{Domain, Malformed};
use types::limits::{BATCH_UNITS_MAX, FRAME_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};
use types::{Height, Millis};

use crate::catalogue::{Catalogue, NOTE_BYTES_MAX};
use crate::execution::State;
use crate::snapshot::VERSION;

/// Longest value: what a genesis or an entry can have written.
const VALUE_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// Why a snapshot was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("chunk {found} came, {expected} was expected: send it from its beginning")]
    Sequence { expected: u64, found: u64 },
    #[error("it changes its height from {began} to {found}: send it from its beginning")]
    Height { began: Height, found: Height },
    #[error("a chunk has {0} bytes, and all but the last have {SNAPSHOT_CHUNK_BYTES}")]
    ChunkBytes(usize),
    #[error("it is of protocol {0:?}")]
    Protocol(String),
    #[error("it has state format {found}, and this image reads {expected}")]
    StateFormat { expected: u32, found: u32 },
    #[error(
        "its data has format {found}, and this image knows {first} to {last}: start this node with code that knows {found}", first = known.start(), last = known.end()
    )]
    Format {
        known: RangeInclusive<u32>,
        found: u32,
    },
    #[error("{}", .0.0)]
    Malformed(#[from] Malformed),
}

/// What the reader waits for next.
#[derive(Debug)]
enum Expect {
    Head,
    /// The heading of the domain at this position.
    Domain(usize),
    Keys {
        at: usize,
        left: u64,
        last: Option<Bytes>,
    },
    Parts,
    Part {
        left: u64,
    },
    Batches,
    Batch {
        left: u64,
    },
    End,
}

/// A snapshot that is being read.
#[derive(Debug)]
pub(crate) struct Restoring {
    protocol: &'static str,
    state_format: u32,
    formats: RangeInclusive<u32>,
    height: Height,
    time: Millis,
    sequence: u64,
    /// Received and not read: the beginning of something whose end has not come.
    rest: BytesMut,
    expect: Expect,
}

impl Restoring {
    pub(crate) fn new(
        protocol: &'static str,
        state_format: u32,
        formats: RangeInclusive<u32>,
        height: Height,
    ) -> Self {
        Self {
            protocol,
            state_format,
            formats,
            height,
            time: Millis::ZERO,
            sequence: 0,
            rest: BytesMut::new(),
            expect: Expect::Head,
        }
    }

    /// Takes the next chunk into `store`, which must have been empty at the first one. After the last
    /// one, gives the time of the last batch.
    ///
    /// # Errors
    /// [`Unusable`]: the store holds parts of a state and has to be thrown away.
    pub(crate) fn chunk(
        &mut self,
        store: &mut State,
        catalogue: &mut Catalogue,
        chunk: &boundary::Restore,
    ) -> Result<Option<Millis>, Unusable> {
        if chunk.sequence != self.sequence {
            return Err(Unusable::Sequence {
                expected: self.sequence,
                found: chunk.sequence,
            });
        }
        if Height(chunk.height) != self.height {
            return Err(Unusable::Height {
                began: self.height,
                found: Height(chunk.height),
            });
        }
        let bytes = chunk.data.len();
        if bytes > SNAPSHOT_CHUNK_BYTES || (!chunk.last && bytes != SNAPSHOT_CHUNK_BYTES) {
            return Err(Unusable::ChunkBytes(bytes));
        }
        self.sequence += 1;
        self.rest.extend_from_slice(&chunk.data);
        while self.step(store, catalogue)? {}
        if !chunk.last {
            return Ok(None);
        }
        if !matches!(self.expect, Expect::End) {
            return Err(Malformed("the snapshot ends before its state does").into());
        }
        if !self.rest.is_empty() {
            return Err(Malformed("bytes follow the end of the state").into());
        }
        store
            .restored(self.height)
            .map_err(|_| Malformed("the state was not empty"))?;
        Ok(Some(self.time))
    }

    /// Reads one thing if it is all there; false if it is not, or nothing is to come.
    fn step(&mut self, store: &mut State, catalogue: &mut Catalogue) -> Result<bool, Unusable> {
        match &mut self.expect {
            Expect::Head => self.head(store),
            Expect::Domain(at) => {
                let Some((domain, _)) = store.domains().get(*at) else {
                    self.expect = Expect::Parts;
                    return Ok(true);
                };
                if self.rest.len() < 10 {
                    return Ok(false);
                }
                if Domain(self.rest.get_u16()) != *domain {
                    return Err(Malformed("its domains are not those of this protocol").into());
                }
                self.expect = Expect::Keys {
                    at: *at,
                    left: self.rest.get_u64(),
                    last: None,
                };
                Ok(true)
            }
            Expect::Keys { at, left: 0, .. } => {
                self.expect = Expect::Domain(*at + 1);
                Ok(true)
            }
            Expect::Keys { at, left, last } => {
                let Some((key, value)) = entry(&mut self.rest)? else {
                    return Ok(false);
                };
                if last.as_ref().is_some_and(|last| *last >= key) {
                    return Err(Malformed("keys are not in ascending order").into());
                }
                let domain = store.domains()[*at].0;
                store
                    .restore_key(domain, &key, &value)
                    .map_err(|_| Malformed("the state was not empty"))?;
                *left -= 1;
                *last = Some(key);
                Ok(true)
            }
            Expect::Parts => {
                if self.rest.len() < 8 {
                    return Ok(false);
                }
                let left = self.rest.get_u64();
                self.expect = Expect::Part { left };
                Ok(true)
            }
            Expect::Part { left: 0 } => {
                self.expect = Expect::Batches;
                Ok(true)
            }
            Expect::Part { left } => {
                if self.rest.len() < 16 {
                    return Ok(false);
                }
                let (height, last) = (Height(self.rest.get_u64()), self.rest.get_u64());
                if height > self.height {
                    return Err(Malformed("a part of its catalogue is above its height").into());
                }
                catalogue.restore_part(height, last)?;
                *left -= 1;
                Ok(true)
            }
            Expect::Batches => {
                if self.rest.len() < 8 {
                    return Ok(false);
                }
                let left = self.rest.get_u64();
                if left != self.height.0 {
                    return Err(Malformed("its catalogue is not of its height").into());
                }
                self.expect = Expect::Batch { left };
                Ok(true)
            }
            Expect::Batch { left: 0 } => {
                if catalogue.missing() > 0 {
                    return Err(
                        Malformed("its catalogue has parts of more than its batches").into(),
                    );
                }
                self.expect = Expect::End;
                Ok(true)
            }
            Expect::Batch { left } => {
                let filed = batch(&mut self.rest, catalogue)?;
                *left -= u64::from(filed);
                Ok(filed)
            }
            Expect::End => Ok(false),
        }
    }

    fn head(&mut self, store: &mut State) -> Result<bool, Unusable> {
        // Its first three bytes say how long it is.
        let Some([version, high, low]) = self.rest.first_chunk() else {
            return Ok(false);
        };
        if *version != VERSION {
            return Err(
                Malformed("a snapshot of a version that this release does not know").into(),
            );
        }
        let protocol_bytes = usize::from(u16::from_be_bytes([*high, *low]));
        if self.rest.len() < 3 + protocol_bytes + 26 {
            return Ok(false);
        }
        self.rest.advance(3);
        let protocol = self.rest.split_to(protocol_bytes);
        if protocol != self.protocol {
            let found = String::from_utf8_lossy(&protocol[..protocol.len().min(32)]);
            return Err(Unusable::Protocol(found.into_owned()));
        }
        let found = self.rest.get_u32();
        if found != self.state_format {
            return Err(Unusable::StateFormat {
                expected: self.state_format,
                found,
            });
        }
        let format = self.rest.get_u32();
        if !self.formats.contains(&format) {
            return Err(Unusable::Format {
                known: self.formats.clone(),
                found: format,
            });
        }
        store.set_format(format);
        let height = Height(self.rest.get_u64());
        if height != self.height {
            return Err(Unusable::Height {
                began: self.height,
                found: height,
            });
        }
        self.time = Millis(self.rest.get_u64());
        if usize::from(self.rest.get_u16()) != store.domains().len() {
            return Err(Malformed("its domains are not those of this protocol").into());
        }
        self.expect = Expect::Domain(0);
        Ok(true)
    }
}

/// One key and its value, copied by whoever keeps them.
fn entry(rest: &mut BytesMut) -> Result<Option<(Bytes, Bytes)>, Malformed> {
    let Some(lengths) = rest.first_chunk::<6>() else {
        return Ok(None);
    };
    let key_bytes = usize::from(u16::from_be_bytes([lengths[0], lengths[1]]));
    let value_bytes = u32::from_be_bytes([lengths[2], lengths[3], lengths[4], lengths[5]]) as usize; // u32 fits usize on every supported target
    if value_bytes > VALUE_BYTES_MAX {
        return Err(Malformed(
            "a value is longer than an entry can have written",
        ));
    }
    if rest.len() < 6 + key_bytes + value_bytes {
        return Ok(None);
    }
    rest.advance(6);
    let mut both = rest.split_to(key_bytes + value_bytes).freeze();
    let key = both.split_to(key_bytes);
    Ok(Some((key, both)))
}

/// One batch of the catalogue; false if it is not all there.
fn batch(rest: &mut BytesMut, catalogue: &mut Catalogue) -> Result<bool, Malformed> {
    let Some([a, b, c, d]) = rest.first_chunk() else {
        return Ok(false);
    };
    let tags = usize::from(u16::from_be_bytes([*a, *b]));
    let note_bytes = usize::from(u16::from_be_bytes([*c, *d]));
    if tags == 0 || tags > BATCH_UNITS_MAX + 1 || note_bytes > NOTE_BYTES_MAX {
        return Err(Malformed("a batch of its catalogue breaks a limit"));
    }
    let before = catalogue.missing().min(tags as u64); // widening
    let here = tags - usize::try_from(before).expect("at most `tags`");
    if rest.len() < 4 + 8 * here + note_bytes {
        return Ok(false);
    }
    rest.advance(4);
    let words = rest.split_to(8 * here);
    let note = rest.split_to(note_bytes);
    catalogue.start(tags, &note);
    catalogue.pass(before);
    for word in words.as_chunks().0 {
        catalogue.push(u64::from_be_bytes(*word));
    }
    Ok(true)
}
