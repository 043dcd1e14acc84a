//! `coco sim`: whole networks in one thread, each from one seed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sim::{Options, Report};

use crate::failure::{Code, Failure};
use crate::{print, regions};

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Runs this seed
    #[arg(long, value_name = "N", conflicts_with = "runs")]
    seed: Option<u64>,
    /// Runs this many seeds
    #[arg(long, value_name = "N", default_value_t = 100)]
    runs: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Validating nodes in each network; by default three, and in one seed of four a fourth and
    /// perhaps a fifth that join later
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: Option<u8>,
    /// Each run goes on for at least this many events, and until leadership has changed
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    events: u64,
    /// So often in each run the power fails everywhere, or at so many nodes that no quorum is left
    #[arg(long, value_name = "N", default_value_t = 0)]
    blackouts: u64,
    /// Units call a system outside, which is not always well
    #[arg(long)]
    outside: bool,
    /// Instead: a model of networks of these numbers of nodes across regions, such as 5,10,25,50
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with_all = ["nodes", "blackouts", "trace"])]
    regions: Vec<usize>,
    /// Transactions a second over all nodes (--regions)
    #[arg(
        long,
        value_name = "R",
        default_value_t = 5_000.0,
        requires = "regions"
    )]
    rate: f64,
    /// Regions and their distances, instead of one, three and eight of the world's (--regions)
    #[arg(long, value_name = "FILE", requires = "regions")]
    map: Option<PathBuf>,
    /// Prints one line per event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Simulate) -> Result<(), Failure> {
    if !arguments.regions.is_empty() {
        return regions::run(&regions::Wish {
            nodes: &arguments.regions,
            rate: arguments.rate,
            map: arguments.map.as_deref(),
            seed: arguments.seed.unwrap_or_default(),
            json: arguments.json,
        });
    }
    let options = Options {
        nodes: arguments.nodes.map(usize::from),
        events_min: arguments.events,
        blackouts: arguments.blackouts,
        outside: arguments.outside,
        trace: arguments.trace,
        ..Options::default()
    };
    let reports = match arguments.seed {
        Some(seed) => vec![one(seed, &options)?],
        None => many(arguments, &options)?,
    };
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in reports.iter().flat_map(|r| &r.faults) {
        *faults.entry(kind).or_default() += count;
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let total = json!({
        "seeds": reports.len(),
        "events": sum(|r| r.events),
        "entries": sum(|r| r.entries),
        "leader_changes": sum(|r| r.leader_changes),
        "restarts": sum(|r| r.restarts),
        "network_restarts": sum(|r| r.network_restarts),
        "entries_reused": sum(|r| r.entries_reused),
        "entries_fetched": sum(|r| r.entries_fetched),
        "snapshots_taken": sum(|r| r.snapshots_taken),
        "snapshots_used": sum(|r| r.snapshots_used),
        "receipts_verified": sum(|r| r.receipts_verified),
        "corruptions_tried": sum(|r| r.corruptions_tried),
        "corruptions_detected": sum(|r| r.corruptions_detected),
        "acknowledged": sum(|r| r.acknowledged),
        "faults": faults,
    });
    if arguments.json {
        print::json(&total);
    } else {
        let [reused, fetched] = ["entries_reused", "entries_fetched"].map(|name| &total[name]);
        println!(
            "{} seeds: {} events, {} leader changes, {} restarts ({reused} entries reused, {fetched} fetched), {} faults; {} acknowledged writes, each on every node",
            total["seeds"],
            total["events"],
            total["leader_changes"],
            total["restarts"],
            faults.values().sum::<u64>(),
            total["acknowledged"],
        );
        println!(
            "snapshots: {} taken, {} used; receipts: {} verified; corruptions: {} tried, {} detected, none believed",
            total["snapshots_taken"],
            total["snapshots_used"],
            total["receipts_verified"],
            total["corruptions_tried"],
            total["corruptions_detected"],
        );
        for (kind, count) in &faults {
            println!("  {kind:18} {count}");
        }
    }
    Ok(())
}

fn one(seed: u64, options: &Options) -> Result<Report, Failure> {
    sim::run(seed, options)
        .inspect(|report| report.trace.iter().for_each(|line| println!("{line}")))
        .map_err(|failure| {
            failure.trace.iter().for_each(|line| println!("{line}"));
            Failure::new(Code::Wrong, failure.to_string())
        })
}

/// Seeds are independent, so each core takes the next one that is left.
fn many(arguments: &Simulate, options: &Options) -> Result<Vec<Report>, Failure> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left")
        .expect("a valid template");
    let bar = ProgressBar::new(arguments.runs).with_style(style);
    let next = AtomicU64::new(arguments.first);
    let end = arguments.first + arguments.runs;
    let failed: Mutex<Option<Failure>> = Mutex::new(None);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.lock().expect("no thread panics with it").is_some() {
                        return;
                    }
                    match sim::run(seed, options) {
                        Ok(report) => sender
                            .send(report)
                            .expect("the receiver outlives the threads"),
                        Err(failure) => {
                            let failure = Failure::new(Code::Wrong, failure.to_string());
                            *failed.lock().expect("no thread panics with it") = Some(failure);
                        }
                    }
                    bar.inc(1);
                }
            });
        }
    });
    drop(sender);
    bar.finish_and_clear();
    match failed.into_inner().expect("no thread panics with it") {
        Some(failure) => Err(failure),
        None => Ok(receiver.into_iter().collect()),
    }
}
