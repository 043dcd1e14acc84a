//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::figures::{Range, Spread, milliseconds, rounded};
use crate::plot::Point;
use crate::{Options, Run};

/// Who was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A network that was made for it, of so many nodes.
    Network(usize),
    /// Somebody else's, by what it calls itself.
    Peer(String),
}

/// Some runs of one measurement.
#[derive(Debug)]
pub struct Report {
    options: Options,
    subject: Subject,
    runs: Vec<Run>,
}

impl Report {
    /// Of `runs`.
    pub fn new(options: &Options, subject: Subject, runs: Vec<Run>) -> Self {
        Self {
            options: options.clone(),
            subject,
            runs,
        }
    }

    /// Its place in a plot.
    pub fn point(&self) -> Point {
        Point {
            throughput_per_s: self.throughput().median,
            p50_ms: self.over(|run| run.committed.p50_us).median,
            p99_ms: self.over(|run| run.committed.p99_us).median,
        }
    }

    /// The first refusal of a transaction, if there was any.
    pub fn first_refusal(&self) -> Option<(usize, &str)> {
        let refused = self.runs.iter().map(|run| run.refused).sum();
        let reason = self
            .runs
            .iter()
            .find_map(|run| run.first_refusal.as_deref());
        reason.map(|reason| (refused, reason))
    }

    fn throughput(&self) -> Range {
        Range::of(self.runs.iter().map(Run::throughput))
    }

    /// One percentile over all runs, in milliseconds.
    fn over(&self, of: impl Fn(&Run) -> u64) -> Range {
        Range::of(self.runs.iter().map(|run| milliseconds(of(run))))
    }

    fn block_sizes(&self) -> Spread {
        let sizes = self.runs.iter().flat_map(|run| &run.block_sizes);
        Spread::of(sizes.map(|size| *size as u64).collect()) // as wide
    }

    /// CPU seconds and memory of each process, medians over the runs; memory is the greatest.
    fn processes(&self) -> BTreeMap<(String, String), (Range, u64, u64)> {
        let mut found: BTreeMap<(String, String), (Vec<f64>, u64, u64)> = BTreeMap::new();
        for run in &self.runs {
            for used in &run.used {
                let entry = found
                    .entry((used.owner.clone(), used.name.clone()))
                    .or_default();
                entry.0.push(used.cpu_s);
                entry.1 = entry.1.max(used.resident_bytes);
                entry.2 = entry.2.max(used.peak_bytes);
            }
        }
        found
            .into_iter()
            .map(|(name, (cpu, resident, peak))| (name, (Range::of(cpu), resident, peak)))
            .collect()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let options = &self.options;
        let latency = |of: fn(&Run) -> Spread| {
            json!({
                "p50": self.over(|run| of(run).p50_us).to_json(),
                "p90": self.over(|run| of(run).p90_us).to_json(),
                "p99": self.over(|run| of(run).p99_us).to_json(),
                "max": self.over(|run| of(run).max_us).to_json(),
            })
        };
        let sizes = self.block_sizes();
        json!({
            "workload": options.workload.name(),
            "nodes": match &self.subject {
                Subject::Network(nodes) => json!(nodes),
                Subject::Peer(_) => Value::Null,
            },
            "peer": match &self.subject {
                Subject::Network(_) => Value::Null,
                Subject::Peer(name) => json!(name),
            },
            "profile": if options.confidential { "confidential" } else { "transparent" },
            "await": if options.receipts { "receipts" } else { "answer" },
            "transactions": options.transactions,
            "warm_up": options.warm_up,
            "batch": options.batch,
            "connections": options.connections,
            "in_flight": options.in_flight,
            "via": options.via.name(),
            "rate": options.rate,
            "loop": if options.rate.is_some() { "open" } else { "closed" },
            "throughput_per_s": self.throughput().to_json(),
            "latency_ms": {
                "accepted": latency(|run| run.accepted),
                "committed": latency(|run| run.committed),
                "applied_by_all": latency(|run| run.everywhere),
            },
            "block_transactions": {
                "p50": sizes.p50_us, "p90": sizes.p90_us, "max": sizes.max_us,
                "blocks": self.runs.iter().map(|run| run.block_sizes.len()).sum::<usize>(),
            },
            "processes": self.processes().into_iter().map(|((owner, name), (cpu, resident, peak))| {
                json!({
                    "owner": owner, "process": name, "cpu_s": cpu.to_json(),
                    "resident_bytes": resident, "peak_resident_bytes": peak,
                })
            }).collect::<Vec<_>>(),
            "runs": self.runs.iter().map(|run| json!({
                "transactions": run.transactions, "refused": run.refused,
                "first_refusal": run.first_refusal,
                "seconds": rounded(run.seconds),
                "throughput_per_s": rounded(run.throughput()),
                "committed_ms": run.committed.to_json(),
                "applied_by_all_ms": run.everywhere.to_json(),
                "blocks": run.block_sizes.len(),
                "processes": run.used.iter().map(|used| used.to_json()).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let options = &self.options;
        let mut text = String::new();
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        line(format!(
            "{} on {}: {} transactions in batches of {}, {} connections, {}{}",
            options.workload.name(),
            match &self.subject {
                Subject::Network(nodes) => {
                    format!("{nodes} nodes (the load goes to: {})", options.via.name())
                }
                Subject::Peer(name) => name.clone(),
            },
            options.transactions,
            options.batch,
            options.connections,
            if options.receipts {
                "awaiting receipts, "
            } else {
                ""
            },
            match options.rate {
                Some(rate) => format!("{rate} a second arriving (open loop)"),
                None => format!(
                    "{} requests in flight on each (closed loop)",
                    options.in_flight
                ),
            }
        ));
        let throughput = self.throughput();
        line(format!(
            "\n  {:<23}{:>10.0} a second{}",
            if options.workload.only_reads() {
                "answered"
            } else {
                "committed and durable"
            },
            throughput.median,
            between(self.runs.len(), throughput, 0)
        ));
        line("\n  latency, ms                    p50       p90       p99       max".into());
        for (name, of) in [
            ("to accepted", (|run| run.accepted) as fn(&Run) -> Spread),
            (
                if options.workload.only_reads() {
                    "to answered"
                } else {
                    "to known as committed"
                },
                |run| run.committed,
            ),
            ("to applied by all nodes", |run| run.everywhere),
        ] {
            if self.runs.iter().all(|run| of(run) == Spread::default()) {
                continue;
            }
            let cells: String = [
                |spread: Spread| spread.p50_us,
                |spread: Spread| spread.p90_us,
                |spread: Spread| spread.p99_us,
                |spread: Spread| spread.max_us,
            ]
            .iter()
            .map(|pick| format!("{:>10.2}", self.over(|run| pick(of(run))).median))
            .collect();
            line(format!("  {name:<24}{cells}"));
        }
        let sizes = self.block_sizes();
        line(format!(
            "\n  transactions in a block: p50 {}, p90 {}, greatest {}",
            sizes.p50_us, sizes.p90_us, sizes.max_us
        ));
        let processes = self.processes();
        if !processes.is_empty() {
            line(
                "\n  process                              CPU, s   memory, MiB   peak, MiB".into(),
            );
        }
        for ((owner, name), (cpu, resident, peak)) in processes {
            line(format!(
                "  {:<34}{:>9.2}{:>14}{:>12}",
                format!("{owner} {name}"),
                cpu.median,
                resident >> 20,
                peak >> 20
            ));
        }
        if self.runs.len() > 1 {
            line(format!(
                "\n  Medians of {} runs{}.",
                self.runs.len(),
                match &self.subject {
                    Subject::Network(_) => ", each on a fresh network; memory: the greatest",
                    Subject::Peer(_) => " one after the other",
                }
            ));
        }
        if let Some((refused, reason)) = self.first_refusal() {
            line(format!("\n  {refused} transactions were refused: {reason}"));
        }
        text
    }
}

fn between(runs: usize, range: Range, digits: usize) -> String {
    if runs < 2 {
        return String::new();
    }
    format!(
        " ({:.digits$} to {:.digits$} in {runs} runs)",
        range.min, range.max
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Workload;
    use crate::processes::Used;

    fn run(seconds: f64, p50_us: u64) -> Run {
        let spread = Spread {
            p50_us,
            p90_us: 2 * p50_us,
            p99_us: 3 * p50_us,
            max_us: 4 * p50_us,
        };
        Run {
            transactions: 1000,
            refused: 0,
            first_refusal: None,
            seconds,
            accepted: Spread::default(),
            committed: spread,
            everywhere: spread,
            block_sizes: vec![100; 10],
            used: vec![Used {
                owner: "ada".into(),
                name: "coco-host".into(),
                cpu_s: seconds / 2.0,
                resident_bytes: 1 << 20,
                peak_bytes: 2 << 20,
            }],
        }
    }

    fn report() -> Report {
        let options = Options {
            batch: 100,
            connections: 6,
            in_flight: 2,
            ..Options::new(Workload::Transfer, 1000)
        };
        Report::new(
            &options,
            Subject::Network(3),
            vec![run(0.5, 9000), run(1.0, 5000), run(2.0, 7000)],
        )
    }

    #[test]
    fn json_has_medians_over_runs_and_every_run() {
        let json = report().to_json();
        assert_eq!(
            json["throughput_per_s"],
            json!({ "min": 500.0, "median": 1000.0, "max": 2000.0 })
        );
        assert_eq!(json["latency_ms"]["committed"]["p50"]["median"], 7.0);
        assert_eq!(json["latency_ms"]["applied_by_all"]["max"]["max"], 36.0);
        assert_eq!(json["block_transactions"]["p50"], 100);
        assert_eq!(json["processes"][0]["cpu_s"]["median"], 0.5);
        assert_eq!(json["runs"].as_array().map(Vec::len), Some(3));
        assert_eq!(json["runs"][2]["seconds"], 2.0);
        assert_eq!(json["loop"], "closed");
    }

    #[test]
    fn the_table_says_how_often_it_was_measured() {
        let text = report().to_text();
        assert!(
            text.contains("1000 a second (500 to 2000 in 3 runs)"),
            "{text}"
        );
        assert!(text.contains("ada coco-host"), "{text}");
    }
}
