//! Twice as much as a network can do, for a minute.
//!
//! Four phases on one network: as fast as answers come (the peak); half of that, arriving by itself (what
//! is usual); twice that; half again, at once. What must hold: throughput in the third phase is near the
//! peak, memory is bounded, whoever is refused is told so, what was acknowledged is on every node, and
//! the fourth phase is as the second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::endless::Endless;
use crate::ethereum::Senders;
use crate::figures::{Range, Spread, rounded};
use crate::measure::{Endpoint, open, targets};
use crate::memory::Memory;
use crate::pace::Pace;
use crate::tally::Tally;
use crate::{Options, Problem};

/// How long the phases beside the overload last.
const BESIDE: Duration = Duration::from_secs(10);

/// Requests on their way for the peak: enough for all that a network can do, and a small part of what it takes in.
const PEAK_IN_FLIGHT: usize = 24;

/// Seconds of a phase that are not counted at its beginning and its end: they are not whole.
const EDGE_S: usize = 1;

/// Transactions a second that one may assume before anything was measured: what is signed for the peak.
const GUESSED_PER_S: f64 = 60_000.0;

/// What was seen.
#[derive(Debug)]
pub struct Overload {
    workload: &'static str,
    nodes: usize,
    peak_per_s: f64,
    before: Tally,
    during: Tally,
    after: Tally,
    offered_per_s: f64,
    /// From the last arrival to the last answer of the overload.
    drained: Duration,
    memory_before: BTreeMap<String, Range>,
    memory_during: BTreeMap<String, Range>,
    memory_late: BTreeMap<String, Range>,
    compared: usize,
}

/// Loads the nodes with twice their capacity for so long.
///
/// # Errors
/// [`Problem::Failed`] if the network does not answer; [`Problem::Wrong`] if something acknowledged is
/// not there, or was refused for another reason than the load.
pub fn overload(
    options: &Options,
    endpoints: &[Endpoint],
    length: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<Overload, Problem> {
    let senders = Senders::new(options, options.senders);
    let mut work = Endless::new(options, &senders);
    let targets = targets(options, endpoints)?;
    let mut wires = open(options, &targets)?;

    progress("signing for the peak");
    work.sign((GUESSED_PER_S * BESIDE.as_secs_f64()) as usize)?; // some 10^5
    progress("measuring the peak");
    let peak = Pace::Shared {
        in_flight: PEAK_IN_FLIGHT,
    };
    let peak = work.run(&mut wires, peak, Some(BESIDE))?;
    let peak_per_s = steady(&peak, BESIDE).median;

    let seconds = 2.1 * length.as_secs_f64() + BESIDE.as_secs_f64() + 2.0;
    progress("signing for the overload");
    work.sign((1.1 * peak_per_s * seconds) as usize)?; // some 10^6
    let at = |rate: f64, length: Duration| {
        let batches = rate / options.batch as f64; // at most 1,000
        Pace::Clients {
            interval: Duration::from_secs_f64(1.0 / batches),
            arrivals: (batches * length.as_secs_f64()) as usize, // some 10^6
        }
    };
    let memory = Memory::watch(endpoints, Duration::from_secs(1));
    progress("half of the peak");
    let before_began = Instant::now();
    let before = work.run(&mut wires, at(peak_per_s / 2.0, BESIDE), None)?;
    progress("twice the peak");
    let during_began = Instant::now();
    let during = work.run(&mut wires, at(peak_per_s * 2.0, length), None)?;
    let during_ended = Instant::now();
    progress("half of the peak again");
    let after = work.run(&mut wires, at(peak_per_s / 2.0, BESIDE), None)?;
    let samples = memory.end();
    progress("comparing what was acknowledged with what every node has");
    let compared = work.verify(endpoints)?;
    let half = during_began + length / 2;
    Ok(Overload {
        workload: options.workload.name(),
        nodes: endpoints.len(),
        peak_per_s,
        offered_per_s: peak_per_s * 2.0,
        drained: during.length().saturating_sub(length),
        memory_before: samples.between(before_began, during_began),
        memory_during: samples.between(during_began, half),
        memory_late: samples.between(half, during_ended),
        before,
        during,
        after,
        compared,
    })
}

/// Committed a second in the whole seconds of a phase.
fn steady(tally: &Tally, length: Duration) -> Range {
    let seconds = length.as_secs() as usize; // minutes
    tally.per_second(EDGE_S, seconds.saturating_sub(EDGE_S).max(EDGE_S + 1))
}

impl Overload {
    /// Throughput under overload as a share of the peak.
    fn share(&self) -> f64 {
        let length = self.during.length().saturating_sub(self.drained);
        steady(&self.during, length).median / self.peak_per_s.max(1.0)
    }

    fn greatest(memory: &BTreeMap<String, Range>) -> f64 {
        memory.values().map(|range| range.max).fold(0.0, f64::max)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "trial": "overload",
            "workload": self.workload,
            "nodes": self.nodes,
            "peak_per_s": rounded(self.peak_per_s),
            "offered_per_s": rounded(self.offered_per_s),
            "share_of_peak": rounded(self.share()),
            "drained_ms": self.drained.as_millis() as u64, // seconds
            "resident_bytes_of_the_greatest_node": {
                "before": Self::greatest(&self.memory_before),
                "first_half": Self::greatest(&self.memory_during),
                "second_half": Self::greatest(&self.memory_late),
            },
            "half_load_ms": {
                "before": self.before.times(0, usize::MAX).to_json(),
                "after": self.after.times(0, usize::MAX).to_json(),
                "first_second_after": self.after.times(0, 1).to_json(),
            },
            "compared_on_each_node": self.compared,
            "before": self.before.to_json(),
            "during": self.during.to_json(),
            "after": self.after.to_json(),
        })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let ms = |spread: Spread| {
            let json = spread.to_json();
            format!("p50 {} p99 {} ms", json["p50"], json["p99"])
        };
        let mib = |memory| Self::greatest(memory) / f64::from(1 << 20);
        let mut text = format!(
            "{} on {} nodes, overload: peak {:.0} a second, offered {:.0}\n\
             \n  committed under overload   {:.1} % of the peak\
             \n  refused                    {}\
             \n  due and not sent           {}, since every connection was waiting for an answer\
             \n  last answer                {} ms after the last arrival\
             \n  greatest node              {:.0} MiB before, {:.0} and {:.0} in the two halves\
             \n  half of the peak           before: {}; after: {}; its first second: {}\
             \n  compared                   {} accounts or keys on every node: nothing acknowledged is lost\n",
            self.workload,
            self.nodes,
            self.peak_per_s,
            self.offered_per_s,
            100.0 * self.share(),
            self.during.refused_total(),
            self.during.unsent,
            self.drained.as_millis(),
            mib(&self.memory_before),
            mib(&self.memory_during),
            mib(&self.memory_late),
            ms(self.before.times(0, usize::MAX)),
            ms(self.after.times(0, usize::MAX)),
            ms(self.after.times(0, 1)),
            self.compared,
        );
        for (kind, count) in self.during.kinds() {
            text.push_str(&format!("  {count:>10} x {kind}\n"));
        }
        text
    }
}
