//! Batch body: what a leader's worker proposes, the ledger keeps, and every other worker applies.
//!
//! ```text
//! body     = version u8 (1)
//!            height u64 | time u64 | entropy 32 bytes
//!            count u32, then that many units:     id 32 bytes | caller 32 bytes
//!                                                 established bytes u16, established
//!                                                 raw bytes u32, raw
//!                                                 receipt bytes u32, receipt
//!            claim bytes u32, claim
//!            count u32, then that many events:    topic bytes u32, topic | data bytes u32, data
//!            count u32, then that many records:   tag bytes u16, tag | data bytes u32, data
//!            write set bytes u32, write set       (layout: kv::WriteSet)
//! ```
//! Numbers are big-endian. Decoding makes slices and copies nothing; the write set is decoded apart,
//! since whoever reads history has no use for it. The manager never looks inside.

use adapter::{Claim, Env, Event, Unit};
use bytes::{BufMut, Bytes, BytesMut};
use kv::{Cursor, Malformed, WriteSet, put_block16, put_block32};
use types::limits::{BATCH_UNITS_MAX, ENTRY_BYTES_MAX, UNIT_BYTES_MAX};
use types::{ActorId, Height, Millis, UnitId};

/// Most bytes that admission may establish about a unit (`adapter::Ticket::established`).
pub const ESTABLISHED_BYTES_MAX: usize = 256;

const VERSION: u8 = 1;
const UNIT_BYTES_MIN: usize = 32 + 32 + 2 + 4 + 4;

/// What `Exec::record` obtained from outside while the leader executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub tag: Bytes,
    pub data: Bytes,
}

/// One batch, decoded.
#[derive(Debug, Clone)]
pub struct Body {
    pub env: Env,
    /// Applied units, each with its receipt.
    pub units: Vec<(Unit, Bytes)>,
    pub claim: Claim,
    pub events: Vec<Event>,
    pub recorded: Vec<Recorded>,
    /// A write set, encoded.
    pub writes: Bytes,
}

impl Body {
    /// Encodes a batch whose write set is still in parts.
    pub fn encode(
        env: &Env,
        units: &[(Unit, Bytes)],
        claim: &Claim,
        events: &[Event],
        recorded: &[Recorded],
        writes: &WriteSet,
    ) -> Bytes {
        let units_bytes: usize = units
            .iter()
            .map(|(u, receipt)| UNIT_BYTES_MIN + u.established.len() + u.raw.len() + receipt.len())
            .sum();
        let events_bytes: usize = events
            .iter()
            .map(|e| 8 + e.topic.len() + e.data.len())
            .sum();
        let recorded_bytes: usize = recorded
            .iter()
            .map(|r| 6 + r.tag.len() + r.data.len())
            .sum();
        let writes_bytes = writes.encoded_bytes();
        let bytes = 49
            + 20
            + units_bytes
            + claim.bytes.len()
            + events_bytes
            + recorded_bytes
            + writes_bytes;
        let mut out = BytesMut::with_capacity(bytes);
        out.put_u8(VERSION);
        out.put_u64(env.height.0);
        out.put_u64(env.time.0);
        out.put_slice(&env.entropy);
        put_count(&mut out, units.len());
        for (unit, receipt) in units {
            out.put_slice(&unit.id.0);
            out.put_slice(&unit.caller.0);
            put_block16(&mut out, &unit.established);
            put_block32(&mut out, &unit.raw);
            put_block32(&mut out, receipt);
        }
        put_block32(&mut out, &claim.bytes);
        put_count(&mut out, events.len());
        for event in events {
            put_block32(&mut out, &event.topic);
            put_block32(&mut out, &event.data);
        }
        put_count(&mut out, recorded.len());
        for record in recorded {
            put_block16(&mut out, &record.tag);
            put_block32(&mut out, &record.data);
        }
        put_count(&mut out, writes_bytes);
        writes.encode(&mut out);
        assert_eq!(
            out.len(),
            bytes,
            "the length of a body is computed before it is written"
        );
        out.freeze()
    }

    /// Reads a body that is all of `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(Malformed("a batch body is longer than an entry may be"));
        }
        let mut cursor = Cursor::new(bytes);
        if cursor.array()? != [VERSION] {
            return Err(Malformed(
                "a batch body of a version that this release does not know",
            ));
        }
        let env = Env {
            height: Height(cursor.u64()?),
            time: Millis(cursor.u64()?),
            entropy: cursor.array()?,
        };
        let count = cursor.count(UNIT_BYTES_MIN)?;
        if count > BATCH_UNITS_MAX {
            return Err(Malformed("a batch body has more units than a batch may"));
        }
        let units = (0..count)
            .map(|_| unit(&mut cursor))
            .collect::<Result<_, _>>()?;
        let claim = Claim {
            bytes: cursor.block32()?,
        };
        let count = cursor.count(8)?;
        let events = (0..count)
            .map(|_| {
                Ok(Event {
                    topic: cursor.block32()?,
                    data: cursor.block32()?,
                })
            })
            .collect::<Result<_, _>>()?;
        let count = cursor.count(6)?;
        let recorded = (0..count)
            .map(|_| {
                Ok(Recorded {
                    tag: cursor.block16()?,
                    data: cursor.block32()?,
                })
            })
            .collect::<Result<_, _>>()?;
        let writes = cursor.block32()?;
        cursor.end()?;
        Ok(Self {
            env,
            units,
            claim,
            events,
            recorded,
            writes,
        })
    }
}

fn unit(cursor: &mut Cursor) -> Result<(Unit, Bytes), Malformed> {
    let id = UnitId(cursor.array()?);
    let caller = ActorId(cursor.array()?);
    let established = cursor.block16()?;
    let raw = cursor.block32()?;
    let receipt = cursor.block32()?;
    if established.len() > ESTABLISHED_BYTES_MAX || raw.len() > UNIT_BYTES_MAX {
        return Err(Malformed(
            "a unit in a batch body is longer than a unit may be",
        ));
    }
    Ok((
        Unit {
            id,
            caller,
            raw,
            established,
            memo: adapter::Memo::default(),
        },
        receipt,
    ))
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32(u32::try_from(count).expect("a batch keeps its limits"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv::{Domain, Write};

    fn example() -> Bytes {
        let env = Env {
            height: Height(2),
            time: Millis(3),
            entropy: [9; 32],
        };
        let unit = Unit {
            id: UnitId([1; 32]),
            caller: ActorId([2; 32]),
            raw: "raw".into(),
            established: "e".into(),
            memo: adapter::Memo::default(),
        };
        let writes = WriteSet(vec![Write {
            domain: Domain(1),
            key: "k".into(),
            value: Some("v".into()),
        }]);
        let event = Event {
            topic: "t".into(),
            data: "d".into(),
        };
        let recorded = Recorded {
            tag: "g".into(),
            data: "r".into(),
        };
        let claim = Claim { bytes: "c".into() };
        Body::encode(
            &env,
            &[(unit, "ok".into())],
            &claim,
            &[event],
            &[recorded],
            &writes,
        )
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let expected = [
            "01 0000000000000002 0000000000000003",
            &"09".repeat(32),
            "00000001",
            &"01".repeat(32),
            &"02".repeat(32),
            "0001 65 00000003 726177 00000002 6f6b",
            "00000001 63",
            "00000001 00000001 74 00000001 64",
            "00000001 0001 67 00000001 72",
            "0000000e 00000001 0001 0001 00000001 6b 76",
        ]
        .concat()
        .replace(' ', "");
        assert_eq!(hex::encode(example()), expected);
    }

    #[test]
    fn what_was_encoded_decodes_and_every_truncation_is_refused() {
        let bytes = example();
        let body = Body::decode(bytes.clone()).expect("well-formed");
        let writes = WriteSet::decode(body.writes.clone()).expect("well-formed");
        let again = Body::encode(
            &body.env,
            &body.units,
            &body.claim,
            &body.events,
            &body.recorded,
            &writes,
        );
        assert_eq!(again, bytes);
        for cut in 0..bytes.len() {
            assert!(Body::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
