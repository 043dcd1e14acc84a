//! Old versions of a key, read from the ledger.
//!
//! The state knows when a key was changed last. The event of that change names the one before, and so on:
//! each step back is one batch from the ledger, so memory does not grow with history, and one request may
//! go back a bounded number of steps.

use adapter::{Batch, Context, Kind, Lost, Missing, Reject, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use types::Height;

use crate::command::{Op, Submission};
use crate::front::{LISTING_BYTES_MAX, absent, elsewhere, error, put_value, value};
use crate::state::{self, Change, Record};

/// Most batches that one request reads, at about a millisecond each.
const BATCHES_MAX: usize = 1_000;

/// A question about the past of a key.
pub(crate) struct Past {
    key: Bytes,
    what: What,
    /// Where the walk stands: the next batch to read, 0 behind the first version.
    next: Option<Height>,
    read: usize,
}

enum What {
    At(Height),
    Versions {
        limit: usize,
        found: Vec<Value>,
        bytes: usize,
    },
}

/// What a batch made of a key; `None` if it deleted it.
type Version = (Change, types::ActorId, Option<Bytes>);

impl Past {
    /// The value at a height.
    pub(crate) fn at(key: Bytes, height: Height) -> Self {
        Self {
            key,
            what: What::At(height),
            next: None,
            read: 0,
        }
    }

    /// Versions from the batch of height `from` back, by default from the latest.
    pub(crate) fn versions(key: Bytes, from: Option<Height>, limit: usize) -> Self {
        Self {
            key,
            what: What::Versions {
                limit,
                found: Vec::new(),
                bytes: 0,
            },
            next: from,
            read: 0,
        }
    }

    /// Goes on. `None`: a batch is being fetched.
    pub(crate) fn poll(&mut self, context: &mut dyn Context) -> Result<Option<Response>, Lost> {
        let head = context.view().height();
        if self.next.is_none() {
            let record = state::record(context.view(), &self.key)?;
            let last = state::last_change(context.view(), &self.key, record.as_ref())?;
            if let (What::At(height), Some(record)) = (&self.what, record)
                && (last..=head).contains(height)
            {
                return Ok(Some(value(record, *height)));
            }
            self.next = Some(last);
        }
        if let What::At(height) = self.what
            && height > head
        {
            let message = format!("height {height} is not committed here yet: the last is {head}");
            return Ok(Some(error(404, &Reject::new(Kind::Later, message))));
        }
        while let Some(height) = self.next.filter(|height| *height != Height::ZERO) {
            if self.read == BATCHES_MAX {
                return Ok(Some(self.too_far(height)));
            }
            let batch = match context.batch(height) {
                Ok(batch) => batch,
                Err(Missing::NotYet) => return Ok(None),
                Err(Missing::Elsewhere) => return Ok(Some(elsewhere())),
            };
            let versions = batch.map_or_else(Vec::new, |batch| versions(&batch, &self.key));
            let Some((first, ..)) = versions.first() else {
                return Ok(Some(absent(
                    "the batch of that height did not change the key",
                )));
            };
            self.read += 1;
            // Only older ones: a walk ends whatever the bytes say.
            self.next = Some(first.previous).filter(|previous| *previous < height);
            if let Some(answer) = self.take(height, versions) {
                return Ok(Some(answer));
            }
        }
        Ok(Some(match &mut self.what {
            What::At(_) => absent("the key did not exist then"),
            What::Versions { found, .. } if found.is_empty() => absent("the key never existed"),
            What::Versions { found, .. } => listing(&self.key, core::mem::take(found), None),
        }))
    }

    /// Takes what a batch made of the key, first to last; an answer if that was enough.
    fn take(&mut self, height: Height, versions: Vec<Version>) -> Option<Response> {
        match &mut self.what {
            What::At(at) if height > *at => None,
            What::At(at) => {
                let (change, writer, value) = versions.into_iter().next_back()?;
                Some(match value {
                    None => absent("the key did not exist then"),
                    Some(bytes) => {
                        let record = Record {
                            version: change.version,
                            writer,
                            height,
                            value: bytes,
                        };
                        self::value(record, *at)
                    }
                })
            }
            What::Versions {
                limit,
                found,
                bytes,
            } => {
                // Those of one batch stay together, so that a page begins with a batch.
                for (change, writer, value) in versions.into_iter().rev() {
                    let mut entry = json!({
                        "height": height,
                        "version": hex::encode(change.version.0),
                        "written_by": writer,
                    });
                    match value {
                        None => entry["deleted"] = true.into(),
                        Some(value) => {
                            *bytes += value.len();
                            put_value(&mut entry, &value);
                        }
                    }
                    found.push(entry);
                }
                if found.len() < *limit && *bytes < LISTING_BYTES_MAX {
                    return None;
                }
                let next = self.next.filter(|height| *height != Height::ZERO);
                Some(listing(&self.key, core::mem::take(found), next))
            }
        }
    }

    fn too_far(&mut self, next: Height) -> Response {
        match &mut self.what {
            What::At(height) => {
                let message = format!(
                    "the key was changed in more than {BATCHES_MAX} batches since height {height}: go on with /history/<key>?from={next}"
                );
                error(400, &Reject::new(Kind::Malformed, message))
            }
            What::Versions { found, .. } => listing(&self.key, core::mem::take(found), Some(next)),
        }
    }
}

fn listing(key: &Bytes, versions: Vec<Value>, next: Option<Height>) -> Response {
    let mut answer = json!({ "key": String::from_utf8_lossy(key), "versions": versions });
    if let Some(next) = next {
        answer["next"] = json!(next);
    }
    Response::json(200, answer.to_string())
}

/// What a batch made of a key, first to last.
fn versions(batch: &Batch, key: &Bytes) -> Vec<Version> {
    let events = batch.events.iter().filter(|event| event.topic == key);
    let changes: Vec<Change> = events
        .filter_map(|event| Change::decode(&event.data).ok())
        .collect();
    let mut ahead = changes.into_iter().peekable();
    let mut versions = Vec::new();
    for (unit, receipt) in &batch.units {
        let Some(change) = ahead.peek() else { break };
        if change.version != crate::command::Version::from(unit.id) {
            continue;
        }
        let Ok(submission) = Submission::decode(&unit.raw) else {
            continue;
        };
        for (command, existed) in submission.commands.iter().zip(receipt) {
            let value = match &command.op {
                _ if command.key != key => continue,
                Op::Put(value) => Some(value.clone()),
                Op::Delete if *existed != 0 => None,
                Op::Delete => continue,
            };
            let Some(change) = ahead.next() else { break };
            versions.push((change, unit.caller, value));
        }
    }
    versions
}
