//! How long nobody commits anything after the leader is killed.
//!
//! Load arrives at the other nodes at a fixed rate, whatever they answer. All processes of the leader's
//! node end at once, by SIGKILL. What counts is the first acknowledgement of something that was sent
//! after that: what was on its way before may have been committed already.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::drive::{Listed, drive};
use crate::figures::{Range, rounded};
use crate::measure::{Endpoint, Outcome, open, pace, targets};
use crate::processes;
use crate::verdict::{self, Asking};
use crate::{Load, Options, Problem, Via};

/// The load runs for so long before.
const BEFORE: Duration = Duration::from_secs(2);

/// How long a survivor may need until it has what another acknowledged.
const PATIENCE: Duration = Duration::from_secs(20);

/// One leader's end.
#[derive(Debug, Clone)]
pub struct Failover {
    /// From the signal to the first acknowledgement of what was sent after it.
    pub outage: Duration,
    /// The longest time between two acknowledgements.
    pub silence: Duration,
    pub acknowledged: usize,
    /// Answered with something else: refused, or nobody knows the outcome.
    pub others: usize,
    pub first_other: Option<String>,
}

/// Kills the leader under load.
///
/// # Errors
/// [`Problem::Failed`] if the others do not go on; [`Problem::Wrong`] if something acknowledged is lost.
pub fn failover(
    options: &Options,
    load: &Load,
    endpoints: &[Endpoint],
    progress: &mut dyn FnMut(&str),
) -> Result<Failover, Problem> {
    let options = Options {
        via: Via::Followers,
        ..options.clone()
    };
    if options.rate.is_none() {
        return Err(Problem::Input("--trial failover needs a --rate".into()));
    }
    let leader = endpoints.iter().find(|endpoint| endpoint.leads);
    let root = leader.and_then(|leader| leader.process).ok_or_else(|| {
        Problem::Failed("no node leads, or its processes are not on this machine".into())
    })?;
    let mut wires = open(&options, &targets(&options, endpoints)?)?;
    let ethereum = options.workload.protocol() == "ethereum";
    let first = if ethereum {
        let survivors = targets(&options, endpoints)?;
        Asking::open(survivors[0].auditing(), "/")?.block_number()? + 1
    } else {
        0
    };
    progress("loading");
    let family = processes::family_of(root);
    let killer = std::thread::spawn(move || {
        std::thread::sleep(BEFORE);
        let now = Instant::now();
        for process in family {
            let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // One that has ended already is as good as killed.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        now
    });
    let mut work = Listed::new(&load.requests, options.connections, None);
    drive(&mut wires, pace(&options, load.requests.len()), &mut work)?;
    let answers = work.into_answers();
    let killed = killer
        .join()
        .map_err(|_| Problem::Failed("the leader was not killed".into()))?;
    let accepted = |answer: &&crate::drive::Answered| {
        let reasons = verdict::refusals(options.workload, answer);
        reasons.iter().any(Option::is_none)
    };
    let mut times: Vec<Instant> = answers.iter().filter(accepted).map(|a| a.ended).collect();
    times.sort_unstable();
    let next = answers
        .iter()
        .filter(|answer| answer.began > killed)
        .filter(accepted)
        .map(|answer| answer.ended)
        .min()
        .ok_or_else(|| {
            Problem::Failed(
                "nothing that was sent after the leader's end was acknowledged: give more \
                 --transactions, so that the load lasts some seconds longer"
                    .into(),
            )
        })?;
    let silence = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    let outcome = Outcome::of(&options, load, &answers);
    if ethereum {
        progress("checking");
        for survivor in targets(&options, endpoints)? {
            check(load, &outcome, survivor, first)?;
        }
    }
    Ok(Failover {
        outage: next - killed,
        silence: silence.unwrap_or_default(),
        acknowledged: outcome.accepted.iter().filter(|a| **a).count(),
        others: outcome.accepted.iter().filter(|a| !**a).count(),
        first_other: outcome.first_refusal,
    })
}

/// A survivor learns of a commit a moment after the client.
fn check(load: &Load, outcome: &Outcome, survivor: &Endpoint, first: u64) -> Result<(), Problem> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut asking = Asking::open(survivor.auditing(), "/")?;
        let last = asking.block_number()?;
        let holdings = asking.holdings(first, last)?;
        match verdict::check(load, &outcome.accepted, &holdings) {
            Err(Problem::Wrong(text)) if Instant::now() > deadline => {
                return Err(Problem::Wrong(format!("{}: {text}", survivor.name)));
            }
            Err(Problem::Wrong(_)) => std::thread::sleep(Duration::from_millis(200)),
            other => return other,
        }
    }
}

/// Several of them, for programs.
pub fn failovers_to_json(options: &Options, nodes: usize, runs: &[Failover]) -> Value {
    let over = |of: fn(&Failover) -> Duration| {
        Range::of(runs.iter().map(|run| of(run).as_secs_f64() * 1000.0)).to_json()
    };
    json!({
        "trial": "failover",
        "workload": options.workload.name(),
        "nodes": nodes,
        "rate": options.rate,
        "batch": options.batch,
        "outage_ms": over(|run| run.outage),
        "silence_ms": over(|run| run.silence),
        "runs": runs.iter().map(|run| json!({
            "outage_ms": rounded(run.outage.as_secs_f64() * 1000.0),
            "silence_ms": rounded(run.silence.as_secs_f64() * 1000.0),
            "acknowledged": run.acknowledged,
            "others": run.others,
            "first_other": run.first_other,
        })).collect::<Vec<_>>(),
    })
}
