//! What a request carries to show who asks.
//!
//! ```text
//! authorization: Bearer TOKEN
//! authorization: Basic base64(anything:TOKEN)        https://coco:TOKEN@host in most libraries
//! /t/TOKEN                                           in the path
//! coco-query: 0x account (20) deadline (8) signature (65)   an EIP-712 signed query
//! coco-accounts: 0x..,0x..                           a front end, for accounts bound to its actor
//! ```
//! At most one of them. A query is the typed data
//! `Query(address account,bytes32 body,uint64 deadline)` with `body` the Keccak-256 of the request's
//! body and the domain `EIP712Domain(string name,string version,uint256 chainId)` of "Coco", "1".

use adapter::Request;
use alloy_primitives::{Address, B256, Signature, U256, b256, keccak256};
use types::Millis;

use super::token::ACCOUNTS_MAX;
use crate::transaction::{HALF_ORDER, recover};

/// How far ahead the deadline of a signed query may be.
const QUERY_SECONDS_MAX: u64 = 300;

/// Longest header that is looked at.
const HEADER_BYTES_MAX: usize = 4096;

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carried {
    Nothing,
    Token(String),
    Query(Query),
    Accounts(Vec<Address>),
    /// Cannot be read, and must not pass for nothing.
    Refused(&'static str),
}

/// A query signed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    account: Address,
    deadline_seconds: u64,
    signature: Signature,
}

impl Carried {
    pub(crate) fn of(request: &Request) -> Self {
        let found = [
            request.header("authorization").map(authorization),
            path(&request.target),
            request.header("coco-query").map(query),
            request.header("coco-accounts").map(accounts),
        ];
        let mut found = found.into_iter().flatten();
        match (found.next(), found.next()) {
            (None, _) => Self::Nothing,
            (Some(one), None) => one,
            (Some(_), Some(_)) => Self::Refused("show one token, signed query or list of accounts"),
        }
    }
}

fn authorization(value: &str) -> Carried {
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    if value.len() > HEADER_BYTES_MAX {
        Carried::Refused("the authorization is too long")
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Carried::Token(rest.to_owned())
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = base64(rest).and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((_, password)) => Carried::Token(password.to_owned()),
            None => Carried::Refused("the authorization is not base64 of user:token"),
        }
    } else {
        Carried::Refused("authorization is by Bearer or Basic")
    }
}

fn path(target: &str) -> Option<Carried> {
    let rest = target.split('?').next()?.strip_prefix("/t/")?;
    let token = rest.split('/').next().unwrap_or_default();
    Some(Carried::Token(token.to_owned()))
}

fn query(value: &str) -> Carried {
    let read = || -> Option<Query> {
        let mut bytes = [0; 93];
        hex::decode_to_slice(value.strip_prefix("0x")?, &mut bytes).ok()?;
        let (account, rest) = bytes.split_first_chunk::<20>()?;
        let (deadline, signature) = rest.split_first_chunk::<8>()?;
        Some(Query {
            account: Address::new(*account),
            deadline_seconds: u64::from_be_bytes(*deadline),
            signature: wallet_signature(signature)?,
        })
    };
    read().map_or(
        Carried::Refused("coco-query: account, deadline and signature, 93 bytes in hexadecimal"),
        Carried::Query,
    )
}

fn accounts(value: &str) -> Carried {
    let read: Option<Vec<_>> = value
        .split(',')
        .take(ACCOUNTS_MAX + 1)
        .map(|text| text.trim().parse().ok())
        .collect();
    match read {
        Some(accounts) if accounts.len() <= ACCOUNTS_MAX => Carried::Accounts(accounts),
        _ => Carried::Refused("coco-accounts: at most 16 addresses with commas between them"),
    }
}

/// keccak256("EIP712Domain(string name,string version,uint256 chainId)").
const DOMAIN_TYPE: B256 = b256!("c2f8787176b8ac6bf7215b4adcc1e069bf4ab82d9ab1df05a57a91d425935b6e");

impl Query {
    pub(crate) fn deadline(&self) -> Millis {
        Millis(self.deadline_seconds.saturating_mul(1000))
    }

    /// Whose query it is, if that account signed this body and the deadline is near.
    pub(super) fn account(
        &self,
        chain_id: u64,
        body: &[u8],
        now: Millis,
    ) -> Result<Address, &'static str> {
        if self.deadline() <= now || self.deadline() > now.plus(QUERY_SECONDS_MAX * 1000) {
            return Err("the signed query's deadline is past, or more than 5 minutes ahead");
        }
        let hash = signing_hash(chain_id, &self.account, body, self.deadline_seconds);
        match recover(&self.signature, hash) {
            Some(signer) if signer == self.account => Ok(signer),
            _ => Err("the signed query is not signed by its account for this body"),
        }
    }
}

/// A signature as wallets write it: r, a low s, and v as 27 or 28, or as 0 or 1. One signature has one form for each
/// of the two ways to count.
pub(super) fn wallet_signature(bytes: &[u8]) -> Option<Signature> {
    let (signature, v) = bytes.split_last_chunk::<1>()?;
    let odd = match v {
        [0 | 27] => false,
        [1 | 28] => true,
        _ => return None,
    };
    let signature: &[u8; 64] = signature.try_into().ok()?;
    let signature = Signature::from_bytes_and_parity(signature, odd);
    (signature.s() <= HALF_ORDER).then_some(signature)
}

/// What EIP-712 signs for a query.
fn signing_hash(chain_id: u64, account: &Address, body: &[u8], deadline: u64) -> B256 {
    let word = |n: u64| B256::from(U256::from(n));
    let domain = [
        DOMAIN_TYPE,
        keccak256("Coco"),
        keccak256("1"),
        word(chain_id),
    ];
    let query = [
        keccak256("Query(address account,bytes32 body,uint64 deadline)"),
        account.into_word(),
        keccak256(body),
        word(deadline),
    ];
    let parts = [keccak256(domain.concat()), keccak256(query.concat())];
    keccak256([b"\x19\x01".as_slice(), parts.concat().as_slice()].concat())
}

/// Base64 with or without padding, in either alphabet.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut bits) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8); // the low eight bits are meant
            held &= (1 << bits) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str, headers: &[(&str, &str)]) -> Carried {
        let headers = headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Carried::of(&Request {
            method: "POST".into(),
            target: target.into(),
            headers: headers.collect(),
            body: Default::default(),
        })
    }

    #[test]
    fn a_token_comes_in_three_ways() {
        let token = Carried::Token("coco1ab".into());
        assert_eq!(of("/", &[("authorization", "Bearer coco1ab")]), token);
        // base64("coco:coco1ab")
        assert_eq!(
            of("/", &[("authorization", "Basic Y29jbzpjb2NvMWFi")]),
            token
        );
        assert_eq!(of("/t/coco1ab", &[]), token);
        assert_eq!(of("/t/coco1ab/?x", &[]), token);
        assert_eq!(of("/", &[]), Carried::Nothing);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        for (target, headers) in [
            ("/", vec![("authorization", "Digest x")]),
            ("/", vec![("authorization", "Basic !")]),
            ("/t/a", vec![("authorization", "Bearer a")]),
            ("/", vec![("coco-accounts", "0x12")]),
            ("/", vec![("coco-query", "0x12")]),
        ] {
            assert!(
                matches!(of(target, &headers), Carried::Refused(_)),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_signature_is_written_in_one_way_for_each_count_of_v() {
        let mut written = [1; 65];
        for v in 0..=255 {
            written[64] = v;
            let parity = wallet_signature(&written).map(|signature| signature.v());
            let expected = match v {
                0 | 27 => Some(false),
                1 | 28 => Some(true),
                _ => None,
            };
            assert_eq!(parity, expected, "{v}");
        }
        written[64] = 27;
        assert!(wallet_signature(&written[..64]).is_none());
        assert!(wallet_signature(&[written.as_slice(), &[0]].concat()).is_none());
        // The same point with the other s.
        written[32] = 0xff;
        assert!(wallet_signature(&written).is_none());
    }

    #[test]
    fn typed_data_is_hashed_as_ethers_does() {
        assert_eq!(
            DOMAIN_TYPE,
            keccak256("EIP712Domain(string name,string version,uint256 chainId)")
        );
        let hash = signing_hash(
            31337,
            &crate::dev::ACCOUNTS[0].address,
            b"{}",
            1_800_000_000,
        );
        assert_eq!(
            hash.to_string(),
            "0x70f854002be1e4e5ec1694d8e75c6e90e532aec61a28dd039338f399ab155f2a"
        );
    }
}
