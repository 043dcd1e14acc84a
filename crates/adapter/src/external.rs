//! What a unit asks of a system outside the network, and what came back.
//!
//! A unit that needs an answer from outside is suspended ([`crate::Outcome::Suspended`]): it leaves its
//! batch, others go on, the manager makes the call, and the unit is executed again with the answer among
//! its inputs ([`Unit::answers`]). Answers are part of the ledger entry, so that a replay needs no network.
//!
//! ```text
//! answer  = call | reply
//! call    = endpoint bytes u16, endpoint | caller bytes u16, caller | method bytes u16, method
//!           target bytes u16, target
//!           count u16, then that many header fields: name bytes u16, name | value bytes u16, value
//!           body bytes u32, body
//! reply   = failure u8 (0: none) | status u16 | body bytes u32, body     (with a failure: 0, empty)
//! ```
//! Numbers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};
use kv::{Cursor, Malformed, put_block16, put_block32};
use types::limits::{EXTERNAL_HEADERS_MAX, EXTERNAL_REPLY_BYTES_MAX, EXTERNAL_REQUEST_BYTES_MAX};

use crate::Unit;

/// A request to a system outside. Whether it may be made is the constitution's to say; what HTTP and TLS
/// make of it, the manager's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalCall {
    /// Name of an endpoint in the constitution.
    pub endpoint: String,
    /// On whose behalf, as the protocol names it: in Ethereum the 20 bytes of a contract's address.
    pub caller: Bytes,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Further header fields. Whatever frames the request is added by the manager.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalReply {
    pub status: u16,
    pub body: Bytes,
}

/// Why no reply came back. The numbers stand in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExternalFailure {
    /// The constitution does not allow this call.
    NotAllowed = 1,
    /// No connection, or it ended before the reply was whole.
    Unreachable = 2,
    /// The server did not prove to be the one that the constitution names.
    Untrusted = 3,
    /// No whole reply came in time.
    TimedOut = 4,
    /// The reply is longer than the constitution allows.
    TooLarge = 5,
    /// The reply is not HTTP.
    BadReply = 6,
    /// Too many calls were under way.
    Busy = 7,
    /// The unit asks for something else than it did when it was suspended. It is never recorded: the
    /// comparison finds it ([`answer_to`]).
    Changed = 8,
}

impl ExternalFailure {
    /// The failure of this number.
    pub fn of(number: u8) -> Option<Self> {
        use ExternalFailure as F;
        [
            F::NotAllowed,
            F::Unreachable,
            F::Untrusted,
            F::TimedOut,
            F::TooLarge,
            F::BadReply,
            F::Busy,
            F::Changed,
        ]
        .into_iter()
        .find(|failure| *failure as u8 == number)
    }
}

/// One call and its outcome, recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub call: ExternalCall,
    pub reply: Result<ExternalReply, ExternalFailure>,
}

/// The outcome of a unit's call number `place`, if it has been made. A call that is not the one that was
/// made then is [`ExternalFailure::Changed`].
pub fn answer_to<'a>(
    answers: &'a [Answer],
    place: usize,
    call: &ExternalCall,
) -> Option<Result<&'a ExternalReply, ExternalFailure>> {
    let answer = answers.get(place)?;
    if answer.call != *call {
        return Some(Err(ExternalFailure::Changed));
    }
    Some(answer.reply.as_ref().map_err(|failure| *failure))
}

impl ExternalCall {
    /// What it takes of [`EXTERNAL_REQUEST_BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(n, v)| n.len() + v.len() + 4)
            .sum();
        self.endpoint.len()
            + self.caller.len()
            + self.method.len()
            + self.target.len()
            + headers
            + self.body.len()
    }

    /// Whether it keeps the limits that hold everywhere.
    pub fn is_within_limits(&self) -> bool {
        self.bytes() <= EXTERNAL_REQUEST_BYTES_MAX && self.headers.len() <= EXTERNAL_HEADERS_MAX
    }
}

impl Answer {
    /// What it takes in memory and in the entry.
    pub fn bytes(&self) -> usize {
        self.call.bytes() + self.reply.as_ref().map_or(0, |reply| reply.body.len())
    }

    /// The bytes that the ledger keeps.
    ///
    /// # Panics
    /// If the call breaks its limits: whoever takes a call checks them.
    pub fn encode(&self) -> Bytes {
        let Self { call, reply } = self;
        assert!(call.is_within_limits(), "checked when the call was taken");
        let mut out = BytesMut::with_capacity(64 + self.bytes() + 4 * call.headers.len());
        put_block16(&mut out, call.endpoint.as_bytes());
        put_block16(&mut out, &call.caller);
        put_block16(&mut out, call.method.as_bytes());
        put_block16(&mut out, call.target.as_bytes());
        out.put_u16(u16::try_from(call.headers.len()).expect("within limits"));
        for (name, value) in &call.headers {
            put_block16(&mut out, name.as_bytes());
            put_block16(&mut out, value.as_bytes());
        }
        put_block32(&mut out, &call.body);
        let (failure, status, body) = match reply {
            Ok(reply) => (0, reply.status, &reply.body),
            Err(failure) => (*failure as u8, 0, &Bytes::new()),
        };
        out.put_u8(failure);
        out.put_u16(status);
        put_block32(&mut out, body);
        out.freeze()
    }

    /// Reads what [`Answer::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let endpoint = text(cursor.block16()?)?;
        let caller = cursor.block16()?;
        let method = text(cursor.block16()?)?;
        let target = text(cursor.block16()?)?;
        let count = usize::from(u16::from_be_bytes(cursor.array()?));
        if count > EXTERNAL_HEADERS_MAX {
            return Err(Malformed("a call has more header fields than it may"));
        }
        let headers = (0..count)
            .map(|_| Ok((text(cursor.block16()?)?, text(cursor.block16()?)?)))
            .collect::<Result<_, Malformed>>()?;
        let call = ExternalCall {
            endpoint,
            caller,
            method,
            target,
            headers,
            body: cursor.block32()?,
        };
        let [failure] = cursor.array()?;
        let status = u16::from_be_bytes(cursor.array()?);
        let body = cursor.block32()?;
        cursor.end()?;
        let reply = match ExternalFailure::of(failure) {
            None if failure == 0 => Ok(ExternalReply { status, body }),
            Some(ExternalFailure::Changed) | None => {
                return Err(Malformed("an answer has an unknown failure"));
            }
            Some(failure) if status == 0 && body.is_empty() => Err(failure),
            Some(_) => return Err(Malformed("an answer has a failure and a reply")),
        };
        let answer = Self { call, reply };
        let reply_bytes = answer.reply.as_ref().map_or(0, |reply| reply.body.len());
        if !answer.call.is_within_limits() || reply_bytes > EXTERNAL_REPLY_BYTES_MAX {
            return Err(Malformed("an answer is longer than it may be"));
        }
        Ok(answer)
    }
}

impl Unit {
    /// Bytes that it came with, and those of the answers that it waited for.
    pub fn bytes(&self) -> usize {
        self.raw.len() + self.answers.iter().map(Answer::bytes).sum::<usize>()
    }
}

fn text(bytes: Bytes) -> Result<String, Malformed> {
    String::from_utf8(bytes.into()).map_err(|_| Malformed("a call is not text where it must be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> ExternalCall {
        ExternalCall {
            endpoint: "rates".into(),
            caller: Bytes::from_static(&[0xc0; 20]),
            method: "POST".into(),
            target: "/v1?day=1".into(),
            headers: vec![("accept".into(), "text/plain".into())],
            body: "question".into(),
        }
    }

    fn answers() -> [Answer; 2] {
        let reply = ExternalReply {
            status: 200,
            body: "42".into(),
        };
        [Ok(reply), Err(ExternalFailure::TimedOut)].map(|reply| Answer {
            call: call(),
            reply,
        })
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let encoded = answers().map(|answer| answer.encode());
        let text = |text: &str| format!("{:04x}{}", text.len(), hex(text.as_bytes()));
        let head = [
            text("rates"),
            format!("0014{}", "c0".repeat(20)),
            text("POST"),
            text("/v1?day=1"),
            "0001".into(),
            text("accept"),
            text("text/plain"),
            format!("00000008{}", hex(b"question")),
        ]
        .concat();
        assert_eq!(hex(&encoded[0]), format!("{head}0000c8000000023432"));
        assert_eq!(hex(&encoded[1]), format!("{head}04000000000000"));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_was_encoded_decodes_and_every_truncation_is_refused() {
        for answer in answers() {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(bytes.clone()), Ok(answer));
            for cut in 0..bytes.len() {
                assert!(Answer::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_failure_that_is_never_recorded_is_refused() {
        let [_, failed] = answers();
        let mut bytes = failed.encode().to_vec();
        let place = bytes.len() - 7;
        for number in [8, 9, 255] {
            bytes[place] = number;
            assert!(Answer::decode(bytes.clone().into()).is_err(), "{number}");
        }
    }

    #[test]
    fn only_the_very_same_call_has_the_answer() {
        let answers = answers();
        assert_eq!(answer_to(&answers, 2, &call()), None);
        assert!(matches!(answer_to(&answers, 0, &call()), Some(Ok(reply)) if reply.status == 200));
        let failed = Some(Err(ExternalFailure::TimedOut));
        assert_eq!(answer_to(&answers, 1, &call()), failed);
        let other = ExternalCall {
            body: "another question".into(),
            ..call()
        };
        let changed = Some(Err(ExternalFailure::Changed));
        assert_eq!(answer_to(&answers, 0, &other), changed);
    }
}
