//! Half of what a network can do, for long, over a fixed set of accounts.
//!
//! What grows with history shows here: resident memory and p99 of the last sixth of the time are held
//! against those of the second sixth (of half an hour: the last five minutes against minutes five to ten).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::endless::Endless;
use crate::ethereum::Senders;
use crate::figures::{Range, Spread, rounded};
use crate::measure::{Endpoint, open, pace, targets};
use crate::memory::Memory;
use crate::pace::Pace;
use crate::tally::Tally;
use crate::{Options, Problem};

/// How long the peak is measured, if no rate is given.
const PEAK: Duration = Duration::from_secs(10);

/// What is signed for the peak, a second.
const GUESSED_PER_S: f64 = 60_000.0;

/// What was seen.
#[derive(Debug)]
pub struct Steady {
    workload: &'static str,
    nodes: usize,
    rate: f64,
    length: Duration,
    tally: Tally,
    early: Window,
    late: Window,
    compared: usize,
}

/// A sixth of the time.
#[derive(Debug)]
struct Window {
    times: Spread,
    resident: BTreeMap<String, Range>,
}

/// Loads the nodes at `options.rate`, or at half of the peak, which is then measured first.
///
/// # Errors
/// As of [`crate::overload`].
pub fn steady(
    options: &Options,
    endpoints: &[Endpoint],
    length: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<Steady, Problem> {
    let senders = Senders::new(options, options.senders);
    let mut work = Endless::new(options, &senders);
    let mut wires = open(options, &targets(options, endpoints)?)?;
    let rate = match options.rate {
        Some(rate) => rate,
        None => {
            progress("signing for the peak");
            work.sign((GUESSED_PER_S * PEAK.as_secs_f64()) as usize)?; // some 10^5
            progress("measuring the peak");
            let closed = Pace::Closed {
                in_flight: options.in_flight,
            };
            let peak = work.run(&mut wires, closed, Some(PEAK))?;
            peak.per_second(1, PEAK.as_secs() as usize - 1).median / 2.0 // seconds
        }
    };
    progress("signing");
    let transactions = rate * length.as_secs_f64();
    work.sign((1.02 * transactions) as usize + 10_000)?; // some 10^7
    progress("measuring");
    let options = Options {
        rate: Some(rate),
        ..options.clone()
    };
    let arrivals = (transactions / options.batch as f64) as usize; // some 10^7
    let memory = Memory::watch(endpoints, length / 180);
    let tally = work.run(&mut wires, pace(&options, arrivals), None)?;
    let samples = memory.end();
    progress("comparing what was acknowledged with what every node has");
    let compared = work.verify(endpoints)?;
    let start = tally.start();
    let window = |from: u32, to: u32| {
        let at = |sixths: u32| start + length * sixths / 6;
        let second = |moment: Instant| (moment - start).as_secs() as usize; // hours
        Window {
            times: tally.times(second(at(from)), second(at(to)).max(second(at(from)) + 1)),
            resident: samples.between(at(from), at(to)),
        }
    };
    let (early, late) = (window(1, 2), window(5, 6));
    Ok(Steady {
        workload: options.workload.name(),
        nodes: endpoints.len(),
        rate,
        length,
        early,
        late,
        tally,
        compared,
    })
}

impl Steady {
    /// The last sixth by the second: p99, and resident memory of the node of which it grew most.
    fn ratios(&self) -> (f64, f64) {
        let ratio = |late: f64, early: f64| late / early.max(1e-9);
        // Times are far below 2^53 microseconds.
        let p99 = ratio(
            self.late.times.p99_us as f64,
            self.early.times.p99_us as f64,
        );
        let grown = self.late.resident.iter().map(|(name, late)| {
            let early = self.early.resident.get(name).map_or(0.0, |e| e.median);
            ratio(late.median, early)
        });
        (p99, grown.fold(0.0, f64::max))
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let (p99, memory) = self.ratios();
        let window = |window: &Window| {
            let resident = window.resident.iter();
            json!({
                "committed_ms": window.times.to_json(),
                "resident_bytes": resident
                    .map(|(name, range)| (name.clone(), range.median.into()))
                    .collect::<serde_json::Map<String, Value>>(),
            })
        };
        json!({
            "trial": "steady",
            "workload": self.workload,
            "nodes": self.nodes,
            "rate": rounded(self.rate),
            "seconds": self.length.as_secs(),
            "second_sixth": window(&self.early),
            "last_sixth": window(&self.late),
            "p99_ratio": rounded(p99),
            "resident_ratio": rounded(memory),
            "compared_on_each_node": self.compared,
            "all": self.tally.to_json(),
        })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let (p99, memory) = self.ratios();
        let line = |name: &str, window: &Window| {
            let times = window.times.to_json();
            let resident: f64 = window.resident.values().map(|range| range.median).sum();
            format!(
                "  {name:<14} p50 {} p99 {} ms, {:.0} MiB resident in all nodes\n",
                times["p50"],
                times["p99"],
                resident / f64::from(1 << 20)
            )
        };
        let mut text = format!(
            "{} on {} nodes, {:.0} a second arriving for {} s: {} committed, {} refused\n\n{}{}\
             \n  last by second: p99 {p99:.2}, resident memory {memory:.2} (the node of which it grew most)\
             \n  compared: {} accounts or keys on every node: nothing acknowledged is lost\n",
            self.workload,
            self.nodes,
            self.rate,
            self.length.as_secs(),
            self.tally.total(),
            self.tally.refused_total(),
            line("second sixth", &self.early),
            line("last sixth", &self.late),
            self.compared,
        );
        for (kind, count) in self.tally.kinds() {
            text.push_str(&format!("  {count:>10} x {kind}\n"));
        }
        text
    }
}
