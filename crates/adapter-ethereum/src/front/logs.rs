//! Searching logs over blocks.
//!
//! Blocks whose filter cannot hold a match are passed over without opening them; the others are
//! opened one after the other, the next few being asked for ahead. A search goes on where it
//! stopped when a block had to be fetched.

use adapter::{Context, Lost, View};
use alloy_primitives::{Address, B256, Log};
use serde::Deserialize;
use serde_json::Value;
use types::Height;

use super::envelope::{RpcError, Stop};
use super::json;
use super::params::BlockId;
use crate::block::{self, LogFilter, Stored};
use crate::state::LOGS;
use crate::visibility::Sight;

/// Most blocks of one search: their filters are looked at in a few tens of milliseconds.
const BLOCKS_MAX: u64 = 100_000;

/// Most logs of one answer, as public nodes allow.
const RESULTS_MAX: usize = 10_000;

/// Most addresses, and most alternatives for one topic.
const ALTERNATIVES_MAX: usize = 1000;

/// Blocks asked for ahead of the one being read.
const AHEAD: usize = 16;

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// Filter options as sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    from_block: Option<BlockId>,
    to_block: Option<BlockId>,
    block_hash: Option<B256>,
    address: Option<OneOrMany<Address>>,
    topics: Option<Vec<Option<OneOrMany<Option<B256>>>>>,
}

/// What a log must be like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    /// Empty: any.
    addresses: Vec<Address>,
    /// By position; empty: any.
    topics: Vec<Vec<B256>>,
}

impl Pattern {
    pub(crate) fn matches(&self, log: &Log) -> bool {
        let topics = log.data.topics();
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.len() <= topics.len()
            && self
                .topics
                .iter()
                .zip(topics)
                .all(|(wanted, topic)| wanted.is_empty() || wanted.contains(topic))
    }

    fn may_match(&self, filter: &LogFilter) -> bool {
        let any = |mut items: std::slice::Iter<'_, B256>| {
            items.any(|item| filter.may_hold(item.as_slice()))
        };
        (self.addresses.is_empty()
            || self
                .addresses
                .iter()
                .any(|item| filter.may_hold(item.as_slice())))
            && self
                .topics
                .iter()
                .all(|wanted| wanted.is_empty() || any(wanted.iter()))
    }
}

/// Which blocks: as asked, since the head moves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Range {
    Blocks { from: BlockId, to: BlockId },
    Hash(B256),
}

impl Options {
    /// Checks the options.
    pub(crate) fn into_parts(self) -> Result<(Pattern, Range), RpcError> {
        let too_many = || {
            RpcError::invalid_params(format!(
                "exceed max addresses or topics: at most {ALTERNATIVES_MAX}"
            ))
        };
        let addresses = match self.address {
            None => Vec::new(),
            Some(OneOrMany::One(address)) => vec![address],
            Some(OneOrMany::Many(addresses)) => addresses,
        };
        if addresses.len() > ALTERNATIVES_MAX {
            return Err(too_many());
        }
        let given = self.topics.unwrap_or_default();
        if given.len() > 4 {
            return Err(RpcError::invalid_params(
                "exceed max topics: a log has at most four",
            ));
        }
        let mut topics = Vec::new();
        for position in given {
            topics.push(match position {
                None | Some(OneOrMany::One(None)) => Vec::new(),
                Some(OneOrMany::One(Some(topic))) => vec![topic],
                Some(OneOrMany::Many(many)) if many.len() > ALTERNATIVES_MAX => {
                    return Err(too_many());
                }
                // null among alternatives: any.
                Some(OneOrMany::Many(many)) => {
                    many.into_iter().collect::<Option<_>>().unwrap_or_default()
                }
            });
        }
        let range = match (self.block_hash, self.from_block, self.to_block) {
            (Some(hash), None, None) => Range::Hash(hash),
            (Some(_), _, _) => {
                return Err(RpcError::invalid_params(
                    "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other",
                ));
            }
            (None, from, to) => Range::Blocks {
                from: from.unwrap_or(BlockId::Head),
                to: to.unwrap_or(BlockId::Head),
            },
        };
        Ok((Pattern { addresses, topics }, range))
    }
}

impl Range {
    /// First and last block, within what is committed; `None`: no block of it is.
    pub(crate) fn resolve(&self, view: &dyn View) -> Result<Option<(u64, u64)>, Stop> {
        let head = view.height().0;
        let number = |id: &BlockId| -> Result<u64, Stop> {
            match id {
                BlockId::Head => Ok(head),
                BlockId::Number(number) => Ok(*number),
                BlockId::Hash(hash) => block::number_of(view, hash)?
                    .ok_or_else(|| RpcError::server("unknown block").into()),
            }
        };
        let (from, to) = match self {
            Self::Hash(hash) => {
                let number = number(&BlockId::Hash(*hash))?;
                (number, number)
            }
            Self::Blocks { from, to } => (number(from)?, number(to)?),
        };
        if from > to {
            return Err(RpcError::invalid_params("invalid block range params").into());
        }
        if from > head {
            return Ok(None);
        }
        let to = to.min(head);
        if to - from >= BLOCKS_MAX {
            return Err(RpcError::limit(format!(
                "block range too large: at most {BLOCKS_MAX} blocks"
            ))
            .into());
        }
        Ok(Some((from, to)))
    }
}

/// A search under way.
#[derive(Debug)]
pub(crate) struct Search {
    pattern: Pattern,
    next: u64,
    last: u64,
    found: Vec<Value>,
}

impl Search {
    pub(crate) fn new(pattern: Pattern, first: u64, last: u64) -> Self {
        Self {
            pattern,
            next: first,
            last,
            found: Vec::new(),
        }
    }

    /// The logs, once all blocks were looked at.
    pub(crate) fn poll(
        &mut self,
        context: &mut dyn Context,
        sight: &Sight,
    ) -> Result<Vec<Value>, Stop> {
        while let Some(number) = self.candidate(context.view())? {
            let batch = match context.batch(Height(number)) {
                Ok(batch) => batch,
                Err(wait) => {
                    self.ask_ahead(context)?;
                    return Err(wait.into());
                }
            };
            let stored = block::header(context.view(), number)?;
            if let (Some(batch), Some(stored)) = (batch, stored) {
                matching(&self.pattern, &batch, &stored, sight, &mut self.found);
            }
            self.next = number + 1;
            if self.found.len() > RESULTS_MAX {
                return Err(RpcError::limit(format!(
                    "query returned more than {RESULTS_MAX} results: narrow the block range, the addresses or the topics"
                ))
                .into());
            }
        }
        Ok(std::mem::take(&mut self.found))
    }

    /// The next block that may hold a match.
    fn candidate(&mut self, view: &dyn View) -> Result<Option<u64>, Lost> {
        while self.next <= self.last {
            if self.may_match(view, self.next)? {
                return Ok(Some(self.next));
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn may_match(&self, view: &dyn View, number: u64) -> Result<bool, Lost> {
        let filter = view.get(LOGS, &number.to_be_bytes())?;
        Ok(filter.is_some_and(|bytes| self.pattern.may_match(&LogFilter::decode(&bytes))))
    }

    fn ask_ahead(&self, context: &mut dyn Context) -> Result<(), Lost> {
        let mut asked = 0;
        for number in self.next + 1..=self.last {
            if asked == AHEAD {
                break;
            }
            if self.may_match(context.view(), number)? {
                asked += 1;
                // Whether it is there already does not matter yet.
                let _ = context.batch(Height(number));
            }
        }
        Ok(())
    }
}

/// The logs of one block that match.
pub(crate) fn matching(
    pattern: &Pattern,
    batch: &adapter::Batch,
    stored: &Stored,
    sight: &Sight,
    found: &mut Vec<Value>,
) {
    let mut index = 0;
    for (position, (unit, receipt)) in (0u32..).zip(&batch.units) {
        let Some(receipt) = crate::receipt::Receipt::decode(receipt) else {
            continue;
        };
        let hash = B256::from(unit.id.0);
        for log in &receipt.logs {
            if pattern.matches(log) && sight.log(log) {
                found.push(json::log(log, stored, &hash, position, index));
            }
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(json: &str) -> Result<Pattern, String> {
        let options: Options = serde_json::from_str(json).map_err(|e| e.to_string())?;
        options
            .into_parts()
            .map(|(pattern, _)| pattern)
            .map_err(|e| e.message)
    }

    fn log(address: u8, topics: &[u8]) -> Log {
        let topics = topics.iter().map(|t| B256::repeat_byte(*t)).collect();
        Log::new_unchecked(Address::repeat_byte(address), topics, Default::default())
    }

    #[test]
    fn patterns_match_by_position() {
        let one = B256::repeat_byte(1);
        let two = B256::repeat_byte(2);
        let check = |json: &str, address: u8, topics: &[u8]| {
            let pattern = pattern(json).expect(json);
            let log = log(address, topics);
            let mut filter = LogFilter::default();
            filter.add(&log);
            let matches = pattern.matches(&log);
            assert!(
                !matches || pattern.may_match(&filter),
                "the filter misses what matches: {json}"
            );
            matches
        };
        assert!(check("{}", 9, &[]));
        assert!(check(&format!(r#"{{"topics":["{one}"]}}"#), 9, &[1, 2]));
        assert!(!check(&format!(r#"{{"topics":["{one}"]}}"#), 9, &[2, 1]));
        assert!(check(
            &format!(r#"{{"topics":[null,"{one}"]}}"#),
            9,
            &[2, 1]
        ));
        assert!(!check(&format!(r#"{{"topics":[null,"{one}"]}}"#), 9, &[1]));
        assert!(check(
            &format!(r#"{{"topics":[["{one}","{two}"]]}}"#),
            9,
            &[2]
        ));
        assert!(check(r#"{"topics":[[]]}"#, 9, &[2]));
        assert!(!check(r#"{"topics":[null]}"#, 9, &[]));
        let nine = Address::repeat_byte(9);
        assert!(check(&format!(r#"{{"address":"{nine}"}}"#), 9, &[]));
        assert!(!check(&format!(r#"{{"address":["{nine}"]}}"#), 8, &[]));
    }

    #[test]
    fn impossible_options_are_refused() {
        let hash = B256::ZERO;
        assert!(
            pattern(&format!(r#"{{"blockHash":"{hash}","fromBlock":"0x1"}}"#))
                .unwrap_err()
                .contains("both")
        );
        assert!(
            pattern(r#"{"topics":[null,null,null,null,null]}"#)
                .unwrap_err()
                .contains("max topics")
        );
        assert!(pattern(r#"{"address":"0x12"}"#).is_err());
    }
}
