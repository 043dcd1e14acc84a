//! `coco ledger export`: what stands in the ledger without keys, as lines of JSON.
//!
//! A line for each entry (`"record": "entry"`) and, behind it, one for each of its transactions
//! (`"record": "transaction"`) with its Merkle leaf and the leaf's number in the tree. Nothing is judged here.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;
use governance::{PublicFact, facts_from_public};
use ledger::snapshot::Statement;
use ledger::{Entry, Kind, chunk, inspect};
use serde_json::{Value, json};
use types::Index;

use super::opened::Opener;
use super::{Files, kind, read_sound, wrong};
use crate::failure::{Code, Doing, Failure};

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The directory with the chunk files, or a node's directory
    directory: PathBuf,
    /// First entry
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Last entry; without it, all that are there
    #[arg(long)]
    to: Option<u64>,
    /// Session keys that were opened: entries come with their contents
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Writes into this file, which must not exist, and not to the standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Export) -> Result<(), Failure> {
    let out: Box<dyn Write> = match &arguments.output {
        Some(path) => {
            let doing = || format!("make {}", path.display());
            Box::new(std::fs::File::create_new(path).doing(doing)?)
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let ended = lines(arguments, &mut out);
    match out.flush() {
        // Whoever read has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        flushed => {
            flushed.doing(|| "write the lines".to_owned())?;
            ended
        }
    }
}

fn lines(arguments: &Export, out: &mut impl Write) -> Result<(), Failure> {
    // The number of the next leaf, while all entries before were seen.
    let mut leaves = None;
    let mut next = Index(1);
    let mut opener = Opener::read(arguments.keys.as_deref())?;
    for path in Files::list(&arguments.directory)?.chunks {
        let bytes = read_sound(&path)?;
        let reader = chunk::Reader::new(bytes).map_err(|bad| torn_or_wrong(&path, &bad))?;
        for item in reader {
            let (_, bytes) = item.map_err(|bad| torn_or_wrong(&path, &bad))?;
            let entry = inspect(&bytes).map_err(|bad| wrong(&path, &bad))?;
            let index = entry.header.index;
            if let Some(opener) = &mut opener {
                opener.learn(&entry);
            }
            if index == Index(1) {
                leaves = Some(0);
            } else if index != next {
                leaves = None;
            }
            next = index.next();
            let first = leaves;
            leaves = leaves.map(|before: u64| before + entry.leaves.len() as u64); // at most BATCH_UNITS_MAX
            if index.0 < arguments.from {
                continue;
            }
            if arguments.to.is_some_and(|to| index.0 > to) {
                return Ok(());
            }
            match write(&entry, first, opener.as_ref(), out) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.doing(|| "write the lines".to_owned())?,
            }
        }
    }
    Ok(())
}

fn torn_or_wrong(path: &std::path::Path, bad: &chunk::BadChunk) -> Failure {
    let failure = wrong(path, bad);
    match bad.reason {
        chunk::Reason::IncompleteTail => Failure::new(Code::Incomplete, failure.text),
        _ => failure,
    }
}

fn write(
    entry: &Entry,
    first_leaf: Option<u64>,
    opener: Option<&Opener>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let header = &entry.header;
    let mut record = json!({
        "record": "entry", "index": header.index, "kind": kind(header.kind), "term": header.term,
        "epoch": header.epoch, "time": header.time, "sealer": header.sealer,
        "restarts": header.restarts, "transactions": entry.leaves.len(),
        "digest": entry.digest, "previous": header.previous, "public": said(entry),
    });
    if let Some(opener) = opener {
        record["private"] = opener.to_json(entry);
    }
    writeln!(out, "{record}")?;
    for (position, leaf) in (0_u64..).zip(entry.leaves.iter()) {
        let number = first_leaf.map(|first| first + position);
        let record = json!({
            "record": "transaction", "index": header.index, "position": position,
            "number": number, "leaf": leaf,
        });
        writeln!(out, "{record}")?;
    }
    Ok(())
}

/// What the public part says, as far as this command reads it.
fn said(entry: &Entry) -> Value {
    match entry.header.kind {
        Kind::Genesis | Kind::Administrative => match facts_from_public(&entry.public) {
            Ok(facts) => facts.iter().map(fact).collect(),
            Err(bad) => json!({"unreadable": bad.to_string()}),
        },
        Kind::SnapshotDigest => match Statement::from_cbor(&entry.public, entry.header.index) {
            Ok(statement) => json!({"snapshot": statement.index, "digest": statement.digest}),
            Err(bad) => json!({"unreadable": bad.to_string()}),
        },
        _ => json!({"bytes": entry.public.len()}),
    }
}

fn fact(fact: &PublicFact) -> Value {
    match fact {
        PublicFact::NetworkCertificate(certificate) => {
            json!({"network_certificate": hex::encode(certificate.der())})
        }
        PublicFact::Constitution { digest, .. } => json!({"constitution": digest}),
        PublicFact::Node {
            id,
            owner,
            address,
            key,
            replaces,
        } => json!({
            "node": id, "owner": owner, "address": address, "replaces": replaces,
            "key": hex::encode(key.as_sec1()),
        }),
        PublicFact::NodeLeft { id, departure } => {
            json!({"left": id, "departure": format!("{departure:?}").to_lowercase()})
        }
        PublicFact::Configuration(configuration) => json!({
            "voters": configuration.voters, "incoming": configuration.incoming,
            "learners": configuration.learners,
        }),
        PublicFact::Epoch(epoch) => json!({"epoch": epoch}),
        PublicFact::Restarted(restarts) => json!({"restarts": restarts}),
    }
}
