//! One measurement of one network.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::drive::{Answered, Listed, Request, drive};
use crate::figures::Spread;
use crate::observe::Watch;
use crate::pace::Pace;
use crate::processes::{self, Used};
use crate::verdict::{self, Asking, Holdings};
use crate::wire::{Way, Wire};
use crate::{Load, Options, Problem, Via, Workload, load};

/// A validating node that is there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub name: String,
    /// Its application channel.
    pub way: Way,
    /// By which the load goes, if not by the same: through a gateway.
    pub front: Option<Way>,
    /// By which everything that it holds is seen, if not by the same: as an auditor.
    pub auditing: Option<Way>,
    pub leads: bool,
    /// The process under which its processes run, if they run on this machine.
    pub process: Option<u32>,
}

impl Endpoint {
    pub(crate) fn front(&self) -> &Way {
        self.front.as_ref().unwrap_or(&self.way)
    }

    pub(crate) fn auditing(&self) -> &Way {
        self.auditing.as_ref().unwrap_or(&self.way)
    }
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Run {
    /// Transactions that were acknowledged.
    pub transactions: usize,
    /// Transactions that were refused, and the first reason.
    pub refused: usize,
    pub first_refusal: Option<String>,
    /// From the first request to the last knowledge of a commit.
    pub seconds: f64,
    /// From sending to the answer, where that says less than "committed" (peers).
    pub accepted: Spread,
    /// From sending (open loop: from when it was due) to the client's knowledge of the commit.
    pub committed: Spread,
    /// From the same to the moment at which every node had applied it.
    pub everywhere: Spread,
    /// Transactions of each block.
    pub block_sizes: Vec<usize>,
    pub(crate) used: Vec<Used>,
}

impl Run {
    /// Acknowledged transactions in a second.
    pub fn throughput(&self) -> f64 {
        // Counts are far below 2^53.
        self.transactions as f64 / self.seconds.max(1e-9)
    }
}

/// Sends the load to the nodes and waits until all of them have applied it.
///
/// # Errors
/// [`Problem::Failed`] if the network does not answer; [`Problem::Wrong`] if a transaction did not
/// come to what it should.
pub fn measure(
    options: &Options,
    load: &Load,
    endpoints: &[Endpoint],
    progress: &mut dyn FnMut(&str),
) -> Result<Run, Problem> {
    let targets = targets(options, endpoints)?;
    let mut wires = open(options, &targets)?;
    if !load.warm_up.is_empty() {
        progress("warming up");
        let pace = Pace::Closed {
            in_flight: options.in_flight,
        };
        drive(
            &mut wires,
            pace,
            &mut Listed::new(&load.warm_up, options.connections, None),
        )?;
    }
    let protocol = options.workload.protocol();
    let watch = Watch::start(protocol, endpoints)?;
    let mut asking = Asking::open(&targets[0].way, "/")?;
    let first = if protocol == "ethereum" {
        asking.block_number()? + 1
    } else {
        0
    };
    let roots = || {
        endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint.name.as_str(), endpoint.process?)))
    };
    progress("measuring");
    let before = processes::snapshot(roots());
    let receipts = |request: &Request| receipts(options, load, request);
    let receipts: Option<&dyn Fn(&Request) -> Bytes> = options.receipts.then_some(&receipts);
    let mut work = Listed::new(&load.requests, options.connections, receipts);
    drive(&mut wires, pace(options, load.requests.len()), &mut work)?;
    let answers = work.into_answers();
    let after = processes::snapshot(roots());
    progress("checking");
    let mut outcome = Outcome::of(options, load, &answers);
    let last = if protocol == "ethereum" {
        asking.block_number()?
    } else {
        outcome.heights.values().copied().max().unwrap_or(0)
    };
    watch.wait_for(last)?;
    let timeline = watch.end()?;
    if protocol == "ethereum" && !options.workload.only_reads() {
        for (place, endpoint) in endpoints.iter().enumerate() {
            let mut asking = Asking::open(endpoint.auditing(), "/")?;
            let holdings = asking.holdings(first, last)?;
            verdict::check(load, &outcome.accepted, &holdings).map_err(
                |problem| match problem {
                    Problem::Wrong(text) => Problem::Wrong(format!("{}: {text}", endpoint.name)),
                    other => other,
                },
            )?;
            if place == 0 {
                outcome.take(load, holdings);
            }
        }
    }
    let mut everywhere = Vec::with_capacity(outcome.accepted.len());
    for (place, began) in outcome.began.iter().enumerate() {
        let height = outcome.heights.get(&place);
        if let Some(time) = height.and_then(|height| timeline.everywhere(*height)) {
            everywhere.push(microseconds(time.saturating_duration_since(*began)));
        }
    }
    Ok(Run {
        transactions: outcome.accepted.iter().filter(|a| **a).count(),
        refused: outcome.accepted.iter().filter(|a| !**a).count(),
        first_refusal: outcome.first_refusal,
        seconds: outcome.seconds,
        accepted: Spread::default(),
        committed: Spread::of(outcome.answered),
        everywhere: Spread::of(everywhere),
        block_sizes: outcome.block_sizes,
        used: processes::used(&before, &after),
    })
}

/// The nodes that the load goes to.
pub(crate) fn targets<'a>(
    options: &Options,
    endpoints: &'a [Endpoint],
) -> Result<Vec<&'a Endpoint>, Problem> {
    let wanted = |endpoint: &&Endpoint| match options.via {
        Via::All => true,
        Via::Leader => endpoint.leads,
        Via::Followers => !endpoint.leads,
    };
    let targets: Vec<&Endpoint> = endpoints.iter().filter(wanted).collect();
    if targets.is_empty() {
        return Err(Problem::Failed("no node to send to".into()));
    }
    Ok(targets)
}

/// The connections of the load, to its nodes in turn.
pub(crate) fn open(options: &Options, targets: &[&Endpoint]) -> Result<Vec<Wire>, Problem> {
    (0..options.connections)
        .map(|lane| Wire::open(targets[lane % targets.len()].front()))
        .collect()
}

/// The question for the receipts of a request's transactions.
pub(crate) fn receipts(options: &Options, load: &Load, request: &Request) -> Bytes {
    let places = request.first..request.first + request.transactions;
    load::ask_receipts(&options.form.path, &load.hashes[places])
}

pub(crate) fn pace(options: &Options, arrivals: usize) -> Pace {
    match options.rate {
        None => Pace::Closed {
            in_flight: options.in_flight,
        },
        Some(rate) => Pace::Open {
            // A batch arrives as one.
            interval: Duration::from_secs_f64(options.batch as f64 / rate),
            arrivals,
        },
    }
}

/// The answers, by transaction.
pub(crate) struct Outcome {
    pub(crate) accepted: Vec<bool>,
    pub(crate) began: Vec<Instant>,
    pub(crate) answered: Vec<u64>,
    pub(crate) first_refusal: Option<String>,
    pub(crate) seconds: f64,
    /// Height of each accepted transaction, by its place.
    pub(crate) heights: BTreeMap<usize, u64>,
    pub(crate) block_sizes: Vec<usize>,
}

impl Outcome {
    pub(crate) fn of(options: &Options, load: &Load, answers: &[Answered]) -> Self {
        let count = load.transactions();
        let offset = load.requests.first().map_or(0, |request| request.first);
        let now = Instant::now();
        let mut outcome = Self {
            accepted: vec![false; count],
            began: vec![now; count],
            answered: Vec::with_capacity(count),
            first_refusal: None,
            seconds: 0.0,
            heights: BTreeMap::new(),
            block_sizes: Vec::new(),
        };
        let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
        for answer in answers {
            let request = &answer.request;
            let took = microseconds(answer.ended.saturating_duration_since(answer.began));
            let height = if options.workload == Workload::Kv {
                verdict::written_height(answer)
            } else {
                None
            };
            let reasons = verdict::refusals(options.workload, answer);
            for (place, reason) in reasons.into_iter().enumerate() {
                let place = request.first - offset + place;
                outcome.began[place] = answer.began;
                match reason {
                    None => {
                        outcome.accepted[place] = true;
                        outcome.answered.push(took);
                        if let Some(height) = height {
                            outcome.heights.insert(place, height);
                            *sizes.entry(height).or_default() += 1;
                        }
                    }
                    Some(reason) => {
                        outcome.first_refusal.get_or_insert(reason);
                    }
                }
            }
        }
        let began = answers.iter().map(|answer| answer.began).min();
        let ended = answers.iter().map(|answer| answer.ended).max();
        if let (Some(began), Some(ended)) = (began, ended) {
            outcome.seconds = ended.saturating_duration_since(began).as_secs_f64();
        }
        outcome.block_sizes = sizes.into_values().collect();
        outcome
    }

    /// Learns from the blocks where each transaction is.
    pub(crate) fn take(&mut self, load: &Load, holdings: Holdings) {
        let first = load.hashes.len().saturating_sub(self.accepted.len());
        for (place, hash) in load.hashes[first..].iter().enumerate() {
            if let Some(committed) = holdings.by_hash.get(hash)
                && self.accepted[place]
            {
                self.heights.insert(place, committed.height);
            }
        }
        self.block_sizes = holdings.block_sizes;
    }
}

pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
