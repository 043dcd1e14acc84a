//! `coco status`: what a node says of itself and of its network.

use std::path::PathBuf;

use clap::Args;
use client::{Admin, Identity, Trust, read_certificate};
use serde_json::Value;

use crate::failure::Failure;
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// An actor's identity
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// The pinned network identity certificate
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
    /// A node's administrative address; give several to fail over
    #[arg(long = "vn", value_name = "HOST:PORT", required = true, num_args = 1..)]
    nodes: Vec<String>,
    /// Asks the node for evidence that satisfies this constitution
    #[arg(long, value_name = "FILE")]
    constitution: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Status) -> Result<(), Failure> {
    let identity = Identity::read(&arguments.identity)?;
    let mut trust = Trust::pinned(read_certificate(&arguments.network)?);
    if let Some(path) = &arguments.constitution {
        trust = trust.with_constitution(crate::network::read(path)?);
    }
    let mut admin = Admin::open(&identity, trust, arguments.nodes.clone())?;
    let (status, nodes) = (admin.status()?, admin.nodes()?);
    if arguments.json {
        print::json(
            &serde_json::json!({ "address": admin.address(), "status": status, "nodes": nodes["nodes"] }),
        );
        return Ok(());
    }
    println!("{}", admin.address());
    for key in [
        "phase",
        "owner",
        "node",
        "leader",
        "last",
        "committed",
        "epoch",
        "transactions",
    ] {
        println!("  {key:13} {}", cell(&status[key]));
    }
    println!("\nnodes");
    print::table(&rows(&nodes["nodes"]));
    Ok(())
}

fn rows(nodes: &Value) -> Vec<Vec<String>> {
    let columns = ["node", "owner", "address", "status", "since"];
    let heading = columns.iter().chain(&["code"]).map(|c| (*c).to_owned());
    // Enough of a measurement to tell two apart.
    let code = |node: &Value| -> String {
        cell(&node["code"]["measurement"])
            .chars()
            .take(12)
            .collect()
    };
    let row = |node: &Value| -> Vec<String> {
        let cells = columns.iter().map(|column| cell(&node[column]));
        cells.chain([code(node)]).collect()
    };
    let listed = nodes.as_array().into_iter().flatten();
    std::iter::once(heading.collect())
        .chain(listed.map(row))
        .collect()
}

/// A value as people write it.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}
