//! What is not one load: start, failover, overload, steady load.

use std::sync::Arc;
use std::time::Duration;

use ::bench::{Load, Options, Range, failover, failovers_to_json, first_commit, overload, steady};
use serde_json::json;

use super::{Bench, Trial, network};
use crate::failure::Failure;

const OVERLOAD: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(30 * 60);

pub(super) async fn run(arguments: &Bench, options: &Options) -> Result<(), Failure> {
    match arguments.trial {
        Trial::Load => Ok(()),
        Trial::Start => starts(arguments, options).await,
        Trial::Failover => failovers(arguments, options).await,
        Trial::Overload | Trial::Steady => long(arguments, options).await,
    }
}

async fn starts(arguments: &Bench, options: &Options) -> Result<(), Failure> {
    let load = Arc::new(Load::prepare(options)?);
    let mut times = Vec::new();
    for number in 1..=arguments.runs.max(1) {
        let (given, shared) = (options.clone(), load.clone());
        let took = network::with(arguments, options, load.genesis(), number, move |up| {
            first_commit(&given, &shared, &up.endpoints)?;
            Ok(up.began.elapsed())
        });
        let took = took.await?.as_secs_f64();
        eprintln!("run {number}: first commit after {took:.2} s");
        times.push(took);
    }
    let range = Range::of(times.iter().copied());
    if arguments.json {
        crate::print::json(&json!({
            "trial": "start", "workload": options.workload.name(), "nodes": arguments.nodes,
            "first_commit_s": range.to_json(), "runs": times,
        }));
    } else {
        println!(
            "start of {} nodes to the first commit: {:.2} s (median; {:.2} to {:.2} in {} runs)",
            arguments.nodes,
            range.median,
            range.min,
            range.max,
            times.len()
        );
    }
    Ok(())
}

async fn failovers(arguments: &Bench, options: &Options) -> Result<(), Failure> {
    if options.rate.is_none() {
        return Err(Failure::input(
            "--trial failover needs --rate: how many transactions arrive each second whatever the \
             answers do, such as --rate 2000",
        ));
    }
    if arguments.nodes < 3 {
        return Err(Failure::input(
            "--trial failover needs --nodes 3 or more: fewer do not go on without one of them",
        ));
    }
    let load = Arc::new(Load::prepare(options)?);
    let mut runs = Vec::new();
    for number in 1..=arguments.runs.max(1) {
        let (given, shared) = (options.clone(), load.clone());
        let run = network::with(arguments, options, load.genesis(), number, move |up| {
            failover(&given, &shared, &up.endpoints, &mut |doing| {
                eprintln!("run {number}: {doing}");
            })
        });
        let run = run.await?;
        eprintln!(
            "run {number}: next commit after {} ms",
            run.outage.as_millis()
        );
        runs.push(run);
    }
    let json = failovers_to_json(options, usize::from(arguments.nodes), &runs);
    if arguments.json {
        crate::print::json(&json);
        return Ok(());
    }
    let (outage, silence) = (&json["outage_ms"], &json["silence_ms"]);
    println!(
        "kill -9 of the leader of {} nodes under {} at {} a second, {} runs\n\n  \
         to the first acknowledgement of what was sent after it: {} ms (median; {} to {})\n  \
         longest time without an acknowledgement: {} ms (median; {} to {})",
        arguments.nodes,
        options.workload.name(),
        options.rate.unwrap_or_default(),
        runs.len(),
        outage["median"],
        outage["min"],
        outage["max"],
        silence["median"],
        silence["min"],
        silence["max"],
    );
    for run in &runs {
        println!(
            "  {} acknowledged; {} refused or unknown{}",
            run.acknowledged,
            run.others,
            run.first_other
                .as_deref()
                .map(|text| format!(": {text}"))
                .unwrap_or_default()
        );
    }
    Ok(())
}

async fn long(arguments: &Bench, options: &Options) -> Result<(), Failure> {
    let genesis = Load::genesis_of(options)?;
    let given = options.clone();
    let trial = arguments.trial;
    let length = arguments.duration;
    let found = network::with(arguments, options, &genesis, 1, move |up| {
        let progress = &mut |doing: &str| eprintln!("{doing}");
        if trial == Trial::Overload {
            let length = length.unwrap_or(OVERLOAD);
            let found = overload(&given, &up.endpoints, length, progress)?;
            Ok((found.to_json(), found.to_text()))
        } else {
            let length = length.unwrap_or(STEADY);
            let found = steady(&given, &up.endpoints, length, progress)?;
            Ok((found.to_json(), found.to_text()))
        }
    });
    let (json, text) = found.await?;
    if arguments.json {
        crate::print::json(&json);
    } else {
        println!("{text}");
    }
    Ok(())
}
