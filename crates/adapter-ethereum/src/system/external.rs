//! EXTERNAL: calls of systems outside the network.
//!
//! The first time a transaction comes here it ends here ([`Refused::Suspended`]): it leaves the batch, and
//! is executed again from its beginning with the answer, which is part of the ledger entry. So the answer is
//! an input like the transaction's own bytes, and a replay gives what the leader gave. Whether the call is
//! allowed, the manager decides by the constitution; here it is known only afterwards.
//!
//! A call is known by its number in the transaction. Frames that revert do not take it back. If the second
//! execution asks for something else (the state has changed meanwhile), that is a failure, and nothing is
//! called again.

use adapter::{ExternalCall, ExternalFailure, answer_to};
use alloy_primitives::{Bytes, U256};
use revm::context::ContextTr;
use types::limits::{EXTERNAL_CALLS_MAX, EXTERNAL_HEADERS_MAX};

use super::abi::{self, Words};
use super::{Call, Refused, UNKNOWN};

/// A call: it executes the transaction once more.
const CALL_GAS: u64 = 30_000;
/// For each byte that goes out or comes in, as for a byte of a transaction.
const BYTE_GAS: u64 = 16;

pub(super) fn call<CTX: ContextTr>(
    call: &mut Call<'_, CTX>,
    selector: [u8; 4],
    arguments: &mut Words<'_>,
) -> Result<Bytes, Refused> {
    match selector {
        // call(string,string,string,string,bytes)
        [0x11, 0x63, 0x73, 0x00] => {}
        _ => return Err(UNKNOWN),
    }
    call.writes()?;
    if call.facts.entropy.is_none() {
        return Err("nothing is called outside in a simulation: send a transaction, with a gas limit of your own".into());
    }
    let wanted = ExternalCall {
        endpoint: arguments.text()?.into(),
        caller: bytes::Bytes::copy_from_slice(call.sender.as_slice()),
        method: arguments.text()?.into(),
        target: arguments.text()?.into(),
        headers: headers(arguments.text()?)?,
        body: bytes::Bytes::copy_from_slice(arguments.bytes()?),
    };
    if !wanted.is_within_limits() {
        return Err("the request is too long".into());
    }
    call.pay(CALL_GAS + BYTE_GAS * wanted.bytes() as u64)?; // usize is at most 64 bits
    let place = call.turn.calls;
    if place >= EXTERNAL_CALLS_MAX {
        return Err("a transaction makes at most four calls outside".into());
    }
    call.turn.calls += 1;
    let reply = answer_to(&call.turn.answers, place, &wanted).map(|reply| reply.cloned());
    let Some(reply) = reply else {
        call.turn.wanted = Some(wanted);
        return Err(Refused::Suspended);
    };
    match reply {
        Err(failure) => Err(Refused::With(failed(failure))),
        Ok(reply) => {
            let encoded = [
                &U256::from(reply.status).to_be_bytes::<32>()[..],
                &U256::from(64).to_be_bytes::<32>(),
                &abi::bytes(&reply.body),
            ]
            .concat();
            let gas = BYTE_GAS * reply.body.len() as u64; // usize is at most 64 bits
            call.pay(gas)?;
            Ok(encoded.into())
        }
    }
}

/// `Failed(uint8)`.
fn failed(failure: ExternalFailure) -> Bytes {
    let number = U256::from(failure as u8).to_be_bytes::<32>();
    [&[0xdc, 0x7c, 0xe3, 0xbb][..], &number].concat().into()
}

/// Lines `name: value`.
fn headers(text: &str) -> Result<Vec<(String, String)>, Refused> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or("a header field is a line `name: value`")?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > EXTERNAL_HEADERS_MAX {
            return Err("too many header fields".into());
        }
    }
    Ok(headers)
}
