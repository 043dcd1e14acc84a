//! Several rates: how latency grows with throughput.

use std::path::Path;

use ::bench::{Options, Point, Report, Series, draw};
use serde_json::{Value, json};

use super::{Bench, once};
use crate::failure::{Doing, Failure};

/// Shares of what the closed loop reached, if no rates are given.
const SHARES: [f64; 10] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// Seconds of load at each rate.
const SECONDS: f64 = 5.0;

pub(super) async fn run(arguments: &Bench, options: &Options) -> Result<(), Failure> {
    let mut reports = Vec::new();
    let mut rates = arguments.rates.clone();
    if rates.is_empty() {
        let report = once(arguments, options).await?;
        let peak = report.point().throughput_per_s;
        rates = SHARES.map(|share| (share * peak).round()).to_vec();
    }
    let seconds = arguments
        .rate_time
        .map_or(SECONDS, |time| time.as_secs_f64());
    for rate in rates {
        eprintln!("{rate} a second");
        let at = Options {
            rate: Some(rate),
            transactions: (rate * seconds) as usize, // some 10^5
            warm_up: (rate / 2.0) as usize,
            ..options.clone()
        };
        at.check()?;
        reports.push(once(arguments, &at).await?);
    }
    let series = Series {
        name: name(arguments, &reports),
        points: reports.iter().map(Report::point).collect(),
    };
    if let Some(path) = &arguments.plot {
        let mut all = vec![series.clone()];
        for path in &arguments.beside {
            all.push(read(path)?);
        }
        let title = format!("{}: latency against throughput", options.workload.name());
        std::fs::write(path, draw(&title, &all))
            .doing(|| format!("write the plot {}", path.display()))?;
    }
    if arguments.json {
        crate::print::json(&json!({
            "series": series.name,
            "points": series.points.iter().map(|point| json!({
                "throughput_per_s": point.throughput_per_s,
                "p50_ms": point.p50_ms, "p99_ms": point.p99_ms,
            })).collect::<Vec<_>>(),
            "reports": reports.iter().map(Report::to_json).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    println!("{}\n\n  a second        p50, ms     p99, ms", series.name);
    for point in &series.points {
        println!(
            "  {:<12.0}{:>11.2}{:>12.2}",
            point.throughput_per_s, point.p50_ms, point.p99_ms
        );
    }
    Ok(())
}

fn name(arguments: &Bench, reports: &[Report]) -> String {
    let json = reports.first().map(Report::to_json).unwrap_or_default();
    match json["peer"].as_str() {
        Some(peer) => peer.to_owned(),
        None => format!("Coco, {} nodes", arguments.nodes),
    }
}

/// The series of an earlier command.
fn read(path: &Path) -> Result<Series, Failure> {
    let bad = || {
        Failure::input(format!(
            "--beside {}: it is not what `coco bench --rates ... --json` prints",
            path.display()
        ))
    };
    let text = std::fs::read(path).doing(|| format!("read {}", path.display()))?;
    let json: Value = serde_json::from_slice(&text).map_err(|_| bad())?;
    let number = |point: &Value, name: &str| point[name].as_f64().ok_or_else(bad);
    let points = json["points"].as_array().ok_or_else(bad)?;
    Ok(Series {
        name: json["series"].as_str().ok_or_else(bad)?.to_owned(),
        points: points
            .iter()
            .map(|point| {
                Ok(Point {
                    throughput_per_s: number(point, "throughput_per_s")?,
                    p50_ms: number(point, "p50_ms")?,
                    p99_ms: number(point, "p99_ms")?,
                })
            })
            .collect::<Result<_, Failure>>()?,
    })
}
