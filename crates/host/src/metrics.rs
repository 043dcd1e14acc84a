//! What operators see: counters of this host and the manager's last status, on a port of their own.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use boundary::Status;

use crate::storage::{Kept, Space};

/// Upper bounds of the sync time histogram, in microseconds.
const SYNC_BOUNDS_US: [u64; 9] = [
    100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000,
];

/// Largest request that is looked at; only its first line counts.
const REQUEST_BYTES_MAX: usize = 4096;

/// How long an operator's tool may take for each read and write.
const PATIENCE: Duration = Duration::from_secs(2);

/// Counters of one host. Each field counts since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub connections_accepted: AtomicU64,
    pub connections_refused: AtomicU64,
    pub connections_dialled: AtomicU64,
    pub connections_overflowed: AtomicU64,
    /// Open now.
    pub connections: AtomicU64,
    syncs: [AtomicU64; SYNC_BOUNDS_US.len() + 1],
    sync_us: AtomicU64,
    ledger_bytes: AtomicU64,
    ledger_chunks: AtomicU64,
    snapshots: Mutex<Kept>,
    space: OnceLock<Arc<Space>>,
    status: Mutex<Status>,
}

impl Metrics {
    /// One sync of the ledger took this long.
    pub fn synced(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slot = SYNC_BOUNDS_US.partition_point(|bound| *bound < us);
        self.syncs[slot].fetch_add(1, Relaxed);
        self.sync_us.fetch_add(us, Relaxed);
    }

    /// Size of the ledger's files in service, and how many there are.
    pub fn ledger_is(&self, bytes: u64, chunks: u64) {
        self.ledger_bytes.store(bytes, Relaxed);
        self.ledger_chunks.store(chunks, Relaxed);
    }

    /// The complete snapshots.
    pub fn snapshots_are(&self, kept: Kept) {
        *self
            .snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// The disk whose free room is shown.
    pub fn disk_is(&self, space: Arc<Space>) {
        // A host has one disk for its life.
        let _ = self.space.set(space);
    }

    /// Keeps the manager's last status.
    pub fn keep(&self, status: Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn status(&self) -> Status {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The answer to `GET /status`.
    pub fn to_json(&self) -> String {
        let status = self.status();
        let gauges: serde_json::Map<String, serde_json::Value> = status
            .gauges
            .iter()
            .map(|gauge| (gauge.name.clone(), gauge.value.into()))
            .collect();
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        let value = serde_json::json!({
            "phase": status.phase, "node": status.node, "term": status.term,
            "leader": status.leader, "last": status.last, "committed": status.committed,
            "epoch": status.epoch, "connections": status.connections,
            "events": status.events,
            "network": hex(&status.network),
            "network_certificate": hex(&status.network_certificate),
            "gauges": gauges,
        });
        value.to_string()
    }

    /// The answer to `GET /metrics`, in Prometheus' text format.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        let mut line = |kind: &str, name: &str, value: u64| {
            let _ = write!(text, "# TYPE coco_{name} {kind}\ncoco_{name} {value}\n");
        };
        line(
            "counter",
            "host_received_bytes_total",
            self.received_bytes.load(Relaxed),
        );
        line(
            "counter",
            "host_sent_bytes_total",
            self.sent_bytes.load(Relaxed),
        );
        line(
            "counter",
            "host_accepted_total",
            self.connections_accepted.load(Relaxed),
        );
        line(
            "counter",
            "host_refused_total",
            self.connections_refused.load(Relaxed),
        );
        line(
            "counter",
            "host_dialled_total",
            self.connections_dialled.load(Relaxed),
        );
        line(
            "counter",
            "host_overflowed_total",
            self.connections_overflowed.load(Relaxed),
        );
        line("gauge", "host_connections", self.connections.load(Relaxed));
        self.write_disk(&mut line);
        let status = self.status();
        line("gauge", "node", status.node);
        line("gauge", "term", status.term);
        line("gauge", "leader", status.leader);
        line("gauge", "ledger_last", status.last);
        line("gauge", "ledger_committed", status.committed);
        line("gauge", "epoch", status.epoch);
        for gauge in &status.gauges {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let name: String = gauge.name.chars().take(64).map(plain).collect();
            line("gauge", &name, gauge.value);
        }
        self.write_syncs(&mut text);
        text
    }

    fn write_disk(&self, line: &mut impl FnMut(&str, &str, u64)) {
        let ledger_bytes = self.ledger_bytes.load(Relaxed);
        line("gauge", "host_ledger_bytes", ledger_bytes);
        let ledger_chunks = self.ledger_chunks.load(Relaxed);
        line("gauge", "host_ledger_chunks", ledger_chunks);
        let kept = *self
            .snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        line("gauge", "host_snapshots", kept.count);
        line("gauge", "host_snapshot_bytes", kept.bytes);
        // Of the newest one; a clock that went back makes it new.
        if let Some(newest) = kept.newest {
            let age = SystemTime::now().duration_since(newest).unwrap_or_default();
            line("gauge", "host_snapshot_age_seconds", age.as_secs());
        }
        if let Some(space) = self.space.get() {
            if let Ok(free_bytes) = space.free_bytes() {
                line("gauge", "host_disk_free_bytes", free_bytes);
            }
            line("gauge", "host_disk_reserve_bytes", space.reserve_bytes());
        }
    }

    fn write_syncs(&self, text: &mut String) {
        let name = "coco_host_sync_seconds";
        let _ = writeln!(text, "# TYPE {name} histogram");
        let mut count = 0;
        for (slot, syncs) in self.syncs.iter().enumerate() {
            count += syncs.load(Relaxed);
            let _ = match SYNC_BOUNDS_US.get(slot) {
                Some(us) => writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", seconds(*us)),
                None => writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}"),
            };
        }
        let sum = seconds(self.sync_us.load(Relaxed));
        let _ = write!(text, "{name}_sum {sum}\n{name}_count {count}\n");
    }
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Answers requests on `listener`, one after the other, in a thread of its own.
///
/// # Errors
/// If no thread can be started.
pub fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("metrics".into())
        .spawn(move || {
            for client in listener.incoming() {
                match client {
                    // An operator's tool that breaks off is its own affair.
                    Ok(client) => drop(answer(client, &metrics)),
                    // Out of descriptors, most likely: not to be asked again at once.
                    Err(_) => std::thread::sleep(PATIENCE),
                }
            }
        })?;
    Ok(())
}

fn answer(mut client: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let bytes = client.read(&mut part)?;
        if bytes == 0 || request.len() + bytes > REQUEST_BYTES_MAX {
            return Ok(());
        }
        request.extend_from_slice(&part[..bytes]);
    }
    let (status, kind, body) = if request.starts_with(b"GET /status ") {
        ("200 OK", "application/json", metrics.to_json())
    } else if request.starts_with(b"GET /metrics ") {
        (
            "200 OK",
            "text/plain; version=0.0.4",
            metrics.to_prometheus(),
        )
    } else {
        (
            "404 Not Found",
            "text/plain",
            "there are /status and /metrics\n".into(),
        )
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    client.write_all(&[head.as_bytes(), body.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_is_cumulative_and_its_bounds_belong_to_it() {
        let metrics = Metrics::default();
        for us in [100, 101, 2_000_000] {
            metrics.synced(Duration::from_micros(us));
        }
        let text = metrics.to_prometheus();
        for line in [
            "coco_host_sync_seconds_bucket{le=\"0.000100\"} 1",
            "coco_host_sync_seconds_bucket{le=\"0.000300\"} 2",
            "coco_host_sync_seconds_bucket{le=\"1.000000\"} 2",
            "coco_host_sync_seconds_bucket{le=\"+Inf\"} 3",
            "coco_host_sync_seconds_sum 2.000201",
            "coco_host_sync_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
