//! Batch body: what a leader's worker proposes, the ledger keeps, and every other worker applies.
//!
//! ```text
//! body     = version u8 (1; 2 for a migration)
//!            height u64 | time u64 | entropy 32 bytes
//!            from u32 | to u32                    (of a migration only: data formats; it has no units)
//!            count u32, then that many units:     id 32 bytes | caller 32 bytes
//!                                                 established bytes u16, established
//!                                                 raw bytes u32, raw
//!                                                 receipt bytes u32, receipt
//!            claim bytes u32, claim
//!            count u32, then that many events:    topic bytes u32, topic | data bytes u32, data
//!            count u32, then that many records:   tag bytes u16, tag | data bytes u32, data
//!                                                 first the answers of external systems: tag `external`,
//!                                                 data = place of the unit u32, answer (adapter::Answer)
//!                                                 last a part of the catalogue: tag `catalogue`
//!            write set bytes u32, write set       (layout: kv::WriteSet)
//! ```
//! Numbers are big-endian. Decoding makes slices and copies nothing; the write set is decoded apart,
//! since whoever reads history has no use for it. The manager never looks inside.

use adapter::{Answer, Claim, Env, Event, Unit};
use bytes::{BufMut, Bytes, BytesMut};
use kv::{Cursor, Malformed, WriteSet, put_block16, put_block32};
use types::limits::{BATCH_UNITS_MAX, ENTRY_BYTES_MAX, EXTERNAL_CALLS_MAX, UNIT_BYTES_MAX};
use types::{ActorId, Height, Millis, UnitId};

/// Most bytes that admission may establish about a unit (`adapter::Ticket::established`).
pub const ESTABLISHED_BYTES_MAX: usize = 256;

const VERSION: u8 = 1;
/// Of a batch that brings the state to another data format.
const MIGRATION: u8 = 2;
/// Tag of the records that are answers to units. A machine records under other tags.
pub(crate) const EXTERNAL: &[u8] = b"external";
/// Tag of the record that is a part of the catalogue, likewise.
pub(crate) const CATALOGUE: &[u8] = b"catalogue";
const UNIT_BYTES_MIN: usize = 32 + 32 + 2 + 4 + 4;

/// What `Exec::record` obtained from outside while the leader executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub tag: Bytes,
    pub data: Bytes,
}

/// A step from one data format to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    pub from: u32,
    pub to: u32,
}

/// One batch, decoded.
#[derive(Debug, Clone)]
pub struct Body {
    pub env: Env,
    /// Present if this batch brings the state to another data format; then it has no units.
    pub migration: Option<Migration>,
    /// Applied units, each with its receipt.
    pub units: Vec<(Unit, Bytes)>,
    pub claim: Claim,
    pub events: Vec<Event>,
    pub recorded: Vec<Recorded>,
    /// A part of the catalogue, which has nothing to do with this batch: where older units stand.
    pub part: Option<Bytes>,
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
        Self::encode_kind(env, None, units, claim, events, recorded, writes)
    }

    /// Encodes a batch that brings the state to another data format.
    pub fn encode_migration(
        env: &Env,
        migration: Migration,
        claim: &Claim,
        events: &[Event],
        recorded: &[Recorded],
        writes: &WriteSet,
    ) -> Bytes {
        Self::encode_kind(env, Some(migration), &[], claim, events, recorded, writes)
    }

    fn encode_kind(
        env: &Env,
        migration: Option<Migration>,
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
        let answers = answers_of(units);
        let recorded = || answers.iter().chain(recorded);
        let recorded_bytes: usize = recorded().map(|r| 6 + r.tag.len() + r.data.len()).sum();
        let writes_bytes = writes.encoded_bytes();
        let bytes = 49
            + 20
            + migration.map_or(0, |_| 8)
            + units_bytes
            + claim.bytes.len()
            + events_bytes
            + recorded_bytes
            + writes_bytes;
        let mut out = BytesMut::with_capacity(bytes);
        out.put_u8(migration.map_or(VERSION, |_| MIGRATION));
        out.put_u64(env.height.0);
        out.put_u64(env.time.0);
        out.put_slice(&env.entropy);
        if let Some(Migration { from, to }) = migration {
            out.put_u32(from);
            out.put_u32(to);
        }
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
        put_count(&mut out, recorded().count());
        for record in recorded() {
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

    /// All that is recorded, as [`Body::encode`] takes it.
    pub fn records(&self) -> Vec<Recorded> {
        let part = self.part.clone().map(part_record);
        self.recorded.iter().cloned().chain(part).collect()
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
        let [version] = cursor.array()?;
        if ![VERSION, MIGRATION].contains(&version) {
            return Err(Malformed(
                "a batch body of a version that this release does not know",
            ));
        }
        let env = Env {
            height: Height(cursor.u64()?),
            time: Millis(cursor.u64()?),
            entropy: cursor.array()?,
        };
        let migration = match version {
            MIGRATION => Some(migration(&mut cursor)?),
            _ => None,
        };
        let count = cursor.count(UNIT_BYTES_MIN)?;
        if count > BATCH_UNITS_MAX {
            return Err(Malformed("a batch body has more units than a batch may"));
        }
        if count > 0 && migration.is_some() {
            return Err(Malformed("a migration has units"));
        }
        let mut units = (0..count)
            .map(|_| unit(&mut cursor))
            .collect::<Result<Vec<_>, _>>()?;
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
        let (recorded, part) = take_part(give_answers(&mut units, recorded)?)?;
        let writes = cursor.block32()?;
        cursor.end()?;
        Ok(Self {
            env,
            migration,
            units,
            claim,
            events,
            recorded,
            part,
            writes,
        })
    }
}

/// A step from one data format to the next one.
fn migration(cursor: &mut Cursor) -> Result<Migration, Malformed> {
    let [from, to] = [cursor.array()?, cursor.array()?].map(u32::from_be_bytes);
    if from == 0 || from.checked_add(1) != Some(to) {
        return Err(Malformed("a migration does not lead to the next format"));
    }
    Ok(Migration { from, to })
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
            answers: Vec::new(),
        },
        receipt,
    ))
}

/// The answers of all units, in order, as records.
fn answers_of(units: &[(Unit, Bytes)]) -> Vec<Recorded> {
    let mut records = Vec::new();
    for (place, (unit, _)) in (0u32..).zip(units) {
        for answer in &unit.answers {
            let answer = answer.encode();
            let mut data = BytesMut::with_capacity(4 + answer.len());
            data.put_u32(place);
            data.put_slice(&answer);
            records.push(Recorded {
                tag: Bytes::from_static(EXTERNAL),
                data: data.freeze(),
            });
        }
    }
    records
}

/// Gives units the answers at the front of `recorded`; what is left was recorded by the machine.
fn give_answers(
    units: &mut [(Unit, Bytes)],
    mut recorded: Vec<Recorded>,
) -> Result<Vec<Recorded>, Malformed> {
    let is_answer = |record: &Recorded| record.tag == EXTERNAL;
    let count = recorded.iter().take_while(|r| is_answer(r)).count();
    let rest = recorded.split_off(count);
    if rest.iter().any(is_answer) {
        return Err(Malformed("answers stand before other records"));
    }
    let mut last = 0;
    for Recorded { data, .. } in recorded {
        let mut cursor = Cursor::new(data.clone());
        let place = u32::from_be_bytes(cursor.array()?) as usize; // u32 fits usize here
        let Some((unit, _)) = units.get_mut(place).filter(|_| place >= last) else {
            return Err(Malformed(
                "an answer belongs to no unit, or is out of order",
            ));
        };
        if unit.answers.len() >= EXTERNAL_CALLS_MAX {
            return Err(Malformed("a unit has more answers than it may"));
        }
        unit.answers.push(Answer::decode(data.slice(4..))?);
        last = place;
    }
    Ok(rest)
}

/// Takes the part of the catalogue, if there is one, from the records.
fn take_part(mut recorded: Vec<Recorded>) -> Result<(Vec<Recorded>, Option<Bytes>), Malformed> {
    let part = recorded.pop_if(|record| record.tag == CATALOGUE);
    if recorded.iter().any(|record| record.tag == CATALOGUE) {
        return Err(Malformed(
            "a part of the catalogue stands before other records",
        ));
    }
    Ok((recorded, part.map(|record| record.data)))
}

/// The record that carries a part of the catalogue; it is the last one.
pub(crate) fn part_record(part: Bytes) -> Recorded {
    Recorded {
        tag: Bytes::from_static(CATALOGUE),
        data: part,
    }
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
            answers: Vec::new(),
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
    fn a_migration_names_its_formats_and_has_no_units() {
        let plain = Body::decode(example()).expect("well-formed");
        let of = |from, to| {
            let (env, claim) = (&plain.env, &plain.claim);
            let writes = WriteSet::decode(plain.writes.clone()).expect("well-formed");
            Body::encode_migration(env, Migration { from, to }, claim, &[], &[], &writes)
        };
        let bytes = of(1, 2);
        assert_eq!(hex::encode(&bytes[49..61]), "000000010000000200000000");
        let body = Body::decode(bytes.clone()).expect("well-formed");
        assert_eq!(body.migration, Some(Migration { from: 1, to: 2 }));
        assert_eq!(
            (body.claim, body.writes),
            (plain.claim.clone(), plain.writes.clone())
        );
        for (from, to) in [(0, 1), (1, 1), (2, 1), (1, 3), (u32::MAX, 0)] {
            assert!(Body::decode(of(from, to)).is_err(), "from {from} to {to}");
        }
        for cut in 0..bytes.len() {
            assert!(Body::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut with_units = example().to_vec();
        with_units[0] = MIGRATION;
        with_units.splice(49..49, [0, 0, 0, 1, 0, 0, 0, 2]);
        let refused = Body::decode(with_units.into()).expect_err("refused");
        assert_eq!(refused.0, "a migration has units");
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
            &body.records(),
            &writes,
        );
        assert_eq!(again, bytes);
        for cut in 0..bytes.len() {
            assert!(Body::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
