//! Resident memory of every node while something else is measured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::figures::Range;
use crate::measure::Endpoint;
use crate::processes;

/// What each node's processes hold together, from time to time.
pub(crate) struct Memory {
    samples: Arc<Mutex<Vec<Sample>>>,
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

/// Resident bytes by node at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    at: Instant,
    resident: BTreeMap<String, u64>,
}

/// All samples, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Sample>);

impl Memory {
    pub(crate) fn watch(endpoints: &[Endpoint], every: Duration) -> Self {
        let roots: Vec<(String, u32)> = endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint.name.clone(), endpoint.process?)))
            .collect();
        let samples = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (theirs, stop) = (samples.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let sample = sample(&roots);
                theirs
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(sample);
                std::thread::park_timeout(every);
            }
        });
        Self {
            samples,
            over,
            thread,
        }
    }

    pub(crate) fn end(self) -> Samples {
        self.over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It has nothing to give back.
        let _ = self.thread.join();
        Samples(std::mem::take(
            &mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

fn sample(roots: &[(String, u32)]) -> Sample {
    let processes = processes::snapshot(roots.iter().map(|(name, pid)| (name.as_str(), *pid)));
    let mut resident: BTreeMap<String, u64> = BTreeMap::new();
    for process in processes.values() {
        *resident.entry(process.owner.clone()).or_default() += process.resident_bytes;
    }
    resident.remove(processes::CLIENT);
    Sample {
        at: Instant::now(),
        resident,
    }
}

impl Samples {
    /// Of each node, between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> BTreeMap<String, Range> {
        let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let within = |sample: &&Sample| sample.at >= from && sample.at <= to;
        for sample in self.0.iter().filter(within) {
            for (name, bytes) in &sample.resident {
                // Far below 2^53.
                found.entry(name.clone()).or_default().push(*bytes as f64);
            }
        }
        found
            .into_iter()
            .map(|(name, values)| (name, Range::of(values)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_samples_between_the_moments_count() {
        let start = Instant::now();
        let sample = |s, bytes| Sample {
            at: start + Duration::from_secs(s),
            resident: BTreeMap::from([("ada".to_owned(), bytes)]),
        };
        let samples = Samples(vec![
            sample(0, 9),
            sample(5, 1),
            sample(6, 2),
            sample(7, 3),
            sample(9, 9),
        ]);
        let found = samples.between(
            start + Duration::from_secs(5),
            start + Duration::from_secs(7),
        );
        assert_eq!(
            (found["ada"].min, found["ada"].median, found["ada"].max),
            (1.0, 2.0, 3.0)
        );
    }
}
