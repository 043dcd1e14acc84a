//! `coco ledger restore`: brings a backup back as the files of a node.
//!
//! Every file is compared with the manifest and its framing is read before anything appears under the
//! directory's name. Whether the ledger is right is `coco ledger verify`'s question, and whether it is
//! the network's ledger is asked by the node that starts with it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use crypto::sha256;
use ledger::chunk::Name;

use super::store::{Store, Stored, complete, runtime};
use crate::failure::{Code, Doing, Failure};

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Where the backup is: file:///directory, s3://bucket/path, az://container/path or gs://bucket/path
    #[arg(long, value_name = "URL")]
    from: String,
    /// The directory that the chunk files are written into; it must be empty or not exist
    directory: PathBuf,
}

pub(super) fn run(arguments: &Restore) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let doing = || format!("look at {}", directory.display());
    if directory.exists() && fs::read_dir(directory).doing(doing)?.next().is_some() {
        return Err(Failure::input(format!(
            "{} is not empty; nothing was written: give an empty directory",
            directory.display()
        )));
    }
    let store = Store::open(&arguments.from)?;
    let absolute = std::path::absolute(directory).doing(doing)?;
    let parent = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    fs::create_dir_all(&parent).doing(|| format!("make the directory {}", parent.display()))?;
    // Vanishes with whatever goes wrong.
    let part = tempfile::Builder::new()
        .prefix(".coco-restore-")
        .tempdir_in(&parent)
        .doing(|| format!("make a directory in {}", parent.display()))?;
    let (files, last) = runtime()?.block_on(fetch(&store, part.path()))?;
    if directory.exists() {
        fs::remove_dir(directory).doing(|| format!("replace {}", directory.display()))?;
    }
    let made = part.keep();
    fs::rename(&made, &absolute)
        .doing(|| format!("rename {} to {}", made.display(), absolute.display()))?;
    File::open(&parent)
        .and_then(|parent| parent.sync_all())
        .doing(|| format!("sync {}", parent.display()))?;
    println!("restored {files} files up to entry {last}");
    println!(
        "check them: coco ledger verify {} --constitution FILE",
        directory.display()
    );
    Ok(())
}

async fn fetch(store: &Store, directory: &Path) -> Result<(usize, types::Index), Failure> {
    let manifest = store
        .manifest()
        .await?
        .ok_or_else(|| Failure::input("there is no backup (no manifest.json)"))?;
    for file in &manifest.files {
        let bytes = store.get(&file.object, file.bytes).await?;
        let wrong = |what: &str| {
            let text = format!(
                "{} in the backup: {what}; nothing was restored",
                file.object
            );
            Failure::new(Code::Wrong, text)
        };
        check(file, &bytes).map_err(|what| wrong(&what))?;
        let path = directory.join(&file.name);
        let write = || -> std::io::Result<()> {
            let mut out = File::create_new(&path)?;
            out.write_all(&bytes)?;
            out.sync_all()
        };
        write().doing(|| format!("write {}", path.display()))?;
    }
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .doing(|| format!("sync {}", directory.display()))?;
    Ok((manifest.files.len(), manifest.last))
}

fn check(file: &Stored, bytes: &bytes::Bytes) -> Result<(), String> {
    if bytes.len() as u64 != file.bytes || sha256(bytes) != file.sha256 {
        return Err("it is not what was saved".to_owned());
    }
    let name = Name::parse(&file.name).ok_or("its name is not that of a chunk")?;
    let (whole, last) = complete(name, bytes)?;
    if last.is_none() || whole.len() != bytes.len() {
        return Err("it ends in the middle of an entry".to_owned());
    }
    Ok(())
}
