//! `coco ledger backup`: copies a node's ledger into an object store, also while the node runs.
//!
//! Closed chunks no longer change, and of an open one the complete entries are taken. What is there
//! already is not sent again. The manifest comes last, so that a backup that was broken off leaves
//! the one before. Chunks are the same on every node: another node's backup may go on with this one's.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use crypto::sha256;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::chunk::{Name, Reader};
use ledger::inspect;
use tokio::task::JoinSet;
use types::{Digest, Index};

use super::store::{FORMAT, Manifest, Store, Stored, complete, runtime};
use super::{Files, name, read_sound, wrong};
use crate::failure::{Code, Failure};
use crate::print;

/// Files that are sent at a time: each is in memory meanwhile.
const IN_FLIGHT: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The directory with the chunk files, or a node's directory
    directory: PathBuf,
    /// Where to: file:///directory, s3://bucket/path, az://container/path or gs://bucket/path; credentials come from the environment
    #[arg(long, value_name = "URL")]
    to: String,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Backup) -> Result<(), Failure> {
    let found = Found::read(&arguments.directory)?;
    let store = Store::open(&arguments.to)?;
    let done = runtime()?.block_on(send(found, &store, arguments.json))?;
    if arguments.json {
        print::json(&serde_json::json!({
            "last": done.last, "files": done.files, "sent_files": done.sent_files,
            "sent_bytes": done.sent_bytes,
        }));
    } else {
        println!("last entry  {}", done.last);
        println!("files       {}", done.files);
        println!(
            "sent        {} files, {} bytes; the others were there",
            done.sent_files, done.sent_bytes
        );
    }
    Ok(())
}

struct Done {
    last: Index,
    files: usize,
    sent_files: usize,
    sent_bytes: u64,
}

/// What there is to back up at one moment.
struct Found {
    closed: Vec<(Name, PathBuf)>,
    /// The complete entries of the open ones.
    open: Vec<(Name, Bytes)>,
    last: Index,
    genesis: Option<Digest>,
}

impl Found {
    fn read(directory: &Path) -> Result<Self, Failure> {
        let mut found = Self {
            closed: Vec::new(),
            open: Vec::new(),
            last: Index::ZERO,
            genesis: None,
        };
        for path in Files::list(directory)?.chunks {
            let chunk = Name::parse(&name(&path)).expect("only chunks are listed");
            if chunk.last.is_none() {
                let bytes = read_sound(&path)?;
                let (whole, last) = complete(chunk, &bytes).map_err(|bad| wrong(&path, &bad))?;
                // A node that just began a file has no entry in it yet.
                let Some(last) = last else { continue };
                found.last = found.last.max(last);
                if chunk.first == Index(1) {
                    found.genesis = genesis(&whole);
                }
                found.open.push((chunk, whole));
            } else {
                found.last = found.last.max(chunk.last.unwrap_or_default());
                if chunk.first == Index(1) {
                    found.genesis = genesis(&read_sound(&path)?);
                }
                found.closed.push((chunk, path));
            }
        }
        if found.last == Index::ZERO {
            return Err(Failure::input("the ledger has no entry yet"));
        }
        Ok(found)
    }
}

/// The digest of the first entry of a chunk.
fn genesis(chunk: &Bytes) -> Option<Digest> {
    let (_, entry) = Reader::new(chunk.clone()).ok()?.next()?.ok()?;
    inspect(&entry).ok().map(|entry| entry.digest)
}

/// Refuses to mix two ledgers, or to go back behind an entry that was saved.
fn compare(found: &Found, former: &Manifest) -> Result<(), Failure> {
    let foreign = |what: String| {
        let text = format!(
            "the backup is of another ledger ({what}); nothing was written: give another place"
        );
        Failure::new(Code::Wrong, text)
    };
    if let (Some(own), Some(theirs)) = (found.genesis, former.genesis)
        && own != theirs
    {
        return Err(foreign("its first entry is another one".to_owned()));
    }
    for file in &former.files {
        let there = Name::parse(&file.name).expect("the manifest was checked");
        let Some(last) = there.last else { continue };
        let clash = found.closed.iter().find(|(own, _)| {
            let overlap = own.first <= last && own.last >= Some(there.first);
            overlap && *own != there
        });
        if let Some((own, _)) = clash {
            return Err(foreign(format!("it has {there}, not {own}")));
        }
    }
    if former.last > found.last {
        return Err(Failure::failed(format!(
            "the backup reaches entry {}, these files only {}; nothing was written: back up from a node that has more",
            former.last, found.last
        )));
    }
    Ok(())
}

async fn send(found: Found, store: &Store, quiet: bool) -> Result<Done, Failure> {
    let former = store.manifest().await?;
    let mut files: BTreeMap<Name, Stored> = BTreeMap::new();
    let mut superseded = Vec::new();
    if let Some(former) = former {
        compare(&found, &former)?;
        let tags: BTreeMap<String, (u64, Option<String>)> = store
            .objects()
            .await?
            .into_iter()
            .filter_map(|object| {
                let file = object.location.filename()?.to_owned();
                Some((file, (object.size, object.e_tag)))
            })
            .collect();
        for file in former.files {
            let name = Name::parse(&file.name).expect("the manifest was checked");
            let there = tags.get(&file.object);
            // A store that says no tag when it lists, or when it writes, is believed the length.
            let same = there.is_some_and(|(bytes, tag)| {
                let tags = tag.as_ref().zip(file.e_tag.as_ref());
                *bytes == file.bytes && tags.is_none_or(|(now, then)| now == then)
            });
            match name.last {
                Some(_) if same => drop(files.insert(name, file)),
                Some(_) => {}
                None => superseded.push((same, file)),
            }
        }
    }
    let mut done = Done {
        last: found.last,
        files: 0,
        sent_files: 0,
        sent_bytes: 0,
    };
    let bar = progress(found.closed.len() as u64, quiet);
    let mut sending: JoinSet<Result<(Name, Stored), Failure>> = JoinSet::new();
    for (chunk, path) in found.closed {
        bar.inc(1);
        if files.contains_key(&chunk) {
            continue;
        }
        while sending.len() >= IN_FLIGHT
            && let Some(sent) = sending.join_next().await
        {
            take(sent, &mut files, &mut done)?;
        }
        let bytes = read_sound(&path)?;
        complete(chunk, &bytes).map_err(|bad| wrong(&path, &bad))?;
        sending.spawn(put(store.clone(), chunk, chunk.to_string(), bytes));
    }
    for (chunk, bytes) in found.open {
        let object = format!("{chunk}-{}", &sha256(&bytes).to_string()[..16]);
        let former = superseded
            .iter()
            .find(|(same, file)| *same && file.object == object);
        if let Some((_, file)) = former {
            files.insert(chunk, file.clone());
        } else {
            sending.spawn(put(store.clone(), chunk, object, bytes));
        }
    }
    while let Some(sent) = sending.join_next().await {
        take(sent, &mut files, &mut done)?;
    }
    bar.finish_and_clear();
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        genesis: found.genesis,
        last: found.last,
        files: files.into_values().collect(),
    };
    store.commit(&manifest).await?;
    for (_, file) in superseded {
        if !manifest.files.iter().any(|kept| kept.object == file.object) {
            store.forget(&file.object).await;
        }
    }
    done.files = manifest.files.len();
    Ok(done)
}

async fn put(
    store: Store,
    chunk: Name,
    object: String,
    bytes: Bytes,
) -> Result<(Name, Stored), Failure> {
    let stored = Stored {
        name: chunk.to_string(),
        bytes: bytes.len() as u64, // usize is at most 64 bits
        sha256: sha256(&bytes),
        e_tag: store.put(&object, bytes).await?,
        object,
    };
    Ok((chunk, stored))
}

fn take(
    sent: Result<Result<(Name, Stored), Failure>, tokio::task::JoinError>,
    files: &mut BTreeMap<Name, Stored>,
    done: &mut Done,
) -> Result<(), Failure> {
    let (chunk, stored) = sent.map_err(|error| Failure::failed(error.to_string()))??;
    done.sent_files += 1;
    done.sent_bytes += stored.bytes;
    files.insert(chunk, stored);
    Ok(())
}

fn progress(files: u64, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files {eta}")
        .expect("the template is constant");
    ProgressBar::new(files).with_style(style)
}
