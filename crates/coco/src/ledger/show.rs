//! `coco ledger show`: what the entries are.

use std::path::PathBuf;

use clap::Args;
use ledger::{Entry, chunk, inspect};

use super::opened::{Opener, migration};
use super::{Files, kind, read_sound, wrong};
use crate::failure::Failure;
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The directory with the chunk files, or a node's directory
    directory: PathBuf,
    /// First entry to list
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Most entries to list
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Session keys that were opened: says of each entry what it holds
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Prints one JSON object for each entry
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Show) -> Result<(), Failure> {
    let columns = [
        "entry",
        "term",
        "epoch",
        "time",
        "sealer",
        "kind",
        "transactions",
        "digest",
    ];
    let mut opener = Opener::read(arguments.keys.as_deref())?;
    let mut rows = vec![columns.map(str::to_owned).to_vec()];
    if opener.is_some() {
        rows[0].push("content".to_owned());
    }
    let mut left = arguments.count;
    'files: for path in Files::list(&arguments.directory)?.chunks {
        let reader = chunk::Reader::new(read_sound(&path)?).map_err(|bad| wrong(&path, &bad))?;
        for item in reader {
            let (_, bytes) = item.map_err(|bad| wrong(&path, &bad))?;
            let entry = inspect(&bytes).map_err(|bad| wrong(&path, &bad))?;
            if let Some(opener) = &mut opener {
                opener.learn(&entry);
            }
            if entry.header.index.0 < arguments.from {
                continue;
            }
            if left == 0 {
                break 'files;
            }
            left -= 1;
            if arguments.json {
                let mut record = to_json(&entry);
                if let Some(opener) = &opener {
                    record["private"] = opener.to_json(&entry);
                }
                println!("{record}");
            } else {
                let mut row = to_row(&entry);
                row.extend(opener.as_ref().map(|opener| content(opener, &entry)));
                rows.push(row);
            }
        }
    }
    if !arguments.json {
        print::table(&rows);
    }
    Ok(())
}

fn content(opener: &Opener, entry: &Entry) -> String {
    match opener.open(entry) {
        None => "sealed".to_owned(),
        Some(Ok(opened)) => match migration(opened.header.kind, &opened.private) {
            Some((from, to)) => format!(
                "{} bytes: migration from data format {from} to {to}",
                opened.private.len()
            ),
            None => format!("{} bytes", opened.private.len()),
        },
        Some(Err(bad)) => bad,
    }
}

fn to_row(entry: &Entry) -> Vec<String> {
    let header = &entry.header;
    vec![
        header.index.to_string(),
        header.term.to_string(),
        header.epoch.to_string(),
        header.time.to_string(),
        header.sealer.to_string(),
        kind(header.kind),
        entry.leaves.len().to_string(),
        entry.digest.to_string()[..16].to_owned(),
    ]
}

fn to_json(entry: &Entry) -> serde_json::Value {
    let header = &entry.header;
    serde_json::json!({
        "index": header.index, "term": header.term, "epoch": header.epoch, "time": header.time,
        "sealer": header.sealer, "restarts": header.restarts, "kind": kind(header.kind),
        "transactions": entry.leaves.len(), "digest": entry.digest, "previous": header.previous,
        "public_bytes": entry.public.len(),
    })
}
