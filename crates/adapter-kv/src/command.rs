//! What a client can ask for, as a unit's bytes.
//!
//! ```text
//! unit      = format u8 (1) | origin u8 (0 made up by the front, 1 chosen by the client)
//!             request id bytes u16, request id | count u16, then that many commands
//! command   = op u8 (1 put, 2 delete) | key bytes u16, key | condition | value bytes u32, value (put only)
//! condition = 0 | 1 (absent) | 2 version 16 bytes | 3 value bytes u32, value
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use kv::{Cursor, Malformed, put_block16, put_block32};
use types::UnitId;

/// Longest key: a path with room to spare.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest value. Larger things belong into a store of their own, with their digest here.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Longest request id: a UUID or a digest in hexadecimal.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Most commands of one unit: with 1 KiB each they fit into the largest unit.
pub(crate) const COMMANDS_MAX: usize = 512;

/// The unit that wrote a key last, as its first 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub [u8; 16]);

impl From<UnitId> for Version {
    fn from(id: UnitId) -> Self {
        Version(*id.0.first_chunk().expect("32 bytes begin with 16"))
    }
}

/// What must hold for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Always,
    Absent,
    Version(Version),
    Value(Bytes),
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put(Bytes),
    Delete,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub key: Bytes,
    pub condition: Condition,
    pub op: Op,
}

/// Whose choice a request id was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdOrigin {
    Front,
    Client,
}

/// A unit: commands that are applied together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub(crate) origin: IdOrigin,
    pub request_id: Bytes,
    pub commands: Vec<Command>,
}

impl Submission {
    /// A unit that a client named.
    pub fn named(request_id: impl Into<Bytes>, commands: Vec<Command>) -> Self {
        Self {
            origin: IdOrigin::Client,
            request_id: request_id.into(),
            commands,
        }
    }

    /// The unit's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(1);
        out.put_u8(u8::from(self.origin == IdOrigin::Client));
        put_block16(&mut out, &self.request_id);
        out.put_u16(u16::try_from(self.commands.len()).expect("the front keeps COMMANDS_MAX"));
        for command in &self.commands {
            out.put_u8(if command.op == Op::Delete { 2 } else { 1 });
            put_block16(&mut out, &command.key);
            match &command.condition {
                Condition::Always => out.put_u8(0),
                Condition::Absent => out.put_u8(1),
                Condition::Version(version) => {
                    out.put_u8(2);
                    out.put_slice(&version.0);
                }
                Condition::Value(value) => {
                    out.put_u8(3);
                    put_block32(&mut out, value);
                }
            }
            if let Op::Put(value) = &command.op {
                put_block32(&mut out, value);
            }
        }
        out.freeze()
    }

    /// Reads a unit and checks its limits.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn decode(raw: &Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(raw.clone());
        let [format, origin] = cursor.array()?;
        let origin = match (format, origin) {
            (1, 0) => IdOrigin::Front,
            (1, 1) => IdOrigin::Client,
            _ => {
                return Err(Malformed(
                    "a unit of a format that this release does not know",
                ));
            }
        };
        let request_id = cursor.block16()?;
        if request_id.is_empty() || request_id.len() > REQUEST_ID_BYTES_MAX {
            return Err(Malformed("a request id has 1 to 64 bytes"));
        }
        let count = usize::from(cursor.u16()?);
        if count == 0 || count > COMMANDS_MAX {
            return Err(Malformed("a request has 1 to 512 commands"));
        }
        let commands = (0..count)
            .map(|_| command(&mut cursor))
            .collect::<Result<_, _>>()?;
        cursor.end()?;
        Ok(Self {
            origin,
            request_id,
            commands,
        })
    }
}

fn command(cursor: &mut Cursor) -> Result<Command, Malformed> {
    let [op] = cursor.array()?;
    let key = cursor.block16()?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX || core::str::from_utf8(&key).is_err() {
        return Err(Malformed("a key is text of 1 to 1,024 bytes"));
    }
    let condition = match cursor.array()? {
        [0] => Condition::Always,
        [1] => Condition::Absent,
        [2] => Condition::Version(Version(cursor.array()?)),
        [3] => Condition::Value(value(cursor)?),
        _ => return Err(Malformed("a condition that this release does not know")),
    };
    let op = match op {
        1 => Op::Put(value(cursor)?),
        2 => Op::Delete,
        _ => return Err(Malformed("a command that this release does not know")),
    };
    Ok(Command { key, condition, op })
}

fn value(cursor: &mut Cursor) -> Result<Bytes, Malformed> {
    let value = cursor.block32()?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(Malformed("a value has at most 65,536 bytes"));
    }
    Ok(value)
}

#[test]
fn what_was_encoded_decodes_and_every_truncation_is_refused() {
    let put = |condition| Command {
        key: "k".into(),
        condition,
        op: Op::Put("v".into()),
    };
    let commands = vec![
        put(Condition::Always),
        put(Condition::Absent),
        put(Condition::Version(Version([7; 16]))),
        Command {
            key: "k".into(),
            condition: Condition::Value("u".into()),
            op: Op::Delete,
        },
    ];
    let submission = Submission::named("id", commands);
    let raw = submission.encode();
    assert_eq!(Submission::decode(&raw), Ok(submission));
    for cut in 0..raw.len() {
        assert!(
            Submission::decode(&raw.slice(..cut)).is_err(),
            "cut at {cut}"
        );
    }
}
