//! Searching logs over blocks.
//!
//! Blocks whose filter cannot hold a match are passed over without opening them; the others are
//! opened one after the other, the next few being asked for ahead. A search goes on where it
//! stopped when a block had to be fetched.

use adapter::{Context, Missing};
use alloy_primitives::{Address, B256, Log};
use serde::Deserialize;
use serde_json::Value;
use types::Height;

use super::Session;
use super::envelope::{RpcError, Stop};
use super::params::BlockId;
use super::{json, lookup};
use crate::block::{self, LogFilter, Stored};
use crate::receipt::Receipt;
use crate::visibility::{Seen, Sight};

/// Most blocks of one search: their filters are looked at in a few tens of milliseconds.
const BLOCKS_MAX: u64 = 100_000;

/// Most blocks of which one search reads the logs: some tens of megabytes of ledger.
const READ_MAX: usize = 5_000;

/// Filters looked at in one turn, which takes a few milliseconds.
const BLOCKS_PER_TURN: u64 = 20_000;

/// Most logs of one answer, as public nodes allow.
const RESULTS_MAX: usize = 10_000;

/// Most addresses, and most alternatives for one topic.
const ALTERNATIVES_MAX: usize = 1000;

/// Blocks asked for ahead of the one being read.
const AHEAD: usize = 16;

/// Blocks whose filters are looked at to find those.
const AHEAD_LOOK: usize = 1_000;

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
    pub(crate) fn resolve(&self, context: &mut dyn Context) -> Result<Option<(u64, u64)>, Stop> {
        let head = context.view().height().0;
        let mut known = |id: &BlockId| {
            lookup::number(context, *id)?
                .ok_or_else(|| Stop::from(RpcError::server("unknown block")))
        };
        let (from, to) = match self {
            Self::Hash(hash) => {
                let number = known(&BlockId::Hash(*hash))?;
                (number, number)
            }
            Self::Blocks { from, to } => (known(from)?, known(to)?),
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
    /// Blocks opened.
    read: usize,
    found: Vec<Value>,
    /// That history is not here is told before anything of it is looked at.
    first: Option<u64>,
}

impl Search {
    pub(crate) fn new(pattern: Pattern, first: u64, last: u64) -> Self {
        Self {
            pattern,
            next: first,
            last,
            read: 0,
            found: Vec::new(),
            first: Some(first),
        }
    }

    /// The logs, once all blocks were looked at.
    pub(crate) fn poll(
        &mut self,
        context: &mut dyn Context,
        session: &Session,
    ) -> Result<Vec<Value>, Stop> {
        if let Some(first) = self.first {
            self.open(context, session, first)?;
            self.first = None;
        }
        let turn = self.next.saturating_add(BLOCKS_PER_TURN);
        loop {
            while self.next <= self.last && !self.may_match(context, self.next) {
                self.next += 1;
                if self.next == turn {
                    // Others wait.
                    context.wake_at(context.now().plus(1));
                    return Err(Stop::Wait);
                }
            }
            if self.next > self.last {
                return Ok(std::mem::take(&mut self.found));
            }
            let batch = match context.batch(Height(self.next)) {
                Ok(batch) => batch,
                Err(missing) => {
                    if missing == Missing::NotYet {
                        self.ask_ahead(context);
                    }
                    return Err(missing.into());
                }
            };
            if let Some(batch) = batch
                && let Some(stored) = block::of_claim(&batch)
            {
                session.look(context.view(), |sight| {
                    matching(&self.pattern, &batch, &stored, sight, &mut self.found);
                })?;
            }
            self.next += 1;
            self.read += 1;
            let too_many = |what: String| {
                RpcError::limit(format!(
                    "{what}: narrow the block range, the addresses or the topics"
                ))
            };
            if self.found.len() > RESULTS_MAX {
                return Err(
                    too_many(format!("query returned more than {RESULTS_MAX} results")).into(),
                );
            }
            if self.read > READ_MAX {
                return Err(too_many(format!("query needs more than {READ_MAX} blocks")).into());
            }
        }
    }

    /// On a confidential network neither the limits of a search nor a hole in this node's history may
    /// depend on logs that are hidden: the number of blocks is limited instead, and the first block must
    /// be here, as then all later ones are.
    fn open(&self, context: &mut dyn Context, session: &Session, first: u64) -> Result<(), Stop> {
        if session.is_open(context.view())? {
            return Ok(());
        }
        if self.last.saturating_sub(first) >= READ_MAX as u64 {
            return Err(RpcError::limit(format!(
                "block range too large: at most {READ_MAX} blocks"
            ))
            .into());
        }
        context.batch(Height(first.max(1)))?;
        Ok(())
    }

    fn may_match(&self, context: &dyn Context, number: u64) -> bool {
        let filter = context.note(Height(number)).unwrap_or_default();
        !filter.is_empty() && self.pattern.may_match(&LogFilter::decode(filter))
    }

    fn ask_ahead(&self, context: &mut dyn Context) {
        let mut asked = 0;
        for number in (self.next + 1..=self.last).take(AHEAD_LOOK) {
            if asked == AHEAD {
                break;
            }
            if self.may_match(context, number) {
                asked += 1;
                // Whether it is there already does not matter yet.
                let _ = context.batch(Height(number));
            }
        }
    }
}

/// The logs of one block that match.
pub(crate) fn matching(
    pattern: &Pattern,
    batch: &adapter::Batch,
    stored: &Stored,
    sight: &Sight<'_>,
    found: &mut Vec<Value>,
) {
    let mut before = 0;
    for (position, (unit, receipt)) in (0u32..).zip(&batch.units) {
        let Some(receipt) = Receipt::decode(receipt) else {
            continue;
        };
        let first = before;
        before += receipt.logs.len();
        let hash = B256::from(unit.id.0);
        let mut tell = |index: usize, log: &Log| {
            found.push(json::log(log, stored, &hash, position, index));
        };
        if sight.is_open() {
            let numbered = (first..).zip(&receipt.logs);
            let matches = numbered.filter(|(_, log)| pattern.matches(log));
            matches.for_each(|(index, log)| tell(index, log));
        } else if receipt.logs.iter().any(|log| pattern.matches(log))
            && let Ok(sender) = Address::try_from(unit.established.as_ref())
        {
            let seen = Seen {
                sender: &sender,
                concerns: None,
                input: &[],
                submitter: unit.caller,
                seqno: batch.height.0,
            };
            // All visible logs of the transaction are numbered, so those that do not match are asked, too.
            let visible = json::visible(&receipt.logs, &seen, position, || first, sight);
            let matches = visible.into_iter().filter(|(_, log)| pattern.matches(log));
            matches.for_each(|(index, log)| tell(index, log));
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
