//! The committed state of one moment, read in order and in pieces while later batches are written.
//!
//! Freezing costs nothing. Whoever writes a key that was not read yet leaves its old value here, so what
//! is read is the base with these values in front. It takes at most as much memory as the state of that
//! moment, when every key is written before it is read.
//!
//! A hashed domain has no order. Its tables are sorted one after the other, each when its turn comes, and
//! the sorted keys merged; nothing is ever sorted at once. Until the domain is read, that costs a copy of
//! its keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use types::Height;

use crate::Domain;
use crate::base::{Base, TABLES, Tables};

/// One key of a frozen state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    pub domain: Domain,
    pub key: &'a [u8],
    pub value: &'a Bytes,
}

#[derive(Debug)]
pub(crate) struct Frozen {
    height: Height,
    /// How many keys each domain had.
    keys: Vec<u64>,
    /// What was written since and not read: its value then, `None` if it did not exist.
    saved: Vec<BTreeMap<Bytes, Option<Bytes>>>,
    /// The domain that is being read, by its position.
    at: usize,
    /// The key that was read last in this domain.
    last: Option<Vec<u8>>,
    /// Keys given in this domain.
    given: u64,
    sorting: Sorting,
}

/// Which of two ordered sources holds the next key.
enum Next {
    Base,
    Saved,
    Both,
}

impl Frozen {
    pub(crate) fn new(height: Height, base: &[Base]) -> Self {
        Self {
            height,
            keys: base.iter().map(|base| base.len() as u64).collect(), // widening
            saved: base.iter().map(|_| BTreeMap::new()).collect(),
            at: 0,
            last: None,
            given: 0,
            sorting: Sorting::default(),
        }
    }

    pub(crate) fn height(&self) -> Height {
        self.height
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.keys.iter().copied()
    }

    /// A key of the domain at this position was written; `before` is what the base held.
    pub(crate) fn written(&mut self, at: usize, key: &[u8], before: Option<Bytes>) {
        let read =
            at < self.at || (at == self.at && self.last.as_deref().is_some_and(|last| key <= last));
        if !read && !self.saved[at].contains_key(key) {
            self.saved[at].insert(Bytes::copy_from_slice(key), before);
        }
    }

    /// See [`crate::Store::read_frozen`].
    pub(crate) fn read(
        &mut self,
        base: &[Base],
        work_max: usize,
        visit: &mut dyn FnMut(usize, &[u8], &Bytes) -> bool,
    ) -> bool {
        let mut work = 0;
        while let Some(domain) = base.get(self.at) {
            if work >= work_max {
                return true;
            }
            let more = match domain {
                Base::Hashed(tables) if self.sorting.tables < TABLES => {
                    // An empty table costs next to nothing.
                    work += self.sorting.sort_one(tables);
                    continue;
                }
                Base::Hashed(tables) => self.merge_runs(tables, work_max, &mut work, visit),
                Base::Ordered(map) => self.merge_range(map, work_max, &mut work, visit),
            };
            match more {
                Read::Stopped => return true,
                Read::End => self.next_domain(),
            }
        }
        false
    }

    fn next_domain(&mut self) {
        assert_eq!(
            self.given, self.keys[self.at],
            "a frozen domain is read as it was"
        );
        self.saved[self.at] = BTreeMap::new();
        self.at += 1;
        self.last = None;
        self.given = 0;
        self.sorting = Sorting::default();
    }

    fn merge_range(
        &mut self,
        map: &BTreeMap<Bytes, Bytes>,
        work_max: usize,
        work: &mut usize,
        visit: &mut dyn FnMut(usize, &[u8], &Bytes) -> bool,
    ) -> Read {
        let start = match &self.last {
            Some(last) => Bound::Excluded(last.clone()),
            None => Bound::Unbounded,
        };
        let start = start.as_ref().map(|key| key.as_slice());
        let mut rest = map.range::<[u8], _>((start, Bound::Unbounded)).peekable();
        while *work < work_max {
            *work += 1;
            let Some(next) = self.next(rest.peek().map(|(key, _)| &key[..])) else {
                return Read::End;
            };
            let above = match next {
                Next::Base => None,
                Next::Saved | Next::Both => self.saved[self.at].pop_first(),
            };
            let below = match next {
                Next::Saved => None,
                Next::Base | Next::Both => rest.next(),
            };
            let going = match (&above, below) {
                (Some((key, value)), _) => self.give(key, value.as_ref(), visit),
                (None, Some((key, value))) => self.give(key, Some(value), visit),
                (None, None) => unreachable!("one of them was seen"),
            };
            if !going {
                return Read::Stopped;
            }
        }
        Read::Stopped
    }

    fn merge_runs(
        &mut self,
        tables: &Tables,
        work_max: usize,
        work: &mut usize,
        visit: &mut dyn FnMut(usize, &[u8], &Bytes) -> bool,
    ) -> Read {
        // Apart, so that a key in it can be held while the rest changes.
        let mut sorting = core::mem::take(&mut self.sorting);
        let mut read = Read::Stopped;
        while *work < work_max {
            *work += 1;
            let below = sorting.peek();
            let Some(next) = self.next(below) else {
                read = Read::End;
                break;
            };
            let above = match next {
                Next::Base => None,
                Next::Saved | Next::Both => self.saved[self.at].pop_first(),
            };
            let going = match (&above, below) {
                (Some((key, value)), _) => self.give(key, value.as_ref(), visit),
                (None, Some(key)) => {
                    let value = tables.get(key);
                    assert!(value.is_some(), "a key that was removed had its value kept");
                    self.give(key, value, visit)
                }
                (None, None) => unreachable!("one of them was seen"),
            };
            if !matches!(next, Next::Saved) {
                sorting.advance();
            }
            if !going {
                break;
            }
        }
        self.sorting = sorting;
        read
    }

    fn next(&self, below: Option<&[u8]>) -> Option<Next> {
        let above = self.saved[self.at].first_key_value().map(|(key, _)| key);
        match (below, above) {
            (None, None) => None,
            (Some(_), None) => Some(Next::Base),
            (None, Some(_)) => Some(Next::Saved),
            (Some(below), Some(above)) => Some(match below.cmp(above) {
                core::cmp::Ordering::Less => Next::Base,
                core::cmp::Ordering::Equal => Next::Both,
                core::cmp::Ordering::Greater => Next::Saved,
            }),
        }
    }

    /// Passes a key, and gives it if it existed then.
    fn give(
        &mut self,
        key: &[u8],
        value: Option<&Bytes>,
        visit: &mut dyn FnMut(usize, &[u8], &Bytes) -> bool,
    ) -> bool {
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        let Some(value) = value else { return true };
        self.given += 1;
        visit(self.at, key, value)
    }
}

enum Read {
    Stopped,
    End,
}

/// The keys of a hashed domain, table by table.
#[derive(Debug, Default)]
struct Sorting {
    /// Tables that were sorted.
    tables: usize,
    runs: Vec<Run>,
    /// Runs that hold keys still, as a heap by the first of them. Made when all tables are sorted.
    heap: Vec<u32>,
}

/// Keys in order, each behind its length: one allocation for a table.
#[derive(Debug)]
struct Run {
    keys: Vec<u8>,
    at: usize,
}

impl Run {
    fn peek(&self) -> Option<&[u8]> {
        let (length, rest) = self.keys[self.at..].split_first_chunk()?;
        Some(&rest[..usize::from(u16::from_be_bytes(*length))])
    }

    fn advance(&mut self) {
        if let Some(key) = self.peek() {
            self.at += 2 + key.len();
        }
    }
}

impl Sorting {
    /// Sorts the next table and gives its number of keys.
    fn sort_one(&mut self, tables: &Tables) -> usize {
        let mut keys: Vec<&[u8]> = tables.keys_of(self.tables).collect();
        keys.sort_unstable();
        if !keys.is_empty() {
            let bytes = keys.iter().map(|key| 2 + key.len()).sum();
            let mut run = Vec::with_capacity(bytes);
            for key in &keys {
                let length = u16::try_from(key.len()).expect("a transaction refuses longer keys");
                run.extend_from_slice(&length.to_be_bytes());
                run.extend_from_slice(key);
            }
            self.runs.push(Run { keys: run, at: 0 });
        }
        let count = keys.len();
        self.tables += 1;
        if self.tables == TABLES {
            self.heap = (0..).take(self.runs.len()).collect();
            for at in (0..self.heap.len() / 2).rev() {
                self.sift_down(at);
            }
        }
        count
    }

    fn peek(&self) -> Option<&[u8]> {
        self.heap.first().and_then(|run| self.run(*run).peek())
    }

    fn advance(&mut self) {
        let Some(first) = self.heap.first() else {
            return;
        };
        let run = &mut self.runs[*first as usize]; // as in `run`
        run.advance();
        if run.peek().is_none() {
            run.keys = Vec::new();
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let below = [2 * at + 1, 2 * at + 2];
            let key = |at: &usize| self.heap.get(*at).map(|run| self.run(*run).peek());
            let least = below
                .iter()
                .filter(|at| **at < self.heap.len())
                .min_by_key(|at| key(at));
            match least {
                Some(least) if key(least) < key(&at) => {
                    let least = *least;
                    self.heap.swap(at, least);
                    at = least;
                }
                _ => return,
            }
        }
    }

    fn run(&self, run: u32) -> &Run {
        &self.runs[run as usize] // at most TABLES runs
    }
}
