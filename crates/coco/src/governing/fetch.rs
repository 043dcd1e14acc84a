//! `coco constitution fetch`: the constitution in force, from a node that the pinned certificate proves.
//!
//! With `--proposal` it is what an open proposal would make of it. So the owner of a node that members
//! are about to vote in can read, compare and approve the constitution that will list it.

use std::path::PathBuf;

use clap::Args;
use governance::{Change, Constitution};
use serde_json::Value;

use super::session::Session;
use crate::failure::Failure;
use crate::keys::write_public;
use crate::print;
use crate::status::cell;

/// The file beside `constitution.cbor` that names the network.
pub(super) const NETWORK_FILE: &str = "network-id";

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    session: Session,
    /// As this open proposal would make it
    #[arg(long, value_name = "NUMBER")]
    proposal: Option<u64>,
    /// Directory for constitution.cbor, constitution.toml, summary.txt and network-id
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Fetch) -> Result<(), Failure> {
    let mut admin = arguments.session.open()?;
    let network = cell(&admin.network()?["id"]);
    let answer = admin.constitution()?;
    let address = admin.address();
    let told = |what: &str| Failure::failed(format!("{address} {what}"));
    let version = answer["version"].as_u64().unwrap_or(0);
    let bytes = answer["cbor"]
        .as_str()
        .and_then(|text| hex::decode(text).ok())
        .ok_or_else(|| told("gives no constitution: it is still joining, or of another version"))?;
    let mut constitution =
        Constitution::from_cbor(&bytes).map_err(|bad| told(&format!("gives none: {bad}")))?;
    if constitution.digest().to_string() != cell(&answer["digest"]) {
        return Err(told(
            "names another digest than that of the constitution it gives",
        ));
    }
    let in_force = constitution.digest();
    if let Some(number) = arguments.proposal {
        let proposal = admin.json(&format!("/v1/proposals/{number}"))?;
        constitution = amended(&constitution, number, &proposal)?;
    }
    if let Some(out) = &arguments.out {
        crate::network::write(&constitution, out)?;
        write_public(&out.join(NETWORK_FILE), &format!("{network}\n"))?;
    }
    if arguments.json {
        print::json(&serde_json::json!({
            "version": version, "digest": constitution.digest(), "in_force": in_force,
            "network": network, "directory": arguments.out,
        }));
        return Ok(());
    }
    print!("{}", constitution.summary());
    println!("\nnetwork  {network}");
    println!("digest   {}", constitution.digest());
    match arguments.proposal {
        None => println!("in force as version {version}"),
        Some(number) => println!("if proposal {number} is accepted; {in_force} is in force"),
    }
    if let Some(out) = &arguments.out {
        println!("written to {}; to approve it for a node:", out.display());
        println!(
            "  coco constitution approve {} --config FILE",
            out.display()
        );
    }
    Ok(())
}

fn amended(
    constitution: &Constitution,
    number: u64,
    proposal: &Value,
) -> Result<Constitution, Failure> {
    let changes: Vec<Change> = serde_json::from_value(proposal["changes"].clone())
        .map_err(|error| Failure::failed(format!("read proposal {number}: {error}")))?;
    constitution
        .amended(&changes)
        .map_err(|bad| Failure::input(format!("proposal {number} cannot be made now: {bad}")))
}
