//! One measurement of one network.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::Entrance;

use crate::drive::{Answered, Pace, drive};
use crate::figures::Spread;
use crate::observe::Watch;
use crate::processes::{self, Used};
use crate::verdict::{self, Holdings};
use crate::wire::Wire;
use crate::{Load, Options, Problem, Via, Workload};

/// A validating node that is there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub name: String,
    /// `host:port` of its application channel.
    pub address: String,
    pub entrance: Entrance,
    pub leads: bool,
    /// The process under which its processes run, if they run on this machine.
    pub process: Option<u32>,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Run {
    /// Transactions that were acknowledged.
    pub transactions: usize,
    /// Transactions that were refused, and the first reason.
    pub refused: usize,
    pub first_refusal: Option<String>,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// From sending (open loop: from when it was due) to the answer, which comes after the commit.
    pub answered: Spread,
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
    let targets: Vec<&Endpoint> = endpoints
        .iter()
        .filter(|endpoint| match options.via {
            Via::All => true,
            Via::Leader => endpoint.leads,
            Via::Followers => !endpoint.leads,
        })
        .collect();
    if targets.is_empty() {
        return Err(Problem::Failed("no node to send to".into()));
    }
    let mut wires = Vec::with_capacity(options.connections);
    for lane in 0..options.connections {
        let target = targets[lane % targets.len()];
        wires.push(Wire::open(&target.entrance, &target.address)?);
    }
    if !load.warm_up.is_empty() {
        progress("warming up");
        let pace = Pace::Closed {
            in_flight: options.in_flight,
        };
        drive(&mut wires, &load.warm_up, pace)?;
    }
    let protocol = options.workload.protocol();
    let watch = Watch::start(protocol, endpoints)?;
    let mut asking = Wire::open(&targets[0].entrance, &targets[0].address)?;
    let first = if protocol == "ethereum" {
        verdict::block_number(&mut asking)? + 1
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
    let answers = drive(&mut wires, &load.requests, pace(options))?;
    let after = processes::snapshot(roots());
    progress("checking");
    let mut outcome = Outcome::of(options, load, &answers);
    let last = if protocol == "ethereum" {
        verdict::block_number(&mut asking)?
    } else {
        outcome.heights.values().copied().max().unwrap_or(0)
    };
    watch.wait_for(last)?;
    let timeline = watch.end()?;
    if protocol == "ethereum" && !options.workload.only_reads() {
        for (place, endpoint) in endpoints.iter().enumerate() {
            let mut wire = Wire::open(&endpoint.entrance, &endpoint.address)?;
            let holdings = verdict::holdings(&mut wire, first, last)?;
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
        answered: Spread::of(outcome.answered),
        everywhere: Spread::of(everywhere),
        block_sizes: outcome.block_sizes,
        used: processes::used(&before, &after),
    })
}

fn pace(options: &Options) -> Pace {
    match options.rate {
        None => Pace::Closed {
            in_flight: options.in_flight,
        },
        Some(rate) => Pace::Open {
            // A batch arrives as one.
            interval: Duration::from_secs_f64(options.batch as f64 / rate),
        },
    }
}

/// The answers, by transaction.
struct Outcome {
    accepted: Vec<bool>,
    began: Vec<Instant>,
    answered: Vec<u64>,
    first_refusal: Option<String>,
    seconds: f64,
    /// Height of each accepted transaction, by its place.
    heights: BTreeMap<usize, u64>,
    block_sizes: Vec<usize>,
}

impl Outcome {
    fn of(options: &Options, load: &Load, answers: &[Answered]) -> Self {
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
            let request = &load.requests[answer.request];
            let took = microseconds(answer.ended.saturating_duration_since(answer.began));
            let height = if options.workload == Workload::Kv {
                verdict::written_height(answer)
            } else {
                None
            };
            let reasons = verdict::refusals(options.workload, request, answer);
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
    fn take(&mut self, load: &Load, holdings: Holdings) {
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

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
