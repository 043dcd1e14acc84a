//! Where backups lie: a place in an object store, and the manifest that says what belongs together.
//!
//! Objects never change under a name: a closed chunk has the name that it has on every node, and what
//! there is of an open one is named by its digest. So the manifest, written last, always describes
//! objects that are complete, whenever a backup ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ledger::chunk::{Name, Reader, Reason};
use ledger::{Header, chunk};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use serde::{Deserialize, Serialize};
use types::{Digest, Index};

use super::CHUNK_BYTES_MAX;
use crate::failure::{Code, Doing, Failure};

/// First field of a manifest.
pub(super) const FORMAT: &str = "coco-ledger-backup/1";

/// Largest manifest that is read: two hundred thousand files of 8 MiB.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// How long a request that fails is tried again.
const RETRY_S: u64 = 30;

/// What belongs to a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: String,
    /// Digest of the first entry, if the files begin with it: two ledgers are one if it is the same.
    pub(super) genesis: Option<Digest>,
    /// The last entry.
    pub(super) last: Index,
    /// In the order of their entries.
    pub(super) files: Vec<Stored>,
}

/// A chunk file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The file's name on a node.
    pub(super) name: String,
    /// The object's name below `ledger/`.
    pub(super) object: String,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    /// What the store said of the object when it was written.
    pub(super) e_tag: Option<String>,
}

impl Manifest {
    /// Refuses what no backup would have written: names lead nowhere but below `ledger/`.
    fn check(&self) -> Result<(), &'static str> {
        if self.format != FORMAT {
            return Err("its format is another one");
        }
        let mut next = Index(1);
        for file in &self.files {
            let name = Name::parse(&file.name).ok_or("a file's name is not that of a chunk")?;
            if name.first < next {
                return Err("its files overlap");
            }
            next = name.last.unwrap_or(name.first).next();
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if !file.object.starts_with(&file.name) || !file.object.bytes().all(plain) {
                return Err("an object's name is not that of its file");
            }
            if file.bytes > CHUNK_BYTES_MAX {
                return Err("a file is larger than any chunk");
            }
        }
        Ok(())
    }
}

/// A place in an object store.
#[derive(Debug, Clone)]
pub(super) struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
}

impl Store {
    /// Opens `file:///directory`, `s3://bucket/path`, `az://container/path` or `gs://bucket/path`.
    /// Credentials and endpoints come from the environment, as with the providers' own tools.
    pub(super) fn open(url: &str) -> Result<Self, Failure> {
        let unknown = || {
            Failure::input(format!(
                "{url:?} is no place for a backup: give file:///directory, s3://bucket/path, az://container/path or gs://bucket/path"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if (scheme == "file") != host.is_empty() {
            return Err(unknown());
        }
        let bucket = format!("{scheme}://{host}");
        let retry = RetryConfig {
            retry_timeout: Duration::from_secs(RETRY_S),
            max_retries: 6,
            ..RetryConfig::default()
        };
        let broken = |error: object_store::Error| Failure::input(format!("open {url}: {error}"));
        let mut prefix = Path::parse(path.trim_end_matches('/')).map_err(|_| unknown())?;
        let inner: Arc<dyn ObjectStore> = match scheme {
            "file" => {
                let directory = PathBuf::from(format!("/{path}"));
                std::fs::create_dir_all(&directory)
                    .doing(|| format!("make the directory {}", directory.display()))?;
                prefix = Path::default();
                let store = LocalFileSystem::new_with_prefix(&directory).map_err(broken)?;
                Arc::new(store.with_fsync(true))
            }
            "s3" => Arc::new(
                AmazonS3Builder::from_env()
                    .with_url(bucket)
                    .with_retry(retry)
                    .build()
                    .map_err(broken)?,
            ),
            "az" => Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_url(bucket)
                    .with_retry(retry)
                    .build()
                    .map_err(broken)?,
            ),
            "gs" => Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_url(bucket)
                    .with_retry(retry)
                    .build()
                    .map_err(broken)?,
            ),
            _ => return Err(unknown()),
        };
        Ok(Self {
            inner,
            prefix,
            url: url.to_owned(),
        })
    }

    fn manifest_path(&self) -> Path {
        self.prefix.clone().join("manifest.json")
    }

    fn object_path(&self, object: &str) -> Path {
        self.prefix.clone().join("ledger").join(object)
    }

    fn failed(&self, doing: &str, what: &str, error: &object_store::Error) -> Failure {
        Failure::failed(format!("{doing} {what} at {}: {error}", self.url))
    }

    /// The manifest, if there is a backup.
    pub(super) async fn manifest(&self) -> Result<Option<Manifest>, Failure> {
        let failed = |error| self.failed("read", "manifest.json", &error);
        let found = match self.inner.get(&self.manifest_path()).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let bad = |why: &str| {
            let text = format!(
                "manifest.json at {} is no manifest of a backup: {why}",
                self.url
            );
            Failure::new(Code::Wrong, text)
        };
        if found.meta.size > MANIFEST_BYTES_MAX {
            return Err(bad("it is too large"));
        }
        let bytes = found.bytes().await.map_err(failed)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        manifest.check().map_err(bad)?;
        Ok(Some(manifest))
    }

    /// Writes the manifest.
    pub(super) async fn commit(&self, manifest: &Manifest) -> Result<(), Failure> {
        let json = serde_json::to_vec_pretty(manifest).expect("our own types have a form in JSON");
        self.inner
            .put(&self.manifest_path(), json.into())
            .await
            .map(drop)
            .map_err(|error| self.failed("write", "manifest.json", &error))
    }

    /// The objects that are there.
    pub(super) async fn objects(&self) -> Result<Vec<ObjectMeta>, Failure> {
        let below = self.prefix.clone().join("ledger");
        let listed = self.inner.list_with_delimiter(Some(&below)).await;
        match listed {
            Ok(listed) => Ok(listed.objects),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(self.failed("list", "ledger/", &error)),
        }
    }

    /// Writes an object, and gives its tag.
    pub(super) async fn put(&self, object: &str, bytes: Bytes) -> Result<Option<String>, Failure> {
        let path = self.object_path(object);
        let put = self.inner.put(&path, bytes.into()).await;
        put.map(|put| put.e_tag)
            .map_err(|error| self.failed("write", object, &error))
    }

    /// Reads an object of at most `bytes_max`.
    pub(super) async fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes, Failure> {
        let failed = |error| self.failed("read", object, &error);
        let found = self.inner.get(&self.object_path(object)).await;
        let found = found.map_err(failed)?;
        if found.meta.size > bytes_max {
            let text = format!("{object} at {} is larger than it was", self.url);
            return Err(Failure::new(Code::Wrong, text));
        }
        found.bytes().await.map_err(failed)
    }

    /// Removes an object that no manifest names any more; that it stays is no failure.
    pub(super) async fn forget(&self, object: &str) {
        let _ = self.inner.delete(&self.object_path(object)).await;
    }
}

/// The complete entries at the beginning of a chunk file, and the index of the last one.
pub(super) fn complete(name: Name, bytes: &Bytes) -> Result<(Bytes, Option<Index>), String> {
    let mut end = 0;
    let mut last = None;
    let reader = match Reader::new(bytes.clone()) {
        Ok(reader) => reader,
        Err(bad) if bad.reason == Reason::IncompleteTail && name.last.is_none() => {
            return Ok((Bytes::new(), None));
        }
        Err(bad) => return Err(bad.to_string()),
    };
    if reader.first() != name.first {
        return Err("its name is not that of a chunk with these entries".to_owned());
    }
    let mut next = name.first;
    for item in reader {
        match item {
            Ok((offset, entry)) => {
                let header = Header::peek(&entry);
                if header.is_none_or(|header| header.index != next) {
                    return Err(format!("at byte {offset}: entry {next} belongs here"));
                }
                last = Some(next);
                next = next.next();
                end = offset as usize + 4 + entry.len(); // an offset into `bytes`
            }
            Err(bad) if bad.reason == Reason::IncompleteTail && name.last.is_none() => break,
            Err(bad) => return Err(bad.to_string()),
        }
    }
    if name.last.is_some() && name.last != last {
        return Err("its name is not that of a chunk with these entries".to_owned());
    }
    debug_assert!(
        end == 0 || end >= chunk::BEGIN_BYTES,
        "entries follow the beginning"
    );
    Ok((bytes.slice(..end), last))
}

/// One thread is enough for whoever waits for a network.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing(|| "start the runtime".to_owned())
}
