//! The trace: what a person reads, and what two runs of one seed are compared by.

use super::{Event, World};
use crate::network::START;

/// The lines of a run.
pub struct Told {
    hasher: Option<crypto::Hasher>,
    lines: Vec<String>,
    keep: bool,
}

impl Told {
    pub fn new(keep: bool) -> Self {
        Self {
            hasher: Some(crypto::Hasher::new()),
            lines: Vec::new(),
            keep,
        }
    }

    /// Whether every event is told, and not only what is worth it.
    pub fn each_event(&self) -> bool {
        self.keep
    }

    #[cfg(test)]
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.iter()
    }

    /// Digest of what was told, and the lines if they were kept.
    pub fn finish(&mut self) -> (String, Vec<String>) {
        let digest = self
            .hasher
            .replace(crypto::Hasher::new())
            .expect("put back whenever it is taken")
            .finish();
        (digest.to_string(), std::mem::take(&mut self.lines))
    }
}

impl World {
    /// A line that is the same whenever the seed is.
    pub(super) fn line(&mut self, text: impl Fn() -> String) {
        let line = format!("{:>9} {}", self.now.since(START), text());
        if let Some(hasher) = self.told.hasher.take() {
            self.told.hasher = Some(hasher.part(line.as_bytes()));
        }
        if self.told.keep {
            self.told.lines.push(line);
        }
    }

    pub(super) fn fault(&mut self, kind: &'static str, detail: &str) {
        *self.report.faults.entry(kind).or_default() += 1;
        self.line(|| format!("fault: {kind} {detail}"));
    }

    /// One line for what happens next. Ticks are left out: they come forty times a second.
    pub(super) fn tell_event(&mut self, event: &Event) {
        let text = match event {
            Event::Tick { .. } | Event::Fault | Event::Heal { .. } | Event::Start { .. } => return,
            Event::Bytes {
                wire, to_dialler, ..
            } => format!("wire {wire}: bytes {}", end(*to_dialler)),
            Event::Closed { wire, to_dialler } => {
                format!("wire {wire}: closed {}", end(*to_dialler))
            }
            Event::ToManager { place, message, .. } => {
                format!("node {place} is told {}", name(message))
            }
            Event::Synced {
                place, sequence, ..
            } => format!("node {place} has append {sequence} on disk"),
            Event::Client { id, .. } => format!("client {id} has a turn"),
            Event::Oracle { wire } => format!("wire {wire}: the oracle answers"),
        };
        let line = format!("{:>9}   {text}", self.now.since(START));
        self.told.lines.push(line);
    }
}

fn end(to_dialler: bool) -> &'static str {
    if to_dialler {
        "for who dialled"
    } else {
        "for who was dialled"
    }
}

fn name(message: &boundary::host_to_manager::Message) -> &'static str {
    use boundary::host_to_manager::Message as M;
    match message {
        M::Start(_) => "to start",
        M::Opened(_) => "of a connection",
        M::Received(_) => "bytes",
        M::Closed(_) => "that a connection closed",
        M::DialFailed(_) => "that nobody answered",
        M::Persisted(_) => "what is on disk",
        M::Entries(_) => "entries",
        M::TupleSigned(_) => "its signed tuple",
        M::ShareGiven(_) => "its owner's share-transport key",
        M::Tick(_) => "the time",
        M::StorageFailed(_) => "that storage failed",
        M::Stop(_) => "to stop",
        M::SnapshotStored(_) => "that a snapshot's chunk is stored",
        M::SnapshotRead(_) => "a snapshot's chunk",
    }
}

/// Digests differ from run to run, since signatures do; what they name is the same.
pub fn unnamed(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            "#"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
