//! Solidity's encoding of arguments and results, as far as the system contracts use it.

use alloy_primitives::{Address, B256, Bytes, U256};

use super::Refused;

/// Arguments, read one after the other. What is behind them is ignored, as Solidity does.
pub(super) struct Words<'a> {
    all: &'a [u8],
    at: usize,
}

const SHORT: Refused = Refused::Because("the arguments are too short");

impl<'a> Words<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    pub(super) fn word(&mut self) -> Result<B256, Refused> {
        let word = self.all.get(self.at..).and_then(|rest| rest.first_chunk());
        self.at += 32;
        word.map(|word: &[u8; 32]| B256::new(*word)).ok_or(SHORT)
    }

    pub(super) fn number(&mut self) -> Result<u64, Refused> {
        u64::try_from(U256::from_be_bytes(self.word()?.0))
            .map_err(|_| "an argument is larger than its type".into())
    }

    pub(super) fn address(&mut self) -> Result<Address, Refused> {
        let word = self.word()?;
        if word[..12] != [0; 12] {
            return Err("an argument is not an address".into());
        }
        Ok(Address::from_slice(&word[12..]))
    }

    /// A dynamic argument, by its place: its length and what follows.
    fn tail(&mut self) -> Result<(usize, &'a [u8]), Refused> {
        let place = usize::try_from(self.number()?).map_err(|_| SHORT)?;
        let tail = self.all.get(place..).ok_or(SHORT)?;
        let mut head = Words::new(tail);
        let length = usize::try_from(head.number()?).map_err(|_| SHORT)?;
        Ok((length, &tail[32..]))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Refused> {
        let (length, tail) = self.tail()?;
        tail.get(..length).ok_or(SHORT)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Refused> {
        core::str::from_utf8(self.bytes()?).map_err(|_| "an argument is not text".into())
    }

    pub(super) fn words(&mut self, max: usize) -> Result<Vec<B256>, Refused> {
        let (length, tail) = self.tail()?;
        if length > max {
            return Err("too many words".into());
        }
        let mut words = Words::new(tail);
        (0..length).map(|_| words.word()).collect()
    }

    pub(super) fn addresses(&mut self, max: usize) -> Result<Vec<Address>, Refused> {
        let (length, tail) = self.tail()?;
        if length > max {
            return Err("too many addresses".into());
        }
        let mut words = Words::new(tail);
        (0..length).map(|_| words.address()).collect()
    }
}

/// `Error(string)`.
pub(super) fn error(reason: &str) -> Bytes {
    let mut out = vec![0x08, 0xc3, 0x79, 0xa0];
    out.extend(U256::from(32).to_be_bytes::<32>());
    out.extend(bytes(reason.as_bytes()));
    out.into()
}

/// Length, content and the zeros after it.
pub(super) fn bytes(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + content.len());
    out.extend(U256::from(content.len()).to_be_bytes::<32>());
    out.extend_from_slice(content);
    out.resize(32 + content.len().next_multiple_of(32), 0);
    out
}

pub(super) fn word(value: impl Into<B256>) -> Bytes {
    Bytes::copy_from_slice(value.into().as_slice())
}

pub(super) fn number(value: u64) -> Bytes {
    word(U256::from(value))
}
