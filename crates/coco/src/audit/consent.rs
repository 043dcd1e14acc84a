//! `coco audit consent`: an actor lets its nodes answer the auditor of a grant.
//!
//! What is signed names the terms that the node told, which the command prints first; a node that told
//! others than the ledger has is refused by the network.

use clap::Args;
use client::Admin;
use crypto::Context;
use governance::AuditConsent;
use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::governing::{Common, digest};
use crate::status::cell;

#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Number of the grant
    #[arg(long, value_name = "NUMBER", required_unless_present = "send")]
    grant: Option<u64>,
    /// Digest of the grant's terms, to sign without a connection; `coco audit consent` prints it with one
    #[arg(long, value_name = "HEX", requires = "network_id")]
    terms: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Consent) -> Result<(), Failure> {
    let common = &arguments.common;
    common.run("/v1/consents", |signer, admin| {
        let number = arguments.grant.expect("required without --send");
        let terms = match (&arguments.terms, admin.as_mut()) {
            (Some(terms), _) => terms.clone(),
            (None, Some(admin)) => told(admin, number)?,
            (None, None) => {
                return Err(Failure::input(
                    "--terms is missing: without a connection the grant cannot be asked for",
                ));
            }
        };
        let terms = digest(&terms)
            .ok_or_else(|| Failure::input(format!("{terms:?} is no digest of terms")))?;
        let consent = AuditConsent {
            network: common.network(admin)?,
            grant: number,
            terms,
            actor: common.actor(signer),
            window: common.window(),
        };
        Ok((Context::AuditConsent, consent.to_cbor()))
    })
}

/// The digest of the grant's terms, which are shown.
fn told(admin: &mut Admin, number: u64) -> Result<String, Failure> {
    let audits = admin.json("/v1/audits")?;
    let none = Value::Array(Vec::new());
    let mut grants = audits["audits"]
        .as_array()
        .or(none.as_array())
        .into_iter()
        .flatten();
    let grant = grants
        .find(|grant| grant["grant"] == number)
        .ok_or_else(|| Failure::new(Code::Refused, format!("no audit grant {number} is open")))?;
    for key in ["auditor", "key", "from", "to", "expires", "terms"] {
        eprintln!("{key:9} {}", cell(&grant[key]));
    }
    Ok(cell(&grant["terms"]))
}
