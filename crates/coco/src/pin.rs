//! `coco network pin`: obtains the certificate that clients pin, by attestation.
//!
//! Whoever has the constitution needs nobody's word for the network's certificate: a node that
//! proves to run endorsed code under this constitution presents it.

use std::path::PathBuf;

use clap::Args;
use client::{Admin, Identity, Trust, certificate_to_pem};

use crate::failure::Failure;
use crate::keys::write_public;
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The constitution that the network started with
    #[arg(long, value_name = "FILE")]
    constitution: PathBuf,
    /// An actor's identity
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// A node's administrative address; give several to fail over
    #[arg(long = "vn", value_name = "HOST:PORT", required = true, num_args = 1..)]
    nodes: Vec<String>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "network.pem")]
    out: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Pin) -> Result<(), Failure> {
    let constitution = crate::network::read(&arguments.constitution)?;
    let identity = Identity::read(&arguments.identity)?;
    let mut admin = Admin::open(
        &identity,
        Trust::under(constitution),
        arguments.nodes.clone(),
    )?;
    let connection = admin.http().connection();
    let node = connection.expect("an open session has a connection").node();
    write_public(
        &arguments.out,
        &certificate_to_pem(node.network_certificate()),
    )?;
    let network = node.network().to_string();
    let fingerprint = node.network_certificate().fingerprint().to_string();
    let measurement = node
        .attested()
        .map(|a| hex::encode(&a.claims().measurement))
        .unwrap_or_default();
    if arguments.json {
        print::json(&serde_json::json!({
            "network": network, "certificate_sha256": fingerprint,
            "manager_measurement": measurement, "file": arguments.out,
        }));
    } else {
        println!("network      {network}");
        println!(
            "certificate  SHA-256 {fingerprint}, written to {}",
            arguments.out.display()
        );
        println!("proven by    a manager with the measurement {measurement}");
    }
    Ok(())
}
