//! `coco proposals`: what is proposed and how it stands, once or as it happens.

use clap::Args;
use client::Admin;
use serde_json::Value;

use super::session::Session;
use crate::failure::Failure;
use crate::print;
use crate::status::cell;

/// How long a node holds a question for events before it answers that there are none, in seconds.
const WAIT_S: u64 = 20;

/// Shows proposals, or follows what happens to them
#[derive(Debug, Args)]
pub(crate) struct Proposals {
    /// Only this one, with its changes and ballots
    #[arg(value_name = "NUMBER")]
    number: Option<u64>,
    /// Follows events until interrupted
    #[arg(long, conflicts_with = "number")]
    watch: bool,
    /// With --watch: begins after this event; 0 is the beginning of the network
    #[arg(long, value_name = "SEQUENCE", requires = "watch")]
    since: Option<u64>,
    #[command(flatten)]
    session: Session,
    /// Prints JSON (with --watch, one event a line)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Proposals) -> Result<(), Failure> {
    let mut admin = arguments.session.open()?;
    if arguments.watch {
        return watch(&mut admin, arguments);
    }
    if let Some(number) = arguments.number {
        let proposal = admin.json(&format!("/v1/proposals/{number}"))?;
        print::json(&proposal);
        return Ok(());
    }
    let answer = admin.json("/v1/proposals")?;
    if arguments.json {
        print::json(&answer["proposals"]);
        return Ok(());
    }
    let heading = [
        "number", "status", "proposer", "for", "against", "needed", "title",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for proposal in answer["proposals"].as_array().into_iter().flatten() {
        let tally = &proposal["tally"];
        rows.push(vec![
            cell(&proposal["number"]),
            cell(&proposal["status"]),
            cell(&proposal["proposer"]),
            cell(&tally["in_favour"]),
            cell(&tally["against"]),
            cell(&tally["needed"]),
            cell(&proposal["title"]),
        ]);
    }
    print::table(&rows);
    Ok(())
}

fn watch(admin: &mut Admin, arguments: &Proposals) -> Result<(), Failure> {
    let mut since = match arguments.since {
        Some(since) => since,
        None => admin.json("/v1/events?since=now")?["next"]
            .as_u64()
            .unwrap_or(0),
    };
    loop {
        let answer = admin.json(&format!("/v1/events?since={since}&wait={WAIT_S}"))?;
        for event in answer["events"].as_array().into_iter().flatten() {
            if arguments.json {
                println!("{event}");
            } else {
                println!("{}", line(event));
            }
        }
        since = answer["next"].as_u64().unwrap_or(since);
    }
}

fn line(event: &Value) -> String {
    let mut text = format!(
        "{:>6}  entry {}",
        cell(&event["sequence"]),
        cell(&event["entry"])
    );
    for (name, value) in event.as_object().into_iter().flatten() {
        if !["sequence", "entry", "time"].contains(&name.as_str()) {
            text.push_str(&format!("  {name}={}", cell(value)));
        }
    }
    text
}
